//! When what a node asked its broker for reaches it.

use futures_util::future::{BoxFuture, Shared};

/// The broker's promise that an interest is in force; `None` if it is at once. In a box, because a node keeps one for each user
/// and each channel.
pub(super) type InForce = Option<Box<Shared<BoxFuture<'static, ()>>>>;

/// Resolves when the interest is in force.
pub(super) async fn wait(placed: InForce) {
    if let Some(placed) = placed {
        (*placed).await;
    }
}
