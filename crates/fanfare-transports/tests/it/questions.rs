//! The laws of questions to every node.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_core::{Audience, MAX_MESSAGE_BYTES, NodeAnswers, QUESTION_TIMEOUT};

use crate::{
    away::{is_away, two_nodes},
    harness::{AnswerMode, Cluster, Node, eventually, to},
};

async fn ask(node: &Node, question: &'static str) -> NodeAnswers {
    node.broker.ask(Bytes::from_static(question.as_bytes())).await
}

/// Checks that nodes of these names answered `question`, this node first.
fn check(asked: &NodeAnswers, own: &str, others: &[&str], question: &str, complete: bool) {
    let texts = asked
        .answers
        .iter()
        .map(|answer| String::from_utf8(answer.to_vec()).unwrap());
    let mut texts: Vec<String> = texts.collect();
    let mut expected: Vec<String> = std::iter::once(&own)
        .chain(others)
        .map(|name| format!("{name}:{question}"))
        .collect();
    if !texts.is_empty() {
        texts[1..].sort();
        expected[1..].sort();
    }
    assert_eq!((texts, asked.complete), (expected, complete));
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn others(of: &str, among: usize) -> Vec<&'static str> {
    NAMES[..among]
        .iter()
        .copied()
        .filter(|name| *name != of)
        .collect()
}

pub(crate) async fn every_node_answers(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    for question in ["", "{\"presence\":\"alice\"}", "two\nlines\n"] {
        for (node, name) in nodes.iter().zip(NAMES) {
            let asked = ask(node, question).await;
            check(&asked, name, &others(name, nodes.len()), question, true);
        }
    }
}

pub(crate) async fn a_thousand_questions_at_once(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let questions = (0..1000).map(|number| {
        let (node, name) = (&nodes[number % nodes.len()], NAMES[number % nodes.len()]);
        let count = nodes.len();
        async move {
            let question = number.to_string();
            let asked = node.broker.ask(question.clone().into()).await;
            check(&asked, name, &others(name, count), &question, true);
        }
    });
    futures_util::future::join_all(questions).await;
}

pub(crate) async fn answers_that_fail_are_missing(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let last = nodes.last().unwrap();
    for answer_mode in [AnswerMode::Panics, AnswerMode::Long(MAX_MESSAGE_BYTES + 1)] {
        last.inbound.set_answers(answer_mode);
        let asked = ask(&nodes[0], "q").await;
        assert_eq!(
            (asked.answers.len(), asked.complete),
            (nodes.len() - 1, false),
            "{answer_mode:?}"
        );
    }
    last.inbound.set_answers(AnswerMode::Normal);
    check(
        &ask(&nodes[0], "q").await,
        "a",
        &others("a", nodes.len()),
        "q",
        true,
    );
}

pub(crate) async fn a_question_ends_in_time_if_a_node_never_answers(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let last = nodes.last().unwrap();
    last.inbound.set_answers(AnswerMode::Never);
    let start = Instant::now();
    let questions = (0..200).map(|_| ask(&nodes[0], "q"));
    let questions = futures_util::future::join_all(questions);
    // The node still receives and delivers.
    let delivered = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let receipt = nodes[0].publish_one(to(Audience::Everyone, "1")).await;
        (receipt, start.elapsed())
    };
    let (asked, (receipt, delivered)) = tokio::join!(questions, delivered);
    assert!(delivered < QUESTION_TIMEOUT, "{delivered:?}");
    assert_eq!(receipt.nodes, u32::try_from(nodes.len()).unwrap());
    assert!(start.elapsed() >= QUESTION_TIMEOUT);
    for asked in asked {
        assert_eq!((asked.answers.len(), asked.complete), (nodes.len() - 1, false));
    }
    // The open question does not prevent the node from answering again.
    last.inbound.set_answers(AnswerMode::Normal);
    eventually("it answers again", async || ask(&nodes[0], "q").await.complete).await;
}

pub(crate) async fn large_messages_travel_whole(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let question = Bytes::from(
        (0..3_000_000u32)
            .map(|number| number.to_le_bytes()[number as usize % 3])
            .collect::<Vec<u8>>(),
    );
    // On a busy machine an answer may take longer than the timeout.
    eventually("all nodes answer", async || {
        let asked = nodes[0].broker.ask(question.clone()).await;
        assert!(asked.answers.iter().all(|answer| answer[2..] == question));
        (asked.answers.len(), asked.complete) == (nodes.len(), true)
    })
    .await;
    let last = nodes.last().unwrap();
    last.inbound.set_answers(AnswerMode::Long(MAX_MESSAGE_BYTES));
    eventually("all nodes answer", async || {
        let asked = ask(&nodes[0], "q").await;
        let longest = asked.answers.iter().map(Bytes::len).max();
        asked.complete && longest == Some(MAX_MESSAGE_BYTES)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_only_this_node_answers() {
    let (mut server, node, other) = two_nodes().await;
    check(&ask(&node, "q").await, "a", &["b"], "q", true);
    server.kill();
    // Before and after the node detects the outage.
    check(&ask(&node, "q").await, "a", &[], "q", false);
    eventually("the outage is detected", async || {
        is_away(&node).await && is_away(&other).await
    })
    .await;
    let start = Instant::now();
    check(&ask(&node, "q").await, "a", &[], "q", false);
    assert!(start.elapsed() < QUESTION_TIMEOUT / 2);
    server.restart();
    eventually("both answer again", async || {
        ask(&node, "q").await.answers.len() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_ends_in_time_if_redis_hangs() {
    let (server, node, _other) = two_nodes().await;
    server.signal("-STOP");
    let start = Instant::now();
    check(&ask(&node, "q").await, "a", &[], "q", false);
    let waited = start.elapsed();
    server.signal("-CONT");
    assert!(waited < QUESTION_TIMEOUT * 2, "{waited:?}");
    eventually("both answer again", async || {
        ask(&node, "q").await.answers.len() == 2
    })
    .await;
}
