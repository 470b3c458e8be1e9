//! The task that fills gaps, and finds those that no later event shows.

use std::{sync::Arc, time::Duration};

use fanfare_core::{Audience, history::Unrecovered};
use rand::Rng;
use tokio::sync::mpsc;

use super::{
    Gaps, Missing,
    compare::{compare_all, compare_some, watch_new},
    fill::{fetch, fill, give_up_missing},
};
use crate::receipts::Overdue;

/// The mean time between two comparisons with the journal; each interval differs by up to half of it.
const COMPARE: Duration = Duration::from_secs(4);

/// Fills gaps, and finds those that no later event shows. `overdue` has this node's events whose echoes are missing.
pub(crate) async fn run(gaps: Arc<Gaps>, mut overdue: mpsc::UnboundedReceiver<Overdue>) {
    if gaps
        .arrivals
        .node
        .inbound
        .retention(&Audience::Everyone)
        .is_some()
    {
        gaps.state().new.push(Audience::Everyone);
    }
    let mut late = Vec::new();
    loop {
        gaps.state().reports = 0;
        let part = rand::rng().random_range(0.5..1.5);
        let is_time = tokio::select! {
            () = gaps.work.notified() => false,
            () = gaps.arrivals.recorder.released() => false,
            count = overdue.recv_many(&mut late, usize::MAX) => if count == 0 {
                return; // the broker was dropped
            } else {
                false
            },
            () = tokio::time::sleep(COMPARE.mul_f64(part)) => true,
        };
        compare_all(&gaps).await;
        fill(&gaps).await;
        if !gaps.state().comparison.is_pending() {
            for late in late.drain(..) {
                fetch_overdue(&gaps, late).await;
            }
        }
        let _ = watch_new(&gaps).await; // audiences that stay new are requested again
        if is_time {
            compare_some(&gaps).await;
        }
    }
}

/// Fetches an event of this node, and the missing events before it. If its audience is watched neither by name nor as one of all
/// channels, no connection depends on its place.
async fn fetch_overdue(gaps: &Gaps, overdue: Overdue) {
    let Overdue { audience, position } = overdue;
    let after = {
        let mut state = gaps.state();
        let after = state.watched.number(&audience);
        let after = after.filter(|after| *after < position.number);
        if after.is_some() {
            state.watched.hold();
        } else if !state.watched.is_watched(&audience) && state.watched.number_of_all(&audience).is_some() {
            // Its channel exceeds the limit of watched audiences, so connections with patterns do not receive it in its place.
            give_up_missing(
                gaps,
                &mut state,
                audience.clone(),
                position.number,
                Unrecovered::Expired,
            );
        }
        after
    };
    if let Some(after) = after {
        let missing = Missing {
            audience,
            after,
            up_to: position.number,
            epoch: position.epoch,
        };
        fetch(gaps, missing, true).await;
        fill(gaps).await;
    }
}
