//! The report, as text and as JSON.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::{
    Options,
    figures::{Figure, Target, Workload},
};

/// All results of one run.
#[derive(Serialize)]
pub struct Report {
    version: &'static str,
    /// Whether the binary was optimised; the figures of a debug build are meaningless.
    optimised: bool,
    shards: usize,
    rounds: usize,
    seconds: u64,
    pub(crate) workloads: Vec<Workload>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            shards: options.shards,
            rounds: options.rounds,
            seconds: options.seconds.as_secs(),
            workloads: Vec::new(),
        }
    }

    /// Returns the report as one JSON object.
    ///
    /// # Errors
    /// Never, in practice: it has only numbers and texts.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|error| error.to_string())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Fanfare {}, shards: {}, rounds: {} of {} s each",
            self.version, self.shards, self.rounds, self.seconds
        )?;
        if !self.optimised {
            writeln!(
                f,
                "NOT OPTIMISED: these figures are meaningless; build with --release"
            )?;
        }
        for workload in &self.workloads {
            writeln!(f, "\n{}", workload.title)?;
            writeln!(
                f,
                "  {:<42} {:>11} {:>11} {:>11}  target",
                "", "median", "lowest", "highest"
            )?;
            for figure in &workload.figures {
                write_row(f, figure)?;
            }
        }
        Ok(())
    }
}

fn write_row(f: &mut Formatter<'_>, figure: &Figure) -> fmt::Result {
    let lowest = figure.rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = figure.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let [median, lowest, highest] = [figure.median, lowest, highest].map(number);
    let name = match figure.kind.unit {
        "" => figure.kind.name.to_owned(),
        unit => format!("{}, {unit}", figure.kind.name),
    };
    write!(f, "  {name:<42} {median:>11} {lowest:>11} {highest:>11}")?;
    let Some(target) = figure.kind.target else {
        return writeln!(f);
    };
    let (relation, value) = match target {
        Target::AtLeast(value) => ("≥", value),
        Target::AtMost(value) => ("≤", value),
    };
    let is_met = target.is_met_by(figure.median);
    let verdict = if is_met { "met" } else { "MISSED" };
    writeln!(f, "  {relation} {}  {verdict}", number(value))
}

/// Formats `value` with three significant digits, or with separated thousands.
fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => grouped(&format!("{value:.0}")),
    }
}

fn grouped(digits: &str) -> String {
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    let sign = &digits[..digits.len() - unsigned.len()];
    let groups = unsigned.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    format!("{sign}{}", groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Kind;

    #[test]
    fn numbers_have_three_significant_digits_or_separated_thousands() {
        for (value, expected) in [
            (0.0, "0.00"),
            (0.876, "0.88"),
            (42.04, "42.0"),
            (999.4, "999"),
            (1000.0, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_row_shows_that_its_target_was_missed() {
        let mut workload = Workload::new("Fan-out".into());
        workload.record(Kind::new("server / baseline", "").at_least(0.85), 0.7);
        let report = Report {
            version: "1",
            optimised: true,
            shards: 1,
            rounds: 1,
            seconds: 1,
            workloads: vec![workload],
        };
        let text = report.to_string();
        let row = text
            .lines()
            .last()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(
            row.as_deref(),
            Some("server / baseline 0.70 0.70 0.70 ≥ 0.85 MISSED")
        );
    }
}
