//! The memory of an idle connection, and the part of it that is kept after the connection has closed.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Options,
    door::{self, Door},
    figures::{Kind, Workload},
    process::Memory,
    receivers::Receivers,
    server::Server,
    subscriptions::Subscriptions,
};

const SIZES: [usize; 1] = [10_000];
/// The connections before the measurement, which cause the one-time allocations.
pub(crate) const WARM_UP: usize = 100;
/// The connections after all others have closed: an allocator may release memory only at the next use.
const A_FEW: usize = 20;

const PSS: Kind = Kind::new("Pss per idle connection", "bytes").at_most(2048.0);
const PRIVATE: Kind = Kind::new("private memory per idle connection", "bytes");
const PSS_USED: Kind = Kind::new("Pss per connection after one event", "bytes");
const EMPTY: Kind = Kind::new("Pss of the server without any", "MiB");
const KEPT: Kind = Kind::new("kept after all have closed", "%");
const KEPT_LATER: Kind = Kind::new("kept after a few more", "%");

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    measure(Subscriptions::Own, "", options).await
}

/// Measures a server before, with and after many connections with `subscriptions`, which `description` names in the report.
pub(crate) async fn measure(
    subscriptions: Subscriptions,
    description: &str,
    options: &Options,
) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for connections in options.sizes(&SIZES) {
        let what = format!("of {connections} connections {description}");
        let mut workload = Workload::new(format!("Memory {}", what.trim_end()));
        for round in 0..options.rounds {
            options.progress(&format!("memory {}", what.trim_end()), round);
            measure_once(connections, subscriptions, options, &mut workload).await?;
        }
        workloads.push(workload);
    }
    Ok(workloads)
}

#[allow(clippy::cast_precision_loss, reason = "it is rounded to a few digits anyway")]
async fn measure_once(
    connections: usize,
    subscriptions: Subscriptions,
    options: &Options,
    workload: &mut Workload,
) -> Result<(), String> {
    let server = Server::start(options.shards, connections, subscriptions).await?;
    let upgrades = server.upgrades(subscriptions, connections)?;
    let event = door::publish(server.dialect, &subscriptions.audience()?)?;
    let mut door = Door::open(server.door).await?;
    let first = Receivers::upgrade(server.clients, &upgrades[..connections.min(WARM_UP)]).await?;
    door.deliver(&event, &first).await?;
    first.close().await;
    let before = settled(server.id()).await?;

    let receivers = Receivers::upgrade(server.clients, &upgrades).await?;
    let idle = settled(server.id()).await?;
    door.deliver(&event, &receivers).await?;
    let used = settled(server.id()).await?;
    receivers.close().await;
    let after = settled(server.id()).await?;
    let few = Receivers::upgrade(server.clients, &upgrades[..connections.min(A_FEW)]).await?;
    few.close().await;
    let later = settled(server.id()).await?;

    let grown = |now: u64, then: u64| now as f64 - then as f64;
    let each = |now: u64, then: u64| grown(now, then) / connections as f64;
    workload.record(PSS, each(idle.pss, before.pss));
    workload.record(PRIVATE, each(idle.private, before.private));
    workload.record(PSS_USED, each(used.pss, before.pss));
    workload.record(EMPTY, before.pss as f64 / f64::from(1 << 20));
    let kept = |now: Memory| 100.0 * grown(now.pss, before.pss) / grown(used.pss, before.pss);
    workload.record(KEPT, kept(after));
    workload.record(KEPT_LATER, kept(later));
    drop(door);
    server.stop().await
}

/// Returns the memory of a process when it has stopped changing, because allocators release memory late.
pub(crate) async fn settled(pid: u32) -> Result<Memory, String> {
    const STEP: Duration = Duration::from_millis(500);
    const STEADY_STEPS: usize = 4;
    const MOST_STEPS: usize = 40;
    let mut last = Memory::of(pid)?;
    let mut steady = 0;
    for _ in 0..MOST_STEPS {
        sleep(STEP).await;
        let now = Memory::of(pid)?;
        let is_steady = now.pss.abs_diff(last.pss) <= 64 * 1024;
        steady = if is_steady { steady + 1 } else { 0 };
        last = now;
        if steady == STEADY_STEPS {
            break;
        }
    }
    Ok(last)
}
