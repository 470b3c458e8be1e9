//! The revocations: sessions that ended before their tokens expire, and disabled users. Every token is checked against
//! them, in memory.
//!
//! Revocations by this process hold at once. Those by other processes (another node, the command line) are read from the
//! database every few seconds, or arrive sooner by [`Revocations::apply`]. A server subscribes to the [`RevocationFeed`]
//! and ends the connections that it names.

use std::sync::{PoisonError, RwLock};

use ahash::{AHashMap, AHashSet};
use tokio::sync::broadcast;

/// The most revocations that a listener may lag behind. Beyond it, it receives `Lagged`, and must check all its
/// connections.
const BEHIND: usize = 4096;

/// A change that makes tokens invalid, or valid again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The session with this id has ended.
    Session(Box<str>),
    /// The user with this id is disabled.
    Disabled(Box<str>),
    /// The user with this id is enabled again.
    Enabled(Box<str>),
}

impl Revocation {
    /// Returns the change for a user who is disabled, or enabled.
    pub(crate) fn of_user(id: Box<str>, is_disabled: bool) -> Self {
        if is_disabled {
            Self::Disabled(id)
        } else {
            Self::Enabled(id)
        }
    }
}

/// Revocations, in order. After [`broadcast::error::RecvError::Lagged`], call [`Revocations::is_refused`] for every
/// connection.
pub type RevocationFeed = broadcast::Receiver<Revocation>;

/// The revocations in force.
pub struct Revocations {
    known: RwLock<Known>,
    news: broadcast::Sender<Revocation>,
}

#[derive(Default)]
struct Known {
    /// The time from which each session may be forgotten, in milliseconds since 1970, by session id.
    sessions: AHashMap<Box<str>, i64>,
    users: AHashSet<Box<str>>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
            news: broadcast::channel(BEHIND).0,
        }
    }
}

impl Revocations {
    /// Returns whether tokens of this user and this session must be refused. Takes one short lock and does no I/O.
    pub fn is_refused(&self, user: &str, session: Option<&str>) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.users.contains(user) || session.is_some_and(|session| known.sessions.contains_key(session))
    }

    /// Returns a feed of the revocations from now on.
    pub fn feed(&self) -> RevocationFeed {
        self.news.subscribe()
    }

    /// Applies a revocation, and sends it to the feed if it is new. `forget_at` is the time at which a session's last
    /// token has expired, in milliseconds since 1970. Returns whether the revocation was new.
    pub fn apply(&self, revocation: Revocation, forget_at: i64) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = match &revocation {
            Revocation::Session(id) => known.sessions.insert(id.clone(), forget_at).is_none(),
            Revocation::Disabled(id) => known.users.insert(id.clone()),
            Revocation::Enabled(id) => known.users.remove(id),
        };
        if is_news {
            // Sent under the lock, so that all listeners receive the same order. There may be no listener.
            let _ = self.news.send(revocation);
        }
        is_news
    }

    /// Forgets the sessions whose tokens have all expired by `now`.
    pub(crate) fn forget(&self, now: i64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.sessions.retain(|_, forget_at| *forget_at > now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_ended_sessions_and_disabled_users_are_refused() {
        let revocations = Revocations::default();
        let mut feed = revocations.feed();
        let session = Revocation::Session("s".into());
        let (off, on) = (Revocation::Disabled("u".into()), Revocation::Enabled("u".into()));
        let refused = |user, session| revocations.is_refused(user, session);

        assert!(!refused("u", Some("s")));
        assert!(revocations.apply(session.clone(), 10));
        assert!(!revocations.apply(session.clone(), 10), "known");
        assert_eq!(
            (
                refused("u", Some("s")),
                refused("u", Some("t")),
                refused("u", None)
            ),
            (true, false, false)
        );
        assert!(revocations.apply(off.clone(), 0));
        assert!(refused("u", None) && refused("u", Some("t")) && !refused("v", None));
        assert!(revocations.apply(on.clone(), 0));
        assert!(!revocations.apply(on.clone(), 0));
        assert!(!refused("u", None));
        revocations.forget(9);
        assert!(refused("u", Some("s")));
        revocations.forget(10);
        assert!(!refused("u", Some("s")));
        for expected in [session, off, on] {
            assert_eq!(feed.try_recv().unwrap(), expected);
        }
        assert!(feed.try_recv().is_err());
    }
}
