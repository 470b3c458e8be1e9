//! Other servers' variables for a dialect's listeners and its pings.

use std::time::Duration;

use super::super::{Sources, load, show};
use super::bad::refused;
use super::fixture::{large, large_with};
use super::good::{accepted, listeners};
use super::pairs;

/// environment → listeners of the default profile
#[test]
fn listeners_after_variables() {
    const NOTIFY: &str = "0.0.0.0:8081 notify+chat";
    const CHAT: &str = "0.0.0.0:8082 chat";
    const FEED: &str = "0.0.0.0:3000 feed";
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[("FEED_PORT", "3000")], &[NOTIFY, CHAT, FEED]),
        (&[("FEED_PORT", "4000")], &[NOTIFY, CHAT, "0.0.0.0:4000 feed"]),
        (
            &[("FEED_HOST", "127.0.0.1")],
            &[NOTIFY, CHAT, "127.0.0.1:3000 feed"],
        ),
        (
            &[("FEED_HOST", "localhost")],
            &[NOTIFY, CHAT, "localhost:3000 feed"],
        ),
        (&[("FEED_HOST", "::")], &[NOTIFY, CHAT, "[::]:3000 feed"]),
        (
            &[("FEED_HOST", "[::1]"), ("FEED_PORT", " 0 ")],
            &[NOTIFY, CHAT, "[::1]:0 feed"],
        ),
        (
            &[("FEED_OTHER_PORT", "4001"), ("FEED_PORT", "4000")],
            &[NOTIFY, CHAT, "0.0.0.0:4000 feed"],
        ),
        (
            &[("FEED_OTHER_PORT", "4001"), ("FEED_PORT", "")],
            &[NOTIFY, CHAT, "0.0.0.0:4001 feed"],
        ),
        (&[("FEED_PORT", "tcp://10.0.0.1:3000")], &[NOTIFY, CHAT, FEED]),
        (&[("FEED_ENABLED", "true")], &[NOTIFY, CHAT, FEED]),
        (&[("FEED_ENABLED", "FALSE")], &[NOTIFY, CHAT]),
        (&[("FEED_ENABLED", "0"), ("FEED_PORT", "1")], &[NOTIFY, CHAT]),
        // All of a dialect's listeners move; those that meet become one.
        (&[("CHAT_PORT", "9000")], &["0.0.0.0:9000 notify+chat", FEED]),
    ];
    for (env, expected) in cases {
        assert_eq!(listeners(&accepted("", env)), *expected, "{env:?}");
    }
}

#[test]
fn variables_apply_in_every_profile() {
    let check = |profile: &str, env: &[(&str, &str)], expected: &[&str]| {
        let mut env = pairs(env);
        env.extend(pairs(&[
            ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef"),
            ("FANFARE_AUTH_ALLOWED_ORIGINS", "https://a.example"),
        ]));
        let sources = Sources {
            profile: Some(profile.to_owned()),
            env,
            ..Sources::default()
        };
        let loaded = load(&sources, large()).unwrap();
        assert_eq!(listeners(&loaded), expected, "{profile}");
    };
    check("feed", &[("FEED_PORT", "4000")], &["0.0.0.0:4000 feed"]);
    check("chat", &[("CHAT_PORT", "4000")], &["0.0.0.0:4000 chat"]);
    check("notify", &[("FEED_PORT", "4000")], &["0.0.0.0:8081 notify"]);
    check(
        "production",
        &[("FEED_ENABLED", "false")],
        &["0.0.0.0:8081 notify+chat", "0.0.0.0:8082 chat"],
    );
}

#[test]
fn refused_variables() {
    let check = |env: &[(&str, &str)], expected: &str| refused("", env, &[expected]);
    check(
        &[("FEED_PORT", "65536")],
        "environment FEED_PORT: found \"65536\", expected a port from 0 to 65535",
    );
    check(
        &[("FEED_HOST", "feed.example")],
        "environment FEED_HOST: found \"feed.example\", expected an IP address such as \"0.0.0.0\", or \
         \"localhost\"",
    );
    check(
        &[("FEED_ENABLED", "maybe")],
        "environment FEED_ENABLED: found \"maybe\", expected true or false",
    );
    // It moves to the address of another dialect with the same path.
    check(
        &[("FEED_PORT", "8082")],
        "environment FEED_PORT: listener[1].dialects: found \"chat\" and \"feed\", which both claim /ws, expected each \
         on a `[[listener]]` of its own",
    );
    check(
        &[("FEED_PORT", "8082"), ("FEED_HOST", "127.0.0.1")],
        "environment FEED_PORT and FEED_HOST: listener[2].bind: found \"127.0.0.1:8082\", expected an address that \
         listener[1] (\"0.0.0.0:8082\", default) leaves free",
    );
    check(
        &[("FEED_ENABLED", "false"), ("FANFARE_PROFILE", "feed")],
        "environment FEED_ENABLED: listener: found none, expected at least one `[[listener]]`",
    );
}

/// If listeners are configured, the variables have no effect, and a warning names them.
#[test]
fn configured_listeners_stay() {
    let toml = "[[listener]]\nbind = \"127.0.0.1:3000\"\ndialects = [\"feed\"]\n[[listener]]\nbind = \"127.0.0.1:3001\"\n\
                dialects = [\"notify\"]\n";
    let check = |env: &[(&str, &str)], expected: &[&str]| {
        let loaded = accepted(toml, env);
        assert_eq!(
            listeners(&loaded),
            ["127.0.0.1:3000 feed", "127.0.0.1:3001 notify"]
        );
        let file = loaded.file.as_ref().unwrap().display().to_string();
        let warnings = loaded
            .warnings
            .iter()
            .map(|warning| warning.to_string().replace(&file, "FILE"));
        assert_eq!(warnings.collect::<Vec<_>>(), expected, "{env:?}");
    };
    check(
        &[("FEED_PORT", "4000")],
        &["environment FEED_PORT: listener: is not used, as the listeners are configured (FILE:1)"],
    );
    check(
        &[("FEED_ENABLED", "false")],
        &["environment FEED_ENABLED: listener: is not used, as the listeners are configured (FILE:1)"],
    );
    // A variable that changes nothing needs no warning, nor does one for a dialect that is not served.
    check(
        &[
            ("FEED_PORT", "3000"),
            ("FEED_HOST", "localhost"),
            ("FEED_ENABLED", "true"),
            ("CHAT_PORT", "1"),
        ],
        &[],
    );
}

#[test]
fn show_names_the_variables() {
    let env = [
        ("FEED_PORT", "4000"),
        ("FEED_HOST", "127.0.0.1"),
        ("FANFARE_PROFILE", "feed"),
    ];
    let shown = show(&accepted("", &env));
    let line = "bind = \"127.0.0.1:4000\" # environment FEED_PORT and FEED_HOST";
    assert!(shown.lines().any(|found| found == line), "{shown}");
    let shown = show(&accepted("", &[("FEED_BEAT", "60")]));
    let line = "ping_timeout = \"120s\" # twice the time between pings";
    assert!(shown.lines().any(|found| found == line), "{shown}");
}

/// A dialect with an inherited variable for only the interval gets a timeout to match.
#[test]
fn pings() {
    let check = |toml: &str, beat: &str, expected: (u64, u64)| {
        let loaded = accepted(toml, &[("FEED_BEAT", beat)]);
        let feed = &loaded.config.dialects["feed"];
        let [interval, timeout] = [expected.0, expected.1].map(Duration::from_secs);
        assert_eq!(
            (feed.ping_interval, feed.ping_timeout),
            (interval, timeout),
            "{toml} {beat}"
        );
    };
    check("", "15", (15, 60));
    check("", "60", (60, 120));
    check("", "2m", (120, 240));
    check("feed.ping_timeout = \"3m\"", "60", (60, 180));
    refused(
        "feed.ping_timeout = \"45s\"",
        &[("FEED_BEAT", "60")],
        &[
            "L:1: feed.ping_timeout: found \"45s\", expected more than feed.ping_interval, which is \"60s\" \
           (environment FEED_BEAT)",
        ],
    );
    refused(
        "",
        &[("BEAT", "60"), ("BEAT_MS", "60000")],
        &[
            "environment BEAT_MS: chat.ping_timeout: found \"60s\", expected more than chat.ping_interval, which is \
           \"60s\" (environment BEAT)",
        ],
    );
    refused(
        "",
        &[("BEAT_MS", "20000")],
        &[
            "environment BEAT_MS: chat.ping_timeout: found \"20s\", expected more than chat.ping_interval, which is \
           \"30s\" (default)",
        ],
    );
    refused(
        "",
        &[("BEAT", "60")],
        &[
            "environment BEAT: chat.ping_interval: found \"60s\", expected less than chat.ping_timeout, which is \
           \"60s\" (default)",
        ],
    );
}

/// Dialects that cannot be distinguished on one path are refused, even if a profile combines them.
#[test]
fn paths_that_clash() {
    let found = load(&Sources::default(), large_with("/ws", &[]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        found,
        "default: listener[0].dialects: found \"notify\" and \"chat\", which both claim /ws, expected each on a \
         `[[listener]]` of its own"
    );
    let loaded = load(&Sources::default(), large_with("/chat", &[])).unwrap();
    assert_eq!(listeners(&loaded)[0], "0.0.0.0:8081 notify+chat");
}
