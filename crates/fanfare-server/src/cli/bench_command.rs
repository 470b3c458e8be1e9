//! `fanfare bench`.

use std::{fmt::Display, fs, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use fanfare_bench::{Options, Subject, peer};

use super::{CommandFailure, Global, Outcome, output};

#[derive(Args)]
pub(super) struct Bench {
    /// The measurement
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// Connections [default: 1000 and 10000 for fanout and logins, 1000 for unicast, 10000 for memory; channels likewise]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,
    /// The duration of each measurement, in seconds
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The number of rounds of each measurement; the medians are over all rounds
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// The server's threads. The load generator needs its own core
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// The plan of `peer`, as JSON; bench/compare writes such files
    #[arg(long, value_name = "FILE", required_if_eq("what", "peer"))]
    plan: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// All of these
    All,
    /// Events to everyone, and the best case of this machine
    Fanout,
    /// Events to one user each
    Unicast,
    /// Channels: subscribers by name and by pattern, patterns held, memory of subscribers
    Channels,
    /// Memory of idle connections
    Memory,
    /// Connections that open and close
    Handshakes,
    /// Logins: the delay of events by a burst of 10,000, and the duration of a refusal
    Logins,
    /// Events for single users beside a fan-out to 10,000, reconnects, large events and scrapes
    Fairness,
    /// Any WebSocket server that already runs; needs --plan, and prints JSON
    Peer,
    /// The process that `fanout` compares with
    #[value(hide = true)]
    Baseline,
}

impl Bench {
    pub(super) fn run(&self, _: &Global) -> Outcome {
        let subjects = match self.what {
            What::All => vec![
                Subject::Fanout,
                Subject::Unicast,
                Subject::Channels,
                Subject::Memory,
                Subject::Handshakes,
                Subject::Logins,
                Subject::Fairness,
            ],
            What::Fanout => vec![Subject::Fanout],
            What::Unicast => vec![Subject::Unicast],
            What::Channels => vec![Subject::Channels],
            What::Memory => vec![Subject::Memory],
            What::Handshakes => vec![Subject::Handshakes],
            What::Logins => vec![Subject::Logins],
            What::Fairness => vec![Subject::Fairness],
            What::Peer => return self.run_peer(),
            What::Baseline => return self.run_baseline(),
        };
        let options = Options {
            subjects,
            connections: self.connections.map(|connections| connections as usize),
            seconds: Duration::from_secs(self.seconds),
            rounds: usize::from(self.rounds),
            shards: usize::from(self.shards),
        };
        let report = fanfare_bench::run(&options)?;
        if self.json {
            output::line(report.to_json()?);
        } else {
            output::text(report);
        }
        Ok(())
    }

    fn run_peer(&self) -> Outcome {
        let failure = |error: &dyn Display| CommandFailure::Runtime(format!("peer: {error}"));
        let file = self.plan.as_deref();
        let file = file.ok_or_else(|| failure(&"--plan is missing"))?;
        let of_file = |error: &dyn Display| failure(&format!("{}: {error}", file.display()));
        let read = fs::read(file).map_err(|error| of_file(&error))?;
        let plan = serde_json::from_slice(&read).map_err(|error| of_file(&error))?;
        let outcome = peer::run(&plan).map_err(|error| failure(&error))?;
        output::line(serde_json::to_string(&outcome).map_err(|error| failure(&error))?);
        Ok(())
    }

    fn run_baseline(&self) -> Outcome {
        let connections = self.connections.unwrap_or_default() as usize;
        Ok(fanfare_bench::run_baseline(connections).map_err(|error| format!("baseline: {error}"))?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, net::SocketAddr};

    use fanfare_bench::{LoginLimits, ServerSettings};

    use crate::config::{self, Sources};

    #[test]
    fn the_server_accepts_the_configuration_without_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let [clients, door] = [4001, 4002].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let file = folder.path().join("fanfare.toml");
        let dialect = fanfare_dialects::REGISTRY.iter().next().unwrap().name;
        for (limits, attempts) in [(LoginLimits::Default, (10, 60)), (LoginLimits::Off, (0, 0))] {
            let settings = ServerSettings {
                dialect,
                data: folder.path(),
                clients,
                door,
                secret: &"s".repeat(64),
                limits,
                shards: 1,
                connections: 20_000,
            };
            fs::write(&file, settings.to_toml()).unwrap();
            let sources = Sources {
                file: Some(file.clone()),
                ..Sources::default()
            };
            let loaded = config::load(&sources, fanfare_dialects::REGISTRY).unwrap();
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            assert_eq!(loaded.config.dialects[dialect].max_connections, 21_000);
            assert_eq!(
                (loaded.config.server.shards, loaded.config.resp.bind),
                (1, Some(door.into()))
            );
            let auth = &loaded.config.auth;
            assert_eq!(
                (
                    auth.login_attempts_per_minute,
                    auth.login_attempts_per_minute_per_ip
                ),
                attempts
            );
        }
    }
}
