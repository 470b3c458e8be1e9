//! Finds lost events that no later event shows: compares last numbers with the journal's.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use ahash::AHashSet;
use fanfare_core::{
    Audience,
    history::{Cursor, Unrecovered},
};

use super::{
    Gaps, Missing,
    fill::{fetch, fill, retry},
};
use crate::transport::{Failed, journal::Tops};

/// The most audiences in one comparison.
const COMPARED: usize = 10_000;
/// The number of comparisons for each one that also requests channels that were never received.
const ALL_CHANNELS_EVERY: u32 = 8;
/// The longest time between a raised floor and its cause: a lost connection or a new recorder.
const FLOOR_WITHIN: Duration = Duration::from_secs(30);
/// The time after which an event that has not arrived is missing.
const TRANSIT: Duration = Duration::from_secs(1);

/// The comparison after a reconnect. Events wait until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The subscriptions are not in force yet.
    NotYet,
    /// It is due; each connection has another number.
    Due(u64),
    Done,
}

impl Comparison {
    pub(super) fn due() -> Self {
        Self::Due(rand::random())
    }

    pub(super) fn is_pending(self) -> bool {
        self != Self::Done
    }
}

/// The result of a comparison.
struct Compared {
    present: Cursor,
    missing: Vec<Missing>,
    /// Whether events may be lost of which the journal has no number: it has evicted a channel, or has never kept them.
    is_unknown_lost: bool,
}

/// Fetches the events that were published while the receiving connection was lost. If the journal does not answer, reports that;
/// later events and comparisons then find the missing events.
pub(super) async fn compare_all(gaps: &Gaps) {
    let (due, known, all_channels) = {
        let state = gaps.state();
        if !matches!(state.comparison, Comparison::Due(_)) {
            return;
        }
        let known = state.watched.page(0, state.watched.len());
        (state.comparison, known, state.watched.all_channels())
    };
    let mut parts: Vec<_> = known.chunks(COMPARED).map(|some| (some, None)).collect();
    parts.extend(all_channels.map(|since| (&[][..], Some(since))));
    let names = known.iter().map(|(audience, _)| audience).collect();
    let mut answers = true;
    for (some, all_channels) in parts {
        let Ok(compared) = retry(|| compare(gaps, some, &names, all_channels)).await else {
            answers = false;
            break;
        };
        fetch_missing(gaps, compared, all_channels).await;
    }
    // Before the waiting events, whose numbers are higher than those that may be lost.
    let is_uncertain = !gaps.state().uncertain.is_empty();
    if !answers || (is_uncertain && retry(|| watch_new(gaps)).await.is_err()) {
        let mut state = gaps.state();
        match state.watched.cursor() {
            Some(present) => gaps.give_up(&mut state, present),
            None => state.is_report_pending = true,
        }
    }
    let mut state = gaps.state();
    if state.comparison == due {
        state.comparison = Comparison::Done;
    }
}

/// Fetches the last numbers of new audiences. If the journal does not answer, they stay new.
pub(super) async fn watch_new(gaps: &Gaps) -> Result<(), Failed> {
    loop {
        let (new, all_uncertain) = {
            let mut state = gaps.state();
            if state.new.is_empty() && !state.is_all_new {
                state.is_report_pending = false;
                return Ok(());
            }
            let new: Vec<Audience> = state.new.iter().take(COMPARED).cloned().collect();
            (new, state.uncertain.all_channels())
        };
        let Tops {
            present,
            tops,
            others,
            forgotten,
            floor,
            ..
        } = tops(gaps, &new, all_uncertain).await?;
        let mut state = gaps.state();
        gaps.note_epoch(&mut state, present);
        for (audience, top) in others {
            if state.uncertain.all_channels().is_some() && !state.watched.is_watched(&audience) {
                gaps.report(&mut state, audience, top, present, Unrecovered::Expired);
            }
        }
        state.uncertain.all_channels_known(all_uncertain);
        if all_uncertain.is_some_and(|since| since < forgotten) {
            gaps.report_all(&mut state, present, Unrecovered::Expired);
        }
        // Not replaced by a later floor: only a comparison reports that it was raised.
        state.floor.get_or_insert(floor);
        let receipts = &gaps.arrivals.receipts;
        state.new.drain(..new.len()); // other tasks only append
        for (audience, top) in new.into_iter().zip(tops) {
            if receipts.wants(&audience) {
                let highest = if top == 0 { forgotten } else { top };
                if state.uncertain.is_lost(&audience, highest) {
                    gaps.report(
                        &mut state,
                        audience.clone(),
                        highest,
                        present,
                        Unrecovered::Expired,
                    );
                }
                // An audience without a number has no events yet.
                let top = if top == 0 { present.number } else { top };
                state.watched.watch(present.epoch, audience, top);
            }
        }
        if std::mem::take(&mut state.is_all_new) {
            state.watched.watch_all_channels(present);
        }
    }
}

/// Finds lost events of the next audiences, and at times of channels that were never received.
pub(super) async fn compare_some(gaps: &Gaps) {
    let (start, some, all_channels) = {
        let mut state = gaps.state();
        if state.watched.is_empty() || state.watched.is_holding() {
            return;
        }
        let start = Some(state.next).filter(|next| *next < state.watched.len());
        let start = start.unwrap_or(0);
        state.next = start + COMPARED;
        state.comparisons = state.comparisons.wrapping_add(1);
        let is_time = state.comparisons.is_multiple_of(ALL_CHANNELS_EVERY);
        let all_channels = state.watched.all_channels().filter(|_| is_time);
        (start, state.watched.page(start, COMPARED), all_channels)
    };
    let names = some.iter().map(|(audience, _)| audience).collect();
    let Ok(mut compared) = compare(gaps, &some, &names, all_channels).await else {
        gaps.state().next = start; // retried by the next comparison
        return;
    };
    if !compared.missing.is_empty() {
        tokio::time::sleep(TRANSIT).await;
        let mut state = gaps.state();
        let missing = &mut compared.missing;
        missing.retain(|missing| state.watched.is_missing(&missing.audience, missing.up_to));
        if !missing.is_empty() {
            state.watched.hold();
        }
    }
    fetch_missing(gaps, compared, all_channels).await;
    fill(gaps).await;
}

/// Requests the last numbers of the `known` audiences, and of all channels with a number above `all_channels`. Ignores channels in `names`,
/// which are compared separately.
async fn compare(
    gaps: &Gaps,
    known: &[(Audience, u64)],
    names: &AHashSet<&Audience>,
    all_channels: Option<u64>,
) -> Result<Compared, Failed> {
    let audiences: Vec<Audience> = known.iter().map(|(audience, _)| audience.clone()).collect();
    let Tops {
        present,
        tops,
        others,
        forgotten,
        floor,
        journals,
    } = tops(gaps, &audiences, all_channels).await?;
    gaps.journals.store(journals, Relaxed);
    let mut compared = Compared {
        present,
        missing: Vec::new(),
        is_unknown_lost: all_channels.is_some_and(|since| since < forgotten),
    };
    let mut state = gaps.state();
    if gaps.note_epoch(&mut state, present) {
        compared.is_unknown_lost = false; // the new epoch was reported
        state.floor = Some(floor);
        return Ok(compared);
    }
    if state.floor.replace(floor).is_some_and(|known| known < floor) {
        state.raised_at = Some(Instant::now());
    }
    let is_recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < FLOOR_WITHIN);
    if is_recent(state.raised_at) && is_recent(state.lost_at) {
        state.raised_at = None;
        compared.is_unknown_lost = true;
    }
    let missing = &mut compared.missing;
    let mut add_gap = |audience: &Audience, after: u64, up_to: u64| {
        missing.push(Missing {
            audience: audience.clone(),
            after,
            up_to,
            epoch: present.epoch,
        });
    };
    for ((audience, number), top) in known.iter().zip(tops) {
        // The number of an evicted audience is unknown, but not higher than `forgotten`.
        let top = if top == 0 { forgotten } else { top };
        if top > *number {
            add_gap(audience, *number, top);
        } else {
            state.watched.complete(audience, *number, present);
        }
    }
    for (audience, top) in &others {
        if names.contains(audience) {
            continue;
        }
        if state.watched.all_channels().is_some() {
            // Fetched events may be dropped with the connection. Then a later comparison finds them by the channel's name.
            let since = all_channels.unwrap_or(u64::MAX);
            state.watched.watch(present.epoch, audience.clone(), since);
        }
        // The channel may have been watched by name meanwhile.
        let since = state.watched.number(audience).or(all_channels);
        if let Some(since) = since.filter(|since| top > since) {
            add_gap(audience, since, *top);
        }
    }
    Ok(compared)
}

/// Fetches the missing events of each audience.
async fn fetch_missing(gaps: &Gaps, compared: Compared, all_channels: Option<u64>) {
    gaps.found.fetch_add(compared.missing.len() as u64, Relaxed);
    let mut answers = true;
    for missing in compared.missing {
        answers = fetch(gaps, missing, answers).await;
    }
    let mut state = gaps.state();
    if compared.is_unknown_lost {
        gaps.report_all(&mut state, compared.present, Unrecovered::Expired);
    }
    if let Some(since) = all_channels {
        state.watched.all_channels_complete(since, compared.present);
    }
}

async fn tops(gaps: &Gaps, audiences: &[Audience], behind: Option<u64>) -> Result<Tops, Failed> {
    let node = &gaps.arrivals.node;
    node.ask_journal(&(audiences, behind), |journal, (audiences, behind)| {
        journal.tops(audiences, *behind)
    })
    .await
}
