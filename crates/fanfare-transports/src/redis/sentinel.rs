//! The master that Sentinels name.
//!
//! The client library's own support takes the first answer in the order of the list, and asks once. A Sentinel that was
//! cut off from the others would keep a node at a master that has been replaced, so here all are asked, again and again,
//! and the majority decides.

use std::sync::Mutex;

use fanfare_cluster::transport::Failed;
use fanfare_core::locked;
use redis::{Client, ConnectionInfo, TlsCertificates, Value, aio::MultiplexedConnection};

use super::{
    address,
    errors::ErrorTexts,
    server::{self, Server, most_named},
};
use crate::{OpenError, SentinelOptions};

/// See the module's documentation.
pub(super) struct Sentinel {
    /// The name of the master.
    master: String,
    watchers: Vec<Watcher>,
    /// How to connect to the master; its address is that of the first Sentinel.
    template: ConnectionInfo,
    /// The master that was found last.
    found: Mutex<Option<String>>,
}

/// One Sentinel.
struct Watcher {
    client: Client,
    /// Kept for the next question.
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// A host and a port.
type Place = (String, u16);

impl Sentinel {
    /// Reads the Sentinels in `options`. Also returns all servers that passwords are for.
    ///
    /// # Errors
    /// If the name or a URL is not usable.
    pub(super) fn new(
        options: &SentinelOptions,
        authorities: Option<&TlsCertificates>,
    ) -> Result<(Self, Vec<ConnectionInfo>), OpenError> {
        let missing = |name, what: &str| OpenError::BadSetting {
            name,
            reason: format!("found none, expected {what}"),
        };
        if options.master.is_empty() {
            let what = "the master's name at the Sentinels, such as \"mymaster\"";
            return Err(missing("sentinel.master", what));
        }
        let mut infos = server::read_list("sentinel.urls", &options.urls, authorities)?;
        let Some(first) = infos.first() else {
            return Err(missing("sentinel.urls", "the Sentinels' URLs"));
        };
        let mut settings = first.redis_settings().clone();
        if !options.username.is_empty() {
            settings = settings.set_username(&options.username);
        }
        if !options.password.is_empty() {
            settings = settings.set_password(&options.password);
        }
        let template = first.clone().set_redis_settings(settings);
        let watchers = infos.iter().map(|info| {
            Ok(Watcher {
                client: server::open(info)?,
                connection: Mutex::default(),
            })
        });
        let sentinel = Self {
            master: options.master.clone(),
            watchers: watchers.collect::<Result<_, OpenError>>()?,
            template: template.clone(),
            found: Mutex::default(),
        };
        infos.push(template);
        Ok((sentinel, infos))
    }

    /// Returns the master, or its name until it is found, and the Sentinels.
    pub(super) fn address(&self) -> String {
        let found = locked(&self.found).clone();
        let watchers: Vec<String> = self.watchers.iter().map(Watcher::place).collect();
        let master = found.unwrap_or_else(|| self.master.clone());
        format!("{master} (Sentinel: {})", watchers.join(", "))
    }

    /// Connects to the master.
    pub(super) async fn find(&self, texts: &ErrorTexts) -> Result<Server, Failed> {
        let (host, port) = self.named(None, texts).await?;
        let info = address::moved(&self.template, &host, port);
        let place = address::place(&info);
        *locked(&self.found) = Some(place.clone());
        let at = |error| format!("the master {place}: {error}");
        let connected = Server::connect(&info).await;
        let server = connected.map_err(|error| at(texts.describe(&error)))?;
        is_master(&server, texts).await.map_err(at)?;
        Ok(server)
    }

    /// Checks that `server` answers and is still the master.
    pub(super) async fn check(&self, server: &Server, texts: &ErrorTexts) -> Result<(), Failed> {
        is_master(server, texts).await?;
        let current = address::host_and_port(server.client.get_connection_info());
        match self.named(Some(&current), texts).await {
            Ok(named) if named != current => {
                let named = address::place(&address::moved(&self.template, &named.0, named.1));
                Err(format!("the Sentinels name another master, {named}"))
            }
            // Without a Sentinel the node keeps its master.
            _ => Ok(()),
        }
    }

    /// Returns the master that most Sentinels name.
    async fn named(&self, current: Option<&Place>, texts: &ErrorTexts) -> Result<Place, Failed> {
        let answers = self.watchers.iter().map(|watcher| async {
            let named = watcher.master(&self.master, texts).await;
            named.map_err(|error| format!("Sentinel {}: {error}", watcher.place()))
        });
        most_named(answers, current).await
    }
}

impl Watcher {
    fn place(&self) -> String {
        address::place(self.client.get_connection_info())
    }

    /// Returns the master called `name`.
    async fn master(&self, name: &str, texts: &ErrorTexts) -> Result<Place, Failed> {
        let kept = locked(&self.connection).take();
        let mut connection = if let Some(connection) = kept {
            connection
        } else {
            let connected = server::connect_briefly(&self.client).await;
            connected.map_err(|error| texts.describe(&error))?
        };
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let answer = question.query_async::<Option<Place>>(&mut connection).await;
        let named = answer.map_err(|error| texts.describe(&error))?;
        *locked(&self.connection) = Some(connection);
        named.ok_or_else(|| "it knows no master of this name".to_owned())
    }
}

/// Checks that `server` answers, and not as a replica. It may refuse the question.
async fn is_master(server: &Server, texts: &ErrorTexts) -> Result<(), Failed> {
    let mut connection = server.connection.clone();
    match redis::cmd("ROLE").query_async::<Value>(&mut connection).await {
        Ok(Value::Array(role)) if role.first() == Some(&Value::BulkString(b"slave".to_vec())) => {
            Err("it is a replica".to_owned())
        }
        answer => server::alive(texts, answer),
    }
}
