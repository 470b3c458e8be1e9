//! Rate limits per address: WebSocket handshakes and other requests, each counted in its own bucket.
//!
//! One set of buckets serves all shards and listeners; otherwise a client would have one bucket at each. A full bucket
//! means the same as none, so full ones are removed.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fanfare_core::ClientNetwork;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The time between two removals of full buckets. The rate of accepted connections bounds how many an attacker can add meanwhile.
const CLEANUP_EVERY: Duration = Duration::from_secs(10);

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// The headers that a web page may read.
const EXPOSED: &str = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After";

/// The limits of one server.
pub struct RateLimits<C: Clock = DefaultClock> {
    upgrades: Option<Buckets<C>>,
    requests: Option<Buckets<C>>,
}

type Buckets<C> = RateLimiter<ClientNetwork, DashMapStateStore<ClientNetwork>, C, StateInformationMiddleware>;

/// The decision about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The requests that may arrive at once.
    pub limit: u32,
    /// The requests that may still arrive now.
    pub remaining: u32,
    /// The time at which the bucket is full if no request arrives until then, in seconds since 1970.
    pub reset_unix_seconds: u64,
    /// Set if the request is refused: the whole seconds after which another one may pass.
    pub retry_after: Option<u64>,
}

impl RateLimits {
    /// Limits upgrades and other requests per second of each address. After a quiet time `burst` may arrive at once, or a second's
    /// worth if that is more. 0 per second means no limit.
    pub fn new(upgrades: u32, requests: u32, burst: u32) -> Arc<Self> {
        let clock = DefaultClock::default();
        Arc::new(Self::with_clock(upgrades, requests, burst, &clock))
    }

    /// Starts a task that removes full buckets until these limits are dropped.
    pub fn spawn_cleanup(self: &Arc<Self>) {
        if self.upgrades.is_none() && self.requests.is_none() {
            return;
        }
        let limits = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CLEANUP_EVERY).await;
                match limits.upgrade() {
                    Some(limits) => limits.remove_full(),
                    None => return,
                }
            }
        });
    }
}

impl<C: Clock> RateLimits<C> {
    fn with_clock(upgrades: u32, requests: u32, burst: u32, clock: &C) -> Self
    where
        C: Clone,
    {
        let buckets = |rate: u32| {
            let rate = NonZeroU32::new(rate)?;
            let quota = Quota::per_second(rate)
                .allow_burst(NonZeroU32::new(burst).map_or(rate, |burst| burst.max(rate)));
            Some(RateLimiter::dashmap_with_clock(quota, clock.clone()).with_middleware())
        };
        Self {
            upgrades: buckets(upgrades),
            requests: buckets(requests),
        }
    }

    /// Counts a WebSocket handshake; `None` if they are not limited.
    pub fn upgrade(&self, client: IpAddr, now: SystemTime) -> Option<Decision> {
        self.upgrades.as_ref().map(|buckets| count(buckets, client, now))
    }

    /// Counts another request; `None` if they are not limited.
    pub fn request(&self, client: IpAddr, now: SystemTime) -> Option<Decision> {
        self.requests.as_ref().map(|buckets| count(buckets, client, now))
    }

    fn remove_full(&self) {
        for buckets in self.upgrades.iter().chain(&self.requests) {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
    }
}

fn count<C: Clock>(buckets: &Buckets<C>, client: IpAddr, now: SystemTime) -> Decision {
    let (quota, remaining, wait) = match buckets.check_key(&client.into()) {
        Ok(bucket) => (bucket.quota(), bucket.remaining_burst_capacity(), None),
        Err(until) => {
            let wait = until.wait_time_from(buckets.clock().now());
            (until.quota(), 0, Some(wait))
        }
    };
    let (limit, each) = (quota.burst_size().get(), quota.replenish_interval());
    // The first missing token takes only `wait` more.
    let missing = limit - remaining;
    let full_in = wait.map_or(each * missing, |wait| wait + each * (missing - 1));
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Decision {
        limit,
        remaining,
        reset_unix_seconds: whole_seconds(since_1970 + full_in),
        retry_after: wait.map(|wait| whole_seconds(wait).max(1)),
    }
}

impl Decision {
    /// Returns whether the request must be refused.
    pub fn is_refused(&self) -> bool {
        self.retry_after.is_some()
    }

    /// Adds the decision to the headers of the response.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, self.reset_unix_seconds.into());
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
    }
}

/// Lets a web page that may read a response read these headers too (CORS).
pub(super) fn expose(headers: &mut HeaderMap) {
    if headers.contains_key(LIMIT) || headers.contains_key(header::RETRY_AFTER) {
        let exposed = HeaderValue::from_static(EXPOSED);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    type Case = (u64, (u32, u64, Option<u64>));

    /// (milliseconds since the last request) → (remaining, reset, retry after)
    #[test]
    fn a_bucket_empties_and_fills() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::with_clock(0, 2, 4, &clock);
        let cases: &[Case] = &[
            (0, (3, 1, None)),
            (0, (2, 1, None)),
            (0, (1, 2, None)),
            (0, (0, 2, None)),
            (0, (0, 2, Some(1))),
            (400, (0, 2, Some(1))),
            (100, (0, 2, None)),
            (0, (0, 2, Some(1))),
            (1000, (1, 2, None)),
            (60_000, (3, 1, None)),
        ];
        for (step, (pause, expected)) in cases.iter().enumerate() {
            clock.advance(Duration::from_millis(*pause));
            let found = limits.request(address("192.0.2.1"), NOW).expect("a limit");
            assert_eq!(found.limit, 4);
            let seen = (found.remaining, found.reset_unix_seconds, found.retry_after);
            assert_eq!(seen, *expected, "step {step}");
        }
    }

    #[test]
    fn rates_and_bursts() {
        let limit = |rate, burst| {
            let limits = RateLimits::with_clock(rate, 0, burst, &FakeRelativeClock::default());
            assert_eq!(limits.request(address("192.0.2.1"), NOW), None);
            limits
                .upgrade(address("192.0.2.1"), NOW)
                .map(|decision| decision.limit)
        };
        assert_eq!(limit(0, 20), None);
        assert_eq!(limit(5, 20), Some(20));
        // Otherwise 100 requests at the beginning of a second would not all pass.
        assert_eq!(limit(100, 20), Some(100));
    }

    #[test]
    fn seconds_until_another_try() {
        let limits = RateLimits::with_clock(0, 1, 3, &FakeRelativeClock::default());
        let at = NOW + Duration::from_millis(1_700_000_000_500);
        let mut answers = (0..4).map(|_| limits.request(address("192.0.2.1"), at).expect("a limit"));
        let last = answers.nth(3).expect("four");
        assert!(last.is_refused());
        assert_eq!(last.retry_after, Some(1));
        assert_eq!(last.reset_unix_seconds, 1_700_000_004);
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let cases = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ];
        for (one, other, same) in cases {
            let limits = RateLimits::with_clock(0, 1, 1, &FakeRelativeClock::default());
            let refused = |client| {
                limits
                    .request(address(client), NOW)
                    .expect("a limit")
                    .is_refused()
            };
            assert!(!refused(one));
            assert_eq!(refused(other), same, "{one} {other}");
        }
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::with_clock(0, 10, 20, &clock);
        let kept = || limits.requests.as_ref().map_or(0, RateLimiter::len);
        for host in 0..=255 {
            limits.request(IpAddr::from([192, 0, 2, host]), NOW);
        }
        limits.remove_full();
        assert_eq!(kept(), 256, "none is full yet");
        clock.advance(Duration::from_secs(1));
        limits.request(address("192.0.2.1"), NOW);
        limits.remove_full();
        assert_eq!(kept(), 1);
    }

    #[test]
    fn headers() {
        let mut headers = HeaderMap::new();
        expose(&mut headers);
        assert!(headers.is_empty(), "nothing is limited");
        let mut decision = Decision {
            limit: 20,
            remaining: 3,
            reset_unix_seconds: 1_700_000_004,
            retry_after: None,
        };
        decision.add_to(&mut headers);
        assert!(!headers.contains_key(header::RETRY_AFTER));
        decision.retry_after = Some(2);
        decision.add_to(&mut headers);
        expose(&mut headers);
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(value("X-RateLimit-Limit"), Some("20"));
        assert_eq!(value("X-RateLimit-Remaining"), Some("3"));
        assert_eq!(value("X-RateLimit-Reset"), Some("1700000004"));
        assert_eq!(value("Retry-After"), Some("2"));
        assert_eq!(value("Access-Control-Expose-Headers"), Some(EXPOSED));
    }
}
