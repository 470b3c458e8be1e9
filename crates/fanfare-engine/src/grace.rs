//! Users whose connection was lost stay in their rooms for a while, in case they come back.

use std::collections::BTreeSet;

use ahash::AHashMap;
use fanfare_core::{Channel, UserId};

/// The users who are absent, each in a room. There is one entry for a user and room, however often the user is lost.
#[derive(Default)]
pub(super) struct Absentees {
    until: AHashMap<(Channel, UserId), u64>,
    in_order: BTreeSet<(u64, Channel, UserId)>,
}

impl Absentees {
    /// Notes that `user` stays in `room` until `until`, if no later time is noted. Returns whether the user was noted already,
    /// for another connection.
    pub(super) fn note(&mut self, room: &Channel, user: &UserId, until: u64) -> bool {
        let key = (room.clone(), user.clone());
        let was = self.until.get(&key).copied();
        if was.is_none_or(|was| was < until) {
            if let Some(was) = was {
                self.in_order.remove(&(was, room.clone(), user.clone()));
            }
            self.in_order.insert((until, room.clone(), user.clone()));
            self.until.insert(key, until);
        }
        was.is_some()
    }

    /// Takes the next whose time is over at `now`.
    pub(super) fn take_due(&mut self, now: u64) -> Option<(Channel, UserId)> {
        let (until, ..) = self.in_order.first()?;
        if *until > now {
            return None;
        }
        let (_, room, user) = self.in_order.pop_first()?;
        let key = (room, user);
        self.until.remove(&key);
        fanfare_core::give_back(&mut self.until);
        Some(key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_absentee_is_due_once_and_at_the_latest_of_its_times() {
        let room = |name| Channel::new(name).expect("a name");
        let user = |name| UserId::new(name).expect("a name");
        let mut absentees = Absentees::default();
        for (name, until, was_noted) in [
            ("alice", 10, false),
            ("bob", 5, false),
            ("alice", 20, true),
            ("alice", 15, true),
        ] {
            assert_eq!(absentees.note(&room("task:1"), &user(name), until), was_noted);
        }
        assert!(!absentees.note(&room("task:2"), &user("bob"), 30));
        assert_eq!((absentees.len(), absentees.in_order.len()), (3, 3));
        let mut due = |now| {
            let next = absentees.take_due(now);
            next.map(|(room, user)| format!("{room} {user}"))
        };
        assert_eq!(due(4), None);
        assert_eq!(due(12).as_deref(), Some("task:1 bob"));
        assert_eq!(due(19), None);
        assert_eq!(due(u64::MAX).as_deref(), Some("task:1 alice"));
        assert_eq!(due(u64::MAX).as_deref(), Some("task:2 bob"));
        assert_eq!(due(u64::MAX), None);
        assert_eq!((absentees.len(), absentees.in_order.len()), (0, 0));
    }
}
