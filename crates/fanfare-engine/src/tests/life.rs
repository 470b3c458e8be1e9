//! The life of connections: admission, memory, timeouts, end.

use std::time::{Duration, UNIX_EPOCH};

use fanfare_core::{Identity, Refusal};

use super::world::{in_memory, in_world, settings};
use crate::{
    DialectSettings, clock::Moment, driver::Driver, in_force::InForce, serve::Service, sweep::sweep_chunk,
};

#[test]
fn a_connection_is_small() {
    // A node may hold a million idle connections, so each byte here is a megabyte. The tests' own transport adds none.
    let bytes = size_of::<Driver>();
    assert!(bytes <= 312, "{bytes}");
    // The entries of the directory and the node for each user.
    assert_eq!(size_of::<InForce>(), 8);
    // With the two counts of its `Arc` it fills 128 bytes, a class of the allocator.
    assert_eq!(size_of::<Identity>(), 112);
    // Of a task's 128 bytes, tokio needs 104; with one byte more it would have 256.
    assert_eq!(size_of::<Service>(), 24);
}

#[test]
fn the_first_pages_are_filled_first_and_the_last_ones_are_released() {
    let many = DialectSettings {
        max_connections: 1_000,
        ..settings()
    };
    in_world(many, |world| async move {
        let slots = || world.shard.connections.borrow().slots();
        let mut clients = Vec::new();
        for number in 0..250 {
            clients.push(world.connect(&format!("user-{number}")).await);
        }
        let most = slots();
        assert!((250..500).contains(&most), "{most}");
        clients.drain(..125);
        world.held(125).await;
        for number in 0..125 {
            clients.push(world.connect(&format!("user-{number}")).await);
        }
        assert_eq!(slots(), most);
        clients.truncate(1);
        world.held(1).await;
        world.shard.connections.borrow_mut().shrink();
        assert_eq!(world.shard.connections.borrow().iter().count(), 1);
        clients.clear();
        world.held(0).await;
        world.shard.connections.borrow_mut().shrink();
        assert_eq!(slots(), 0);
    });
}

#[test]
fn connections_are_limited_and_their_places_released() {
    let few = DialectSettings {
        max_connections: 2,
        max_connections_per_user: 1,
        ..settings()
    };
    in_world(few, |world| async move {
        let alice = world.connect("alice").await;
        let again = world.reserve("alice", Duration::from_secs(60)).await;
        assert_eq!(again.err(), Some(Refusal::UserAtCapacity));
        let bob = world.connect("bob").await;
        let carol = world.reserve("carol", Duration::from_secs(60)).await;
        assert_eq!(carol.err(), Some(Refusal::AtCapacity));
        assert_eq!((world.node.active(), world.node.users().len()), (2, 2));
        drop((alice, bob));
        world.held(0).await;
        assert_eq!((world.node.active(), world.node.users().len()), (0, 0));
        world.connect("alice").await;
    });
}

#[test]
fn connections_from_one_address_are_limited() {
    in_world(
        DialectSettings {
            max_connections_per_ip: 1,
            ..settings()
        },
        |world| async move {
            let alice = world.connect("alice").await;
            let bob = world.reserve("bob", Duration::from_secs(60)).await;
            assert_eq!(bob.err(), Some(Refusal::AddressAtCapacity));
            assert_eq!(world.node.active(), 1, "a refused place is given back");
            drop(alice);
            world.held(0).await;
            assert!(world.reserve("bob", Duration::from_secs(60)).await.is_ok());
        },
    );
}

#[test]
fn an_upgrade_that_never_completes_holds_nothing() {
    in_world(settings(), |world| async move {
        drop(world.reserve("alice", Duration::from_secs(60)).await);
        assert_eq!(
            (world.node.active(), world.shard.len(), world.node.users().len()),
            (0, 0, 0)
        );
    });
}

#[test]
fn a_connection_ends_with_its_token() {
    in_world(settings(), |world| async move {
        let guard = world.reserve("alice", Duration::from_millis(300)).await.unwrap();
        let (mut client, server, _) = in_memory();
        guard.serve(server, &[]);
        assert_eq!(client.close().await, (1008, "token_expired".into()));
    });
}

#[test]
fn only_tokens_expire_by_the_wall_clock() {
    in_world(settings(), |world| async move {
        let mut client = world.connect("alice").await; // for an hour
        let now = world.node.now();
        let wall = |seconds| now.wall + Duration::from_secs(seconds);
        let sweep = |wall| _ = sweep_chunk(&world.shard, &mut 0, Moment { wall, ..now });
        sweep(UNIX_EPOCH);
        sweep(wall(3_000));
        assert_eq!(
            world.node.active(),
            1,
            "a correction of less than the token's time ends nothing"
        );
        sweep(wall(3_700));
        assert_eq!(client.close().await, (1008, "token_expired".into()));
    });
}

#[test]
fn silence_is_pinged_and_then_ends_the_connection() {
    let (ping_interval, ping_timeout) = (Duration::from_millis(300), Duration::from_secs(1));
    in_world(
        DialectSettings {
            ping_interval,
            ping_timeout,
            ..settings()
        },
        |world| async move {
            let mut silent = world.connect("alice").await;
            assert_eq!(silent.frame().await, Some((9, Vec::new())));
            assert_eq!(silent.close().await, (1008, "ping_timeout".into()));
        },
    );
}

#[test]
fn any_frame_ends_the_silence() {
    let (ping_interval, ping_timeout) = (Duration::from_secs(30), Duration::from_millis(800));
    in_world(
        DialectSettings {
            ping_interval,
            ping_timeout,
            ..settings()
        },
        |world| async move {
            let mut lively = world.connect("alice").await;
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                lively.say("hi").await;
                assert_eq!(lively.text().await, "hi");
            }
        },
    );
}

#[test]
fn a_drain_ends_every_connection() {
    in_world(settings(), |world| async move {
        let mut clients = Vec::new();
        for user in ["a", "b", "c", "d"] {
            clients.push(world.connect(user).await);
        }
        world.node.drain(Duration::from_millis(200));
        for client in &mut clients {
            assert_eq!(client.close().await, (1008, "shutting_down".into()));
        }
        drop(clients);
        world.held(0).await;
    });
}

#[test]
fn a_connection_that_is_ended_during_its_start_receives_the_close() {
    in_world(settings(), |world| async move {
        let guard = world.reserve("alice", Duration::from_secs(60)).await.unwrap();
        world.publish("alice", "t", "1").await;
        world.node.drain(Duration::ZERO);
        // No event is delivered to a connection that closes.
        assert_eq!(world.publish("alice", "t", "2").await.reach.matched, 0);
        let (mut client, server, _) = in_memory();
        guard.serve(server, &[]);
        assert_eq!(client.text().await, "1");
        assert_eq!(client.close().await, (1008, "shutting_down".into()));
    });
}
