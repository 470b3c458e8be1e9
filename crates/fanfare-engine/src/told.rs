//! What a node says to all of its own connections of one dialect: ticks, and the notice that a drain begins. It is not
//! an event, so it does not pass the broker.

use std::sync::Arc;

use fanfare_core::Rendering;
use uuid::Uuid;

use super::{
    MountedDialect, Node, Shard,
    batch::Framed,
    connection::{Connection, Key, Tally},
    counters::add,
};

/// Connections told before other tasks of the shard get a turn.
const CHUNK: usize = 256;

/// A text for the connections of one dialect.
pub(super) struct Told {
    mounted: Arc<MountedDialect>,
    framed: Framed,
}

impl Told {
    pub(super) fn new(mounted: &Arc<MountedDialect>, rendering: Rendering) -> Self {
        Self {
            mounted: mounted.clone(),
            framed: Framed::new(rendering),
        }
    }
}

impl Node {
    /// Sends the ticks of `mounted` for ever; returns at once if it has none.
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
            self.tell(&mounted, text);
        }
    }
}

impl Shard {
    /// Sends `told` to this shard's connections of its dialect, with pauses, since they may be many.
    pub(super) async fn tell(&self, told: &Told) {
        let keys: Vec<Key> = {
            let connections = self.connections.borrow();
            let of_dialect = |held: &&Connection| held.class().0.number == told.mounted.number;
            let held = connections.iter().map(|(at, held)| (at, &**held));
            held.filter(|(_, held)| of_dialect(held))
                .map(|(at, held)| held.key(at))
                .collect()
        };
        for chunk in keys.chunks(CHUNK) {
            self.tell_chunk(chunk, told);
            tokio::task::yield_now().await;
        }
    }

    fn tell_chunk(&self, keys: &[Key], told: &Told) {
        let mut tally = Tally::default();
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let now = self.node.clock_ms();
        for key in keys {
            let Some(connection) = Connection::receiver_at(&mut connections, *key) else {
                continue;
            };
            let (mounted, deflate) = connection.class();
            let frame = told.framed.frame(mounted, deflate, &mut tools.codec.deflater);
            tally += connection.send(&frame, now);
        }
        add(&told.mounted.counters.sent, tally.queued);
        add(&told.mounted.counters.dropped, tally.dropped);
    }
}
