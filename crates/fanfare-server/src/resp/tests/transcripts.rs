//! Each command's answers, in both versions of the protocol.

use super::*;

/// Lines sent, and the replies. `\n` stands for `\r\n` in both.
async fn check(secrets: &[&str], cases: &[(&str, &str)]) {
    for (sent, expected) in cases {
        let house = house(secrets, |_| {});
        let got = house.answer(sent.replace('\n', "\r\n") + "\r\n").await;
        assert_eq!(got.replace("\r\n", "\n"), *expected, "{sent}");
    }
}

const HELLO_2: &str = "*14\n$6\nserver\n$5\nredis\n$7\nversion\n$5\n7.2.0\n$5\nproto\n:2\n$2\nid\n:1\n\
                       $4\nmode\n$10\nstandalone\n$4\nrole\n$6\nmaster\n$7\nmodules\n*0\n";

fn hello_3() -> String {
    HELLO_2.replace("*14", "%7").replace(":2", ":3")
}

#[tokio::test]
async fn greetings() {
    let hello_3 = hello_3();
    let named = format!("{hello_3}$3\nann\n");
    check(
        &[],
        &[
            ("PING", "+PONG\n"),
            ("ping hi", "$2\nhi\n"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command\n"),
            ("ECHO hi", "$2\nhi\n"),
            ("ECHO", "-ERR wrong number of arguments for 'echo' command\n"),
            ("HELLO", HELLO_2),
            ("HELLO 2", HELLO_2),
            ("HELLO 3", &hello_3),
            ("hello 3 auth any thing setname ann\nclient getname", &named),
            ("HELLO 4", "-NOPROTO unsupported protocol version\n"),
            ("HELLO 1", "-NOPROTO unsupported protocol version\n"),
            (
                "HELLO x",
                "-ERR Protocol version is not an integer or out of range\n",
            ),
            ("HELLO 3 secret", "-ERR Syntax error in HELLO option\n"),
            ("HELLO 3 AUTH secret", "-ERR Syntax error in HELLO option\n"),
            (
                "HELLO 3 SETNAME \"a b\"\nCLIENT GETNAME",
                "-ERR Client names cannot contain spaces, newlines or special characters.\n$-1\n",
            ),
            ("AUTH x\nAUTH x y", "+OK\n+OK\n"),
            ("AUTH x y z", "-ERR syntax error\n"),
            ("SELECT 0\nSELECT 15", "+OK\n+OK\n"),
            (
                "SELECT 16\nSELECT -1",
                "-ERR DB index is out of range\n-ERR DB index is out of range\n",
            ),
            ("SELECT x", "-ERR value is not an integer or out of range\n"),
            ("QUIT\nPING", "+OK\n"),
            ("SELECT 3\nRESET\nPING", "+OK\n+RESET\n+PONG\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn client() {
    check(
        &[],
        &[
            ("CLIENT ID", ":1\n"),
            ("CLIENT GETNAME", "$-1\n"),
            ("CLIENT SETNAME ann\nCLIENT GETNAME", "+OK\n$3\nann\n"),
            (
                "CLIENT SETNAME \"a b\"",
                "-ERR Client names cannot contain spaces, newlines or special characters.\n",
            ),
            (
                "CLIENT SETNAME",
                "-ERR wrong number of arguments for 'client|setname' command\n",
            ),
            (
                "CLIENT SETINFO LIB-NAME redis-py\nCLIENT SETINFO lib-ver 1.0",
                "+OK\n+OK\n",
            ),
            ("CLIENT SETINFO x y", "-ERR Unrecognized option 'x'\n"),
            (
                "CLIENT SETINFO LIB-NAME \"a b\"",
                "-ERR lib-name cannot contain spaces, newlines or special characters.\n",
            ),
            ("CLIENT NO-EVICT on\nCLIENT NO-TOUCH OFF", "+OK\n+OK\n"),
            ("CLIENT NO-TOUCH maybe", "-ERR syntax error\n"),
            ("CLIENT", "-ERR wrong number of arguments for 'client' command\n"),
            (
                "CLIENT MAINT_NOTIFICATIONS ON",
                "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\n",
            ),
        ],
    )
    .await;
    let reply = house(&[], |_| {})
        .answer("CLIENT SETNAME ann\nCLIENT INFO\n")
        .await;
    assert!(
        reply.contains("id=1 addr=192.0.2.1:1234 name=ann age=0 "),
        "{reply}"
    );
    let help = house(&[], |_| {}).answer("CLIENT HELP\n").await;
    assert!(
        help.contains("+SETNAME connection-name\r\n+    Names the connection.\r\n"),
        "{help}"
    );
}

#[tokio::test]
async fn command() {
    let house = house(&[], |_| {});
    let one = "*10\r\n$7\r\npublish\r\n:3\r\n*4\r\n+pubsub\r\n+loading\r\n+stale\r\n+fast\r\n:0\r\n:0\r\n:0\r\n\
               *0\r\n*0\r\n*0\r\n*0\r\n";
    let sent = "COMMAND INFO publish nonesuch\n";
    assert_eq!(house.answer(sent).await, format!("*2\r\n{one}$-1\r\n"));
    let all = house.answer("COMMAND\n").await;
    assert!(all.starts_with(&format!("*15\r\n{one}")), "{all}");
    assert_eq!(house.answer("COMMAND INFO\n").await, all);
    assert_eq!(house.answer("COMMAND COUNT\n").await, ":15\r\n");
    assert!(
        house
            .answer("COMMAND LIST\n")
            .await
            .starts_with("*15\r\n$7\r\npublish\r\n")
    );
    let docs = house.answer("COMMAND DOCS PING nonesuch\n").await;
    assert!(
        docs.starts_with("*2\r\n$4\r\nping\r\n*4\r\n$7\r\nsummary\r\n"),
        "{docs}"
    );
    let newer = house
        .answer("HELLO 3\nCOMMAND DOCS client|id\nCOMMAND INFO publish\n")
        .await;
    assert!(newer.contains("%1\r\n$9\r\nclient|id\r\n%2\r\n"), "{newer}");
    assert!(newer.contains("~4\r\n+pubsub\r\n"), "{newer}");
}

#[tokio::test]
async fn info() {
    let house = house(&[], |options| options.port = 6390);
    let all = house.answer("INFO\n").await;
    for line in [
        "# Server",
        "redis_version:7.2.0",
        "tcp_port:6390",
        "connected_clients:1",
        "loading:0",
        "role:master",
        "# Keyspace",
    ] {
        assert!(all.contains(&format!("{line}\r\n")), "{line} in {all}");
    }
    let one = house.answer("INFO persistence\n").await;
    assert_eq!(one, "$26\r\n# Persistence\r\nloading:0\r\n\r\n");
    assert_eq!(house.answer("INFO nonesuch\n").await, "$0\r\n\r\n");
    let newer = house.answer("HELLO 3\nINFO persistence\n").await;
    assert!(
        newer.ends_with("=30\r\ntxt:# Persistence\r\nloading:0\r\n\r\n"),
        "{newer}"
    );
}

#[tokio::test]
async fn pubsub() {
    check(
        &[],
        &[
            (
                "PUBSUB CHANNELS",
                "*8\n$16\nfanfare:everyone\n$11\nuser_noti:1\n$11\nuser_noti:2\n$13\nuser_noti:ann\n\
                 $12\nchat.general\n$13\nnotifications\n$27\nfanfare:channel:fanfare:odd\n$14\nfanfare:events\n",
            ),
            ("PUBSUB CHANNELS *:a*", "*1\n$13\nuser_noti:ann\n"),
            ("PUBSUB CHANNELS ann", "*0\n"),
            // It is listed by the first of its names that matches.
            ("PUBSUB CHANNELS user:an[n]", "*1\n$8\nuser:ann\n"),
            ("PUBSUB CHANNELS notifications.*", "*3\n$20\nnotifications.user.1\n$20\nnotifications.user.2\n\
                 $22\nnotifications.user.ann\n"),
            ("PUBSUB CHANNELS *ch*t.*", "*1\n$12\nchat.general\n"),
            ("PUBSUB CHANNELS fanfare:c*:chat*", "*1\n$28\nfanfare:channel:chat.general\n"),
            ("PUBSUB CHANNELS fanfare:e*", "*2\n$16\nfanfare:everyone\n$14\nfanfare:events\n"),
            ("PUBSUB NUMSUB", "*0\n"),
            (
                "PUBSUB NUMSUB user_noti:ann x",
                "*4\n$13\nuser_noti:ann\n:3\n$1\nx\n:0\n",
            ),
            ("PUBSUB NUMPAT", ":5\n"),
            (
                "PUBSUB CHANNELS a b",
                "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.\n",
            ),
            ("PUBSUB X", "-ERR unknown subcommand 'X'. Try PUBSUB HELP.\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_list_of_channels_is_bounded() {
    let house = house(&[], |options| options.max_message = 100);
    let error = "-ERR the reply would be longer than resp.max_message_size: narrow the pattern\r\n";
    assert_eq!(house.answer("PUBSUB CHANNELS\n").await, error);
    assert_eq!(
        house.answer("PUBSUB CHANNELS *ann\n").await,
        "*1\r\n$13\r\nuser_noti:ann\r\n"
    );
}

#[tokio::test]
async fn unknown_commands_are_refused() {
    let long = "x".repeat(100);
    let shown = format!("-ERR unknown command '{}'\n", "x".repeat(64));
    check(
        &[],
        &[
            ("GET key secret", "-ERR unknown command 'GET'\n"),
            ("\"a\\r\\nb\" c", "-ERR unknown command 'a\\r\\nb'\n"),
            (&long, &shown),
            (
                "subscribe a",
                "-ERR SUBSCRIBE is not available here: publish on this port, receive over WebSocket\n",
            ),
            ("PING \"", "-ERR Protocol error: unbalanced quotes in request\n"),
            ("*1\nPING", "-ERR Protocol error: expected '$', got 'P'\n"),
            ("*-2\nPING", "-ERR Protocol error: invalid multibulk length\n"),
            (
                "PING\n*1\n$1000000000000000000\nPING",
                "+PONG\n-ERR Protocol error: invalid bulk length\n",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn transactions() {
    check(
        &[],
        &[
            (
                "MULTI\nPING\nPUBLISH user_noti:7 '{\"type\":\"t\",\"payload\":1}'\nECHO a\nEXEC\nPING",
                "+OK\n+QUEUED\n+QUEUED\n+QUEUED\n*3\n+PONG\n:7\n$1\na\n+PONG\n",
            ),
            ("MULTI\nEXEC", "+OK\n*0\n"),
            (
                "MULTI\nPING\nDISCARD\nEXEC",
                "+OK\n+QUEUED\n+OK\n-ERR EXEC without MULTI\n",
            ),
            ("DISCARD", "-ERR DISCARD without MULTI\n"),
            (
                "MULTI\nGET a\nPING\nEXEC\nPING",
                "+OK\n-ERR unknown command 'GET'\n+QUEUED\n\
                 -EXECABORT Transaction discarded because of previous errors.\n+PONG\n",
            ),
            (
                "MULTI\nPUBLISH a\nEXEC",
                "+OK\n-ERR wrong number of arguments for 'publish' command\n\
                 -EXECABORT Transaction discarded because of previous errors.\n",
            ),
            (
                "MULTI\nMULTI\nPING\nEXEC",
                "+OK\n-ERR MULTI calls can not be nested\n+QUEUED\n*1\n+PONG\n",
            ),
            // An error of one command does not end the transaction.
            (
                "MULTI\nSELECT 99\nPING\nEXEC",
                "+OK\n+QUEUED\n+QUEUED\n*2\n-ERR DB index is out of range\n+PONG\n",
            ),
            (
                "MULTI\nPING\nRESET\nEXEC",
                "+OK\n+QUEUED\n+RESET\n-ERR EXEC without MULTI\n",
            ),
            ("MULTI\nPING\nQUIT", "+OK\n+QUEUED\n+OK\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_transaction_is_bounded() {
    let house = house(&[], |options| options.max_message = 1000);
    let publish = request(&["PUBLISH", "user_noti:1", &"1".repeat(900)]);
    let sent = format!("MULTI\n{publish}{publish}{publish}EXEC\nPING\n");
    let expected = "+OK\r\n+QUEUED\r\n+QUEUED\r\n-ERR too much in one transaction\r\n\
                    -EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n";
    assert_eq!(house.answer(sent).await, expected);
    assert!(house.published().is_empty());
}

const NOAUTH: &str = "-NOAUTH Authentication required.\n";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\n";

#[tokio::test]
async fn logging_in() {
    let hello_3 = hello_3();
    let twice_refused = format!("{NOAUTH}{NOAUTH}");
    let then_refused = format!("{WRONGPASS}{NOAUTH}");
    let out_again = format!("+OK\n+RESET\n{NOAUTH}");
    let still_in = format!("+OK\n{WRONGPASS}+PONG\n");
    let reply = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
                AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
                version at the same time\n";
    check(
        &["password", "key"],
        &[
            ("PING\nPUBLISH user_noti:1 x", &twice_refused),
            ("GET a\nSUBSCRIBE a", &twice_refused),
            ("RESET\nMULTI", &twice_refused),
            ("COMMAND DOCS\nCLIENT SETINFO LIB-NAME a", &twice_refused),
            ("QUIT\nPING", "+OK\n"),
            ("AUTH", "-ERR wrong number of arguments for 'auth' command\n"),
            ("AUTH password\nPING", "+OK\n+PONG\n"),
            ("AUTH key\nPING", "+OK\n+PONG\n"),
            ("AUTH default key\nPING", "+OK\n+PONG\n"),
            ("AUTH anybody key\nPING", "+OK\n+PONG\n"),
            ("AUTH default password\nPING", "+OK\n+PONG\n"),
            ("AUTH anybody password\nPING", &then_refused),
            ("AUTH Default password\nPING", &then_refused),
            ("AUTH \"\" password\nPING", &then_refused),
            ("HELLO 3 AUTH anybody key", &hello_3),
            ("HELLO 3 AUTH anybody password\nPING", &then_refused),
            ("AUTH Password\nPING", &then_refused),
            ("AUTH password x\nPING", &then_refused),
            ("AUTH password\nAUTH wrong\nPING", &still_in),
            ("AUTH password\nRESET\nPING", &out_again),
            ("HELLO 3", reply),
            ("HELLO 3 AUTH default wrong\nPING", &then_refused),
            ("HELLO 3 AUTH default password", &hello_3),
            (
                "*11\n$1\na\n",
                "-ERR Protocol error: unauthenticated multibulk length\n",
            ),
            (
                "*2\n$4\nPING\n$16385\n",
                "-ERR Protocol error: unauthenticated bulk length\n",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_tenth_wrong_password_closes_the_connection() {
    let house = house(&["password"], |_| {});
    let got = house.answer("AUTH guess\n".repeat(20)).await;
    assert_eq!(got, WRONGPASS.replace('\n', "\r\n").repeat(10));
    assert_eq!(house.door.stats.failed_logins.load(Relaxed), 10);
}

#[tokio::test]
async fn http_is_dropped_without_a_reply() {
    let house = house(&[], |_| {});
    let publish = request(&["PUBLISH", "user_noti:1", BODY]);
    for first in [
        "POST / HTTP/1.1",
        "GET / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PRI * HTTP/2.0",
        "Host: localhost:6379",
        "post /",
        "\u{16}\u{3}\u{1}",
    ] {
        assert_eq!(house.answer(format!("{first}\r\n{publish}")).await, "", "{first}");
    }
    assert!(house.published().is_empty());
    // An earlier publication is not revoked.
    let got = house
        .answer(format!("PING\r\n{publish}GET / HTTP/1.1\r\n{publish}"))
        .await;
    assert_eq!(got, "+PONG\r\n:1\r\n");
    // A client that uses other commands of Redis is not closed.
    assert_eq!(
        house.answer(request(&["GET", "HTTP/1.1"])).await,
        "-ERR unknown command 'GET'\r\n"
    );
}
