//! Publications, and their replies.

use std::fmt::Write;

use serde_json::json;

use super::*;
use crate::parsing::PARSER;

fn replies(numbers: impl IntoIterator<Item = u32>) -> String {
    numbers.into_iter().fold(String::new(), |mut replies, number| {
        write!(replies, ":{number}\r\n").unwrap();
        replies
    })
}

#[tokio::test]
async fn the_publications_of_one_read_are_published_together() {
    let house = house(&[], |_| {});
    let event = json!({ "to": { "user": "12" }, "type": "t", "data": 1 });
    let two = json!([event, event]);
    let sent = [
        request(&["PUBLISH", "user_noti:5", BODY]),
        request(&["PING"]),
        request(&["publish", "user_noti:0", BODY]),
        request(&["PUBLISH", "fanfare:events", &two.to_string()]),
        request(&["ECHO", "a"]),
    ]
    .concat();
    let mut peer = house.connect();
    peer.expect(&sent, ":5\r\n+PONG\r\n:0\r\n:24\r\n$1\r\na\r\n")
        .await;
    assert_eq!(house.published(), [["5", "0", "12", "12"]]);
    peer.expect(&request(&["PUBLISH", "user_noti:3", BODY]), ":3\r\n")
        .await;
    assert_eq!(house.published().len(), 2);
}

#[tokio::test]
async fn a_malformed_publication_is_dropped_and_counted() {
    let house = house(&[], |_| {});
    let sent = [
        request(&["PUBLISH", "user_noti:4", "not json"]),
        request(&["PUBLISH", "fanfare:else", BODY]),
        request(&["PUBLISH", "user_noti:6", BODY]),
    ]
    .concat();
    assert_eq!(house.answer(&sent).await, ":0\r\n:0\r\n:6\r\n");
    assert_eq!(house.published(), [["6"]]);
    assert_eq!(house.host.rejected.load(Relaxed), 2);
    assert_eq!(house.host.received.load(Relaxed), 3);
    let counted = |counter: &AtomicU64| counter.load(Relaxed);
    let stats = &house.door.stats;
    let counters = [&stats.publications, &stats.rejected, &stats.commands];
    assert_eq!(counters.map(counted), [3, 2, 3]);
}

#[tokio::test]
async fn the_broker_is_not_asked_for_malformed_publications() {
    let house = house(&[], |_| {});
    assert_eq!(
        house.answer(request(&["PUBLISH", "user_noti:4", ""])).await,
        ":0\r\n"
    );
    assert!(house.published().is_empty());
}

#[tokio::test]
async fn a_long_pipeline_keeps_order_and_number() {
    let house = house(&[], |_| {});
    let users = 0..20_000;
    let sent: String = users
        .clone()
        .map(|user| request(&["PUBLISH", &format!("user_noti:{user}"), BODY]))
        .collect();
    let mut peer = house.connect();
    let replies = replies(users.clone());
    peer.expect(&sent, &replies).await;
    let published = house.published().concat();
    assert!(
        published
            .iter()
            .eq(&users.map(|user| user.to_string()).collect::<Vec<_>>())
    );
}

#[tokio::test]
async fn messages_up_to_the_limit_are_published() {
    let house = house(&[], |_| {});
    let message = |length: usize| BODY.replace('1', &format!("\"{}\"", "a".repeat(length - BODY.len() - 1)));
    let publish = |length| request(&["PUBLISH", "user_noti:1", &message(length)]);
    let mut peer = house.connect();
    peer.expect(&publish(8 << 20), ":1\r\n").await;
    drop(peer);
    let got = house
        .answer("*3\r\n$7\r\nPUBLISH\r\n$11\r\nuser_noti:1\r\n$8454145\r\n")
        .await;
    assert_eq!(got, "-ERR Protocol error: invalid bulk length\r\n");
}

#[tokio::test]
async fn a_large_message_delays_only_its_publisher_and_keeps_its_place() {
    let house = house(&[], |_| {});
    let large = BODY.replace('1', &format!("\"{}\"", "a".repeat(100_000)));
    let publish = |user, body| request(&["PUBLISH", &format!("user_noti:{user}"), body]);
    let all = [
        publish(1, BODY),
        publish(2, &large),
        publish(3, &large[1..]),
        request(&["PING"]),
        publish(4, BODY),
    ];
    let mut peer = house.connect();
    let turn = PARSER.acquire().await.unwrap();
    peer.stream.write_all(all.concat().as_bytes()).await.unwrap();
    house.connect().expect(&publish(5, BODY), ":5\r\n").await;
    assert_eq!(house.published(), [["1"], ["5"]]);
    drop(turn);
    peer.expect("", ":1\r\n:2\r\n:0\r\n+PONG\r\n:4\r\n").await;
    assert_eq!(house.published()[2..].concat(), ["2", "4"]);
    assert_eq!(house.host.rejected.load(Relaxed), 1);
    let transaction = ["MULTI\r\n", &all.concat(), "EXEC\r\n"].concat();
    let queued = "+QUEUED\r\n".repeat(all.len());
    let turn = PARSER.acquire().await.unwrap();
    peer.expect(&transaction, &format!("+OK\r\n{queued}*5\r\n:1\r\n"))
        .await;
    drop(turn);
    peer.expect("", ":2\r\n:0\r\n+PONG\r\n:4\r\n").await;
}

#[tokio::test]
async fn a_large_transaction_keeps_its_order() {
    let house = house(&[], |_| {});
    let publish = |user: &u32| request(&["PUBLISH", &format!("user_noti:{user}"), BODY]);
    let users: Vec<u32> = (0..10_000).collect();
    let sent = "MULTI\n".to_owned() + &users.iter().map(publish).collect::<String>() + "EXEC\n";
    let replies = replies(users.iter().copied());
    let mut peer = house.connect();
    let queued = "+QUEUED\r\n".repeat(users.len());
    peer.expect(&sent, &format!("+OK\r\n{queued}*{}\r\n{replies}", users.len()))
        .await;
    assert_eq!(house.published().concat().len(), users.len());
}
