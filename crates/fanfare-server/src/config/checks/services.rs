//! The settings for backends: API keys, the broker, the embedded Redis-protocol door.

use fanfare_core::GuardedUrl;
use fanfare_transports::BrokerKind;

use super::{Checker, OUTER_SPACE};
use crate::config::types::Secret;

/// Shorter API keys could be guessed.
const KEY_BYTES: usize = 16;

pub(super) fn check(checker: &mut Checker<'_>) {
    api_keys(checker);
    if checker.are_sound(&["broker"]) {
        broker(checker);
        if checker.are_sound(&["resp", "api.keys"]) {
            door(checker);
        }
    }
}

fn api_keys(checker: &mut Checker<'_>) {
    const KEY: &str = "api.keys";
    const PASSWORD: &str = "resp.password";
    if checker.config.api.keys.iter().any(Secret::has_outer_space) {
        checker.warning(KEY, OUTER_SPACE);
    }
    let password = &checker.config.resp.password;
    if password.as_ref().is_some_and(Secret::has_outer_space) {
        checker.warning(PASSWORD, OUTER_SPACE);
    }
    let lengths = checker.config.api.keys.iter().map(|key| key.expose().len());
    for length in lengths.filter(|length| *length < KEY_BYTES) {
        let text = format!("found a key of {length} bytes, expected at least {KEY_BYTES}; it can be guessed");
        checker.warning(KEY, text);
    }
}

fn broker(checker: &mut Checker<'_>) {
    const KEY: &str = "broker.url";
    let kind = checker.config.broker.kind;
    unused(checker);
    let Some(scheme) = checker.config.broker.url.as_ref().map(GuardedUrl::scheme) else {
        return;
    };
    let origin = checker.origin("broker.kind");
    if kind.schemes().is_empty() {
        let all = BrokerKind::ALL.map(BrokerKind::schemes).concat();
        if !all.contains(&scheme) && !origin.is_configured() {
            let text = format!("found the scheme \"{scheme}\", expected {}", quoted(&all));
            checker.error(KEY, text);
        } else if !checker.origin(KEY).is_inherited() {
            let text = format!("is not used, as broker.kind is \"{}\" ({origin})", kind.name());
            checker.warning(KEY, text);
        }
    } else if !kind.schemes().contains(&scheme) {
        let text = format!(
            "found the scheme \"{scheme}\", expected {} as broker.kind is \"{}\" ({origin})",
            quoted(kind.schemes()),
            kind.name(),
        );
        checker.error(KEY, text);
    } else {
        // Errors appear when the parts of a server are built.
        let options = checker.config.broker.options();
        if let Ok(Some(warning)) = fanfare_transports::check(kind, &options) {
            checker.warning(KEY, warning);
        }
    }
}

fn unused(checker: &mut Checker<'_>) {
    let broker = &checker.config.broker;
    let is_memory = broker.kind == BrokerKind::Memory;
    let is_redis = broker.kind == BrokerKind::Redis;
    let settings = [
        ("broker.cluster", !is_redis && !broker.cluster.is_empty()),
        ("broker.sentinel.urls", !is_redis && broker.sentinel.is_set()),
        ("broker.ca_file", is_memory && broker.ca_file.is_some()),
        (
            "broker.client_cert_file",
            is_memory && broker.client_cert_file.is_some(),
        ),
        (
            "broker.client_key_file",
            is_memory && broker.client_key_file.is_some(),
        ),
        (
            "broker.credentials_file",
            broker.kind != BrokerKind::Nats && broker.credentials_file.is_some(),
        ),
    ];
    let origin = checker.origin("broker.kind");
    let text = format!(
        "is not used, as broker.kind is \"{}\" ({origin})",
        broker.kind.name()
    );
    for (key, _) in settings.into_iter().filter(|(_, is_unused)| *is_unused) {
        checker.warning(key, text.as_str());
    }
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

fn door(checker: &mut Checker<'_>) {
    const KEY: &str = "resp.bind";
    let Some(bind) = checker.config.resp.bind else {
        return;
    };
    let kind = checker.config.broker.kind;
    if !kind.has_embedded_door() {
        let origin = checker.origin("broker.kind");
        let text = format!(
            "found \"{bind}\", expected \"\": the embedded door belongs to the memory broker, and broker.kind \
             is \"{}\" ({origin})",
            kind.name()
        );
        checker.error(KEY, text);
        return;
    }
    let guarded = checker.config.resp.password.is_some() || !checker.config.api.keys.is_empty();
    if !guarded && !bind.is_loopback() {
        let text = format!(
            "found \"{bind}\", expected a loopback address such as \"127.0.0.1:6379\": without resp.password \
             or api.keys any client could publish"
        );
        checker.error(KEY, text);
    }
}
