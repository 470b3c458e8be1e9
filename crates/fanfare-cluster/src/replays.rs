//! Reading from the journal that the nodes share.

use std::{sync::Arc, time::SystemTime};

use fanfare_core::{
    Event,
    history::History,
    journal::{Replay, ReplayQuery},
};

use crate::{
    ANSWER_TIMEOUT,
    transport::{
        Sender,
        journal::{StoredMessage, StoredReplay},
    },
    wire,
};

/// Has `sender`'s journal answer `query`. While it cannot be reached, nothing is recovered.
pub(crate) async fn replay(sender: Option<Arc<dyn Sender>>, query: ReplayQuery) -> Replay {
    let Some(journal) = sender.as_ref().and_then(|sender| sender.journal()) else {
        return Replay::unreachable();
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, journal.read(&query)).await {
        Ok(Ok(stored)) => read(stored),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the journal could not be read");
            Replay::unreachable()
        }
        Err(_) => Replay::unreachable(),
    }
}

fn read(stored: StoredReplay) -> Replay {
    let now = SystemTime::now();
    let events = stored
        .messages
        .into_iter()
        .filter_map(|message| event(message, now));
    Replay {
        present: Some(stored.present),
        unrecovered: stored.unrecovered,
        events: events.collect(),
    }
}

/// The event of a stored message. One that cannot be read reached no connection when it was published, either.
fn event(stored: StoredMessage, now: SystemTime) -> Option<Arc<Event>> {
    let (event, _) = wire::parse_event(stored.audience, &stored.payload, now).ok()?;
    Some(Arc::new(Event {
        history: History::Kept(stored.position),
        ..event
    }))
}
