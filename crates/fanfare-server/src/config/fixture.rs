//! A registry for tests.

use std::time::Duration;

use fanfare_core::{Inherited, OptionKind, OptionSpec, Target, Unit};

use super::dialect::{DialectConfig, DialectInfo};

fn info(name: &'static str, doc: &'static str) -> DialectInfo {
    DialectInfo {
        name,
        doc,
        defaults: DialectConfig::default(),
        binds: &[],
        path: "/ws",
        shares_path_with: Vec::new(),
        options: &[],
        inherited: &[],
        production: &[],
        hidden: false,
    }
}

/// What is released: one dialect, and a hidden one for tests.
pub(crate) fn released() -> Vec<DialectInfo> {
    vec![
        DialectInfo {
            defaults: DialectConfig {
                max_message_size: 512,
                ..DialectConfig::default()
            },
            binds: &["0.0.0.0:8081"],
            ..info(
                "notify",
                "The notify dialect: a push stream for each user, with nothing for clients to say.",
            )
        },
        DialectInfo {
            binds: &["127.0.0.1:9001"],
            hidden: true,
            path: "/",
            ..info("echo", "Echoes.")
        },
    ]
}

/// A larger one, in which everything that a registry can say occurs.
pub(crate) fn large() -> Vec<DialectInfo> {
    const OPTIONS: &[OptionSpec] = &[
        OptionSpec {
            name: "interval",
            doc: "How often. `0s` is never.",
            kind: OptionKind::Duration { min: Duration::ZERO },
            default: "\"10s\"",
        },
        OptionSpec {
            name: "strict",
            doc: "Whether.",
            kind: OptionKind::Bool,
            default: "false",
        },
        OptionSpec {
            name: "roles",
            doc: "Who.",
            kind: OptionKind::Texts,
            default: "[]",
        },
        OptionSpec {
            name: "burst",
            doc: "How many.",
            kind: OptionKind::Integer { min: 1, max: 9 },
            default: "3",
        },
        OptionSpec {
            name: "access",
            doc: "Which.",
            kind: OptionKind::OneOf(&["authenticated", "nobody"]),
            default: "\"authenticated\"",
        },
        OptionSpec {
            name: "greeting",
            doc: "What.",
            kind: OptionKind::Text,
            default: "\"\"",
        },
        OptionSpec {
            name: "shown",
            doc: "Where.",
            kind: OptionKind::Patterns,
            default: "[\"**\"]",
        },
    ];
    const INHERITED: &[Inherited] = &[
        Inherited {
            variable: "BEAT",
            target: Target::Key("chat.ping_interval"),
            unit: Unit::Seconds,
        },
        Inherited {
            variable: "BEAT_MS",
            target: Target::Key("chat.ping_timeout"),
            unit: Unit::Milliseconds,
        },
    ];
    let mut dialects = released();
    dialects.push(DialectInfo {
        defaults: DialectConfig {
            max_connections: 1000,
            ..DialectConfig::default()
        },
        binds: &["0.0.0.0:8081", "0.0.0.0:8082"],
        shares_path_with: vec!["notify"],
        options: OPTIONS,
        inherited: INHERITED,
        production: &[("chat.access", "\"nobody\"")],
        ..info("chat", "The chat dialect.")
    });
    dialects.push(DialectInfo {
        binds: &["0.0.0.0:3000"],
        ..info("feed", "The feed dialect.")
    });
    dialects
}
