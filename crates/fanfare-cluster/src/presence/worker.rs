//! The task that makes all calls of the presence store, one after the other.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use fanfare_core::Presence as Transition;
use tokio::{sync::watch, time::Instant};

use super::{
    Presence,
    cleaner::Cleaner,
    room::MemberChange,
    slots::SlotChangeKind,
    state::Task,
    term::{Term, timed},
};
use crate::{
    ANSWER_TIMEOUT,
    status::Refused,
    transport::{
        PresenceStore, Sender, Stored,
        presence::{Applied, CLEANED_MEMORY, Change, LEASE_LIFETIME, LeaseId, Renewal},
    },
};

/// The changes in one call. Events travel between two batches.
const BATCH: usize = 256;
/// The rooms whose members are read by one call.
const ROOMS: usize = 64;
/// The pause before changes are retried that the store had no room for.
const UNSTORED_RETRY: Duration = Duration::from_secs(10);
/// The pause after a refusal of the store, and the longest wait for work.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the worker until the broker is dropped or closed.
pub(crate) async fn run(presence: Arc<Presence>) {
    let term = Term::new();
    let mut worker = Worker {
        own_leases: vec![term.lease().id],
        term: Arc::new(term),
        is_released: false,
        connection: None,
        former_leases: Vec::new(),
        compare_at: None,
        retry_at: None,
        unstored_at: None,
        cleaner: Cleaner::default(),
        connections: presence.node.link.changes(),
        presence,
    };
    while worker.turn().await != Turn::Ended {}
}

/// The result of one turn of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There was nothing to do.
    Idle,
    Busy,
    /// The connection was lost.
    Lost,
    /// The node has ended.
    Ended,
}

struct Worker {
    presence: Arc<Presence>,
    /// Reports changes of the publishing connection.
    connections: watch::Receiver<Option<Arc<dyn Sender>>>,
    term: Arc<Term>,
    /// The node ends, and all its members and slots are marked for release.
    is_released: bool,
    /// The connection of the last turn.
    connection: Option<Weak<dyn Sender>>,
    /// All leases that this node has had, the present one last.
    own_leases: Vec<LeaseId>,
    /// The leases before the present one that may still have records.
    former_leases: Vec<LeaseId>,
    /// Views are reconciled from this time on. The store has lost its records, and the other nodes enter their members again.
    compare_at: Option<Instant>,
    /// The time of the next attempt after a refusal of the store.
    retry_at: Option<Instant>,
    /// The time at which changes are retried that the store had no room for.
    unstored_at: Option<Instant>,
    cleaner: Cleaner,
}

fn is_due(at: Option<Instant>) -> bool {
    at.is_none_or(|at| Instant::now() >= at)
}

impl Worker {
    /// Does the next work, or waits for it.
    async fn turn(&mut self) -> Turn {
        let sender = self.presence.node.link.current();
        let Some(store) = sender.as_deref().and_then(Sender::presence) else {
            self.presence.state().disconnect();
            return self.end_or_wait().await;
        };
        if let Some(sender) = &sender {
            let connection = Arc::downgrade(sender);
            let is_known = self
                .connection
                .as_ref()
                .is_some_and(|last| last.ptr_eq(&connection));
            if !is_known {
                // The server behind a new connection may have lost all records, and the renewal shows it.
                self.term.suspect();
            }
            self.connection = Some(connection);
        }
        let turn = if is_due(Some(self.term.due())) {
            self.renew(store).await
        } else if self.term.is_suspect() {
            return self.end_or_wait().await;
        } else if is_due(self.retry_at) {
            let term = Arc::clone(&self.term);
            tokio::select! {
                turn = self.work(store) => turn,
                never = term.keep(store) => match never {},
            }
        } else {
            Turn::Idle
        };
        for (expired, at) in self.term.take_expired() {
            self.cleaner.report_expired(&expired, at);
        }
        match turn {
            Turn::Lost => {
                self.presence.state().disconnect();
                if let Some(sender) = &sender {
                    self.presence.node.link.failed(sender);
                }
            }
            Turn::Idle => self.wait().await,
            Turn::Busy | Turn::Ended => {}
        }
        turn
    }

    /// Waits for an unavailable store, unless the node ends.
    async fn end_or_wait(&mut self) -> Turn {
        if self.end() {
            return Turn::Ended;
        }
        self.wait().await;
        Turn::Idle
    }

    /// If this node ends, reports that the worker has released all that it can. Returns whether it ends.
    fn end(&self) -> bool {
        let Some(done) = self.presence.state().closing.take() else {
            return false;
        };
        // Fails if the caller of `close` no longer waits.
        let _ = done.send(());
        true
    }

    /// Waits until there may be work.
    async fn wait(&mut self) {
        let next = [
            Some(self.term.due()),
            self.compare_at,
            self.retry_at,
            self.unstored_at,
        ];
        let now = Instant::now();
        let next = next.into_iter().flatten().filter(|at| *at > now).min();
        let next = next.unwrap_or(now + RETRY).min(now + RETRY);
        tokio::select! {
            () = self.presence.work.notified() => {}
            // An error means that the broker was dropped.
            _ = self.connections.changed() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }

    /// Does a part of each kind of work.
    async fn work(&mut self, store: &dyn PresenceStore) -> Turn {
        if self.presence.state().closing.is_some() {
            return self.close(store).await;
        }
        if self.unstored_at.is_some() && is_due(self.unstored_at) {
            self.unstored_at = None;
            self.presence.state().retry_unstored();
        }
        let tasks = self.presence.state().take(BATCH);
        let mut turn = Turn::Idle;
        if !tasks.is_empty() {
            turn = self.apply(store, tasks).await;
        }
        if turn == Turn::Lost {
            return turn;
        }
        self.activate_lists().await;
        if !self.presence.state().is_connected() && is_due(self.retry_at) {
            match self.catch_up(store).await {
                Turn::Idle => {}
                Turn::Lost => return Turn::Lost,
                other => turn = other,
            }
        }
        if self.cleaner.has_work(Instant::now()) {
            let own = self.term.lease().id;
            let cleaned = timed(self.cleaner.clean(&self.presence, store, own)).await;
            if let Some(error) = &cleaned.refused {
                self.refused(error);
                self.cleaner.pause(Instant::now() + RETRY);
            }
            turn = if cleaned.lost { Turn::Lost } else { Turn::Busy };
        }
        turn
    }

    /// Applies the fetched lists of rooms.
    async fn activate_lists(&self) {
        let presence = &self.presence;
        let unannounced = presence.state().take_unannounced();
        if !unannounced.is_empty() {
            // The probe arrives behind all earlier announcements. If it does not arrive, the receiving connection is lost, and the
            // views are reconciled.
            let _ = self.presence.probes.round_trip(false).await;
        }
        let overdue = presence.state().take_overdue(ANSWER_TIMEOUT);
        let mut state = presence.state();
        for fetched in unannounced.iter().chain(&overdue) {
            state.activate_list(fetched);
        }
    }

    /// Does the next part of the way back to being connected.
    async fn catch_up(&mut self, store: &dyn PresenceStore) -> Turn {
        let tasks = self.presence.state().take_marked(BATCH);
        if !tasks.is_empty() {
            return self.apply(store, tasks).await;
        }
        if let Some(former) = self.former_leases.first().copied() {
            // All members have been entered under the new lease, so the former one can be cleaned. It may still have records if the
            // store was restored from an old state.
            let expired = timed(store.expire(former)).await;
            let turn = self.check(&expired);
            if turn == Turn::Busy && expired.refused.is_none() {
                self.former_leases.remove(0);
            }
            return turn;
        }
        if !is_due(self.compare_at) {
            return Turn::Idle;
        }
        let rooms = self.presence.state().take_unsynced(ROOMS);
        if rooms.is_empty() {
            self.compare_at = None;
            let is_connected = self.presence.state().connect();
            return if is_connected { Turn::Busy } else { Turn::Idle };
        }
        let listed = timed(store.members(&rooms)).await;
        let turn = self.check(&listed);
        let mut found = listed.value.into_iter();
        for room in &rooms {
            let members = found.next().flatten();
            let mut state = self.presence.state();
            state.reconcile(room, members, &self.own_leases);
        }
        self.presence.state().counts.compared_rooms += rooms.len() as u64;
        turn
    }

    /// Renews the lease, or begins a new one.
    async fn renew(&mut self, store: &dyn PresenceStore) -> Turn {
        let (lease, age) = (self.term.lease(), self.term.age());
        let renewal = self.term.renew(store).await;
        let turn = self.check(&renewal);
        match renewal.value {
            Some(Renewal::Renewed { .. }) => {
                self.presence.state().counts.leases += u64::from(lease.until == 0);
            }
            Some(Renewal::Gone { cleaned }) => {
                let forgotten = age.is_some_and(|age| age > CLEANED_MEMORY);
                let cleaned = cleaned || forgotten;
                tracing::warn!(
                    cleaned,
                    "this node has lost its lease; it enters its members again"
                );
                if !cleaned {
                    self.compare_at = Some(Instant::now() + LEASE_LIFETIME);
                }
                self.former_leases.push(lease.id);
                self.own_leases.push(self.term.replace());
                self.presence.state().lease_gone(cleaned);
            }
            None => self.presence.state().disconnect(),
        }
        turn
    }

    /// Applies `tasks` to the store.
    async fn apply(&mut self, store: &dyn PresenceStore, tasks: Vec<Task>) -> Turn {
        let changes: Vec<Change> = tasks.iter().map(|task| self.change(task)).collect();
        let lease = self.term.lease();
        let applied = timed(store.apply(lease.id, Some(lease.until), &changes)).await;
        let turn = self.check(&applied);
        let mut results = applied.value.into_iter();
        let mut fenced = Vec::new();
        let mut state = self.presence.state();
        for task in tasks {
            match (task, results.next().flatten()) {
                (task, Some(Applied::Fenced)) => fenced.push(task),
                (Task::Member(change), Some(Applied::Room { transition, members })) => {
                    state.counts.entered += u64::from(change.change == Transition::Joined);
                    state.applied(&change, transition, members);
                }
                (Task::Member(change), Some(Applied::Full { reason, members })) => {
                    state.counts.unstored += 1;
                    self.presence.node.status.room_full(&change.room, &reason);
                    self.unstored_at
                        .get_or_insert_with(|| Instant::now() + UNSTORED_RETRY);
                    state.unstored(&change, members);
                }
                (Task::Slot(change), Some(Applied::Slot { granted })) => {
                    state.counts.refused_slots += u64::from(!granted);
                    state.applied_slot(change, granted);
                }
                (task, _) => {
                    state.disconnect();
                    state.failed(task);
                }
            }
        }
        if !fenced.is_empty() {
            self.term.suspect();
            state.requeue(fenced);
        }
        turn
    }

    fn change(&self, task: &Task) -> Change {
        match task {
            Task::Member(change) => {
                let MemberChange { room, member, .. } = change;
                let text = change.announced.then(|| {
                    self.presence
                        .announcement(change.change, room, member, change.number)
                });
                match change.change {
                    Transition::Joined => Change::Enter {
                        room: room.clone(),
                        member: member.clone(),
                        since_ms: change.since_ms,
                        announcement: text.flatten(),
                        list: change.list,
                    },
                    Transition::Left => Change::Leave {
                        room: room.clone(),
                        user: member.user.clone(),
                        announcement: text.flatten(),
                        even_if_unheld: change.was_held,
                    },
                }
            }
            Task::Slot(change) => {
                let count = self.presence.state().slots.count(&change.slot);
                let (more, most) = match &change.kind {
                    SlotChangeKind::Acquire(most, _) => (1, Some(*most)),
                    SlotChangeKind::Report => (0, None),
                };
                Change::Slot {
                    slot: change.slot.clone(),
                    count: count + more,
                    most,
                }
            }
        }
    }

    /// Applies the queued tasks in order, then releases the next part of this node's members and slots.
    async fn close(&mut self, store: &dyn PresenceStore) -> Turn {
        let mut tasks = self.presence.state().take(BATCH);
        if tasks.is_empty() {
            let mut state = self.presence.state();
            if !std::mem::replace(&mut self.is_released, true) {
                state.release_all();
            }
            tasks = state.take_marked(BATCH);
        }
        if !tasks.is_empty() {
            return self.apply(store, tasks).await;
        }
        if self.presence.state().is_released() {
            timed(store.forget(self.term.lease().id, false)).await;
        }
        self.end();
        Turn::Ended
    }

    /// Notes a refusal of the store.
    fn check<T>(&mut self, stored: &Stored<T>) -> Turn {
        if let Some(error) = &stored.refused {
            self.refused(error);
            self.retry_at = Some(Instant::now() + RETRY);
        }
        if stored.lost { Turn::Lost } else { Turn::Busy }
    }

    fn refused(&self, error: &str) {
        self.presence.state().counts.refused += 1;
        self.presence.node.status.refused(Refused::Presence, error);
    }
}

#[cfg(test)]
mod tests;
