//! Parses publishers' messages: large ones on another thread, because the shard would do nothing else meanwhile.

use std::panic::resume_unwind;

use bytes::Bytes;
use tokio::sync::Semaphore;

/// The number of bytes up to which a message is parsed on the shard's thread. A MiB takes milliseconds.
const MOST_ON_SHARD: usize = 64 * 1024;

/// Large messages are parsed one at a time, so that the other cores are the shards'.
pub(crate) static PARSER: Semaphore = Semaphore::const_new(1);

/// Returns whether `message` is parsed on another thread.
pub(crate) fn is_large(message: &[u8]) -> bool {
    message.len() > MOST_ON_SHARD
}

/// Parses `message`, on another thread if it is large.
pub(crate) async fn parse<T: Send + 'static>(
    message: &Bytes,
    parse: impl FnOnce(&Bytes) -> T + Send + 'static,
) -> T {
    if !is_large(message) {
        return parse(message);
    }
    let _turn = PARSER.acquire().await; // it is never closed
    let message = message.clone();
    match tokio::task::spawn_blocking(move || parse(&message)).await {
        Ok(parsed) => parsed,
        Err(fault) => resume_unwind(fault.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn large_messages_are_parsed_on_another_thread() {
        let own = thread::current().id();
        for (length, is_own) in [(MOST_ON_SHARD, true), (MOST_ON_SHARD + 1, false)] {
            let message = vec![b' '; length].into();
            let (parsed, by) = parse(&message, |bytes| (bytes.len(), thread::current().id())).await;
            assert_eq!((parsed, by == own), (length, is_own));
        }
    }
}
