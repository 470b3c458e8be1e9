//! The metrics of a node at rest, and of one whose counters are set.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fanfare_core::{
    BoxFuture,
    policy::{AccessControl, Authorizer, AuthorizerAnswer, Counts, Policy, Question},
};

use super::{
    families::{MetricFamily, Series, Span},
    *,
};
use crate::{
    auth::{Gate, TokenRules, Verifier, VerifierOptions},
    config::{self, Config, Sources},
    serve,
};
use fanfare_accounts::{AccountsOptions, storage::Storage};
use fanfare_cluster::embedded::EmbeddedBroker;
use fanfare_engine::{Clock, MAX_FAN_OUT_RECEIVERS, NodeOptions, ObserveLimits};

struct Asked;

impl Authorizer for Asked {
    fn remembered(&self, _: &Question) -> Option<AuthorizerAnswer> {
        None
    }

    fn ask(&self, _: Question) -> BoxFuture<'static, AuthorizerAnswer> {
        Box::pin(async { AuthorizerAnswer::Denied })
    }

    fn counts(&self) -> Counts {
        Counts {
            allowed: 5,
            denied: 6,
            failed: 7,
        }
    }
}

fn config() -> Config {
    config::load(&Sources::default(), fanfare_dialects::REGISTRY)
        .unwrap()
        .config
}

fn gate() -> Arc<Gate> {
    let secret = VerifierOptions {
        hmac_secrets: vec![b"a secret that is long enough for HS256".into()],
        ..VerifierOptions::default()
    };
    let verifier = Arc::new(Verifier::new(secret).unwrap());
    Arc::new(Gate::new(TokenRules::new(verifier, Vec::new(), 10)))
}

/// A node with the default configuration, without shards.
fn node() -> Arc<Node> {
    let config = config();
    let node = Node::new(NodeOptions {
        dialects: serve::dialects(&config),
        authenticator: gate(),
        access: AccessControl::new(Policy::default(), Some(Arc::new(Asked))),
        clock: Clock::system(),
        observe: ObserveLimits::default(),
        max_fan_out_receivers: MAX_FAN_OUT_RECEIVERS,
    });
    node.attach(
        Vec::new(),
        Arc::new(EmbeddedBroker::new(node.clone(), 1000, 1000)),
    );
    node
}

fn render_as(format: Format, node: &Node) -> Vec<u8> {
    let config = config();
    let storage = Storage::new(&config.storage.url, 1).unwrap();
    let accounts = Accounts::new(storage, AccountsOptions::default());
    render(format, node, &gate(), &accounts, &Upkeep::default())
}

fn rendered(node: &Node) -> Vec<String> {
    let text = String::from_utf8(render_as(Format::Text, node)).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_has_a_help_text_and_a_type() {
    let lines = rendered(&node());
    let named = |word: &str| {
        let names = lines.iter().filter_map(|line| line.strip_prefix(word));
        let split = names.map(|line| line.split_once(' ').unwrap());
        split
            .map(|(name, rest)| {
                assert!(!rest.is_empty(), "{name}");
                name.to_owned()
            })
            .collect::<BTreeSet<_>>()
    };
    let samples = lines.iter().filter(|line| !line.starts_with('#'));
    let samples: BTreeSet<_> = samples
        .map(|line| line.split([' ', '{']).next().unwrap())
        .map(|name| {
            // A histogram's samples have names of their own.
            let parts = ["_bucket", "_sum", "_count"].into_iter();
            let mut whole = parts.filter_map(|part| name.strip_suffix(part));
            let histogram = |name: &&str| lines.contains(&format!("# TYPE {name} histogram"));
            whole.rfind(histogram).unwrap_or(name).to_owned()
        })
        .collect();
    let headings = lines.iter().filter(|line| line.starts_with('#'));
    assert_eq!(headings.count(), 2 * samples.len(), "no metric is there twice");
    assert_eq!(named("# HELP "), samples);
    assert_eq!(named("# TYPE "), samples);
    for (name, kind) in [
        ("websocket_active_connections", "gauge"),
        ("websocket_total_connections", "counter"),
        ("websocket_notifications_sent", "counter"),
        ("websocket_server_uptime_seconds", "gauge"),
    ] {
        assert!(lines.contains(&format!("# TYPE {name} {kind}")), "{name}");
    }
}

#[tokio::test]
async fn metrics_have_the_counts_of_the_node() {
    let node = node();
    let (own, hidden) = (&node.dialects[0], node.dialects.iter().find(|one| one.hidden));
    own.counters.rate_limited.store(3, Relaxed);
    own.counters.subscriptions.store(4, Relaxed);
    own.counters.endings.add("slow_consumer");
    node.counters.events_undecided.store(2, Relaxed);
    let (name, lines) = (own.name, rendered(&node));
    for expected in [
        &format!("fanfare_messages_rate_limited_total{{dialect=\"{name}\"}} 3"),
        &format!("fanfare_subscriptions{{dialect=\"{name}\"}} 4"),
        &format!("fanfare_connections_ended_total{{dialect=\"{name}\",reason=\"slow_consumer\"}} 1"),
        "fanfare_events_undecided 2",
        "fanfare_channels 0",
        "fanfare_channel_subscriptions 0",
        "fanfare_pattern_subscriptions 0",
        "fanfare_rooms 0",
        "fanfare_broker_up 1", // it is embedded
        "fanfare_peers_lost_total 0",
        "fanfare_draining 0",
        "fanfare_logins_total{result=\"busy\"} 0",
        "fanfare_registrations_total{result=\"limited\"} 0",
        "fanfare_refreshes_total{result=\"limited\"} 0",
        "fanfare_database_up 1",
        "fanfare_authorizer_answers_total{answer=\"allowed\"} 5",
        "fanfare_authorizer_answers_total{answer=\"denied\"} 6",
        "fanfare_authorizer_answers_total{answer=\"failed\"} 7",
        "websocket_total_connections 0",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected} in {lines:#?}"
        );
    }
    let hidden = format!("\"{}\"", hidden.unwrap().name);
    assert!(!lines.iter().any(|line| line.contains(&hidden)));
}

#[tokio::test]
async fn protobuf_has_the_metrics_of_the_text_and_native_histograms() {
    let node = node();
    node.counters.handshake.observe(Duration::from_secs(1));
    let mut families = Vec::new();
    let body = render_as(Format::Protobuf, &node);
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    let without_time = |mut lines: Vec<String>| {
        lines.retain(|line| !line.starts_with("websocket_server_uptime_seconds "));
        lines
    };
    let text = text::text(&families).lines().map(str::to_owned).collect();
    assert_eq!(without_time(text), without_time(rendered(&node)));
    let handshakes = families
        .iter()
        .find(|family| family.name == "fanfare_handshake_seconds");
    let [
        Series {
            value: Some(MetricValue::Histogram(value)),
            ..
        },
    ] = &handshakes.unwrap().series[..]
    else {
        panic!("{handshakes:?}");
    };
    assert_eq!((value.schema, value.zero_threshold), (3, 0.5_f64.powi(20)));
    assert_eq!(
        (&value.spans[..], &value.deltas[..]),
        (&[Span { offset: 0, length: 1 }][..], &[1][..])
    );
}

#[test]
fn labels_are_escaped() {
    let mut families = Families::default();
    families.add(
        "some",
        "help",
        ["one", "other"],
        [(["a\"b", "c\\d\ne"], gauge(1))],
    );
    assert_eq!(
        text::text(&families.0),
        "# HELP some help\n# TYPE some gauge\nsome{one=\"a\\\"b\",other=\"c\\\\d\\ne\"} 1\n"
    );
}
