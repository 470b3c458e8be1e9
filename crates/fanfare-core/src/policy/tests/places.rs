//! Tests of channels with the messages of rooms and personal channels, and of events for the readers of another channel.

use super::*;
use crate::Event;

#[test]
fn a_channel_with_a_places_messages_is_open_to_users_of_both() {
    let ruled = policy(&[
        "project:9 | join = role:staff | publish = role:staff",
        "messages.channel.task:1 | subscribe = claim:plan=pro | publish = anyone",
        "messages.** | subscribe = anyone | publish = anyone",
    ]);
    for name in ["project:9", "messages.channel.project:9"] {
        check(
            &ruled,
            name,
            &[
                ("alice", "--"),
                ("staff", "++"),
                ("admin", "--"),
                ("anonymous", "--"),
            ],
        );
    }
    let name = "messages.channel.task:1";
    check(
        &ruled,
        name,
        &[
            ("alice", "-+"),
            ("pro", "++"),
            ("shut out", "--"),
            ("anonymous", "--"),
        ],
    );
    let name = "messages.channel.task:2";
    check(
        &ruled,
        name,
        &[("alice", "++"), ("shut out", "--"), ("anonymous", "--")],
    );
    check(&ruled, "messages.channel.general", &[("anonymous", "++")]);
    for name in ["user:alice", "notifications.user.alice", "user_noti:alice"] {
        let name = format!("messages.channel.{name}");
        check(
            &ruled,
            &name,
            &[
                ("alice", "+-"),
                ("bob", "--"),
                ("admin", "--"),
                ("anonymous", "--"),
            ],
        );
    }
    let reason = |name: &str| {
        ruled
            .explain(who("alice").as_ref(), Action::Subscribe, &channel(name))
            .reason
            .to_string()
    };
    assert!(reason("messages.channel.project:9").starts_with("rule 1"));
    assert!(reason("messages.channel.task:1").starts_with("rule 2"));
    assert!(reason("messages.channel.task:2").starts_with("rule 3"));
}

#[test]
fn the_authorizer_is_asked_about_the_channel_and_its_room() {
    let asking = Policy::new(PolicyOptions {
        authorizer: true,
        ..options(&[
            "messages.channel.project:1 | subscribe = anyone",
            "project:2 | subscribe = anyone",
            "project:3 | subscribe = nobody",
        ])
    });
    let cases: [(&str, &str, &[&str]); 7] = [
        ("a", "?", &["a"]),
        ("messages.channel.a", "?", &["messages.channel.a"]),
        ("messages.channel.project:1", "?", &["project:1"]),
        ("messages.channel.project:2", "?", &["messages.channel.project:2"]),
        (
            "messages.channel.project:4",
            "?",
            &["messages.channel.project:4", "project:4"],
        ),
        ("messages.channel.project:3", "-", &["messages.channel.project:3"]),
        ("project:2", "+", &[]),
    ];
    for (name, verdict, expected) in cases {
        let (who, name) = (who("alice"), channel(name));
        let found = match asking.explain(who.as_ref(), Action::Subscribe, &name).verdict {
            Verdict::Allowed => "+",
            Verdict::Denied => "-",
            Verdict::Ask => "?",
        };
        assert_eq!(found, verdict, "{name}");
        let open = asking.open_questions(who.as_ref(), Action::Subscribe, &name);
        let open: Vec<&str> = open.iter().map(|question| &*question.channel).collect();
        assert_eq!(open, expected, "{name}");
    }
}

#[test]
fn private_events_are_for_users_admins_and_the_readers_of_a_channel() {
    let access = AccessControl::new(policy(&["project:9 | subscribe = role:staff"]), None);
    let data = crate::RawJson::parse(&b"1"[..].into()).expect("JSON");
    let audience = Audience::Channel(channel("messages"));
    let event = |users: Option<&[&str]>, readers_of: Option<&str>| Event {
        private_to: users.map(|users| {
            users
                .iter()
                .map(|user| UserId::new(user).expect("a name"))
                .collect()
        }),
        readers_of: readers_of.map(channel),
        ..Event::new(audience.clone(), None, data.clone(), SystemTime::UNIX_EPOCH)
    };
    let everyone = ["anonymous", "alice", "bob", "staff", "admin"];
    let cases: [(Event, &[&str]); 5] = [
        (event(None, None), &everyone),
        (event(None, Some("project:9")), &everyone),
        (event(Some(&["alice"]), None), &["alice", "admin"]),
        (
            event(Some(&["alice"]), Some("project:9")),
            &["alice", "staff", "admin"],
        ),
        (event(Some(&[]), Some("project:8")), &everyone[1..]),
    ];
    for (event, expected) in cases {
        let may = |user: &&&str| access.may_see(who(user).as_ref(), &event) == Permission::Allowed;
        let seen: Vec<&str> = everyone.iter().filter(may).copied().collect();
        assert_eq!(seen, expected);
    }
}
