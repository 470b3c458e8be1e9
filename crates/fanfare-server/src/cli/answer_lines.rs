//! The lines of an answer that may never end.

use reqwest::Response;

use super::CommandFailure;

/// The longest line that is read. An event is smaller.
const MAX_LINE: usize = 64 << 20;

/// An answer, and the bytes read of it.
pub(super) struct AnswerLines {
    answer: Response,
    read: Vec<u8>,
    /// The number of those bytes that were returned.
    taken: usize,
}

impl AnswerLines {
    pub(super) fn new(answer: Response) -> Self {
        Self {
            answer,
            read: Vec::new(),
            taken: 0,
        }
    }

    /// Returns the next line that is not empty; or, at the end, the reason of the end.
    pub(super) async fn next(&mut self) -> Result<Result<Vec<u8>, &'static str>, CommandFailure> {
        loop {
            let rest = &self.read[self.taken..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..end].to_vec();
                self.taken += end + 1;
                if line.is_empty() {
                    continue;
                }
                return Ok(Ok(line));
            }
            if rest.len() > MAX_LINE {
                return Err("the server sent no line of a stream".into());
            }
            self.read.drain(..self.taken);
            self.taken = 0;
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.read.extend_from_slice(&chunk),
                Ok(None) => return Ok(Err("the server ended it")),
                Err(_) => return Ok(Err("the connection broke")),
            }
        }
    }
}
