//! The stores of the hub.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fanfare_core::{Audience, BoxFuture, Claim, Event, Receipt, journal::ReplayQuery};
use uuid::Uuid;

use super::{Connection, NO_JSON, PlainPublications};
use crate::transport::{
    Failed, IdStore, Message, RecorderStore, Stored, WantedId,
    journal::{JournalStore, StoredMessage, StoredReplay, Tops},
    recorder::{Recorded, Role, TickRequest, Ticked},
};

impl JournalStore for Connection {
    fn read<'a>(&'a self, query: &'a ReplayQuery) -> BoxFuture<'a, Result<StoredReplay, Failed>> {
        Box::pin(async move {
            self.check_reachable().await?;
            self.hub.round_trip().await;
            self.hub.journal_answers()?;
            let replay = self.hub.journal().read(query);
            let stored = |event: &Arc<Event>| {
                let mut payload = event.data.bytes().clone();
                if payload == NO_JSON {
                    payload = Bytes::from_static(b"\xff");
                }
                Some(StoredMessage {
                    audience: event.audience.clone(),
                    payload,
                    position: event.history.position()?,
                })
            };
            Ok(StoredReplay {
                floor: self.hub.state().floor,
                present: replay.present.ok_or("no journal")?,
                unrecovered: replay.unrecovered,
                messages: replay.events.iter().filter_map(stored).collect(),
            })
        })
    }

    fn tops<'a>(
        &'a self,
        audiences: &'a [Audience],
        behind: Option<u64>,
    ) -> BoxFuture<'a, Result<Tops, Failed>> {
        Box::pin(async move {
            self.check_reachable().await?;
            self.hub.journal_answers()?;
            Ok(Tops {
                floor: self.hub.state().floor,
                ..self.hub.journal().tops(audiences, behind)
            })
        })
    }

    fn recorder(&self) -> Option<&dyn RecorderStore> {
        let has_plain = self.hub.state().plain != PlainPublications::None;
        has_plain.then_some(self as &dyn RecorderStore)
    }
}

/// No node becomes the recorder.
impl RecorderStore for Connection {
    fn tick<'a>(&'a self, _: &'a TickRequest) -> BoxFuture<'a, Result<Ticked, Failed>> {
        Box::pin(async move {
            while self.hub.state().plain == PlainPublications::Stalled {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(Ticked {
                role: Role::None(false),
                tick: 1,
                term: 1,
                from: 0,
                settled: 1,
                is_used: false,
            })
        })
    }

    fn record<'a>(&'a self, _: u64, _: u64, _: &'a [Message]) -> BoxFuture<'a, Result<Recorded, Failed>> {
        Box::pin(std::future::ready(Ok(Recorded::TermOver)))
    }
}

/// It stores nothing.
impl IdStore for Connection {
    fn claim<'a>(&'a self, ids: &'a [WantedId]) -> BoxFuture<'a, Stored<Vec<Option<Claim>>>> {
        let stored = Stored::default().map(|()| vec![None; ids.len()]);
        Box::pin(std::future::ready(stored))
    }

    fn settle<'a>(&'a self, _: &'a [(Uuid, Receipt)]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(std::future::ready(Stored::default()))
    }

    fn release<'a>(&'a self, _: &'a [Uuid]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(std::future::ready(Stored::default()))
    }
}
