//! The rules for the claims of a token (RFC 7519 section 4.1), and the verified claims.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_accounts::mint::LATEST_EXPIRY;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::error::TokenError;

/// The longest user id (`sub`) and session id (`sid`), in bytes: both become parts of channel names and of keys.
pub(crate) const MAX_SUBJECT_BYTES: usize = 255;

/// The verified claims of a token.
#[derive(Clone, PartialEq)]
pub(crate) struct VerifiedClaims {
    /// `sub`: 1 to [`MAX_SUBJECT_BYTES`] bytes without control characters. A number is written in decimal.
    pub(crate) user_id: Box<str>,
    pub(crate) subject_is_number: bool,
    /// Unix time, in seconds, from which this token is refused here: `exp` plus the configured leeway.
    pub(crate) expires_at: u64,
    /// `sid` in a token that this server issued: the login session of the token.
    pub(crate) session_id: Option<Box<str>>,
    /// All claims, those above included.
    pub(crate) claims: Map<String, Value>,
}

impl VerifiedClaims {
    /// Returns the strings in a claim that is a list of strings; none if it is absent or another type.
    pub(crate) fn list(&self, claim: &str) -> impl Iterator<Item = &str> {
        let list = self.claims.get(claim).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Returns whether the list `roles` has `role`.
    #[cfg(test)]
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.list("roles").any(|own| own == role)
    }

    /// Returns the display name: the first of `username`, `name` and `email` that is a non-empty string, else the id.
    pub(crate) fn username(&self) -> &str {
        ["username", "name", "email"]
            .into_iter()
            .filter_map(|claim| self.claims.get(claim)?.as_str())
            .find(|name| !name.is_empty())
            .unwrap_or(&self.user_id)
    }
}

/// The claims are personal data and stay out of logs.
impl fmt::Debug for VerifiedClaims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("VerifiedClaims")
            .field(&self.user_id)
            .finish()
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct ClaimRules {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) leeway: Duration,
}

impl ClaimRules {
    /// Verifies the claims of a token whose signature is good. `by_secret` is whether it was signed with the shared secret,
    /// as this server's own tokens are.
    ///
    /// `iat` is not checked: an issuer's clock may be ahead, and the claim says nothing about the token's validity.
    pub(super) fn verify(
        &self,
        payload: &[u8],
        by_secret: bool,
        now: SystemTime,
    ) -> Result<VerifiedClaims, TokenError> {
        let UniqueMap(claims) = serde_json::from_slice(payload).map_err(|_| TokenError::Malformed)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires_at = self.expiry(&claims, now)?;
        self.not_before(&claims, now)?;
        self.issuer(&claims)?;
        self.audience(&claims)?;
        let (user_id, subject_is_number) = subject(&claims)?;
        let session_id = claims.get("sid").and_then(Value::as_str);
        let session_id = session_id
            .filter(|id| by_secret && is_usable_id(id))
            .map(Into::into);
        Ok(VerifiedClaims {
            user_id,
            subject_is_number,
            expires_at,
            session_id,
            claims,
        })
    }

    /// Returns the time from which the token is refused. `exp` is required; a fraction of a second is cut off, to agree with
    /// `expires_at`.
    fn expiry(&self, claims: &Map<String, Value>, now: Duration) -> Result<u64, TokenError> {
        let claim = claims.get("exp").ok_or(TokenError::MissingClaim("exp"))?;
        let exp = numeric_date(claim).ok_or(TokenError::BadClaim("exp"))?;
        let refused_from = Duration::from_secs(exp.as_secs()).saturating_add(self.leeway);
        if now >= refused_from {
            return Err(TokenError::Expired);
        }
        Ok(refused_from.as_secs().min(LATEST_EXPIRY))
    }

    /// Refuses a token before the time in `nbf`, which is optional. Some issuers write `null` for an absent claim.
    fn not_before(&self, claims: &Map<String, Value>, now: Duration) -> Result<(), TokenError> {
        let Some(claim) = claims.get("nbf").filter(|claim| !claim.is_null()) else {
            return Ok(());
        };
        let from = numeric_date(claim).ok_or(TokenError::BadClaim("nbf"))?;
        if from > now.saturating_add(self.leeway) {
            Err(TokenError::NotYetValid)
        } else {
            Ok(())
        }
    }

    fn issuer(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let Some(wanted) = &self.issuer else { return Ok(()) };
        match claims.get("iss") {
            None => Err(TokenError::MissingClaim("iss")),
            Some(Value::String(issuer)) if issuer == wanted => Ok(()),
            Some(Value::String(_)) => Err(TokenError::WrongIssuer),
            Some(_) => Err(TokenError::BadClaim("iss")),
        }
    }

    /// Refuses a token whose `aud`, a string or a list of strings, does not name the configured audience.
    fn audience(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let Some(wanted) = &self.audience else {
            return Ok(());
        };
        let named = match claims.get("aud").ok_or(TokenError::MissingClaim("aud"))? {
            Value::String(audience) => audience == wanted,
            Value::Array(list) if list.iter().all(Value::is_string) => {
                list.iter().any(|audience| audience == wanted)
            }
            _ => return Err(TokenError::BadClaim("aud")),
        };
        if named {
            Ok(())
        } else {
            Err(TokenError::WrongAudience)
        }
    }
}

/// Returns `sub` as a user id, and whether it was a number. A fraction is refused: `1.0` could be another user than `1`.
fn subject(claims: &Map<String, Value>) -> Result<(Box<str>, bool), TokenError> {
    match claims.get("sub").ok_or(TokenError::MissingClaim("sub"))? {
        Value::String(id) if is_usable_id(id) => Ok((id.as_str().into(), false)),
        Value::Number(id) if id.is_u64() || id.is_i64() => Ok((id.to_string().into(), true)),
        _ => Err(TokenError::BadClaim("sub")),
    }
}

fn is_usable_id(id: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&id.len()) && !id.contains(char::is_control)
}

/// Returns a `NumericDate` (RFC 7519 section 2) as the time since 1970. A fraction is allowed. Earlier dates count as 1970,
/// and those after the year 9999 as its end.
fn numeric_date(value: &Value) -> Option<Duration> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_u64() {
        return Some(Duration::from_secs(seconds.min(LATEST_EXPIRY)));
    }
    let seconds = number.as_f64().filter(|seconds| seconds.is_finite())?;
    let latest = Duration::from_secs(LATEST_EXPIRY);
    Some(Duration::try_from_secs_f64(seconds.max(0.0)).map_or(latest, |date| date.min(latest)))
}

/// A token's claims or header. Names must be unique (RFC 7519 section 4, RFC 7515 section 4): with repeated ones, two readers could
/// see two users.
pub(super) struct UniqueMap(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor;

        impl<'de> Visitor<'de> for UniqueVisitor {
            type Value = UniqueMap;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap, A::Error> {
                let mut unique = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if unique.insert(name, value).is_some() {
                        return Err(A::Error::custom("repeated name"));
                    }
                }
                Ok(UniqueMap(unique))
            }
        }

        deserializer.deserialize_map(UniqueVisitor)
    }
}
