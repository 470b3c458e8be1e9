//! Users who lost their connection, and stay in their rooms for a while, in case they reconnect.

use std::collections::hash_map::Entry;

use ahash::AHashMap;
use fanfare_core::{Channel, UserId};

/// The absent users of rooms, each with the end of its grace. A user has one entry for each room, even after several losses.
#[derive(Default)]
pub(super) struct Absentees(AHashMap<(Channel, UserId), u64>);

impl Absentees {
    /// Keeps `user` in `room` until `until`, or an earlier call's later time. Returns whether the user was already absent, by the
    /// loss of another connection.
    pub(super) fn keep(&mut self, room: &Channel, user: &UserId, until: u64) -> bool {
        match self.0.entry((room.clone(), user.clone())) {
            Entry::Occupied(mut kept) => {
                let kept = kept.get_mut();
                *kept = until.max(*kept);
                true
            }
            Entry::Vacant(free) => {
                free.insert(until);
                false
            }
        }
    }

    /// Takes the users whose grace is over at `now`, in the order of its end.
    pub(super) fn take_due(&mut self, now: u64) -> impl Iterator<Item = (Channel, UserId)> + use<> {
        let due = self.0.extract_if(|_, until| *until <= now);
        let mut due: Vec<_> = due.map(|(key, until)| (until, key)).collect();
        due.sort_unstable();
        fanfare_core::shrink_if_sparse(&mut self.0);
        due.into_iter().map(|(_, key)| key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_absent_user_is_due_once_at_the_latest_of_its_times() {
        let room = |name| Channel::new(name).expect("a name");
        let user = |name| UserId::new(name).expect("a name");
        let mut absentees = Absentees::default();
        for (name, until, was_kept) in [
            ("alice", 10, false),
            ("bob", 5, false),
            ("alice", 20, true),
            ("alice", 15, true),
        ] {
            assert_eq!(absentees.keep(&room("task:1"), &user(name), until), was_kept);
        }
        assert!(!absentees.keep(&room("task:2"), &user("bob"), 30));
        assert_eq!(absentees.len(), 3);
        let mut due = |now| -> Vec<String> {
            let all = absentees.take_due(now);
            all.map(|(room, user)| format!("{room} {user}")).collect()
        };
        assert!(due(4).is_empty());
        assert_eq!(due(12), ["task:1 bob"]);
        assert!(due(19).is_empty());
        assert_eq!(due(u64::MAX), ["task:1 alice", "task:2 bob"]);
        assert_eq!(absentees.len(), 0);
    }
}
