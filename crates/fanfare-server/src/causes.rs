//! Displays an error with its causes in one line.

use std::{error::Error, fmt};

/// Displays an error and its chain of causes, each text once. It must not contain a secret: remove a URL first
/// (`reqwest::Error::without_url`).
pub(crate) struct Causes<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        source: Option<Box<Link>>,
    }

    #[test]
    fn every_cause_is_named_once() {
        let link = |text, source: Option<Link>| Link {
            text,
            source: source.map(Box::new),
        };
        let cause = link("connection refused", None);
        let same = link("cannot send", Some(cause));
        let error = link("request failed: cannot send", Some(same));
        assert_eq!(
            Causes(&error).to_string(),
            "request failed: cannot send: connection refused"
        );
    }
}
