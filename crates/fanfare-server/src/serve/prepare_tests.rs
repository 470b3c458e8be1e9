//! The errors that a check of the configuration finds.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::{
    auth::secret_file,
    config::{self, Sources},
};

const SECRET: &str = "a secret of more than thirty-two bytes";

/// Checks this file and these variables; `DIR` stands for its folder, `KEYS` for the folder of test keys.
fn checked(folder: &Path, toml: &str, env: &[(&str, &str)]) -> Result<(), String> {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/auth-keys");
    let here = folder.display().to_string();
    let text = format!("data_dir = \"DIR/data\"\n{toml}")
        .replace("DIR", &here)
        .replace("KEYS", keys);
    let file = folder.join("fanfare.toml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources {
        file: Some(file),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Sources::default()
    };
    let loaded = config::load(&sources, fanfare_dialects::REGISTRY);
    loaded
        .and_then(|loaded| check(&loaded))
        .map_err(|errors| errors.to_string().replace(&here, "DIR").replace(keys, "KEYS"))
}

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).unwrap();
}

#[tokio::test]
async fn every_kind_of_key_file_is_enough_with_and_without_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "rsa-public",
        "rsa-pkcs1-public",
        "rsa-certificate",
        "p256-public",
        "p256-certificate",
        "p384-public",
        "ed25519-public",
        "ed25519-certificate",
    ] {
        let toml = format!("auth.public_key_file = \"KEYS/{file}.txt\"");
        assert_eq!(checked(folder.path(), &toml, &[]), Ok(()), "{file}");
        let secret = [("JWT_SECRET_KEY", SECRET)];
        assert_eq!(checked(folder.path(), &toml, &secret), Ok(()), "{file}");
        let jwks = format!("{toml}\nauth.jwks_url = \"https://id.example.com/keys\"");
        assert_eq!(checked(folder.path(), &jwks, &secret), Ok(()), "{file}");
    }
}

#[tokio::test]
async fn each_unusable_value_is_named_with_its_line() {
    named_with_their_lines(&[
        (
            "auth.public_key_file = \"KEYS/rsa1024-public.txt\"",
            &[
                "DIR/fanfare.toml:2: auth.public_key_file: found \"KEYS/rsa1024-public.txt\", which cannot be used: an RSA key of 1024 bits",
            ],
        ),
        (
            "auth.public_key_file = \"KEYS/rsa-private.txt\"",
            &[
                "DIR/fanfare.toml:2: auth.public_key_file: found \"KEYS/rsa-private.txt\", which cannot be used: a private key",
            ],
        ),
        (
            "auth.public_key_file = \"KEYS/p521-public.txt\"",
            &[
                "DIR/fanfare.toml:2: auth.public_key_file: found \"KEYS/p521-public.txt\", which cannot be used: an unsupported kind",
            ],
        ),
        (
            "auth.public_key_file = \"DIR/text\"",
            &[
                "DIR/fanfare.toml:2: auth.public_key_file: found \"DIR/text\", which cannot be used: not a PEM public key",
            ],
        ),
        (
            "auth.public_key_file = \"DIR/none\"",
            &[
                "DIR/fanfare.toml:2: auth.public_key_file: found \"DIR/none\", which cannot be read: No such file",
            ],
        ),
        (
            "auth.public_key_file = \"KEYS/rsa-public.txt\"\nauth.algorithms = [\"ES256\"]",
            &[
                "DIR/fanfare.toml:3: auth.algorithms: algorithm ES256 is configured, but no key can be used with it",
            ],
        ),
        (
            "auth.jwks_url = \"ftp://id.example.com/keys\"",
            &["DIR/fanfare.toml:2: auth.jwks_url: the JWKS URL is not an absolute http or https URL"],
        ),
        (
            "authorizer.url = \"ftp://rules.example.com\"",
            &["DIR/fanfare.toml:2: authorizer.url: "],
        ),
        (
            "storage.url = \"postgres://u@h/d?sslmode=sometimes\"",
            &["DIR/fanfare.toml:2: storage.url: "],
        ),
        (
            "broker.url = \"redis:///path\"\nauth.public_key_file = \"DIR/none\"\nstorage.url = \"postgres://u@h/d?sslmode=x\"",
            &[
                "DIR/fanfare.toml:2: broker.url",
                "DIR/fanfare.toml:3: auth.public_key_file",
                "DIR/fanfare.toml:4: storage.url",
            ],
        ),
    ]);
}

#[tokio::test]
async fn each_unusable_broker_setting_is_named_with_its_line() {
    named_with_their_lines(&[
        (
            "broker.url = \"redis:///path\"",
            &["DIR/fanfare.toml:2: broker.url: the broker's URL is not usable"],
        ),
        (
            "broker.url = \"nats://h/path\"",
            &["DIR/fanfare.toml:2: broker.url: the broker's URL is not usable: found a path"],
        ),
        (
            "broker.url = \"nats://h\"\nbroker.prefix = \"a..b\"",
            &["DIR/fanfare.toml:3: broker.prefix: expected the beginning of a NATS subject"],
        ),
        (
            "broker.url = \"nats://h\"\nbroker.credentials_file = \"DIR/none\"",
            &["DIR/fanfare.toml:3: broker.credentials_file: cannot read"],
        ),
        (
            "broker.url = \"redis://h\"\nbroker.cluster = [\"redis://h\"]",
            &["DIR/fanfare.toml:3: broker.cluster: broker.url and broker.cluster exclude each other"],
        ),
        (
            "broker.cluster = [\"redis://h\"]\nbroker.sentinel = { master = \"m\", urls = [\"redis://h\"] }",
            &["DIR/fanfare.toml:2: broker.cluster: broker.sentinel and broker.cluster exclude each other"],
        ),
        (
            "broker.cluster = [\"redis://h\", \"redis://:s3cret@g\"]",
            &["DIR/fanfare.toml:2: broker.cluster: URL 2 is not usable: expected the user and the password"],
        ),
        (
            "broker.cluster = [\"redis://h\", \"rediss://g\"]",
            &["DIR/fanfare.toml:2: broker.cluster: URL 2 is not usable: expected TLS in all URLs or in none"],
        ),
        (
            "broker.cluster = [\"redis://h/1\"]",
            &[
                "DIR/fanfare.toml:2: broker.cluster: URL 1 is not usable: found the number of a database, expected none",
            ],
        ),
        (
            "broker.cluster = [\"redis://h\"]\nbroker.prefix = \"{a}\"",
            &["DIR/fanfare.toml:3: broker.prefix: found a brace, which chooses the slot"],
        ),
        (
            "broker.sentinel.urls = [\"redis://h\"]",
            &["default: broker.sentinel.master: found none, expected the master's name"],
        ),
        (
            "broker.sentinel = { master = \"m\" }",
            &["default: broker.sentinel.urls: found none, expected the Sentinels' URLs"],
        ),
        (
            "broker.sentinel = { master = \"m\", urls = [\"redis://h#x\"] }",
            &["DIR/fanfare.toml:2: broker.sentinel.urls: URL 1 is not usable: found a fragment"],
        ),
        (
            "broker.url = \"rediss://h\"\nbroker.ca_file = \"DIR/none\"",
            &["DIR/fanfare.toml:3: broker.ca_file: found \"DIR/none\", which cannot be read: No such file"],
        ),
        (
            "broker.url = \"rediss://h\"\nbroker.ca_file = \"DIR/text\"",
            &["DIR/fanfare.toml:3: broker.ca_file: found \"DIR/text\", which has no certificate in it"],
        ),
        (
            "broker.url = \"redis://h\"\nbroker.ca_file = \"KEYS/rsa-certificate.txt\"",
            &["DIR/fanfare.toml:3: broker.ca_file: found a file although no URL uses TLS"],
        ),
    ]);
}

/// Checks that each configuration has the errors that begin with these texts, and no other.
fn named_with_their_lines(cases: &[(&str, &[&str])]) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "text", "no key\n");
    for (toml, expected) in cases {
        let text = checked(folder, toml, &[]).unwrap_err();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{toml}: {text}");
        for (line, start) in lines.iter().zip(*expected) {
            assert!(line.starts_with(start), "{toml}: {line}");
        }
    }
}

#[tokio::test]
async fn certificates_and_keys_must_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/auth-keys");
    for (cert, key, expected) in [
        ("rsa-certificate", "rsa-private", ""),
        ("p256-certificate", "p256-private", ""),
        ("ed25519-certificate", "ed25519-private", ""),
        (
            "rsa-certificate",
            "rsa-other-private",
            "DIR/fanfare.toml:5: listener[0].tls.key: found \"KEYS/rsa-other-private.txt\", which cannot serve the certificate",
        ),
        (
            "p256-certificate",
            "rsa-private",
            "DIR/fanfare.toml:5: listener[0].tls.key: ",
        ),
        (
            "rsa-public",
            "rsa-private",
            "DIR/fanfare.toml:5: listener[0].tls.cert: found \"KEYS/rsa-public.txt\", expected a PEM file with a CERTIFICATE",
        ),
        (
            "rsa-certificate",
            "rsa-public",
            "DIR/fanfare.toml:5: listener[0].tls.key: found \"KEYS/rsa-public.txt\", expected a PEM file with a PRIVATE KEY",
        ),
        (
            "none",
            "rsa-private",
            "DIR/fanfare.toml:5: listener[0].tls.cert: ",
        ),
    ] {
        let toml = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\ndialects = [\"notify\"]\ntls = {{ cert = \"{keys}/{cert}.txt\", key = \"{keys}/{key}.txt\" }}"
        );
        let found = checked(folder.path(), &toml, &[]).err().unwrap_or_default();
        assert!(
            found.starts_with(expected) && found.is_empty() == expected.is_empty(),
            "{cert} {key}: {found}"
        );
    }
}

#[tokio::test]
async fn a_check_writes_nothing_and_sees_a_secret_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert_eq!(checked(folder.path(), "", &[]), Ok(()));
    assert!(!data.exists());
    std::fs::create_dir(&data).unwrap();
    std::fs::write(secret_file(&data), "cut off").unwrap();
    let text = checked(folder.path(), "", &[]).unwrap_err();
    assert!(
        text.starts_with("DIR/fanfare.toml:1: data_dir: DIR/data/jwt-secret holds 7 bytes"),
        "{text}"
    );
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "a file").unwrap();
    let text = checked(folder.path(), "", &[]).unwrap_err();
    assert!(text.starts_with("DIR/fanfare.toml:1: data_dir: "), "{text}");
}

#[tokio::test]
async fn an_unused_secret_is_no_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "auth.public_key_file = \"KEYS/rsa-public.txt\"\nauth.algorithms = [\"RS256\"]";
    assert_eq!(
        checked(folder.path(), toml, &[("JWT_SECRET_KEY", SECRET)]),
        Ok(())
    );
}

#[tokio::test]
async fn a_mistyped_level_of_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = checked(folder.path(), "", &[("FANFARE_LOG", "inof")]).unwrap_err();
    assert!(
        text.starts_with("environment FANFARE_LOG: found \"inof\""),
        "{text}"
    );
}
