//! Values that follow from other settings, unless they are configured.

use fanfare_accounts::storage::StorageUrl;
use fanfare_core::{DialectKind, LONGEST, Registry, format_duration, parse_duration};
use fanfare_transports::BrokerKind;

use super::merged::Merged;

/// Sets the values that follow from others.
pub(super) fn fill(merged: &mut Merged, registry: Registry) {
    broker(merged);
    storage(merged);
    for kind in registry.iter() {
        ping_timeout(merged, kind);
    }
}

fn broker(merged: &mut Merged) {
    let url = merged.values.text("broker.url");
    let scheme = url.split(':').next().unwrap_or_default().to_lowercase();
    let mut kinds = BrokerKind::ALL.into_iter();
    if let Some(kind) = kinds.find(|kind| kind.schemes().contains(&scheme.as_str())) {
        merged.derive("broker.kind", kind.name(), "from the scheme of broker.url");
    }
    let others = ["broker.cluster", "broker.sentinel.urls", "broker.sentinel.master"];
    let has_other = !others.iter().all(|key| merged.values.is_empty(key));
    if has_other {
        let reason = "from broker.cluster or broker.sentinel";
        merged.derive("broker.kind", BrokerKind::Redis.name(), reason);
    }
    let name = merged.values.text("broker.kind");
    let kind = BrokerKind::named(name);
    if let Some(url) = kind.and_then(BrokerKind::default_url)
        && !has_other
    {
        merged.derive("broker.url", url, "the usual address of this broker");
    }
    if kind.is_some_and(|kind| !kind.has_embedded_door()) {
        merged.derive("resp.bind", "", "off, as the broker is not \"memory\"");
    }
}

fn storage(merged: &mut Merged) {
    let url = StorageUrl::text_of_file(merged.values.text("data_dir"), "fanfare.db");
    merged.derive("storage.url", url, "in data_dir");
}

/// Doubles the ping interval for the timeout if another server's variable set the interval and there is none for the
/// timeout. Otherwise that variable could cause an error that its server did not have.
fn ping_timeout(merged: &mut Merged, kind: &DialectKind) {
    let [interval, timeout] = ["ping_interval", "ping_timeout"].map(|key| format!("{}.{key}", kind.name));
    let mut variables = kind.inherited.iter();
    if !merged.origins.of(&interval).is_inherited() || variables.any(|variable| variable.sets(&timeout)) {
        return;
    }
    let [every, most] = [&interval, &timeout].map(|key| parse_duration(merged.values.text(key)));
    if let (Ok(every), Ok(most)) = (every, most)
        && most <= every
        && every * 2 <= LONGEST
    {
        let twice = format_duration(every * 2);
        merged.derive(&timeout, twice, "twice the time between pings");
    }
}
