//! The server under test: a process with its own configuration, on free ports of the loopback interface.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::{Duration, SystemTime},
};

use fanfare_accounts::mint::mint;
use fanfare_core::{DialectKind, UserId};
use serde_json::Map;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{LoginLimits, ServerSettings, child::Child, client::Upgrade, subscriptions::Subscriptions};

/// The limit of a start, which takes milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The lifetime of tokens, so that none expires in a run.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Server {
    child: Child,
    pub(crate) clients: SocketAddr,
    pub(crate) door: SocketAddr,
    pub(crate) dialect: &'static DialectKind,
    secret: String,
    folder: TempDir,
}

const CONFIGURATION: &str = "fanfare.toml";

impl Server {
    /// Starts a server for at most `connections` clients with `subscriptions`, and waits until it accepts them.
    pub(crate) async fn start(
        shards: usize,
        connections: usize,
        subscriptions: Subscriptions,
    ) -> Result<Self, String> {
        Self::start_with(shards, connections, subscriptions, LoginLimits::Default).await
    }

    /// Does the same with `limits` on failed logins.
    pub(crate) async fn start_with(
        shards: usize,
        connections: usize,
        subscriptions: Subscriptions,
        limits: LoginLimits,
    ) -> Result<Self, String> {
        let dialect = subscriptions.dialect()?;
        let folder = tempfile::Builder::new().prefix("fanfare-bench-").tempdir();
        let folder = folder.map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let ports = free_ports();
        let [clients, door] =
            ports.map_err(|error| format!("no free ports on the loopback interface: {error}"))?;
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let file = folder.path().join(CONFIGURATION);
        let text = ServerSettings {
            dialect: dialect.name,
            data: &folder.path().join("data"),
            clients,
            door,
            secret: &secret,
            limits,
            shards,
            connections,
        }
        .to_toml();
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let args = ["serve".as_ref(), "--config".as_ref(), file.as_os_str()];
        let child = Child::start(&args, Stdio::null())?;
        let mut server = Self {
            child,
            clients,
            door,
            dialect,
            secret,
            folder,
        };
        server.wait_until_open().await?;
        Ok(server)
    }

    async fn wait_until_open(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        for address in [self.clients, self.door] {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = self.child.ended() {
                    return Err(format!("the server did not start: {status}"));
                }
                if Instant::now() > deadline {
                    return Err(format!(
                        "the server does not listen on {address} after {START_TIMEOUT:?}"
                    ));
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the upgrades of the users with the numbers 0 to `count`, with `subscriptions`.
    pub(crate) fn upgrades(
        &self,
        subscriptions: Subscriptions,
        count: usize,
    ) -> Result<Vec<Upgrade>, String> {
        let (secret, name) = (self.secret.as_bytes(), self.dialect.name);
        let upgrade = |number| {
            let token = mint(secret, &user(number)?, TOKEN_TTL, &Map::new(), SystemTime::now());
            let plan = subscriptions.plan(self.dialect, number, &token);
            let plan = plan.ok_or_else(|| format!("{name} cannot receive {subscriptions:?}"))?;
            Ok(Upgrade::new(self.clients, &plan))
        };
        (0..count).map(upgrade).collect()
    }

    pub(crate) async fn disable(&self, user: &str) -> Result<(), String> {
        let file = self.folder.path().join(CONFIGURATION);
        let args = [
            "user".as_ref(),
            "disable".as_ref(),
            user.as_ref(),
            "--config".as_ref(),
            file.as_os_str(),
        ];
        let mut child = Child::start(&args, Stdio::null())?;
        match child.wait(START_TIMEOUT).await {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("disabling an account: {status}")),
            None => Err("disabling an account took too long".into()),
        }
    }

    pub(crate) async fn stop(self) -> Result<(), String> {
        match self.child.stop().await? {
            status if status.success() => Ok(()),
            status => Err(format!("the server failed: {status}")),
        }
    }
}

pub(crate) fn user(number: usize) -> Result<UserId, String> {
    UserId::new(&number.to_string()).map_err(|error| error.to_string())
}

fn free_ports() -> std::io::Result<[SocketAddr; 2]> {
    // A port that is released before the other is bound could be bound again.
    let listeners = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    ];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}
