//! The task that fills gaps, and looks for those that no event shows.

use std::{sync::Arc, time::Duration};

use fanfare_core::{Audience, history::Unrecovered};
use rand::Rng;
use tokio::sync::mpsc;

use super::{
    Gaps, Missing,
    compare::{compare_all, compare_some, watch_new},
    fill::{fetch, fill, lose},
};
use crate::receipts::Overdue;

/// Between two comparisons with the journal; each is earlier or later by up to half of it.
const COMPARE: Duration = Duration::from_secs(4);

/// Fills gaps, and looks for those that no event shows. `overdue` are this node's events whose echoes stay out.
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
        if !gaps.state().comparison.is_awaited() {
            for late in late.drain(..) {
                fetch_overdue(&gaps, late).await;
            }
        }
        let _ = watch_new(&gaps).await; // what stays new is asked for again
        if is_time {
            compare_some(&gaps).await;
        }
    }
}

/// Fetches this node's own event with what is missing before it. If its audience is watched neither by name nor as one of all channels,
/// no connection relies on its place.
async fn fetch_overdue(gaps: &Gaps, overdue: Overdue) {
    let Overdue { audience, position } = overdue;
    let after = {
        let mut state = gaps.state();
        let after = state.watched.number(&audience);
        let after = after.filter(|after| *after < position.number);
        if after.is_some() {
            state.watched.hold();
        } else if !state.watched.is_watched(&audience) && state.watched.number_of_all(&audience).is_some() {
            // There is no room to watch its channel, and connections with patterns do not receive it in its place.
            lose(
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
