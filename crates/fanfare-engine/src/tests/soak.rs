//! Clients that send random commands concurrently, while the broker and the authorizer are sometimes unavailable. In the end all
//! clients must be answered, and nothing may be held for them.

use std::time::Duration;

use fanfare_core::PublishOptions;

use super::{
    chance::Chance,
    client::Client,
    fakes::FakeAuthorizer,
    plain::Plain,
    world::{Setup, World, event, settings, token},
};
use crate::{Conflict, DialectSettings};

const CHANNELS: &[&str] = &["a.b", "a.c", "a.secret", "project:1", "task:1", "notifications"];
const LISTENED: &[&str] = &[
    "a.b",
    "a.c",
    "a.secret",
    "project:1",
    "user:alice",
    "user:*",
    "a.*",
    "**",
    "notifications",
];
const USERS: &[&str] = &["alice", "bob", "carol"];

fn command(chance: &mut Chance) -> String {
    let (one, other) = (chance.of(LISTENED), chance.of(LISTENED));
    let (channel, user) = (chance.of(CHANNELS), chance.of(USERS));
    match chance.below(12) {
        0 | 1 => format!("sub {one} {other}"),
        2 => format!("sub-all {one} {other}"),
        3 => format!("unsub {one} {other}"),
        4 => format!("join {channel}"),
        5 => format!("leave {channel}"),
        6 => format!("pub {channel} 1"),
        7 => format!("pub-member {channel} 2"),
        8 => format!("direct {user} 3"),
        9 => format!("auth {}", token(user, 60, &serde_json::Value::Null)),
        10 => format!("timer {};facts", chance.below(300)),
        _ => format!("sub {one};join {channel};pub {channel} 4;unsub {other};leave {channel}"),
    }
}

async fn step(world: &World, authorizer: &FakeAuthorizer, clients: &mut Vec<Client>, chance: &mut Chance) {
    match chance.below(20) {
        0..=2 if clients.len() < 12 => {
            let shard = chance.below(2);
            clients.push(
                world
                    .connect_on(shard, chance.of(&["", "alice", "bob", "carol"]))
                    .await,
            );
        }
        3 if !clients.is_empty() => drop(clients.swap_remove(chance.below(clients.len()))),
        4 => world.broker.confirm(),
        5 => world.broker.confirms.shut(),
        6 | 7 => world.broker.carries.open(),
        8 => world.broker.carries.shut(),
        9 => authorizer.gate.open(),
        10 => authorizer.gate.shut(),
        11 => authorizer.forget(),
        12 | 13 => {
            // As a backend does, without a wait for the receipt.
            let (node, to) = (world.node.clone(), chance.of(&["alice", "bob", "*"]));
            tokio::task::spawn_local(async move {
                let options = PublishOptions { receipt: false };
                let events = vec![event(to, "t", "5"); 3];
                node.publish(events, options, Conflict::Wait).await
            });
        }
        14 => tokio::time::sleep(Duration::from_millis(1)).await,
        _ if clients.is_empty() => {}
        _ => {
            let client = chance.below(clients.len());
            clients[client].say(&command(chance)).await;
        }
    }
}

#[test]
fn after_random_commands_all_clients_are_answered_and_nothing_is_held() {
    for seed in 1..=8 {
        let authorizer = FakeAuthorizer::new(true);
        let setup = Setup {
            settings: DialectSettings {
                max_connections: 100,
                send_queue: 100_000,
                ..settings()
            },
            dialects: vec![[Plain::default(), Plain::by_subscription()][seed % 2].clone()],
            shards: 2,
            is_real: true,
            ..Setup::asking(&authorizer)
        };
        setup.run(|world| async move {
            let mut chance = Chance(seed as u64);
            let mut clients = Vec::new();
            for _ in 0..600 {
                // The upgrade of a user waits for the broker, which must therefore confirm sometimes.
                if chance.below(10) == 0 {
                    world.broker.confirm();
                }
                let stepping = step(&world, &authorizer, &mut clients, &mut chance);
                if tokio::time::timeout(Duration::from_millis(20), stepping)
                    .await
                    .is_err()
                {
                    world.broker.confirm();
                }
            }
            world.broker.confirm();
            world.broker.carries.open();
            authorizer.gate.open();
            for (number, client) in clients.iter_mut().enumerate() {
                let last = format!("last {number}");
                client.say(&last).await;
                while client.text().await != last {}
            }
        });
    }
}
