//! Rules between settings, and between settings and the machine.

use super::bad::refused;

#[test]
fn durations_against_each_other() {
    refused(
        "[notify]\nping_interval = \"60s\"",
        &[],
        &[
            "L:2: notify.ping_interval: found \"60s\", expected less than notify.ping_timeout, which is \"60s\" \
           (default)",
        ],
    );
    refused(
        "[notify]\nping_interval = \"2m\"\nping_timeout = \"1m\"",
        &[],
        &[
            "L:3: notify.ping_timeout: found \"60s\", expected more than notify.ping_interval, which is \"120s\" \
           (DIR/fanfare.toml:2)",
        ],
    );
    refused(
        "[shutdown]\ntimeout = \"5s\"",
        &[],
        &[
            "L:2: shutdown.timeout: found \"5s\", expected at least shutdown.drain_window, which is \"10s\" \
           (default)",
        ],
    );
    refused(
        "",
        &[("FANFARE_SHUTDOWN_DRAIN_WINDOW", "1h")],
        &[
            "environment FANFARE_SHUTDOWN_DRAIN_WINDOW: shutdown.drain_window: found \"1h\", expected at most \
           shutdown.timeout, which is \"1800s\" (default)",
        ],
    );
    // A refused value is reported once, and not compared.
    refused(
        "[notify]\nping_interval = \"x\"\nping_timeout = \"5s\"",
        &[],
        &["L:2: notify.ping_interval: found \"x\", expected a duration such as \"30s\""],
    );
}

#[test]
fn listeners() {
    let listener = |rest: &str| format!("[[listener]]\nbind = \"0.0.0.0:1\"\n{rest}");
    let check = |rest: &str, expected: &str| refused(&listener(rest), &[], &[expected]);
    check(
        "dialects = [\"notfy\"]",
        "L:3: listener[0].dialects: found \"notfy\", which is not a dialect, expected some of notify, chat, feed; \
         did you mean \"notify\"?",
    );
    check(
        "dialects = [\"feed\", \"feed\"]",
        "L:3: listener[0].dialects: found \"feed\" twice, expected each dialect once",
    );
    check(
        "dialects = [\"feed\", \"notify\"]",
        "L:3: listener[0].dialects: found \"notify\" and \"feed\", which both claim /ws, expected each on a \
         `[[listener]]` of its own",
    );
    for prefix in ["a", "/a/", "/", "/a//b", "/a b", "/../a", "/a?b"] {
        check(
            &format!("dialects = []\nprefix = {prefix:?}"),
            &format!(
                "L:4: listener[0].prefix: found {prefix:?}, expected a path such as \"/a\": a slash before each \
                 part, none at the end, letters, digits and - . _ ~ in between"
            ),
        );
    }
    check(
        "dialects = []\ntls = { cert = \"DIR/cert.pem\" }",
        "L:4: listener[0].tls.key: not set, expected a path",
    );
    refused(
        "listener = []",
        &[],
        &["L:1: listener: found none, expected at least one `[[listener]]`"],
    );
    refused(
        &format!(
            "{}\n{}",
            listener("dialects = []"),
            "[[listener]]\nbind = \"127.0.0.1:1\"\ndialects = []"
        ),
        &[],
        &[
            "L:5: listener[1].bind: found \"127.0.0.1:1\", expected an address that listener[0] (\"0.0.0.0:1\", \
           DIR/fanfare.toml:2) leaves free",
        ],
    );
    for (bind, other) in [
        ("localhost:1", "[::1]:1"),
        (":1", "127.0.0.1:1"),
        (":1", "[::]:1"),
    ] {
        let toml = format!(
            "[[listener]]\nbind = \"{bind}\"\ndialects = []\n[[listener]]\nbind = \"{other}\"\ndialects = []"
        );
        let expected = format!(
            "L:5: listener[1].bind: found \"{other}\", expected an address that listener[0] (\"{bind}\", DIR/fanfare.toml:2) \
             leaves free"
        );
        refused(&toml, &[], &[&expected]);
    }
    refused(
        "resp.bind = \"127.0.0.1:8081\"",
        &[],
        &[
            "L:1: resp.bind: found \"127.0.0.1:8081\", expected an address that listener[0] (\"0.0.0.0:8081\") \
           leaves free",
        ],
    );
}

#[test]
fn secrets() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let check = |auth: &str, expected: &[&str]| refused(&format!("[auth]\n{auth}"), &[], expected);
    check(
        &format!("jwt_secret = \"{SECRET}\"\njwt_secret_file = \"DIR/secret\""),
        &[
            "L:3: auth.jwt_secret_file: found beside auth.jwt_secret (DIR/fanfare.toml:2), expected one of the two",
        ],
    );
    refused(
        "auth.jwt_secret_file = \"DIR/secret\"",
        &[("JWT_SECRET_KEY", SECRET)],
        &[
            "L:1: auth.jwt_secret_file: found beside auth.jwt_secret (environment JWT_SECRET_KEY), expected one of \
           the two",
        ],
    );
    check(
        "jwt_secret_file = \"DIR/none\"",
        &[
            "L:2: auth.jwt_secret_file: found \"DIR/none\", which cannot be read: No such file or directory (os \
           error 2)",
        ],
    );
    check(
        "jwt_secret_file = \"DIR/empty\"",
        &["L:2: auth.jwt_secret_file: found \"DIR/empty\", which is empty, expected a secret"],
    );
    let nine = vec![format!("{SECRET:?}"); 8].join(", ");
    check(
        &format!("accepted_jwt_secrets = [{nine}]"),
        &["L:2: auth.accepted_jwt_secrets: found 8 secrets, expected at most 7"],
    );
}

/// Every setting that may hold a secret has the form; the file's content is checked like a value in the configuration.
#[test]
fn files_of_secrets() {
    let check = |text: &str, expected: &[&str]| refused(text, &[], expected);
    check(
        "broker.url_file = \"DIR/short\"",
        &[
            "L:1: broker.url_file: in \"DIR/short\": found a text (not shown), expected a URL with its scheme, such as \
           \"https://example.com\"",
        ],
    );
    for key in [
        "auth.accepted_jwt_secrets_file",
        "auth.jwks_url_file",
        "api.keys_file",
        "authorizer.url_file",
        "broker.cluster_file",
        "broker.sentinel.password_file",
        "broker.sentinel.urls_file",
        "resp.password_file",
        "storage.url_file",
    ] {
        let expected = format!("L:1: {key}: found \"DIR/empty\", which is empty, expected a secret");
        check(&format!("{key} = \"DIR/empty\""), &[&expected]);
        let expected = format!("L:1: {key}: found 1, expected a path");
        check(&format!("{key} = 1"), &[&expected]);
    }
}

#[test]
fn keys_and_origins() {
    let check = |auth: &str, expected: &[&str]| refused(&format!("[auth]\n{auth}"), &[], expected);
    check(
        "jwks_url = \"id.example.com\"",
        &[
            "L:2: auth.jwks_url: found a text (not shown), expected a URL with its scheme, such as \
           \"https://example.com\"",
        ],
    );
    check(
        "algorithms = [\"RS256\", \"HS256\", \"HS256\"]",
        &[
            "L:2: auth.algorithms: found \"RS256\", which needs auth.jwks_url or auth.public_key_file",
            "L:2: auth.algorithms: found \"HS256\" twice, expected each algorithm once",
        ],
    );
    check(
        "algorithms = [\"HS256\"]\npublic_key_file = \"DIR/public.pem\"",
        &["L:2: auth.algorithms: found \"HS256\", which needs auth.jwt_secret or auth.jwt_secret_file"],
    );
    for origin in [
        "https://a.example/path",
        "a.example",
        "https://*.a.example",
        "nil",
        "file",
    ] {
        check(
            &format!("allowed_origins = [\"{origin}\"]"),
            &[&format!(
                "L:2: auth.allowed_origins: found \"{origin}\", expected \"*\", \"null\", \"file://\", or an origin such \
                 as \"https://app.example.com\""
            )],
        );
    }
}

#[test]
fn doors_for_backends() {
    refused(
        "api.keys = [\"\"]",
        &[],
        &["L:1: api.keys: found an empty text, expected a text that is not empty"],
    );
    refused(
        "resp.bind = \"0.0.0.0:6379\"",
        &[],
        &[
            "L:1: resp.bind: found \"0.0.0.0:6379\", expected a loopback address such as \"127.0.0.1:6379\": without \
           resp.password or api.keys any client could publish",
        ],
    );
    refused(
        "resp.bind = \"127.0.0.1:6380\"",
        &[("PUBSUB_ADAPTER", "redis")],
        &[
            "L:1: resp.bind: found \"127.0.0.1:6380\", expected \"\": the embedded door belongs to the memory \
           broker, and broker.kind is \"redis\" (environment PUBSUB_ADAPTER)",
        ],
    );
    refused(
        "broker.url = \"kafka://:hunter2@host\"",
        &[],
        &[
            "L:1: broker.url: found the scheme \"kafka\", expected one of \"redis\", \"rediss\", \"valkey\", \"valkeys\", \
           \"redis+unix\", \"unix\", \"nats\", \"tls\"",
        ],
    );
    refused(
        "broker.kind = \"redis\"\nbroker.url = \"http://:hunter2@host\"",
        &[],
        &[
            "L:2: broker.url: found the scheme \"http\", expected one of \"redis\", \"rediss\", \"valkey\", \"valkeys\", \
           \"redis+unix\", \"unix\" as broker.kind is \"redis\" (DIR/fanfare.toml:1)",
        ],
    );
    refused(
        "storage.url = \"mysql://u:hunter2@host/d\"",
        &[],
        &[
            "L:1: storage.url: found a text (not shown), expected \"sqlite://FILE\" or \"postgres://USER:PASSWORD@HOST/DATABASE\" \
             (an unknown kind of database)",
        ],
    );
    refused(
        "",
        &[("PUBSUB_ADAPTER", "rabbit")],
        &[
            "environment PUBSUB_ADAPTER: broker.kind: found \"rabbit\", expected one of \"memory\", \"redis\", \"nats\"",
        ],
    );
}
