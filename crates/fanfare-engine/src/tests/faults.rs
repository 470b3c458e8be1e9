//! Panics, which end one connection or drop one event.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    plain::Plain,
    world::{Setup, in_world, settings},
};

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

#[test]
fn a_panic_outside_of_the_connections_task_ends_that_connection_alone() {
    in_world(settings(), |world| async move {
        let (mut alice, mut bob) = (world.connect("speechless").await, world.connect("bob").await);
        for client in [&mut alice, &mut bob] {
            assert_eq!(client.ask("sub a *;join project:1").await, "sub: ok ok");
            client.receives(&["join: ok"]).await;
        }
        // Its timer panics, and so do its dialect's announcements of its join and leave.
        alice.say("fail later;timer 0").await;
        assert_eq!(alice.close().await, (1011, "internal_error".into()));
        drop(alice);
        world.held(1).await;
        assert_eq!(
            (
                world.publish_on("a", "1").await,
                world.publish_on("project:1", "2").await
            ),
            (1, 1)
        );
        bob.receives(&["1", "2"]).await;
        bob.receives_no_more().await;
    });
}

#[test]
fn a_panic_in_the_last_message_of_a_close_ends_that_connection_alone() {
    let wordless = Plain {
        mark: "wordless",
        ..Plain::default()
    };
    let setup = Setup {
        dialects: vec![wordless],
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        alice.say("panic").await;
        assert_eq!(alice.close().await, (1011, String::new()));
        bob.say("fail later;timer 0").await;
        assert_eq!(bob.close().await, (1011, String::new()));
        drop((alice, bob));
        world.held(0).await;
        let mut cem = world.connect("cem").await;
        cem.say("still here").await;
        assert_eq!(cem.text().await, "still here");
    });
}
