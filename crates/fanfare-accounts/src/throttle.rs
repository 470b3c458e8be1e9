//! Limits failed logins, for each account and each address, and refused tokens and registrations, for each address.
//!
//! A login is counted when it begins and uncounted when it succeeds, so that a thousand concurrent attempts count as a
//! thousand. A refresh is counted when it has failed, because one address may refresh for many users at once. Memory is
//! bounded: the least recently used accounts and addresses are evicted first.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::{AccountError, AccountsOptions};
use fanfare_core::ClientNetwork;

/// The time after its first attempt at which a count starts again.
const WINDOW: Duration = Duration::from_secs(60);
/// The most accounts, and the most addresses, that are counted.
const MOST: u64 = 100_000;

pub(crate) struct Throttle {
    accounts: Counts<Box<str>>,
    addresses: Counts<ClientNetwork>,
    tokens: Counts<ClientNetwork>,
    registrations: Counts<ClientNetwork>,
}

struct Counts<K> {
    limit: AtomicU32,
    counts: Cache<K, Arc<Count>>,
}

struct Count {
    tries: AtomicU32,
    since: Instant,
}

/// A login or a registration in progress.
pub(crate) struct Attempt {
    counted: [Option<Arc<Count>>; 2],
}

/// A token that is being checked.
#[must_use]
pub(crate) struct TokenCheck {
    counted: Option<Arc<Count>>,
}

impl Throttle {
    pub(crate) fn new(options: &AccountsOptions) -> Self {
        let throttle = Self {
            accounts: Counts::new(0, WINDOW),
            addresses: Counts::new(0, WINDOW),
            tokens: Counts::new(0, WINDOW),
            registrations: Counts::new(0, WINDOW),
        };
        throttle.replace_limits(options);
        throttle
    }

    /// Applies these limits from now on, to current counts.
    pub(crate) fn replace_limits(&self, options: &AccountsOptions) {
        for (limit, most) in [
            (&self.accounts.limit, options.attempts_per_account),
            (&self.addresses.limit, options.attempts_per_address),
            (&self.tokens.limit, options.attempts_per_address),
            (&self.registrations.limit, options.registrations_per_address),
        ] {
            limit.store(most, Ordering::Relaxed);
        }
    }

    pub(crate) fn register(&self, client: Option<IpAddr>) -> Result<Attempt, AccountError> {
        let address = client.map_or(Ok(None), |client| self.registrations.count(client.into()))?;
        let counted = [address, None];
        Ok(Attempt { counted })
    }

    /// Begins the check of a token; fails if too many tokens from this address were refused.
    pub(crate) fn check_token(&self, client: Option<IpAddr>) -> Result<TokenCheck, AccountError> {
        let counted = client.map_or(Ok(None), |client| self.tokens.check(client.into()))?;
        Ok(TokenCheck { counted })
    }

    pub(crate) fn begin(&self, email: &str, client: Option<IpAddr>) -> Result<Attempt, AccountError> {
        let account = self.accounts.count(email.into())?;
        // An attempt from an address that is over its limit must not lock an account.
        let address = client.map_or(Ok(None), |client| self.addresses.count(client.into()));
        let address = address.inspect_err(|_| uncount(account.as_ref()))?;
        let counted = [account, address];
        Ok(Attempt { counted })
    }
}

impl Attempt {
    /// Removes the attempt from the counts, because it did not fail, or not by the client's fault.
    pub(crate) fn uncount(self) {
        self.counted.iter().for_each(|count| uncount(count.as_ref()));
    }
}

impl TokenCheck {
    pub(crate) fn refuse(self) {
        if let Some(count) = &self.counted {
            count.tries.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Counts<K> {
    fn new(limit: u32, window: Duration) -> Self {
        let counts = Cache::builder()
            .max_capacity(MOST)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(window)
            .build();
        let limit = AtomicU32::new(limit);
        Self { limit, counts }
    }

    fn count(&self, key: K) -> Result<Option<Arc<Count>>, AccountError> {
        let Some(count) = self.find(key) else {
            return Ok(None);
        };
        if count.tries.fetch_add(1, Ordering::Relaxed) < self.limit() {
            return Ok(Some(count));
        }
        uncount(Some(&count));
        Err(count.refusal())
    }

    /// Returns the count without a change, unless the limit is reached.
    fn check(&self, key: K) -> Result<Option<Arc<Count>>, AccountError> {
        match self.find(key) {
            Some(count) if count.tries.load(Ordering::Relaxed) >= self.limit() => Err(count.refusal()),
            found => Ok(found),
        }
    }

    /// Returns the count of the current window; `None` without a limit.
    fn find(&self, key: K) -> Option<Arc<Count>> {
        let fresh = || {
            Arc::new(Count {
                tries: AtomicU32::new(0),
                since: Instant::now(),
            })
        };
        (self.limit() > 0).then(|| self.counts.get_with(key, fresh))
    }

    fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }
}

impl Count {
    fn refusal(&self) -> AccountError {
        let left = WINDOW.saturating_sub(self.since.elapsed());
        let retry_after = left.max(Duration::from_secs(1));
        AccountError::TooManyAttempts { retry_after }
    }
}

fn uncount(count: Option<&Arc<Count>>) {
    if let Some(count) = count {
        count.tries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn throttle(per_account: u32, per_address: u32) -> Throttle {
        Throttle::new(&AccountsOptions {
            attempts_per_account: per_account,
            attempts_per_address: per_address,
            registrations_per_address: 2,
            ..AccountsOptions::default()
        })
    }

    fn fails(throttle: &Throttle, email: &str, client: Option<&str>) -> bool {
        let client = client.map(|client| client.parse().unwrap());
        throttle.begin(email, client).is_ok()
    }

    #[test]
    fn failures_are_limited_and_successes_are_not() {
        let throttle = throttle(3, 0);
        for _ in 0..10 {
            throttle.begin("alice", None).unwrap().uncount();
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
    fn addresses_of_one_network_share_a_count() {
        let throttle = throttle(0, 2);
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
        let throttle = throttle(2, 1);
        for allowed in [true, false, false, false] {
            assert_eq!(fails(&throttle, "alice", Some("192.0.2.1")), allowed);
        }
        assert!(fails(&throttle, "alice", Some("192.0.2.2")));
        assert!(!fails(&throttle, "alice", Some("192.0.2.3")));
    }

    #[test]
    fn refused_tokens_are_limited_and_accepted_ones_are_not() {
        let throttle = throttle(0, 2);
        let client = |text: &str| Some(text.parse().unwrap());
        for _ in 0..10 {
            let _accepted = throttle.check_token(client("192.0.2.1")).unwrap();
        }
        for _ in 0..2 {
            throttle.check_token(client("192.0.2.1")).unwrap().refuse();
        }
        assert!(throttle.check_token(client("192.0.2.1")).is_err());
        assert!(
            throttle.check_token(client("192.0.2.2")).is_ok(),
            "another address"
        );
        assert!(
            throttle.begin("alice", client("192.0.2.1")).is_ok(),
            "logins have another limit"
        );
    }

    #[test]
    fn registrations_are_counted_from_each_address() {
        let throttle = throttle(0, 0);
        let register = |text: &str| throttle.register(Some(text.parse().unwrap()));
        register("192.0.2.1").unwrap().uncount();
        assert!(register("192.0.2.1").is_ok() && register("192.0.2.1").is_ok());
        assert!(register("192.0.2.1").is_err());
        assert!(register("192.0.2.2").is_ok());
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
    fn a_count_starts_again_after_its_window() {
        let counts = Counts::<u8>::new(1, Duration::ZERO);
        for _ in 0..3 {
            assert!(counts.count(1).is_ok());
        }
    }
}
