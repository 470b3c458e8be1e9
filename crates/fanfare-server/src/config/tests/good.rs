//! Accepted configurations, and their values.

use std::time::Duration;

use fanfare_core::Pattern;
use fanfare_transports::BrokerKind;
use jsonwebtoken::Algorithm;

use super::super::{Loaded, LogFormat, LogLevel, Origin, Registration, Secret, Sources, load, show};
use super::fixture::{Chat, large, released};
use super::{load_text, load_with, pairs};

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(super) fn accepted(toml: &str, env: &[(&str, &str)]) -> Loaded {
    load_text(toml, env, large()).unwrap_or_else(|errors| panic!("{toml:?} with {env:?}: {errors}"))
}

/// Returns the listeners as `bind dialects prefix`.
pub(super) fn listeners(loaded: &Loaded) -> Vec<String> {
    let text = |l: &super::super::Listener| format!("{} {} {}", l.bind, l.dialects.join("+"), l.prefix);
    loaded
        .config
        .listener
        .iter()
        .map(|listener| text(listener).trim().to_owned())
        .collect()
}

#[test]
fn defaults() {
    let loaded = load(&Sources::default(), released()).unwrap();
    let config = &loaded.config;
    assert_eq!(listeners(&loaded), ["0.0.0.0:8081 notify"]);
    assert_eq!(loaded.profile, "default");
    assert_eq!(loaded.log_filter, "info");
    assert_eq!(config.data_dir.to_str(), Some("data"));
    let notify = &config.dialects["notify"];
    assert_eq!(
        (notify.max_connections, notify.max_message_size, notify.send_queue),
        (10_000, 512, 256)
    );
    assert_eq!(
        (notify.send_queue_size, notify.compression_threshold),
        (1 << 20, 512)
    );
    assert_eq!(
        (notify.ping_interval, notify.ping_timeout),
        (Duration::from_secs(30), Duration::from_secs(60))
    );
    assert_eq!(
        (notify.max_connections_per_ip, notify.max_connections_per_user),
        (0, 0)
    );
    assert!(!notify.compression);
    assert_eq!(notify.max_subscriptions, 1000);
    let limits = &config.limits;
    assert_eq!(
        (
            limits.upgrades_per_second_per_ip,
            limits.requests_per_second_per_ip
        ),
        (0, 0)
    );
    assert_eq!((limits.messages_per_second_per_connection, limits.burst), (0, 20));
    assert_eq!(config.auth.algorithms, [], "as the keys allow");
    assert_eq!(
        (config.auth.leeway, config.auth.access_ttl),
        (Duration::ZERO, Duration::from_secs(3600))
    );
    assert_eq!(config.auth.allowed_origins, ["*"]);
    assert!(config.auth.jwt_secret.is_none() && config.api.keys.is_empty());
    assert_eq!(config.broker.kind, BrokerKind::Memory);
    assert!(config.broker.url.is_none());
    assert_eq!(config.storage.url.to_string(), "sqlite://data/fanfare.db");
    assert_eq!(
        (config.auth.registration, config.auth.refresh_ttl.as_secs()),
        (Registration::Open, 30 * 86_400)
    );
    assert_eq!(
        config.resp.bind.map(|bind| bind.to_string()).as_deref(),
        Some("127.0.0.1:6379")
    );
    assert!(!loaded.is_configured("resp.bind") && !loaded.is_configured("listener"));
    assert_eq!(config.limits.handshake_timeout, Duration::from_secs(10));
    assert_eq!(config.limits.max_body_size, 8 << 20);
    assert_eq!(config.shutdown.timeout, Duration::from_secs(1800));
    assert_eq!(config.shutdown.drain_window, Duration::from_secs(10));
    assert_eq!(
        (config.log.level, config.log.format),
        (LogLevel::Info, LogFormat::Auto)
    );
    assert_eq!(config.server.shards, 0);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn the_file_replaces_the_listeners_of_the_profile() {
    let toml = "[[listener]]\nbind = \"127.0.0.1:0\"\ndialects = [\"notify\", \"echo\"]\nprefix = \"/a/b\"\n\
                [[listener]]\nbind = \"127.0.0.1:0\"\ndialects = []\n[[listener]]\nbind = \"[::1]:8081\"\n\
                dialects = [\"feed\"]\ntls = { cert = \"DIR/cert.pem\", key = \"DIR/key.pem\" }\n";
    let loaded = accepted(toml, &[]);
    assert_eq!(
        listeners(&loaded),
        ["127.0.0.1:0 notify+echo /a/b", "127.0.0.1:0", "[::1]:8081 feed"]
    );
    assert!(loaded.config.listener[2].tls.is_some());
    assert!(loaded.is_configured("listener"));
    let line = |key: &str| match loaded.origins.of(key) {
        Origin::File { line, .. } => *line,
        other => panic!("{key} from {other}"),
    };
    assert_eq!(
        [
            "listener[0]",
            "listener[0].bind",
            "listener[2].bind",
            "listener[2].tls"
        ]
        .map(line),
        [1, 2, 9, 11]
    );

    let text = "[{ bind = \"127.0.0.1:5\", dialects = [\"feed\"] }]";
    let loaded = accepted(toml, &[("FANFARE_LISTENER", text)]);
    assert_eq!(listeners(&loaded), ["127.0.0.1:5 feed"]);
    assert_eq!(
        *loaded.origins.of("listener[0].bind"),
        Origin::Environment("FANFARE_LISTENER".to_owned())
    );
    assert_eq!(*loaded.origins.of("listener[2].bind"), Origin::Default);
}

#[test]
fn later_layers_take_precedence() {
    let toml = "[notify]\nmax_connections = 1\nsend_queue = 1\nmax_fragments = 1\n";
    let env = [
        ("FANFARE_NOTIFY_SEND_QUEUE", "2"),
        ("FANFARE_NOTIFY_MAX_FRAGMENTS", "2"),
    ];
    let overrides = pairs(&[("notify.max_fragments", "3")]);
    let sources = Sources {
        env: pairs(&env),
        overrides,
        ..Sources::default()
    };
    let loaded = load_with(toml, sources, large()).unwrap();
    let notify = &loaded.config.dialects["notify"];
    assert_eq!(
        (notify.max_connections, notify.send_queue, notify.max_fragments),
        (1, 2, 3)
    );
    assert!(matches!(
        loaded.origins.of("notify.max_connections"),
        Origin::File { line: 2, .. }
    ));
    let variable = Origin::Environment("FANFARE_NOTIFY_SEND_QUEUE".to_owned());
    assert_eq!(*loaded.origins.of("notify.send_queue"), variable);
    assert_eq!(
        *loaded.origins.of("notify.max_fragments"),
        Origin::Flag("notify.max_fragments".to_owned())
    );
}

#[test]
fn variables() {
    let loaded = accepted(
        "data_dir = \"here\"",
        &[
            ("FANFARE_DATA_DIR", ""), // empty counts as not set
            (
                "FANFARE_AUTH_ALLOWED_ORIGINS",
                "https://a.example, http://localhost:3000,",
            ),
            ("FANFARE_LIMITS_TRUSTED_PROXIES", "10.0.0.0/8,192.168.1.1"),
            ("FANFARE_API_KEYS", "0123456789abcdef,fedcba9876543210"),
            ("FANFARE_NOTIFY_COMPRESSION", "true"),
            ("FANFARE_RESP_BIND", "off"),
            ("FANFARE_CHAT_INTERVAL", "1m"),
            ("FANFARE_CHAT_ROLES", "a,b"),
            ("FANFARE_CHAT_STRICT", "1"),
            ("FANFARE_CHAT_SHOWN", "news.*,**"),
            ("FANFARE_LOG", "warn,hyper=debug"),
            ("BEAT", "7"),
            ("BEAT_MS", "9000"),
            ("SOMETHING_ELSE", "x"),
        ],
    );
    let config = &loaded.config;
    assert_eq!(config.data_dir.to_str(), Some("here"));
    assert_eq!(
        config.auth.allowed_origins,
        ["https://a.example", "http://localhost:3000"]
    );
    let networks: Vec<String> = config
        .limits
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.168.1.1/32"]);
    assert_eq!(
        config
            .api
            .keys
            .iter()
            .map(|key| key.expose().len())
            .collect::<Vec<_>>(),
        [16, 16]
    );
    assert!(config.dialects["notify"].compression);
    assert!(config.resp.bind.is_none() && loaded.is_configured("resp.bind"));
    let chat = &config.dialects["chat"];
    let options: Chat = chat.options.get();
    assert_eq!(options.interval, Duration::from_secs(60));
    assert_eq!(options.roles, ["a", "b"]);
    assert!(options.strict);
    assert_eq!(options.burst, 3);
    assert_eq!(options.greeting, "");
    let shown: Vec<&str> = options.shown.iter().map(Pattern::as_str).collect();
    assert_eq!(shown, ["news.*", "**"]);
    assert_eq!(
        (chat.ping_interval, chat.ping_timeout),
        (Duration::from_secs(7), Duration::from_secs(9))
    );
    assert_eq!(loaded.log_filter, "warn,hyper=debug");
}

#[test]
fn service_links_of_an_orchestrator_are_ignored() {
    accepted(
        "",
        &[
            ("FANFARE_SERVICE_HOST", "10.0.0.1"),
            ("FANFARE_SERVICE_PORT", "8081"),
            ("FANFARE_SERVICE_PORT_NOTIFY", "8081"),
            ("FANFARE_PORT", "tcp://10.0.0.1:8081"),
            ("FANFARE_PORT_8081_TCP", "tcp://10.0.0.1:8081"),
            ("FANFARE_PORT_8081_TCP_ADDR", "10.0.0.1"),
            ("FANFARE_REDIS_PORT_6379_TCP_PROTO", "tcp"),
        ],
    );
    assert!(
        load_text("", &[("FANFARE_PORT", "8081")], large()).is_err(),
        "a guess at a name is no link"
    );
}

/// (file, environment) → (broker, its URL, the embedded door)
#[test]
fn brokers() {
    let check = |toml: &str, env: &[(&str, &str)], expected: (BrokerKind, Option<&str>, bool)| {
        let loaded = accepted(toml, env);
        let config = &loaded.config;
        let url = config.broker.url.as_ref().map(fanfare_core::GuardedUrl::expose);
        assert_eq!(
            (config.broker.kind, url, config.resp.bind.is_some()),
            expected,
            "{toml:?} {env:?}"
        );
    };
    let redis = |url| (BrokerKind::Redis, Some(url), false);
    check("", &[], (BrokerKind::Memory, None, true));
    check("", &[("REDIS_URL", "redis://:p@a/0")], redis("redis://:p@a/0"));
    check(
        "",
        &[("REDIS_URL", "redis://a"), ("PUBSUB_REDIS_URL", "rediss://b")],
        redis("rediss://b"),
    );
    check(
        "",
        &[("REDIS_URL", "redis://a"), ("PUBSUB_REDIS_URL", "")],
        redis("redis://a"),
    );
    check(
        "",
        &[("REDIS_URL", "redis://a"), ("PUBSUB_ADAPTER", "memory")],
        (BrokerKind::Memory, Some("redis://a"), true),
    );
    check(
        "",
        &[("PUBSUB_ADAPTER", "redis")],
        redis("redis://127.0.0.1:6379"),
    );
    check(
        "",
        &[("FANFARE_BROKER_URL", "redis://c"), ("REDIS_URL", "redis://a")],
        redis("redis://c"),
    );
    check(
        "broker.url = \"redis://d\"",
        &[("REDIS_URL", "redis://a")],
        redis("redis://a"),
    );
    check("broker.url = \"redis://d\"", &[], redis("redis://d"));
    check("broker.url = \"valkeys://d\"", &[], redis("valkeys://d"));
    let nats = |url| (BrokerKind::Nats, Some(url), false);
    check("broker.url = \"tls://a\"", &[], nats("tls://a"));
    check(
        "broker.url = \"nats://a, nats://u:p%2C@b:1\"",
        &[],
        nats("nats://a,nats://u:p%2C@b:1"),
    );
    check("broker.kind = \"nats\"", &[], nats("nats://127.0.0.1:4222"));
    let several = (BrokerKind::Redis, None, false);
    check("broker.cluster = [\"redis://a\"]", &[], several);
    check(
        "broker.sentinel = { master = \"m\", urls = [\"redis://a\"] }",
        &[],
        several,
    );
    check("", &[("FANFARE_BROKER_CLUSTER", "redis://a,redis://b")], several);
    check(
        "broker.kind = \"memory\"",
        &[("REDIS_URL", "redis://a")],
        (BrokerKind::Memory, Some("redis://a"), true),
    );
    check(
        "broker.kind = \"memory\"",
        &[("FANFARE_BROKER_KIND", "redis")],
        redis("redis://127.0.0.1:6379"),
    );
    check("resp.bind = \"\"", &[], (BrokerKind::Memory, None, false));
}

#[test]
fn secrets_and_algorithms() {
    use Algorithm::PS512;
    let check = |toml: &str, env: &[(&str, &str)], secret: Option<&str>, algorithms: &[Algorithm]| {
        let loaded = accepted(toml, env);
        let auth = &loaded.config.auth;
        assert_eq!(auth.jwt_secret.as_ref().map(Secret::expose), secret, "{toml:?}");
        assert_eq!(auth.algorithms, algorithms, "{toml:?}");
    };
    check("", &[], None, &[]);
    check("", &[("JWT_SECRET_KEY", SECRET)], Some(SECRET), &[]);
    check(
        "",
        &[("JWT_SECRET_KEY", "x"), ("FANFARE_AUTH_JWT_SECRET", SECRET)],
        Some(SECRET),
        &[],
    );
    check(
        "auth.jwt_secret = \"x\"",
        &[("JWT_SECRET_KEY", SECRET)],
        Some(SECRET),
        &[],
    );
    check("auth.jwt_secret_file = \"DIR/secret\"", &[], Some(SECRET), &[]);
    check("auth.public_key_file = \"DIR/public.pem\"", &[], None, &[]);
    check(
        "auth.jwks_url = \"https://a\"\nauth.algorithms = [\"PS512\"]",
        &[],
        None,
        &[PS512],
    );
}

/// A list has a value on each line of its file.
#[test]
fn files_with_several_secrets() {
    let toml = "auth.accepted_jwt_secrets_file = \"DIR/two\"\napi.keys_file = \"DIR/two\"\nbroker.sentinel.password_file = \"DIR/short\"";
    let loaded = accepted(toml, &[]);
    let auth = &loaded.config.auth;
    for list in [&auth.accepted_jwt_secrets, &loaded.config.api.keys] {
        let found: Vec<_> = list.iter().map(Secret::expose).collect();
        assert_eq!(found, [SECRET, "fedcba9876543210fedcba9876543210"]);
    }
    let password = &loaded.config.broker.sentinel.password;
    assert_eq!(password.as_ref().map(Secret::expose), Some("hunter2"));
    let shown = show(&loaded);
    assert!(
        shown.contains("/two\" # ") && shown.contains("keys_file = \"/"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2") && !shown.contains(SECRET));
}

/// Allowed configurations with warnings.
#[test]
fn warnings() {
    let check = |toml: &str, env: &[(&str, &str)], expected: &[&str]| {
        let loaded = accepted(toml, env);
        let file = loaded.file.as_ref().unwrap().display().to_string();
        let found: Vec<String> = loaded
            .warnings
            .iter()
            .map(|warning| warning.to_string().replace(&file, "FILE"))
            .collect();
        assert_eq!(found, expected, "{toml:?} {env:?}");
    };
    check(
        "auth.jwt_secret = \"hunter2\"",
        &[],
        &["FILE:1: auth.jwt_secret: found a secret of 7 bytes, expected at least 32; it can be guessed"],
    );
    check(
        "api.keys = [\"hunter2\"]",
        &[],
        &["FILE:1: api.keys: found a key of 7 bytes, expected at least 16; it can be guessed"],
    );
    check(
        "broker.kind = \"memory\"\nbroker.url = \"redis://a\"",
        &[],
        &["FILE:2: broker.url: is not used, as broker.kind is \"memory\" (FILE:1)"],
    );
    check(
        "broker.kind = \"memory\"\nbroker.cluster = [\"redis://a\"]\nbroker.ca_file = \"f\"",
        &[],
        &[
            "FILE:2: broker.cluster: is not used, as broker.kind is \"memory\" (FILE:1)",
            "FILE:3: broker.ca_file: is not used, as broker.kind is \"memory\" (FILE:1)",
        ],
    );
    check(
        "broker.url = \"redis://a\"",
        &[],
        &[
            "default: auth.jwt_secret: not set: each node that shares this broker generates a secret of its own, and \
             refuses the tokens of the others; set the same auth.jwt_secret_file on all nodes",
        ],
    );
    check(
        "broker.url = \"redis://a/2\"",
        &[("JWT_SECRET_KEY", SECRET)],
        &[
            "FILE:1: broker.url: the number of the database does not separate nodes: Redis' publish and subscribe ignore \
             it, so nodes on other databases of this server receive the same events; set broker.prefix",
        ],
    );
    // A user who sets both inherited variables does so on purpose.
    check(
        "",
        &[("PUBSUB_ADAPTER", "memory"), ("REDIS_URL", "redis://a")],
        &[],
    );
    check(
        "[[listener]]\nbind = \"0.0.0.0:6379\"\ndialects = []",
        &[],
        &[
            "default: resp.bind: found \"127.0.0.1:6379\", expected an address that listener[0] (\"0.0.0.0:6379\") \
           leaves free; the door stays closed",
        ],
    );
    check(
        "auth.jwks_url = \"https://a\"\nauth.algorithms = [\"RS256\"]",
        &[("JWT_SECRET_KEY", SECRET)],
        &["environment JWT_SECRET_KEY: auth.jwt_secret: found a secret that none of auth.algorithms uses"],
    );
}
