//! Looks for what was lost and no event shows: last numbers are compared with the journal's.

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

/// Audiences in one comparison.
const COMPARED: usize = 10_000;
/// Comparisons until the journal is asked for channels that were never received.
const ALL_CHANNELS_EVERY: u32 = 8;
/// Within which time of each other a lost connection, or a new recorder, and a raised floor are related.
const FLOOR_WITHIN: Duration = Duration::from_secs(30);
/// How long an event may be on its way before it counts as missing.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Whether the journal was asked for what the receiving connection's predecessor lost. Until then events wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The subscriptions are not in force yet.
    NotYet,
    /// The journal is to be asked; the number is another one for each connection.
    Due(u64),
    Done,
}

impl Comparison {
    pub(super) fn due() -> Self {
        Self::Due(rand::random())
    }

    pub(super) fn is_awaited(self) -> bool {
        self != Self::Done
    }
}

/// What a comparison has found.
struct Compared {
    present: Cursor,
    missing: Vec<Missing>,
    /// A channel may be forgotten that had something behind the number, or something was published meanwhile that was never kept.
    is_forgotten: bool,
}

/// After the receiving connection was opened again: fetches what was published meanwhile. If the journal does not answer, that is
/// reported, and what is missing is found by later events and comparisons.
pub(super) async fn compare_all(gaps: &Gaps) {
    let (due, known, all_channels) = {
        let state = gaps.state();
        if !matches!(state.comparison, Comparison::Due(_)) {
            return;
        }
        let known = state.watched.some(0, state.watched.len());
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
        take(gaps, compared, all_channels).await;
    }
    // What waits has higher numbers than what may be lost.
    let is_uncertain = !gaps.state().uncertain.is_empty();
    if !answers || (is_uncertain && retry(|| watch_new(gaps)).await.is_err()) {
        let mut state = gaps.state();
        match state.watched.cursor() {
            Some(present) => gaps.give_up(&mut state, present),
            None => state.owes_report = true,
        }
    }
    let mut state = gaps.state();
    if state.comparison == due {
        state.comparison = Comparison::Done;
    }
}

/// Learns the last numbers of new audiences. Those that the journal does not answer about stay new.
pub(super) async fn watch_new(gaps: &Gaps) -> Result<(), Failed> {
    loop {
        let (new, relied_on) = {
            let mut state = gaps.state();
            if state.new.is_empty() && !state.is_all_new {
                state.owes_report = false;
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
        } = tops(gaps, &new, relied_on).await?;
        let mut state = gaps.state();
        gaps.begin(&mut state, present);
        for (audience, top) in others {
            if state.uncertain.all_channels().is_some() && !state.watched.is_watched(&audience) {
                gaps.report(&mut state, audience, top, present, Unrecovered::Expired);
            }
        }
        state.uncertain.all_channels_known(relied_on);
        if relied_on.is_some_and(|since| since < forgotten) {
            gaps.report_all(&mut state, present, Unrecovered::Expired);
        }
        // A later one does not take its place here: only a comparison reports that it is higher.
        state.floor.get_or_insert(floor);
        let receipts = &gaps.arrivals.receipts;
        state.new.drain(..new.len()); // others were added behind them at most
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
                // One of which nothing is known has nothing up to now.
                let top = if top == 0 { present.number } else { top };
                state.watched.watch(present.epoch, audience, top);
            }
        }
        if std::mem::take(&mut state.is_all_new) {
            state.watched.shown_all_channels(present);
        }
    }
}

/// Looks for the last events before silence, of some audiences at a time, and now and then on channels that were never received.
pub(super) async fn compare_some(gaps: &Gaps) {
    let (start, some, all_channels) = {
        let mut state = gaps.state();
        if state.watched.is_empty() || state.watched.is_holding() {
            return;
        }
        let start = if state.next < state.watched.len() {
            state.next
        } else {
            0
        };
        state.next = start + COMPARED;
        state.comparisons = state.comparisons.wrapping_add(1);
        let is_time = state.comparisons.is_multiple_of(ALL_CHANNELS_EVERY);
        let all_channels = state.watched.all_channels().filter(|_| is_time);
        (start, state.watched.some(start, COMPARED), all_channels)
    };
    let names = some.iter().map(|(audience, _)| audience).collect();
    let Ok(mut compared) = compare(gaps, &some, &names, all_channels).await else {
        gaps.state().next = start; // again the next time
        return;
    };
    if !compared.missing.is_empty() {
        tokio::time::sleep(ON_ITS_WAY).await;
        let mut state = gaps.state();
        let missing = &mut compared.missing;
        missing.retain(|missing| state.watched.lacks(&missing.audience, missing.up_to));
        if !missing.is_empty() {
            state.watched.hold();
        }
    }
    take(gaps, compared, all_channels).await;
    fill(gaps).await;
}

/// Asks the journal which of `known` audiences have higher numbers, and which channels have some behind `all_channels`, besides those that
/// are compared by their `names`.
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
        is_forgotten: all_channels.is_some_and(|since| since < forgotten),
    };
    let mut state = gaps.state();
    if gaps.begin(&mut state, present) {
        compared.is_forgotten = false; // another journal was reported
        state.floor = Some(floor);
        return Ok(compared);
    }
    if state.floor.replace(floor).is_some_and(|known| known < floor) {
        state.raised_at = Some(Instant::now());
    }
    let is_recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < FLOOR_WITHIN);
    if is_recent(state.raised_at) && is_recent(state.lost_at) {
        state.raised_at = None;
        compared.is_forgotten = true;
    }
    let missing = &mut compared.missing;
    let mut lacks = |audience: &Audience, after: u64, up_to: u64| {
        missing.push(Missing {
            audience: audience.clone(),
            after,
            up_to,
            epoch: present.epoch,
        });
    };
    for ((audience, number), top) in known.iter().zip(tops) {
        // Of an audience that is forgotten, nothing is known but that it has no higher number.
        let top = if top == 0 { forgotten } else { top };
        if top > *number {
            lacks(audience, *number, top);
        } else {
            state.watched.complete(audience, *number, present);
        }
    }
    for (audience, top) in &others {
        if names.contains(audience) {
            continue;
        }
        if state.watched.all_channels().is_some() {
            // What is fetched may be dropped with the connection. Then it is missing by its name.
            let since = all_channels.unwrap_or(u64::MAX);
            state.watched.watch(present.epoch, audience.clone(), since);
        }
        // It may be watched by its name since a moment ago.
        let since = state.watched.number(audience).or(all_channels);
        if let Some(since) = since.filter(|since| top > since) {
            lacks(audience, since, *top);
        }
    }
    Ok(compared)
}

/// Fetches what is missing of each audience.
async fn take(gaps: &Gaps, compared: Compared, all_channels: Option<u64>) {
    gaps.found.fetch_add(compared.missing.len() as u64, Relaxed);
    let mut answers = true;
    for missing in compared.missing {
        answers = fetch(gaps, missing, answers).await;
    }
    let mut state = gaps.state();
    if compared.is_forgotten {
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
