//! The work that one client causes its shard before other clients have their turn.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fanfare_core::Ending;
use fanfare_ws::{DeflateParams, Deflater, Opcode, encode};

use super::world::{Client, Setup, World, in_world, settings};
use crate::{DialectSettings, serve, turn::Turn, work};

const KEY: [u8; 4] = [1, 2, 3, 4];

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    encode::masked_frame(opcode, payload, KEY).to_vec()
}

fn text(words: &str) -> Vec<u8> {
    frame(Opcode::Text, words.as_bytes())
}

/// Returns a frame that does not end its message.
fn part(opcode: Opcode) -> Vec<u8> {
    encode::masked_fragment(opcode, false, false, b"", KEY).to_vec()
}

fn roomy() -> DialectSettings {
    DialectSettings {
        max_message_size: 64 * 1024,
        max_connections: 1_000,
        ..settings()
    }
}

/// Passes `bytes` to the only connection in one turn. Returns the number of bytes that are left, and the work.
fn one_turn(world: &World, mut bytes: Vec<u8>) -> (usize, u64) {
    let mut connections = world.shard.connections.borrow_mut();
    let only = connections.in_slot(0).unwrap();
    let mut tools = world.shard.tools.borrow_mut();
    let mut turn = Turn::new(&world.shard, only, &mut tools.codec, world.node.now());
    let left = serve::receive(&mut turn, &mut bytes);
    (left, turn.totals.work)
}

#[test]
fn a_turn_ends_when_its_work_is_done() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100)).repeat(300);
    for (kind, frames, largest) in [
        ("pings", vec![frame(Opcode::Ping, b"")], 0),
        ("long pings", vec![frame(Opcode::Ping, &[0; 125])], 0),
        ("pongs", vec![frame(Opcode::Pong, b"")], 0),
        ("small messages", vec![text("a")], 0),
        ("deep JSON", vec![text(&deep)], 10 * deep.len() as u64),
        (
            "patterns",
            vec![
                text("sub **.a.**.b **.c.*.**.d"),
                text("unsub **.a.**.b **.c.*.**.d"),
            ],
            0,
        ),
    ] {
        in_world(roomy(), |world| async move {
            let guard = world.reserve("alice", Duration::from_secs(60)).await.unwrap();
            let bytes = frames.concat().repeat(200_000 / frames.concat().len());
            let size = bytes.len();
            let (left, work) = one_turn(&world, bytes);
            assert!(left > 0 && left < size, "{kind}: {left} of {size} left");
            let most = work::TURN + largest + 20_000;
            assert!(work < most, "{kind}: {work}");
            drop(guard);
        });
    }
}

#[test]
fn unread_messages_count_as_work() {
    let spaces = vec![b' '; 60_000];
    let mut deflater = Deflater::new();
    let packed = deflater.compress(&spaces, 15).unwrap();
    let packed = encode::masked_fragment(Opcode::Text, true, true, packed, KEY).to_vec();
    for (kind, rate, is_over) in [("over the rate", 1, false), ("after the end", 0, true)] {
        let settings = DialectSettings {
            max_messages_per_second: rate,
            message_burst: rate,
            ..roomy()
        };
        let message = packed.clone();
        in_world(settings, |world| async move {
            let guard = world.reserve("alice", Duration::from_secs(60)).await.unwrap();
            for driver in world.shard.connections.borrow_mut().iter_mut() {
                driver
                    .connection
                    .set_framing(crate::Framing::WebSocket(Some(DeflateParams {
                        server_max_window_bits: 15,
                    })));
                if is_over {
                    driver.end(Ending::RateLimited, world.node.now());
                }
            }
            one_turn(&world, message.clone());
            let (left, _) = one_turn(&world, message.repeat(100));
            let taken = 100 - left / message.len();
            assert_eq!(taken, 1, "{kind}");
            drop(guard);
        });
    }
}

#[test]
fn every_frame_counts_against_the_rate() {
    let slow = DialectSettings {
        max_messages_per_second: 1,
        message_burst: 5,
        ..settings()
    };
    let in_parts = [
        part(Opcode::Text),
        part(Opcode::Continuation),
        part(Opcode::Continuation),
    ];
    let in_parts = [
        in_parts.concat(),
        part(Opcode::Continuation),
        frame(Opcode::Continuation, b""),
    ];
    for (kind, frames) in [
        ("pings", frame(Opcode::Ping, b"").repeat(5)),
        ("pongs", frame(Opcode::Pong, b"").repeat(5)),
        ("a message in parts", in_parts.concat()),
        ("a message that never ends", in_parts.concat()[..4 * 6].to_vec()),
    ] {
        in_world(slow.clone(), |world| async move {
            let mut alice = world.connect("alice").await;
            let control = [frame(Opcode::Ping, b"last"), text("one"), text("two")].concat();
            let rest = if kind.ends_with("ends") {
                [frame(Opcode::Continuation, b""), text("two")].concat()
            } else {
                control
            };
            alice.write(&[frames, rest].concat()).await;
            let mut texts = Vec::new();
            while texts.last().is_none_or(|last| last != "limited") {
                let (opcode, payload) = alice.frame().await.unwrap();
                assert_ne!(payload, b"last", "{kind}: a ping over the rate is not answered");
                if opcode == 1 {
                    texts.push(String::from_utf8(payload).unwrap());
                }
            }
            assert!(
                texts.iter().all(|text| text.is_empty() || text == "limited"),
                "{kind}: {texts:?}"
            );
        });
    }
}

#[test]
fn a_few_pings_are_all_answered_and_only_the_latest_of_a_flood() {
    in_world(settings(), |world| async move {
        let numbered = |count: u32| (0..count).map(|n| frame(Opcode::Ping, n.to_string().as_bytes()));
        let mut alice = world.connect("alice").await;
        alice.write(&numbered(10).collect::<Vec<_>>().concat()).await;
        for n in 0..10 {
            assert_eq!(alice.frame().await, Some((10, n.to_string().into_bytes())));
        }
        alice.write(&numbered(2_000).collect::<Vec<_>>().concat()).await;
        let (mut pongs, mut last) = (0, Vec::new());
        while last != b"1999" {
            let (opcode, payload) = alice.frame().await.unwrap();
            assert_eq!(opcode, 10);
            (pongs, last) = (pongs + 1, payload);
        }
        assert!(pongs < 500, "{pongs}");
        alice.receives_no_more().await;
    });
}

/// Returns the number of messages of `clients` that the server reads while a quiet client waits for an answer.
async fn read_meanwhile(world: &World, busy: &mut [Client], quiet: &mut Client, flood: &[u8]) -> u64 {
    let received = || world.node.dialects[0].counters.received.load(Relaxed);
    let before = received();
    for client in &mut *busy {
        client.write_at_once(flood);
    }
    quiet.write_at_once(&text("hi"));
    assert_eq!(quiet.text().await, "hi");
    let meanwhile = received() - before - 1;
    let all = flood.len() as u64 / text(&"x".repeat(900)).len() as u64 * busy.len() as u64;
    super::world::until(|| received() - before > all).await;
    meanwhile
}

#[test]
fn a_quiet_client_does_not_wait_for_busy_ones() {
    let setup = Setup {
        settings: DialectSettings {
            max_connections: 100,
            ..settings()
        },
        dialects: vec![super::plain::Plain::default()],
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut busy = Vec::new();
        for n in 0..20 {
            busy.push(world.connect(&format!("busy{n}")).await);
        }
        let mut quiet = world.connect("quiet").await;
        let flood = text(&"x".repeat(900)).repeat(50);
        read_meanwhile(&world, &mut busy, &mut quiet, &flood).await;
        // By now their recent work is large, so they are served one by one.
        let meanwhile = read_meanwhile(&world, &mut busy, &mut quiet, &flood).await;
        assert!(meanwhile < 400, "{meanwhile} of 1000 messages were read first");
    });
}

#[test]
fn an_event_does_not_wait_for_a_crowd_that_hangs_up() {
    in_world(roomy(), |world| async move {
        let mut alice = world.connect("alice").await;
        let mut crowd = Vec::new();
        for n in 0..300 {
            crowd.push(world.connect(&format!("user{n}")).await);
        }
        world.held(301).await;
        drop(crowd);
        while world.shard.len() == 301 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.publish("alice", "t", "1").await.reach.queued, 1);
        let left = world.shard.len();
        assert!(
            left > 100,
            "all but {left} were ended before the event was delivered"
        );
        alice.receives(&["1"]).await;
        world.held(1).await;
    });
}
