//! What a node says to all of its own connections of one dialect: ticks, and the notice that a drain begins. It is not
//! an event, so it does not pass the broker.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{BrokerHealth, ConnectionFacts};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    MountedDialect, Node, Shard, ShardCommand, ShardHandle,
    batch::Rendering,
    connection::{Connection, Phase, Tally},
    counters::add,
};

/// A text for the connections of one dialect.
pub(super) struct Told {
    mounted: Arc<MountedDialect>,
    rendering: Rendering,
}

impl Told {
    pub(super) fn new(mounted: &Arc<MountedDialect>, text: Bytes) -> Self {
        Self {
            mounted: mounted.clone(),
            rendering: Rendering::new(text),
        }
    }
}

impl Node {
    /// Sends the ticks of `mounted` for ever; returns at once if it has none.
    pub async fn tick(self: Arc<Self>, mounted: Arc<MountedDialect>) {
        let Some(every) = mounted.dialect.tick_interval() else {
            return;
        };
        let broker = BrokerHealth::Embedded; // no tick tells how the broker is
        for count in 1.. {
            tokio::time::sleep(every).await;
            if self.is_draining() {
                return;
            }
            let own = self.dialect_facts(&mounted);
            let text = mounted
                .dialect
                .tick(count, Uuid::now_v7(), &self.facts(&broker), &own);
            self.tell(&mounted, text);
        }
    }
}

impl Shard {
    pub(super) fn tell(&self, told: &Told) {
        let mut tally = Tally::default();
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let now = self.node.clock_ms();
        for (_, connection) in connections.iter_mut() {
            let (mounted, deflate) = connection.class();
            if mounted.number == told.mounted.number && connection.takes_events() {
                let frame = told.rendering.frame(mounted, deflate, &mut tools.codec.deflater);
                tally += connection.send(&frame, now);
            }
        }
        add(&told.mounted.counters.sent, tally.queued);
        add(&told.mounted.counters.dropped, tally.dropped);
    }

    /// What is known of this shard's open connections of a dialect.
    pub(super) fn list(&self, dialect: usize) -> Vec<ConnectionFacts> {
        let (clock, now) = (self.node.clock_ms(), SystemTime::now());
        let at = |then: u64| now - Duration::from_millis(clock.saturating_sub(then));
        let facts = |connection: &Connection| ConnectionFacts {
            name: connection.admission.name().map(Into::into),
            opened_at: at(connection.opened_at),
            pinged_at: connection.pinged_at.map(at),
            user_agent: connection.user_agent.clone(),
        };
        let connections = self.connections.borrow();
        let open = connections.iter().map(|(_, connection)| connection);
        open.filter(|own| own.phase == Phase::Open && own.admission.dialect().number == dialect)
            .map(|own| facts(own))
            .collect()
    }
}

impl Node {
    /// What is known of this node's open connections of `mounted`, oldest first.
    pub async fn list(&self, mounted: &MountedDialect) -> Vec<ConnectionFacts> {
        let ask = |shard: &ShardHandle| {
            let (tell, told) = oneshot::channel();
            shard.send(ShardCommand::List(mounted.number, tell));
            told
        };
        let asked: Vec<_> = self.shards().iter().map(ask).collect();
        let mut all = Vec::new();
        for told in asked {
            all.extend(told.await.unwrap_or_default());
        }
        all.sort_by_key(|facts| facts.opened_at);
        all
    }
}
