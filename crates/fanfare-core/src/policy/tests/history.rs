//! Tests of rules with history.

use super::*;

#[test]
fn history_is_decided_separately_from_access() {
    let keep = |size| {
        let ttl = std::time::Duration::from_secs(60);
        Some(Retention { size, ttl })
    };
    let with_history = |text: &str, size| Rule {
        history: keep(size),
        ..rule(text)
    };
    let options = PolicyOptions {
        rules: vec![
            with_history("chat.**", 10),
            rule("chat.admin | subscribe = role:admin"),
            with_history("chat.admin", 5),
            with_history("news.{user} | subscribe = owner", 3),
        ],
        users: keep(7),
        ..PolicyOptions::default()
    };
    let access = AccessControl::new(Policy::new(options), None);
    let of = |name: &str| access.retention(&Audience::Channel(channel(name)));
    assert_eq!(
        ["chat.a", "chat.admin", "news.mia", "chat", "other"].map(of),
        [keep(10), keep(10), keep(3), None, None]
    );
    let user = Audience::User(UserId::new("mia").expect("a user"));
    assert_eq!(
        (access.retention(&user), access.retention(&Audience::Everyone)),
        (keep(7), None)
    );
    // A rule with only history does not decide access.
    let may = access.judge(None, Action::Subscribe, &channel("chat.admin"));
    assert_eq!(may, Permission::Denied);
    let explained = access.explain_history(&Audience::Channel(channel("chat.admin")));
    let rule = explained.and_then(|(_, rule)| rule).expect("a rule");
    assert_eq!((rule.number, rule.pattern.as_str()), (1, "chat.**"));
    access.replace_policy(Policy::default());
    assert!(!access.keeps_history());
}
