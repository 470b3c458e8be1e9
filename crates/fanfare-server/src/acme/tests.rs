//! The stored files, and the time of a renewal. Orders are tested against a real authority from outside.
#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn pem(names: &[&str]) -> String {
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 4, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    format!("{}{}", certificate.pem(), key.serialize_pem())
}

fn acme(data_dir: &Path) -> AcmeCertificate {
    let listener = "bind = \"127.0.0.1:0\"\ndialects = []\nacme = true"
        .parse::<toml::Table>()
        .unwrap();
    let config = Config {
        data_dir: data_dir.to_owned(),
        listener: vec![listener.try_into().unwrap()],
        acme: Settings {
            domains: vec!["a.example".to_owned(), "B.example".to_owned()],
            directory: "https://ca.example:14000/dir".to_owned(),
            ..Settings::default()
        },
        ..Config::default()
    };
    AcmeCertificate::new(&config).unwrap().unwrap()
}

#[test]
fn a_stored_certificate_is_used_again_until_two_thirds_of_its_time_are_over() {
    let data = tempfile::tempdir().unwrap();
    let first = acme(data.path());
    assert!(first.due_in(SystemTime::now()).is_zero() && first.certificates.issued().is_none());
    first
        .store
        .save_certificate(pem(&["a.example", "b.example"]).as_bytes())
        .unwrap();

    let second = acme(data.path());
    assert!(second.certificates.issued().is_some());
    let start = second.validity.unwrap().start;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    assert_eq!(second.due_in(start), days(60));
    assert_eq!(second.due_in(start + days(59)), days(1));
    assert!(second.due_in(start + days(61)).is_zero());
}

#[test]
fn a_certificate_for_other_names_stays_in_use_until_there_is_a_new_one() {
    let data = tempfile::tempdir().unwrap();
    acme(data.path())
        .store
        .save_certificate(pem(&["a.example"]).as_bytes())
        .unwrap();
    let found = acme(data.path());
    assert!(found.certificates.issued().is_some());
    assert!(found.due_in(SystemTime::UNIX_EPOCH).is_zero());
}

#[test]
fn a_file_without_a_certificate_and_its_key_is_not_used() {
    let data = tempfile::tempdir().unwrap();
    let [one, other] = [pem(&["a.example"]), pem(&["a.example"])];
    let key_of_another = format!(
        "{}{}",
        one.split("-----BEGIN PRIVATE").next().unwrap(),
        &other[other.find("-----BEGIN PRIVATE").unwrap()..]
    );
    for content in ["", "text", &one[..one.len() / 2], &key_of_another] {
        acme(data.path())
            .store
            .save_certificate(content.as_bytes())
            .unwrap();
        assert!(acme(data.path()).certificates.issued().is_none(), "{content}");
    }
}

#[test]
fn only_their_owner_may_read_the_files() {
    let data = tempfile::tempdir().unwrap();
    let store = acme(data.path()).store;
    store.check_writable().unwrap();
    store.save_certificate(b"1").unwrap();
    store.save_certificate(b"2").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (file, folder) = (store.certificate_file(), data.path().join("acme"));
    assert_eq!(fs::read(&file).unwrap(), b"2");
    assert_eq!((mode(&file), mode(&folder)), (0o600, 0o700));
    assert_eq!(
        file.parent().unwrap().read_dir().unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = acme(file.path()).store.check_writable().unwrap_err().to_string();
    assert!(
        error.starts_with(&file.path().display().to_string()) && error.contains("cannot be written"),
        "{error}"
    );
}

#[test]
fn pauses_grow_to_an_hour() {
    let data = tempfile::tempdir().unwrap();
    let acme = acme(data.path());
    for (failures, seconds) in [(0, 60), (1, 120), (3, 480), (6, 3600), (1_000, 3600)] {
        let pause = acme.pause(failures).as_secs();
        assert!(
            (seconds..=seconds * 5 / 4).contains(&pause),
            "{failures}: {pause}"
        );
    }
}

#[test]
fn a_challenge_is_shown_while_it_is_open() {
    let certificates = Certificates::default();
    certificates.open_challenge("a.example", &[7; 32]).unwrap();
    assert!(certificates.challenge("a.example").is_some() && certificates.issued().is_none());
    assert!(certificates.challenge("b.example").is_none());
    certificates.close_challenges();
    assert!(certificates.challenge("a.example").is_none());
}
