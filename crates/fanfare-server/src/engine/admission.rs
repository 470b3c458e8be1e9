//! Who may still come in: a dialect's total, its limit per address, and one connection of each name.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use fanfare_core::{ClientNetwork, Refusal};
use tokio::{sync::Notify, time::Instant, time::timeout_at};

use super::node::MountedDialect;

/// Connections per client network of one dialect; kept only where there is a limit.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<ClientNetwork, usize>>);

/// How long a handshake waits for a name that is taken. A client that closes a connection and opens the next at once may be
/// served before the server has read the end of the old one.
const NAME_GRACE: Duration = Duration::from_millis(250);

/// The names of one dialect's connections, where they have names. Unique on this node; uniqueness in the cluster would
/// take the place of this set. With each name whoever waits for it, if somebody does.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<Box<str>, Option<Arc<Notify>>>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Option<Arc<Notify>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `name` was free; then it is taken.
    fn take(&self, name: &str) -> bool {
        match self.lock().entry(name.into()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(None);
                true
            }
        }
    }

    fn free(&self, name: &str) {
        if let Some(Some(waiting)) = self.lock().remove(name) {
            waiting.notify_waiters();
        }
    }

    /// Resolves when `name` is free, or was; at once where it is free already.
    async fn freed(&self, name: &str) {
        let Some(notify) = self
            .lock()
            .get_mut(name)
            .map(|waiting| waiting.get_or_insert_default().clone())
        else {
            return;
        };
        let mut freed = std::pin::pin!(notify.notified());
        // It may have become free before this began to listen; whoever has it then has nobody wait for it.
        freed.as_mut().enable();
        let is_same = |waiting: &Option<Arc<Notify>>| {
            waiting
                .as_ref()
                .is_some_and(|waiting| Arc::ptr_eq(waiting, &notify))
        };
        if self.lock().get(name).is_some_and(is_same) {
            freed.await;
        }
    }
}

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
            if !dialect.names.take(name) {
                return Err(Refusal::NameTaken);
            }
            admission.name = Some(name.into());
        }
        Ok(admission)
    }

    /// As [`Admission::take`], but waits a moment for a name that is taken.
    ///
    /// # Errors
    /// As [`Admission::take`].
    pub async fn await_name(
        dialect: &Arc<MountedDialect>,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<Self, Refusal> {
        let until = Instant::now() + NAME_GRACE;
        loop {
            let taken = Self::take(dialect, address, name);
            let (Err(Refusal::NameTaken), Some(name)) = (&taken, name) else {
                return taken;
            };
            if timeout_at(until, dialect.names.freed(name)).await.is_err() {
                return taken;
            }
        }
    }

    /// Lets another connection have the name.
    pub(super) fn free_name(&mut self) {
        if let Some(name) = self.name.take() {
            self.dialect.names.free(&name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_a_name_learns_that_it_is_free() {
        let names = Arc::new(Names::default());
        names.freed("ann").await;
        assert!(names.take("ann"));
        assert!(!names.take("ann"));
        assert!(names.take("bob"));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let names = names.clone();
                tokio::spawn(async move { names.freed("ann").await })
            })
            .collect();
        tokio::task::yield_now().await;
        names.free("bob");
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        names.free("ann");
        for waiting in waiting {
            assert!(waiting.await.is_ok());
        }
        assert!(names.lock().is_empty());
    }
}
