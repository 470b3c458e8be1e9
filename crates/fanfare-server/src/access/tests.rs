//! The webhook against a server on loopback with the answers of each test, and rules from a configuration.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fanfare_core::{
    Channel, UserId,
    policy::{
        AccessControl, Action, Authorizer as _, AuthorizerAnswer, Counts, Grant, Permission, PolicyOptions,
        Question, RoomAccess, Rule, RulePattern,
    },
};
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use super::*;
use crate::config::Authorizer;

/// An HTTP server that answers every request in the same way, after the same time.
struct Service {
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    answer: Mutex<(String, Duration)>,
    requests: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Service {
    async fn start(answer: &str, takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/ask", listener.local_addr().unwrap().port());
        let state = Arc::new(State::default());
        let service = Self {
            url,
            state: Arc::clone(&state),
        };
        service.say(answer, takes);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&state)));
            }
        });
        service
    }

    fn say(&self, answer: &str, takes: Duration) {
        *self.state.answer.lock().unwrap() = (answer.to_owned(), takes);
    }

    fn requests(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    fn last_request(&self) -> String {
        self.state.requests.lock().unwrap().last().unwrap().clone()
    }

    fn settings(&self) -> Authorizer {
        Authorizer {
            url: Some(self.url.parse().unwrap()),
            ..Authorizer::default()
        }
    }

    fn webhook(&self) -> Webhook {
        webhook(&self.settings())
    }
}

async fn serve(mut socket: TcpStream, state: Arc<State>) {
    let mut request = Vec::new();
    // The requests of these tests end with their one JSON object.
    while !request.ends_with(b"}") {
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    state
        .requests
        .lock()
        .unwrap()
        .push(String::from_utf8(request).unwrap());
    let now = state.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_under_way.fetch_max(now, Ordering::SeqCst);
    let (answer, takes) = state.answer.lock().unwrap().clone();
    tokio::time::sleep(takes).await;
    state.under_way.fetch_sub(1, Ordering::SeqCst);
    // The client may have gone.
    let _ = socket.write_all(answer.as_bytes()).await;
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn webhook(settings: &Authorizer) -> Webhook {
    Webhook::new(settings, Handle::current()).unwrap().unwrap()
}

fn question(user: Option<&str>, action: Action, channel: &str) -> Question {
    Question {
        user: user.map(|user| UserId::new(user).unwrap()),
        action,
        channel: Channel::new(channel).unwrap(),
    }
}

fn about(channel: &str) -> Question {
    question(Some("alice"), Action::Subscribe, channel)
}

const YES: &str = r#"{"allow": true}"#;
const NO: &str = r#"{"allow": false}"#;
const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test]
async fn the_request_has_the_documented_form() {
    let service = Service::start(&http("200 OK", YES), AT_ONCE).await;
    let webhook = service.webhook();
    let cases = [
        (
            question(Some("alice"), Action::Subscribe, "a.b"),
            r#"{"user":"alice","action":"subscribe","channel":"a.b"}"#,
        ),
        (
            question(None, Action::Publish, "task:1"),
            r#"{"user":null,"action":"publish","channel":"task:1"}"#,
        ),
        (
            question(Some("\"7\""), Action::Publish, "مرحبا"),
            r#"{"user":"\"7\"","action":"publish","channel":"مرحبا"}"#,
        ),
    ];
    for (question, expected) in cases {
        assert!(webhook.ask(question).await.is_allowed());
        let request = service.last_request();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, expected);
        let head = head.to_lowercase();
        assert!(head.starts_with("post /ask http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
        assert!(!head.contains("authorization"), "{head}");
    }
}

#[tokio::test]
async fn credentials_in_the_address_become_basic_authentication() {
    let service = Service::start(&http("200 OK", YES), AT_ONCE).await;
    let settings = Authorizer {
        url: Some(service.url.replace("//", "//me:secret@").parse().unwrap()),
        ..Authorizer::default()
    };
    assert!(webhook(&settings).ask(about("a")).await.is_allowed());
    let request = service.last_request().to_lowercase();
    assert!(
        request.contains("\r\nauthorization: basic bwu6c2vjcmv0\r\n"),
        "{request}"
    );
    assert!(!request.contains("secret"));
}

/// answer → (verdict, allowed, denied, failed)
#[tokio::test]
async fn only_the_documented_answers_count() {
    let long = format!(r#"{{"allow": true, "why": "{}"}}"#, "a".repeat(70_000));
    let cases = [
        (http("200 OK", YES), true, (1, 0, 0)),
        (
            http("200 OK", r#"{"allow": true, "why": "staff"}"#),
            true,
            (1, 0, 0),
        ),
        (http("200 OK", NO), false, (0, 1, 0)),
        (http("200 OK", r#"{"allow": "true"}"#), false, (0, 0, 1)),
        (http("200 OK", r#"{"allow": 1}"#), false, (0, 0, 1)),
        (http("200 OK", r#"{"Allow": true}"#), false, (0, 0, 1)),
        (http("200 OK", "true"), false, (0, 0, 1)),
        (http("200 OK", "[true]"), false, (0, 0, 1)),
        (http("200 OK", r#"[{"allow": true}]"#), false, (0, 0, 1)),
        (
            http("200 OK", r#"{"allow": true, "allow": true}"#),
            false,
            (0, 0, 1),
        ),
        (
            http("200 OK", r#"{"allow": false, "\u0061llow": true}"#),
            false,
            (0, 0, 1),
        ),
        (
            http("200 OK", r#"{"allow": true} {"allow": true}"#),
            false,
            (0, 0, 1),
        ),
        (http("200 OK", r#"{"allow": true},"#), false, (0, 0, 1)),
        (http("200 OK", ""), false, (0, 0, 1)),
        (http("200 OK", &long), false, (0, 0, 1)),
        (http("201 Created", YES), false, (0, 0, 1)),
        (http("302 Found", YES), false, (0, 0, 1)),
        (http("307 Temporary Redirect", YES), false, (0, 0, 1)),
        (http("403 Forbidden", YES), false, (0, 0, 1)),
        (http("500 Internal Server Error", YES), false, (0, 0, 1)),
        ("not HTTP at all\r\n\r\n".to_owned(), false, (0, 0, 1)),
        (String::new(), false, (0, 0, 1)),
    ];
    for (answer, expected, (allowed, denied, failed)) in cases {
        let service = Service::start(&answer, AT_ONCE).await;
        let webhook = service.webhook();
        assert_eq!(webhook.try_out(&about("a")).await.unwrap_or(false), expected);
        assert_eq!(
            webhook.remembered(&about("a")),
            None,
            "trying out leaves no trace"
        );
        assert_eq!(webhook.counts(), Counts::default());
        assert_eq!(
            webhook.ask(about("a")).await.is_allowed(),
            expected,
            "{answer:.80}"
        );
        let counts = Counts {
            allowed,
            denied,
            failed,
        };
        assert_eq!(webhook.counts(), counts, "{answer:.80}");
        let remembered = webhook.remembered(&about("a")).map(AuthorizerAnswer::is_allowed);
        assert_eq!(remembered, Some(expected), "{answer:.80}");
        assert_eq!(service.requests(), 2);
    }
}

#[tokio::test]
async fn an_unreachable_or_late_service_denies() {
    let gone = Authorizer {
        url: Some("http://127.0.0.1:1/".parse().unwrap()),
        ..Authorizer::default()
    };
    let gone = webhook(&gone);
    assert!(!gone.ask(about("a")).await.is_allowed());
    assert_eq!(gone.ask(about("a")).await, AuthorizerAnswer::Missing);

    let service = Service::start(&http("200 OK", YES), Duration::from_secs(60)).await;
    let settings = Authorizer {
        timeout: Duration::from_millis(50),
        ..service.settings()
    };
    let webhook = webhook(&settings);
    assert!(!webhook.ask(about("a")).await.is_allowed());
    assert_eq!(webhook.counts().failed, 1);
    assert_eq!(webhook.remembered(&about("a")), Some(AuthorizerAnswer::Missing));
    assert_eq!(webhook.ask(about("a")).await, AuthorizerAnswer::Missing);
}

/// An unreadable response is a denial; only an absent one may change at the next attempt.
#[tokio::test]
async fn an_unreachable_service_gives_no_answer_and_a_bad_response_denies() {
    for (answer, expected) in [
        (http("200 OK", YES), AuthorizerAnswer::Allowed),
        (http("200 OK", NO), AuthorizerAnswer::Denied),
        (http("200 OK", "yes"), AuthorizerAnswer::Denied),
        (http("500 Internal Server Error", YES), AuthorizerAnswer::Denied),
        (http("404 Not Found", YES), AuthorizerAnswer::Denied),
        (http("502 Bad Gateway", YES), AuthorizerAnswer::Missing),
        (http("503 Service Unavailable", YES), AuthorizerAnswer::Missing),
        (String::new(), AuthorizerAnswer::Missing),
    ] {
        let service = Service::start(&answer, AT_ONCE).await;
        let webhook = service.webhook();
        for _ in 0..2 {
            assert_eq!(webhook.ask(about("a")).await, expected, "{answer}");
        }
        assert_eq!(service.requests(), 1);
    }
}

#[tokio::test]
async fn each_question_has_its_own_cached_answer() {
    let service = Service::start(&http("200 OK", YES), AT_ONCE).await;
    let webhook = service.webhook();
    assert!(webhook.ask(about("a")).await.is_allowed());
    service.say(&http("200 OK", NO), AT_ONCE);
    for _ in 0..3 {
        assert!(webhook.ask(about("a")).await.is_allowed());
        assert_eq!(webhook.remembered(&about("a")), Some(AuthorizerAnswer::Allowed));
    }
    assert_eq!(service.requests(), 1);
    let others = [
        about("b"),
        question(Some("bob"), Action::Subscribe, "a"),
        question(Some("alice"), Action::Publish, "a"),
        question(None, Action::Subscribe, "a"),
    ];
    for (number, other) in others.into_iter().enumerate() {
        assert_eq!(webhook.remembered(&other), None);
        assert!(!webhook.ask(other).await.is_allowed());
        assert_eq!(service.requests(), 2 + number);
    }
}

#[tokio::test]
async fn cached_answers_expire() {
    let service = Service::start(&http("200 OK", YES), AT_ONCE).await;
    let short = webhook(&Authorizer {
        cache: Duration::from_millis(100),
        ..service.settings()
    });
    let none = webhook(&Authorizer {
        cache: Duration::ZERO,
        ..service.settings()
    });
    for webhook in [&short, &none] {
        assert!(webhook.ask(about("a")).await.is_allowed());
    }
    assert_eq!(none.remembered(&about("a")), None);
    service.say(&http("200 OK", NO), AT_ONCE);
    assert!(!none.ask(about("a")).await.is_allowed());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(short.remembered(&about("a")), None);
    assert!(!short.ask(about("a")).await.is_allowed());
}

#[tokio::test]
async fn failures_are_cached_for_a_second() {
    let service = Service::start(&http("500 Internal Server Error", ""), AT_ONCE).await;
    let webhook = service.webhook();
    assert!(!webhook.ask(about("a")).await.is_allowed());
    service.say(&http("200 OK", YES), AT_ONCE);
    assert!(!webhook.ask(about("a")).await.is_allowed());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(webhook.ask(about("a")).await.is_allowed());
    assert_eq!(service.requests(), 2);
}

#[tokio::test]
async fn equal_questions_are_asked_once() {
    let service = Service::start(&http("200 OK", YES), Duration::from_millis(100)).await;
    for cache in [Duration::from_secs(30), Duration::ZERO] {
        let before = service.requests();
        let webhook = webhook(&Authorizer {
            cache,
            ..service.settings()
        });
        let asked = (0..20).map(|_| webhook.ask(about("a")));
        assert_eq!(
            futures_util::future::join_all(asked).await,
            [AuthorizerAnswer::Allowed; 20]
        );
        assert_eq!(service.requests() - before, 1);
    }
}

#[tokio::test]
async fn only_a_cached_answer_is_ready_at_the_first_poll() {
    let service = Service::start(&http("200 OK", YES), Duration::ZERO).await;
    let webhook = service.webhook();
    let asked = webhook.ask(about("a"));
    // The answer is there before the first poll, as it may be when another thread runs the request.
    while webhook.remembered(&about("a")).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(asked.now_or_never(), None);
    assert_eq!(
        webhook.ask(about("a")).now_or_never(),
        Some(AuthorizerAnswer::Allowed)
    );
}

#[tokio::test]
async fn a_question_continues_without_its_caller() {
    let service = Service::start(&http("200 OK", YES), Duration::from_millis(50)).await;
    let webhook = service.webhook();
    drop(webhook.ask(about("a")));
    for _ in 0..1000 {
        if webhook.remembered(&about("a")).is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(webhook.remembered(&about("a")), Some(AuthorizerAnswer::Allowed));
    assert_eq!(service.requests(), 1);
}

#[tokio::test]
async fn concurrent_requests_are_limited() {
    let service = Service::start(&http("200 OK", YES), Duration::from_millis(20)).await;
    let webhook = webhook(&Authorizer {
        max_concurrent: 3,
        timeout: Duration::from_secs(60),
        ..service.settings()
    });
    let asked = (0..12).map(|number| webhook.ask(about(&format!("a.{number}"))));
    assert_eq!(
        futures_util::future::join_all(asked).await,
        [AuthorizerAnswer::Allowed; 12]
    );
    assert_eq!(service.state.most_under_way.load(Ordering::SeqCst), 3);
}

#[test]
fn a_runtime_that_has_ended_denies() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = Authorizer {
        url: Some("http://127.0.0.1:1/".parse().unwrap()),
        ..Authorizer::default()
    };
    let webhook = Webhook::new(&settings, runtime.handle().clone())
        .unwrap()
        .unwrap();
    runtime.shutdown_background();
    let here = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..2 {
        assert!(!here.block_on(webhook.ask(about("a"))).is_allowed());
    }
}

#[test]
fn without_a_url_there_is_no_webhook() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let none = Webhook::new(&Authorizer::default(), runtime.handle().clone());
    assert!(none.unwrap().is_none());
    let strange = Authorizer {
        url: Some("ftp://example.com".parse().unwrap()),
        ..Authorizer::default()
    };
    let refused = Webhook::new(&strange, runtime.handle().clone());
    let reason = "the authorizer's address is not an http or https URL";
    assert_eq!(refused.err().as_deref(), Some(reason));
}

#[test]
fn policies_from_configurations() {
    let rule = |pattern: &str, subscribe: Grant| Rule {
        pattern: RulePattern::new(pattern).unwrap(),
        subscribe: Some(subscribe),
        publish: None,
        join: None,
        history: None,
    };
    let config = |rules: &[Rule]| Config {
        channel: rules.to_vec(),
        ..Config::default()
    };
    let channel = Channel::new("news.a").unwrap();
    let closed = || PolicyOptions {
        rooms: RoomAccess::Nobody,
        public: Some(Vec::new()),
        ..PolicyOptions::default()
    };
    let verdict = |config: &Config| {
        let access = AccessControl::new(policy(config, closed()), None);
        access.judge(None, Action::Subscribe, &channel)
    };
    assert_eq!(
        verdict(&config(&[rule("news.*", Grant::Anyone)])),
        Permission::Allowed
    );
    assert_eq!(verdict(&config(&[])), Permission::Denied);
    let mut asking = config(&[]);
    asking.authorizer.url = Some("http://127.0.0.1:1/".parse().unwrap());
    assert!(matches!(verdict(&asking), Permission::Pending(_)));
}
