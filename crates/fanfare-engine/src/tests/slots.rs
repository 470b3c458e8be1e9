//! The slots of names and users, which count on all nodes.

use std::time::Duration;

use fanfare_core::{Broker, Refusal, SlotScope};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    plain::Plain,
    world::{Setup, World, in_world, settings, token, until},
};
use crate::DialectSettings;

const A_MINUTE: Duration = Duration::from_secs(60);

fn at_most(max_connections_per_user: usize) -> DialectSettings {
    DialectSettings {
        max_connections_per_user,
        ..settings()
    }
}

fn slots(world: &World) -> Vec<(String, usize)> {
    let slots = world.broker.slots().into_iter();
    let mut slots: Vec<_> = slots.map(|(name, count)| (name.to_string(), count)).collect();
    slots.sort();
    slots
}

#[test]
fn without_a_limit_no_slot_is_acquired() {
    in_world(settings(), |world| async move {
        let _alice = world.connect("alice").await;
        assert_eq!(slots(&world), []);
    });
}

#[test]
fn a_users_slots_are_counted_over_all_nodes() {
    in_world(at_most(2), |world| async move {
        let elsewhere = world.broker.occupy(SlotScope::User, "alice");
        let mut alice = world.connect("alice").await;
        let refused = world.reserve("alice", A_MINUTE).await;
        assert_eq!(refused.err(), Some(Refusal::UserAtCapacity));
        assert_eq!(slots(&world), [("alice".into(), 2)]);
        assert_eq!(
            (world.node.active(), world.shard.len()),
            (1, 1),
            "nothing is left"
        );
        let bob = world.connect("bob").await;
        world.broker.release_slot(elsewhere);
        let again = world.connect("alice").await;
        // A slot is released when its connection is closed, even before the client hangs up.
        alice.say("end").await;
        alice.close().await;
        until(|| slots(&world) == [("alice".into(), 1), ("bob".into(), 1)]).await;
        drop((alice, again, bob));
    });
}

#[test]
fn an_aborted_handshake_releases_its_slot() {
    in_world(at_most(1), |world| async move {
        for is_named in [false, true] {
            world.broker.grants.shut();
            let waiting = world.clone();
            let name = is_named.then_some("tab");
            let entering = tokio::task::spawn_local(async move {
                waiting
                    .reserve_named(0, super::world::who("alice", A_MINUTE), name)
                    .await
            });
            until(|| world.node.active() == 1).await;
            entering.abort();
            until(|| world.node.active() == 0).await;
            assert_eq!(slots(&world), []);
            world.broker.grants.open();
            // Its slot is released, so another connection can acquire it.
            until(|| slots(&world).is_empty()).await;
            let alice = world.connect("alice").await;
            until(|| slots(&world) == [("alice".into(), 1)]).await;
            drop(alice);
            world.held(0).await;
        }
    });
}

#[test]
fn a_connection_acquires_its_users_slot_when_it_authenticates() {
    in_world(at_most(1), |world| async move {
        let auth = |user| format!("auth {}", token(user, 60, &Value::Null));
        let elsewhere = world.broker.occupy(SlotScope::User, "alice");
        let mut client = world.connect("").await;
        assert_eq!(client.ask(&auth("alice")).await, "auth: user_at_capacity");
        assert_eq!(slots(&world), [("alice".into(), 1)]);
        world.broker.release_slot(elsewhere);
        for _ in 0..2 {
            // A renewed credential acquires no other slot.
            assert_eq!(client.ask(&auth("alice")).await, "auth: alice");
            assert_eq!(slots(&world), [("alice".into(), 1)]);
        }
        drop(client);
        until(|| slots(&world).is_empty()).await;
    });
}

#[test]
fn a_connection_that_switches_its_dialect_switches_its_slot() {
    let setup = Setup {
        dialects: vec![Plain::default(), Plain::default()],
        settings: at_most(2),
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut alice = world.connect("alice").await;
        world.broker.grants.shut();
        alice.say_all(&["become", "hello"]).await;
        until(|| world.waiting() == 1).await;
        world.broker.grants.open();
        alice.receives(&["become", "hello"]).await;
        assert_eq!(slots(&world), [("alice".into(), 1)]);
        // Both test dialects have the same name, so this connection needs a third slot.
        let mut again = world.connect("alice").await;
        again.say("become").await;
        assert_eq!(again.close().await, (1013, "at capacity".into()));
        drop(again);
    });
}

#[test]
fn a_name_is_unique_on_all_nodes() {
    in_world(settings(), |world| async move {
        let named = |name: &'static str| {
            let world = world.clone();
            async move { world.reserve_named(0, None, Some(name)).await }
        };
        let elsewhere = world.broker.occupy(SlotScope::Name, "tab");
        assert_eq!(named("tab").await.err(), Some(Refusal::NameTaken));
        let other = named("other").await.unwrap();
        assert_eq!(slots(&world), [("other".into(), 1), ("tab".into(), 1)]);
        assert_eq!(named("other").await.err(), Some(Refusal::NameTaken));
        // A handshake that waits acquires a name that is released.
        let waiting = tokio::task::spawn_local(named("tab"));
        sleep(Duration::from_millis(200)).await;
        world.broker.release_slot(elsewhere);
        let tab = waiting.await.unwrap().unwrap();
        let waiting = tokio::task::spawn_local(named("other"));
        sleep(Duration::from_millis(200)).await;
        drop(other);
        drop((waiting.await.unwrap().unwrap(), tab));
    });
}
