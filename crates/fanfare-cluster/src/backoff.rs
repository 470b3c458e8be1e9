//! The pauses between attempts to connect.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(50);
/// Small, so that delivery resumes within two seconds after the server has returned.
const LONGEST: Duration = Duration::from_millis(500);

/// A pause that doubles at each attempt, up to a limit. It is shortened at random, so that nodes do not connect all at once.
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// Makes the next pause the shortest one, after a connection that worked.
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
