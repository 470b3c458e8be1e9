//! The configuration of the server under test.

use std::{net::SocketAddr, path::Path};

/// The limits on failed logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginLimits {
    /// The server's defaults.
    Default,
    /// No limits.
    Off,
}

/// The settings of the server under test.
pub struct ServerSettings<'a> {
    /// The only dialect that it serves.
    pub dialect: &'a str,
    /// Its data folder.
    pub data: &'a Path,
    /// The address for clients.
    pub clients: SocketAddr,
    /// The address for publishers, by the Redis protocol.
    pub door: SocketAddr,
    /// The secret that signs tokens.
    pub secret: &'a str,
    /// The limits on failed logins.
    pub limits: LoginLimits,
    /// The number of its threads.
    pub shards: usize,
    /// The maximum of clients.
    pub connections: usize,
}

impl ServerSettings<'_> {
    /// Returns the configuration file. The server must accept it without a warning.
    pub fn to_toml(&self) -> String {
        let Self {
            dialect,
            data,
            clients,
            door,
            secret,
            limits,
            shards,
            connections,
        } = self;
        let limits = match limits {
            LoginLimits::Default => "",
            LoginLimits::Off => "login_attempts_per_minute = 0\nlogin_attempts_per_minute_per_ip = 0",
        };
        // The generator answers no pings, so the server sends none. The extra connections are for the warm-up.
        let most = connections + 1000;
        let data = toml::Value::from(data.display().to_string()); // quotes any character
        format!(
            r#"
data_dir = {data}
[[listener]]
bind = "{clients}"
dialects = ["{dialect}"]
[{dialect}]
max_connections = {most}
max_connections_per_ip = 0
ping_interval = "12h"
ping_timeout = "24h"
[auth]
jwt_secret = "{secret}"
{limits}
[broker]
kind = "memory"
[resp]
bind = "{door}"
[shutdown]
timeout = "5s"
drain_window = "0s"
[log]
level = "warn"
[server]
shards = {shards}
"#
        )
    }
}
