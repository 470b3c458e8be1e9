//! Admits connections: within a dialect's limit and its limit per address, and one connection of each name.

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

/// The time that a handshake waits for a name that is taken: the old connection of a client that reconnects may end later, on
/// another node.
const NAME_GRACE: Duration = Duration::from_millis(250);
/// The time between two attempts.
const NAME_RETRY: Duration = Duration::from_millis(25);

/// A place among a dialect's connections. Dropping it releases the place.
pub struct Admission {
    dialect: Arc<MountedDialect>,
    address: IpAddr,
    /// Whether `MountedDialect::networks` counts it.
    counted: bool,
    /// In a box, because few connections have one.
    held: Option<Box<Held>>,
}

/// The parts of an admission that few connections have.
#[derive(Default)]
struct Held {
    name: Option<Box<str>>,
    name_slot: Option<HeldSlot>,
    user_slot: Option<HeldSlot>,
    /// The client's program, if the dialect keeps it.
    user_agent: Option<Box<str>>,
}

impl Admission {
    /// Takes a place on this node for a connection from `address`, which may have a `name`.
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

    /// Takes a place for a connection from `address`, which may have a `name`. If a connection on any node has the name, this
    /// retries for a quarter of a second.
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

    /// Keeps the slot of the connection's user until the admission is released.
    pub(super) fn keep_user_slot(&mut self, user_slot: Option<HeldSlot>) {
        if user_slot.is_some() {
            self.held.get_or_insert_default().user_slot = user_slot;
        }
    }

    pub(super) fn set_user_agent(&mut self, user_agent: Option<Box<str>>) {
        if user_agent.is_some() {
            self.held.get_or_insert_default().user_agent = user_agent;
        }
    }

    pub(super) fn user_agent(&self) -> Option<&str> {
        self.held.as_ref()?.user_agent.as_deref()
    }

    pub(super) fn take_user_agent(&mut self) -> Option<Box<str>> {
        self.held.as_mut()?.user_agent.take()
    }

    /// Releases the name and the user's slot.
    pub(super) fn release(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        let name = held.name.take();
        drop(held); // the slots first, which count on all nodes
        if let Some(name) = name {
            locked(&self.dialect.names).remove(&name);
        }
    }

    /// Returns the client's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the connection's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.held.as_ref()?.name.as_deref()
    }

    /// Returns the dialect.
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
