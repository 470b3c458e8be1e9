//! Who may still come in: a dialect's total, its limit per address, and one connection of each name.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use fanfare_core::Refusal;

use super::node::MountedDialect;
use crate::client_network::ClientNetwork;

/// Connections per client network of one dialect; kept only where there is a limit.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<ClientNetwork, usize>>);

/// The names of one dialect's connections, where they have names. Unique on this node; uniqueness in the cluster would
/// take the place of this set.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashSet<Box<str>>>);

/// A place taken among a dialect's connections; given back when dropped.
pub struct Admission {
    dialect: Arc<MountedDialect>,
    address: IpAddr,
    /// Whether it counts among those of its address.
    counted: bool,
    name: Option<Box<str>>,
}

impl Admission {
    /// Takes a place for a connection from `address` that is called `name`, where connections have names.
    ///
    /// # Errors
    /// [`Refusal::AtCapacity`], [`Refusal::AddressAtCapacity`] or [`Refusal::NameTaken`].
    pub fn take(dialect: &Arc<MountedDialect>, address: IpAddr, name: Option<&str>) -> Result<Self, Refusal> {
        let most = dialect.settings.max_connections as u64;
        let active = &dialect.counters.active;
        active
            .fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1))
            .map_err(|_| Refusal::AtCapacity)?;
        let mut admission = Self {
            dialect: dialect.clone(),
            address,
            counted: false,
            name: None,
        };
        if dialect.settings.max_connections_per_ip > 0 {
            dialect
                .addresses
                .enter(address.into(), dialect.settings.max_connections_per_ip)?;
            admission.counted = true;
        }
        if let Some(name) = name {
            if !dialect
                .names
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.into())
            {
                return Err(Refusal::NameTaken);
            }
            admission.name = Some(name.into());
        }
        Ok(admission)
    }

    /// Lets another connection have the name.
    pub(super) fn free_name(&mut self) {
        if let Some(name) = self.name.take() {
            let mut names = self
                .dialect
                .names
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            names.remove(&name);
        }
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What the connection is called.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
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
            self.dialect.addresses.leave(self.address.into());
        }
        self.free_name();
    }
}

impl Addresses {
    fn enter(&self, network: ClientNetwork, most: usize) -> Result<(), Refusal> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if *count >= most {
            return Err(Refusal::AddressAtCapacity);
        }
        *count += 1;
        Ok(())
    }

    fn leave(&self, network: ClientNetwork) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&network);
            }
        }
    }
}
