//! The ids that this node remembers: all there are for an embedded broker, and what is left to go by while another is
//! away.

use std::time::{Duration, Instant};

use ahash::RandomState;
use bytes::Bytes;
use fanfare_core::{ANSWER_TO_COME, CLAIM_LIFETIME, Claim, MAX_CLAIMS};
use moka::{Expiry, ops::compute::Op, policy::EvictionPolicy, sync::Cache};
use uuid::Uuid;

/// What an id costs at most, its answer included; one with a longer answer counts as several.
const BYTES_PER_CLAIM: usize = 256;

/// See the module's words.
pub(crate) struct Remembered(Cache<Uuid, Memory, RandomState>);

#[derive(Debug, Clone, PartialEq)]
struct Memory {
    /// It was claimed here; else it is known to be claimed on another node.
    ours: bool,
    answer: Option<Bytes>,
}

/// An answer is forgotten together with the id it was stored for.
struct FromItsClaim(Duration);

impl Expiry<Uuid, Memory> for FromItsClaim {
    fn expire_after_create(&self, _: &Uuid, _: &Memory, _: Instant) -> Option<Duration> {
        Some(self.0)
    }

    fn expire_after_update(
        &self,
        _: &Uuid,
        memory: &Memory,
        _: Instant,
        left: Option<Duration>,
    ) -> Option<Duration> {
        match memory.answer {
            None => Some(self.0),
            Some(_) => left,
        }
    }
}

impl Default for Remembered {
    fn default() -> Self {
        Self::new(CLAIM_LIFETIME, MAX_CLAIMS)
    }
}

impl Remembered {
    fn new(lifetime: Duration, most: u64) -> Self {
        let ids = Cache::builder()
            .max_capacity(most)
            .weigher(|_: &Uuid, memory: &Memory| {
                let bytes = memory.answer.as_ref().map_or(0, Bytes::len);
                u32::try_from(1 + bytes / BYTES_PER_CLAIM).unwrap_or(u32::MAX)
            })
            // The default policy may turn away what is new.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(FromItsClaim(lifetime))
            .build_with_hasher(RandomState::new());
        Self(ids)
    }

    /// Claims `id` on this node alone.
    pub(crate) fn claim(&self, id: Uuid) -> Claim {
        self.claim_after(id, None)
    }

    /// Claims `id` on this node after the cluster has said this of it.
    ///
    /// What is new in the cluster may have been claimed here while it was away, or before it lost its memory; then it
    /// is known all the same.
    pub(crate) fn claim_after(&self, id: Uuid, cluster: Option<&Claim>) -> Claim {
        let mut claim = Claim::New;
        self.0.entry(id).and_compute_with(|entry| {
            let known = entry.map(moka::Entry::into_value);
            let (outcome, news) = weigh(cluster, known);
            claim = outcome;
            news.map_or(Op::Nop, Op::Put)
        });
        claim
    }

    /// Stores the answer for `id`, if it is remembered.
    pub(crate) fn record(&self, id: Uuid, answer: Bytes) {
        self.0
            .entry(id)
            .and_compute_with(|entry| match entry.map(moka::Entry::into_value) {
                Some(memory) => Op::Put(Memory {
                    answer: Some(answer),
                    ..memory
                }),
                None => Op::Nop,
            });
    }

    /// Forgets `id`.
    pub(crate) fn release(&self, id: &Uuid) {
        self.0.invalidate(id);
    }
}

/// What comes of a claim, from what the cluster says and what this node knows; and what it shall know, if that changes.
fn weigh(cluster: Option<&Claim>, known: Option<Memory>) -> (Claim, Option<Memory>) {
    let claimed = Memory {
        ours: true,
        answer: None,
    };
    match (cluster, known) {
        (Some(Claim::Known(answer)), None) => {
            let answer = answer.clone();
            (Claim::Known(answer.clone()), Some(Memory { ours: false, answer }))
        }
        (Some(Claim::Known(Some(answer))), Some(Memory { ours, answer: old }))
            if old.as_ref().is_none_or(|old| *old == ANSWER_TO_COME) =>
        {
            let answer = Some(answer.clone());
            (Claim::Known(answer.clone()), Some(Memory { ours, answer }))
        }
        // The other node gave it back, or it was forgotten.
        (Some(Claim::New), Some(Memory { ours: false, .. })) | (_, None) => (Claim::New, Some(claimed)),
        (_, Some(known)) => (Claim::Known(known.answer), None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps)] // so that a table's lines are short

    use super::*;

    const NEW: Option<Claim> = Some(Claim::New);

    fn answer(text: &'static str) -> Option<Bytes> {
        (!text.is_empty()).then(|| Bytes::from_static(text.as_bytes()))
    }

    fn known(text: &'static str) -> Option<Claim> {
        Some(Claim::Known(answer(text)))
    }

    fn memory(ours: bool, text: &'static str) -> Option<Memory> {
        let answer = answer(text);
        Some(Memory { ours, answer })
    }

    #[test]
    fn the_cluster_and_this_node_are_weighed() {
        let (ours, elsewhere) = (true, false);
        let published = Some(Memory {
            ours,
            answer: Some(ANSWER_TO_COME),
        });
        let cases = [
            // The cluster says, this node knows; what is claimed, what is news.
            (None, None, NEW, memory(ours, "")),
            (None, memory(ours, ""), known(""), None),
            (None, memory(ours, "a"), known("a"), None),
            (None, memory(elsewhere, ""), known(""), None),
            (None, memory(elsewhere, "a"), known("a"), None),
            (NEW, None, NEW, memory(ours, "")),
            (NEW, memory(ours, ""), known(""), None),
            (NEW, memory(ours, "a"), known("a"), None),
            (NEW, memory(elsewhere, ""), NEW, memory(ours, "")),
            (NEW, memory(elsewhere, "a"), NEW, memory(ours, "")),
            (known(""), None, known(""), memory(elsewhere, "")),
            (known(""), memory(elsewhere, ""), known(""), None),
            (known(""), memory(ours, "a"), known("a"), None),
            (known("a"), None, known("a"), memory(elsewhere, "a")),
            (
                known("a"),
                memory(elsewhere, ""),
                known("a"),
                memory(elsewhere, "a"),
            ),
            (known("a"), memory(ours, ""), known("a"), memory(ours, "a")),
            (known("a"), published.clone(), known("a"), memory(ours, "a")),
            (known("a"), memory(ours, "b"), known("b"), None),
        ];
        for (number, (cluster, knows, claim, news)) in cases.into_iter().enumerate() {
            assert_eq!(
                (
                    Some(weigh(cluster.as_ref(), knows.clone()).0),
                    weigh(cluster.as_ref(), knows).1
                ),
                (claim, news),
                "case {number}"
            );
        }
    }

    #[test]
    fn ids_are_forgotten_with_time_and_their_answers_with_them() {
        let ids = Remembered::new(Duration::from_millis(50), 10);
        let id = Uuid::from_u128(1);
        let start = Instant::now();
        assert_eq!(ids.claim(id), Claim::New);
        let claimed = ids.claim(id);
        if start.elapsed() < Duration::from_millis(50) {
            assert_eq!(claimed, Claim::Known(None));
        }
        std::thread::sleep(Duration::from_millis(30));
        ids.record(id, Bytes::from_static(b"a"));
        // The record has not made it live longer.
        std::thread::sleep(Duration::from_millis(21));
        assert_eq!(ids.claim(id), Claim::New);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_stay() {
        let ids = Remembered::new(CLAIM_LIFETIME, 10);
        for number in 0..1000 {
            assert_eq!(ids.claim(Uuid::from_u128(number)), Claim::New);
        }
        ids.0.run_pending_tasks();
        assert!(ids.0.entry_count() <= 10);
        assert_eq!(ids.claim(Uuid::from_u128(999)), Claim::Known(None));
        assert_eq!(ids.claim(Uuid::from_u128(0)), Claim::New);
        ids.record(Uuid::from_u128(999), Bytes::from(vec![b'a'; 3 * BYTES_PER_CLAIM]));
        ids.0.run_pending_tasks();
        assert!(ids.0.entry_count() <= 7, "a long answer counts as several");
    }
}
