//! Operators' changes in the log: who changed what, from where. A handler adds the words to its reply, and the dispatcher, which
//! knows the caller, logs them.

use std::net::IpAddr;

use super::{caller::Caller, reply::Reply};

/// A change in words. No secret is among them, nor what was published.
#[derive(Clone)]
struct OperatorChange {
    what: String,
    /// Backends do this all the time, so only a person who does it is logged as `info`.
    is_traffic: bool,
}

/// Returns `reply` with the note that its request changed something.
pub(super) fn changed(reply: Reply, what: String) -> Reply {
    noted(reply, what, false)
}

/// Returns `reply` with the note that its request published.
pub(super) fn published(reply: Reply, what: String) -> Reply {
    noted(reply, what, true)
}

fn noted(mut reply: Reply, what: String, is_traffic: bool) -> Reply {
    reply.extensions_mut().insert(OperatorChange { what, is_traffic });
    reply
}

/// Logs what `caller` has changed, if it has.
pub(super) fn log(reply: &mut Reply, caller: &Caller, address: IpAddr) {
    let Some(OperatorChange { what, is_traffic }) = reply.extensions_mut().remove::<OperatorChange>() else {
        return;
    };
    // As texts, which the log escapes: names are the callers'.
    let (who, what) = (caller.to_string(), what.as_str());
    if is_traffic && !matches!(caller, Caller::Admin(_)) {
        tracing::debug!(who = who.as_str(), what, %address, "published by the service API");
    } else {
        tracing::info!(who = who.as_str(), what, %address, "changed by an operator");
    }
}
