//! Connects to one Redis server, and asks several servers which one to use.

use std::time::Duration;

use fanfare_cluster::{ANSWER_TIMEOUT, transport::Failed};
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, RedisError, TlsCertificates, Value,
    aio::MultiplexedConnection,
};

use super::{address, errors::ErrorTexts};
use crate::OpenError;

/// The time that one of several servers has to name the server to use.
pub(super) const QUESTION_TIMEOUT: Duration = Duration::from_millis(250);

/// The purpose of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Publishing = 0,
    Receiving = 1,
}

/// The server to use, and a connection to it.
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) connection: MultiplexedConnection,
    /// The checks in a row to which the server replied that its Cluster is down.
    pub(super) down_checks: std::sync::atomic::AtomicU32,
}

impl Server {
    pub(super) async fn connect(info: &ConnectionInfo) -> Result<Self, RedisError> {
        let client = Client::open(info.clone())?;
        Ok(Self {
            connection: connect(&client, ANSWER_TIMEOUT).await?,
            client,
            down_checks: 0.into(),
        })
    }
}

/// Connects within `timeout`, which is also the time for each answer.
pub(super) async fn connect(client: &Client, timeout: Duration) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Returns a client without connecting.
///
/// # Errors
/// If this system cannot connect to such a server.
pub(super) fn open(info: &ConnectionInfo) -> Result<Client, OpenError> {
    Client::open(info.clone())
        .map_err(|_| OpenError::BadUrl("expected a server that this system can connect to"))
}

/// Fails if no answer arrived. An error of Redis is an answer: the server is alive, even if it is loading its data or refuses `PING`.
pub(super) fn check_alive(texts: &ErrorTexts, answer: Result<Value, RedisError>) -> Result<(), Failed> {
    match answer {
        Err(error) if error.code().is_none() => Err(texts.describe(&error)),
        _ => Ok(()),
    }
}

/// Reads the URLs of the setting called `name`, which must have the same user and password.
pub(super) fn read_list(
    name: &'static str,
    urls: &[String],
    authorities: Option<&TlsCertificates>,
) -> Result<Vec<ConnectionInfo>, OpenError> {
    let wrong = |number: usize, reason: &str| {
        OpenError::setting(name, format!("URL {} is not usable: {reason}", number + 1))
    };
    let mut infos: Vec<ConnectionInfo> = Vec::with_capacity(urls.len());
    for (number, url) in urls.iter().enumerate() {
        let info = address::read_one_of_many(url, authorities).map_err(|reason| wrong(number, reason))?;
        if let Some(first) = infos.first() {
            let (one, other) = (first.redis_settings(), info.redis_settings());
            if (one.username(), one.password()) != (other.username(), other.password()) {
                return Err(wrong(
                    number,
                    "expected the user and the password of the first URL",
                ));
            }
            if address::is_encrypted(first) != address::is_encrypted(&info) {
                return Err(wrong(number, "expected TLS in all URLs or in none"));
            }
        }
        infos.push(info);
    }
    Ok(infos)
}

/// Returns the place that most of `answers` name, or `current` in a tie. Returns as soon as more than half name the same place.
///
/// # Errors
/// If no answer names a place: one of the reasons.
pub(super) async fn majority<P: PartialEq>(
    answers: impl IntoIterator<Item = impl Future<Output = Result<P, Failed>>>,
    current: Option<&P>,
) -> Result<P, Failed> {
    let mut answers: FuturesUnordered<_> = answers.into_iter().collect();
    let all = answers.len();
    let mut named: Vec<(P, usize)> = Vec::new();
    let mut error = "none is configured".to_owned();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(place) => {
                let known = named.iter_mut().find(|(known, _)| *known == place);
                let count = known.map(|(_, count)| {
                    *count += 1;
                    *count
                });
                if count.unwrap_or(1) * 2 > all {
                    return Ok(place);
                }
                if count.is_none() {
                    named.push((place, 1));
                }
            }
            Err(reason) => error = reason,
        }
    }
    let best = named
        .into_iter()
        .max_by_key(|(place, count)| (*count, Some(place) == current));
    best.map(|(place, _)| place).ok_or(error)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[test]
    fn the_majority_decides_and_the_current_place_wins_a_tie() {
        let most = |answers: &[Result<u8, &str>], current| {
            let answers = answers.iter().map(|answer| ready(answer.map_err(str::to_owned)));
            futures_util::FutureExt::now_or_never(majority(answers, current)).and_then(Result::ok)
        };
        assert_eq!(most(&[Ok(1), Ok(2), Ok(2)], Some(&1)), Some(2));
        assert_eq!(most(&[Ok(1), Err("away"), Ok(2)], Some(&1)), Some(1));
        assert_eq!(most(&[Ok(1), Err("away"), Ok(2)], Some(&2)), Some(2));
        assert_eq!(most(&[Err("away"), Err("away"), Ok(2)], Some(&1)), Some(2));
        assert_eq!(most(&[Err("away")], Some(&1)), None);
        assert_eq!(most(&[], None), None);
    }
}
