//! The list of open connections for the service API.

use std::net::IpAddr;

use fanfare_core::MAX_MESSAGE_BYTES;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The filter and order of a list of connections. A field is sent only if it is set: a node of a version without it then does not
/// answer, instead of listing other connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The connection with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Connections of this dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Box<str>>,
    /// Connections of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// Connections with a subscription of exactly this text: a channel, a pattern or a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Box<str>>,
    /// Connections with a subscription that covers this channel: the channel itself or a pattern that matches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covers: Option<Box<str>>,
    /// Connections from this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Connections with the most waiting messages first, instead of those with the lowest ids.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_queue: bool,
    /// The most subscriptions that are listed of each; `None` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<usize>,
    /// Connections with a higher id. Ids grow with the time of opening.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Uuid>,
    /// The most connections.
    pub limit: usize,
}

/// A part of the list of connections, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPage {
    /// The connections.
    pub rows: Vec<Row>,
    /// Whether there may be more behind the last one.
    pub more: bool,
}

/// One open connection, as the service API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id, unique in the cluster.
    pub id: Uuid,
    /// Its dialect.
    pub dialect: Box<str>,
    /// Its user.
    pub user: Option<Box<str>>,
    /// The login session that its credential belongs to.
    pub session: Option<Box<str>>,
    /// Its name, if the dialect has names.
    pub name: Option<Box<str>>,
    /// Its client's address.
    pub address: IpAddr,
    /// The time at which it was opened, in milliseconds of Unix time.
    pub opened_at_ms: u64,
    /// Its subscriptions and rooms, sorted; at most [`Filter::subscriptions`].
    pub subscriptions: Vec<Box<str>>,
    /// More about it. A node of an earlier version omits this.
    #[serde(default)]
    pub detail: RowDetail,
}

/// The state of one connection, for an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "the facts are independent")]
pub struct RowDetail {
    /// The node that holds it.
    pub node: Uuid,
    /// Messages that wait for its socket.
    pub queued: usize,
    /// The bytes of all frames that wait for its socket.
    pub queued_bytes: usize,
    /// The number of all its subscriptions.
    pub subscription_count: usize,
    /// The client's program, if the dialect keeps it.
    pub user_agent: Option<Box<str>>,
    /// The time since its client last sent anything, in milliseconds.
    pub silent_ms: u64,
    /// The expiry of its credential, in milliseconds of Unix time.
    pub expires_at_ms: Option<u64>,
    /// Whether its credential has expired. It then receives no events until there is a new one.
    pub paused: bool,
    /// Whether it receives the events for its user.
    pub gets_user: bool,
    /// Whether it receives the events for everyone.
    pub gets_everyone: bool,
    /// Whether messages are compressed.
    pub compressed: bool,
    /// Whether the access rules, or a stored answer of the authorizer, refuse it the channel in [`Filter::covers`].
    pub refused: bool,
}

impl Filter {
    /// Merges pages. If a page is incomplete, the merged page ends where that page ends, because its other connections may come first.
    pub(super) fn merge(&self, pages: impl IntoIterator<Item = RowPage>) -> RowPage {
        let rank = |row: &Row| self.rank(row.detail.queued, row.id);
        let (mut rows, mut end) = (Vec::new(), None);
        for page in pages {
            if let Some(last) = page.rows.last().filter(|_| page.more).map(rank) {
                end = Some(end.map_or(last, |end: (usize, Uuid)| end.min(last)));
            }
            rows.extend(page.rows);
        }
        rows.retain(|row| end.is_none_or(|end| rank(row) <= end));
        rows.sort_by_key(rank);
        let more = end.is_some() || rows.len() > self.limit;
        rows.truncate(self.limit);
        RowPage { rows, more }
    }

    /// Returns the rank of a connection; the lowest comes first.
    pub(super) fn rank(&self, queued: usize, id: Uuid) -> (usize, Uuid) {
        let most_first = if self.by_queue { usize::MAX - queued } else { 0 };
        (most_first, id)
    }
}

impl RowPage {
    /// Returns the page as JSON, without the last connections that do not fit into a message.
    pub(super) fn into_json(mut self) -> serde_json::Result<Vec<u8>> {
        loop {
            let text = serde_json::to_vec(&self)?;
            if text.len() <= MAX_MESSAGE_BYTES || self.rows.len() < 2 {
                return Ok(text);
            }
            let fitting = self.rows.len() * MAX_MESSAGE_BYTES / text.len();
            self.rows.truncate(fitting.clamp(1, self.rows.len() - 1));
            self.more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u128, subscriptions: usize) -> Row {
        Row {
            id: Uuid::from_u128(number),
            dialect: "notify".into(),
            user: None,
            session: None,
            name: None,
            address: IpAddr::from([192, 0, 2, 1]),
            opened_at_ms: 0,
            subscriptions: vec!["x".repeat(200).into(); subscriptions],
            detail: RowDetail::default(),
        }
    }

    fn numbers(page: &RowPage) -> Vec<u128> {
        page.rows.iter().map(|row| row.id.as_u128()).collect()
    }

    #[test]
    fn a_page_over_the_size_of_a_message_is_cut_and_no_connection_is_skipped() {
        let filter = Filter {
            limit: 1000,
            ..Filter::default()
        };
        let rows = |numbers: Vec<u128>, subscriptions| RowPage {
            rows: numbers
                .into_iter()
                .map(|number| row(number, subscriptions))
                .collect(),
            more: false,
        };
        let json = rows((0..100).map(|n| 2 * n).collect(), 1000)
            .into_json()
            .expect("it is written");
        assert!(json.len() <= MAX_MESSAGE_BYTES);
        let cut: RowPage = serde_json::from_slice(&json).expect("it is a page");
        assert!(
            cut.more && (20..50).contains(&cut.rows.len()),
            "{}",
            cut.rows.len()
        );
        let last = 2 * (cut.rows.len() as u128 - 1);
        let whole = rows((0..100).map(|n| 2 * n + 1).collect(), 0);
        let page = filter.merge([cut, whole]);
        assert_eq!(numbers(&page), (0..=last).collect::<Vec<_>>());
        assert!(page.more);
        let rest = filter.merge([rows(vec![3, 1], 0), rows(vec![2], 0)]);
        assert_eq!((numbers(&rest), rest.more), (vec![1, 2, 3], false));
        let two = Filter { limit: 2, ..filter };
        let page = two.merge([rows(vec![3, 1], 0), rows(vec![2], 0)]);
        assert_eq!((numbers(&page), page.more), (vec![1, 2], true));
    }

    #[test]
    fn only_set_fields_are_sent_and_unknown_fields_are_refused() {
        let plain = Filter {
            limit: 5,
            ..Filter::default()
        };
        assert_eq!(
            serde_json::to_string(&plain).expect("it is written"),
            r#"{"limit":5}"#
        );
        assert_eq!(serde_json::from_str::<Filter>(r#"{"limit":5}"#).ok(), Some(plain));
        assert!(serde_json::from_str::<Filter>(r#"{"limit":5,"by_age":true}"#).is_err());
    }
}
