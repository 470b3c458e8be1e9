//! Access rules and the authorizer.

use std::time::Duration;

use super::bad::refused;
use super::fixture::large;
use super::load_text;

#[test]
fn accepted() {
    let toml = "[[channel]]\npattern = \"reports.{user}.**\"\nsubscribe = \"owner\"\npublish = \"service\"\n\
                join = \"role:staff\"\n[[channel]]\npattern = \"**\"\nsubscribe = \"claim:plan=pro\"\n\
                publish = \"\"\n[authorizer]\nurl = \"https://me:hunter2@example.com/ask?key=1\"\n\
                timeout = \"500ms\"\ncache = \"0s\"\nmax_concurrent = 1\n";
    let loaded = load_text(toml, &[], large()).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let found: Vec<_> = loaded
        .config
        .channel
        .iter()
        .map(|rule| {
            let grants = [&rule.subscribe, &rule.publish, &rule.join];
            let texts = grants.map(|grant| grant.as_ref().map_or("-".to_owned(), ToString::to_string));
            (rule.pattern.as_str(), texts)
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "reports.{user}.**",
                ["owner", "service", "role:staff"].map(str::to_owned)
            ),
            ("**", ["claim:plan=pro", "-", "-"].map(str::to_owned))
        ]
    );
    let authorizer = &loaded.config.authorizer;
    assert_eq!(
        (authorizer.timeout, authorizer.cache, authorizer.max_concurrent),
        (Duration::from_millis(500), Duration::ZERO, 1)
    );
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));

    let variable = "[{ pattern = \"a\", subscribe = \"anyone\" }]";
    let loaded = load_text(toml, &[("FANFARE_CHANNEL", variable)], large()).unwrap();
    assert_eq!(loaded.config.channel.len(), 1);
}

#[test]
fn patterns() {
    let check = |pattern: &str, reason: &str| {
        refused(
            &format!("[[channel]]\nsubscribe = \"anyone\"\npattern = \"{pattern}\""),
            &[],
            &[&format!(
                "L:3: channel[0].pattern: found \"{pattern}\", expected a pattern such as \"reports.{{user}}.**\" ({reason})"
            )],
        );
    };
    check("a*", "a wildcard, * or **, must be a whole segment");
    check("a..b", "the name has an empty segment");
    check("", "the name is empty");
    check(
        "a.{usr}",
        "the only placeholder is {user}, and it must be a whole segment",
    );
    refused(
        "[[channel]]\nsubscribe = \"anyone\"",
        &[],
        &["L:1: channel[0].pattern: not set, expected a pattern such as \"reports.{user}.**\""],
    );
}

const WORDS: &str =
    "expected one of anyone, authenticated, owner, role:NAME, claim:NAME=VALUE, service, nobody";

#[test]
fn grants() {
    let check = |key: &str, grant: &str, reason: &str| {
        refused(
            &format!("[[channel]]\npattern = \"a.{{user}}\"\n{key} = \"{grant}\""),
            &[],
            &[&format!("L:3: channel[0].{key}: found \"{grant}\", {reason}")],
        );
    };
    let like = |grant: &str| format!("{WORDS}; did you mean \"{grant}\"?");
    check("subscribe", "rol:x", &like("role:x"));
    check("publish", "Anyone", &like("anyone"));
    check("join", "authentcated", &like("authenticated"));
    check("join", "clam:plan=pro", &like("claim:plan=pro"));
    check("join", "everybody", WORDS);
    check("join", "rol", WORDS);
    check("subscribe", "role:", "expected a role with its name, role:NAME");
    check(
        "subscribe",
        "role: x",
        "expected no spaces at the ends and beside : and =; did you mean \"role:x\"?",
    );
    check(
        "subscribe",
        "claim:plan",
        "expected a claim with its name and its value, claim:NAME=VALUE",
    );
    check(
        "subscribe",
        "owner:x",
        "expected the word alone: only role and claim take a name; did you mean \"owner\"?",
    );
}

#[test]
fn rules_without_effect_are_refused() {
    refused(
        "[[channel]]\npattern = \"a\"",
        &[],
        &["L:1: channel[0]: the rule names none of subscribe, publish, join, history"],
    );
    refused(
        "[[channel]]\npattern = \"a\"\nsubscribe = \"anyone\"\npublish = \"owner\"",
        &[],
        &[
            "L:4: channel[0].publish: found \"owner\" beside the pattern \"a\", but \"owner\" needs {user} in the pattern",
        ],
    );
    refused(
        "[[channel]]\npattern = \"a\"\nsubscrbe = \"anyone\"",
        &[],
        &["L:3: channel[0].subscrbe: unknown key; did you mean `subscribe`?"],
    );
}

#[test]
fn warnings() {
    let rules = |patterns: [&str; 2]| {
        patterns
            .map(|pattern| format!("[[channel]]\npattern = \"{pattern}\"\nsubscribe = \"anyone\"\n"))
            .concat()
    };
    let check = |patterns: [&str; 2], expected: Option<&str>| {
        let loaded = load_text(&rules(patterns), &[], large()).unwrap();
        let file = loaded.file.as_ref().unwrap().display().to_string();
        let found: Vec<String> = loaded
            .warnings
            .iter()
            .map(|warning| warning.to_string().replace(&file, "FILE"))
            .collect();
        assert_eq!(found, Vec::from_iter(expected), "{patterns:?}");
    };
    check(["a.b", "a.*"], None);
    check(
        ["a.**", "a.{user}.b"],
        Some(
            "FILE:5: channel[1].pattern: is never reached: channel[0] (\"a.**\", FILE:2) matches all that it matches",
        ),
    );
    check(
        ["user:*", "a"],
        Some(
            "FILE:2: channel[0].pattern: found \"user:*\", which names personal channels; no rule is asked about those",
        ),
    );
}

#[test]
fn ids_with_separators() {
    const OWNER: &str = "[[channel]]\npattern = \"reports.{user}.**\"\nsubscribe = \"owner\"\n";
    let check = |more: &str, missing: Option<&str>| {
        let toml = format!("{OWNER}{more}");
        let loaded = load_text(&toml, &[], large()).unwrap();
        let found: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        let expected = missing.map(|missing| {
            let file = loaded.file.as_ref().unwrap().display();
            format!(
                "{file}:2: channel[0].pattern: leaves out ids with a . or a : in them, \
                 and no later rule for \"reports.**\" names {missing}: the defaults hold there"
            )
        });
        assert_eq!(found, Vec::from_iter(expected), "{toml}");
    };
    let catching = |pattern: &str, clause: &str| {
        format!("[[channel]]\npattern = \"{pattern}\"\n{clause} = \"nobody\"\n")
    };
    check("", Some("subscribe"));
    check("publish = \"service\"", Some("subscribe, publish"));
    check(&catching("reports.*", "subscribe"), Some("subscribe"));
    check(&catching("reports:**", "subscribe"), Some("subscribe"));
    check(&catching("reports.**", "publish"), Some("subscribe"));
    check(&catching("reports.**", "subscribe"), None);
    check(&catching("**", "subscribe"), None);
    let publish = format!("publish = \"owner\"\n{}", catching("**", "subscribe"));
    check(&publish, Some("publish"));
    let asked = "[authorizer]\nurl = \"https://example.com\"\n";
    check(asked, None);
    let rooms = |clause: &str| format!("join = \"owner\"\n{}", catching("**", clause));
    check(&rooms("subscribe"), None);
    check(&rooms("join"), Some("subscribe"));
}

#[test]
fn authorizers() {
    refused(
        "[authorizer]\nurl = \"ftp://example.com\"\ntimeout = \"0s\"\nmax_concurrent = 0",
        &[],
        &[
            "L:2: authorizer.url: found the scheme \"ftp\", expected \"https\" or \"http\"",
            "L:3: authorizer.timeout: found \"0s\", expected a duration from 1ms to ten years",
            "L:4: authorizer.max_concurrent: found 0, expected a whole number from 1 to 10000",
        ],
    );
    refused(
        "authorizer.url = \"hunter2\"",
        &[],
        &[
            "L:1: authorizer.url: found a text (not shown), expected a URL with its scheme, such as \"https://example.com\"",
        ],
    );
}

#[test]
fn history() {
    let toml = "[[channel]]\npattern = \"chat.**\"\nhistory = { size = 100, ttl = \"5m\" }\n[history]\n\
                users = { size = 20, ttl = \"10m\" }\nmax_bytes = \"1MiB\"\nreplay_limit = 5\n\
                max_journals = 6\nmax_watched = 7\nmax_fetched = 8\n";
    let loaded = load_text(toml, &[("FANFARE_HISTORY_EVERYONE_SIZE", "7")], large()).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let (rule, history) = (&loaded.config.channel[0], &loaded.config.history);
    let kept = rule.history.as_ref().unwrap();
    assert_eq!((kept.size, kept.ttl), (100, Duration::from_secs(300)));
    assert_eq!((history.users.size, history.everyone.size), (20, 7));
    assert_eq!((history.max_bytes.0, history.replay_limit), (1 << 20, 5));
    let limits = (history.max_journals, history.max_watched, history.max_fetched);
    assert_eq!(limits, (6, 7, 8));
    let off = load_text("", &[], large()).unwrap().config.history;
    assert_eq!((off.users.retention(), off.everyone.retention()), (None, None));

    for (text, problem) in [
        (
            "[[channel]]\npattern = \"a\"\nhistory = { size = 1000000000, ttl = \"5m\" }",
            "L:3: channel[0].history.size: found 1000000000, expected a whole number from 1 to 100000",
        ),
        (
            "[[channel]]\npattern = \"a\"\nhistory = { size = 1, ttl = \"0s\" }",
            "L:3: channel[0].history.ttl: found \"0s\", expected a duration from 1s to 30d",
        ),
        (
            "[[channel]]\npattern = \"a\"\nhistory = { size = 1 }",
            "L:3: channel[0].history.ttl: not set, expected a duration such as \"30s\"",
        ),
        (
            "[history]\nmax_bytes = \"64MB\"",
            "L:2: history.max_bytes: found \"64MB\", expected a number of bytes with its unit such as \"64MiB\"",
        ),
        (
            "[history]\nmax_watched = 0",
            "L:2: history.max_watched: found 0, expected a whole number from 1 to 10000000",
        ),
        (
            "[history]\nusers = { size = 100001 }",
            "L:2: history.users.size: found 100001, expected a whole number from 0 to 100000",
        ),
    ] {
        refused(text, &[], &[problem]);
    }
}
