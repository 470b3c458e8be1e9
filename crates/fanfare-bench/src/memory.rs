//! The memory of an idle connection, and whether it is released.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Options,
    crowd::Crowd,
    door::{self, Door},
    figures::{Kind, Workload},
    listeners::Listeners,
    process::Memory,
    server::Server,
};

const SIZES: [usize; 1] = [10_000];
/// Connections opened before the measurement, so that one-time allocations are made.
pub(crate) const WARM_UP: usize = 100;
/// Connections that make a server not quite idle.
const A_FEW: usize = 20;

const PSS: Kind = Kind::new("Pss per idle connection", "bytes").at_most(2048.0);
const PRIVATE: Kind = Kind::new("private memory per idle connection", "bytes");
const PSS_USED: Kind = Kind::new("Pss per connection after one event", "bytes");
const EMPTY: Kind = Kind::new("Pss of the server without any", "MiB");
const KEPT: Kind = Kind::new("kept after all have closed", "%");
const KEPT_LATER: Kind = Kind::new("kept after a few more", "%");

pub(crate) async fn run(options: &Options) -> Result<Vec<Workload>, String> {
    measure(Listeners::Own, "", options).await
}

/// Measures a server before, with and after many connections of `listeners`; the report calls them `whose`.
pub(crate) async fn measure(
    listeners: Listeners,
    whose: &str,
    options: &Options,
) -> Result<Vec<Workload>, String> {
    let mut workloads = Vec::new();
    for connections in options.sizes(&SIZES) {
        let what = format!("of {connections} connections {whose}");
        let mut workload = Workload::new(format!("Memory {}", what.trim_end()));
        for round in 0..options.rounds {
            options.progress(&format!("memory {}", what.trim_end()), round);
            measure_once(connections, listeners, options, &mut workload).await?;
        }
        workloads.push(workload);
    }
    Ok(workloads)
}

#[allow(clippy::cast_precision_loss, reason = "it is rounded to a few digits anyway")]
async fn measure_once(
    connections: usize,
    listeners: Listeners,
    options: &Options,
    workload: &mut Workload,
) -> Result<(), String> {
    let server = Server::start(options.shards, connections, listeners).await?;
    let upgrades = server.upgrades(listeners, connections)?;
    let event = door::publish(server.dialect, &listeners.audience()?)?;
    let mut door = Door::open(server.door).await?;
    let first = Crowd::upgrade(server.clients, &upgrades[..connections.min(WARM_UP)]).await?;
    publish(&event, &mut door, &first).await?;
    first.close().await;
    let before = settled(server.id()).await?;

    let crowd = Crowd::upgrade(server.clients, &upgrades).await?;
    let idle = settled(server.id()).await?;
    publish(&event, &mut door, &crowd).await?;
    let used = settled(server.id()).await?;
    crowd.close().await;
    let after = settled(server.id()).await?;
    let few = Crowd::upgrade(server.clients, &upgrades[..connections.min(A_FEW)]).await?;
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

async fn publish(event: &[u8], door: &mut Door, crowd: &Crowd) -> Result<(), String> {
    let goal = crowd.tally().units() + crowd.len() as u64;
    door.send(event, 1).await?;
    crowd.tally().until(goal).await
}

/// Returns a process's memory once it has stopped changing: allocators release free memory later, if at all.
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
