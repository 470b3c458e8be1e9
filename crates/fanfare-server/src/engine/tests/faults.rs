//! A fault in one place stays there.

use std::sync::atomic::Ordering::Relaxed;

use super::world::{in_world, settings};

#[test]
fn a_panic_in_a_conversation_ends_that_connection_alone() {
    in_world(settings(), |world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        alice.say("panic").await;
        assert_eq!(alice.close().await, (1011, "internal_error".into()));
        bob.say("still here").await;
        assert_eq!(bob.text().await, "still here");
        assert_eq!(world.publish("*", "t", "1").await.reach.queued, 1);
        drop(alice);
        world.held(1).await;
    });
}

#[test]
fn a_panic_in_a_rendering_drops_that_event_alone() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        assert_eq!(world.publish("alice", "panic", "1").await.reach.queued, 0);
        assert_eq!(world.publish("alice", "t", "2").await.reach.queued, 1);
        assert_eq!(alice.text().await, "2");
        assert_eq!(world.node.dialects[0].counters.render_faults.load(Relaxed), 1);
    });
}
