//! A dialect as a node runs it: with its limits and its figures.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
};

use arc_swap::{ArcSwap, Guard};
use fanfare_core::{ClientNetwork, Dialect, DialectKind, DialectReport, Ending, Reception};

use super::{DialectCounters, DialectSettings};

/// A dialect to be mounted.
pub struct Mounting {
    /// What it is.
    pub kind: &'static DialectKind,
    /// The protocol, configured.
    pub dialect: Arc<dyn Dialect>,
    /// Its limits and times.
    pub settings: DialectSettings,
}

/// A dialect with what this node allows it and counts of it.
pub struct MountedDialect {
    /// Its place among the dialects.
    pub number: usize,
    /// Its name.
    pub name: &'static str,
    /// The path its clients connect to.
    pub path: &'static str,
    /// Whether it is for tests: reports show it only where it is used.
    pub hidden: bool,
    /// The protocol.
    pub dialect: Arc<dyn Dialect>,
    /// Which events its connections receive without a subscription.
    pub hearing: Reception,
    /// Its limits and times; a reload replaces them.
    settings: ArcSwap<DialectSettings>,
    /// Its figures.
    pub counters: DialectCounters,
    /// The number of connections from each client network; only if that is limited.
    pub(super) networks: Mutex<HashMap<ClientNetwork, usize>>,
    /// The names of this node's connections, if they have names. The broker judges names in the cluster; while it is away, these
    /// decide.
    pub(super) names: Mutex<HashSet<Box<str>>>,
}

impl MountedDialect {
    pub(super) fn new(number: usize, mounting: Mounting) -> Arc<Self> {
        Arc::new(Self {
            number,
            name: mounting.kind.name,
            path: mounting.kind.path,
            hidden: mounting.kind.is_hidden(),
            hearing: mounting.dialect.receives(),
            dialect: mounting.dialect,
            settings: ArcSwap::from_pointee(mounting.settings),
            counters: DialectCounters::default(),
            networks: Mutex::default(),
            names: Mutex::default(),
        })
    }

    /// Its limits and times at the moment. Keep them for one use only: a reload replaces them.
    pub fn settings(&self) -> Guard<Arc<DialectSettings>> {
        self.settings.load()
    }

    /// Uses these limits from now on. A connection keeps the rate of messages and the offer of compression that it opened with.
    pub fn replace_settings(&self, settings: DialectSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The settings that reports show.
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
