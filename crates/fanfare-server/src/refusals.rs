//! Logs refusals: for each dialect and reason at most one line in a few seconds.

use std::{fmt, net::IpAddr, sync::Mutex, time::Duration};

use ahash::AHashMap;
use fanfare_core::{LogThrottle, locked};

/// The time between two lines of one dialect and one reason.
const EVERY: Duration = Duration::from_secs(5);
/// The longest part of a client's text in a line, in bytes.
const MAX_SHOWN: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Connection,
    /// A credential: in a frame, or in a request to an HTTP route.
    Token,
    Request,
}

/// A refusal. No field may contain a secret.
#[derive(Clone, Copy)]
pub(crate) struct Refused<'a> {
    pub(crate) subject: Subject,
    pub(crate) dialect: Option<&'static str>,
    pub(crate) reason: &'static str,
    pub(crate) detail: Option<&'a dyn fmt::Display>,
    pub(crate) peer: Option<IpAddr>,
    /// Whether the operator may have to do something: logged as a warning.
    pub(crate) is_warning: bool,
}

/// Subject, dialect and reason of a refusal: words of the program, so there are few combinations.
type RefusalKind = (Subject, Option<&'static str>, &'static str);

#[derive(Default)]
pub(crate) struct RefusalLog {
    lines: Mutex<AHashMap<RefusalKind, LogThrottle>>,
}

impl RefusalLog {
    /// Logs a refusal, or counts it for the next line of its kind.
    pub(crate) fn note(&self, refused: &Refused<'_>) {
        let Some(held_back) = self.pass(refused) else {
            return;
        };
        let Refused { dialect, reason, .. } = *refused;
        let detail = refused.detail.map(shown);
        let peer = refused.peer.map(tracing::field::display);
        let what = match refused.subject {
            Subject::Connection => "connection refused",
            Subject::Token => "token refused",
            Subject::Request => "request refused",
        };
        if refused.is_warning {
            tracing::warn!(dialect, reason, detail, peer, held_back, "{what}");
        } else {
            tracing::info!(dialect, reason, detail, peer, held_back, "{what}");
        }
    }

    fn pass(&self, refused: &Refused<'_>) -> Option<u64> {
        let key = (refused.subject, refused.dialect, refused.reason);
        let mut lines = locked(&self.lines);
        lines.entry(key).or_insert_with(|| LogThrottle::new(EVERY)).pass()
    }
}

/// Returns a text of bounded length that cannot look like another log line.
fn shown(detail: &dyn fmt::Display) -> String {
    let text = detail.to_string();
    let end = (0..=MAX_SHOWN.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or_default();
    text[..end].escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_passes_once_and_is_counted() {
        let log = RefusalLog::default();
        let refused = |dialect, reason| {
            log.pass(&Refused {
                subject: Subject::Connection,
                dialect,
                reason,
                detail: None,
                peer: None,
                is_warning: false,
            })
        };
        assert_eq!(refused(Some("a"), "bad_credential"), Some(0));
        assert_eq!(refused(Some("a"), "bad_credential"), None);
        assert_eq!(refused(Some("b"), "bad_credential"), Some(0));
        assert_eq!(refused(Some("a"), "forbidden_origin"), Some(0));
        assert_eq!(refused(None, "bad_credential"), Some(0));
    }

    #[test]
    fn details_stay_on_their_line() {
        assert_eq!(
            shown(&"https://a.example\nlevel=ERROR"),
            "https://a.example\\nlevel=ERROR"
        );
        assert_eq!(shown(&"\u{e9}".repeat(100)).len(), MAX_SHOWN);
    }
}
