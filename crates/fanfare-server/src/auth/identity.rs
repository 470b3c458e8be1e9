//! Builds the identity that the engine, the dialects and the access rules use from a token's claims.

use std::time::{Duration, SystemTime};

use fanfare_core::{Identity, Pattern, UserId};
use serde_json::{Map, Value};

use super::VerifiedClaims;

/// Returns the identity of a verified token; `wanted` are the claims that access rules use. `None` if its `sub` is not
/// a user id.
pub(crate) fn identity(verified: &VerifiedClaims, wanted: &[Box<str>]) -> Option<Identity> {
    let user = UserId::new(&verified.user_id).ok()?;
    let username = verified.username();
    let expires_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(verified.expires_at))?;
    let wanted = wanted.iter();
    let kept = wanted.filter_map(|name| Some((name.clone(), verified.claims.get(&**name)?.clone())));
    Some(Identity {
        username: (username != &*user).then(|| username.into()),
        numeric: verified.subject_is_number || is_written_like_a_number(&user),
        session: verified.session_id.clone(),
        roles: verified.list("roles").map(Into::into).collect(),
        rooms: rooms(verified),
        claims: kept.collect(),
        ..Identity::new(user, expires_at)
    })
}

/// Returns the identity for a token of `user` with these claims; `None` if `user` is not a user id.
pub(crate) fn hypothetical(
    user: &str,
    mut claims: Map<String, Value>,
    wanted: &[Box<str>],
) -> Option<Identity> {
    claims.insert("sub".to_owned(), user.into());
    let verified = VerifiedClaims {
        user_id: user.into(),
        subject_is_number: false,
        expires_at: 0,
        session_id: None,
        claims,
    };
    identity(&verified, wanted)
}

/// Reads the claim `rooms`, a list of patterns. An invalid pattern opens nothing; a claim that is not a list opens
/// nothing at all.
fn rooms(verified: &VerifiedClaims) -> Option<Box<[Pattern]>> {
    verified.claims.get("rooms")?;
    let patterns = verified.list("rooms").map(Pattern::new);
    Some(patterns.filter_map(Result::ok).collect())
}

/// Returns whether `id` is written as JSON writes an integer: `12345`, not `007`.
fn is_written_like_a_number(id: &str) -> bool {
    let digits = id.strip_prefix('-').unwrap_or(id);
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all && (id == "0" || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(claims: Value) -> Identity {
        let Value::Object(claims) = claims else {
            panic!("an object")
        };
        let verified = VerifiedClaims {
            user_id: claims["sub"].as_str().unwrap_or_default().into(),
            subject_is_number: false,
            expires_at: 1_800_000_000,
            session_id: None,
            claims: Map::from_iter(claims),
        };
        identity(&verified, &["team".into()]).expect("an identity")
    }

    #[test]
    fn an_identity_keeps_the_wanted_claims() {
        let found = of(
            json!({"sub": "7", "name": "Alice", "roles": ["admin"], "team": "red", "other": 1,
            "rooms": ["project:*", "bad**", "task:1"]}),
        );
        assert_eq!((&*found.user, found.name(), found.numeric), ("7", "Alice", true));
        assert!(found.is_admin());
        assert_eq!(
            (found.claim("team"), found.claim("other")),
            (Some(&json!("red")), None)
        );
        let rooms: Vec<_> = found.rooms.iter().flatten().map(ToString::to_string).collect();
        assert_eq!(rooms, ["project:*", "task:1"]);
        let plain = of(json!({"sub": "bob"}));
        assert_eq!(
            (plain.name(), plain.username.is_none(), plain.rooms.clone()),
            ("bob", true, None)
        );
        assert_eq!(
            of(json!({"sub": "bob", "rooms": "project:1"})).rooms.as_deref(),
            Some(&[][..])
        );
    }

    #[test]
    fn numbers_as_json_writes_them() {
        for (id, number) in [
            ("12345", true),
            ("0", true),
            ("-5", true),
            ("007", false),
            ("1.5", false),
            ("-0", false),
            ("", false),
            ("-", false),
            ("12a", false),
        ] {
            assert_eq!(is_written_like_a_number(id), number, "{id}");
        }
    }
}
