//! The lifetime of connections: logins, timeouts, drains.

use tokio::sync::oneshot;

use super::*;

const SOON: Duration = Duration::from_millis(50);

#[tokio::test]
async fn connections_are_counted() {
    let house = house(&[], |_| {});
    let mut peer = house.connect();
    peer.expect("PING\n", "+PONG\r\n").await;
    house.connect().expect("CLIENT ID\n", ":2\r\n").await;
    peer.stream.shutdown().await.unwrap();
    peer.rest().await;
    let counted = |counter: &AtomicU64| counter.load(Relaxed);
    let stats = &house.door.stats;
    assert_eq!((counted(&stats.connections), counted(&stats.commands)), (2, 2));
    assert!(house.door.connected() < 2);
}

#[tokio::test]
async fn a_connection_without_a_login_is_closed() {
    let house = house(&["password"], |_| {});
    house.door.replace_login(login(&["password"], SOON));
    assert_eq!(house.connect().rest().await, "");
    let mut talks = house.connect();
    talks
        .expect("PING\n", "-NOAUTH Authentication required.\r\n")
        .await;
    assert_eq!(talks.rest().await, "");
    let mut peer = house.connect();
    peer.expect("AUTH password\n", "+OK\r\n").await;
    tokio::time::sleep(4 * SOON).await;
    peer.expect("PING\n", "+PONG\r\n").await;
}

#[tokio::test]
async fn an_incomplete_command_times_out() {
    let house = house(&[], |options| options.command_timeout = SOON);
    let mut peer = house.connect();
    tokio::time::sleep(4 * SOON).await;
    peer.expect("PING\n*1\r\n$4\r\nPI", "+PONG\r\n").await;
    assert_eq!(peer.rest().await, "");
}

#[tokio::test]
async fn a_slow_command_times_out() {
    let house = house(&[], |options| options.command_timeout = SOON);
    let Peer { mut stream, task } = house.connect();
    let drip = tokio::spawn(async move {
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(SOON / 10).await;
        }
    });
    timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    drip.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_reads_no_replies_is_closed() {
    let house = house(&[], |options| options.command_timeout = SOON);
    let Peer { mut stream, task } = house.connect();
    let echo = request(&["ECHO", &"a".repeat(60_000)]).repeat(100);
    // The door also stops reading, so not all of it can be sent.
    assert!(stream.write_all(echo.as_bytes()).await.is_err());
    timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_finishes_what_has_arrived() {
    let house = house(&[], |_| {});
    let (stop, stopped) = oneshot::channel::<()>();
    let mut peer = house.connect_until(async {
        let _ = stopped.await;
    });
    let publish = request(&["PUBLISH", "user_noti:1", BODY]);
    peer.expect(&(publish.repeat(100) + "*1\r\n"), &":1\r\n".repeat(100))
        .await;
    stop.send(()).unwrap();
    assert_eq!(peer.rest().await, "");
    assert_eq!(house.published().concat().len(), 100);
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let house = house(&["password"], |_| {});
    let sent =
        request(&["HELLO", "3", "AUTH", "default", "password"]) + &request(&["PUBLISH", "user_noti:7", BODY]);
    let mut peer = house.connect();
    for byte in sent.bytes() {
        peer.stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    peer.stream.shutdown().await.unwrap();
    assert!(peer.rest().await.ends_with(":7\r\n"));
}

#[tokio::test]
async fn the_first_key_ends_the_access_of_connections_without_one() {
    const OUT: &str = "-NOAUTH Authentication required.\r\n";
    let house = house(&[], |_| {});
    let (mut silent, mut early, mut wrong) = (house.connect(), house.connect(), house.connect());
    silent.expect("PING\nMULTI\n", "+PONG\r\n+OK\r\n").await;
    let publish = request(&["PUBLISH", "user_noti:1", BODY]);
    silent.expect(&publish, "+QUEUED\r\n").await;
    early.expect("AUTH key\n", "+OK\r\n").await;
    wrong.expect("AUTH any\n", "+OK\r\n").await;
    house.host.needs_key.store(true, Relaxed);
    silent.expect("EXEC\n", OUT).await;
    silent.expect(&publish, OUT).await;
    wrong.expect(&publish, OUT).await;
    // A connection that sent the key before the door knew it stays logged in.
    early.expect(&publish, ":1\r\n").await;
    wrong
        .expect(
            "AUTH any\n",
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        )
        .await;
    wrong.expect("AUTH key\n", "+OK\r\n").await;
    wrong.expect(&publish, ":1\r\n").await;
    assert_eq!(house.published(), [["1"], ["1"]]);
    // The initial state of a connection is without a login.
    early.expect("RESET\nPING\n", &format!("+RESET\r\n{OUT}")).await;
}

#[tokio::test]
async fn the_first_key_starts_the_login_timeout_of_connections_without_one() {
    let house = house(&[], |_| {});
    house.door.replace_login(login(&[], SOON));
    let mut peer = house.connect();
    tokio::time::sleep(2 * SOON).await;
    peer.expect("PING\n", "+PONG\r\n").await;
    house.host.needs_key.store(true, Relaxed);
    peer.expect("PING\n", "-NOAUTH Authentication required.\r\n")
        .await;
    assert_eq!(peer.rest().await, "");
}
