//! The load generator behind `fanfare bench`: what a server on this machine can do, beside what it should do.
//!
//! The server under test is a child process with a configuration of its own on the loopback interface; this process is
//! the load generator, on one thread. CPU time and memory are the child's own, as the kernel counts them, so that they mean
//! something even where other programs take part of the machine.
//!
//! The child is the very program that this crate is linked into, started with `serve --config FILE`, `user disable` and
//! `bench baseline`: such a program must have these commands. This crate must never know how the server works inside.
//! It speaks to it by sockets alone, and knows how dialects listen ([`fanfare_core::DialectKind::listen`]), how events look
//! at the Redis-protocol door (`fanfare_cluster::wire`), and how tokens are signed (`fanfare_accounts::mint`).
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

mod baseline;
mod channels;
mod child;
mod client;
mod crowd;
mod door;
mod fanout;
mod figures;
mod frames;
mod handshakes;
mod listeners;
mod login_times;
mod logins;
mod members;
mod memory;
mod process;
mod pulse;
mod report;
mod requests;
mod server;
mod settings;
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
/// Descriptors that this process needs besides one for each connection.
const OTHER_DESCRIPTORS: usize = 100;
/// Most connections of a workload, unless told otherwise.
const MOST_CONNECTIONS: usize = 10_000;

/// What is measured.
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
    /// Connections that come and go.
    Handshakes,
    /// Events while many log in, and how long a login takes.
    Logins,
}

/// How it is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is measured, in this order.
    pub subjects: Vec<Subject>,
    /// Connections, in place of each workload's own numbers.
    pub connections: Option<usize>,
    /// The length of each measurement.
    pub seconds: Duration,
    /// How often each is repeated; medians are over these.
    pub rounds: usize,
    /// The server's threads.
    pub shards: usize,
}

impl Options {
    fn sizes(&self, own: &[usize]) -> Vec<usize> {
        self.connections
            .map_or_else(|| own.to_vec(), |connections| vec![connections])
    }

    /// Says on standard error what is going on, for a person who waits.
    fn tell(&self, what: &str, round: usize) {
        eprintln!("{what}: round {} of {}", round + 1, self.rounds);
    }
}

/// Measures what `options` say.
///
/// # Errors
/// When something does not work as it should, so that figures would mean something else; the text says what.
pub fn run(options: &Options) -> Result<Report, String> {
    raise_descriptor_limit(options.connections.unwrap_or(MOST_CONNECTIONS))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            report = measure(options) => report,
            // Whoever interrupts us must not be left with a server that nobody stops.
            signal = interrupted() => Err(signal.map_or_else(|error| error.to_string(), str::to_owned)),
        }
    })
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
        });
    }
    Ok(report)
}

fn raise_descriptor_limit(connections: usize) -> Result<(), String> {
    let limit =
        rlimit::increase_nofile_limit(u64::MAX).map_err(|error| format!("descriptor limit: {error}"))?;
    let needed = (connections + OTHER_DESCRIPTORS) as u64;
    if limit < needed {
        return Err(format!(
            "{connections} connections need {needed} descriptors, but the limit is {limit} (ulimit -Hn)"
        ));
    }
    Ok(())
}
