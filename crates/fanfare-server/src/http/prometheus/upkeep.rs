//! The metrics of reloads and certificates.

use super::{by_name, families::Families};
use crate::upkeep::Upkeep;

pub(super) fn of_upkeep(upkeep: &Upkeep, families: &mut Families) {
    families.counters(
        "fanfare_reloads_total",
        "Reloads of the configuration: applied, or refused because of an error in it",
        ["outcome"],
        by_name(upkeep.reloads.named(["applied", "refused"])),
    );
    families.gauge(
        "fanfare_last_reload_timestamp_seconds",
        "When the configuration was last reloaded, in seconds since 1970; 0 if that was at the start",
        upkeep.reloads.last_success(),
    );
    families.gauge(
        "fanfare_last_reload_successful",
        "0 if the last reload was refused, so that earlier settings are in force; otherwise 1",
        u64::from(!upkeep.reloads.has_failed()),
    );
    families.counters(
        "fanfare_acme_orders_total",
        "Orders of certificates at the ACME directory, by their outcome: succeeded or failed",
        ["outcome"],
        by_name(upkeep.orders.named(["succeeded", "failed"])),
    );
    families.gauge(
        "fanfare_last_acme_order_successful",
        "0 if the last order of a certificate failed; otherwise 1",
        u64::from(!upkeep.orders.has_failed()),
    );
    let ends = upkeep.certificate_ends();
    families.gauges(
        "fanfare_certificate_end_timestamp_seconds",
        "When the certificate of a listener ends, in seconds since 1970",
        ["listener"],
        by_name(
            ends.iter()
                .filter_map(|(listener, end)| Some((&**listener, (*end)?))),
        ),
    );
}
