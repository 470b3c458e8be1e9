//! Chooses the server that a node uses: the one of a URL, the master that Sentinels name, or one node of a Cluster.

use fanfare_cluster::transport::Failed;
use redis::{Client, ClientTlsConfig, Cmd, TlsCertificates, Value, cluster::ClusterClient};

use super::{
    address,
    cluster::Cluster,
    errors::ErrorTexts,
    sentinel::Sentinels,
    server::{Purpose, Server, check_alive, open, read_list},
};
use crate::{BrokerOptions, OpenError, tls_files::TlsFiles};

/// The configured servers.
pub(super) struct Servers {
    topology: Topology,
    pub(super) texts: ErrorTexts,
}

enum Topology {
    Single(Client),
    Sentinel(Sentinels),
    Cluster(Box<Cluster>),
}

impl Servers {
    /// Reads `options` without connecting. In a Cluster, the master of the slot of `key` is used.
    ///
    /// # Errors
    /// If a URL or the authorities are not usable, or the options exclude each other.
    pub(super) fn new(options: &BrokerOptions, key: String) -> Result<Self, OpenError> {
        let mut given = [
            (!options.url.is_empty()).then_some("url"),
            options.sentinel.as_ref().map(|_| "sentinel"),
            (!options.cluster.is_empty()).then_some("cluster"),
        ]
        .into_iter()
        .flatten();
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            let reason =
                format!("broker.{first} and broker.{second} exclude each other; expected one of the two");
            return Err(OpenError::setting(second, reason));
        }
        let files = TlsFiles::read(options)?;
        let certificates = certificates(&files);
        let certificates = certificates.as_ref();
        let (topology, infos) = if let Some(options) = &options.sentinel {
            let (sentinels, infos) = Sentinels::new(options, certificates)?;
            (Topology::Sentinel(sentinels), infos)
        } else if options.cluster.is_empty() {
            let info = address::read(&options.url, certificates).map_err(OpenError::BadUrl)?;
            (Topology::Single(open(&info)?), vec![info])
        } else {
            let infos = read_list("cluster", &options.cluster, certificates)?;
            let cluster = Cluster::new(&infos, key, certificates)?;
            (Topology::Cluster(Box::new(cluster)), infos)
        };
        if let Some(name) = files.given()
            && !infos.iter().any(address::is_encrypted)
        {
            let reason = "found a file although no URL uses TLS; expected rediss:// or valkeys://";
            return Err(OpenError::setting(name, reason));
        }
        Ok(Self {
            topology,
            texts: ErrorTexts::new(&infos),
        })
    }

    /// Returns the client of the server, if there is only one.
    pub(super) fn single(&self) -> Option<&Client> {
        match &self.topology {
            Topology::Single(client) => Some(client),
            Topology::Sentinel(_) | Topology::Cluster(_) => None,
        }
    }

    /// Returns the client for sharded subscriptions, in a Cluster.
    pub(super) fn sharded_client(&self) -> Option<ClusterClient> {
        match &self.topology {
            Topology::Cluster(cluster) => Some(cluster.client.clone()),
            Topology::Single(_) | Topology::Sentinel(_) => None,
        }
    }

    /// Returns the hosts and ports, for the log.
    pub(super) fn address(&self) -> String {
        match &self.topology {
            Topology::Single(client) => address::place(client.get_connection_info()),
            Topology::Sentinel(sentinels) => sentinels.address(),
            Topology::Cluster(cluster) => cluster.seeds.clone(),
        }
    }

    /// Connects to the server to use now.
    ///
    /// # Errors
    /// If the server cannot be found, or does not answer.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Server, Failed> {
        match &self.topology {
            Topology::Single(client) => {
                let connected = Server::connect(client.get_connection_info()).await;
                connected.map_err(|error| self.texts.describe(&error))
            }
            Topology::Sentinel(sentinels) => sentinels.connect(&self.texts).await,
            Topology::Cluster(cluster) => cluster.connect(purpose, &self.texts).await,
        }
    }

    /// Repeats those of `commands` whose `answers` redirect to another node of a Cluster, and replaces the answers.
    pub(super) async fn follow(&self, commands: &[Cmd], answers: &mut [Value]) {
        let Topology::Cluster(cluster) = &self.topology else {
            return;
        };
        let (mut moved, mut redirections) = (Vec::new(), Vec::new());
        for (command, answer) in commands.iter().zip(answers) {
            if let Value::ServerError(error) = answer
                && matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN")
            {
                moved.push(command.clone());
                redirections.push(answer);
            }
        }
        if moved.is_empty() {
            return;
        }
        for (redirection, answer) in redirections.into_iter().zip(cluster.follow(&moved).await) {
            if let Some(answer) = answer {
                *redirection = answer;
            }
        }
    }

    /// Checks that `server` answers and is still the one to use.
    ///
    /// # Errors
    /// If it does not, or is not.
    pub(super) async fn check(&self, server: &Server) -> Result<(), Failed> {
        match &self.topology {
            Topology::Single(_) => {
                let mut connection = server.connection.clone();
                let answer = redis::cmd("PING").query_async::<Value>(&mut connection).await;
                check_alive(&self.texts, answer)
            }
            Topology::Sentinel(sentinels) => sentinels.check(server, &self.texts).await,
            Topology::Cluster(cluster) => cluster.check(server, &self.texts).await,
        }
    }
}

/// Returns the configured files in the client library's form.
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
