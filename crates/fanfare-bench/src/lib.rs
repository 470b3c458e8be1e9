//! The load generator behind `fanfare bench`: measures a server on this machine and compares it with its targets.
//!
//! The server under test is a child process with its own configuration on the loopback interface. This process is the
//! load generator, on one thread. The kernel counts the child's CPU time and memory, so other programs on the machine
//! do not change them.
//!
//! [`peer`] measures a server that already runs instead.
//!
//! The child is the program that this crate is linked into, started with `serve --config FILE`, `user disable` and
//! `bench baseline`: the program must have these commands. This crate must never depend on the server's internals. It
//! uses only sockets, the dialects' plans to listen ([`fanfare_core::DialectKind::listen`]), the form of events at the
//! Redis-protocol door (`fanfare_cluster::wire`), and the signature of tokens (`fanfare_accounts::mint`).
//!
//! # Examples
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use fanfare_bench::{Options, Subject};
//!
//! let options = Options {
//!     subjects: vec![Subject::Memory],
//!     connections: Some(1_000),
//!     seconds: Duration::from_secs(2),
//!     rounds: 3,
//!     shards: 1,
//! };
//! let report = fanfare_bench::run(&options)?;
//! println!("{report}");
//! # Ok::<(), String>(())
//! ```

mod accounts;
mod baseline;
mod channels;
mod child;
mod client;
mod door;
mod fairness;
mod fanout;
mod figures;
mod frames;
mod handshakes;
mod login_times;
mod logins;
mod memory;
pub mod peer;
mod probe;
mod process;
mod receivers;
mod report;
mod requests;
mod server;
mod settings;
mod subscriptions;
mod unicast;

use std::{io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

pub use baseline::run as run_baseline;
pub use report::Report;
pub use settings::{LoginLimits, ServerSettings};

/// The bytes of each message on the wire, its frame header included.
const FRAME_LEN: usize = 132;
/// The header of such a frame (RFC 6455, section 5.2: a length of two bytes).
const HEADER_LEN: usize = 4;
/// The descriptors that this process needs in addition to one for each connection.
const OTHER_DESCRIPTORS: usize = 100;
const MOST_CONNECTIONS: usize = 10_000;

/// A subject of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// One event to everyone.
    Fanout,
    /// Events to one user each.
    Unicast,
    /// Channels, patterns, and connections that subscribe.
    Channels,
    /// Memory of idle connections.
    Memory,
    /// Connections that open and close.
    Handshakes,
    /// Events during many logins, and the time of a login.
    Logins,
    /// Events for single users while the server does something large for others.
    Fairness,
}

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The subjects, in this order.
    pub subjects: Vec<Subject>,
    /// The number of connections, instead of each workload's own numbers.
    pub connections: Option<usize>,
    /// The length of each measurement.
    pub seconds: Duration,
    /// The repetitions of each measurement; medians are over the rounds.
    pub rounds: usize,
    /// The server's threads.
    pub shards: usize,
}

impl Options {
    fn sizes(&self, own: &[usize]) -> Vec<usize> {
        self.connections.map_or_else(|| own.to_vec(), |size| vec![size])
    }

    fn progress(&self, what: &str, round: usize) {
        eprintln!("{what}: round {} of {}", round + 1, self.rounds);
    }
}

/// Runs the measurements of `options`.
///
/// # Errors
/// If a step fails that would make the figures meaningless.
pub fn run(options: &Options) -> Result<Report, String> {
    block_on(options.connections.unwrap_or(MOST_CONNECTIONS), measure(options))
}

/// Runs `measuring`, which opens this number of `connections`, until it ends or is interrupted.
fn block_on<T>(connections: usize, measuring: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    raise_descriptor_limit(connections)?;
    run_local(async {
        tokio::select! {
            measured = measuring => measured,
            // An interrupt must not leave a server running.
            signal = interrupted() => Err(signal.map_or_else(|error| error.to_string(), str::to_owned)),
        }
    })
}

/// Runs `work` on this thread, which its local tasks share.
fn run_local<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    LocalSet::new().block_on(&runtime, work)
}

async fn interrupted() -> io::Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok("interrupted"),
        _ = terminate.recv() => Ok("terminated"),
    }
}

async fn measure(options: &Options) -> Result<Report, String> {
    let mut report = Report::new(options);
    for subject in &options.subjects {
        report.workloads.extend(match subject {
            Subject::Fanout => fanout::run(options).await?,
            Subject::Unicast => unicast::run(options).await?,
            Subject::Channels => channels::run(options).await?,
            Subject::Memory => memory::run(options).await?,
            Subject::Handshakes => handshakes::run(options).await?,
            Subject::Logins => logins::run(options).await?,
            Subject::Fairness => fairness::run(options).await?,
        });
    }
    Ok(report)
}

fn raise_descriptor_limit(connections: usize) -> Result<(), String> {
    let limit = rlimit::increase_nofile_limit(u64::MAX);
    let limit = limit.map_err(|error| format!("descriptor limit: {error}"))?;
    let needed = (connections + OTHER_DESCRIPTORS) as u64;
    if limit < needed {
        return Err(format!(
            "{connections} connections need {needed} descriptors, but the limit is {limit} (ulimit -Hn)"
        ));
    }
    Ok(())
}
