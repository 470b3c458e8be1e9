//! Notifies clients with cursors that they may have missed events: the transport lost events that no journal has, or the connection
//! was paused.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ahash::AHashMap;
use fanfare_core::{Audience, Gap, Rendering, history::Resumption};
use uuid::Uuid;

use super::{MountedDialect, Shard, batch::Framed, clock::Moment, connection::Connection, turn::Turn};

impl Shard {
    /// Sends a resume object to the connections with cursors that may have missed events.
    pub(super) fn report_gap(&self, gap: &Gap) {
        let resumption = Resumption {
            cursor: Some(gap.present),
            replayed: Err(gap.reason),
        };
        let moment = self.node.now();
        let mut by_dialect: AHashMap<usize, Option<Framed>> = AHashMap::new();
        let mut tools = self.tools.borrow_mut();
        for driver in self.connections.borrow_mut().iter_mut() {
            let connection = &driver.connection;
            if !connection.wants_cursors() || !connection.takes_events_later() || !concerns(gap, connection) {
                continue;
            }
            let mounted = connection.mounted().clone();
            let message = by_dialect
                .entry(mounted.number)
                .or_insert_with(|| message(&mounted, &resumption, moment).as_ref().map(Framed::new));
            let Some(message) = message else { continue };
            let deflater = &mut tools.codec.deflater;
            let frame = message
                .frame(&mounted, connection.framing(), deflater)
                .into_owned();
            driver.connection.mark_incomplete();
            let sent = if driver.connection.is_holding() {
                driver.connection.hold_frame(frame, None, moment)
            } else {
                driver.queue(frame, moment)
            };
            mounted.counters.count(sent);
            driver.flush_or_wake();
        }
    }
}

/// Sends `resumption` to one connection, before its held events.
pub(super) fn report(turn: &mut Turn<'_>, resumption: &Resumption) {
    let mounted = turn.connection().mounted().clone();
    if let Some(message) = message(&mounted, resumption, turn.moment) {
        let frame = turn.connection().framing().frame(&message);
        let sent = turn.driver.queue(frame, turn.moment);
        mounted.counters.count(sent);
        turn.driver.flush_or_wake();
    }
}

/// Returns whether the connection receives events for the audience of the gap.
fn concerns(gap: &Gap, connection: &Connection) -> bool {
    let subscriber = &connection.subscriber;
    match &gap.audience {
        None => true,
        Some(Audience::Everyone) => subscriber.receives_everyone,
        Some(Audience::User(user)) => {
            let own = subscriber.identity.as_ref();
            subscriber.receives_user && own.is_some_and(|own| own.user == *user)
        }
        Some(Audience::Channel(channel)) => subscriber.is_shown(channel),
    }
}

/// Returns the dialect's message; `None` if it has none or panics.
fn message(mounted: &MountedDialect, resumption: &Resumption, moment: Moment) -> Option<Rendering> {
    let message = AssertUnwindSafe(|| mounted.dialect.missed(resumption, Uuid::now_v7(), moment.wall));
    catch_unwind(message).ok()?
}
