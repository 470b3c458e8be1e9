//! Fills gaps: fetches the missing events, and routes the waiting ones.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant, SystemTime},
};

use fanfare_core::{
    Audience,
    history::{Cursor, History, Unrecovered},
    journal::{ReplayFrom, ReplayQuery, ReplayScope},
};

use super::{GapState, Gaps, Missing, watched::place};
use crate::{
    arrivals::ArrivedEvent,
    transport::{
        Failed,
        journal::{StoredMessage, StoredReplay},
    },
    wire::{self, Rejected},
};

/// The number of requests to a journal that does not answer, before a gap is given up.
const ATTEMPTS: u32 = 3;
/// The pause between two such requests.
const PAUSE: Duration = Duration::from_millis(300);

/// Routes all waiting events, and fetches the missing ones between them.
pub(super) async fn fill(gaps: &Gaps) {
    let mut answers = true;
    while let Some(missing) = route_until_gap(gaps) {
        answers = fetch(gaps, missing, answers).await;
    }
}

/// Routes the waiting events before the first gap. Returns the gap.
fn route_until_gap(gaps: &Gaps) -> Option<Missing> {
    let mut state = gaps.state();
    if state.comparison.is_pending() || gaps.arrivals.recorder.is_blocking() {
        return None;
    }
    while let Some(waiting) = state.watched.take_first() {
        gaps.unreserve(&waiting);
        if let Some((waiting, missing)) = gaps.route(&mut state, waiting) {
            gaps.reserve(&waiting);
            state.watched.push_front(waiting);
            return Some(missing);
        }
    }
    None
}

/// Gives up the missing events of `audience` up to `number`, and reports them as lost.
pub(super) fn give_up_missing(
    gaps: &Gaps,
    state: &mut GapState,
    audience: Audience,
    number: u64,
    reason: Unrecovered,
) {
    state.watched.skip(&audience, number);
    if let Some(present) = state.watched.cursor() {
        gaps.report(state, audience, number, present, reason);
    }
}

/// Fetches missing events, and inserts them between the waiting ones. Reports them as lost if the journal does not return them in a form
/// that this version reads. Returns whether the journal answers. If it did not answer for the previous gap (`answers` is `false`), does
/// not request again: all waiting events would wait for it once more.
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
        }) => insert(gaps, &mut state, missing, messages),
        Ok(StoredReplay {
            unrecovered: Some(Unrecovered::Epoch),
            present,
            ..
        }) => {
            gaps.note_epoch(&mut state, present);
        }
        other => {
            let reason = other.ok().and_then(|read| read.unrecovered);
            let reason = reason.unwrap_or(Unrecovered::Expired);
            give_up_missing(gaps, &mut state, missing.audience, missing.up_to, reason);
        }
    }
    answers
}

/// Inserts fetched events between the waiting ones.
fn insert(gaps: &Gaps, state: &mut GapState, missing: Missing, messages: Vec<StoredMessage>) {
    let (audience, now) = (missing.audience, SystemTime::now());
    let wanted = messages.into_iter().filter(|message| {
        let number = message.position.number;
        message.audience == audience && number > missing.after && number <= missing.up_to
    });
    let read: Vec<_> = wanted.map(|message| arrived(message, now)).collect();
    let is_refused =
        |read: &Result<_, Rejected>| read.as_ref().is_err_and(|reason| reason.is_by_every_version());
    if !read.is_empty() && read.iter().all(is_refused) {
        state.watched.skip(&audience, missing.up_to);
        gaps.filled.fetch_add(1, Relaxed);
        return;
    }
    let mut fetched: Vec<_> = read.into_iter().flatten().collect();
    if fetched.is_empty() {
        // The journal's reply is not complete although it claims so, or another version wrote the messages.
        return give_up_missing(gaps, state, audience, missing.up_to, Unrecovered::Expired);
    }
    let passed = state.watched.cursor();
    let mut is_late = false;
    for waiting in &mut fetched {
        // Events with higher numbers were delivered before this one was known.
        if let Some(position) = place(waiting)
            && passed.is_some_and(|passed| position.number < passed.number)
        {
            waiting.event.history = History::Late(position);
            is_late = true;
        }
        gaps.reserve(waiting);
    }
    state.watched.insert(fetched);
    if let (true, Some(passed)) = (is_late, passed) {
        gaps.report(state, audience, missing.up_to, passed, Unrecovered::Expired);
    } else {
        gaps.filled.fetch_add(1, Relaxed);
    }
}

/// Parses a stored message into the event that would have arrived.
fn arrived(message: StoredMessage, now: SystemTime) -> Result<ArrivedEvent, Rejected> {
    let StoredMessage {
        audience,
        payload,
        position,
    } = message;
    let (mut event, envelope) = wire::parse_event(audience, &payload, now)?;
    event.history = History::Kept(position);
    Ok(ArrivedEvent {
        by_all_channels: true,
        event,
        envelope,
        since: Instant::now(),
    })
}

/// Makes a request to the journal, and repeats it a few times if it fails.
pub(super) async fn retry<T, F>(mut request: impl FnMut() -> F) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut result = request().await;
    for _ in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        result = request().await;
    }
    result
}
