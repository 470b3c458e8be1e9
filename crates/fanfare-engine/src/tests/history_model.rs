//! Random publications, losses, returns and evictions against a complete model: no event is missed or repeated, the order is kept,
//! and each gap is reported to the client.

use std::time::Duration;

use fanfare_core::{
    history::Retention,
    policy::{PolicyOptions, Rule, RulePattern},
};

use super::{
    chance::Chance,
    client::Client,
    world::{Setup, World, rules},
};

/// Events that are kept of each channel.
const SIZE: u32 = 6;
const CHANNELS: [&str; 4] = ["chat.a", "chat.b", "chat.c.d", "news"];
/// The subscriptions of the client, and the channels that each shows.
const SCOPES: [(&str, [bool; 4]); 3] = [
    ("chat.* news", [true, true, false, true]),
    ("chat.a chat.c.d", [true, false, true, false]),
    ("**", [true, true, true, true]),
];

/// The published events: the number of each, and its channel.
#[derive(Default)]
struct Model(Vec<(u64, usize)>);

impl Model {
    fn behind(&self, shown: [bool; 4], number: u64) -> Vec<u64> {
        let behind = self
            .0
            .iter()
            .filter(|(own, channel)| *own > number && shown[*channel]);
        behind.map(|(own, _)| *own).collect()
    }

    /// Returns whether all events behind `number` are among the newest of their channel.
    fn is_kept(&self, shown: [bool; 4], number: u64) -> bool {
        (0..4).filter(|channel| shown[*channel]).all(|channel| {
            let newer = self
                .0
                .iter()
                .filter(|(own, of)| *of == channel && *own > number)
                .count();
            newer <= SIZE as usize
        })
    }
}

/// Rules by which every channel has this history.
pub(super) fn policy(history: Retention) -> PolicyOptions {
    let rule = Rule {
        pattern: RulePattern::new("**").unwrap(),
        subscribe: None,
        publish: None,
        join: None,
        history: Some(history),
    };
    PolicyOptions {
        rules: vec![rule],
        ..rules(&[])
    }
}

fn setup() -> Setup {
    let history = Retention {
        size: SIZE,
        ttl: Duration::from_secs(3600),
    };
    Setup {
        policy: policy(history),
        ..Setup::default()
    }
}

/// Reads all messages that the client has received; returns the numbers of the events.
async fn drained(client: &mut Client) -> Vec<u64> {
    client.say("no more").await;
    let mut numbers = Vec::new();
    loop {
        let text = client.text().await;
        if text == "no more" {
            return numbers;
        }
        numbers.push(number_of(&text));
    }
}

fn number_of(text: &str) -> u64 {
    let (_, number) = text
        .rsplit_once('@')
        .unwrap_or_else(|| panic!("no event: {text}"));
    u64::from_str_radix(number, 16).unwrap()
}

#[test]
fn no_event_is_missed_or_repeated() {
    play_for(3, |seed| setup().run(|world| play(world, Chance(seed))));
}

/// Runs rounds with one seed after the other, for `seconds` or `FANFARE_MODEL_SECONDS`. Without that variable the seeds are the same
/// each time, so that a failure is caused by the tested change. A longer run begins at a random seed, to find new bugs.
pub(super) fn play_for(seconds: u64, mut play: impl FnMut(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = number("FANFARE_MODEL_SECONDS");
    let seed = number("FANFARE_SEED").unwrap_or_else(|| wanted.map_or(1, |_| rand_seed()));
    let seconds = wanted.unwrap_or(seconds);
    let until = std::time::Instant::now() + Duration::from_secs(seconds);
    for round in 0.. {
        let seed = seed.wrapping_add(round);
        eprintln!("FANFARE_SEED={seed}");
        play(seed);
        if std::time::Instant::now() > until {
            break;
        }
    }
}

fn rand_seed() -> u64 {
    u64::try_from(uuid::Uuid::new_v4().as_u128() & u128::from(u64::MAX)).unwrap()
}

async fn play(world: World, mut chance: Chance) {
    let mut model = Model::default();
    let mut cursor = world.present();
    for _ in 0..30 {
        for _ in 0..chance.below(12) {
            publish(&world, &mut model, &mut chance).await;
        }
        let (names, shown) = SCOPES[chance.below(SCOPES.len())];
        let mut client = world.connect("alice").await;
        // Sometimes the journal takes its time, and events are published between its reading and its answer.
        let is_slow = chance.below(2) == 0;
        if is_slow {
            world.broker.reads.shut();
        }
        client.say(&format!("sub-since {cursor} {names}")).await;
        if is_slow {
            world.holds_back().await;
        }
        let (missed, is_kept) = (
            model.behind(shown, cursor.number),
            model.is_kept(shown, cursor.number),
        );
        for _ in 0..if is_slow { chance.below(4) } else { 0 } {
            publish(&world, &mut model, &mut chance).await;
        }
        world.broker.reads.open();
        let answer = client.text().await;
        if answer.contains(r#""recovered":true"#) {
            assert!(is_kept, "{answer}");
            assert!(
                answer.ends_with(&format!(r#""replayed":{}}}"#, missed.len())),
                "{answer} {missed:?}"
            );
        } else {
            assert!(!is_kept, "{answer}");
            let (_, rest) = answer.split_once(r#""cursor":""#).unwrap();
            cursor = rest.split_once('"').unwrap().0.parse().unwrap();
        }
        for _ in 0..chance.below(6) {
            publish(&world, &mut model, &mut chance).await;
        }
        let expected = model.behind(shown, cursor.number);
        if chance.below(2) == 0 {
            assert_eq!(drained(&mut client).await, expected, "{names} after {cursor}");
            cursor = world.present();
        } else if !expected.is_empty() {
            // The connection is lost after some of the events.
            for number in expected.iter().take(chance.below(expected.len() + 1)) {
                assert_eq!(number_of(&client.text().await), *number);
                cursor.number = *number;
            }
        }
        drop(client);
    }
}

async fn publish(world: &World, model: &mut Model, chance: &mut Chance) {
    let channel = chance.below(CHANNELS.len());
    world.publish_on(CHANNELS[channel], "0").await;
    model.0.push((world.present().number, channel));
}
