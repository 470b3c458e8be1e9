//! Sends a broadcast to the connections of one dialect on one shard.

use super::{
    Shard, Variant,
    batch::Broadcast,
    connections::{Connections, Key},
    counters::Tally,
};

/// The connections that are served before the shard yields to its other tasks.
const CHUNK: usize = 256;

impl Shard {
    /// Sends `broadcast` to this shard's connections of its dialect, with pauses, because they may be many.
    pub(super) async fn broadcast(&self, broadcast: &Broadcast) {
        let keys = receivers(&self.connections.borrow(), broadcast);
        for chunk in keys.chunks(CHUNK) {
            self.broadcast_chunk(chunk, broadcast);
            tokio::task::yield_now().await;
        }
    }

    fn broadcast_chunk(&self, keys: &[Key], broadcast: &Broadcast) {
        let mut tally = Tally::default();
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let moment = self.node.now();
        for key in keys {
            let Some(driver) = connections.later_receiver_at(*key) else {
                continue;
            };
            let Variant { mounted, framing, .. } = driver.connection.variant();
            let frame = broadcast
                .framed
                .frame(mounted, framing, &mut tools.codec.deflater);
            tally += if driver.connection.is_holding() {
                driver.connection.hold_frame(frame.into_owned(), None, moment)
            } else {
                driver.send_run(&[frame], moment)
            };
        }
        broadcast.mounted.counters.count(tally);
    }
}

fn receivers(connections: &Connections, broadcast: &Broadcast) -> Vec<Key> {
    let number = broadcast.mounted.number;
    let all = connections.iter();
    all.filter(|(_, driver)| driver.connection.mounted().number == number)
        .map(|(key, _)| key)
        .collect()
}
