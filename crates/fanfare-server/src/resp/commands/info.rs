//! `INFO`: enough of it for clients that check the server before they publish, and for a person at a terminal.

use std::{fmt::Write, sync::atomic::Ordering::Relaxed};

use super::connection::REDIS_VERSION;
use crate::resp::{request::Request, session::Session};

/// A section's name, and the function that writes its lines.
type InfoSection = (&'static str, fn(&Session<'_>, &mut String));

const SECTIONS: &[InfoSection] = &[
    ("Server", server),
    ("Clients", clients),
    ("Persistence", |_, text| lines(text, &[("loading", 0)])),
    ("Stats", stats),
    ("Replication", |_, text| {
        text.push_str("role:master\r\n");
        lines(text, &[("connected_slaves", 0)]);
    }),
    ("Cluster", |_, text| lines(text, &[("cluster_enabled", 0)])),
    ("Keyspace", |_, _| {}),
];

/// `INFO [section …]`: the requested sections that exist, or all.
pub(super) fn info(session: &mut Session<'_>, request: &Request) {
    let wanted = |name: &str| {
        request.len() == 1
            || request.args(1).any(|asked| {
                [name, "all", "default", "everything"]
                    .iter()
                    .any(|name| asked.eq_ignore_ascii_case(name.as_bytes()))
            })
    };
    let mut text = String::new();
    for (name, write) in SECTIONS {
        if wanted(name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let _ = write!(text, "# {name}\r\n");
            write(session, &mut text);
        }
    }
    session.writer.text(&text);
}

fn server(session: &Session<'_>, text: &mut String) {
    let door = session.door;
    let uptime = door.since.elapsed().as_secs();
    let _ = write!(
        text,
        "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nfanfare_version:{}\r\nos:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
    );
    lines(
        text,
        &[
            ("arch_bits", u64::from(usize::BITS)),
            ("process_id", u64::from(std::process::id())),
            ("tcp_port", u64::from(door.options.port)),
            ("uptime_in_seconds", uptime),
            ("uptime_in_days", uptime / 86_400),
        ],
    );
}

fn clients(session: &Session<'_>, text: &mut String) {
    let connected = session.door.connected();
    lines(text, &[("connected_clients", connected), ("blocked_clients", 0)]);
}

fn stats(session: &Session<'_>, text: &mut String) {
    let stats = &session.door.stats;
    let counters = [
        ("total_connections_received", &stats.connections),
        ("total_commands_processed", &stats.commands),
        ("acl_access_denied_auth", &stats.failed_logins),
        ("fanfare_publications", &stats.publications),
        ("fanfare_publications_rejected", &stats.rejected),
    ];
    lines(
        text,
        &counters.map(|(name, counter)| (name, counter.load(Relaxed))),
    );
}

fn lines(text: &mut String, facts: &[(&str, u64)]) {
    for (name, value) in facts {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}:{value}\r\n");
    }
}
