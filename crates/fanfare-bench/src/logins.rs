//! Logins: the latency of events during a burst of logins, and during as many requests that hash no password; and the time
//! of a login.

use std::{rc::Rc, time::Duration};

use crate::{
    LoginLimits, Options,
    accounts::Accounts,
    figures::{Kind, Workload},
    login_times,
    probe::{self, Latencies},
    requests::{Client, Limit, Responses, flood},
    server::Server,
    subscriptions::Subscriptions,
};

/// The connections of a burst.
const SIZES: [usize; 2] = [1_000, 10_000];
const BURST: u64 = 10_000;
/// The clients that log in repeatedly; so few that the queue refuses none.
const STEADY: usize = 64;
/// The other connections to the server: those of the probe, and a few more.
const OTHER_CONNECTIONS: usize = 100;

const fn latency_kinds(names: [&'static str; 3]) -> [Kind; 3] {
    let [median, p99, longest] = names;
    [
        Kind::new(median, "ms"),
        Kind::new(p99, "ms"),
        Kind::new(longest, "ms"),
    ]
}

const QUIET: [Kind; 3] = latency_kinds([
    "quiet: latency, p50",
    "quiet: latency, p99",
    "quiet: longest latency",
]);
const UNHASHED: [Kind; 3] = latency_kinds([
    "no hashing: latency, p50",
    "no hashing: latency, p99",
    "no hashing: longest latency",
]);
const BUSY: [Kind; 3] = latency_kinds([
    "logins: latency, p50",
    "logins: latency, p99",
    "logins: longest latency",
]);
const UNHASHED_TOOK: Kind = Kind::new("no hashing: until all were answered", "s");
const TOOK: Kind = Kind::new("logins: until all were answered", "s");
const RATE: Kind = Kind::new("logins checked", "/s");
const AGAINST_QUIET: Kind = Kind::new("p99, logins / quiet", "");
const AGAINST_UNHASHED: Kind = Kind::new("p99, logins / no hashing", "");
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
        let most = connections + OTHER_CONNECTIONS;
        let server = Server::start_with(options.shards, most, Subscriptions::Own, limits).await?;
        let accounts = Accounts::register(&server).await?;
        let quiet = probe::measure(&server, tokio::time::sleep(options.seconds))
            .await?
            .0;
        let (unhashed, unhashed_responses) = burst(&server, connections, &accounts.unhashed_logins()).await?;
        let (busy, logins) = burst(&server, connections, &accounts.mixed_logins()).await?;
        server.stop().await?;
        unhashed_responses.expect_only(&[401])?;
        workload.record(UNHASHED_TOOK, unhashed_responses.took.as_secs_f64());
        workload.record(TOOK, logins.took.as_secs_f64());
        record_statuses(&mut workload, &logins)?;
        record(&mut workload, &quiet, Some(&unhashed), &busy);
    }
    Ok(workload)
}

async fn burst(
    server: &Server,
    connections: usize,
    requests: &Rc<[Vec<u8>]>,
) -> Result<(Latencies, Responses), String> {
    let mut clients = Client::open_many(server.clients, connections).await?;
    let burst = flood(&mut clients, requests, Limit::Requests(BURST));
    let (latencies, responses) = probe::measure(server, burst).await?;
    Ok((latencies, responses?))
}

/// Measures logins of so few clients that the server refuses none.
async fn steady(options: &Options) -> Result<Workload, String> {
    let mut workload = Workload::new(format!("{STEADY} clients who log in again and again"));
    for round in 0..options.rounds {
        options.progress("logins again and again", round);
        let (most, limits) = (STEADY + OTHER_CONNECTIONS, LoginLimits::Off);
        let server = Server::start_with(options.shards, most, Subscriptions::Own, limits).await?;
        let requests = Accounts::register(&server).await?.mixed_logins();
        let mut clients = Client::open_many(server.clients, STEADY).await?;
        let quiet = probe::measure(&server, tokio::time::sleep(options.seconds))
            .await?
            .0;
        let logins = flood(&mut clients, &requests, Limit::Time(options.seconds));
        let (busy, logins) = probe::measure(&server, logins).await?;
        server.stop().await?;
        let logins = logins?;
        logins.expect_only(&[200, 401])?;
        workload.record(RATE, rate(&logins));
        record(&mut workload, &quiet, None, &busy);
    }
    Ok(workload)
}

#[allow(clippy::cast_precision_loss, reason = "it is rounded to a few digits anyway")]
fn rate(logins: &Responses) -> f64 {
    logins.by_status.values().sum::<u64>() as f64 / logins.took.max(Duration::from_millis(1)).as_secs_f64()
}

#[allow(clippy::cast_precision_loss, reason = "there are a few thousand")]
fn record_statuses(workload: &mut Workload, logins: &Responses) -> Result<(), String> {
    logins.expect_only(&STATUSES.map(|(status, _)| status))?;
    for (status, kind) in STATUSES {
        workload.record(kind, logins.count(status) as f64);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "there are none")]
fn record(workload: &mut Workload, quiet: &Latencies, unhashed: Option<&Latencies>, busy: &Latencies) {
    let mut lost = 0;
    let phases = [(QUIET, Some(quiet)), (UNHASHED, unhashed), (BUSY, Some(busy))];
    for (kinds, latencies) in phases {
        let Some(latencies) = latencies else { continue };
        for (kind, percent) in kinds.into_iter().zip([50, 99, 100]) {
            workload.record(kind, latencies.percentile(percent));
        }
        lost += latencies.lost;
    }
    workload.record(AGAINST_QUIET, busy.percentile(99) / quiet.percentile(99));
    if let Some(unhashed) = unhashed {
        workload.record(AGAINST_UNHASHED, busy.percentile(99) / unhashed.percentile(99));
    }
    workload.record(LOST, lost as f64);
}
