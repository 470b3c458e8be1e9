//! Fills gaps: fetches what is missing, and passes on what waits.

use std::{
    slice,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant, SystemTime},
};

use fanfare_core::{
    Audience,
    history::{Cursor, History, Unrecovered},
    journal::{ReplayFrom, ReplayQuery, ReplayScope},
};

use super::{GapState, Gaps, Missing, watched::Waiting};
use crate::{
    ANSWER_TIMEOUT,
    arrivals::ArrivedEvent,
    transport::{
        Failed,
        journal::{StoredMessage, StoredReplay},
    },
    wire,
};

/// How often a journal that does not answer is asked before a gap is given up, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// Passes on all that waits, and fetches what is missing between.
pub(super) async fn fill(gaps: &Gaps) {
    let mut answers = true;
    while let Some(missing) = pass_on(gaps) {
        answers = fetch(gaps, missing, answers).await;
    }
}

/// Passes on what waits up to the first gap, and returns that.
fn pass_on(gaps: &Gaps) -> Option<Missing> {
    let mut state = gaps.state();
    if state.comparison.is_awaited() || gaps.arrivals.recorder.is_blocking() {
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
pub(super) fn lose(gaps: &Gaps, state: &mut GapState, audience: Audience, number: u64, reason: Unrecovered) {
    gaps.lost.fetch_add(1, Relaxed);
    state.watched.skip(&audience, number);
    if let Some(present) = state.watched.cursor() {
        gaps.report(Some(audience), present, reason);
    }
}

/// Fetches what is missing, and puts it between what waits. What cannot be fetched is lost. A journal that did not answer for
/// the gap before, as `answers` says, is not asked: all that waits would wait for it again. Returns whether the journal answers.
pub(super) async fn fetch(gaps: &Gaps, missing: Missing, answers: bool) -> bool {
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
    let read = if answers {
        retry(|| read(gaps, &query)).await
    } else {
        Err("it did not answer before".into())
    };
    let answers = read.is_ok();
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
            let passed = state.watched.cursor();
            let mut fetched: Vec<_> = wanted.filter_map(|message| waiting(message, now)).collect();
            let mut is_late = false;
            for waiting in &mut fetched {
                // What has a higher number was delivered before anybody knew of this one.
                if let Some(position) = waiting.position
                    && passed.is_some_and(|passed| position.number < passed.number)
                {
                    waiting.event.event.history = History::Late(position);
                    is_late = true;
                }
                gaps.expect(waiting);
            }
            state.watched.insert(fetched);
            if let (true, Some(passed)) = (is_late, passed) {
                gaps.lost.fetch_add(1, Relaxed);
                gaps.report(Some(audience), passed, Unrecovered::Expired);
            } else {
                gaps.filled.fetch_add(1, Relaxed);
            }
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
    answers
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

// What the journal is asked.

/// Asks again if the journal does not answer, a few times.
pub(super) async fn retry<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut result = ask().await;
    for _ in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        result = ask().await;
    }
    result
}

async fn read(gaps: &Gaps, query: &ReplayQuery) -> Result<StoredReplay, Failed> {
    let sender = gaps.arrivals.node.link.current().ok_or("not connected")?;
    let journal = sender.journal().ok_or("there is no journal")?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, journal.read(query)).await;
    answer.map_err(|_| "timed out")?
}
