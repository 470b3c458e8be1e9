//! The cache of verified tokens.

use std::sync::Arc;

use fanfare_accounts::{
    Accounts, AccountsOptions,
    storage::{Storage, StorageUrl},
};
use fanfare_engine::Authenticator as _;

use super::*;

/// Returns a token with this remaining lifetime by the machine's clock, which the gate uses.
fn token(secret: &[u8], lifetime: Duration) -> String {
    let claims = json!({"team": "red", "sid": "s-1"});
    mint(
        secret,
        "mia",
        lifetime,
        claims.as_object().unwrap(),
        SystemTime::now(),
    )
}

const OTHER_SECRET: &[u8] = b"another secret of thirty-two bytes";
const HOUR: Duration = Duration::from_secs(3600);

fn rules(options: VerifierOptions, wanted_claims: &[&str], most: usize) -> TokenRules {
    let wanted_claims = wanted_claims.iter().map(|name| (*name).into()).collect();
    TokenRules::new(Arc::new(verifier(options)), wanted_claims, most)
}

fn counts(gate: &Gate) -> [u64; 2] {
    gate.cache_counts().map(|(_, count)| count)
}

#[tokio::test]
async fn a_token_is_verified_once() {
    let gate = Gate::new(rules(with_secret(), &[], 1));
    let (first, second) = (token(SECRET, HOUR), token(SECRET, 2 * HOUR));
    let identity = gate.identify(&first).await.unwrap();
    assert_eq!((&*identity.user, counts(&gate)), ("mia", [0, 1]));
    assert!(Arc::ptr_eq(&identity, &gate.identify(&first).await.unwrap()));
    assert_eq!(counts(&gate), [1, 1]);
    assert!(gate.identify(&second).await.is_ok());
    assert_eq!(counts(&gate), [1, 2], "another token of the same user");
    assert!(gate.identify(&first).await.is_ok());
    assert_eq!(counts(&gate), [1, 3], "there is room for one");
}

#[tokio::test]
async fn a_cache_without_room_verifies_each_time() {
    let gate = Gate::new(rules(with_secret(), &[], 0));
    let token = token(SECRET, HOUR);
    for _ in 0..3 {
        assert!(gate.identify(&token).await.is_ok());
    }
    assert_eq!(counts(&gate), [0, 3]);
}

#[tokio::test]
async fn a_cached_token_expires() {
    let gate = Gate::new(rules(with_secret(), &[], 10));
    let lifetime = Duration::from_secs(3);
    let token = token(SECRET, lifetime);
    assert!(gate.identify(&token).await.is_ok() && gate.identify(&token).await.is_ok());
    assert_eq!(counts(&gate), [1, 1]);
    tokio::time::sleep(lifetime).await;
    assert_eq!(gate.identify(&token).await.err(), Some(TokenError::Expired));
}

#[tokio::test]
async fn refused_tokens_are_not_cached() {
    let gate = Gate::new(rules(with_secret(), &[], 10));
    let forged = token(OTHER_SECRET, HOUR);
    for _ in 0..2 {
        assert_eq!(gate.identify(&forged).await.err(), Some(TokenError::BadSignature));
    }
    assert_eq!(counts(&gate), [0, 2]);
}

#[tokio::test]
async fn a_revoked_token_is_refused_although_it_is_cached() {
    let storage = Storage::new(&StorageUrl::Sqlite("unused".into()), 1).unwrap();
    let accounts = Accounts::new(storage, AccountsOptions::default());
    let gate = Gate::new(rules(with_secret(), &[], 10)).with_accounts(accounts);
    let token = token(SECRET, HOUR);
    assert!(gate.identify(&token).await.is_ok() && gate.identify(&token).await.is_ok());
    gate.revoke_session("s-1");
    assert_eq!(gate.identify(&token).await.err(), Some(TokenError::Revoked));
}

#[tokio::test]
async fn nothing_is_cached_across_a_reload() {
    let gate = Gate::new(rules(with_secret(), &[], 10));
    let token = token(SECRET, HOUR);
    assert_eq!(gate.identify(&token).await.unwrap().claim("team"), None);
    gate.replace_rules(rules(with_secret(), &["team"], 10));
    let team = json!("red");
    assert_eq!(gate.identify(&token).await.unwrap().claim("team"), Some(&team));
    let other_secret = VerifierOptions {
        hmac_secrets: vec![OTHER_SECRET.to_vec()],
        ..VerifierOptions::default()
    };
    gate.replace_rules(rules(other_secret, &[], 10));
    assert_eq!(gate.identify(&token).await.err(), Some(TokenError::BadSignature));
    gate.replace_rules(rules(
        VerifierOptions {
            audience: Some("elsewhere".to_owned()),
            ..with_secret()
        },
        &[],
        10,
    ));
    assert_eq!(
        gate.identify(&token).await.err(),
        Some(TokenError::MissingClaim("aud"))
    );
}
