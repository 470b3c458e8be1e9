//! Servers behind TLS, with certificates of an authority that the system does not know.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use fanfare_transports::{BrokerKind, BrokerOptions, OpenError, SentinelOptions};

use crate::{
    away::is_away,
    groups::{SLOTS, wait},
    harness::{Node, to_user},
    nats_server::NatsServer,
    server::{RedisServer, free_port},
};

/// A new authority, and a certificate for 127.0.0.1.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        this.openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority"
        ));
        this.openssl(&format!(
            "req {key} -keyout server.key -out server.csr -subj /CN=server"
        ));
        std::fs::write(this.file("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        let signed =
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names";
        this.openssl(&format!("{signed} -out server.pem"));
        this
    }

    fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).current_dir(self.0.path());
        let ended = openssl.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(ended.unwrap().success(), "openssl {arguments}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a server, and its further port with TLS.
    fn server(&self, arguments: &[&str]) -> (RedisServer, u16) {
        let port = free_port();
        let path = |name| self.file(name).to_str().unwrap().to_owned();
        let (port_text, cert, key, ca) = (
            port.to_string(),
            path("server.pem"),
            path("server.key"),
            path("ca.pem"),
        );
        let own = [
            "--tls-port",
            &port_text,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
            "--tls-replication",
            "yes",
        ];
        (
            RedisServer::start_as(free_port(), None, &[&own, arguments].concat()),
            port,
        )
    }
}

/// Checks that two nodes reach each other with the authority's file, and do not connect without it.
async fn works_only_with_the_file(options: BrokerOptions, ca_file: &Path) {
    let stranger = Node::open_by(BrokerKind::Redis, &options, "c");
    let options = BrokerOptions {
        ca_file: Some(ca_file.to_owned()),
        ..options
    };
    let (first, second) = (
        Node::open_by(BrokerKind::Redis, &options, "a"),
        Node::open_by(BrokerKind::Redis, &options, "b"),
    );
    for node in [&first, &second] {
        node.ready().await;
    }
    second.hold("alice", 1).await;
    let receipt = first.publish_one(to_user("alice", "1")).await;
    assert_eq!((receipt.reach.queued, receipt.degraded), (1, false));
    assert!(is_away(&stranger).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_connect_to_one_server_by_tls() {
    let authority = Authority::new();
    let (_server, port) = authority.server(&[]);
    for scheme in ["rediss", "valkeys"] {
        let options = BrokerOptions {
            url: format!("{scheme}://127.0.0.1:{port}"),
            ..BrokerOptions::default()
        };
        works_only_with_the_file(options, &authority.file("ca.pem")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_connect_to_sentinels_by_tls() {
    let authority = Authority::new();
    let (_master, port) = authority.server(&[]);
    let (sentinel, sentinel_port) = authority.server(&["--sentinel"]);
    sentinel.command(&["SENTINEL", "MONITOR", "m", "127.0.0.1", &port.to_string(), "1"]);
    let options = BrokerOptions {
        sentinel: Some(SentinelOptions {
            master: "m".to_owned(),
            urls: vec![format!("rediss://127.0.0.1:{sentinel_port}")],
            ..SentinelOptions::default()
        }),
        ..BrokerOptions::default()
    };
    works_only_with_the_file(options, &authority.file("ca.pem")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_connect_to_a_cluster_by_tls() {
    let authority = Authority::new();
    let bus = free_port().to_string();
    let (server, port) = authority.server(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--tls-cluster",
        "yes",
    ]);
    let slots: Vec<String> = (0..SLOTS).map(|slot| slot.to_string()).collect();
    let slots = slots.iter().map(String::as_str);
    server.command(
        &["CLUSTER", "ADDSLOTS"]
            .into_iter()
            .chain(slots)
            .collect::<Vec<_>>(),
    );
    wait("the Cluster is whole", || {
        server.try_command(&["GET", "a"]).is_ok()
    });
    let options = BrokerOptions {
        cluster: vec![format!("rediss://127.0.0.1:{port}")],
        ..BrokerOptions::default()
    };
    works_only_with_the_file(options, &authority.file("ca.pem")).await;
}

/// Servers that require client certificates accept only a node that has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_presents_its_certificate() {
    let authority = Authority::new();
    let (_redis, port) = authority.server(&["--tls-auth-clients", "yes"]);
    let path = |name| authority.file(name).display().to_string();
    let nats = NatsServer::start_with(&format!(
        "jetstream {{ store_dir: FOLDER }}\ntls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        path("server.pem"),
        path("server.key"),
        path("ca.pem"),
    ));
    for (kind, url) in [
        (BrokerKind::Redis, format!("rediss://127.0.0.1:{port}")),
        (BrokerKind::Nats, nats.url()),
    ] {
        let without = BrokerOptions {
            url,
            ca_file: Some(authority.file("ca.pem")),
            ..BrokerOptions::default()
        };
        let with = BrokerOptions {
            client_cert_file: Some(authority.file("server.pem")),
            client_key_file: Some(authority.file("server.key")),
            ..without.clone()
        };
        let stranger = Node::open_by(kind, &without, "c");
        let node = Node::open_by(kind, &with, "a");
        node.ready().await;
        assert!(is_away(&stranger).await, "{kind:?}");
    }
}

#[test]
fn bad_certificates_and_keys_are_refused() {
    let authority = Authority::new();
    let (cert, key, other) = (Some("server.pem"), Some("server.key"), Some("ca.key"));
    for (kind, cert, key, name, expected) in [
        (
            BrokerKind::Nats,
            cert,
            None,
            "client_cert_file",
            "broker.client_key_file",
        ),
        (
            BrokerKind::Nats,
            None,
            key,
            "client_key_file",
            "broker.client_cert_file",
        ),
        (BrokerKind::Nats, cert, other, "client_key_file", "is not the key"),
        (BrokerKind::Nats, cert, cert, "client_key_file", "has no key"),
        (
            BrokerKind::Nats,
            key,
            key,
            "client_cert_file",
            "has no certificate",
        ),
        (
            BrokerKind::Nats,
            Some("none"),
            key,
            "client_cert_file",
            "cannot be read",
        ),
        (
            BrokerKind::Redis,
            cert,
            other,
            "client_key_file",
            "is not the key",
        ),
        (
            BrokerKind::Redis,
            cert,
            key,
            "client_cert_file",
            "no URL uses TLS",
        ),
    ] {
        let options = BrokerOptions {
            url: format!("{}://h", kind.name()),
            client_cert_file: cert.map(|name| authority.file(name)),
            client_key_file: key.map(|name| authority.file(name)),
            ..BrokerOptions::default()
        };
        let Err(OpenError::BadSetting { name: found, reason }) = fanfare_transports::check(kind, &options)
        else {
            panic!("{expected}");
        };
        assert_eq!(found, name, "{reason}");
        assert!(
            reason.contains(expected) && !reason.contains("PRIVATE"),
            "{reason}"
        );
    }
}

#[test]
fn bad_authorities_are_refused() {
    let authority = Authority::new();
    let check = |url: &str, file: &str| {
        let options = BrokerOptions {
            url: url.to_owned(),
            ca_file: Some(authority.file(file)),
            ..BrokerOptions::default()
        };
        match fanfare_transports::check(BrokerKind::Redis, &options) {
            Ok(_) => String::new(),
            Err(OpenError::BadSetting {
                name: "ca_file",
                reason,
            }) => reason,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(check("rediss://h", "ca.pem"), "");
    for (url, file, expected) in [
        ("rediss://h", "none", "cannot be read"),
        ("rediss://h", "names", "has no certificate in it"),
        ("rediss://h", "server.key", "has no certificate in it"),
        ("redis://h", "ca.pem", "no URL uses TLS"),
    ] {
        let found = check(url, file);
        assert!(found.contains(expected), "{file}: {found}");
    }
}
