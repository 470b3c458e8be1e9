//! Why a user did or did not receive a traced event: one sentence, from what all nodes have recorded and which connections the
//! user has now.

use fanfare_engine::{ConnectionTrace, DeliveryTrace, EventTrace, Fate, Row};

/// The answer for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: &'static str,
    pub(super) text: String,
}

/// What is known of an event and a user.
pub(super) struct Evidence<'a> {
    /// The traces of the nodes that have one.
    pub(super) traces: &'a [EventTrace],
    pub(super) user: &'a str,
    /// The user's connections now.
    pub(super) connections: &'a [Row],
    pub(super) complete: bool,
}

/// From the best to the worst. Of a user with several connections, the best one counts.
const RANKS: [Fate; 14] = [
    Fate::Acknowledged,
    Fate::Written,
    Fate::Queued,
    Fate::Undecided,
    Fate::Lost,
    Fate::QueueFull,
    Fate::Expired,
    Fate::Closing,
    Fate::Unauthorized,
    Fate::Refused,
    Fate::Private,
    Fate::Sender,
    Fate::Unrendered,
    Fate::Unsubscribed,
];

impl Evidence<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        let user = self.user;
        let recorded = self.deliveries().flat_map(|delivery| &delivery.connections);
        let recorded = recorded.filter(|one| one.user.as_deref() == Some(user));
        let rank = |one: &&ConnectionTrace| RANKS.iter().position(|fate| *fate == one.fate);
        if let Some(best) = recorded.min_by_key(rank) {
            let text = format!("{user}: {}", reason(best));
            return verdict(code(best.fate), text);
        }
        let event = self.traces.first().map(|trace| &trace.event);
        let addressee = event.and_then(|event| event.user.as_deref());
        if let Some(other) = addressee.filter(|own| *own != user) {
            return verdict("other_user", format!("{user}: the event is for the user {other}"));
        }
        if !self.complete {
            let text = format!("{user}: not every node has answered, so this is not known");
            return verdict("unknown", text);
        }
        self.without_record(event.map_or(0, |event| event.published_at_ms))
    }

    /// The verdict where no node has recorded a connection of the user.
    fn without_record(&self, published_at_ms: u64) -> Verdict {
        let user = self.user;
        if self.connections.is_empty() {
            let text = format!("{user}: the user has no connection on any node");
            return verdict("no_connection", text);
        }
        let mut rows = self.connections.iter();
        if rows.all(|row| row.opened_at_ms > published_at_ms) {
            let text = format!("{user}: each of the user's connections was opened after the event");
            return verdict("connected_later", text);
        }
        let left_out: u64 = self.deliveries().map(|delivery| delivery.left_out).sum();
        if left_out > 0 {
            let text = format!(
                "{user}: {left_out} connections are not recorded, and the user's may be among them; arm the trace with this user"
            );
            return verdict("unknown", text);
        }
        let text = format!("{user}: no connection of the user has a subscription that covers the event");
        verdict("unsubscribed", text)
    }

    /// Returns the deliveries on the nodes that delivered the event.
    fn deliveries(&self) -> impl Iterator<Item = &DeliveryTrace> {
        self.traces.iter().filter_map(|trace| trace.delivery.as_ref())
    }
}

/// The stable name of a fate.
pub(super) fn code(fate: Fate) -> &'static str {
    match fate {
        Fate::Acknowledged => "acknowledged",
        Fate::Written => "written",
        Fate::Queued => "queued",
        Fate::Lost => "lost",
        Fate::QueueFull => "queue_full",
        Fate::Undecided => "undecided",
        Fate::Unauthorized => "unauthorized",
        Fate::Refused => "refused",
        Fate::Private => "private",
        Fate::Sender => "sender",
        Fate::Expired => "expired",
        Fate::Closing => "closing",
        Fate::Unrendered => "unrendered",
        Fate::Unsubscribed => "unsubscribed",
    }
}

/// What became of an event at a connection, in a sentence.
pub(super) fn reason(connection: &ConnectionTrace) -> String {
    let decided = connection.reason.as_deref();
    match connection.fate {
        Fate::Acknowledged => "the peer's TCP has acknowledged all bytes".into(),
        Fate::Written => {
            "the socket has taken all bytes; the peer's acknowledgement is not known to have come".into()
        }
        Fate::Queued => format!(
            "it waits in the connection's queue, behind {} frames of {} bytes",
            connection.frames_ahead, connection.bytes_ahead
        ),
        Fate::Lost => "it was queued, and the connection was ended before the socket had taken it".into(),
        Fate::QueueFull => format!(
            "the connection's queue was full ({} frames of {} bytes), so the connection was ended",
            connection.frames_ahead, connection.bytes_ahead
        ),
        Fate::Undecided => "it waits until the authorizer has decided".into(),
        Fate::Unauthorized => "the authorizer has refused it, or has not answered".into(),
        Fate::Refused => format!("refused by {}", decided.unwrap_or("the access rules")),
        Fate::Private => "the event is private to other users".into(),
        Fate::Sender => "the connection sent it, and its sender does not receive it".into(),
        Fate::Expired => "the connection's token has expired, and there is no new one".into(),
        Fate::Closing => "the connection was closing".into(),
        Fate::Unrendered => "the connection's dialect has no message for such an event".into(),
        Fate::Unsubscribed => "the connection has no subscription that covers the event".into(),
    }
}

fn verdict(code: &'static str, text: String) -> Verdict {
    Verdict { code, text }
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
                "taken",
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
            let found = Evidence {
                traces: &traces,
                user: "ann",
                connections: &connections,
                complete,
            }
            .verdict();
            assert_eq!(found.code, code, "{found:?}");
            assert!(
                found.text.starts_with("ann: ") && found.text.contains(words),
                "{found:?}"
            );
        }
    }

    fn none_of() -> Vec<ConnectionTrace> {
        Vec::new()
    }

    #[test]
    fn every_fate_has_a_rank_a_code_and_words() {
        for fate in RANKS {
            let one = connection("ann", fate);
            assert!(!reason(&one).is_empty());
            assert_eq!(serde_json::to_value(fate).ok(), Some(code(fate).into()));
            assert_eq!(RANKS.iter().filter(|own| **own == fate).count(), 1);
        }
    }
}
