//! The task that does all that concerns the store of presence, one thing after the other.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use fanfare_core::{Channel, Member, Presence as Transition};

use super::{
    cleaner::Cleaner,
    count,
    slots::SlotChangeKind,
    state::{MemberChange, Task},
};
use crate::{
    ANSWER_TIMEOUT, Shared, local,
    transport::{
        PresenceStore, Sender, Stored,
        presence::{
            AnnouncementText, Applied, CLEANED_MEMORY, Change, LEASE_LIFETIME, Lease, LeaseId, Renewal,
        },
    },
    wire,
};

/// Between two renewals of the lease.
const RENEWAL: Duration = Duration::from_secs(1);
/// Changes that are sent at once. Events travel between two batches.
const BATCH: usize = 256;
/// Rooms that are compared at once.
const ROOMS: usize = 64;
/// How long the store may take for one call; a transport's own limit is shorter.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// After that time the store is asked again to make changes that it had no room for.
const UNSTORED_RETRY: Duration = Duration::from_secs(10);
/// After a refusal of the store, the next attempt waits.
const RETRY: Duration = Duration::from_secs(1);

/// Serves the store until the broker is dropped or closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let lease = new_lease();
    let mut worker = Worker {
        lease,
        own: vec![lease.id],
        renewed: None,
        renew_now: true,
        connection: None,
        former: Vec::new(),
        compare_at: None,
        retry_at: None,
        unstored_at: None,
        cleaner: Cleaner::default(),
        shared,
    };
    while !worker.turn().await {}
}

struct Worker {
    shared: Arc<Shared>,
    lease: Lease,
    /// When the last renewal that succeeded was sent, by this node's clock.
    renewed: Option<Instant>,
    /// The lease must be renewed before anything else.
    renew_now: bool,
    /// The connection that was used last.
    connection: Option<Weak<dyn Sender>>,
    /// All leases that this node has had, the present one last.
    own: Vec<LeaseId>,
    /// Those that may still hold something.
    former: Vec<LeaseId>,
    /// The store has lost what it knew: before this time other nodes may not have entered their members again.
    compare_at: Option<Instant>,
    /// The store has refused something.
    retry_at: Option<Instant>,
    /// When changes that the store had no room for are tried again.
    unstored_at: Option<Instant>,
    cleaner: Cleaner,
}

fn new_lease() -> Lease {
    Lease {
        id: LeaseId(rand::random()),
        until: 0,
    }
}

fn is_due(at: Option<Instant>) -> bool {
    at.is_none_or(|at| Instant::now() >= at)
}

impl Worker {
    /// Does what is to be done next, or waits for it. Returns whether the node has ended.
    async fn turn(&mut self) -> bool {
        let sender = self.shared.link.current();
        let Some(store) = sender.as_deref().and_then(Sender::presence) else {
            self.shared.presence.state().disconnect();
            if let Some(done) = self.shared.presence.state().closing.take() {
                let _ = done.send(());
                return true;
            }
            self.wait().await;
            return false;
        };
        if let Some(sender) = &sender {
            let connection = Arc::downgrade(sender);
            // What is on the other side may have lost everything, and nothing may be concluded from that.
            let is_new = self
                .connection
                .as_ref()
                .is_none_or(|last| !last.ptr_eq(&connection));
            self.renew_now |= is_new;
            self.connection = Some(connection);
        }
        let mut lost = false;
        let mut busy = false;
        if self.renews() && is_due(self.retry_at) {
            (busy, lost) = (true, self.renew(store).await);
        } else if !self.renews() && is_due(self.retry_at) {
            if self.shared.presence.state().closing.is_some() {
                return self.close(store).await;
            }
            (busy, lost) = self.work(store).await;
        }
        if lost {
            self.shared.presence.state().disconnect();
            if let Some(sender) = &sender {
                self.shared.link.failed(sender);
            }
        } else if !busy {
            self.wait().await;
        }
        false
    }

    /// Waits until there may be something to do.
    async fn wait(&self) {
        let renewal = self.renewed.map(|at| at + RENEWAL);
        let next = [renewal, self.compare_at, self.retry_at, self.unstored_at];
        let now = Instant::now();
        let next = next.into_iter().flatten().filter(|at| *at > now).min();
        let next = next.unwrap_or(now + RENEWAL).min(now + RENEWAL);
        let _ = tokio::time::timeout_at(next.into(), self.shared.presence.work.notified()).await;
    }

    /// Whether the lease must be renewed. Its term may be over by this node's own clock, too, then: nothing is done under it.
    fn renews(&self) -> bool {
        self.renew_now || self.renewed.is_none_or(|at| at.elapsed() >= RENEWAL)
    }

    /// Does a part of each kind of work that there is. Returns whether there was any, and whether the connection was lost.
    async fn work(&mut self, store: &dyn PresenceStore) -> (bool, bool) {
        if self.unstored_at.is_some() && is_due(self.unstored_at) {
            self.unstored_at = None;
            self.shared.presence.state().retry_unstored();
        }
        let tasks = self.shared.presence.state().take(BATCH);
        let mut busy = !tasks.is_empty();
        if busy && self.apply(store, tasks).await {
            return (busy, true);
        }
        self.begin_views().await;
        if !self.shared.presence.state().is_connected() && is_due(self.retry_at) {
            let (more, lost) = self.catch_up(store).await;
            busy |= more;
            if lost {
                return (busy, true);
            }
        }
        if self.cleaner.has_work(Instant::now()) {
            busy = true;
            let own = self.lease.id;
            let cleaned = timed(self.cleaner.clean(&self.shared, store, own)).await;
            if self.check(&cleaned) {
                return (busy, true);
            }
        }
        (busy, false)
    }

    /// Puts the lists of rooms that were fetched into use.
    async fn begin_views(&self) {
        let presence = &self.shared.presence;
        let unmarked = presence.state().take_unmarked();
        if !unmarked.is_empty() {
            // When this is back, so is all that was announced before it. If it does not come, the receiving connection is lost,
            // and the views are compared.
            let _ = self.shared.round_trip(false).await;
        }
        let overdue = presence.state().take_overdue(ANSWER_TIMEOUT);
        let mut state = presence.state();
        for fetched in unmarked.iter().chain(&overdue) {
            state.begin(fetched);
        }
    }

    /// Does the next step back to being connected. Returns as [`Self::work`] does.
    async fn catch_up(&mut self, store: &dyn PresenceStore) -> (bool, bool) {
        let tasks = self.shared.presence.state().take_marked(BATCH);
        if !tasks.is_empty() {
            return (true, self.apply(store, tasks).await);
        }
        if let Some(former) = self.former.first().copied() {
            // Whatever it holds yet (the store may have come back with an old state) is cleaned, now that all have been entered
            // under the new lease.
            let expired = timed(store.expire(former)).await;
            let lost = self.check(&expired);
            if !lost && expired.refused.is_none() {
                self.former.remove(0);
            }
            return (true, lost);
        }
        if !is_due(self.compare_at) {
            return (false, false);
        }
        let rooms = self.shared.presence.state().take_unsynced(ROOMS);
        if rooms.is_empty() {
            self.compare_at = None;
            return (self.shared.presence.state().connect(), false);
        }
        let listed = timed(store.members(&rooms)).await;
        let lost = self.check(&listed);
        let mut found = listed.value.into_iter();
        for room in &rooms {
            let members = found.next().flatten();
            let mut state = self.shared.presence.state();
            state.compared(room, members, &self.own);
        }
        count(&self.shared.presence.counters.compared, rooms.len());
        (true, lost)
    }

    /// Renews the lease, or takes a new one. Returns whether the connection was lost.
    async fn renew(&mut self, store: &dyn PresenceStore) -> bool {
        let sent = Instant::now();
        let renewal = timed(store.renew(self.lease)).await;
        self.renew_now = !matches!(renewal.value, Some(Renewal::Renewed { .. }));
        let lost = self.check(&renewal);
        match renewal.value {
            Some(Renewal::Renewed { until, expired }) => {
                if self.lease.until == 0 {
                    count(&self.shared.presence.counters.leases, 1);
                }
                self.lease.until = until;
                self.renewed = Some(sent);
                self.cleaner.expired(&expired, sent);
            }
            Some(Renewal::Gone { cleaned }) => {
                let forgotten = self.renewed.is_some_and(|at| at.elapsed() > CLEANED_MEMORY);
                let cleaned = cleaned || forgotten;
                tracing::warn!(
                    cleaned,
                    "this node's lease is gone; its members are entered again"
                );
                if !cleaned {
                    self.compare_at = Some(Instant::now() + LEASE_LIFETIME);
                }
                self.former.push(self.lease.id);
                self.lease = new_lease();
                self.own.push(self.lease.id);
                self.renewed = None;
                self.shared.presence.state().lease_gone(cleaned);
            }
            None => {
                self.shared.presence.state().disconnect();
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
        lost
    }

    /// Carries out `tasks`. Returns whether the connection was lost.
    async fn apply(&mut self, store: &dyn PresenceStore, tasks: Vec<Task>) -> bool {
        let changes: Vec<Change> = tasks.iter().map(|task| self.change(task)).collect();
        let applied = timed(store.apply(self.lease, &changes)).await;
        let lost = self.check(&applied);
        let mut results = applied.value.into_iter();
        let mut fenced = Vec::new();
        let mut state = self.shared.presence.state();
        for task in tasks {
            let result = results.next().flatten();
            if result == Some(Applied::Fenced) || !fenced.is_empty() {
                fenced.push(task);
                continue;
            }
            match (task, result) {
                (Task::Member(change), Some(Applied::Room { transition, members })) => {
                    if change.change == Transition::Joined {
                        count(&self.shared.presence.counters.entered, 1);
                    }
                    state.applied(&change, transition, members);
                }
                (Task::Member(change), Some(Applied::Full { reason, members })) => {
                    count(&self.shared.presence.counters.unstored, 1);
                    self.shared.status.room_full(&change.room, &reason);
                    self.unstored_at
                        .get_or_insert_with(|| Instant::now() + UNSTORED_RETRY);
                    state.unstored(&change, members);
                }
                (Task::Slot(change), Some(Applied::Slot { granted })) => {
                    count(
                        &self.shared.presence.counters.refused_slots,
                        usize::from(!granted),
                    );
                    state.applied_slot(change, granted);
                }
                (task, _) => {
                    state.disconnect();
                    state.failed(task);
                }
            }
        }
        if !fenced.is_empty() {
            self.renew_now = true;
            state.put_back(fenced);
        }
        lost
    }

    fn change(&self, task: &Task) -> Change {
        match task {
            Task::Member(change) => {
                let MemberChange { room, member, .. } = change;
                let text = change
                    .announced
                    .then(|| announcement(&self.shared, change.change, room, member, change.number));
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
                let count = self.shared.presence.state().slots.count(&change.slot);
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

    /// Releases all that this node holds. Returns whether that is done, or cannot be.
    async fn close(&mut self, store: &dyn PresenceStore) -> bool {
        // What waits is carried out first, in order.
        loop {
            let tasks = self.shared.presence.state().take(BATCH);
            if tasks.is_empty() || self.apply(store, tasks).await {
                break;
            }
        }
        self.shared.presence.state().release_all();
        loop {
            let tasks = self.shared.presence.state().take_marked(BATCH);
            if tasks.is_empty() || self.apply(store, tasks).await {
                break;
            }
        }
        if self.shared.presence.state().is_caught_up() {
            timed(store.forget(self.lease.id, false)).await;
        }
        if let Some(done) = self.shared.presence.state().closing.take() {
            let _ = done.send(());
        }
        true
    }

    /// Notes what the store refused. Returns whether the connection was lost.
    fn check<T>(&mut self, stored: &Stored<T>) -> bool {
        if let Some(error) = &stored.refused {
            self.shared.status.presence_refused(error);
            self.retry_at = Some(Instant::now() + RETRY);
        }
        stored.lost
    }
}

/// What a call of the store returns; as lost if that takes too long.
async fn timed<T: Default>(call: impl Future<Output = Stored<T>>) -> Stored<T> {
    let late = |_| Stored {
        lost: true,
        ..Stored::default()
    };
    tokio::time::timeout(STORE_TIMEOUT, call)
        .await
        .unwrap_or_else(late)
}

/// The text that announces a change in `room`; `None` if there is nothing to announce.
pub(super) fn announcement(
    shared: &Shared,
    change: Transition,
    room: &Channel,
    member: &Member,
    number: u64,
) -> Option<AnnouncementText> {
    let event = local::announcement(&*shared.inbound, change, room, member)?;
    Some(wire::announcement(
        &event,
        &shared.node_id,
        change,
        member,
        number,
    ))
}
