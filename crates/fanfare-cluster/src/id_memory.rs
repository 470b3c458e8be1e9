//! The ids that this node remembers. The embedded broker uses only these; another broker uses them while its store is unavailable.
//!
//! A publisher may choose an id for each event, so an entry is small: about 96 bytes with its share of the maps.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ahash::RandomState;
use fanfare_core::{CLAIM_LIFETIME, Claim, Reach, Receipt, RememberedIds, locked, millis};
use hashlink::LinkedHashMap;
use uuid::Uuid;

/// The number of maps. A map that grows holds its lock for milliseconds, and blocks only its share of the ids.
const STRIPES: usize = 16;
/// The most expired ids that one claim removes. It is above one, so that the memory of a burst is freed with time.
const EXPIRED_PER_CLAIM: usize = 4;
/// The most expired ids that one count removes from each stripe.
const EXPIRED_PER_COUNT: usize = 1_000;
/// The capacity up to which a map does not shrink.
const KEPT_PLACES: usize = 1_024;

/// The remembered ids of a node.
pub(crate) struct IdMemory {
    stripes: Box<[Mutex<Stripe>]>,
    /// The most ids in one stripe.
    most: usize,
    hasher: RandomState,
    lifetime: Duration,
    start: Instant,
    evicted: AtomicU64,
}

/// Some of the ids, the oldest claim first.
type Stripe = LinkedHashMap<Uuid, Memory, RandomState>;

/// The entry of an id.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Memory {
    /// The time of expiry, in milliseconds after the start.
    expires_ms: u64,
    knowledge: Knowledge,
}

/// This node's knowledge of an id.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Knowledge {
    /// Whether this node claimed the id, not another one.
    ours: bool,
    state: IdState,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum IdState {
    Taken,
    Published,
    Receipt(SmallReceipt),
}

/// A [`Receipt`] in half the space. A count beyond the range of its type is stored as the largest value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct SmallReceipt {
    matched: u32,
    queued: u32,
    dropped: u32,
    nodes: u16,
    degraded: bool,
}

impl IdMemory {
    /// Creates an empty memory for at most `most` ids.
    pub(crate) fn new(most: usize) -> Self {
        Self::with_lifetime(most, CLAIM_LIFETIME)
    }

    fn with_lifetime(most: usize, lifetime: Duration) -> Self {
        let stripes = most.clamp(1, STRIPES);
        Self {
            stripes: (0..stripes).map(|_| Mutex::default()).collect(),
            most: most / stripes,
            hasher: RandomState::new(),
            lifetime,
            start: Instant::now(),
            evicted: AtomicU64::new(0),
        }
    }

    /// Claims `id` on this node, without the cluster.
    pub(crate) fn claim(&self, id: Uuid) -> Claim {
        self.claim_after(id, None)
    }

    /// Claims `id` on this node, after the cluster returned `cluster` for it.
    ///
    /// An id that is new to the cluster is not new if this node claimed it while the store was unavailable, or before the store lost its
    /// data.
    pub(crate) fn claim_after(&self, id: Uuid, cluster: Option<Claim>) -> Claim {
        let now_ms = self.now_ms();
        let mut stripe = self.stripe(id);
        expire(&mut stripe, now_ms, EXPIRED_PER_CLAIM);
        let known = stripe
            .get(&id)
            .filter(|memory| memory.expires_ms > now_ms)
            .copied();
        let (claim, news) = decide(cluster, known.map(|memory| memory.knowledge));
        if let Some(knowledge) = news {
            // A receipt expires with its claim.
            let kept = known.filter(|_| knowledge.state != IdState::Taken);
            let lifetime_ms = millis(self.lifetime);
            let expires_ms = kept.map_or(now_ms.saturating_add(lifetime_ms), |memory| memory.expires_ms);
            let memory = Memory {
                expires_ms,
                knowledge,
            };
            match stripe.get_mut(&id).filter(|_| kept.is_some()) {
                Some(place) => *place = memory,
                None => self.insert(&mut stripe, id, memory),
            }
        }
        claim
    }

    /// Notes that `id` is published.
    pub(crate) fn published(&self, id: Uuid) {
        self.claim(id);
        self.record(id, &Receipt::default());
    }

    /// Stores the receipt of `id`, unless the id has been evicted.
    pub(crate) fn record(&self, id: Uuid, receipt: &Receipt) {
        if let Some(memory) = self.stripe(id).get_mut(&id) {
            memory.knowledge.state = IdState::Receipt(receipt.into());
        }
    }

    /// Removes `id`.
    pub(crate) fn release(&self, id: Uuid) {
        self.stripe(id).remove(&id);
    }

    /// Returns the numbers of remembered and evicted ids.
    pub(crate) fn count(&self) -> RememberedIds {
        let now_ms = self.now_ms();
        let held = self.stripes.iter().map(|stripe| {
            let mut stripe = locked(stripe);
            expire(&mut stripe, now_ms, EXPIRED_PER_COUNT);
            stripe.len() as u64
        });
        RememberedIds {
            held: held.sum(),
            evicted: self.evicted.load(Ordering::Relaxed),
        }
    }

    /// Adds an id as the newest.
    fn insert(&self, stripe: &mut Stripe, id: Uuid, memory: Memory) {
        stripe.insert(id, memory);
        if stripe.len() > self.most {
            stripe.pop_front();
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stripe(&self, id: Uuid) -> MutexGuard<'_, Stripe> {
        let hash = usize::try_from(self.hasher.hash_one(id) & 0xff).unwrap_or(0);
        let stripe = &self.stripes[hash % self.stripes.len()];
        locked(stripe)
    }

    fn now_ms(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

/// Removes `most` of the expired ids, and frees their memory when much of it is unused.
fn expire(stripe: &mut Stripe, now_ms: u64, most: usize) {
    for _ in 0..most {
        match stripe.front() {
            Some((_, memory)) if memory.expires_ms <= now_ms => stripe.pop_front(),
            _ => break,
        };
    }
    if stripe.capacity() > KEPT_PLACES.max(4 * stripe.len()) {
        stripe.shrink_to_fit();
    }
}

/// Returns the result of a claim, from the answer of the cluster and this node's knowledge, and the new knowledge if that changes.
fn decide(cluster: Option<Claim>, known: Option<Knowledge>) -> (Claim, Option<Knowledge>) {
    let claimed = Knowledge {
        ours: true,
        state: IdState::Taken,
    };
    match (cluster.and_then(IdState::of), known) {
        (Some(state), None) => (state.claim(), Some(Knowledge { ours: false, state })),
        (Some(state), Some(Knowledge { ours, state: old }))
            if state != IdState::Taken && !matches!(old, IdState::Receipt(_)) =>
        {
            (state.claim(), Some(Knowledge { ours, state }))
        }
        // The other node released it, or the store has evicted it.
        (None, Some(Knowledge { ours: false, .. })) if cluster.is_some() => (Claim::New, Some(claimed)),
        (None, None) => (Claim::New, Some(claimed)),
        (_, Some(known)) => (known.state.claim(), None),
    }
}

impl IdState {
    /// Returns the state of an id that a claim shows; `None` for a new id.
    fn of(claim: Claim) -> Option<Self> {
        match claim {
            Claim::New => None,
            Claim::Taken => Some(Self::Taken),
            Claim::Published(None) => Some(Self::Published),
            Claim::Published(Some(receipt)) => Some(Self::Receipt((&receipt).into())),
        }
    }

    fn claim(self) -> Claim {
        match self {
            Self::Taken => Claim::Taken,
            Self::Published => Claim::Published(None),
            Self::Receipt(receipt) => Claim::Published(Some(receipt.into())),
        }
    }
}

impl From<&Receipt> for SmallReceipt {
    fn from(receipt: &Receipt) -> Self {
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let Reach {
            matched,
            queued,
            dropped,
        } = receipt.reach;
        Self {
            matched: small(matched),
            queued: small(queued),
            dropped: small(dropped),
            nodes: u16::try_from(receipt.nodes).unwrap_or(u16::MAX),
            degraded: receipt.degraded,
        }
    }
}

impl From<SmallReceipt> for Receipt {
    fn from(small: SmallReceipt) -> Self {
        Self {
            reach: Reach {
                matched: small.matched.into(),
                queued: small.queued.into(),
                dropped: small.dropped.into(),
            },
            nodes: small.nodes.into(),
            degraded: small.degraded,
            is_duplicate: false,
        }
    }
}

#[cfg(test)]
mod tests;
