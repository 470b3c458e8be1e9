//! The values that stores keep for idempotency keys, and their meaning for the next caller that claims a key.

use std::time::Duration;

use fanfare_core::{Claim, Reach, Receipt};

/// The value of an id that one caller claimed, until its event is published.
pub(crate) const CLAIMED: &[u8] = b"";
/// The value of an id that was published, until its receipt is stored.
pub(crate) const PUBLISHED: &[u8] = b"+";
/// The value of an id that was claimed by all nodes that received it.
pub(crate) const TOGETHER: &[u8] = b"!";
/// The tolerance between the ages of a claim and of a connection: Redis counts milliseconds, by its own clock.
const SLACK: Duration = Duration::from_millis(20);

/// Returns the claim of a caller that finds `value`, stored `age` ago. `receiving` is the age of the caller's connection if all nodes that
/// received the message claim its id jointly, else `None`.
pub(crate) fn claim(value: &[u8], age: Duration, receiving: Option<Duration>) -> Claim {
    // A node that was receiving then has received this very message. If it were another one, the node would know the id.
    if value == TOGETHER && receiving.is_some_and(|receiving| age <= receiving + SLACK) {
        return Claim::New;
    }
    state_in(value)
}

/// Returns the value of an id whose event has this receipt: `=queued,matched,dropped,nodes`, and `,degraded` if it is.
pub(crate) fn settled(receipt: &Receipt) -> Vec<u8> {
    let Reach {
        matched,
        queued,
        dropped,
    } = receipt.reach;
    let degraded = if receipt.degraded { ",degraded" } else { "" };
    format!("={queued},{matched},{dropped},{}{degraded}", receipt.nodes).into_bytes()
}

/// Reads the value of a claimed id. An unknown value, of another version, counts as published, so that no event is published twice.
fn state_in(value: &[u8]) -> Claim {
    match value.split_first() {
        None => Claim::Taken,
        Some((b'=', receipt)) => Claim::Published(receipt_in(receipt)),
        Some(_) => Claim::Published((value == TOGETHER).then(Receipt::default)),
    }
}

fn receipt_in(text: &[u8]) -> Option<Receipt> {
    let mut parts = std::str::from_utf8(text).ok()?.split(',');
    let mut count = || parts.next()?.parse().ok();
    let (queued, matched, dropped) = (count()?, count()?, count()?);
    Some(Receipt {
        reach: Reach {
            matched,
            queued,
            dropped,
        },
        nodes: u32::try_from(count()?).ok()?,
        degraded: parts.next() == Some("degraded"),
        is_duplicate: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_receipts() {
        for (degraded, text) in [(false, "2,3,1,4"), (true, "2,3,1,4,degraded")] {
            let receipt = Receipt {
                reach: Reach {
                    matched: 3,
                    queued: 2,
                    dropped: 1,
                },
                nodes: 4,
                degraded,
                is_duplicate: false,
            };
            assert_eq!(settled(&receipt), format!("={text}").as_bytes());
            assert_eq!(receipt_in(text.as_bytes()), Some(receipt));
        }
        for bad in [
            "",
            "1",
            "1,1,1",
            "1,1,1,x",
            "1,1,1,4294967296",
            "-1,1,1,1",
            "\u{e9}",
        ] {
            assert_eq!(receipt_in(bad.as_bytes()), None, "{bad}");
        }
    }
}
