//! What the connections of one dialect occupy on this node: their addresses' shares, and their names.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fanfare_core::{ClientNetwork, Refusal};

/// Connections per client network of one dialect; kept only if there is a limit.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<ClientNetwork, usize>>);

/// The names of one dialect's connections on this node, if they have names. The broker judges names in the cluster; while
/// it is away, this set decides.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashSet<Box<str>>>);

impl Addresses {
    /// # Errors
    /// [`Refusal::AddressAtCapacity`]
    pub(super) fn enter(&self, network: ClientNetwork, most: usize) -> Result<(), Refusal> {
        let mut counts = lock(&self.0);
        let count = counts.entry(network).or_default();
        if *count >= most {
            return Err(Refusal::AddressAtCapacity);
        }
        *count += 1;
        Ok(())
    }

    pub(super) fn leave(&self, network: ClientNetwork) {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&network);
            }
        }
    }
}

impl Names {
    /// # Errors
    /// [`Refusal::NameTaken`]
    pub(super) fn take(&self, name: &str) -> Result<(), Refusal> {
        let is_new = lock(&self.0).insert(name.into());
        is_new.then_some(()).ok_or(Refusal::NameTaken)
    }

    pub(super) fn release(&self, name: &str) {
        lock(&self.0).remove(name);
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
