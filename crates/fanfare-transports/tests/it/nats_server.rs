//! A NATS server that belongs to one test.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::{harness::Node, process::Process};
use fanfare_transports::BrokerKind;

/// A `nats-server` on a free loopback port, with its files in a temporary folder.
pub(crate) struct NatsServer {
    process: Process,
    port: u16,
    folder: tempfile::TempDir,
    login: String,
}

/// JetStream, and a limit above the largest message of a node.
const DEFAULT: &str = "max_payload: 9MB\njetstream { store_dir: FOLDER }\n";

impl NatsServer {
    /// Starts a server with JetStream and waits until it accepts connections.
    ///
    /// # Panics
    /// If `nats-server` is not installed: a test that needs NATS fails without it.
    pub(crate) fn start() -> Self {
        Self::start_with(DEFAULT)
    }

    /// As [`Self::start`], configured by `text`, in which `FOLDER` is the server's folder.
    pub(crate) fn start_with(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let text = text.replace("FOLDER", &format!("{path:?}"));
        std::fs::write(
            folder.path().join("server.conf"),
            format!("listen: \"127.0.0.1:{port}\"\n{text}"),
        )
        .unwrap();
        let process = launch(&folder);
        let mut server = Self {
            process,
            port,
            folder,
            login: String::new(),
        };
        server.wait();
        server
    }

    /// Sets the fields of `CONNECT` for [`Self::send`].
    pub(crate) fn logged_in(mut self, fields: &str) -> Self {
        fields.clone_into(&mut self.login);
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// As [`Self::url`], for a user.
    pub(crate) fn url_for(&self, user: &str, password: &str) -> String {
        format!("nats://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Ends the server like `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) -> Instant {
        self.process = launch(&self.folder);
        self.wait();
        Instant::now()
    }

    /// Stops or continues the process, which keeps its connections.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Returns a node that is connected to this server.
    pub(crate) async fn node(&self, id: &str) -> Node {
        let node = Node::open(BrokerKind::Nats, &self.url(), id);
        node.ready().await;
        node
    }

    /// Publishes as another program.
    pub(crate) fn publish(&self, subject: &str, payload: &[u8]) {
        self.send(
            &[
                format!("PUB {subject} {}\r\n", payload.len()).as_bytes(),
                payload,
                b"\r\n",
            ]
            .concat(),
        );
    }

    /// Sends operations of another program on a new connection. Returns the server's errors.
    pub(crate) fn send(&self, operations: &[u8]) -> Vec<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let fields = &self.login;
        let connect = format!("CONNECT {{\"verbose\":false,\"headers\":true{fields}}}\r\n");
        socket.write_all(connect.as_bytes()).unwrap();
        socket.write_all(operations).unwrap();
        socket.write_all(b"PING\r\n").unwrap();
        let mut errors = Vec::new();
        for line in BufReader::new(socket).lines() {
            let line = line.unwrap();
            if line == "PONG" {
                break;
            }
            errors.extend(line.strip_prefix("-ERR ").map(str::to_owned));
        }
        errors
    }

    fn wait(&mut self) {
        let port = self.port;
        self.process.wait(|| {
            let mut line = String::new();
            let socket = TcpStream::connect(("127.0.0.1", port));
            let read = socket.and_then(|socket| BufReader::new(socket).read_line(&mut line));
            read.is_ok() && line.starts_with("INFO ")
        });
    }
}

fn launch(folder: &tempfile::TempDir) -> Process {
    // Debian installs it in a folder that is not in every user's PATH.
    let programs = ["nats-server", "/usr/sbin/nats-server"];
    Process::start(&programs, "nats-server", |command| {
        command.arg("--config").arg(folder.path().join("server.conf"));
    })
}
