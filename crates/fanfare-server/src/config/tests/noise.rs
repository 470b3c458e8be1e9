//! Random input is refused, and never causes a panic.

use std::fmt::Write as _;

use super::super::print::switched_on;
use super::super::{Sources, example, load};
use super::fixture::large;
use super::load_text;

/// A small generator of numbers (xorshift), the same at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

const PIECES: [&str; 40] = [
    "[",
    "]",
    "[[",
    "]]",
    "=",
    "\n",
    "\"",
    "'",
    "\"\"\"",
    "{",
    "}",
    ",",
    ".",
    "#",
    " ",
    "\0",
    "\u{feff}",
    "é",
    "listener",
    "bind",
    "dialects",
    "tls",
    "auth",
    "jwt_secret",
    "notify",
    "ping_interval",
    "resp",
    "-1",
    "0",
    "1e400",
    "0x7fffffffffffffff",
    "9999999999999999999999",
    "1979-05-27",
    "inf",
    "nan",
    "true",
    "\"30s\"",
    "\"0.0.0.0:1\"",
    "[[listener]]\n",
    "\\u{110000}",
];

#[test]
fn mutated_files_do_not_panic() {
    let registry = large();
    let whole: Vec<char> = switched_on(&example(registry)).chars().collect();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..150 {
        let mut text = whole.clone();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(text.len());
            let end = (at + numbers.below(30)).min(text.len());
            let piece = PIECES[numbers.below(PIECES.len())].chars();
            text.splice(at..end, piece).for_each(drop);
        }
        let _ = load_text(&text.into_iter().collect::<String>(), &[], registry);
    }
}

#[test]
fn garbage_does_not_panic() {
    let registry = large();
    let mut numbers = Numbers(42);
    for _ in 0..300 {
        let text: String = (0..numbers.below(30))
            .map(|_| PIECES[numbers.below(PIECES.len())])
            .collect();
        let _ = load_text(&text, &[], registry);
        let overrides = vec![
            ("listener".to_owned(), text.clone()),
            (text.clone(), "1".to_owned()),
        ];
        let env = vec![
            ("FANFARE_LISTENER".to_owned(), text.clone()),
            ("FEED_PORT".to_owned(), text.clone()),
            ("FEED_HOST".to_owned(), text.clone()),
            ("FEED_ENABLED".to_owned(), text.clone()),
            (format!("FANFARE_{text}"), text),
        ];
        let _ = load(
            &Sources {
                env,
                overrides,
                ..Sources::default()
            },
            registry,
        );
    }
}

#[test]
fn depth_does_not_overflow_the_stack() {
    let registry = large();
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
    ] {
        assert!(load_text(&text, &[], registry).is_err());
    }
}

#[test]
fn all_problems_are_reported() {
    let mut text = String::new();
    for number in 0..500 {
        let _ = writeln!(text, "nonsense{number} = 1");
    }
    assert_eq!(load_text(&text, &[], large()).unwrap_err().lines().count(), 500);
}
