//! Finds the master that Sentinels name.
//!
//! The client library's own support asks the Sentinels once, and takes the first answer in the order of the list. A Sentinel that was
//! cut off from the others would keep a node at a master that has been replaced. Here all Sentinels are asked at each check, and the
//! majority decides.

use std::sync::Mutex;

use fanfare_cluster::transport::Failed;
use fanfare_core::locked;
use redis::{Client, ConnectionInfo, TlsCertificates, Value, aio::MultiplexedConnection};

use super::{
    address,
    errors::ErrorTexts,
    server::{self, QUESTION_TIMEOUT, Server, majority},
};
use crate::{OpenError, SentinelOptions};

/// The Sentinels of one master.
pub(super) struct Sentinels {
    /// The name of the master.
    master: String,
    all: Vec<Sentinel>,
    /// The settings of connections to the master, with the address of the first Sentinel.
    template: ConnectionInfo,
    /// The master's address at the last connection.
    last: Mutex<Option<String>>,
}

struct Sentinel {
    client: Client,
    /// The connection of the last question, for the next one.
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// A host and a port.
type Place = (String, u16);

impl Sentinels {
    /// Reads the Sentinels in `options`. Also returns all servers that have passwords.
    ///
    /// # Errors
    /// If the name or a URL is not usable.
    pub(super) fn new(
        options: &SentinelOptions,
        authorities: Option<&TlsCertificates>,
    ) -> Result<(Self, Vec<ConnectionInfo>), OpenError> {
        let missing = |name, what: &str| OpenError::setting(name, format!("found none, expected {what}"));
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
        let all = infos.iter().map(|info| {
            Ok(Sentinel {
                client: server::open(info)?,
                connection: Mutex::default(),
            })
        });
        let this = Self {
            master: options.master.clone(),
            all: all.collect::<Result<_, OpenError>>()?,
            template: template.clone(),
            last: Mutex::default(),
        };
        infos.push(template);
        Ok((this, infos))
    }

    /// Returns the master's address, or its name until it is found, and the Sentinels.
    pub(super) fn address(&self) -> String {
        let last = locked(&self.last).clone();
        let sentinels: Vec<String> = self.all.iter().map(Sentinel::place).collect();
        let master = last.unwrap_or_else(|| self.master.clone());
        format!("{master} (Sentinel: {})", sentinels.join(", "))
    }

    /// Connects to the master.
    pub(super) async fn connect(&self, texts: &ErrorTexts) -> Result<Server, Failed> {
        let (host, port) = self.master(None, texts).await?;
        let info = address::with_address(&self.template, &host, port);
        let place = address::place(&info);
        *locked(&self.last) = Some(place.clone());
        let at = |error| format!("the master {place}: {error}");
        let connected = Server::connect(&info).await;
        let server = connected.map_err(|error| at(texts.describe(&error)))?;
        check_master(&server, texts).await.map_err(at)?;
        Ok(server)
    }

    /// Checks that `server` answers and is still the master.
    pub(super) async fn check(&self, server: &Server, texts: &ErrorTexts) -> Result<(), Failed> {
        check_master(server, texts).await?;
        let current = address::host_and_port(server.client.get_connection_info());
        match self.master(Some(&current), texts).await {
            Ok(named) if named != current => {
                let named = address::place(&address::with_address(&self.template, &named.0, named.1));
                Err(format!("the Sentinels name another master, {named}"))
            }
            // If no Sentinel answers, the node keeps its master.
            _ => Ok(()),
        }
    }

    /// Returns the master that most Sentinels name.
    async fn master(&self, current: Option<&Place>, texts: &ErrorTexts) -> Result<Place, Failed> {
        let answers = self.all.iter().map(|sentinel| async {
            let named = sentinel.ask(&self.master, texts).await;
            named.map_err(|error| format!("Sentinel {}: {error}", sentinel.place()))
        });
        majority(answers, current).await
    }
}

impl Sentinel {
    fn place(&self) -> String {
        address::place(self.client.get_connection_info())
    }

    /// Asks for the address of the master called `name`.
    async fn ask(&self, name: &str, texts: &ErrorTexts) -> Result<Place, Failed> {
        let kept = locked(&self.connection).take();
        let mut connection = if let Some(connection) = kept {
            connection
        } else {
            let connected = server::connect(&self.client, QUESTION_TIMEOUT).await;
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

/// Checks that `server` answers, and is no replica. It may refuse the command for its role.
async fn check_master(server: &Server, texts: &ErrorTexts) -> Result<(), Failed> {
    let mut connection = server.connection.clone();
    match redis::cmd("ROLE").query_async::<Value>(&mut connection).await {
        Ok(Value::Array(role)) if role.first() == Some(&Value::BulkString(b"slave".to_vec())) => {
            Err("it is a replica".to_owned())
        }
        answer => server::check_alive(texts, answer),
    }
}
