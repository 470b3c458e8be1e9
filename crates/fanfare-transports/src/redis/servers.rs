//! Which server a node uses: the one of a URL, the master that Sentinels name, or one node of a Cluster.

use std::time::Duration;

use fanfare_cluster::{ANSWER_TIMEOUT, transport::Failed};
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, RedisError, TlsCertificates, Value,
    aio::MultiplexedConnection, cluster::ClusterClient,
};

use super::{address, cluster::Cluster, errors::ErrorTexts, sentinel::Sentinel};
use crate::{BrokerOptions, OpenError};

/// How long one of several servers may take to say which server to use.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(250);

/// See the module's documentation.
pub(super) struct Servers {
    choice: Choice,
    pub(super) texts: ErrorTexts,
}

enum Choice {
    One(Client),
    Sentinel(Sentinel),
    Cluster(Box<Cluster>),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Publishing = 0,
    Receiving = 1,
}

/// A server to use, and a connection to it.
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) connection: MultiplexedConnection,
    /// Checks in a row to which it replied that its Cluster is down.
    pub(super) down: std::sync::atomic::AtomicU32,
}

impl Servers {
    /// The servers in `options`; connects to none. A Cluster's node is chosen by `key`.
    ///
    /// # Errors
    /// When a URL or the authorities are not usable, or the options exclude each other.
    pub(super) fn new(options: &BrokerOptions, key: String) -> Result<Self, OpenError> {
        let given = [
            ("url", !options.url.is_empty()),
            ("sentinel", options.sentinel.is_some()),
            ("cluster", !options.cluster.is_empty()),
        ];
        let mut given = given
            .iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| *name);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(OpenError::BadSetting {
                name: second,
                reason: format!(
                    "broker.{first} and broker.{second} exclude each other; expected one of the two"
                ),
            });
        }
        let authorities = authorities(options)?;
        let authorities = authorities.as_ref();
        let (choice, infos) = if let Some(sentinel) = &options.sentinel {
            let (sentinel, infos) = Sentinel::new(sentinel, authorities)?;
            (Choice::Sentinel(sentinel), infos)
        } else if options.cluster.is_empty() {
            let info = address::read(&options.url, authorities).map_err(OpenError::BadUrl)?;
            (Choice::One(open(&info)?), vec![info])
        } else {
            let infos = read_list("cluster", &options.cluster, authorities)?;
            (
                Choice::Cluster(Box::new(Cluster::new(&infos, key, authorities)?)),
                infos,
            )
        };
        if authorities.is_some() && !infos.iter().any(address::is_encrypted) {
            return Err(OpenError::BadSetting {
                name: "ca_file",
                reason: "found a file although no URL uses TLS; expected rediss:// or valkeys://".to_owned(),
            });
        }
        Ok(Self {
            choice,
            texts: ErrorTexts::new(&infos),
        })
    }

    /// The client of the server, if there is but one.
    pub(super) fn only(&self) -> Option<&Client> {
        match &self.choice {
            Choice::One(client) => Some(client),
            Choice::Sentinel(_) | Choice::Cluster(_) => None,
        }
    }

    /// The client for what is published by `SPUBLISH`, in a Cluster.
    pub(super) fn sharded_client(&self) -> Option<ClusterClient> {
        match &self.choice {
            Choice::Cluster(cluster) => Some(cluster.client.clone()),
            Choice::One(_) | Choice::Sentinel(_) => None,
        }
    }

    /// The host and the port, for the log.
    pub(super) fn address(&self) -> String {
        match &self.choice {
            Choice::One(client) => address::place(client.get_connection_info()),
            Choice::Sentinel(sentinel) => sentinel.address(),
            Choice::Cluster(cluster) => cluster.address(),
        }
    }

    /// Connects to the server to use now, for publishing or for receiving.
    ///
    /// # Errors
    /// When it is not known, or does not answer.
    pub(super) async fn find(&self, side: Side) -> Result<Server, Failed> {
        match &self.choice {
            Choice::One(client) => {
                let connected = Server::connect(client.get_connection_info()).await;
                connected.map_err(|error| self.texts.describe(&error))
            }
            Choice::Sentinel(sentinel) => sentinel.find(&self.texts).await,
            Choice::Cluster(cluster) => cluster.find(side, &self.texts).await,
        }
    }

    /// Repeats those of `commands` whose `answers` name another server, and replaces the answers.
    pub(super) async fn follow(&self, commands: &[Cmd], answers: &mut [Value]) {
        let Choice::Cluster(cluster) = &self.choice else {
            return;
        };
        let is_elsewhere = |answer: &Value| match answer {
            Value::ServerError(error) => matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN"),
            _ => false,
        };
        let (mut moved, mut places) = (Vec::new(), Vec::new());
        for (command, answer) in commands.iter().zip(answers) {
            if is_elsewhere(answer) {
                moved.push(command.clone());
                places.push(answer);
            }
        }
        if moved.is_empty() {
            return;
        }
        for (place, answer) in places.into_iter().zip(cluster.follow(&moved).await) {
            if let Some(answer) = answer {
                *place = answer;
            }
        }
    }

    /// Waits for a sign of life of `server`, and checks that it is still the one to use.
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn check(&self, server: &Server) -> Result<(), Failed> {
        match &self.choice {
            Choice::One(_) => {
                let mut connection = server.connection.clone();
                let answer = redis::cmd("PING").query_async::<Value>(&mut connection).await;
                alive(&self.texts, answer)
            }
            Choice::Sentinel(sentinel) => sentinel.check(server, &self.texts).await,
            Choice::Cluster(cluster) => cluster.check(server, &self.texts).await,
        }
    }
}

impl Server {
    pub(super) async fn connect(info: &ConnectionInfo) -> Result<Self, RedisError> {
        let client = Client::open(info.clone())?;
        Ok(Self {
            connection: connect(&client, ANSWER_TIMEOUT).await?,
            client,
            down: 0.into(),
        })
    }
}

/// Connects to a server that only says which server to use.
pub(super) async fn connect_briefly(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    connect(client, QUESTION_TIMEOUT).await
}

async fn connect(client: &Client, timeout: Duration) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// A client, which connects to nothing.
///
/// # Errors
/// When the server cannot be connected to from this system.
pub(super) fn open(info: &ConnectionInfo) -> Result<Client, OpenError> {
    Client::open(info.clone())
        .map_err(|_| OpenError::BadUrl("expected a server that this system can connect to"))
}

/// As [`open`], for an address that was checked before.
pub(super) fn client(info: &ConnectionInfo) -> Result<Client, RedisError> {
    Client::open(info.clone())
}

/// Whether an answer came. An error of Redis is one: it is there, though it may be loading its data, or refuse `PING`.
pub(super) fn alive(texts: &ErrorTexts, answer: Result<Value, RedisError>) -> Result<(), Failed> {
    match answer {
        Err(error) if error.code().is_none() => Err(texts.describe(&error)),
        _ => Ok(()),
    }
}

/// The authorities in the configured file.
fn authorities(options: &BrokerOptions) -> Result<Option<TlsCertificates>, OpenError> {
    let Some(file) = &options.ca_file else {
        return Ok(None);
    };
    crate::authorities(file).map(|pem| {
        Some(TlsCertificates {
            client_tls: None,
            root_cert: Some(pem),
        })
    })
}

/// Reads the URLs of the setting called `name`, all of which log in the same way.
pub(super) fn read_list(
    name: &'static str,
    urls: &[String],
    authorities: Option<&TlsCertificates>,
) -> Result<Vec<ConnectionInfo>, OpenError> {
    let wrong = |number: usize, reason: &str| OpenError::BadSetting {
        name,
        reason: format!("URL {} is not usable: {reason}", number + 1),
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

/// The place that most of `answers` name, and of several such `current`. Once more than half of all name one, the rest
/// is not waited for.
///
/// # Errors
/// When none names any; with one of the reasons.
pub(super) async fn most_named<P: PartialEq>(
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
    fn most_win_and_of_equals_the_current_one() {
        let most = |answers: &[Result<u8, &str>], current| {
            let answers = answers.iter().map(|answer| ready(answer.map_err(str::to_owned)));
            futures_util::FutureExt::now_or_never(most_named(answers, current)).and_then(Result::ok)
        };
        assert_eq!(most(&[Ok(1), Ok(2), Ok(2)], Some(&1)), Some(2));
        assert_eq!(most(&[Ok(1), Err("away"), Ok(2)], Some(&1)), Some(1));
        assert_eq!(most(&[Ok(1), Err("away"), Ok(2)], Some(&2)), Some(2));
        assert_eq!(most(&[Err("away"), Err("away"), Ok(2)], Some(&1)), Some(2));
        assert_eq!(most(&[Err("away")], Some(&1)), None);
        assert_eq!(most(&[], None), None);
    }
}
