//! Times in messages. Most messages have one, so they are written without a formatter.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The last second that has a year of four digits.
const LAST_SECOND: u64 = 253_402_300_799;
const SECONDS_PER_DAY: u64 = 86_400;

/// A time in RFC 3339, UTC, milliseconds, `Z`.
#[derive(Clone, Copy)]
pub struct Timestamp([u8; 24]);

/// Returns the whole milliseconds of `duration`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the milliseconds from 1970 to `time`; 0 for an earlier time.
pub fn unix_millis(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Formats `time` in RFC 3339, UTC, milliseconds, `Z`. A time before 1970 or after 9999 becomes the first or last one between.
pub fn timestamp(time: SystemTime) -> Timestamp {
    // All events of a batch have the same time.
    thread_local!(static LAST: Cell<(SystemTime, Timestamp)> = const { Cell::new((UNIX_EPOCH, Timestamp(*b"1970-01-01T00:00:00.000Z"))) });
    let (last, text) = LAST.get();
    if time == last {
        return text;
    }
    let text = format(time);
    LAST.set((time, text));
    text
}

fn format(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().min(LAST_SECOND);
    let ((year, month, day), of_day) = (date(seconds / SECONDS_PER_DAY), seconds % SECONDS_PER_DAY);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let numbers = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, of_day / 3600),
        (14..16, of_day / 60 % 60),
        (17..19, of_day % 60),
        (20..23, u64::from(since.subsec_millis())),
    ];
    for (place, mut number) in numbers {
        for digit in text[place].iter_mut().rev() {
            *digit += u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    }
    Timestamp(text)
}

/// Returns the year, month and day of a day since 1970-01-01. It counts in years from March, whose last day is a leap day.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468; // from 0000-03-01
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * era + year + later, month, day)
}

impl Timestamp {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // it is ASCII
    }

    /// Returns the bytes of the text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_dates_of_the_calendar() {
        let day = SECONDS_PER_DAY * 1000;
        // Each day of 140 years, at changing times of day; then strides to the last year.
        let days = (0..51_000).map(|number| number * (day + 1) + number * 7_919 % day);
        let later = (0..5_000).map(|number| number * 50_000_003_123);
        for millis in days.chain(later).chain([0, 999, LAST_SECOND * 1000 + 999]) {
            let time = UNIX_EPOCH + Duration::from_millis(millis);
            let expected = humantime::format_rfc3339_millis(time).to_string();
            assert_eq!(timestamp(time).to_string(), expected, "{millis}");
        }
    }

    #[test]
    fn times_outside_the_range_are_clamped() {
        for (time, expected) in [
            (UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00.000Z"),
            (
                UNIX_EPOCH + Duration::from_secs(LAST_SECOND + 5),
                "9999-12-31T23:59:59.000Z",
            ),
        ] {
            assert_eq!(timestamp(time).as_str(), expected);
        }
    }
}
