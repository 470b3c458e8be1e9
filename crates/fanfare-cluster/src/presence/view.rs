//! The members of a room, as this node's connections have been shown them.
//!
//! An announcement is delivered only if it changes the view: joined when absent, left when present. So for each user both
//! alternate at every member of the room, whatever is repeated or missed.

use ahash::AHashMap;
use fanfare_core::{Event, Member, Presence, UserId};

use crate::{list_limit::ListLimit, transport::presence::RoomMembers, wire::PresenceMark};

/// See the module's documentation.
pub(super) struct View {
    members: AHashMap<UserId, Shown>,
    /// Announcements up to this version are in the list that the view began with.
    version: u64,
    /// The number of the change that fetches the list, for a view that does not have one yet.
    fetched_by: Option<u64>,
    /// That list, until everything has arrived that was announced before it was made.
    list: Option<RoomMembers>,
    /// What arrived while a list is being fetched.
    held: Option<Vec<Arrived>>,
    /// Changes whose connections are answered once the list is in use.
    unanswered: Vec<(UserId, u64)>,
    /// Whether it is known to agree with the store.
    pub(super) synced: bool,
    /// There are too many members to know them all: what arrives is shown as it is.
    is_unlisted: bool,
}

struct Shown {
    member: Member,
    /// The version of the user's last transition in the list; 0 if that is not known.
    version: u64,
}

/// An announcement that arrived.
pub(super) struct Arrived {
    pub(super) mark: PresenceMark,
    pub(super) event: Event,
    /// This node published it for a connection of its own.
    pub(super) own: bool,
}

impl View {
    /// A view whose list comes with change `number`.
    pub(super) fn fetching(number: u64) -> Self {
        Self {
            fetched_by: Some(number),
            held: Some(Vec::new()),
            synced: true,
            ..Self::unsynced()
        }
    }

    /// A view that begins without a list.
    pub(super) fn unsynced() -> Self {
        Self {
            members: AHashMap::new(),
            version: 0,
            fetched_by: None,
            list: None,
            held: None,
            unanswered: Vec::new(),
            synced: false,
            is_unlisted: false,
        }
    }

    /// From now on announcements wait for a list.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether the list comes with change `number`.
    pub(super) fn is_fetched_by(&self, number: u64) -> bool {
        self.fetched_by == Some(number)
    }

    /// The change that the list comes with.
    pub(super) fn fetched_by(&self) -> Option<u64> {
        self.fetched_by
    }

    /// The list came. A user whom the change itself brought is left out until the announcement arrives.
    pub(super) fn set_list(&mut self, mut list: RoomMembers, brought: Option<&UserId>) {
        list.members.retain(|held| brought != Some(&held.member.user));
        self.list = Some(list);
    }

    /// Whether the list came and the announcement of change `number`, which brought it, too.
    pub(super) fn has_all_before(&self, number: u64) -> bool {
        let is_it = |arrived: &Arrived| arrived.own && arrived.mark.number == number;
        let mut held = self.held.iter().flatten();
        self.list.is_some() && self.is_fetched_by(number) && held.any(is_it)
    }

    /// The connections that wait for change `number` of `user` are answered once the list is in use.
    pub(super) fn answer_later(&mut self, user: &UserId, number: u64) {
        self.unanswered.push((user.clone(), number));
    }

    /// The changes whose connections can be answered now.
    pub(super) fn take_unanswered(&mut self) -> Vec<(UserId, u64)> {
        std::mem::take(&mut self.unanswered)
    }

    /// Whether announcements wait for a list.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps `arrived` until the list is there.
    pub(super) fn keep(&mut self, arrived: Arrived) {
        self.held.get_or_insert_default().push(arrived);
    }

    /// Uses the list if it came. Returns what waited for it.
    pub(super) fn use_list(&mut self) -> Vec<Arrived> {
        if let Some(list) = self.list.take() {
            return self.install(list);
        }
        self.synced = false;
        self.fetched_by = None;
        self.held.take().unwrap_or_default()
    }

    /// Takes `list` for the view. Returns what waited for it.
    pub(super) fn install(&mut self, list: RoomMembers) -> Vec<Arrived> {
        self.version = list.version;
        self.is_unlisted = list.too_many;
        self.synced = true;
        self.fetched_by = None;
        let shown = list.members.into_iter().map(|held| {
            let shown = Shown {
                member: held.member,
                version: held.version,
            };
            (shown.member.user.clone(), shown)
        });
        self.members = shown.collect();
        self.held.take().unwrap_or_default()
    }

    /// Whether its members are not known.
    pub(super) fn is_unlisted(&self) -> bool {
        self.is_unlisted
    }

    /// Whether the list contains what `mark` announces, or something later.
    pub(super) fn is_stale(&self, mark: &PresenceMark) -> bool {
        let shown = self
            .members
            .get(&mark.member.user)
            .map_or(0, |shown| shown.version);
        mark.version <= self.version.max(shown)
    }

    /// `member` joined or left, as far as this node can know. Returns whether that is new.
    pub(super) fn change(&mut self, change: Presence, member: &Member) -> bool {
        match change {
            Presence::Joined => self.joined(member),
            Presence::Left => self.left(&member.user),
        }
    }

    /// What `mark` announces arrived. Returns whether that is new.
    pub(super) fn change_by(&mut self, mark: &PresenceMark) -> bool {
        if self.is_unlisted {
            self.version = self.version.max(mark.version);
        }
        self.change(mark.change, &mark.member)
    }

    /// `member` joined. Returns whether that is new.
    pub(super) fn joined(&mut self, member: &Member) -> bool {
        if self.is_unlisted {
            return true;
        }
        if self.contains(&member.user) {
            return false;
        }
        let shown = Shown {
            member: member.clone(),
            version: 0,
        };
        self.members.insert(member.user.clone(), shown);
        true
    }

    /// `user` left. Returns whether that is new.
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

    /// The members, `member` included, as far as `lists` allows it.
    pub(super) fn list_with(&self, member: &Member, lists: &ListLimit) -> Option<Vec<Member>> {
        if self.is_unlisted {
            return lists.leave_out();
        }
        let count = self.members.len() + usize::from(!self.contains(&member.user));
        let others = self.members().filter(|other| other.user != member.user);
        lists.list(count, others.chain([member]))
    }
}
