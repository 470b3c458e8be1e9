//! `fanfare listen --since`: first the missed events, then live ones, by a stream over HTTP.

use fanfare_core::{EVERYONE_CHANNEL, history::Since};
use serde_json::Value;

use super::{
    CommandFailure, Outcome,
    answer_lines::AnswerLines,
    output::{self, shown},
    remote::{RemoteApi, with_query},
};

/// A pattern over all personal channels, of which a client receives only its own.
const PERSONAL: &str = "notifications.user.**";
const LINES: &str = "application/x-ndjson";

/// The request of `fanfare listen --since`.
pub(super) struct StreamRequest<'a> {
    /// A cursor, a number of events, or an age.
    pub(super) since: &'a str,
    pub(super) channels: &'a [String],
    /// Whether to receive the events for the user and for everyone.
    pub(super) own: bool,
}

impl StreamRequest<'_> {
    fn path(&self) -> String {
        let own = [PERSONAL, EVERYONE_CHANNEL].into_iter().filter(|_| self.own);
        let channels = own.chain(self.channels.iter().map(String::as_str));
        let mut parameters: Vec<_> = channels.map(|channel| ("channel", Some(channel))).collect();
        let is_cursor = Since::rewind(self.since) == Since::Unknown;
        parameters.push((if is_cursor { "since" } else { "rewind" }, Some(self.since)));
        with_query("/api/v1/stream", &parameters)
    }

    pub(super) async fn listen(&self, api: &RemoteApi<'_>, count: u64) -> Outcome {
        let mut lines = AnswerLines::new(api.open(&self.path(), Some(LINES)).await?);
        let mut left = count;
        while left > 0 {
            let line = tokio::select! {
                line = lines.next() => line?,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            let line = line.map_err(|why| format!("the stream was lost: {why}"))?;
            left -= u64::from(print(&line)?);
        }
        Ok(())
    }
}

/// Prints an event; returns whether the line was one.
fn print(line: &[u8]) -> Result<bool, CommandFailure> {
    let bad = || "the server did not send a stream".to_owned();
    let text = std::str::from_utf8(line).map_err(|_| bad())?;
    let read: Value = serde_json::from_str(text).map_err(|_| bad())?;
    let data = &read["data"];
    match read["type"].as_str() {
        Some("resume") => {
            if data["recovered"] == false {
                let why = data["reason"].as_str().map(shown).unwrap_or_default();
                eprintln!(
                    "fanfare: the missed events cannot be replayed ({why}); events may be missing here"
                );
            }
            eprintln!("listening; stop with Ctrl-C");
            Ok(false)
        }
        Some("stream.end") => {
            let why = data["reason"].as_str().map(shown).unwrap_or_default();
            Err(format!("the server ended the stream: {why}").into())
        }
        _ => {
            output::line(text);
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let channels = ["chat.*".to_owned(), "a b".to_owned()];
        for (since, own, channels, query) in [
            ("20", false, &channels[..1], "channel=chat.*&rewind=20"),
            ("5m", false, &channels[1..], "channel=a+b&rewind=5m"),
            (
                "0000000000000001-1a",
                true,
                &channels[..0],
                "channel=notifications.user.**&channel=notifications&since=0000000000000001-1a",
            ),
            ("", false, &channels[..1], "channel=chat.*&since="),
        ] {
            let request = StreamRequest { since, channels, own };
            assert_eq!(request.path(), format!("/api/v1/stream?{query}"), "{since}");
        }
    }

    #[test]
    fn lines_of_a_stream() {
        for (line, expected) in [
            (r#"{"type":"resume","data":{"recovered":true}}"#, Ok(false)),
            (
                r#"{"type":"resume","data":{"recovered":false,"reason":"epoch"}}"#,
                Ok(false),
            ),
            (r#"{"channel":"a","type":"note","data":1}"#, Ok(true)),
            (r#"{"channel":"a","type":null,"data":1}"#, Ok(true)),
            (
                r#"{"type":"stream.end","data":{"reason":"shutting_down"}}"#,
                Err("shutting_down"),
            ),
            ("<html>", Err("did not send a stream")),
        ] {
            match (print(line.as_bytes()), expected) {
                (Ok(is_event), Ok(expected)) => assert_eq!(is_event, expected, "{line}"),
                (Err(CommandFailure::Runtime(message)), Err(words)) => {
                    assert!(message.contains(words), "{message}");
                }
                _ => panic!("{line}"),
            }
        }
    }
}
