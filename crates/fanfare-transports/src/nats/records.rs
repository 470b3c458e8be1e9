//! The records of presence in JetStream: their form, and the effect of changes. Nothing here does I/O.
//!
//! A room is one key, whose value has a line for each holder of each user, in the order in which they entered. A slot is one key with a line
//! for each lease, and a lease is one key with one line. Lines that no node wrote are ignored, and removed by the next change.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use fanfare_cluster::{
    ANSWER_TIMEOUT,
    transport::presence::{
        CLAIM_LIFETIME, CLEANED_MEMORY, HeldMember, LEASE_LIFETIME, Lease, LeaseId, Renewal, RoomMembers,
    },
    wire,
};
use fanfare_core::{Member, UserId, millis};

use super::names;

/// The difference between nodes' readings of the server's clock: cleaners wait longer by this time.
const CLOCK_MARGIN: Duration = ANSWER_TIMEOUT;

/// The holders of the users in a room.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Room(Vec<Holder>);

#[derive(Debug, Clone, PartialEq)]
struct Holder {
    lease: LeaseId,
    since_ms: u64,
    member: Member,
}

/// The number of places of a slot that each lease holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places(Vec<(LeaseId, u32)>);

/// The state of a lease, which is a line in its key. Times are milliseconds since 1970 by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseState {
    Live { until: u64 },
    Cleaning { until: u64, cleaner: LeaseId },
    Cleaned { since: u64 },
}

impl Room {
    pub(super) fn read(value: &[u8]) -> Self {
        Self(lines(value).filter_map(Holder::read).collect())
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let lines: String = self.0.iter().map(Holder::line).collect();
        lines.into_bytes()
    }

    /// Returns the line of `member`, which `lease` holds.
    pub(super) fn line(lease: LeaseId, since_ms: u64, member: &Member) -> String {
        let mut line = format!("{lease} {since_ms} ");
        names::encode(&member.user, "", &mut line);
        line.push(' ');
        line.push_str(&wire::write_member(member));
        line.push('\n');
        line
    }

    /// Returns the size of the lines by which `lease` holds `user`, in bytes.
    pub(super) fn size_of(&self, lease: LeaseId, user: &UserId) -> usize {
        let own = self
            .0
            .iter()
            .filter(|holder| holder.lease == lease && holder.member.user == *user);
        own.map(|holder| holder.line().len()).sum()
    }

    /// Makes `lease` a holder of `member`. Returns whether the user had no holder before.
    pub(super) fn enter(&mut self, lease: LeaseId, member: &Member, since_ms: u64) -> bool {
        let (own, others) = self.count(lease, &member.user);
        if own == 0 {
            self.0.push(Holder {
                lease,
                since_ms,
                member: member.clone(),
            });
        }
        own + others == 0
    }

    /// Removes `lease` from the holders of `user`. Returns `true` if the user has no holder now, and `lease` was one or `even_if_unheld` is
    /// set.
    pub(super) fn leave(&mut self, lease: LeaseId, user: &UserId, even_if_unheld: bool) -> bool {
        let (own, others) = self.count(lease, user);
        self.0
            .retain(|holder| holder.lease != lease || holder.member.user != *user);
        others == 0 && (own > 0 || even_if_unheld)
    }

    /// Returns the number of lines for `user` of `lease`, and of all other leases.
    fn count(&self, lease: LeaseId, user: &UserId) -> (usize, usize) {
        let of_user = self.0.iter().filter(|holder| holder.member.user == *user);
        let (own, others): (Vec<_>, Vec<_>) = of_user.partition(|holder| holder.lease == lease);
        (own.len(), others.len())
    }

    /// Returns the members that `lease` holds.
    pub(super) fn held_by(&self, lease: LeaseId) -> impl Iterator<Item = &Member> {
        let own = self.0.iter().filter(move |holder| holder.lease == lease);
        own.map(|holder| &holder.member)
    }

    /// Returns all members, as of `version`.
    pub(super) fn members(&self, version: u64) -> RoomMembers {
        let mut places: HashMap<&UserId, usize> = HashMap::new();
        let mut members: Vec<HeldMember> = Vec::new();
        for holder in &self.0 {
            let place = *places.entry(&holder.member.user).or_insert_with(|| {
                members.push(HeldMember {
                    member: holder.member.clone(),
                    leases: Vec::new(),
                    version: 0,
                });
                members.len() - 1
            });
            members[place].leases.push(holder.lease);
        }
        RoomMembers {
            version,
            members,
            too_many: false, // the size of a record is limited
        }
    }
}

impl Holder {
    fn line(&self) -> String {
        Room::line(self.lease, self.since_ms, &self.member)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let lease = words.next()?.parse().ok()?;
        let since_ms = words.next()?.parse().ok()?;
        let user = UserId::new(&names::decode(words.next()?)?).ok()?;
        Some(Self {
            lease,
            since_ms,
            member: wire::read_member(&user, words.next()?)?,
        })
    }
}

impl Places {
    pub(super) fn read(value: &[u8]) -> Self {
        let places = lines(value).filter_map(|line| {
            let (lease, count) = line.split_once(' ')?;
            Some((lease.parse().ok()?, count.parse().ok()?))
        });
        Self(places.collect())
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut value = String::new();
        for (lease, count) in &self.0 {
            let _ = writeln!(value, "{lease} {count}");
        }
        value.into_bytes()
    }

    /// Sets the number of places of `lease` to `count`, unless it grows and all leases together would hold more than `most`. Returns whether
    /// the number was set.
    pub(super) fn set(&mut self, lease: LeaseId, count: u32, most: Option<u32>) -> bool {
        let sum = |own: bool| {
            let places = self.0.iter().filter(|(holder, _)| (*holder == lease) == own);
            places.map(|(_, count)| u64::from(*count)).sum::<u64>()
        };
        let is_too_many = most.is_some_and(|most| sum(false) + u64::from(count) > u64::from(most));
        if is_too_many && u64::from(count) > sum(true) {
            return false;
        }
        self.0.retain(|(holder, _)| *holder != lease);
        if count > 0 {
            self.0.push((lease, count));
        }
        true
    }

    pub(super) fn is_held_by(&self, lease: LeaseId) -> bool {
        self.0.iter().any(|(holder, _)| *holder == lease)
    }
}

impl LeaseState {
    /// Reads the state of `lease` in the value of its key; `None` if there is none.
    pub(super) fn read(lease: LeaseId, value: &[u8]) -> Option<Self> {
        let number = |word: &str| word.parse().ok();
        lines(value).find_map(|line| {
            let (name, state) = line.split_once(' ')?;
            if name.parse() != Ok(lease) {
                return None;
            }
            match state.split(' ').collect::<Vec<_>>()[..] {
                ["live", until] => Some(Self::Live {
                    until: number(until)?,
                }),
                ["cleaning", until, cleaner] => Some(Self::Cleaning {
                    until: number(until)?,
                    cleaner: cleaner.parse().ok()?,
                }),
                ["cleaned", since] => Some(Self::Cleaned {
                    since: number(since)?,
                }),
                _ => None,
            }
        })
    }

    pub(super) fn write(self, lease: LeaseId) -> String {
        match self {
            Self::Live { until } => format!("{lease} live {until}\n"),
            Self::Cleaning { until, cleaner } => format!("{lease} cleaning {until} {cleaner}\n"),
            Self::Cleaned { since } => format!("{lease} cleaned {since}\n"),
        }
    }

    /// Acquires or renews `lease` at `now`. Returns the new end of its term.
    ///
    /// # Errors
    /// [`Renewal::Gone`] if the lease is over.
    pub(super) fn renew(state: &mut Option<Self>, lease: Lease, now: u64) -> Result<u64, Renewal> {
        match *state {
            Some(Self::Cleaning { .. } | Self::Cleaned { .. }) => {
                return Err(Renewal::Gone { cleaned: true });
            }
            Some(Self::Live { until }) if until >= lease.until => {}
            None if lease.until == 0 => {}
            _ => return Err(Renewal::Gone { cleaned: false }),
        }
        // Never earlier than before, even if the server's clock is set back.
        let until = (now + millis(LEASE_LIFETIME)).max(lease.until + 1);
        *state = Some(Self::Live { until });
        Ok(until)
    }

    /// Claims the cleaning of the lease in `state` for `cleaner` at `now`. Returns whether `cleaner` has the claim.
    pub(super) fn claim(state: &mut Option<Self>, cleaner: LeaseId, now: u64) -> bool {
        let may = match *state {
            Some(Self::Cleaning { cleaner: current, .. }) if current == cleaner => true,
            Some(state) => state.is_over(now),
            None => false,
        };
        if may {
            let until = now + millis(CLAIM_LIFETIME);
            *state = Some(Self::Cleaning { until, cleaner });
        }
        may
    }

    /// Ends the lease, unless it is being cleaned.
    pub(super) fn expire(state: &mut Option<Self>) {
        if !matches!(state, Some(Self::Cleaning { .. })) {
            *state = Some(Self::Live { until: 0 });
        }
    }

    /// Returns whether a cleaner may claim the lease.
    pub(super) fn is_over(self, now: u64) -> bool {
        match self {
            Self::Live { until } | Self::Cleaning { until, .. } => until + millis(CLOCK_MARGIN) < now,
            Self::Cleaned { .. } => false,
        }
    }

    /// Returns whether the lease was cleaned so long ago that it need not be remembered.
    pub(super) fn may_be_forgotten(self, now: u64) -> bool {
        matches!(self, Self::Cleaned { since } if since + millis(CLEANED_MEMORY) < now)
    }
}

/// Reads a list of leases.
pub(super) fn lease_names(value: &[u8]) -> Vec<LeaseId> {
    lines(value).filter_map(|line| line.parse().ok()).collect()
}

/// Writes a list of leases.
pub(super) fn write_lease_names(leases: &[LeaseId]) -> Vec<u8> {
    let lines: Vec<String> = leases.iter().map(LeaseId::to_string).collect();
    lines.join("\n").into_bytes()
}

fn lines(value: &[u8]) -> impl Iterator<Item = &str> {
    value
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const A: LeaseId = LeaseId(1);
    const B: LeaseId = LeaseId(2);

    fn member(user: &str) -> Member {
        Member {
            user: UserId::new(user).unwrap(),
            username: Some("N N".into()),
            numeric: false,
            dialect: "rooms".into(),
        }
    }

    #[test]
    fn the_first_and_the_last_holder_of_a_user_are_transitions() {
        let mut room = Room::default();
        let (ann, bob) = (member("a n\u{e9}n"), member("bob"));
        assert!(room.enter(A, &ann, 1));
        assert!(!room.enter(A, &ann, 2));
        assert!(!room.enter(B, &ann, 3));
        assert!(room.enter(B, &bob, 4));
        let again = Room::read(&room.write());
        assert_eq!(again, room);
        let members = room.members(7);
        assert_eq!((members.version, members.members.len()), (7, 2));
        assert_eq!(
            (&members.members[0].member, &*members.members[0].leases),
            (&ann, &[A, B][..])
        );
        assert_eq!(room.held_by(B).collect::<Vec<_>>(), [&ann, &bob]);
        assert!(!room.leave(A, &ann.user, false));
        assert!(!room.leave(A, &ann.user, false));
        assert!(!room.leave(A, &bob.user, true));
        assert!(room.leave(B, &ann.user, false));
        assert!(!room.leave(B, &ann.user, false));
        assert!(room.leave(B, &ann.user, true));
        assert!(room.leave(B, &bob.user, false));
        assert!(room.write().is_empty());
    }

    #[test]
    fn lines_that_no_node_wrote_are_ignored() {
        let mut room = Room::default();
        room.enter(A, &member("a"), 1);
        let mut value = room.write();
        value.extend_from_slice(
            b"garbage\n\xff\xfe\n0000000000000001 x a {}\n0000000000000001 1 a [\n0000000000000001 1 a {}\n",
        );
        assert_eq!(Room::read(&value), room);
        let places = Places::read(b"0000000000000001 2\nx 1\n0000000000000002 -1\n\xff\n");
        assert_eq!(places, Places(vec![(A, 2)]));
        let leases = b"0000000000000001 live 5\n0000000000000002 live\nx live 5\n\xff\n";
        assert_eq!(LeaseState::read(A, leases), Some(LeaseState::Live { until: 5 }));
        assert_eq!(LeaseState::read(B, leases), None);
    }

    #[test]
    fn slots_have_a_limit_of_places() {
        let mut places = Places::default();
        assert!(places.set(A, 2, Some(3)));
        assert!(!places.set(B, 2, Some(3)));
        assert!(places.set(B, 1, Some(3)));
        // The lease keeps its number of places although the limit is lower.
        assert!(places.set(A, 2, Some(1)));
        assert!(!places.set(A, 3, Some(3)));
        assert!(places.set(A, 9, None));
        assert_eq!(Places::read(&places.write()), places);
        assert!(places.set(A, 0, Some(0)));
        assert!(!places.is_held_by(A) && places.is_held_by(B));
    }

    #[test]
    fn leases_are_renewed_cleaned_and_forgotten() {
        let (mut a, mut b) = (None, None);
        let renew = |state: &mut _, id, until, now| LeaseState::renew(state, Lease { id, until }, now);
        let gone = |cleaned| Err(Renewal::Gone { cleaned });
        assert_eq!(renew(&mut a, A, 0, 1000), Ok(6000));
        assert_eq!(renew(&mut b, B, 0, 1000), Ok(6000));
        assert_eq!(renew(&mut a, A, 6000, 2000), Ok(7000));
        assert_eq!(renew(&mut a, A, 8000, 2000), gone(false));
        assert_eq!(renew(&mut None, LeaseId(9), 5, 2000), gone(false));
        assert!(!LeaseState::claim(&mut b, A, 7000));
        let is_over = |state: Option<LeaseState>, now| state.unwrap().is_over(now);
        assert!(!is_over(b, 7000) && is_over(b, 7001) && !is_over(a, 7001));
        assert!(LeaseState::claim(&mut b, A, 7001));
        assert!(LeaseState::claim(&mut b, A, 7002), "it has it");
        assert!(!LeaseState::claim(&mut b, LeaseId(3), 12_000));
        assert!(
            LeaseState::claim(&mut b, LeaseId(3), 13_003),
            "the cleaner is gone"
        );
        assert_eq!(renew(&mut b, B, 6000, 6003), gone(true));
        LeaseState::expire(&mut b);
        assert_eq!(renew(&mut b, B, 6000, 6003), gone(true));
        let cleaned = LeaseState::Cleaned { since: 12_000 };
        for (lease, state) in [(A, a.unwrap()), (B, b.unwrap()), (B, cleaned)] {
            assert_eq!(
                LeaseState::read(lease, state.write(lease).as_bytes()),
                Some(state)
            );
        }
        b = Some(cleaned);
        assert_eq!(renew(&mut b, B, 6000, 12_000), gone(true));
        assert!(!LeaseState::claim(&mut b, A, 99_000));
        let memory = millis(CLEANED_MEMORY);
        assert!(!cleaned.may_be_forgotten(12_000 + memory) && cleaned.may_be_forgotten(12_001 + memory));
        assert!(!a.unwrap().may_be_forgotten(u64::MAX));
        LeaseState::expire(&mut a);
        assert!(LeaseState::claim(&mut a, B, 1001));
        assert_eq!(lease_names(&write_lease_names(&[A, B])), [A, B]);
    }
}
