//! The subjects that an operator watches: the events for a user, on channels, for everyone, or with one id.

use fanfare_core::{
    Audience, BadName, Channel, EVERYONE_CHANNEL, Event, Interest, Pattern, Subscription, UserId,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A set of events that an operator watches, in the form that nodes exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The events for this user.
    User(Box<str>),
    /// The events on every channel that this pattern matches.
    Channel(Pattern),
    /// The events for everyone.
    Everyone,
    /// The event with this id.
    Event(Uuid),
}

impl Subject {
    /// Returns the subject for a user's events.
    ///
    /// # Errors
    /// If `id` is not a user's id.
    pub fn user(id: &str) -> Result<Self, BadName> {
        UserId::new(id).map(|user| Self::User((*user).into()))
    }

    /// Returns the subject for a channel, a pattern of channels, or a user's personal channel.
    ///
    /// # Errors
    /// If `name` is neither a name nor a pattern.
    pub fn channel(name: &str) -> Result<Self, BadName> {
        Ok(match Subscription::parse(name)? {
            Subscription::Personal(user) => Self::User((*user).into()),
            Subscription::Channel(_) if name == EVERYONE_CHANNEL => Self::Everyone,
            Subscription::Channel(channel) => Self::Channel(Pattern::new(&channel)?),
            Subscription::Pattern(pattern) => Self::Channel(pattern),
        })
    }

    /// Returns whether `event` is watched.
    pub fn covers(&self, event: &Event) -> bool {
        match (self, &event.audience) {
            (Self::Event(id), _) => *id == event.id,
            (Self::User(watched), Audience::User(user)) => **watched == **user,
            (Self::Channel(pattern), Audience::Channel(channel)) => pattern.matches(channel),
            (Self::Everyone, Audience::Everyone) => true,
            (Self::User(_) | Self::Channel(_) | Self::Everyone, _) => false,
        }
    }

    /// Returns the interest by which a node receives these events; `None` if it receives them in any case, or by no interest.
    pub(crate) fn interest(&self) -> Option<Interest> {
        match self {
            Self::User(user) => UserId::new(user).ok().map(Interest::User),
            Self::Channel(pattern) if pattern.is_literal() => {
                Channel::new(pattern.as_str()).ok().map(Interest::Channel)
            }
            Self::Channel(_) => Some(Interest::AllChannels),
            Self::Everyone | Self::Event(_) => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use fanfare_core::RawJson;

    use super::*;

    fn event(audience: Audience) -> Event {
        let data = RawJson::parse(&Bytes::from_static(b"1")).unwrap();
        Event::new(audience, None, data, SystemTime::now())
    }

    #[test]
    fn a_subject_covers_the_events_of_its_name() {
        let to = |name: &str| event(Audience::of_channel(name).unwrap());
        let everyone = event(Audience::Everyone);
        for (name, covered, not) in [
            ("user:alice", to("user_noti:alice"), to("user:bob")),
            ("chat.*", to("chat.a"), to("chat.a.b")),
            ("chat.a", to("chat.a"), to("chat.b")),
            ("**", to("chat.a"), to("user:alice")),
            ("notifications", everyone.clone(), to("chat.a")),
        ] {
            let subject = Subject::channel(name).unwrap();
            assert!(subject.covers(&covered) && !subject.covers(&not), "{name}");
        }
        assert!(Subject::Event(everyone.id).covers(&everyone));
        assert!(!Subject::Event(everyone.id).covers(&to("a")));
        for bad in ["", "a..b", "a*", &"a".repeat(10_000)] {
            assert!(Subject::channel(bad).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn a_subject_needs_the_interest_in_its_events() {
        let user = |id: &str| Interest::User(UserId::new(id).unwrap());
        let channel = Channel::new("chat.a").unwrap();
        for (subject, interest) in [
            (Subject::user("alice").unwrap(), Some(user("alice"))),
            (
                Subject::channel("chat.a").unwrap(),
                Some(Interest::Channel(channel)),
            ),
            (Subject::channel("chat.*").unwrap(), Some(Interest::AllChannels)),
            (Subject::Everyone, None),
            (Subject::Event(Uuid::nil()), None),
        ] {
            assert_eq!(subject.interest(), interest, "{subject:?}");
        }
    }
}
