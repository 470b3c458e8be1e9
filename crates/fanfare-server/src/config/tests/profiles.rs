//! Profiles, and the dialects of `--dialect`.

use fanfare_core::policy::RoomAccess;

use super::super::{Origin, Registration, Sources, load, show};
use super::fixture::{Chat, large};
use super::good::{SECRET, accepted, listeners};
use super::{load_with, pairs};

#[test]
fn profiles() {
    let check = |profile: &str, expected: &[&str]| {
        let env = pairs(&[
            ("JWT_SECRET_KEY", SECRET),
            ("FANFARE_AUTH_ALLOWED_ORIGINS", "https://a.example"),
        ]);
        let sources = Sources {
            profile: Some(profile.to_owned()),
            env,
            ..Sources::default()
        };
        let loaded = load(&sources, large()).unwrap();
        assert_eq!(listeners(&loaded), expected, "{profile}");
        assert!(!loaded.is_configured("listener"));
    };
    let all = [
        "0.0.0.0:8081 notify+chat",
        "0.0.0.0:8082 chat",
        "0.0.0.0:3000 feed",
    ];
    check("default", &all);
    check("production", &all);
    check("notify", &["0.0.0.0:8081 notify"]);
    check("chat", &["0.0.0.0:8081 chat"]);

    let loaded = accepted("", &[("FANFARE_PROFILE", "feed")]);
    assert_eq!(listeners(&loaded), ["0.0.0.0:3000 feed"]);
    assert_eq!(*loaded.origins.of("listener"), Origin::Profile("feed".to_owned()));

    // Public keys are enough without a secret.
    let env = pairs(&[
        ("FANFARE_PROFILE", "production"),
        ("FANFARE_AUTH_JWKS_URL", "https://id.example/keys"),
        ("FANFARE_AUTH_ALLOWED_ORIGINS", "*"),
    ]);
    let loaded = load(
        &Sources {
            env,
            ..Sources::default()
        },
        large(),
    )
    .unwrap();
    assert_eq!(
        loaded.config.dialects["chat"].options.get::<Chat>().access,
        RoomAccess::Nobody
    );
    assert_eq!(loaded.config.auth.registration, Registration::Closed);
    assert!(!loaded.config.api.trust_loopback);
    let limits = &loaded.config.limits;
    assert_eq!(
        (
            limits.upgrades_per_second_per_ip,
            limits.requests_per_second_per_ip
        ),
        (5, 10)
    );
}

/// Returns the sources of `--profile profile --dialect dialects`, with the settings that the production profile
/// requires.
fn chosen(profile: Option<&str>, dialects: &[&str], env: &[(&str, &str)]) -> Sources {
    let secrets = [
        ("JWT_SECRET_KEY", SECRET),
        ("FANFARE_AUTH_ALLOWED_ORIGINS", "https://a.example"),
    ];
    Sources {
        profile: profile.map(str::to_owned),
        dialects: dialects.iter().map(|&name| name.to_owned()).collect(),
        env: pairs(&[&secrets, env].concat()),
        ..Sources::default()
    }
}

#[test]
fn dialects_alone_in_either_profile() {
    let check = |profile: Option<&str>, dialects: &[&str], env: &[(&str, &str)], expected: &[&str]| {
        let loaded = load(&chosen(profile, dialects, env), large()).unwrap();
        assert_eq!(listeners(&loaded), expected, "{profile:?} {dialects:?} {env:?}");
        loaded
    };
    let variable = [("FANFARE_DIALECTS", "feed, notify")];
    check(None, &["feed"], &[], &["0.0.0.0:3000 feed"]);
    check(
        None,
        &["chat", "notify", "chat"],
        &[],
        &["0.0.0.0:8081 chat+notify"],
    );
    check(
        None,
        &[],
        &variable,
        &["0.0.0.0:3000 feed", "0.0.0.0:8081 notify"],
    );
    check(None, &["feed"], &variable, &["0.0.0.0:3000 feed"]);
    let all = [
        "0.0.0.0:8081 notify+chat",
        "0.0.0.0:8082 chat",
        "0.0.0.0:3000 feed",
    ];
    let loaded = check(None, &[""], &[("FANFARE_DIALECTS", ",")], &all);
    assert!(!loaded.is_configured("listener"));
    // The older form, alone and beside the new one.
    check(Some("chat"), &[], &[], &["0.0.0.0:8081 chat"]);
    check(
        Some("chat"),
        &["feed"],
        &[],
        &["0.0.0.0:8081 chat", "0.0.0.0:3000 feed"],
    );
    // A flag takes precedence over a variable, whichever of them names the dialects.
    check(Some("chat"), &[], &variable, &["0.0.0.0:8081 chat"]);
    check(
        Some("chat"),
        &["feed"],
        &variable,
        &["0.0.0.0:8081 chat", "0.0.0.0:3000 feed"],
    );
    check(
        Some("default"),
        &[],
        &variable,
        &["0.0.0.0:3000 feed", "0.0.0.0:8081 notify"],
    );
    // Another server's variables still move the dialect.
    check(None, &["feed"], &[("FEED_PORT", "9")], &["0.0.0.0:9 feed"]);

    let loaded = check(Some("production"), &["chat"], &[], &["0.0.0.0:8081 chat"]);
    assert_eq!(loaded.profile, "production");
    assert_eq!(loaded.config.auth.registration, Registration::Closed);
    let shown = show(&loaded);
    for line in [
        "bind = \"0.0.0.0:8081\" # --dialect",
        "registration = \"closed\" # profile production",
    ] {
        assert!(
            shown.lines().any(|found| found == line),
            "no line {line:?} in\n{shown}"
        );
    }
    let loaded = check(
        Some("production"),
        &[],
        &variable,
        &["0.0.0.0:3000 feed", "0.0.0.0:8081 notify"],
    );
    assert_eq!(
        *loaded.origins.of("listener[1].bind"),
        Origin::Environment("FANFARE_DIALECTS".to_owned())
    );
}

#[test]
fn dialects_that_cannot_be_chosen() {
    let check = |dialects: &[&str], env: &[(&str, &str)], toml: &str, expected: &str| {
        let found = load_with(toml, chosen(None, dialects, env), large()).unwrap_err();
        assert_eq!(found, expected, "{dialects:?} {env:?} {toml:?}");
    };
    check(
        &["fed"],
        &[],
        "",
        "--dialect: unknown dialect \"fed\", expected one of notify, chat, feed; did you mean `feed`?",
    );
    check(
        &[],
        &[("FANFARE_DIALECTS", "feed,xyzzy")],
        "",
        "environment FANFARE_DIALECTS: unknown dialect \"xyzzy\", expected one of notify, chat, feed",
    );
    let listener = "[[listener]]\nbind = \"127.0.0.1:0\"\ndialects = [\"chat\"]\n";
    check(
        &["feed"],
        &[],
        listener,
        "--dialect: found beside configured listeners (DIR/fanfare.toml:1), expected one of the two",
    );
    // As always, a profile is below the file.
    let loaded = load_with(listener, chosen(Some("feed"), &[], &[]), large()).unwrap();
    assert_eq!(listeners(&loaded), ["127.0.0.1:0 chat"]);
}
