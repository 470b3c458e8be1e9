//! The settings of `[auth]` and `[storage]`: the verification of tokens, and the database of accounts.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_accounts::{AccountsOptions, storage::StorageUrl};
use fanfare_core::{DurationText, GuardedUrl, OptionalText};
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use smart_default::SmartDefault;

use super::types::Secret;

fn algorithm_schema() -> Json {
    json!({
        "description": "A signature algorithm of JSON Web Tokens (RFC 7518 section 3.1, RFC 8037 section 3.1).",
        "type": "string",
        "enum": [
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"
        ]
    })
}

/// The verification of tokens, and the origins that may connect.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The shared secret of HS256, HS384 and HS512 tokens; 32 bytes or more. Without any secret or public key, the
    /// first start generates a secret and keeps it in the data folder; the production profile refuses to start instead.
    #[serde(with = "OptionalText::<Secret>")]
    pub jwt_secret: Option<Secret>,

    /// Further secrets whose tokens are accepted, at most seven. Fanfare signs with `jwt_secret` only. To rotate the secret, add
    /// the new one here on every node; then make it `jwt_secret` and put the old one here; remove the old one when its tokens
    /// have expired.
    pub accepted_jwt_secrets: Vec<Secret>,

    /// The URL of a JSON Web Key Set with the public keys of an identity provider.
    #[serde(with = "OptionalText::<GuardedUrl>")]
    pub jwks_url: Option<GuardedUrl>,

    /// A file with the public keys that verify tokens: PEM (RSA, P-256, P-384 or Ed25519, as `PUBLIC KEY`, `RSA PUBLIC
    /// KEY` or `CERTIFICATE`; several keys may follow each other), or a JSON Web Key or key set.
    #[serde(with = "OptionalText::<PathBuf>")]
    #[schemars(extend("x-kind" = "path"))]
    pub public_key_file: Option<PathBuf>,

    /// The signature algorithms that a token may use. Empty accepts those of the configured keys: `HS256` for a shared
    /// secret, `RS256` to `PS512` for RSA keys, `ES256` for P-256, `ES384` for P-384, `EdDSA` for Ed25519.
    #[schemars(with = "Vec<String>", extend("items" = algorithm_schema()))]
    pub algorithms: Vec<Algorithm>,

    /// The issuer (`iss`) that a token must name. Empty accepts any.
    #[serde(with = "OptionalText::<String>")]
    pub issuer: Option<String>,

    /// The audience (`aud`) that a token must name. Empty accepts any.
    #[serde(with = "OptionalText::<String>")]
    pub audience: Option<String>,

    /// The tolerated difference to the clock of a token's issuer, for `exp` and `nbf`.
    #[serde(with = "DurationText::<0, 3_600_000>")]
    #[default(AccountsOptions::default().leeway)]
    pub leeway: Duration,

    /// The maximum number of tokens whose verification is cached, until they expire, are revoked or the configuration is
    /// reloaded. Each takes about 350 bytes; the token itself is not kept. If more are in use, the least recently used are
    /// verified again. 0 verifies each token each time.
    #[schemars(range(max = 10_000_000))]
    #[default(10_000)]
    pub max_cached_tokens: usize,

    /// The lifetime of the access tokens that Fanfare issues.
    #[serde(with = "DurationText::<1000>")]
    #[default(AccountsOptions::default().access_ttl)]
    pub access_ttl: Duration,

    /// The time for which a login lasts without a refresh. If refresh tokens are rotated, each refresh starts it again.
    #[serde(with = "DurationText::<1000>")]
    #[default(AccountsOptions::default().refresh_ttl)]
    pub refresh_ttl: Duration,

    /// The creation of accounts: by every client (`open`), or only by `fanfare user add` (`closed`, as in the
    /// production profile).
    pub registration: Registration,

    /// The number of passwords that are hashed at the same time, each on its own core with 19 MiB of memory. 0 uses half
    /// of the cores. Further logins wait in a queue.
    #[schemars(range(max = 1024))]
    #[default(AccountsOptions::default().password_threads)]
    pub password_threads: usize,

    /// The number of logins that may wait for each of these threads. As many new passwords may wait in their own queue.
    /// Each takes 15 to 30 ms. A login that finds the queue full is refused for the moment.
    #[schemars(range(max = 100_000))]
    #[default(AccountsOptions::default().password_queue)]
    pub password_queue: usize,

    /// The maximum number of sessions of one user. A further login ends the least recently used one.
    #[schemars(range(min = 1, max = 10_000))]
    #[default(AccountsOptions::default().sessions_per_user)]
    pub max_sessions_per_user: u32,

    /// The maximum number of failed logins in a minute for one account. Further ones are refused, even with the right
    /// password. 0 is no limit.
    #[schemars(range(max = 1_000_000))]
    #[default(AccountsOptions::default().attempts_per_account)]
    pub login_attempts_per_minute: u32,

    /// The maximum number of failed logins in a minute from one client address, and of refused refresh and reset tokens
    /// from it. 0 is no limit. The addresses of an IPv6 network of 64 bits count as one.
    #[schemars(range(max = 1_000_000))]
    #[default(AccountsOptions::default().attempts_per_address)]
    pub login_attempts_per_minute_per_ip: u32,

    /// The maximum number of registrations in a minute from one client address. 0 is no limit. A registration of a taken
    /// address counts, a registration with an invalid field does not.
    #[schemars(range(max = 1_000_000))]
    #[default(AccountsOptions::default().registrations_per_address)]
    pub registrations_per_minute_per_ip: u32,

    /// The allowed values of the `Origin` header, such as `https://app.example.com`. Case and default ports do not
    /// matter. `*` allows every origin; some apps that are built from web pages send `null` or `file://`. Requests
    /// without the header are allowed, because they are not from a browser. The production profile requires this
    /// setting.
    #[default(vec!["*".to_owned()])]
    pub allowed_origins: Vec<String>,
}

/// The clients that may create an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Every client.
    #[default]
    Open,
    /// None: only the command line.
    Closed,
}

/// The database of users, sessions and messages.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// `sqlite://FILE`, or `postgres://USER:PASSWORD@HOST/DATABASE` if several nodes share one database
    /// (`postgres://USER@/DATABASE?host=/FOLDER` over a Unix socket). If it is not set, it is the file `fanfare.db` in
    /// the data folder.
    #[schemars(with = "String", extend("x-kind" = "database"))]
    #[default(StorageUrl::Sqlite(PathBuf::from("data/fanfare.db")))]
    pub url: StorageUrl,

    /// The maximum number of connections to the database.
    #[schemars(range(min = 1, max = 1000))]
    #[default(8)]
    pub max_connections: u32,
}
