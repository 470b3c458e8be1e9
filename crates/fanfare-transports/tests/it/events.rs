//! Ids that services choose on the Redis channel `fanfare:events`: each is published once in the cluster, by whichever door it is repeated,
//! and all other publications stay in order.

use std::time::Duration;

use fanfare_core::{Claim, Receipt};
use fanfare_transports::BrokerKind;
use uuid::Uuid;

use crate::{
    away::{is_away, numbers, two_nodes},
    harness::{Node, eventually},
    server::RedisServer,
};

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Returns an event of the service API whose id is this number.
fn named(number: u128, data: &str) -> String {
    format!(r#"{{"to":"everyone","id":"{}","data":{data}}}"#, id(number))
}

fn unnamed(data: &str) -> String {
    format!(r#"{{"to":"everyone","data":{data}}}"#)
}

fn publish(server: &RedisServer, body: &str) {
    server.command(&["PUBLISH", "fanfare:events", body]);
}

/// Publishes `"end"`, and asserts that each of `nodes` has received exactly `data` before it. Then the nodes forget all events.
async fn receive_exactly(server: &RedisServer, nodes: &[&Node], data: &[String]) {
    publish(server, &unnamed("\"end\""));
    for node in nodes {
        ends_with(node, data).await;
    }
}

/// As [`receive_exactly`] for one node, after the end was published.
async fn ends_with(node: &Node, data: &[String]) {
    let end = "\"end\"".to_owned();
    eventually("the end arrives", async || node.inbound.data().contains(&end)).await;
    let seen = node.inbound.data();
    let expected: Vec<&String> = data.iter().chain([&end]).collect();
    let difference = seen.iter().zip(&expected).position(|(seen, data)| seen != *data);
    let around = difference.map(|at| &seen[at.saturating_sub(2)..seen.len().min(at + 3)]);
    assert_eq!((around, seen.len()), (None, expected.len()));
    node.inbound.forget();
}

async fn claim(node: &Node, number: u128) -> Claim {
    node.broker.claim(vec![id(number)]).await.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_id_is_delivered_once_on_every_node() {
    let (server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    publish(&server, &named(1, "1"));
    // In one list, with other data, and in a list with new events.
    publish(&server, &format!("[{},{}]", named(2, "2"), named(2, "\"no\"")));
    publish(
        &server,
        &format!("[{},{},{}]", named(1, "\"no\""), named(3, "3"), unnamed("4")),
    );
    publish(&server, &named(3, "\"no\""));
    receive_exactly(&server, &[&first, &second], &numbers(1..5)).await;
    for node in [&first, &second] {
        // A repeat counts as received, and not as rejected.
        assert_eq!((node.inbound.received(), node.inbound.rejections()), (6, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_a_caller_claimed_is_not_delivered_again() {
    let (server, first, second) = two_nodes().await;
    for number in [1, 2] {
        assert_eq!(claim(&first, number).await, Claim::New);
    }
    let receipt = Receipt {
        nodes: 2,
        ..Receipt::default()
    };
    first.broker.record(vec![(id(1), receipt)]).await;
    for number in [1, 2, 3] {
        publish(&server, &named(number, &number.to_string()));
    }
    receive_exactly(&server, &[&first, &second], &numbers(3..4)).await;
    for node in [&first, &second] {
        assert_eq!(claim(node, 1).await, Claim::Published(Some(receipt)));
        assert_eq!(claim(node, 2).await, Claim::Taken);
    }
    // A released id is new.
    first.broker.release(vec![id(2)]).await;
    second.broker.release(vec![id(2)]).await;
    publish(&server, &named(2, "2"));
    receive_exactly(&server, &[&first, &second], &numbers(2..3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivered_id_counts_as_published_on_all_nodes() {
    let (server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    receive_exactly(&server, &[&first, &second], &numbers(1..2)).await;
    let later = Node::open(BrokerKind::Redis, &server.url(), "c");
    later.ready().await;
    for node in [&first, &second, &later] {
        assert_eq!(claim(node, 1).await, Claim::Published(Some(Receipt::default())));
    }
    assert_eq!(
        server.command(&["EXISTS", &format!("fanfare:id:{}", id(1).simple())]),
        redis::Value::Int(1)
    );
}

/// The event is published once: by the caller that claimed its id first, or by all nodes that received it first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_doors_claims_an_id() {
    let (server, first, second) = two_nodes().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for number in 0..400_u32 {
        let id = u128::from(number);
        let body = named(id, &number.to_string());
        let mut command = redis::cmd("PUBLISH");
        command.arg("fanfare:events").arg(body);
        let at = if number % 2 == 0 { &first } else { &second };
        // At several moments of the other publication; the runtime's clock is too coarse.
        let delay = Duration::from_micros(u64::from(number % 16) * 40);
        let claiming = async {
            if !delay.is_zero() {
                let sleep = move || std::thread::sleep(delay);
                tokio::task::spawn_blocking(sleep).await.unwrap();
            }
            claim(at, id).await
        };
        let (claim, published) = tokio::join!(claiming, command.query_async::<i64>(&mut connection));
        assert_eq!(published.unwrap(), 2);
        match claim {
            Claim::New => alone.push(number.to_string()),
            Claim::Taken | Claim::Published(_) => together.push(number.to_string()),
        }
    }
    eprintln!("{} by the channel, {} alone", together.len(), alone.len());
    assert!(!together.is_empty() && !alone.is_empty(), "no race");
    receive_exactly(&server, &[&first, &second], &together).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_between_new_repeated_and_absent_ids() {
    let (server, first, second) = two_nodes().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // To everyone on alternating Redis channels, in pipelines; every third event repeats an earlier id.
    let mut expected = Vec::new();
    for (round, start) in (0..3000).step_by(100).enumerate() {
        let mut pipe = redis::pipe();
        for number in start..start + 100_u32 {
            let data = number.to_string();
            match number % 6 {
                0 | 3 => pipe.publish("fanfare:events", named(number.into(), &data)),
                1 => pipe.publish("fanfare:events", unnamed(&data)),
                4 => pipe.publish("fanfare:everyone", format!(r#"{{"type":"t","payload":{data}}}"#)),
                _ => pipe.publish("fanfare:events", named(u128::from(number - 2) / 3 * 3, "\"no\"")),
            };
            if number % 3 != 2 {
                expected.push(data);
            }
        }
        pipe.query_async::<redis::Value>(&mut connection).await.unwrap();
        if round % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(expected.len(), 2000);
    receive_exactly(&server, &[&first, &second], &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_may_have_an_id_for_each_event() {
    let (server, first, second) = two_nodes().await;
    let events: Vec<String> = (0..3000)
        .map(|number| named(number, &number.to_string()))
        .collect();
    let body = format!("[{}]", events.join(","));
    for _ in 0..2 {
        publish(&server, &body);
    }
    receive_exactly(&server, &[&first, &second], &numbers(0..3000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_connects_later_does_not_deliver_a_repeat() {
    let server = RedisServer::start();
    let first = Node::open(BrokerKind::Redis, &server.url(), "a");
    first.ready().await;
    publish(&server, &named(1, "1"));
    eventually("it arrives", async || first.inbound.data() == ["1"]).await;
    // More than the tolerance between clocks.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = Node::open(BrokerKind::Redis, &server.url(), "b");
    later.ready().await;
    for number in [1, 2] {
        publish(&server, &named(number, &number.to_string()));
    }
    receive_exactly(&server, &[&later], &numbers(2..3)).await;
    ends_with(&first, &numbers(1..3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_are_recognised_after_a_reconnect() {
    let (mut server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    for node in [&first, &second] {
        eventually("it arrives", async || node.inbound.data() == ["1"]).await;
    }
    for kind in ["pubsub", "normal"] {
        server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.ready().await;
        second.ready().await;
        publish(&server, &named(1, "1"));
    }
    publish(&server, &named(2, "2"));
    for node in [&first, &second] {
        eventually("it arrives", async || node.inbound.data() == ["1", "2"]).await;
    }
    // Redis loses all ids.
    server.kill();
    eventually("both nodes detect it", async || {
        is_away(&first).await && is_away(&second).await
    })
    .await;
    for number in [1, 2] {
        assert_eq!(
            claim(&first, number).await,
            Claim::Published(Some(Receipt::default()))
        );
    }
    server.restart();
    first.ready().await;
    second.ready().await;
    for number in [1, 2, 3] {
        publish(&server, &named(number, &number.to_string()));
    }
    receive_exactly(&server, &[&first, &second], &numbers(1..4)).await;
    for (node, number) in [(&first, 1), (&second, 1), (&first, 2), (&second, 2)] {
        assert_eq!(
            claim(node, number).await,
            Claim::Published(Some(Receipt::default()))
        );
    }
}

/// If Redis refuses to claim ids, each node uses its own memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_decides_about_ids_that_redis_refuses() {
    let (server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    assert_eq!(claim(&first, 9).await, Claim::New);
    for node in [&first, &second] {
        eventually("it arrives", async || node.inbound.data() == ["1"]).await;
    }
    server.command(&["ACL", "SETUSER", "default", "-set", "-get"]);
    for (number, data) in [(1, "\"no\""), (2, "2"), (2, "\"no\""), (9, "9"), (3, "3")] {
        publish(&server, &named(number, data));
    }
    receive_exactly(&server, &[&first], &numbers(1..4)).await;
    // The second node does not know the claim of the first.
    ends_with(&second, &["1", "2", "9", "3"].map(str::to_owned)).await;
    server.command(&["ACL", "SETUSER", "default", "+set", "+get"]);
    for (number, data) in [(2, "\"no\""), (3, "\"no\""), (4, "4")] {
        publish(&server, &named(number, data));
    }
    receive_exactly(&server, &[&first, &second], &numbers(4..5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_delays_events_only_briefly() {
    let (server, first, second) = two_nodes().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    // Both nodes receive it, and then get no answer for half a minute.
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.publish("fanfare:events", named(1, "1"));
    pipe.publish("fanfare:events", named(1, "\"no\""));
    pipe.publish("fanfare:events", unnamed("2"));
    pipe.publish("fanfare:everyone", r#"{"type":"t","payload":3}"#);
    pipe.cmd("CLIENT").arg("PAUSE").arg(30_000).arg("ALL");
    pipe.query::<redis::Value>(&mut connection).unwrap();
    let start = std::time::Instant::now();
    for node in [&first, &second] {
        eventually("all arrive", async || node.inbound.data() == numbers(1..4)).await;
    }
    eprintln!("without an answer, received after {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_without_ids_need_no_claim_in_redis() {
    let (server, first, second) = two_nodes().await;
    for number in 0..10 {
        publish(&server, &unnamed(&number.to_string()));
        server.command(&["PUBLISH", "fanfare:everyone", r#"{"type":"t","payload":0}"#]);
    }
    let asked = || match server.command(&["INFO", "commandstats"]) {
        redis::Value::BulkString(text) => String::from_utf8(text).unwrap(),
        redis::Value::VerbatimString { text, .. } => text,
        other => panic!("{other:?}"),
    };
    for node in [&first, &second] {
        eventually("all arrive", async || node.inbound.delivered().len() == 20).await;
    }
    assert!(!asked().contains("cmdstat_set:"), "{}", asked());
    publish(&server, &named(1, "1"));
    eventually("it is asked", async || asked().contains("cmdstat_set:calls=2,")).await;
}

/// The order of backends' events does not depend on the Redis channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_id_waits_for_earlier_claims() {
    let server = RedisServer::start();
    let node = server.node("a").await;
    node.hold("mia", 1).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for number in 0..200 {
        let mut pipe = redis::pipe();
        let body = format!(
            r#"{{"to":{{"user":"mia"}},"id":"{}","data":{}}}"#,
            id(number),
            2 * number
        );
        pipe.publish("fanfare:events", body);
        pipe.publish(
            "user_noti:mia",
            format!(r#"{{"type":"t","payload":{}}}"#, 2 * number + 1),
        );
        pipe.query::<redis::Value>(&mut connection).unwrap();
    }
    receive_exactly(&server, &[&node], &numbers(0..400)).await;
}
