//! Explains in a sentence why a user did or did not receive a traced event, from the records of all nodes and the user's current
//! connections.

use fanfare_engine::{ConnectionTrace, DeliveryTrace, EventTrace, Fate, Row};

/// A stable name, and the same in a sentence.
pub(super) type Verdict = (&'static str, String);

/// The records of an event, and a user.
pub(super) struct Evidence<'a> {
    /// The traces of the nodes that have one.
    pub(super) traces: &'a [EventTrace],
    pub(super) user: &'a str,
    /// The user's connections now.
    pub(super) connections: &'a [Row],
    /// Whether every node has answered.
    pub(super) complete: bool,
}

impl Evidence<'_> {
    /// Returns the outcome for the user. Of several connections, the best outcome counts.
    pub(super) fn verdict(&self) -> Verdict {
        let (name, reason) = self.judge();
        (name, format!("{}: {reason}", self.user))
    }

    fn judge(&self) -> Verdict {
        let recorded = self.deliveries().flat_map(|delivery| &delivery.connections);
        let recorded = recorded.filter(|one| one.user.as_deref() == Some(self.user));
        if let Some(best) = recorded.min_by_key(|one| one.fate) {
            return outcome(best);
        }
        let event = self.traces.first().map(|trace| &trace.event);
        let addressee = event.and_then(|event| event.user.as_deref());
        if let Some(other) = addressee.filter(|own| *own != self.user) {
            return ("other_user", format!("the event is for the user {other}"));
        }
        if !self.complete {
            return (
                "unknown",
                "not every node has answered, so the outcome is unknown".into(),
            );
        }
        if self.connections.is_empty() {
            return ("no_connection", "the user has no connection on any node".into());
        }
        let published_at_ms = event.map_or(0, |event| event.published_at_ms);
        if self
            .connections
            .iter()
            .all(|row| row.opened_at_ms > published_at_ms)
        {
            let reason = "each of the user's connections was opened after the event";
            return ("connected_later", reason.into());
        }
        let left_out: u64 = self.deliveries().map(|delivery| delivery.left_out).sum();
        if left_out > 0 {
            let reason = format!(
                "{left_out} connections are not recorded, and the user's may be among them; arm the trace with this user"
            );
            return ("unknown", reason);
        }
        let reason = "no connection of the user has a subscription that covers the event";
        ("unsubscribed", reason.into())
    }

    /// Returns the deliveries on the nodes that delivered the event.
    fn deliveries(&self) -> impl Iterator<Item = &DeliveryTrace> {
        self.traces.iter().filter_map(|trace| trace.delivery.as_ref())
    }
}

/// Returns the outcome of an event at a connection.
pub(super) fn outcome(connection: &ConnectionTrace) -> Verdict {
    let ahead = format!(
        "{} frames of {} bytes",
        connection.frames_ahead, connection.bytes_ahead
    );
    let (name, reason) = match connection.fate {
        Fate::Acknowledged => ("acknowledged", "the peer's TCP has acknowledged all bytes"),
        Fate::Written => (
            "written",
            "the socket has accepted all bytes; as far as the node knows, the peer has not acknowledged all of them yet",
        ),
        Fate::Queued => {
            let reason = format!("it waits in the connection's queue, behind {ahead}");
            return ("queued", reason);
        }
        Fate::Undecided => ("undecided", "it waits until the authorizer has decided"),
        Fate::Lost => (
            "lost",
            "it was queued, and the connection ended before the socket had accepted it",
        ),
        Fate::QueueFull => {
            let reason = format!("the connection's queue was full ({ahead}), so the connection was ended");
            return ("queue_full", reason);
        }
        Fate::Expired => (
            "expired",
            "the connection's token has expired, and there is no new one",
        ),
        Fate::Closing => ("closing", "the connection was closing"),
        Fate::Unauthorized => (
            "unauthorized",
            "the authorizer has refused it, or has not answered",
        ),
        Fate::Refused => {
            let decided = connection.reason.as_deref().unwrap_or("the access rules");
            return ("refused", format!("refused by {decided}"));
        }
        Fate::Private => ("private", "the event is private to other users"),
        Fate::Sender => (
            "sender",
            "the connection sent it, and its sender does not receive it",
        ),
        Fate::Unrendered => (
            "unrendered",
            "the connection's dialect has no message for such an event",
        ),
        Fate::Unsubscribed => (
            "unsubscribed",
            "the connection has no subscription that covers the event",
        ),
    };
    (name, reason.into())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use fanfare_engine::{RowDetail, TracedEvent};
    use uuid::Uuid;

    use super::*;

    fn connection(user: &str, fate: Fate) -> ConnectionTrace {
        ConnectionTrace {
            id: Uuid::now_v7(),
            dialect: "plain".into(),
            user: Some(user.into()),
            fate,
            reason: Some("rule 1".into()),
            rule: None,
            frames_ahead: 2,
            bytes_ahead: 20,
            frame_bytes: 10,
            queued_us: None,
            written_us: None,
            acknowledged_us: None,
        }
    }

    fn trace(to: Option<&str>, connections: Vec<ConnectionTrace>, left_out: u64) -> EventTrace {
        EventTrace {
            node: Uuid::nil(),
            recorded_at_us: 0,
            arms: Vec::new(),
            focus: None,
            event: TracedEvent {
                id: Uuid::nil(),
                kind: None,
                user: to.map(Into::into),
                channel: None,
                published_at_ms: 1000,
                sender: None,
                sending_connection: None,
                data_bytes: 1,
                private_to: None,
                except: None,
            },
            entry: None,
            delivery: Some(DeliveryTrace {
                connections,
                left_out,
                ..DeliveryTrace::default()
            }),
        }
    }

    fn row(opened_at_ms: u64) -> Row {
        Row {
            id: Uuid::now_v7(),
            dialect: "plain".into(),
            user: Some("ann".into()),
            session: None,
            name: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            opened_at_ms,
            subscriptions: Vec::new(),
            detail: RowDetail::default(),
        }
    }

    #[test]
    fn verdicts() {
        let none = Vec::new;
        let of = |fates: &[Fate]| fates.iter().map(|fate| connection("ann", *fate)).collect();
        for (traces, connections, complete, code, words) in [
            (
                vec![trace(None, of(&[Fate::Refused, Fate::Written]), 0)],
                none(),
                true,
                "written",
                "accepted",
            ),
            (
                vec![trace(None, none_of(), 0), trace(None, of(&[Fate::Refused]), 0)],
                none(),
                false,
                "refused",
                "by rule 1",
            ),
            (
                vec![trace(None, of(&[Fate::QueueFull]), 0)],
                none(),
                true,
                "queue_full",
                "2 frames of 20 bytes",
            ),
            (
                vec![trace(Some("bob"), none_of(), 0)],
                none(),
                true,
                "other_user",
                "for the user bob",
            ),
            (
                vec![trace(Some("ann"), none_of(), 0)],
                none(),
                true,
                "no_connection",
                "on any node",
            ),
            (
                vec![trace(Some("ann"), none_of(), 0)],
                none(),
                false,
                "unknown",
                "not every node",
            ),
            (
                vec![trace(None, none_of(), 0)],
                vec![row(2000)],
                true,
                "connected_later",
                "after the event",
            ),
            (
                vec![trace(None, none_of(), 0)],
                vec![row(2000), row(500)],
                true,
                "unsubscribed",
                "covers",
            ),
            (
                vec![trace(None, none_of(), 3)],
                vec![row(500)],
                true,
                "unknown",
                "3 connections",
            ),
        ] {
            let (name, reason) = Evidence {
                traces: &traces,
                user: "ann",
                connections: &connections,
                complete,
            }
            .verdict();
            assert_eq!(name, code, "{reason}");
            assert!(reason.starts_with("ann: ") && reason.contains(words), "{reason}");
        }
    }

    fn none_of() -> Vec<ConnectionTrace> {
        Vec::new()
    }

    #[test]
    fn a_fate_has_the_same_name_as_on_the_wire() {
        for fate in [Fate::Acknowledged, Fate::QueueFull, Fate::Unsubscribed] {
            let (name, reason) = outcome(&connection("ann", fate));
            assert_eq!(serde_json::to_value(fate).ok(), Some(name.into()));
            assert!(!reason.is_empty());
        }
    }
}
