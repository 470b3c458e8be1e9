//! Sends the ticks of a dialect to its connections on this node.

use std::sync::Arc;

use uuid::Uuid;

use super::{MountedDialect, Node};

impl Node {
    /// Sends the ticks of `mounted` until the node drains; returns at once if it has none.
    pub async fn tick(self: Arc<Self>, mounted: Arc<MountedDialect>) {
        let Some(every) = mounted.dialect.tick_interval() else {
            return;
        };
        for count in 1.. {
            tokio::time::sleep(every).await;
            if self.is_draining() {
                return;
            }
            let own = self.dialect_facts(&mounted);
            let text = mounted.dialect.tick(count, Uuid::now_v7(), &self.facts(), &own);
            self.broadcast(&mounted, text);
        }
    }
}
