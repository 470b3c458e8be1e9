//! The log of operators' changes: the change, the caller, and the caller's address.

use std::net::IpAddr;

use super::caller::Caller;

/// Logs the changes of one request. No secret may be in a text, nor anything that was published.
pub(super) struct Audit {
    /// Who changes something; `None` on a route without credentials.
    caller: Option<Caller>,
    address: IpAddr,
}

impl Audit {
    pub(super) fn new(caller: Option<Caller>, address: IpAddr) -> Self {
        Self { caller, address }
    }

    /// Logs that the caller changed something.
    pub(super) fn changed(&self, what: &str) {
        if let Some(caller) = &self.caller {
            // As a text, which the log escapes: a key's name is its creator's.
            let who = caller.to_string();
            tracing::info!(who = who.as_str(), what, address = %self.address, "changed by an operator");
        }
    }

    /// Logs that the caller published. Backends do this all the time, so only a person's publication is logged as a change.
    pub(super) fn published(&self, what: &str) {
        match &self.caller {
            None => {}
            Some(Caller::Admin(_)) => self.changed(what),
            Some(caller) => {
                let who = caller.to_string();
                tracing::debug!(who = who.as_str(), what, address = %self.address, "published by the service API");
            }
        }
    }
}
