//! A Redis server that belongs to one test.

use std::{net::TcpListener, time::Instant};

use crate::process::Process;

/// A `redis-server` on a free loopback port, with its files in a temporary folder.
pub(crate) struct RedisServer {
    process: Process,
    port: u16,
    folder: tempfile::TempDir,
    password: Option<&'static str>,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts a server and waits until it accepts connections.
    ///
    /// # Panics
    /// If neither `redis-server` nor `valkey-server` is installed: a test that needs Redis fails without it.
    pub(crate) fn start() -> Self {
        Self::start_as(free_port(), None, &[])
    }

    /// As [`Self::start`], with a password.
    pub(crate) fn start_with(password: Option<&'static str>) -> Self {
        Self::start_as(free_port(), password, &[])
    }

    /// As [`Self::start`], on this port and with further arguments.
    pub(crate) fn start_as(port: u16, password: Option<&'static str>, arguments: &[&str]) -> Self {
        let mut arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        if let Some(password) = password {
            arguments.extend(["--requirepass".to_owned(), password.to_owned()]);
        }
        let folder = tempfile::tempdir().unwrap();
        let process = launch(port, &folder, &arguments);
        let mut server = Self {
            process,
            port,
            folder,
            password,
            arguments,
        };
        server.wait();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        let password = self
            .password
            .map_or(String::new(), |password| format!(":{password}@"));
        format!("redis://{password}127.0.0.1:{}/", self.port)
    }

    /// Ends the server like `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port. Returns the time at which it accepted connections.
    pub(crate) fn restart(&mut self) -> Instant {
        self.process = launch(self.port, &self.folder, &self.arguments);
        self.wait();
        Instant::now()
    }

    /// Stops or continues the process, which keeps its connections.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As [`Self::url`], for another user.
    pub(crate) fn url_for(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}/", self.port)
    }

    /// Executes a command of an administrator or a backend on a new connection.
    pub(crate) fn command(&self, words: &[&str]) -> redis::Value {
        self.try_command(words).unwrap()
    }

    /// As [`Self::command`], or Redis' error.
    pub(crate) fn try_command(&self, words: &[&str]) -> Result<redis::Value, String> {
        let client = redis::Client::open(self.url()).unwrap();
        let error = |error: redis::RedisError| format!("{:?} {error}", error.code());
        // A Sentinel ends all connections of a master that it demotes.
        let mut connection = client.get_connection().map_err(error)?;
        let command = redis::cmd(words[0]).arg(&words[1..]).to_owned();
        command.query(&mut connection).map_err(error)
    }

    fn wait(&mut self) {
        let client = redis::Client::open(self.url()).unwrap();
        self.process.wait(|| client.get_connection().is_ok());
    }
}

/// Returns a port that is free on loopback.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn launch(port: u16, folder: &tempfile::TempDir, arguments: &[String]) -> Process {
    // Sentinels read and write a file.
    let file = folder.path().join("server.conf");
    if !file.exists() {
        std::fs::write(&file, "").unwrap();
    }
    Process::start(&["redis-server", "valkey-server"], "redis-server", |command| {
        let command = command
            .arg(&file)
            .args(["--bind", "127.0.0.1", "--save", "", "--port"]);
        let command = command.arg(port.to_string()).arg("--dir").arg(folder.path());
        command.args(arguments);
    })
}
