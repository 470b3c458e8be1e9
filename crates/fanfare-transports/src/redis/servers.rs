//! Chooses the server that a node uses: the one of a URL, the master that Sentinels name, or one node of a Cluster.

use fanfare_cluster::transport::Failed;
use redis::{Client, ClientTlsConfig, Cmd, TlsCertificates, Value, cluster::ClusterClient};

use super::{
    address,
    cluster::Cluster,
    errors::ErrorTexts,
    sentinel::Sentinel,
    server::{Server, Side, alive, open, read_list},
};
use crate::{BrokerOptions, OpenError, tls_files::TlsFiles};

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

impl Servers {
    /// Reads `options` without connecting. In a Cluster, `key` chooses the node.
    ///
    /// # Errors
    /// If a URL or the authorities are not usable, or the options exclude each other.
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
        let files = TlsFiles::read(options)?;
        let certificates = certificates(&files);
        let certificates = certificates.as_ref();
        let (choice, infos) = if let Some(sentinel) = &options.sentinel {
            let (sentinel, infos) = Sentinel::new(sentinel, certificates)?;
            (Choice::Sentinel(sentinel), infos)
        } else if options.cluster.is_empty() {
            let info = address::read(&options.url, certificates).map_err(OpenError::BadUrl)?;
            (Choice::One(open(&info)?), vec![info])
        } else {
            let infos = read_list("cluster", &options.cluster, certificates)?;
            (
                Choice::Cluster(Box::new(Cluster::new(&infos, key, certificates)?)),
                infos,
            )
        };
        if let Some(name) = files.given()
            && !infos.iter().any(address::is_encrypted)
        {
            return Err(OpenError::BadSetting {
                name,
                reason: "found a file although no URL uses TLS; expected rediss:// or valkeys://".to_owned(),
            });
        }
        Ok(Self {
            choice,
            texts: ErrorTexts::new(&infos),
        })
    }

    /// Returns the client of the server, if there is only one.
    pub(super) fn only(&self) -> Option<&Client> {
        match &self.choice {
            Choice::One(client) => Some(client),
            Choice::Sentinel(_) | Choice::Cluster(_) => None,
        }
    }

    /// Returns the client for sharded subscriptions, in a Cluster.
    pub(super) fn sharded_client(&self) -> Option<ClusterClient> {
        match &self.choice {
            Choice::Cluster(cluster) => Some(cluster.client.clone()),
            Choice::One(_) | Choice::Sentinel(_) => None,
        }
    }

    /// Returns the host and the port, for the log.
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
    /// If the server is not known, or does not answer.
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

    /// Checks that `server` answers and is still the one to use.
    ///
    /// # Errors
    /// If it does not, or is not.
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

/// Returns the configured files in the library's form.
fn certificates(files: &TlsFiles) -> Option<TlsCertificates> {
    files.given()?;
    Some(TlsCertificates {
        client_tls: files.client.as_ref().map(|client| ClientTlsConfig {
            client_cert: client.certificate.clone(),
            client_key: client.key.clone(),
        }),
        root_cert: files.authorities.clone(),
    })
}
