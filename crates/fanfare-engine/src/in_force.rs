//! The wait until an interest of a node is in force at the broker.

use futures_util::future::{BoxFuture, Shared};

/// A future that resolves when an interest is in force; `None` if it is. In a box, because a node keeps one for each user and
/// channel.
pub(super) type InForce = Option<Box<Shared<BoxFuture<'static, ()>>>>;

/// Waits until the interest is in force.
pub(super) async fn wait(placed: InForce) {
    if let Some(placed) = placed {
        (*placed).await;
    }
}
