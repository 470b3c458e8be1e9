//! A dialect on a node, with its limits and its counters.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
};

use arc_swap::{ArcSwap, Guard};
use fanfare_core::{ClientNetwork, Dialect, DialectKind, DialectReport, Ending, Reception};

use super::{DialectCounters, DialectSettings};

/// The parts of a mounted dialect.
pub struct Mounting {
    /// Its kind.
    pub kind: &'static DialectKind,
    /// The configured protocol.
    pub dialect: Arc<dyn Dialect>,
    /// Its limits and times.
    pub settings: DialectSettings,
}

/// A dialect on a node.
pub struct MountedDialect {
    /// Its index among the dialects.
    pub number: usize,
    /// Its name.
    pub name: &'static str,
    /// The path its clients connect to.
    pub path: &'static str,
    /// Whether it is for tests. Reports then show it only if it is used.
    pub hidden: bool,
    /// The protocol.
    pub dialect: Arc<dyn Dialect>,
    /// The events that its connections receive without a subscription.
    pub reception: Reception,
    /// Its limits and times, which a reload replaces.
    settings: ArcSwap<DialectSettings>,
    /// Its counters.
    pub counters: DialectCounters,
    /// The number of connections from each client network; only if that is limited.
    pub(super) networks: Mutex<HashMap<ClientNetwork, usize>>,
    /// The names of this node's connections, if the dialect has names. The broker keeps the names of all nodes; while it is
    /// unavailable, these decide.
    pub(super) names: Mutex<HashSet<Box<str>>>,
}

impl MountedDialect {
    pub(super) fn new(number: usize, mounting: Mounting) -> Arc<Self> {
        Arc::new(Self {
            number,
            name: mounting.kind.name,
            path: mounting.kind.path,
            hidden: mounting.kind.is_hidden(),
            reception: mounting.dialect.receives(),
            dialect: mounting.dialect,
            settings: ArcSwap::from_pointee(mounting.settings),
            counters: DialectCounters::default(),
            networks: Mutex::default(),
            names: Mutex::default(),
        })
    }

    /// Returns the current limits and times. Call it for each use, because a reload replaces them.
    pub fn settings(&self) -> Guard<Arc<DialectSettings>> {
        self.settings.load()
    }

    /// Applies `settings` from now on. An open connection keeps its rate of messages and its compression.
    pub fn replace_settings(&self, settings: DialectSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Returns the settings that reports show.
    pub fn report(&self) -> DialectReport {
        let settings = self.settings();
        DialectReport {
            ping_interval: settings.ping_interval,
            ping_timeout: settings.ping_timeout,
            max_message_size: settings.max_message_size as u64,
        }
    }

    /// Counts a connection that ends by `ending`.
    pub(super) fn count_ending(&self, ending: Ending) {
        self.counters.endings.add(ending.label());
        if ending == Ending::InternalError {
            self.counters.errors.fetch_add(1, Relaxed);
        }
    }
}
