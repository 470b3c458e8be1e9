//! Ids that services choose on the Redis channel `fanfare:events`: each counts once in the cluster, whichever door it
//! comes by again, and all that others publish stays in order.

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

/// An event of the service API with this number for an id.
fn named(number: u128, data: &str) -> String {
    format!(r#"{{"to":"everyone","id":"{}","data":{data}}}"#, id(number))
}

fn unnamed(data: &str) -> String {
    format!(r#"{{"to":"everyone","data":{data}}}"#)
}

fn publish(server: &RedisServer, body: &str) {
    server.command(&["PUBLISH", "fanfare:events", body]);
}

/// Publishes `"end"` behind all that was published before, and asserts that exactly `data` came before it, to each
/// of `nodes`, which then begin anew.
async fn came(server: &RedisServer, nodes: &[&Node], data: &[String]) {
    publish(server, &unnamed("\"end\""));
    for node in nodes {
        ends_with(node, data).await;
    }
}

/// As [`came`] for one node, when the end has been published.
async fn ends_with(node: &Node, data: &[String]) {
    let end = "\"end\"".to_owned();
    eventually("the end comes", async || node.inbound.data().contains(&end)).await;
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
async fn a_repeat_on_the_channel_is_heard_once_on_every_node() {
    let (server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    publish(&server, &named(1, "1"));
    // In one list; with other data; and in a list with what is new.
    publish(&server, &format!("[{},{}]", named(2, "2"), named(2, "\"no\"")));
    publish(
        &server,
        &format!("[{},{},{}]", named(1, "\"no\""), named(3, "3"), unnamed("4")),
    );
    publish(&server, &named(3, "\"no\""));
    came(&server, &[&first, &second], &numbers(1..5)).await;
    for node in [&first, &second] {
        // A repeat is something that came in, and nothing wrong.
        assert_eq!((node.inbound.received(), node.inbound.rejections()), (6, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_alone_is_not_heard_again() {
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
    came(&server, &[&first, &second], &numbers(3..4)).await;
    for node in [&first, &second] {
        assert_eq!(claim(node, 1).await, Claim::Published(Some(receipt)));
        assert_eq!(claim(node, 2).await, Claim::Taken);
    }
    // Given back, it is new.
    first.broker.release(vec![id(2)]).await;
    second.broker.release(vec![id(2)]).await;
    publish(&server, &named(2, "2"));
    came(&server, &[&first, &second], &numbers(2..3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_heard_is_known_to_all_without_an_answer() {
    let (server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    came(&server, &[&first, &second], &numbers(1..2)).await;
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

/// Whoever is first, the event is published once: by who claimed it alone, or by all nodes that heard it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_both_doors_one_gets_an_id() {
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
        // At several places of the other's way; the runtime's own clock is too coarse.
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
    came(&server, &[&first, &second], &together).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_in_order_with_repeats_and_without_ids_between() {
    let (server, first, second) = two_nodes().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // To everyone on three Redis channels by turns, in pipelines of several sizes; every third repeats an earlier one.
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
    came(&server, &[&first, &second], &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_may_name_as_many_ids_as_it_has_events() {
    let (server, first, second) = two_nodes().await;
    let events: Vec<String> = (0..3000)
        .map(|number| named(number, &number.to_string()))
        .collect();
    let body = format!("[{}]", events.join(","));
    for _ in 0..2 {
        publish(&server, &body);
    }
    came(&server, &[&first, &second], &numbers(0..3000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_later_does_not_hear_a_repeat() {
    let server = RedisServer::start();
    let first = Node::open(BrokerKind::Redis, &server.url(), "a");
    first.ready().await;
    publish(&server, &named(1, "1"));
    eventually("it comes", async || first.inbound.data() == ["1"]).await;
    // By more than the little that clocks may differ.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = Node::open(BrokerKind::Redis, &server.url(), "b");
    later.ready().await;
    for number in [1, 2] {
        publish(&server, &named(number, &number.to_string()));
    }
    came(&server, &[&later], &numbers(2..3)).await;
    ends_with(&first, &numbers(1..3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_are_known_when_a_connection_or_redis_comes_back() {
    let (mut server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    for node in [&first, &second] {
        eventually("it comes", async || node.inbound.data() == ["1"]).await;
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
        eventually("it comes", async || node.inbound.data() == ["1", "2"]).await;
    }
    // Now Redis knows nothing any more.
    server.kill();
    eventually("it is noticed", async || {
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
    came(&server, &[&first, &second], &numbers(1..4)).await;
    for (node, number) in [(&first, 1), (&second, 1), (&first, 2), (&second, 2)] {
        assert_eq!(
            claim(node, number).await,
            Claim::Published(Some(Receipt::default()))
        );
    }
}

/// Where Redis does not say whether an id is new, each node goes by what it knows itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_redis_says_nothing_of_are_judged_by_each_node() {
    let (server, first, second) = two_nodes().await;
    publish(&server, &named(1, "1"));
    assert_eq!(claim(&first, 9).await, Claim::New);
    for node in [&first, &second] {
        eventually("it comes", async || node.inbound.data() == ["1"]).await;
    }
    server.command(&["ACL", "SETUSER", "default", "-set", "-get"]);
    for (number, data) in [(1, "\"no\""), (2, "2"), (2, "\"no\""), (9, "9"), (3, "3")] {
        publish(&server, &named(number, data));
    }
    came(&server, &[&first], &numbers(1..4)).await;
    // It does not know what was claimed on the other.
    ends_with(&second, &["1", "2", "9", "3"].map(str::to_owned)).await;
    server.command(&["ACL", "SETUSER", "default", "+set", "+get"]);
    for (number, data) in [(2, "\"no\""), (3, "\"no\""), (4, "4")] {
        publish(&server, &named(number, data));
    }
    came(&server, &[&first, &second], &numbers(4..5)).await;
}

/// Far shorter than Redis stays silent here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_answer_holds_up_nothing_for_long() {
    let (server, first, second) = two_nodes().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    // Heard by both, who then have no answer for half a minute.
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
        eventually("all come", async || node.inbound.data() == numbers(1..4)).await;
    }
    eprintln!("without an answer, heard after {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_id_is_named_redis_is_not_asked() {
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
        eventually("all come", async || node.inbound.seen().len() == 20).await;
    }
    assert!(!asked().contains("cmdstat_set:"), "{}", asked());
    publish(&server, &named(1, "1"));
    eventually("it is asked", async || asked().contains("cmdstat_set:calls=2,")).await;
}

/// The order of what others publish does not depend on the Redis channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_waits_for_what_was_named_before_it() {
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
    came(&server, &[&node], &numbers(0..400)).await;
}
