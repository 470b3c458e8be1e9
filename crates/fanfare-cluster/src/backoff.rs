//! How long to wait between attempts to connect.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(50);
/// Small, so that delivery resumes within two seconds of the server being back.
const LONGEST: Duration = Duration::from_millis(500);

/// Doubles at each attempt, up to a limit; a random part of it is left out so that nodes do not connect all at once.
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The connection was of use: the next attempt comes soon.
    pub(crate) fn reset(&mut self) {
        self.0 = FIRST;
    }

    /// Waits for the next attempt.
    pub(crate) async fn wait(&mut self) {
        let part = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(self.0.mul_f64(part)).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }
}
