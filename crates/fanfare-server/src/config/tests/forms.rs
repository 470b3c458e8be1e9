//! Addresses and lists, the same in the file, the environment and on the command line.

use super::super::{BindAddress, Sources, load};
use super::fixture::large;
use super::good::{accepted, listeners};
use super::{load_text, pairs};

/// (the listeners' addresses, the door's) → (which listeners accept both families, the problems)
#[test]
fn ports_in_both_families() {
    let check = |binds: &[&str], door: &str, dual: &[bool], problems: &[&str]| {
        let listener = |bind: &&str| format!("[[listener]]\nbind = {bind:?}\ndialects = []\n");
        let toml: String = binds.iter().map(listener).collect();
        let loaded = accepted(&toml, &[("FANFARE_RESP_BIND", door)]);
        let config = &loaded.config;
        let found: Vec<bool> = config
            .listener
            .iter()
            .map(|listener| config.is_dual_stack(listener.bind))
            .collect();
        assert_eq!(found, dual, "{binds:?} {door:?}");
        let texts: Vec<&str> = loaded
            .warnings
            .iter()
            .map(|warning| warning.text.as_str())
            .collect();
        assert_eq!(texts, problems, "{binds:?} {door:?}");
    };
    check(&["[::]:1"], "off", &[true], &[]);
    check(&["[::]:1", "0.0.0.0:2"], "off", &[true, true], &[]);
    check(&["0.0.0.0:1", "[::]:1"], "off", &[true, false], &[]);
    check(&["[::]:1", "0.0.0.0:1"], "off", &[false, true], &[]);
    check(&[":1", "localhost:2"], "off", &[false, false], &[]);
    check(&["[::]:1"], "127.0.0.1:1", &[false], &[]);
    check(
        &["127.0.0.1:1", "[::]:1"],
        "off",
        &[true, false],
        &[
            "found \"[::]:1\" beside \"127.0.0.1:1\", which leaves the machine's other IPv4 addresses without a listener \
           on this port",
        ],
    );
    // The door's default address does not take IPv4 from a listener.
    check(
        &["[::]:6379"],
        "",
        &[true],
        &[
            "found \"127.0.0.1:6379\", expected an address that listener[0] (\"[::]:6379\") leaves free; the door stays closed",
        ],
    );
}

/// The address forms are the same in the file, the environment and on the command line.
#[test]
fn binds_by_name() {
    let loaded = accepted(
        "[[listener]]\nbind = \"localhost:8080\"\ndialects = []\n[[listener]]\nbind = \":8081\"\ndialects = []\n",
        &[("FANFARE_RESP_BIND", "localhost:6380")],
    );
    assert_eq!(listeners(&loaded), ["localhost:8080", ":8081"]);
    let door = loaded.config.resp.bind;
    assert_eq!(
        door.map(|bind| bind.to_string()).as_deref(),
        Some("localhost:6380")
    );
    let sources = Sources {
        overrides: pairs(&[
            ("resp.bind", "localhost:1"),
            ("listener", "[{ bind = \":2\", dialects = [] }]"),
        ]),
        ..Sources::default()
    };
    let loaded = load(&sources, large()).unwrap();
    let door = loaded.config.resp.bind;
    assert_eq!(door.map(|bind| bind.to_string()).as_deref(), Some("localhost:1"));
    assert_eq!(listeners(&loaded), [":2"]);
}

/// A list in brackets is TOML wherever it is written, and broken TOML is not an item.
#[test]
fn lists_in_brackets() {
    let loaded = accepted(
        "",
        &[(
            "FANFARE_AUTH_ALLOWED_ORIGINS",
            "[\"https://a.example\", \"https://b.example\"]",
        )],
    );
    assert_eq!(
        loaded.config.auth.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
    for env in [
        ("FANFARE_API_KEYS", "[\"0123456789abcdef"),
        ("FANFARE_LIMITS_TRUSTED_PROXIES", "[10.0.0.0/8]"),
    ] {
        assert!(load_text("", &[env], large()).is_err(), "{env:?}");
    }
}

#[test]
fn flags_are_toml_or_plain_text() {
    let sources = Sources {
        overrides: pairs(&[
            ("resp.bind", "\"127.0.0.1:1\""),
            ("broker.kind", "memory"),
            ("auth.jwt_secret", "01234567890123456789012345678901"),
            (
                "auth.allowed_origins",
                "[\"https://a.example\", \"https://b.example\"]",
            ),
            ("notify.compression", "true"),
            (
                "listener",
                "[{ bind = \"127.0.0.1:0\", dialects = [\"notify\"] }]",
            ),
        ]),
        ..Sources::default()
    };
    let loaded = load(&sources, large()).unwrap();
    assert_eq!(loaded.config.resp.bind.map(BindAddress::port), Some(1));
    assert_eq!(loaded.config.auth.allowed_origins.len(), 2);
    assert_eq!(
        loaded
            .config
            .auth
            .jwt_secret
            .as_ref()
            .map(|secret| secret.expose().len()),
        Some(32)
    );
    assert!(loaded.config.dialects["notify"].compression);
    assert_eq!(listeners(&loaded), ["127.0.0.1:0 notify"]);
}
