//! Refused configurations, and the texts of their errors.

use super::super::{Sources, load};
use super::fixture::large;
use super::{load_text, load_with, pairs};

pub(super) fn refused(toml: &str, env: &[(&str, &str)], expected: &[&str]) {
    let registry = large();
    match load_text(toml, env, registry) {
        Ok(_) => panic!("accepted {toml:?} with {env:?}, expected {expected:#?}"),
        Err(found) => {
            let found: Vec<&str> = found.lines().collect();
            let expected: Vec<String> = expected
                .iter()
                .map(|line| line.replacen("L:", "DIR/fanfare.toml:", 1))
                .collect();
            assert_eq!(found, expected, "{toml:?} with {env:?}");
        }
    }
}

#[test]
fn names() {
    refused(
        "data_dri = \"x\"",
        &[],
        &["L:1: data_dri: unknown key; did you mean `data_dir`?"],
    );
    refused(
        "[notfy]\n",
        &[],
        &["L:1: notfy: unknown table; did you mean `notify`?"],
    );
    refused(
        "\n[notify]\nmax_conections = 3",
        &[],
        &["L:3: notify.max_conections: unknown key; did you mean `max_connections`?"],
    );
    refused(
        "jwt_secret = \"x\"",
        &[],
        &["L:1: jwt_secret: unknown key; did you mean `auth.jwt_secret`?"],
    );
    refused(
        "[topics]\nauth_timeout = \"1s\"",
        &[],
        &["L:1: topics: unknown table"],
    );
    refused("\"a\\nb\" = 1", &[], &["L:1: a\\nb: unknown key"]);
    refused(
        "[feed]\ninterval = \"1s\"",
        &[],
        &["L:2: feed.interval: unknown key; did you mean `chat.interval`?"],
    );
    refused(
        "[[listener]]\nbnd = \"0.0.0.0:1\"\ndialects = []",
        &[],
        &[
            "L:1: listener[0].bind: not set, expected an address with a port such as \"0.0.0.0:8081\", \"localhost:8081\" or \":8081\"",
            "L:2: listener[0].bnd: unknown key; did you mean `bind`?",
        ],
    );
}

#[test]
fn types() {
    let check = |toml: &str, expected: &str| refused(toml, &[], &[expected]);
    check(
        "auth = \"secret\"",
        "L:1: auth: found a text (not shown), expected a table, `[auth]`",
    );
    check(
        "[listener]\nbind = \"0.0.0.0:1\"",
        "L:1: listener: found a table, expected tables, `[[listener]]`",
    );
    check(
        "listener = [1]",
        "L:1: listener[0]: found a number, expected a table",
    );
    check(
        "data_dir = \"\"",
        "L:1: data_dir: found \"\", expected a path that is not empty",
    );
    check(
        "[notify]\nmax_connections = \"many\"",
        "L:2: notify.max_connections: found \"many\", expected a whole number from 1 to 100000000",
    );
    check(
        "[notify]\nmax_connections = -1",
        "L:2: notify.max_connections: found -1, expected a whole number from 1 to 100000000",
    );
    check(
        "[notify]\nmax_connections = 1.5",
        "L:2: notify.max_connections: found 1.5, expected a whole number from 1 to 100000000",
    );
    check(
        "[server]\nshards = 99999999999999999999",
        "L:2: server.shards: found 99999999999999999999, expected a whole number from 0 to 1024",
    );
    check(
        "[notify]\ncompression = \"yes\"",
        "L:2: notify.compression: found \"yes\", expected true or false",
    );
}

#[test]
fn forms() {
    let check = |toml: &str, expected: &str| refused(toml, &[], &[expected]);
    check(
        "[notify]\nping_interval = 30",
        "L:2: notify.ping_interval: found 30, expected a duration such as \"30s\"",
    );
    check(
        "[notify]\nping_interval = \"30 parsecs\"",
        "L:2: notify.ping_interval: found \"30 parsecs\", expected a duration such as \"30s\"",
    );
    check(
        "[notify]\nping_interval = \"0s\"",
        "L:2: notify.ping_interval: found \"0s\", expected a duration from 1ms to ten years",
    );
    check(
        "[auth]\nleeway = \"2h\"",
        "L:2: auth.leeway: found \"2h\", expected a duration of at most 1h",
    );
    check(
        "[shutdown]\ntimeout = \"11years\"",
        "L:2: shutdown.timeout: found \"11years\", expected a duration of at most ten years",
    );
    check(
        "[log]\nlevel = \"inof\"",
        "L:2: log.level: found \"inof\", expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \
         \"trace\"; did you mean \"info\"?",
    );
    check(
        "[resp]\nbind = \"localhost\"",
        "L:2: resp.bind: found \"localhost\", expected an address with a port such as \"0.0.0.0:8081\", \"localhost:8081\" \
         or \":8081\", or \"\" to switch it off",
    );
    check(
        "[limits]\ntrusted_proxies = [\n \"10.0.0.0/8\",\n \"10.0.0.0/33\"]",
        "L:4: limits.trusted_proxies: found \"10.0.0.0/33\", expected a network such as \"10.0.0.0/8\"",
    );
    check(
        "[auth]\nallowed_origins = \"*\"",
        "L:2: auth.allowed_origins: found \"*\", expected a list, each item a text",
    );
    check(
        "[chat]\nburst = 10",
        "L:2: chat.burst: found 10, expected a whole number from 1 to 9",
    );
    check(
        "[chat]\nshown = [\"news.*\",\n\"new*\"]",
        "L:3: chat.shown: found \"new*\", expected a pattern of channels such as \"news.*\" (`*` must be a whole segment of a pattern, as in `chat.*`)",
    );
    check(
        "[chat]\naccess = 2024-01-01",
        "L:2: chat.access: found 2024-01-01, expected one of \"authenticated\", \"nobody\"",
    );
}

#[test]
fn all_at_once_and_in_the_order_of_the_file() {
    refused(
        "[resp]\nbind = 5\n[notify]\nsend_queue = 0\nping_timeout = \"5s\"\n[[listener]]\nbind = \"x\"\n",
        &[("FANFARE_SERVER_SHARDS", "all")],
        &[
            "L:2: resp.bind: found 5, expected an address with a port such as \"0.0.0.0:8081\", \"localhost:8081\" or \":8081\", \
             or \"\" to switch it off",
            "L:4: notify.send_queue: found 0, expected a whole number from 1 to 1000000",
            "L:5: notify.ping_timeout: found \"5s\", expected more than notify.ping_interval, which is \"30s\" \
             (default)",
            "L:6: listener[0].dialects: not set, expected a list, each item a text",
            "L:7: listener[0].bind: found \"x\", expected an address with a port such as \"0.0.0.0:8081\", \"localhost:8081\" or \":8081\"",
            "environment FANFARE_SERVER_SHARDS: server.shards: found \"all\", expected a whole number from 0 to \
             1024",
        ],
    );
}

#[test]
fn syntax() {
    let check = |toml: &str, line: &str| {
        let found = load_text(toml, &[], large()).unwrap_err();
        assert!(
            found.starts_with(&format!("DIR/fanfare.toml:{line}: not TOML: ")),
            "{found}"
        );
    };
    check("a = ", "1");
    check("[notify]\nmax_connections = 1\nmax_connections = 2", "3");
    check("\n\n[notify\n", "3");
    let found = load_text(
        "[auth]\njwt_secret = \"hunter2\njwks_url = hunter2\n",
        &[],
        large(),
    )
    .unwrap_err();
    assert!(found.contains("fanfare.toml:2: not TOML"), "{found}");
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn variables() {
    refused(
        "",
        &[
            ("FANFARE_NOTIFY_MAX_CONECTIONS", "5"),
            ("FANFARE_JWT_SECRET", "hunter2"),
            ("FANFARE_XYZZY", "1"),
        ],
        &[
            "environment FANFARE_NOTIFY_MAX_CONECTIONS: unknown variable; did you mean \
             FANFARE_NOTIFY_MAX_CONNECTIONS?",
            "environment FANFARE_JWT_SECRET: unknown variable; did you mean FANFARE_AUTH_JWT_SECRET?",
            "environment FANFARE_XYZZY: unknown variable",
        ],
    );
    refused(
        "",
        &[("FANFARE_LISTENER", "0.0.0.0:1")],
        &[
            "environment FANFARE_LISTENER: listener: found a text (not shown), expected tables, `[[listener]]`",
        ],
    );
    refused(
        "",
        &[("BEAT", "soon")],
        &["environment BEAT: chat.ping_interval: found \"soon\", expected a duration such as \"30s\""],
    );
    let found = load_text("", &[("FANFARE_LOG", "info,a=wrong")], large()).unwrap_err();
    assert!(
        found.starts_with("environment FANFARE_LOG: found \"info,a=wrong\", expected a filter"),
        "{found}"
    );
}

#[test]
fn profiles_and_files() {
    let profile = |name: &str, toml: &str| {
        let sources = Sources {
            profile: Some(name.to_owned()),
            ..Sources::default()
        };
        load_with(toml, sources, large()).unwrap_err()
    };
    assert_eq!(
        profile("prodution", ""),
        "profile prodution: unknown profile, expected one of default, production; did you \
         mean `production`?"
    );
    assert_eq!(
        profile("production", ""),
        "default: auth.jwt_secret: not set, expected a secret of at least 32 bytes (or auth.jwt_secret_file, \
         auth.jwks_url, auth.public_key_file): the production profile makes none\ndefault: auth.allowed_origins: not set, \
         expected the origins of your pages, such as [\"https://app.example.com\"] (or [\"*\"] for every page there is): the \
         production profile assumes none"
    );
    assert_eq!(
        profile(
            "production",
            "auth.jwt_secret_file = \"DIR/short\"\nauth.allowed_origins = []"
        ),
        "DIR/fanfare.toml:1: auth.jwt_secret_file: found a secret of 7 bytes, expected at least 32"
    );
    let missing = Sources {
        file: Some("/nonexistent/fanfare.toml".into()),
        ..Sources::default()
    };
    assert_eq!(
        load(&missing, large()).unwrap_err().to_string(),
        "/nonexistent/fanfare.toml: cannot be read: No such file or directory (os error 2)"
    );
    let missing = Sources {
        env: pairs(&[("FANFARE_CONFIG", "/nonexistent")]),
        ..Sources::default()
    };
    assert!(load(&missing, large()).is_err());
}

#[test]
fn flags() {
    let flags = |flags: &[(&str, &str)]| {
        let sources = Sources {
            overrides: pairs(flags),
            ..Sources::default()
        };
        load_with("", sources, large()).unwrap_err()
    };
    assert_eq!(
        flags(&[("resp.bnd", "x"), ("resp.max_connections", "x")]),
        "--set resp.bnd: unknown key; did you mean `resp.bind`?\n\
         --set resp.max_connections: found \"x\", expected a whole number from 1 to \
         1000000"
    );
}

#[test]
fn errors_keep_secrets() {
    const SECRET: &str = "hunter2";
    let places = [
        format!("[auth]\njwt_secret = [\"{SECRET}\"]"),
        format!("[auth]\njwt_secret = {{ a = \"{SECRET}\" }}"),
        format!("api.keys = \"{SECRET}\""),
        format!("api.keys = [[\"{SECRET}\"]]"),
        format!("resp.password = {{ x = \"{SECRET}\" }}"),
        format!("resp = \"{SECRET}\""),
        format!("broker.url = \"{SECRET}\""),
        format!("broker.url = \"redis://:{SECRET}@host:port\""),
        format!("broker.kind = \"redis\"\nbroker.url = \"http://:{SECRET}@host\""),
        format!("storage.url = \"{SECRET}\""),
        format!("storage.url = \"postgres://u:{SECRET}@host:port/d\""),
        format!("auth.jwt_secret = \"{SECRET}\"\nnonsense = 1"),
        format!("auth.nonsense = \"{SECRET}\""),
        format!("auth.jwt_secret = \"{SECRET}\n"),
        format!("auth.jwt_secret = \"{SECRET}\" \"{SECRET}\""),
    ];
    for toml in places {
        let found = load_text(&toml, &[], large()).unwrap_err();
        assert!(!found.contains(SECRET), "{toml:?} gave {found}");
    }
    let found = load_text(
        "",
        &[("FANFARE_NONSENSE", SECRET), ("REDIS_URL", SECRET)],
        large(),
    )
    .unwrap_err();
    assert!(!found.contains(SECRET), "{found}");
}
