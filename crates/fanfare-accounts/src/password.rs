//! Hashes passwords by argon2id, on separate threads, a limited number at a time.
//!
//! A hash takes a core for tens of milliseconds and 19 MiB. Logins wait in a queue of fixed length; beyond it they are
//! refused. New passwords wait in a second queue, from which one at a time waits for a thread: even if many clients
//! register, a login waits for at most one of them. The hashing threads have a lower priority than others, because open
//! connections have precedence.

use std::sync::{Arc, OnceLock};
use std::thread;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use unicode_normalization::UnicodeNormalization as _;

use crate::AccountError;

/// The shortest password, in bytes.
pub const MIN_PASSWORD_BYTES: usize = 8;
/// The longest, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// The niceness of hashing threads (`sched(7)`). A thread of normal niceness gets nine tenths of a core that it shares
/// with one of them. It is not the maximum, so that logins still progress on a busy machine.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

#[derive(Clone)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// A permit is a thread.
    threads: Arc<Semaphore>,
    /// A permit is a place in the queue of logins, or a thread.
    places: Arc<Semaphore>,
    /// A permit is a place in the queue of new passwords, or a thread.
    new_places: Arc<Semaphore>,
    /// The permit is for the one new password that waits for a thread among the logins.
    new_turn: Arc<Semaphore>,
    /// The hash that an unknown user's password is checked against, so that both take the same time.
    decoy: Arc<OnceLock<String>>,
    /// The number of checks.
    #[cfg(test)]
    pub(crate) checks: Arc<std::sync::atomic::AtomicUsize>,
}

#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) is_right: bool,
    /// A hash with the current parameters, if the stored hash has weaker ones.
    pub(crate) better: Option<String>,
}

impl Passwords {
    /// Returns the state for `threads` threads (0 is half of the cores) and `queue` waiting logins for each.
    pub(crate) fn new(params: Params, threads: usize, queue: usize) -> Self {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            threads => threads.min(1024),
        };
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(threads * (1 + queue))),
            new_places: Arc::new(Semaphore::new(threads * (1 + queue))),
            new_turn: Arc::new(Semaphore::new(1)),
            decoy: Arc::default(),
            #[cfg(test)]
            checks: Arc::default(),
        }
    }

    /// Takes a place in the queue. Call it first in a login, so that a flood does not reach the database.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, AccountError> {
        place_in(&self.places)
    }

    /// Returns the hash of a new password, as a PHC string.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, AccountError> {
        let password = normalised(password)?;
        let place = place_in(&self.new_places)?;
        let turn = permit(&self.new_turn).await?;
        let thread = permit(&self.threads).await?;
        drop(turn);
        let argon2 = self.argon2.clone();
        Self::run_on(thread, place, move || hash(&argon2, &password)).await?
    }

    /// Checks a password against a stored hash, or against a decoy for an unknown user.
    pub(crate) async fn check(
        &self,
        place: OwnedSemaphorePermit,
        password: &str,
        stored: Option<String>,
    ) -> Result<Verdict, AccountError> {
        let Ok(password) = normalised(password) else {
            return Ok(Verdict::default()); // no account has such a password
        };
        #[cfg(test)]
        self.checks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (argon2, decoy) = (self.argon2.clone(), self.decoy.clone());
        self.run(place, move || {
            if decoy.get().is_none() {
                // Another thread may set it first.
                let _ = decoy.set(hash(&argon2, "no account has this one")?);
            }
            let decoy = decoy.get().map_or("", String::as_str);
            let against = stored.as_deref().unwrap_or(decoy);
            let parsed =
                PasswordHash::new(against).map_err(|_| AccountError::fault("a stored hash is damaged"))?;
            let fits = argon2.verify_password(password.as_bytes(), &parsed).is_ok();
            let is_right = stored.is_some() && fits;
            let is_weak = is_right && is_weaker(&parsed, argon2.params());
            let better = is_weak.then(|| hash(&argon2, &password)).transpose()?;
            Ok(Verdict { is_right, better })
        })
        .await?
    }

    /// Makes every further operation that needs a thread fail.
    #[cfg(test)]
    pub(crate) fn without_threads(&self) {
        self.threads.close();
    }

    /// Runs work on a thread, after the work that already waits.
    async fn run<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountError> {
        let thread = permit(&self.threads).await?;
        Self::run_on(thread, place, work).await
    }

    async fn run_on<T: Send + 'static>(
        thread: OwnedSemaphorePermit,
        place: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountError> {
        let (reply, done) = oneshot::channel();
        let job = move || {
            // Held until the work is done, even if the caller was dropped.
            let _held = (place, thread);
            lower_priority();
            let _ = reply.send(work());
        };
        // A new thread each time, because its start costs little compared with a hash, and a shared thread could not
        // raise its priority again.
        let started = thread::Builder::new().name("fanfare-hash".into()).spawn(job);
        started.map_err(|_| AccountError::Busy)?;
        done.await
            .map_err(|_| AccountError::fault("hashing a password panicked"))
    }
}

fn place_in(queue: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AccountError> {
    let place = queue.clone().try_acquire_owned();
    place.map_err(|_| AccountError::Busy)
}

/// Waits for a permit, after the earlier callers.
async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AccountError> {
    let permit = of.clone().acquire_owned().await;
    permit.map_err(|_| AccountError::Busy)
}

fn lower_priority() {
    // On Linux this affects only the calling thread. A lower priority is never refused, and a failure would only keep the
    // normal one.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::getpriority_process(None)
        .and_then(|ordinary| rustix::process::setpriority_process(None, ordinary + NICENESS));
}

/// Returns the password in the form that is hashed: NFC (RFC 8265 section 4.2), because keyboards compose letters
/// differently. The length limits apply before the conversion.
fn normalised(password: &str) -> Result<String, AccountError> {
    match password.len() {
        0..MIN_PASSWORD_BYTES => Err(AccountError::bad("password", "shorter than 8 bytes")),
        MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES => Ok(password.nfc().collect()),
        _ => Err(AccountError::bad("password", "longer than 1024 bytes")),
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, AccountError> {
    let hash: Result<PasswordHash, _> = argon2.hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|_| AccountError::fault("a password could not be hashed"))
}

/// Returns whether a hash has weaker parameters than a new one.
fn is_weaker(hash: &PasswordHash, now: &Params) -> bool {
    let Ok(then) = Params::try_from(hash) else {
        return true;
    };
    hash.algorithm.as_str() != "argon2id"
        || then.m_cost() < now.m_cost()
        || then.t_cost() < now.t_cost()
        || then.p_cost() < now.p_cost()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const QUEUE: usize = 8;

    fn weak() -> Params {
        Params::new(Params::MIN_M_COST, 1, 1, None).unwrap()
    }

    async fn check(
        passwords: &Passwords,
        password: &str,
        stored: Option<&str>,
    ) -> Result<Verdict, AccountError> {
        let place = passwords.place()?;
        passwords.check(place, password, stored.map(str::to_owned)).await
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let passwords = Passwords::new(weak(), 1, QUEUE);
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_ne!(
            hash,
            passwords.hash("correct horse").await.unwrap(),
            "each has a salt of its own"
        );
        for (password, expected) in [
            ("correct horse", true),
            ("Correct horse", false),
            ("correct horse ", false),
            ("", false),
            ("no account has this one", false),
        ] {
            let known = check(&passwords, password, Some(&hash)).await.unwrap();
            assert_eq!(
                (known.is_right, known.better.is_some()),
                (expected, false),
                "{password}"
            );
            assert!(
                !check(&passwords, password, None).await.unwrap().is_right,
                "{password}"
            );
        }
        let composed = passwords.hash("pässword").await.unwrap();
        assert!(
            check(&passwords, "pa\u{308}ssword", Some(&composed))
                .await
                .unwrap()
                .is_right
        );
        assert!(check(&passwords, "whatever", Some("damaged")).await.is_err());
    }

    #[tokio::test]
    async fn a_password_has_8_to_1024_bytes() {
        let passwords = Passwords::new(weak(), 1, QUEUE);
        for (bytes, fits) in [(0, false), (7, false), (8, true), (1024, true), (1025, false)] {
            assert_eq!(passwords.hash(&"x".repeat(bytes)).await.is_ok(), fits, "{bytes}");
        }
        assert!(passwords.hash("äöüß").await.is_ok(), "eight bytes");
    }

    #[tokio::test]
    async fn a_right_password_is_hashed_again_with_stronger_parameters() {
        let hash = Passwords::new(weak(), 1, QUEUE)
            .hash("correct horse")
            .await
            .unwrap();
        let stronger = Passwords::new(Params::new(16, 2, 1, None).unwrap(), 1, QUEUE);
        let found = check(&stronger, "correct horse", Some(&hash)).await.unwrap();
        let better = found.better.unwrap();
        assert!(found.is_right && better.contains("m=16,t=2"), "{better}");
        assert!(
            check(&stronger, "wrong horse", Some(&hash))
                .await
                .unwrap()
                .better
                .is_none()
        );
        assert!(
            check(&stronger, "correct horse", Some(&better))
                .await
                .unwrap()
                .better
                .is_none()
        );
    }

    #[tokio::test]
    async fn the_default_parameters_are_the_recommended_ones() {
        let hash = Passwords::new(Params::default(), 1, QUEUE)
            .hash("correct horse")
            .await
            .unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }

    #[tokio::test]
    async fn a_flood_is_refused_beyond_the_queue() {
        let passwords = Passwords::new(weak(), 1, QUEUE);
        let blocked = passwords.threads.clone().acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..=QUEUE)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.hash("correct horse").await })
            })
            .collect();
        while passwords.new_places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.hash("correct horse").await, Err(AccountError::Busy));
        waiting[0].abort(); // a cancelled login frees its place
        while passwords.new_places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        drop(blocked);
        assert!(passwords.hash("correct horse").await.is_ok());
        for (number, job) in waiting.into_iter().enumerate().skip(1) {
            assert!(job.await.unwrap().is_ok(), "{number}");
        }
    }

    #[tokio::test]
    async fn a_login_waits_for_one_registration_at_most() {
        let passwords = Passwords::new(weak(), 1, QUEUE);
        let blocked = passwords.threads.clone().acquire_owned().await.unwrap();
        let registrations: Vec<_> = (0..=QUEUE)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.hash("correct horse").await })
            })
            .collect();
        while passwords.new_places.available_permits() > 0 || passwords.new_turn.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.hash("correct horse").await, Err(AccountError::Busy));
        let place = passwords.place().unwrap();
        let login = passwords.check(place, "correct horse", None);
        let ended = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for registration in registrations {
            let ended = ended.clone();
            tokio::spawn(async move {
                let _ = registration.await;
                ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        let mut login = std::pin::pin!(login);
        let at_once = tokio::time::timeout(std::time::Duration::ZERO, login.as_mut()).await;
        assert!(at_once.is_err(), "it waits");
        drop(blocked);
        login.await.unwrap();
        // The next login may have ended by the time this task runs again.
        let before = ended.load(std::sync::atomic::Ordering::Relaxed);
        assert!(before <= 2, "{before} of {} came first", QUEUE + 1);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_hashing_threads_have_a_lower_priority() {
        let passwords = Passwords::new(weak(), 1, QUEUE);
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let hashing = passwords.run(passwords.place().unwrap(), niceness).await.unwrap();
        assert_eq!((hashing, niceness()), ((before + NICENESS).min(19), before));
    }

    #[tokio::test]
    async fn a_panic_of_one_hash_does_not_affect_others() {
        let passwords = Passwords::new(weak(), 1, QUEUE);
        let fault = passwords
            .run(passwords.place().unwrap(), || panic!("a fault"))
            .await;
        assert!(fault.is_err_and(|error| error != AccountError::Busy));
        assert!(
            passwords.hash("correct horse").await.is_ok(),
            "the thread's place is free again"
        );
    }
}
