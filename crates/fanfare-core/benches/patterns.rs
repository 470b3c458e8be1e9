//! Measures the cost of patterns for an event: unrelated, matching and hostile ones. Run `cargo bench -p fanfare-core`, and
//! compare the medians.

use std::fmt;

use divan::{Bencher, black_box};
use fanfare_core::{Channel, Pattern, SubscriptionIndex};
use rand::{Rng, SeedableRng, rngs::StdRng};

type Index = SubscriptionIndex<u64>;

fn main() {
    divan::main();
}

fn channel(name: &str) -> Channel {
    Channel::new(name).expect("a name")
}

fn add(index: &mut Index, pattern: &str, connection: u64) {
    index.add_pattern(&Pattern::new(pattern).expect("a pattern"), connection);
}

/// Returns an index of one connection on `chat.general`, and `patterns` others with a pattern each.
fn index(patterns: u64, pattern: impl Fn(u64) -> String) -> Index {
    let mut index = Index::default();
    index.add_channel(&channel("chat.general"), u64::MAX);
    for connection in 0..patterns {
        add(&mut index, &pattern(connection), connection);
    }
    index
}

/// Measures a shard's search for the receivers of an event.
fn look_up(bencher: Bencher<'_, '_>, index: &Index, name: &str) {
    let channel = channel(name);
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        out.extend_from_slice(index.channel_members(black_box(&channel)));
        index.pattern_members(black_box(&channel), &mut out);
        out.len()
    });
}

/// Patterns with another first segment than the channel.
#[divan::bench(args = [0, 1_000, 100_000])]
fn unrelated(bencher: Bencher<'_, '_>, patterns: u64) {
    let index = index(patterns, |at| format!("messages.user-{at}.*"));
    look_up(bencher, &index, "chat.general");
}

/// Patterns with the channel's first segment and another second one.
#[divan::bench(args = [0, 1_000, 100_000])]
fn unrelated_with_a_common_beginning(bencher: Bencher<'_, '_>, patterns: u64) {
    let index = index(patterns, |at| format!("chat.room-{at}.**"));
    look_up(bencher, &index, "chat.general");
}

/// One of the patterns matches.
#[divan::bench(args = [1, 1_000, 100_000])]
fn one_matches(bencher: Bencher<'_, '_>, patterns: u64) {
    let index = index(patterns, |at| format!("messages.user-{at}.*"));
    look_up(bencher, &index, "messages.user-0.text");
}

/// A connection subscribes to one more pattern, then unsubscribes.
#[divan::bench(args = [1, 1_000, 100_000])]
fn subscribed_and_unsubscribed(bencher: Bencher<'_, '_>, patterns: u64) {
    let mut index = index(patterns, |at| format!("messages.user-{at}.*"));
    let pattern = Pattern::new("messages.user-x.*").expect("a pattern");
    bencher.bench_local(|| index.add_pattern(&pattern, 7) && index.remove_pattern(&pattern, 7));
}

/// A thousand patterns of one connection, of these words in random order.
#[derive(Clone, Copy)]
struct Hostile {
    words: &'static [&'static str],
    segments: usize,
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.segments, self.words.join(" "))
    }
}

const HOSTILE: [Hostile; 5] = [
    Hostile {
        words: &["*", "**"],
        segments: 32,
    },
    Hostile {
        words: &["a", "*", "**"],
        segments: 32,
    },
    Hostile {
        words: &["a", "*", "**"],
        segments: 16,
    },
    Hostile {
        words: &["a", "b", "c", "**"],
        segments: 16,
    },
    Hostile {
        words: &["a", "*"],
        segments: 32,
    },
];

impl Hostile {
    fn index(self) -> Index {
        let mut random = StdRng::seed_from_u64(1);
        let mut index = index(0, |_| String::new());
        while index.patterns() < 1_000 {
            let word = |_| self.words[random.random_range(0..self.words.len())];
            let words: Vec<_> = (0..self.segments).map(word).collect();
            add(&mut index, &words.join("."), 7);
        }
        index
    }
}

/// A typical channel.
#[divan::bench(args = HOSTILE)]
fn hostile_ordinary_channel(bencher: Bencher<'_, '_>, hostile: Hostile) {
    look_up(bencher, &hostile.index(), "chat.general.text");
}

/// A channel that most of the patterns match.
#[divan::bench(args = HOSTILE)]
fn hostile_deepest_channel(bencher: Bencher<'_, '_>, hostile: Hostile) {
    look_up(bencher, &hostile.index(), &["a"; 32].join("."));
}

/// A channel of as many segments, with three different ones.
#[divan::bench(args = HOSTILE)]
fn hostile_mixed_channel(bencher: Bencher<'_, '_>, hostile: Hostile) {
    let mixed: Vec<_> = ["a", "b", "c", "b"].into_iter().cycle().take(32).collect();
    look_up(bencher, &hostile.index(), &mixed.join("."));
}

/// A thousand patterns of one connection, each with other segments of the channel and `**` between them. The segments of the
/// channel are all different.
#[divan::bench]
fn hostile_gaps(bencher: Bencher<'_, '_>) {
    let words: Vec<_> = (0..32).map(|at| format!("s{at}")).collect();
    let mut random = StdRng::seed_from_u64(1);
    let mut index = index(0, |_| String::new());
    while index.patterns() < 1_000 {
        let chosen = words.iter().step_by(2).filter(|_| random.random_bool(0.8));
        let chosen: Vec<_> = chosen.map(String::as_str).collect();
        add(&mut index, &format!("{}.**", chosen.join(".**.")), 7);
    }
    look_up(bencher, &index, &words.join("."));
}
