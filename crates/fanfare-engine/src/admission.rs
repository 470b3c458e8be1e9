//! Whether one more connection is admitted: a dialect's total, its limit per address, and one connection of each name.

use std::{
    collections::hash_map::Entry,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fanfare_core::{Refusal, locked};
use tokio::time::{Instant, sleep};

use super::{
    MountedDialect, Node,
    slots::{self, HeldSlot},
};

/// How long a handshake waits for a name that is taken. A client that closes a connection and opens the next at once may be
/// served before the server has read the end of the old one, which may be another node's.
const NAME_GRACE: Duration = Duration::from_millis(250);
/// Between two tries.
const NAME_RETRY: Duration = Duration::from_millis(25);

/// A place taken among a dialect's connections; given back when dropped.
pub struct Admission {
    dialect: Arc<MountedDialect>,
    address: IpAddr,
    /// Whether it counts among those of its address.
    counted: bool,
    /// Few connections have any, and all would pay for their size.
    held: Option<Box<Held>>,
}

/// What only some connections have.
#[derive(Default)]
struct Held {
    name: Option<Box<str>>,
    name_slot: Option<HeldSlot>,
    user_slot: Option<HeldSlot>,
    /// What program its client says it is, if its dialect keeps that.
    user_agent: Option<Box<str>>,
}

impl Admission {
    /// Takes a place on this node for a connection from `address` that is called `name`, where connections have names.
    ///
    /// # Errors
    /// [`Refusal::AtCapacity`], [`Refusal::AddressAtCapacity`] or [`Refusal::NameTaken`].
    pub(super) fn take(
        dialect: &Arc<MountedDialect>,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<Self, Refusal> {
        let settings = dialect.settings();
        let most = settings.max_connections as u64;
        let active = &dialect.counters.active;
        active
            .fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1))
            .map_err(|_| Refusal::AtCapacity)?;
        let mut admission = Self {
            dialect: dialect.clone(),
            address,
            counted: false,
            held: None,
        };
        if settings.max_connections_per_ip > 0 {
            let mut networks = locked(&dialect.networks);
            let count = networks.entry(address.into()).or_default();
            if *count >= settings.max_connections_per_ip {
                return Err(Refusal::AddressAtCapacity);
            }
            *count += 1;
            admission.counted = true;
        }
        if let Some(name) = name {
            if !locked(&dialect.names).insert(name.into()) {
                return Err(Refusal::NameTaken);
            }
            admission.held.get_or_insert_default().name = Some(name.into());
        }
        Ok(admission)
    }

    /// Takes a place for a connection from `address` that is called `name`, where connections have names. The name must be
    /// free on all nodes; one that is taken is waited for a moment.
    ///
    /// # Errors
    /// [`Refusal::AtCapacity`], [`Refusal::AddressAtCapacity`] or [`Refusal::NameTaken`].
    pub async fn enter(
        node: &Arc<Node>,
        dialect: &Arc<MountedDialect>,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<Self, Refusal> {
        let until = Instant::now() + NAME_GRACE;
        loop {
            let is_last = Instant::now() >= until;
            match Self::try_enter(node, dialect, address, name).await {
                Err(Refusal::NameTaken) if !is_last => sleep(NAME_RETRY).await,
                entered => return entered,
            }
        }
    }

    async fn try_enter(
        node: &Arc<Node>,
        dialect: &Arc<MountedDialect>,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<Self, Refusal> {
        let mut admission = Self::take(dialect, address, name)?;
        if let Some(name) = name {
            let slot = slots::of_name(node, dialect, name).await;
            let slot = slot.ok_or(Refusal::NameTaken)?;
            admission.held.get_or_insert_default().name_slot = Some(slot);
        }
        Ok(admission)
    }

    /// Keeps the place of the connection's user among those of all nodes.
    pub(super) fn keep(&mut self, user_slot: Option<HeldSlot>) {
        if user_slot.is_some() {
            self.held.get_or_insert_default().user_slot = user_slot;
        }
    }

    /// Notes what program its client says it is.
    pub(super) fn note_user_agent(&mut self, user_agent: Option<Box<str>>) {
        if user_agent.is_some() {
            self.held.get_or_insert_default().user_agent = user_agent;
        }
    }

    /// What program its client says it is, if its dialect keeps that.
    pub(super) fn user_agent(&self) -> Option<&str> {
        self.held.as_ref()?.user_agent.as_deref()
    }

    pub(super) fn take_user_agent(&mut self) -> Option<Box<str>> {
        self.held.as_mut()?.user_agent.take()
    }

    /// Lets other connections have the name and the user's place.
    pub(super) fn release(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        let name = held.name.take();
        drop(held); // the cluster's slots first
        if let Some(name) = name {
            locked(&self.dialect.names).remove(&name);
        }
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What the connection is called.
    pub fn name(&self) -> Option<&str> {
        self.held.as_ref()?.name.as_deref()
    }

    /// The dialect the place is in.
    pub fn dialect(&self) -> &Arc<MountedDialect> {
        &self.dialect
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.dialect.counters.active.fetch_sub(1, Relaxed);
        if self.counted {
            let mut networks = locked(&self.dialect.networks);
            if let Entry::Occupied(mut count) = networks.entry(self.address.into()) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        self.release();
    }
}
