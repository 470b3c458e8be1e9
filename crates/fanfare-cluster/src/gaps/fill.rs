//! The task that fills gaps, and looks for those that no event shows.

use std::{
    slice,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use fanfare_core::{
    Audience,
    history::{Cursor, History, Unrecovered},
    journal::{ReplayFrom, ReplayQuery, ReplayScope},
};
use rand::Rng;

use super::{Comparison, GapState, Gaps, Missing, watched::Waiting};
use crate::{
    ANSWER_TIMEOUT,
    arrivals::ArrivedEvent,
    transport::{
        Failed,
        journal::{StoredMessage, StoredReplay, Tops},
    },
    wire,
};

/// Between two comparisons with the journal; each is earlier or later by up to half of it.
const COMPARE: Duration = Duration::from_secs(4);
/// Audiences in one comparison.
const COMPARED: usize = 10_000;
/// How long an event may be on its way before it counts as missing.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How often a journal that does not answer is asked before a gap is given up, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// Fills gaps, and looks for those that no event shows.
pub(crate) async fn run(gaps: Arc<Gaps>) {
    if gaps
        .arrivals
        .node
        .inbound
        .retention(&Audience::Everyone)
        .is_some()
    {
        gaps.state().new.push(Audience::Everyone);
    }
    loop {
        let part = rand::rng().random_range(0.5..1.5);
        let is_time = tokio::select! {
            () = gaps.work.notified() => false,
            () = tokio::time::sleep(COMPARE.mul_f64(part)) => true,
        };
        compare_all(&gaps).await;
        fill(&gaps).await;
        watch_new(&gaps).await;
        if is_time {
            compare_some(&gaps).await;
        }
    }
}

/// Passes on all that waits, and fetches what is missing between.
async fn fill(gaps: &Gaps) {
    while let Some(missing) = pass_on(gaps) {
        fetch(gaps, missing).await;
    }
}

/// Passes on what waits up to the first gap, and returns that.
fn pass_on(gaps: &Gaps) -> Option<Missing> {
    let mut state = gaps.state();
    if state.comparison != Comparison::Done {
        return None;
    }
    while let Some(waiting) = state.watched.take_first() {
        gaps.arrivals
            .node
            .deliveries
            .unexpect(slice::from_ref(&waiting.event.event));
        let Some((waiting, missing)) = gaps.judge(&mut state, waiting) else {
            continue;
        };
        let gap = Some((missing.audience.clone(), missing.up_to));
        let is_fetched = state.fetched == gap;
        gaps.expect(&waiting);
        state.watched.wait_first(waiting);
        if is_fetched {
            // It is not whole, though the journal said so.
            lose(
                gaps,
                &mut state,
                missing.audience,
                missing.up_to,
                Unrecovered::Expired,
            );
            continue;
        }
        state.fetched = gap;
        return Some(missing);
    }
    None
}

/// What is missing of `audience` up to `number` is lost.
fn lose(gaps: &Gaps, state: &mut GapState, audience: Audience, number: u64, reason: Unrecovered) {
    state.watched.skip(&audience, number);
    if let Some(present) = state.watched.cursor() {
        gaps.report(Some(audience), present, reason);
    }
}

/// Fetches what is missing, and puts it between what waits. What cannot be fetched is lost.
async fn fetch(gaps: &Gaps, missing: Missing) {
    let Missing {
        audience,
        after,
        up_to,
        epoch,
    } = missing;
    let query = ReplayQuery {
        scope: ReplayScope::of(&audience),
        from: ReplayFrom::After(Cursor { epoch, number: after }),
        limit: gaps.max_fetched,
    };
    let read = read(gaps, &query).await;
    let mut state = gaps.state();
    match read {
        Ok(StoredReplay {
            unrecovered: None,
            messages,
            ..
        }) => {
            let now = SystemTime::now();
            let wanted = messages.into_iter().filter(|message| {
                let number = message.position.number;
                message.audience == audience && number > after && number <= up_to
            });
            let fetched: Vec<_> = wanted.filter_map(|message| waiting(message, now)).collect();
            for waiting in &fetched {
                gaps.expect(waiting);
            }
            state.watched.insert(fetched);
            gaps.filled.fetch_add(1, Relaxed);
        }
        Ok(StoredReplay {
            unrecovered: Some(Unrecovered::Epoch),
            present,
            ..
        }) => {
            gaps.begin(&mut state, present);
        }
        other => {
            let reason = other.ok().and_then(|read| read.unrecovered);
            let reason = reason.unwrap_or(Unrecovered::Expired);
            lose(gaps, &mut state, audience, up_to, reason);
        }
    }
}

/// A stored message as it would have arrived. One that cannot be read would have reached no connection, either.
fn waiting(message: StoredMessage, now: SystemTime) -> Option<Waiting<ArrivedEvent>> {
    let StoredMessage {
        audience,
        payload,
        position,
    } = message;
    let (mut event, envelope) = wire::parse_event(audience.clone(), &payload, now).ok()?;
    event.history = History::Kept(position);
    Some(Waiting {
        audience,
        position: Some(position),
        event: ArrivedEvent {
            by_all_channels: true,
            event,
            envelope,
            since: Instant::now(),
        },
    })
}

// What no event shows.

/// After the receiving connection was opened again: fetches what was published meanwhile.
async fn compare_all(gaps: &Gaps) {
    let all = {
        let state = gaps.state();
        if state.comparison != Comparison::Due {
            return;
        }
        state.watched.some(0, state.watched.len())
    };
    for some in all.chunks(COMPARED) {
        let missing = compare(gaps, some).await;
        fetch_all(gaps, missing).await;
    }
    let mut state = gaps.state();
    if state.comparison == Comparison::Due {
        state.comparison = Comparison::Done;
    }
}

/// Learns the last numbers of new audiences.
async fn watch_new(gaps: &Gaps) {
    let new = std::mem::take(&mut gaps.state().new);
    for some in new.chunks(COMPARED) {
        let Ok(Tops { present, tops }) = tops(gaps, some).await else {
            // The next event of each is the first one that is known.
            return;
        };
        let mut state = gaps.state();
        gaps.begin(&mut state, present);
        for (audience, top) in some.iter().zip(tops) {
            if gaps.arrivals.receipts.wants(audience) {
                state.watched.watch(present.epoch, audience.clone(), top);
            }
        }
    }
}

/// Looks for the last events before silence, of some audiences at a time.
async fn compare_some(gaps: &Gaps) {
    let some = {
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
        state.watched.some(start, COMPARED)
    };
    let mut missing = compare(gaps, &some).await;
    if missing.is_empty() {
        return;
    }
    tokio::time::sleep(ON_ITS_WAY).await;
    {
        let mut state = gaps.state();
        missing.retain(|missing| state.watched.lacks(&missing.audience, missing.up_to));
        if missing.is_empty() {
            return;
        }
        state.watched.hold();
    }
    fetch_all(gaps, missing).await;
    fill(gaps).await;
}

/// Asks the journal which of `known` audiences have higher numbers.
async fn compare(gaps: &Gaps, known: &[(Audience, u64)]) -> Vec<Missing> {
    let audiences: Vec<Audience> = known.iter().map(|(audience, _)| audience.clone()).collect();
    let Ok(Tops { present, tops }) = tops(gaps, &audiences).await else {
        return Vec::new();
    };
    if gaps.begin(&mut gaps.state(), present) {
        return Vec::new();
    }
    let missing = known.iter().zip(tops).filter(|((_, number), top)| top > number);
    missing
        .map(|((audience, number), top)| Missing {
            audience: audience.clone(),
            after: *number,
            up_to: top,
            epoch: present.epoch,
        })
        .collect()
}

/// Fetches what is missing of each audience.
async fn fetch_all(gaps: &Gaps, missing: Vec<Missing>) {
    gaps.found.fetch_add(missing.len() as u64, Relaxed);
    for missing in missing {
        fetch(gaps, missing).await;
    }
}

// What the journal is asked.

async fn tops(gaps: &Gaps, audiences: &[Audience]) -> Result<Tops, Failed> {
    let sender = gaps.arrivals.node.link.current().ok_or("not connected")?;
    let journal = sender.journal().ok_or("there is no journal")?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, journal.tops(audiences)).await;
    answer.map_err(|_| "timed out")?
}

async fn read(gaps: &Gaps, query: &ReplayQuery) -> Result<StoredReplay, Failed> {
    let mut result = Err("there is no journal".to_owned());
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let Some(sender) = gaps.arrivals.node.link.current() else {
            continue;
        };
        let Some(journal) = sender.journal() else { break };
        match tokio::time::timeout(ANSWER_TIMEOUT, journal.read(query)).await {
            Ok(Ok(replay)) => return Ok(replay),
            Ok(failed) => result = failed,
            Err(_) => result = Err("timed out".to_owned()),
        }
    }
    result
}
