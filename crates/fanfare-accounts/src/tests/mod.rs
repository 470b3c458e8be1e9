//! The requests of clients, backends and administrators, on both databases.
#![allow(clippy::unwrap_used)]

mod accounts;
mod logins;
mod messages;
mod revocations;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::storage::tests::{Case, Place, run_on_postgres, run_on_sqlite, suite};
use crate::{Accounts, AccountsOptions, Login, Signing};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "correct horse";

/// Accounts with a clock that a test advances.
struct World {
    accounts: Accounts,
    clock: Arc<AtomicU64>,
}

impl World {
    fn new(place: &Place) -> Self {
        Self::with(place, |_| {})
    }

    fn with(place: &Place, change: impl FnOnce(&mut AccountsOptions)) -> Self {
        let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let clock = Arc::new(AtomicU64::new(u64::try_from(start.as_millis()).unwrap()));
        let time = clock.clone();
        let mut options = AccountsOptions {
            signing: Some(signing()),
            ..AccountsOptions::default()
        };
        options.hashing = argon2::Params::new(argon2::Params::MIN_M_COST, 1, 1, None).unwrap();
        options.clock =
            Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_millis(time.load(Ordering::Relaxed)));
        change(&mut options);
        Self {
            accounts: Accounts::new(place.storage(), options),
            clock,
        }
    }

    /// Advances the clock.
    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    async fn register(&self, email: &str) -> Login {
        self.accounts
            .register(email, PASSWORD, None, None, None)
            .await
            .unwrap()
    }

    /// Returns the claims of a token with a valid signature that has not expired.
    fn claims(&self, token: &str) -> Map<String, Value> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.validate_exp = false; // by this test's clock, below
        rules.validate_aud = false;
        let key = DecodingKey::from_secret(SECRET);
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &rules)
            .unwrap()
            .claims;
        let now = self.accounts.now();
        assert!(claims["exp"].as_i64().unwrap() * 1000 > now, "expired");
        claims
    }
}

fn signing() -> Signing {
    Signing {
        secret: SECRET.to_vec(),
        issuer: None,
        audience: None,
    }
}

const ALL: &[Case] = suite![
    accounts::registration,
    accounts::what_is_refused,
    accounts::administration,
    accounts::api_keys,
    accounts::a_key_is_still_needed_after_its_revocation,
    accounts::the_last_use_of_a_key_is_written_to_the_minute,
    logins::logins,
    logins::refusals_take_the_same_time,
    logins::a_flood_does_not_reach_the_database,
    logins::failures_are_limited,
    logins::refreshing,
    logins::two_refreshes_at_once,
    logins::replays,
    logins::sessions_end,
    logins::one_session_too_many_ends_the_one_least_used,
    logins::a_login_that_waited_gets_the_current_roles,
    logins::a_hash_that_was_replaced_meanwhile_does_not_refuse_a_login,
    logins::a_token_does_not_outlive_its_session,
    logins::weak_hashes_are_replaced,
    logins::without_a_secret_no_user_can_log_in,
    messages::writing,
    messages::reading,
    messages::pages,
    messages::an_undecided_message_is_not_the_end_of_the_list,
    revocations::revocations_by_other_processes_apply,
    revocations::revocations_apply_after_a_restart,
    revocations::the_watch_reads_changes_by_other_processes,
];

#[test]
fn on_sqlite() {
    run_on_sqlite(ALL);
}

#[test]
fn on_postgres() {
    run_on_postgres(ALL);
}
