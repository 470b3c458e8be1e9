//! Tests of the policy: tables of user, channel, action and verdict.

use std::time::SystemTime;

use serde_json::json;

use super::*;

mod access;
mod history;
mod places;

/// Returns the user of this name, with its claims.
fn who(name: &str) -> Option<Identity> {
    let mut who = Identity::new(UserId::new(name).expect("a name"), SystemTime::UNIX_EPOCH);
    let patterns = |texts: &[&str]| {
        let patterns = texts.iter().map(|text| Pattern::new(text).expect("a pattern"));
        Some(patterns.collect())
    };
    match name {
        "anonymous" => return None,
        "staff" => who.roles = ["x".into(), "staff".into()].into(),
        "admin" => who.roles = [crate::ADMIN_ROLE.into()].into(),
        "pro" => who.claims = [("plan".into(), json!("pro"))].into(),
        "free" => who.claims = [("plan".into(), json!("free")), ("pro".into(), json!("plan"))].into(),
        "seven" => who.claims = [("plan".into(), json!(7))].into(),
        "guest" => who.rooms = patterns(&["project:1", "task:**"]),
        "shut out" => who.rooms = patterns(&[]),
        _ => {}
    }
    Some(who)
}

fn channel(name: &str) -> Channel {
    Channel::new(name).expect("a channel")
}

/// Parses a rule from `pattern | subscribe = … | publish = … | join = …`.
fn rule(text: &str) -> Rule {
    let mut parts = text.split(" | ");
    let mut rule = Rule {
        pattern: RulePattern::new(parts.next().unwrap_or_default()).expect("a pattern"),
        subscribe: None,
        publish: None,
        join: None,
        history: None,
    };
    for part in parts {
        let (clause, grant) = part.split_once(" = ").expect("a clause");
        let grant = Some(grant.parse().expect("a grant"));
        match clause {
            "subscribe" => rule.subscribe = grant,
            "publish" => rule.publish = grant,
            "join" => rule.join = grant,
            other => panic!("{other}"),
        }
    }
    rule
}

fn policy(rules: &[&str]) -> Policy {
    Policy::new(options(rules))
}

fn options(rules: &[&str]) -> PolicyOptions {
    PolicyOptions {
        rules: rules.iter().map(|text| rule(text)).collect(),
        names: KnownNames {
            rooms: vec!["project:", "channel:", "task:"],
            feed: Some("messages"),
        },
        ..PolicyOptions::default()
    }
}

/// Checks rows of a user and the verdicts of subscribe and publish (`+` allowed, `-` denied, `?` authorizer).
fn check(policy: &Policy, name: &str, rows: &[(&str, &str)]) {
    for (user, expected) in rows {
        let found = [Action::Subscribe, Action::Publish].map(|action| {
            match policy.explain(who(user).as_ref(), action, &channel(name)).verdict {
                Verdict::Allowed => '+',
                Verdict::Denied => '-',
                Verdict::Ask => '?',
            }
        });
        assert_eq!(found.iter().collect::<String>(), *expected, "{user} on {name}");
    }
}

#[test]
fn a_grant_admits_its_users() {
    let table = [
        ("anyone", "anonymous alice staff admin pro free seven 7", ""),
        ("authenticated", "alice staff admin pro free seven 7", "anonymous"),
        ("owner", "7", "anonymous alice staff admin pro free seven"),
        ("role:staff", "staff", "anonymous alice admin pro free seven 7"),
        ("role:admin", "admin", "anonymous alice staff pro free seven 7"),
        (
            "claim:plan=pro",
            "pro",
            "anonymous alice staff admin free seven 7",
        ),
        ("claim:plan=7", "seven", "anonymous alice staff admin pro free 7"),
        ("service", "", "anonymous alice staff admin pro free seven 7"),
        ("nobody", "", "anonymous alice staff admin pro free seven 7"),
    ];
    for (grant, let_in, kept_out) in table {
        let subscribe = policy(&[&format!("a.{{user}} | subscribe = {grant} | publish = nobody")]);
        let publish = policy(&[&format!("a.{{user}} | subscribe = nobody | publish = {grant}")]);
        for user in let_in.split_whitespace() {
            check(&subscribe, "a.7", &[(user, "+-")]);
            check(&publish, "a.7", &[(user, "-+")]);
        }
        for user in kept_out.split_whitespace() {
            check(&subscribe, "a.7", &[(user, "--")]);
            check(&publish, "a.7", &[(user, "--")]);
        }
    }
}

#[test]
fn an_owner_has_the_id_in_the_channels_name() {
    let reports = policy(&["reports.{user}.** | subscribe = owner | publish = service"]);
    check(
        &reports,
        "reports.7.a",
        &[("7", "+-"), ("8", "--"), ("anonymous", "--")],
    );
    check(&reports, "reports.7.a:b.c", &[("7", "+-")]);
    check(&reports, "reports.7", &[("8", "++")]); // not matched: `**` is one segment or more
    check(&reports, "reports:7.a", &[("8", "++")]);

    // An id of two segments owns nothing.
    let inbox = policy(&[
        "inbox.{user} | subscribe = owner",
        "inbox.** | subscribe = nobody",
    ]);
    check(&inbox, "inbox.a.b", &[("a.b", "-+"), ("a", "-+")]);
    let many = policy(&["inbox.**.{user} | subscribe = owner | publish = nobody"]);
    check(&many, "inbox.x.y.7", &[("7", "+-"), ("y", "--"), ("y.7", "--")]);
    // A pattern without `{user}` has no owner.
    check(
        &policy(&["a | subscribe = owner"]),
        "a",
        &[("a", "-+"), ("7", "-+")],
    );
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = policy(&[
        "news.secret | subscribe = role:staff",
        "news.* | subscribe = anyone | publish = role:staff",
        "news.** | subscribe = nobody | publish = nobody",
        "*.secret | subscribe = nobody | publish = nobody",
        "** | publish = authenticated",
    ]);
    // The first rule does not decide publish, and later rules do not apply.
    check(
        &policy,
        "news.secret",
        &[("staff", "++"), ("alice", "-+"), ("anonymous", "-+")],
    );
    check(
        &policy,
        "news.today",
        &[("staff", "++"), ("alice", "+-"), ("anonymous", "+-")],
    );
    check(&policy, "news.today.late", &[("staff", "--")]);
    check(&policy, "old.secret", &[("staff", "--")]);
    check(&policy, "news", &[("alice", "++"), ("anonymous", "+-")]);
    check(
        &policy,
        "messages.user.1",
        &[("alice", "++"), ("anonymous", "--")],
    );
}

#[test]
fn rules_decide_about_rooms() {
    let rooms = policy(&[
        "project:1 | join = role:staff",
        "project:2 | subscribe = role:staff",
        "project:3 | join = role:staff | subscribe = claim:plan=pro",
        "project:4 | publish = role:staff",
        "project:5 | join = anyone | publish = service",
        "project:{user} | join = owner",
        "**.room | join = nobody",
    ]);
    for name in ["project:1", "project:2"] {
        check(
            &rooms,
            name,
            &[
                ("staff", "++"),
                ("alice", "--"),
                ("guest", "--"),
                ("anonymous", "--"),
            ],
        );
    }
    check(&rooms, "project:3", &[("staff", "--"), ("pro", "--")]);
    check(
        &rooms,
        "project:4",
        &[
            ("staff", "++"),
            ("alice", "+-"),
            ("guest", "--"),
            ("anonymous", "--"),
        ],
    );
    check(
        &rooms,
        "project:5",
        &[("alice", "+-"), ("guest", "+-"), ("anonymous", "--")],
    );
    check(&rooms, "project:alice", &[("alice", "++"), ("staff", "--")]);
    // `join` has no effect on other channels.
    check(&rooms, "a.room", &[("alice", "++"), ("anonymous", "++")]);
}

#[test]
fn both_clauses_of_a_room_must_allow() {
    let both = policy(&["task:* | join = role:staff | subscribe = authenticated"]);
    check(&both, "task:1", &[("staff", "++"), ("alice", "--")]);
    let open = policy(&["task:* | join = anyone | subscribe = anyone | publish = anyone"]);
    check(&open, "task:1", &[("alice", "++"), ("anonymous", "--")]);
}

#[test]
fn defaults_decide_about_rooms() {
    let rows: [(&str, &str, &str, &str); 5] = [
        ("anonymous", "--", "--", "--"),
        ("alice", "++", "--", "??"),
        ("admin", "++", "--", "??"),
        ("guest", "++", "++", "??"),
        ("shut out", "--", "--", "??"),
    ];
    for name in ["project:1", "task:a.b:c"] {
        for (user, authenticated, nobody, asked) in rows {
            check(&policy(&[]), name, &[(user, authenticated)]);
            let closed = PolicyOptions {
                rooms: RoomAccess::Nobody,
                ..options(&[])
            };
            check(&Policy::new(closed), name, &[(user, nobody)]);
            let asking = PolicyOptions {
                authorizer: true,
                ..options(&[])
            };
            check(&Policy::new(asking), name, &[(user, asked)]);
        }
    }
    check(&policy(&[]), "project:2", &[("guest", "--"), ("alice", "++")]);
    check(&policy(&[]), "a.b", &[("guest", "++"), ("shut out", "++")]);
}

#[test]
fn the_authorizer_is_asked_if_no_rule_decides() {
    let policy = Policy::new(PolicyOptions {
        authorizer: true,
        ..options(&[
            "a | subscribe = anyone",
            "project:1 | join = role:staff",
            "task:1 | publish = nobody",
        ])
    });
    check(&policy, "a", &[("alice", "+?"), ("anonymous", "+?")]);
    check(&policy, "b", &[("alice", "??"), ("anonymous", "??")]);
    check(&policy, "messages", &[("alice", "??"), ("anonymous", "??")]);
    check(
        &policy,
        "project:1",
        &[("staff", "++"), ("alice", "--"), ("anonymous", "--")],
    );
    check(
        &policy,
        "task:1",
        &[("alice", "?-"), ("guest", "?-"), ("anonymous", "--")],
    );
}

#[test]
fn anonymous_connections_may_use_public_channels() {
    let rows = [
        ("a", true),
        ("notifications", true),
        ("messagesx", true),
        ("my.messages", true),
        ("messages", false),
        ("messages.user.1", false),
        ("messages:1", false),
        ("channel:1", false),
        ("channel", true),
    ];
    for (name, public) in rows {
        let expected = if public { "++" } else { "--" };
        check(&policy(&[]), name, &[("anonymous", expected), ("alice", "++")]);
    }
    let listed = |patterns: &[&str]| {
        let patterns = patterns.iter().map(|text| Pattern::new(text).expect("a pattern"));
        Policy::new(PolicyOptions {
            public: Some(patterns.collect()),
            ..options(&[])
        })
    };
    let some = listed(&["news.*", "messages.public", "*.open"]);
    for (name, expected) in [
        ("news.a", "++"),
        ("news", "--"),
        ("news.a.b", "--"),
        ("messages.public", "++"),
        ("x.open", "++"),
        ("a", "--"),
    ] {
        check(&some, name, &[("anonymous", expected), ("alice", "++")]);
    }
    check(&listed(&[]), "a", &[("anonymous", "--"), ("alice", "++")]);
    let all = listed(&["**"]);
    check(&all, "messages", &[("anonymous", "++")]);
    check(&all, "project:1", &[("anonymous", "--")]);
}

#[test]
fn readers_are_those_of_rules_and_defaults() {
    let ruled = policy(&[
        "open.** | subscribe = anyone",
        "known.** | subscribe = authenticated",
        "staff.** | subscribe = role:staff",
        "closed | subscribe = nobody",
        "silent | publish = nobody",
        "project:1 | join = anyone",
        "project:2 | join = authenticated | subscribe = role:staff",
        "project:3 | publish = anyone",
    ]);
    let asking = Policy::new(PolicyOptions {
        authorizer: true,
        ..options(&["open.** | subscribe = anyone"])
    });
    let cases = [
        (&ruled, "open.a", Readers::Everyone),
        (&ruled, "known.a", Readers::Identified),
        (&ruled, "staff.a", Readers::Judged),
        (&ruled, "closed", Readers::Judged),
        (&ruled, "silent", Readers::Everyone),
        (&ruled, "elsewhere", Readers::Everyone),
        (&ruled, "messages.a", Readers::Identified),
        (&ruled, "project:1", Readers::Identified),
        (&ruled, "project:2", Readers::Judged),
        (&ruled, "project:3", Readers::Judged),
        (&ruled, "task:1", Readers::Judged),
        (&asking, "open.a", Readers::Everyone),
        (&asking, "a", Readers::Judged),
        (&ruled, "messages.channel.a", Readers::Identified),
        (&ruled, "messages.channel.project:1", Readers::Identified),
        (&ruled, "messages.channel.project:2", Readers::Judged),
        (&ruled, "messages.channel.user:alice", Readers::Judged),
    ];
    for (policy, name, expected) in cases {
        assert_eq!(policy.readers(&channel(name)), expected, "{name}");
    }
}

#[test]
fn readers_and_verdicts_agree() {
    let rules = [
        "a.** | subscribe = anyone",
        "b.{user} | subscribe = owner",
        "**.c | subscribe = authenticated",
        "project:1 | subscribe = authenticated",
    ];
    let users = ["anonymous", "alice", "staff", "admin", "pro", "guest", "shut out"];
    for rules in [&rules[..], &[]] {
        let policy = policy(rules);
        for name in ["a.c", "b.alice", "x.c", "project:1", "project:2", "messages", "x"] {
            let name = channel(name);
            let readers = policy.readers(&name);
            for user in users {
                let who = who(user);
                let verdict = policy.explain(who.as_ref(), Action::Subscribe, &name).verdict;
                match readers {
                    Readers::Everyone => assert_eq!(verdict, Verdict::Allowed, "{user} {name}"),
                    Readers::Identified => {
                        assert_eq!(verdict == Verdict::Allowed, who.is_some(), "{user} {name}");
                    }
                    Readers::Judged => {}
                }
            }
        }
    }
}

#[test]
fn explanations_name_the_rule_or_the_default() {
    let policy = policy(&[
        "news | publish = nobody",
        "project:* | join = role:staff | subscribe = anyone",
    ]);
    let cases = [
        (
            "alice",
            "news",
            "identified: the default for identified users",
            "rule: rule 1, \"news\": publish = \"nobody\"",
        ),
        (
            "alice",
            "project:1",
            "rule: rule 2, \"project:*\": join = \"role:staff\", subscribe = \"anyone\"",
            "rule: rule 2, \"project:*\": join = \"role:staff\", subscribe = \"anyone\"",
        ),
        (
            "anonymous",
            "messages",
            "not_public: the channel is not public",
            "not_public: the channel is not public",
        ),
        (
            "guest",
            "task:1",
            "rooms_claim: the claim \"rooms\" of the token",
            "rooms_claim: the claim \"rooms\" of the token",
        ),
    ];
    for (user, name, subscribe, publish) in cases {
        let who = who(user);
        for (action, expected) in [(Action::Subscribe, subscribe), (Action::Publish, publish)] {
            let reason = policy.explain(who.as_ref(), action, &channel(name)).reason;
            assert_eq!(format!("{}: {reason}", reason.code()), expected);
        }
    }
}

#[test]
fn a_personal_channel_is_only_for_its_user() {
    let alice = UserId::new("alice").expect("a name");
    let cases = [
        ("alice", Action::Subscribe, Verdict::Allowed, Reason::OwnPersonal),
        (
            "admin",
            Action::Subscribe,
            Verdict::Denied,
            Reason::OthersPersonal,
        ),
        (
            "anonymous",
            Action::Subscribe,
            Verdict::Denied,
            Reason::OthersPersonal,
        ),
        ("alice", Action::Publish, Verdict::Denied, Reason::PersonalPublish),
        ("bob", Action::Publish, Verdict::Denied, Reason::PersonalPublish),
    ];
    for (user, action, verdict, reason) in cases {
        let found = explain_personal(who(user).as_ref(), action, &alice);
        assert_eq!(found, Explanation { verdict, reason }, "{user}");
    }
}

#[test]
fn claims_of_rules_are_wanted() {
    let policy = policy(&[
        "a | subscribe = claim:team=red | publish = claim:plan=pro",
        "b | subscribe = claim:team=blue | publish = role:x",
        "task:1 | join = claim:level=1",
    ]);
    let wanted: Vec<_> = policy.wanted_claims();
    assert_eq!(
        wanted,
        ["level".into(), "plan".into(), "team".into()] as [Box<str>; 3]
    );
    assert!(Policy::default().wanted_claims().is_empty());
}

#[test]
fn private_events_are_for_named_users_and_admins() {
    let users = ["alice", "bob"].map(|name| UserId::new(name).expect("a name"));
    for (user, expected) in [
        ("alice", true),
        ("bob", true),
        ("admin", true),
        ("staff", false),
        ("anonymous", false),
    ] {
        assert_eq!(is_named(&users, who(user).as_ref()), expected, "{user}");
    }
}
