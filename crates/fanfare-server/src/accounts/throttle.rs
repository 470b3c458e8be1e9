//! How often logins may fail: for one account, and from one address.
//!
//! A login is counted when it begins and given back when it succeeds, so that a thousand tries at once count as a
//! thousand. Memory is bounded: of too many accounts or addresses, those that were tried the longest time ago are
//! forgotten.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::AccountError;

/// A count begins anew this long after its first try.
const WINDOW: Duration = Duration::from_secs(60);
/// The most accounts, and the most addresses, that are counted.
const MOST: u64 = 100_000;
/// An IPv6 customer is given a network of this size at least.
const IPV6_NETWORK: u128 = !0 << 64;

/// The counts.
pub(super) struct Throttle {
    accounts: Counts<Box<str>>,
    addresses: Counts<IpAddr>,
}

struct Counts<K> {
    limit: u32,
    counts: Cache<K, Arc<Count>>,
}

struct Count {
    tries: AtomicU32,
    since: Instant,
}

/// A login that is under way. It counts as failed unless it is given back.
pub(super) struct Attempt {
    counted: [Option<Arc<Count>>; 2],
}

impl Throttle {
    /// So many failures a minute for an account and from an address; 0 is no limit.
    pub(super) fn new(per_account: u32, per_address: u32) -> Self {
        Self {
            accounts: Counts::new(per_account, WINDOW),
            addresses: Counts::new(per_address, WINDOW),
        }
    }

    /// Counts a login.
    pub(super) fn begin(&self, email: &str, client: Option<IpAddr>) -> Result<Attempt, AccountError> {
        let account = self.accounts.count(email.into())?;
        // An address that is refused must not lock an account.
        let address = client.map_or(Ok(None), |client| self.addresses.count(network(client)));
        let address = address.inspect_err(|_| give_back(account.as_ref()))?;
        Ok(Attempt {
            counted: [account, address],
        })
    }
}

impl Attempt {
    /// It did not fail, or not by the client's doing.
    pub(super) fn give_back(self) {
        self.counted.iter().for_each(|count| give_back(count.as_ref()));
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Counts<K> {
    fn new(limit: u32, window: Duration) -> Self {
        let counts = Cache::builder()
            .max_capacity(MOST)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(window)
            .build();
        Self { limit, counts }
    }

    fn count(&self, key: K) -> Result<Option<Arc<Count>>, AccountError> {
        if self.limit == 0 {
            return Ok(None);
        }
        let fresh = || {
            Arc::new(Count {
                tries: AtomicU32::new(0),
                since: Instant::now(),
            })
        };
        let count = self.counts.get_with(key, fresh);
        if count.tries.fetch_add(1, Ordering::Relaxed) < self.limit {
            return Ok(Some(count));
        }
        give_back(Some(&count));
        let retry_after = WINDOW
            .saturating_sub(count.since.elapsed())
            .max(Duration::from_secs(1));
        Err(AccountError::TooManyAttempts { retry_after })
    }
}

fn give_back(count: Option<&Arc<Count>>) {
    if let Some(count) = count {
        count.tries.fetch_sub(1, Ordering::Relaxed);
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fails(throttle: &Throttle, email: &str, client: Option<&str>) -> bool {
        let client = client.map(|client| client.parse().unwrap());
        throttle.begin(email, client).is_ok()
    }

    #[test]
    fn failures_are_limited_and_successes_are_not() {
        let throttle = Throttle::new(3, 0);
        for _ in 0..10 {
            throttle.begin("alice", None).unwrap().give_back();
        }
        for allowed in [true, true, true, false, false] {
            assert_eq!(fails(&throttle, "alice", None), allowed);
        }
        assert!(fails(&throttle, "bob", None));
        let Err(AccountError::TooManyAttempts { retry_after }) = throttle.begin("alice", None) else {
            panic!("refused");
        };
        assert!(retry_after <= WINDOW && retry_after >= Duration::from_secs(1));
    }

    #[test]
    fn addresses_count_by_network() {
        let throttle = Throttle::new(0, 2);
        for (client, allowed) in [
            ("192.0.2.1", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::2", true),
            ("2001:db8::3", false),
            ("2001:db8:0:1::1", true),
        ] {
            assert_eq!(fails(&throttle, "alice", Some(client)), allowed, "{client}");
        }
    }

    #[test]
    fn a_refused_address_locks_no_account() {
        let throttle = Throttle::new(2, 1);
        for allowed in [true, false, false, false] {
            assert_eq!(fails(&throttle, "alice", Some("192.0.2.1")), allowed);
        }
        assert!(fails(&throttle, "alice", Some("192.0.2.2")));
        assert!(!fails(&throttle, "alice", Some("192.0.2.3")));
    }

    #[test]
    fn memory_is_bounded() {
        let counts = Counts::<u64>::new(1, WINDOW);
        for key in 0..MOST + 20_000 {
            counts.count(key).unwrap();
        }
        counts.counts.run_pending_tasks();
        assert!(counts.counts.entry_count() <= MOST);
    }

    #[test]
    fn a_count_ends() {
        let counts = Counts::<u8>::new(1, Duration::ZERO);
        for _ in 0..3 {
            assert!(counts.count(1).is_ok());
        }
    }
}
