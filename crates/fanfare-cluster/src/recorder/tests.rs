#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::Relaxed;

use fanfare_core::{Audience, Broker, BrokerHealth, Channel, Event, Interest, history::History};

use crate::{
    journal::MemoryJournal,
    test_hub::{Hub, KEEP, eventually, to},
    transport::{Subject, recorder::BEGINS_ANEW},
};

#[tokio::test]
async fn a_recorded_event_does_not_overtake_publications_that_were_given_up() {
    let hub = Hub::with_plain_publications(MemoryJournal::new(1 << 20));
    let (node, other) = (hub.node("a").await, hub.node("b").await);
    node.inbound.keeps.store(true, Relaxed);
    let channel = Channel::new("chat.a").unwrap();
    node.hold_interest(Interest::Channel(channel.clone())).await;
    let audience = Audience::Channel(channel);
    hub.publish(
        Subject::Audience(audience.clone()),
        br#"{"type":"t","payload":1}"#,
    );
    let awaited = || node.broker.journal_figures().awaited;
    eventually("the publication waits for its copy", async || awaited() == 1).await;
    hub.set_ticks_stalled(true);
    let tick = format!(r#"{{"tick":[2,{BEGINS_ANEW}]}}"#);
    hub.publish(Subject::Nodes, tick.as_bytes());
    let kept = Event {
        history: History::Wanted(KEEP),
        ..to(audience, "2")
    };
    other.publish_without_receipt(kept).await;
    // The event has arrived, because the probe behind it has.
    assert!(matches!(
        node.broker.health().await,
        BrokerHealth::Connected { .. }
    ));
    assert_eq!(node.inbound.seen(), [""; 0]);
    assert_eq!(
        node.broker.journal_figures().awaited,
        0,
        "the publication is given up"
    );
    hub.set_ticks_stalled(false);
    eventually("both have arrived", async || node.inbound.seen().len() == 2).await;
    assert_eq!(node.inbound.seen(), ["1", "2"]);
}
