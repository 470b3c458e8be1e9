//! Keys over HTTP, from a server on loopback with the answers of each test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::jwks::{MAX_JWKS_BYTES, Pace};
use super::*;

/// An HTTP server with one answer, which can be changed.
struct Endpoint {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<AtomicUsize>,
}

impl Endpoint {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, requests) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let endpoint = Self {
            address,
            answer: Arc::clone(&answer),
            requests: Arc::clone(&requests),
        };
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.unwrap() > 0 {}
                requests.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                // The client may hang up in the middle of a long answer.
                let _ = socket.write_all(&answer).await;
            }
        });
        endpoint
    }

    fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    fn say(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn key_set(keys: &[Value]) -> Vec<u8> {
    http("200 OK", "", json!({ "keys": keys }).to_string().as_bytes())
}

fn old_key() -> Value {
    jwk("rsa-other", Algorithm::RS256, Some("old"))
}

fn new_key() -> Value {
    jwk("p256", Algorithm::ES256, Some("new"))
}

fn old_token() -> String {
    signed("rsa-other", Algorithm::RS256, Some("old"))
}

fn new_token() -> String {
    signed("p256", Algorithm::ES256, Some("new"))
}

fn options(endpoint: &Endpoint) -> VerifierOptions {
    VerifierOptions {
        jwks_url: Some(endpoint.url()),
        ..VerifierOptions::default()
    }
}

fn refusal(verifier: &Verifier, token: &str) -> Option<TokenError> {
    verifier.verify(token, now()).err()
}

/// Waits for an effect of the background task; for long, because test machines are slow.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn rotation() {
    let endpoint = Endpoint::start(key_set(&[old_key()])).await;
    let verifier = verifier(options(&endpoint));
    assert_eq!(
        refusal(&verifier, &old_token()),
        Some(TokenError::KeysUnavailable)
    );
    verifier.refresh_jwks().await.unwrap();
    assert_eq!(refusal(&verifier, &old_token()), None);
    assert_eq!(refusal(&verifier, &new_token()), Some(TokenError::UnknownKey));

    endpoint.say(key_set(&[old_key(), new_key()]));
    verifier.refresh_jwks().await.unwrap();
    assert_eq!(refusal(&verifier, &old_token()), None);
    assert_eq!(refusal(&verifier, &new_token()), None);

    endpoint.say(key_set(&[new_key()]));
    verifier.refresh_jwks().await.unwrap();
    assert_eq!(
        refusal(&verifier, &old_token()),
        Some(TokenError::UnknownKey),
        "a withdrawn key is gone"
    );
    assert_eq!(refusal(&verifier, &new_token()), None);
    assert_eq!(endpoint.requests(), 3, "judging fetches nothing");
}

#[tokio::test]
async fn unusable_keys_are_skipped() {
    let secret = json!({"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let mut for_encryption = jwk("rsa", Algorithm::RS256, Some("e"));
    for_encryption["use"] = "enc".into();
    let strange = json!({"kty": "PQC", "kid": 7});
    let endpoint = Endpoint::start(key_set(&[
        secret,
        for_encryption,
        strange,
        json!(null),
        new_key(),
    ]))
    .await;
    let verifier = verifier(options(&endpoint));
    verifier.refresh_jwks().await.unwrap();
    assert_eq!(refusal(&verifier, &new_token()), None);
    let by_secret = mint::sign(SECRET, &good_claims());
    assert_eq!(
        refusal(&verifier, &by_secret),
        Some(TokenError::UnsupportedAlgorithm)
    );
    let by_encryption_key = signed("rsa", Algorithm::RS256, Some("e"));
    assert_eq!(
        refusal(&verifier, &by_encryption_key),
        Some(TokenError::UnknownKey)
    );
}

#[tokio::test]
async fn bad_answers_keep_the_old_keys() {
    let endpoint = Endpoint::start(key_set(&[old_key()])).await;
    let verifier = verifier(options(&endpoint));
    verifier.refresh_jwks().await.unwrap();
    let padding = " ".repeat(2 * MAX_JWKS_BYTES);
    let two_mib = format!("{padding}{}", json!({"keys": [new_key()]}));
    let chunked = [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n200000\r\n".as_slice(),
        padding.as_bytes(),
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let cut_off = {
        let mut answer = key_set(&[new_key()]);
        answer.truncate(answer.len() - 5);
        answer
    };
    let elsewhere = Endpoint::start(key_set(&[new_key()])).await;
    let as_list = {
        let member = |name| new_key()[name].take();
        let names = [
            "kty", "kid", "alg", "use", "key_ops", "crv", "n", "e", "x", "y", "d",
        ];
        Value::from_iter(names.map(member))
    };
    let https = format!("location: https://{}/\r\n", elsewhere.address);
    for (answer, expected) in [
        (http("200 OK", "", b"<html>garbage</html>"), "not a JWK set"),
        (http("200 OK", "", b"[]"), "not a JWK set"),
        (http("200 OK", "", b""), "not a JWK set"),
        (http("200 OK", "", &[0xFF; 100]), "not a JWK set"),
        (
            http("200 OK", "", json!([[new_key()]]).to_string().as_bytes()),
            "not a JWK set",
        ),
        (key_set(&[]), "no usable key"),
        (key_set(&[as_list]), "no usable key"),
        (key_set(&[json!({"kty": "oct", "k": "AAAA"})]), "no usable key"),
        (
            http("200 OK", "", two_mib.as_bytes()),
            "longer than 1048576 bytes",
        ),
        (chunked, "longer than 1048576 bytes"),
        (http("500 Oops", "", b"{}"), "HTTP status 500"),
        (
            http("404 Not Found", "", &key_set(&[new_key()])),
            "HTTP status 404",
        ),
        (http("302 Found", &https, b""), "request failed"),
        (cut_off, "request failed"),
        (b"garbage\r\n\r\n".to_vec(), "request failed"),
        (Vec::new(), "request failed"),
    ] {
        endpoint.say(answer);
        let error = verifier.refresh_jwks().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(
            !error.contains("jwks.json"),
            "an error must not show the URL: {error}"
        );
        assert_eq!(refusal(&verifier, &old_token()), None, "after: {error}");
        assert_eq!(
            refusal(&verifier, &new_token()),
            Some(TokenError::UnknownKey),
            "after: {error}"
        );
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn redirects_within_the_scheme_are_followed_but_not_for_ever() {
    let target = Endpoint::start(key_set(&[new_key()])).await;
    let location = format!("location: {}\r\n", target.url());
    let endpoint = Endpoint::start(http("302 Found", &location, b"")).await;
    let verifier = verifier(options(&endpoint));
    verifier.refresh_jwks().await.unwrap();
    assert_eq!(refusal(&verifier, &new_token()), None);

    let to_itself = format!("location: {}\r\n", endpoint.url());
    endpoint.say(http("302 Found", &to_itself, b""));
    assert!(matches!(
        verifier.refresh_jwks().await,
        Err(JwksError::Request(_))
    ));
    assert!(endpoint.requests() < 10);
}

#[tokio::test]
async fn an_unavailable_endpoint_does_not_prevent_the_start() {
    let endpoint = Endpoint::start(Vec::new()).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:hunter2@{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let both = VerifierOptions {
        jwks_url: Some(url),
        ..with_secret()
    };
    let verifier = verifier(both);
    let error = format!("{0} {0:?}", verifier.refresh_jwks().await.unwrap_err());
    assert!(!error.contains("hunter2"), "{error}");
    assert_eq!(
        refusal(&verifier, &new_token()),
        Some(TokenError::KeysUnavailable)
    );
    assert_eq!(
        refusal(&verifier, &mint::sign(SECRET, &good_claims())),
        None,
        "local keys do without"
    );
    assert_eq!(endpoint.requests(), 0);
}

fn paced(endpoint: &Endpoint, period: u64, on_demand: u64) -> Arc<Verifier> {
    let millis = Duration::from_millis;
    let mut verifier = verifier(options(endpoint));
    let pace = Pace {
        period: millis(period),
        on_demand: millis(on_demand),
        first_retry: millis(5),
        last_retry: millis(20),
    };
    verifier.set_pace(pace);
    Arc::new(verifier)
}

fn refreshing(verifier: &Arc<Verifier>) -> tokio::task::JoinHandle<()> {
    let verifier = Arc::clone(verifier);
    tokio::spawn(async move { verifier.keep_fresh().await })
}

const NEVER: u64 = 3_600_000;

#[tokio::test]
async fn the_background_task_retries_and_then_fetches_periodically() {
    let endpoint = Endpoint::start(http("503 Later", "", b"")).await;
    let verifier = paced(&endpoint, 20, NEVER);
    let task = refreshing(&verifier);
    eventually("three attempts", || endpoint.requests() >= 3).await;
    assert_eq!(
        refusal(&verifier, &old_token()),
        Some(TokenError::KeysUnavailable)
    );
    endpoint.say(key_set(&[old_key()]));
    eventually("the first keys", || refusal(&verifier, &old_token()).is_none()).await;
    endpoint.say(key_set(&[new_key()]));
    eventually("the next keys", || refusal(&verifier, &new_token()).is_none()).await;
    task.abort();
}

#[tokio::test]
async fn an_unknown_key_id_fetches_early_and_a_wrong_signature_does_not() {
    let endpoint = Endpoint::start(key_set(&[old_key()])).await;
    let verifier = paced(&endpoint, NEVER, 50);
    let task = refreshing(&verifier);
    eventually("the first keys", || refusal(&verifier, &old_token()).is_none()).await;

    let wrong = signed("rsa", Algorithm::RS256, Some("old"));
    assert_eq!(refusal(&verifier, &wrong), Some(TokenError::BadSignature));
    let wrong_without_id = signed("rsa", Algorithm::RS256, None);
    assert_eq!(
        refusal(&verifier, &wrong_without_id),
        Some(TokenError::BadSignature)
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(endpoint.requests(), 1);

    endpoint.say(key_set(&[old_key(), new_key()]));
    assert_eq!(refusal(&verifier, &new_token()), Some(TokenError::UnknownKey));
    assert_eq!(verifier.fetch_key(&new_token()).await, Ok(()));
    assert_eq!(refusal(&verifier, &new_token()), None);
    assert_eq!(endpoint.requests(), 2);
    assert_eq!(verifier.fetch_key(&new_token()).await, Ok(()));
    assert_eq!(endpoint.requests(), 2, "a key that is here is not fetched");
    task.abort();
}

#[tokio::test]
async fn all_tokens_that_wait_for_a_key_share_one_fetch() {
    let endpoint = Endpoint::start(key_set(&[old_key()])).await;
    let verifier = paced(&endpoint, NEVER, 100);
    let task = refreshing(&verifier);
    eventually("the first keys", || refusal(&verifier, &old_token()).is_none()).await;
    endpoint.say(key_set(&[old_key(), new_key()]));
    let token = new_token();
    let waiting = (0..100).map(|_| verifier.fetch_key(&token));
    let waited = futures_util::future::join_all(waiting).await;
    assert!(waited.iter().all(Result::is_ok));
    assert_eq!(endpoint.requests(), 2);
    task.abort();
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_fetches_no_faster_than_allowed() {
    const ON_DEMAND: u64 = 30;
    let endpoint = Endpoint::start(key_set(&[old_key()])).await;
    let verifier = paced(&endpoint, NEVER, ON_DEMAND);
    let began = std::time::Instant::now();
    let task = refreshing(&verifier);
    eventually("the first keys", || refusal(&verifier, &old_token()).is_none()).await;
    for attempt in 0..10 {
        let made_up = signed("p256", Algorithm::ES256, Some(&format!("made up {attempt}")));
        assert_eq!(verifier.fetch_key(&made_up).await, Ok(()));
        assert_eq!(refusal(&verifier, &made_up), Some(TokenError::UnknownKey));
    }
    assert!(began.elapsed() >= Duration::from_millis(10 * ON_DEMAND));
    assert_eq!(endpoint.requests(), 11);
    task.abort();
}

#[tokio::test]
async fn a_token_whose_key_cannot_be_fetched_is_neither_accepted_nor_wrong() {
    let endpoint = Endpoint::start(key_set(&[old_key()])).await;
    let verifier = paced(&endpoint, NEVER, 10);
    assert!(!verifier.has_keys());
    let task = refreshing(&verifier);
    eventually("the first keys", || verifier.has_keys()).await;
    endpoint.say(http("503 Later", "", b""));
    assert_eq!(
        verifier.fetch_key(&new_token()).await,
        Err(TokenError::KeysUnavailable)
    );
    assert_eq!(refusal(&verifier, &old_token()), None, "old keys stay in use");
    endpoint.say(key_set(&[new_key()]));
    assert_eq!(verifier.fetch_key(&new_token()).await, Ok(()));
    assert_eq!(refusal(&verifier, &new_token()), None);
    task.abort();
}

/// Returns a token that is valid by the machine's clock, which a gate uses.
fn live(name: &str, algorithm: Algorithm, kid: &str) -> String {
    let claims = json!({"sub": "user123", "exp": 4_000_000_000_u64}).to_string();
    token(
        &header(algorithm, Some(kid)),
        &claims,
        &private_key(name),
        algorithm,
    )
}

#[tokio::test]
async fn a_gate_waits_for_a_key_and_its_verifier_can_be_replaced() {
    let endpoint = Endpoint::start(key_set(&[])).await;
    let old = live("rsa-other", Algorithm::RS256, "old");
    let new = live("p256", Algorithm::ES256, "new");
    let gate = Arc::new(Gate::new(rules(paced(&endpoint, NEVER, 10))));
    let task = gate.spawn_refresh();
    assert!(!gate.has_keys());
    assert_eq!(gate.identify(&old).await.err(), Some(TokenError::KeysUnavailable));
    endpoint.say(key_set(&[old_key()]));
    eventually("the first keys", || gate.has_keys()).await;
    assert!(gate.identify(&old).await.is_ok());
    endpoint.say(key_set(&[old_key(), new_key()]));
    assert!(
        gate.identify(&new).await.is_ok(),
        "a published key is fetched first"
    );

    endpoint.say(Vec::new());
    assert!(replaces(&gate, paced(&endpoint, NEVER, 10)).await);
    assert!(gate.has_keys(), "a reload does not forget them");
    assert!(gate.identify(&old).await.is_ok() && gate.identify(&new).await.is_ok());
    let elsewhere = paced(&Endpoint::start(Vec::new()).await, NEVER, 10);
    assert!(!replaces(&gate, elsewhere).await, "one without keys");
    assert!(gate.identify(&old).await.is_ok());
    let refreshed = paced(&endpoint, NEVER, 10);
    endpoint.say(key_set(&[new_key()]));
    assert!(refreshed.refresh_jwks().await.is_ok());
    assert!(replaces(&gate, refreshed).await);
    assert!(
        gate.identify(&old).await.is_err(),
        "a key that the set no longer has"
    );
    assert!(gate.identify(&new).await.is_ok());
    assert!(replaces(&gate, Arc::new(verifier(with_secret()))).await);
    assert_eq!(
        gate.identify(&old).await.err(),
        Some(TokenError::UnsupportedAlgorithm)
    );
    assert!(gate.has_keys());
    task.abort();
}

#[tokio::test]
async fn a_cached_identity_ends_when_the_set_no_longer_has_its_key() {
    let endpoint = Endpoint::start(key_set(&[old_key(), new_key()])).await;
    let verifier = paced(&endpoint, NEVER, 10);
    let gate = Arc::new(Gate::new(rules(verifier.clone())));
    let task = gate.spawn_refresh();
    eventually("the first keys", || gate.has_keys()).await;
    let old = live("rsa-other", Algorithm::RS256, "old");
    assert!(gate.identify(&old).await.is_ok() && gate.identify(&old).await.is_ok());
    assert_eq!(gate.cache_counts().map(|(_, count)| count), [1, 1]);
    endpoint.say(key_set(&[new_key()]));
    verifier.refresh_jwks().await.unwrap();
    assert_eq!(gate.identify(&old).await.err(), Some(TokenError::UnknownKey));
    task.abort();
}

fn rules(verifier: Arc<Verifier>) -> TokenRules {
    TokenRules::new(verifier, Vec::new(), 100)
}

/// Returns whether `verifier` replaces the present one.
async fn replaces(gate: &Gate, verifier: Arc<Verifier>) -> bool {
    let is_ready = gate.prepare_verifier(&verifier).await.is_ok();
    if is_ready {
        gate.replace_rules(rules(verifier));
    }
    is_ready
}

#[tokio::test]
async fn a_failure_is_logged_with_its_causes_and_without_the_secrets_of_the_url() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://user:hunter2@{}/?key=hunter3",
        nobody.local_addr().unwrap()
    );
    drop(nobody);
    let options = VerifierOptions {
        jwks_url: Some(url),
        ..VerifierOptions::default()
    };
    let error = verifier(options).refresh_jwks().await.unwrap_err();
    let text = crate::causes::Causes(&error).to_string();
    assert!(text.contains("refused"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}

#[tokio::test]
async fn without_a_jwks_there_is_nothing_to_fetch() {
    let verifier = verifier(with_secret());
    verifier.refresh_jwks().await.unwrap();
    assert!(verifier.has_keys());
    assert_eq!(verifier.fetch_key(&new_token()).await, Ok(()));
}
