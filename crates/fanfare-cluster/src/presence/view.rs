//! The members of a room, as this node's connections have been shown them.
//!
//! An announcement is delivered only if it changes the view: joined if absent, left if present. So joins and leaves of a user
//! alternate for every member of the room, even if announcements are repeated or lost.

use ahash::AHashMap;
use fanfare_core::{Event, Member, Presence, UserId};

use crate::{list_limit::ListLimit, transport::presence::RoomMembers, wire::PresenceMark};

/// See the module's documentation. The default is a view without a list.
#[derive(Default)]
pub(super) struct View {
    pub(super) members: AHashMap<UserId, ShownMember>,
    /// The version of the list that the view began with: it contains all announcements up to that one.
    version: u64,
    /// The number of the change that fetches the list, for a view without one.
    pub(super) fetched_by: Option<u64>,
    /// The fetched list, until all announcements before it have arrived.
    list: Option<RoomMembers>,
    /// The announcements that arrive while a list is fetched; `None` if none is.
    waiting: Option<Vec<ReceivedAnnouncement>>,
    /// The changes whose connections are answered once the list is applied.
    pub(super) unanswered: Vec<(UserId, u64)>,
    /// Whether the view agrees with the store.
    pub(super) synced: bool,
    /// The room has too many members for a list: every announcement is delivered.
    pub(super) is_unlisted: bool,
}

pub(super) struct ShownMember {
    pub(super) member: Member,
    /// The version of the user's last transition in the list; 0 if that is unknown.
    version: u64,
}

/// An announcement from the transport.
pub(super) struct ReceivedAnnouncement {
    pub(super) mark: PresenceMark,
    pub(super) event: Event,
    /// This node published it for one of its connections.
    pub(super) own: bool,
}

impl View {
    /// Returns a view whose list comes with change `number`.
    pub(super) fn fetching(number: u64) -> Self {
        Self {
            fetched_by: Some(number),
            waiting: Some(Vec::new()),
            synced: true,
            ..Self::default()
        }
    }

    /// Makes announcements wait for a list.
    pub(super) fn wait_for_list(&mut self) {
        self.waiting.get_or_insert_default();
    }

    /// Returns whether the list comes with change `number`.
    pub(super) fn is_fetched_by(&self, number: u64) -> bool {
        self.fetched_by == Some(number)
    }

    /// Keeps `list` until it can be applied. A user who `joined` by the same change is left out until the announcement arrives.
    pub(super) fn set_list(&mut self, mut list: RoomMembers, joined: Option<&UserId>) {
        list.members.retain(|held| joined != Some(&held.member.user));
        self.list = Some(list);
    }

    /// Returns whether the list has arrived, and the announcement of change `number`, which fetched it.
    pub(super) fn is_list_in_order(&self, number: u64) -> bool {
        let is_it =
            |announcement: &ReceivedAnnouncement| announcement.own && announcement.mark.number == number;
        let mut waiting = self.waiting.iter().flatten();
        self.list.is_some() && self.is_fetched_by(number) && waiting.any(is_it)
    }

    /// Returns whether announcements wait for a list.
    pub(super) fn is_waiting_for_list(&self) -> bool {
        self.waiting.is_some()
    }

    /// Keeps `announcement` until the list is applied.
    pub(super) fn push_waiting(&mut self, announcement: ReceivedAnnouncement) {
        self.waiting.get_or_insert_default().push(announcement);
    }

    /// Applies the list if it has arrived. Returns the announcements that waited for it.
    pub(super) fn apply_list(&mut self) -> Vec<ReceivedAnnouncement> {
        if let Some(list) = self.list.take() {
            return self.install(list);
        }
        self.synced = false;
        self.fetched_by = None;
        self.waiting.take().unwrap_or_default()
    }

    /// Replaces the members by `list`. Returns the announcements that waited for it.
    pub(super) fn install(&mut self, list: RoomMembers) -> Vec<ReceivedAnnouncement> {
        self.version = list.version;
        self.is_unlisted = list.too_many;
        self.synced = true;
        self.fetched_by = None;
        let shown = list.members.into_iter().map(|held| {
            let shown = ShownMember {
                member: held.member,
                version: held.version,
            };
            (shown.member.user.clone(), shown)
        });
        self.members = shown.collect();
        self.waiting.take().unwrap_or_default()
    }

    /// Returns whether the list contains the transition of `mark`, or a later one of the same user.
    pub(super) fn is_stale(&self, mark: &PresenceMark) -> bool {
        let shown = self
            .members
            .get(&mark.member.user)
            .map_or(0, |shown| shown.version);
        mark.version <= self.version.max(shown)
    }

    /// Notes that `member` joined or left. Returns whether the view changed.
    pub(super) fn change(&mut self, change: Presence, member: &Member) -> bool {
        match change {
            Presence::Joined => self.joined(member),
            Presence::Left => self.left(&member.user),
        }
    }

    /// Notes the transition of `mark`. Returns whether the view changed.
    pub(super) fn change_by(&mut self, mark: &PresenceMark) -> bool {
        if self.is_unlisted {
            self.version = self.version.max(mark.version);
        }
        self.change(mark.change, &mark.member)
    }

    /// Notes that `member` joined. Returns whether the view changed.
    pub(super) fn joined(&mut self, member: &Member) -> bool {
        if self.is_unlisted {
            return true;
        }
        if self.contains(&member.user) {
            return false;
        }
        let shown = ShownMember {
            member: member.clone(),
            version: 0,
        };
        self.members.insert(member.user.clone(), shown);
        true
    }

    /// Notes that `user` left. Returns whether the view changed.
    fn left(&mut self, user: &UserId) -> bool {
        if self.is_unlisted {
            return true;
        }
        let left = self.members.remove(user).is_some();
        if left && self.members.capacity() > 1024 && self.members.len() * 4 < self.members.capacity() {
            self.members.shrink_to_fit();
        }
        left
    }

    pub(super) fn contains(&self, user: &UserId) -> bool {
        self.members.contains_key(user)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().map(|shown| &shown.member)
    }

    /// Returns the members including `member`, as far as `lists` allows it.
    pub(super) fn list_with(&self, member: &Member, lists: &ListLimit) -> Option<Vec<Member>> {
        if self.is_unlisted {
            return lists.leave_out();
        }
        let count = self.members.len() + usize::from(!self.contains(&member.user));
        let others = self.members().filter(|other| other.user != member.user);
        lists.list(count, others.chain([member]))
    }
}
