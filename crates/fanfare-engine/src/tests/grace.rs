//! Users who lost their connection stay in their rooms until the grace is over.

use std::time::Duration;

use fanfare_ws::{Opcode, encode};

use super::{
    plain::Plain,
    world::{Setup, World, until},
};
use crate::sweep::leave_due;

fn patient() -> Setup {
    Setup {
        dialects: vec![Plain {
            grace: Duration::from_secs(3600),
            ..Plain::default()
        }],
        ..Setup::default()
    }
}

/// Advances the clock beyond the grace.
fn later(world: &World) -> u64 {
    world.node.now().ms + 3_600_000
}

#[test]
fn a_lost_user_leaves_when_the_grace_is_over() {
    patient().run(|world| async move {
        let (mut loud, mut bob) = (world.connect("loud").await, world.connect("bob").await);
        for client in [&mut loud, &mut bob] {
            client.ask("join project:1").await;
        }
        loud.ask("join task:1").await;
        bob.receives_no_more().await;
        drop(loud);
        world.held(1).await;
        bob.receives_no_more().await;
        leave_due(&world.shard, later(&world) - 60_000);
        bob.receives_no_more().await;
        leave_due(&world.shard, later(&world));
        bob.receives(&["\"loud-left\""]).await;
        world.has_rooms(1).await;
    });
}

#[test]
fn a_user_that_returns_within_the_grace_is_not_announced() {
    patient().run(|world| async move {
        let (mut loud, mut bob) = (world.connect("loud").await, world.connect("bob").await);
        for client in [&mut bob, &mut loud] {
            client.ask("join project:1").await;
        }
        bob.receives(&["\"loud-joined\""]).await;
        for _ in 0..3 {
            drop(loud);
            world.held(1).await;
            loud = world.connect("loud").await;
            assert_eq!(loud.ask("join project:1").await, "join: ok");
        }
        assert_eq!(
            world.shard.absentees.borrow().len(),
            1,
            "once for a user and room"
        );
        leave_due(&world.shard, later(&world));
        bob.receives_no_more().await;
        loud.receives_no_more().await;
        assert_eq!(loud.ask("leave project:1").await, "leave: ok");
        bob.receives(&["\"loud-left\""]).await;
    });
}

#[test]
fn a_leave_a_close_and_a_kick_have_no_grace() {
    for how in ["leave", "close frame", "sent away"] {
        patient().run(|world| async move {
            let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
            for client in [&mut alice, &mut bob] {
                client.ask("join project:1").await;
            }
            match how {
                "leave" => assert_eq!(alice.ask("leave project:1").await, "leave: ok"),
                "sent away" => alice.say("end").await,
                _ => {
                    alice
                        .write(&encode::masked_frame(Opcode::Close, &[3, 232], [0; 4]))
                        .await;
                }
            }
            bob.receives(&["\"alice-left\""]).await;
            assert_eq!(world.shard.absentees.borrow().len(), 0, "{how}");
        });
    }
}

#[test]
fn a_drain_has_no_grace() {
    patient().run(|world| async move {
        let (mut lost, mut alice) = (world.connect("lost").await, world.connect("alice").await);
        let mut bob = world.connect("bob").await;
        for client in [&mut lost, &mut alice, &mut bob] {
            client.ask("join project:1").await;
        }
        drop(lost);
        world.held(2).await;
        bob.receives_no_more().await;
        world.node.drain(Duration::from_secs(1));
        // The user who was lost before leaves, and the others when they are closed.
        until(|| world.shard.absentees.borrow().len() == 0).await;
        assert_eq!(alice.close().await.1, "shutting_down");
        assert_eq!(bob.close().await.1, "shutting_down");
        drop((alice, bob));
        world.held(0).await;
        world.has_rooms(0).await;
    });
}
