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
    arrivals::ArrivedEvent,
    transport::{
        Failed,
        journal::{StoredMessage, StoredReplay},
    },
    wire::{self, Rejected},
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
            .unreserve(slice::from_ref(&waiting.event.event));
        if let Some((waiting, missing)) = gaps.judge(&mut state, waiting) {
            gaps.expect(&waiting);
            state.watched.wait_first(waiting);
            return Some(missing);
        }
    }
    None
}

/// What is missing of `audience` up to `number` is lost.
pub(super) fn lose(gaps: &Gaps, state: &mut GapState, audience: Audience, number: u64, reason: Unrecovered) {
    state.watched.skip(&audience, number);
    if let Some(present) = state.watched.cursor() {
        gaps.report(state, audience, number, present, reason);
    }
}

/// Fetches what is missing, and puts it between what waits. What cannot be fetched, or not read, is lost. A journal that did not answer for
/// the gap before, as `answers` says, is not asked: all that waits would wait for it again. Returns whether the journal answers.
pub(super) async fn fetch(gaps: &Gaps, missing: Missing, answers: bool) -> bool {
    let (epoch, number) = (missing.epoch, missing.after);
    let query = ReplayQuery {
        scope: ReplayScope::of(&missing.audience),
        from: ReplayFrom::After(Cursor { epoch, number }),
        limit: gaps.max_fetched,
    };
    let read = if answers {
        let node = &gaps.arrivals.node;
        retry(|| node.ask_journal(&query, |journal, query| journal.read(query))).await
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
        }) => put(gaps, &mut state, missing, messages),
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
            lose(gaps, &mut state, missing.audience, missing.up_to, reason);
        }
    }
    answers
}

/// Puts what is missing between what waits.
fn put(gaps: &Gaps, state: &mut GapState, missing: Missing, messages: Vec<StoredMessage>) {
    let (audience, now) = (missing.audience, SystemTime::now());
    let wanted = messages.into_iter().filter(|message| {
        let number = message.position.number;
        message.audience == audience && number > missing.after && number <= missing.up_to
    });
    let read: Vec<_> = wanted.map(|message| waiting(message, now)).collect();
    let is_refused = |read: &Result<_, Rejected>| read.as_ref().is_err_and(|reason| reason.is_for_nobody());
    if !read.is_empty() && read.iter().all(is_refused) {
        state.watched.skip(&audience, missing.up_to);
        gaps.filled.fetch_add(1, Relaxed);
        return;
    }
    let mut fetched: Vec<_> = read.into_iter().flatten().collect();
    if fetched.is_empty() {
        // It is not whole, though the journal says so, or another version wrote it.
        return lose(gaps, state, audience, missing.up_to, Unrecovered::Expired);
    }
    let passed = state.watched.cursor();
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
        gaps.report(state, audience, missing.up_to, passed, Unrecovered::Expired);
    } else {
        gaps.filled.fetch_add(1, Relaxed);
    }
}

/// A stored message as it would have arrived.
fn waiting(message: StoredMessage, now: SystemTime) -> Result<Waiting<ArrivedEvent>, Rejected> {
    let StoredMessage {
        audience,
        payload,
        position,
    } = message;
    let (mut event, envelope) = wire::parse_event(audience.clone(), &payload, now)?;
    event.history = History::Kept(position);
    Ok(Waiting {
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
