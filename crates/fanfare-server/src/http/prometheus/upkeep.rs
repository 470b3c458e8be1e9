//! The metrics of reloads and certificates.

use prometheus::{Error, Opts, Registry};

use super::{counters, gauges};
use crate::upkeep::Upkeep;

pub(super) fn register_upkeep(upkeep: &Upkeep, registry: &Registry) -> Result<(), Error> {
    let help = "Reloads of the configuration: applied, or refused because of an error in it";
    let opts = Opts::new("fanfare_reloads_total", help);
    let values = upkeep.reloads().map(|(outcome, count)| ([outcome], count));
    counters(registry, opts, ["outcome"], values.into())?;
    let help = "When the configuration was last reloaded, in seconds since 1970; 0 if that was at the start";
    let opts = Opts::new("fanfare_last_reload_timestamp_seconds", help);
    gauges(registry, opts, [], vec![([], upkeep.last_reload())])?;
    let help = "Orders of certificates at the ACME directory, by their outcome: succeeded or failed";
    let opts = Opts::new("fanfare_acme_orders_total", help);
    let values = upkeep.orders().map(|(outcome, count)| ([outcome], count));
    counters(registry, opts, ["outcome"], values.into())?;
    let help = "When the certificate of a listener ends, in seconds since 1970";
    let opts = Opts::new("fanfare_certificate_end_timestamp_seconds", help);
    let ends = upkeep.certificate_ends();
    let values = ends.iter().map(|(listener, end)| ([&**listener], *end));
    gauges(registry, opts, ["listener"], values.collect())
}
