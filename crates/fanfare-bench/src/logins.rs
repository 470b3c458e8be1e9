//! Logins: how late events are during a burst of logins, next to as many requests that hash no password; and how long a
//! login takes.

use std::{rc::Rc, time::Duration};

use crate::{
    LoginLimits, Options,
    figures::{Kind, Workload},
    listeners::Listeners,
    login_times,
    members::Members,
    pulse::{Felt, feel},
    requests::{Answered, Client, Until, flood},
    server::Server,
};

/// The connections of a burst.
const SIZES: [usize; 2] = [1_000, 10_000];
const BURST: u64 = 10_000;
/// Clients that log in repeatedly; few enough that the queue refuses none.
const STEADY: usize = 64;
/// Other connections to the server: those of the pulse, and a few more.
const OTHERS: usize = 100;

const fn latencies(names: [&'static str; 3]) -> [Kind; 3] {
    let [median, p99, longest] = names;
    [
        Kind::new(median, "ms"),
        Kind::new(p99, "ms"),
        Kind::new(longest, "ms"),
    ]
}

const QUIET: [Kind; 3] = latencies([
    "quiet: latency, p50",
    "quiet: latency, p99",
    "quiet: longest latency",
]);
const OTHER: [Kind; 3] = latencies([
    "no hashing: latency, p50",
    "no hashing: latency, p99",
    "no hashing: longest latency",
]);
const BUSY: [Kind; 3] = latencies([
    "logins: latency, p50",
    "logins: latency, p99",
    "logins: longest latency",
]);
const OTHER_TOOK: Kind = Kind::new("no hashing: until all were answered", "s");
const TOOK: Kind = Kind::new("logins: until all were answered", "s");
const RATE: Kind = Kind::new("logins checked", "/s");
const AGAINST_QUIET: Kind = Kind::new("p99, logins / quiet", "");
const AGAINST_OTHER: Kind = Kind::new("p99, logins / no hashing", "");
const LOST: Kind = Kind::new("events lost", "").at_most(0.0);

/// The figures of login responses, by status.
const STATUSES: [(u16, Kind); 4] = [
    (200, Kind::new("answered 200, logged in", "")),
    (401, Kind::new("answered 401, refused", "")),
    (429, Kind::new("answered 429, too many of that client", "")),
    (503, Kind::new("answered 503, too many at the moment", "")),
];

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for connections in options.sizes(&SIZES) {
        workloads.push(bursts(connections, LoginLimits::Off, options).await?);
    }
    let connections = options.connections.unwrap_or(SIZES[0]);
    workloads.push(bursts(connections, LoginLimits::Default, options).await?);
    workloads.push(steady(options).await?);
    workloads.push(login_times::run(options).await?);
    Ok(workloads)
}

async fn bursts(connections: usize, limits: LoginLimits, options: &Options) -> Result<Workload, String> {
    let limited = match limits {
        LoginLimits::Off => "without limits on failures",
        LoginLimits::Default => "with the default limits on failures",
    };
    let title = format!("A burst of {BURST} logins over {connections} connections, {limited}");
    let mut workload = Workload::new(title);
    for round in 0..options.rounds {
        options.progress(&format!("logins over {connections} connections"), round);
        let most = connections + OTHERS;
        let server = Server::start_with(options.shards, most, Listeners::Own, limits).await?;
        let members = Members::register(&server).await?;
        let quiet = feel(&server, tokio::time::sleep(options.seconds)).await?.0;
        let (other, others) = burst(&server, connections, &members.idlers()).await?;
        let (busy, logins) = burst(&server, connections, &members.crowd()).await?;
        server.stop().await?;
        others.all_with(&[401])?;
        workload.record(OTHER_TOOK, others.took.as_secs_f64());
        workload.record(TOOK, logins.took.as_secs_f64());
        record_statuses(&mut workload, &logins)?;
        record(&mut workload, &quiet, Some(&other), &busy);
    }
    Ok(workload)
}

async fn burst(
    server: &Server,
    connections: usize,
    requests: &Rc<[Vec<u8>]>,
) -> Result<(Felt, Answered), String> {
    let mut clients = Client::open_many(server.clients, connections).await?;
    let (felt, answered) = feel(server, flood(&mut clients, requests, Until::Sent(BURST))).await?;
    Ok((felt, answered?))
}

/// Measures as many logins as the server can hash without refusing any.
async fn steady(options: &Options) -> Result<Workload, String> {
    let mut workload = Workload::new(format!("{STEADY} clients who log in again and again"));
    for round in 0..options.rounds {
        options.progress("logins again and again", round);
        let (most, limits) = (STEADY + OTHERS, LoginLimits::Off);
        let server = Server::start_with(options.shards, most, Listeners::Own, limits).await?;
        let crowd = Members::register(&server).await?.crowd();
        let mut clients = Client::open_many(server.clients, STEADY).await?;
        let quiet = feel(&server, tokio::time::sleep(options.seconds)).await?.0;
        let logins = flood(&mut clients, &crowd, Until::Over(options.seconds));
        let (busy, logins) = feel(&server, logins).await?;
        server.stop().await?;
        let logins = logins?;
        logins.all_with(&[200, 401])?;
        workload.record(RATE, rate(&logins));
        record(&mut workload, &quiet, None, &busy);
    }
    Ok(workload)
}

#[allow(clippy::cast_precision_loss, reason = "it is rounded to a few digits anyway")]
fn rate(logins: &Answered) -> f64 {
    logins.by_status.values().sum::<u64>() as f64 / logins.took.max(Duration::from_millis(1)).as_secs_f64()
}

#[allow(clippy::cast_precision_loss, reason = "there are a few thousand")]
fn record_statuses(workload: &mut Workload, logins: &Answered) -> Result<(), String> {
    logins.all_with(&STATUSES.map(|(status, _)| status))?;
    for (status, kind) in STATUSES {
        workload.record(kind, logins.with(status) as f64);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "there are none")]
fn record(workload: &mut Workload, quiet: &Felt, other: Option<&Felt>, busy: &Felt) {
    let mut lost = 0;
    let phases = [(QUIET, Some(quiet)), (OTHER, other), (BUSY, Some(busy))];
    for (kinds, felt) in phases {
        let Some(felt) = felt else { continue };
        for (kind, percent) in kinds.into_iter().zip([50, 99, 100]) {
            workload.record(kind, felt.percentile(percent));
        }
        lost += felt.lost;
    }
    workload.record(AGAINST_QUIET, busy.percentile(99) / quiet.percentile(99));
    if let Some(other) = other {
        workload.record(AGAINST_OTHER, busy.percentile(99) / other.percentile(99));
    }
    workload.record(LOST, lost as f64);
}
