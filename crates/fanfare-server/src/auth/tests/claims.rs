//! The rules for claims, as a table.

use super::*;

/// The outcome of a token's claims: a user id and the token's end, or a refusal.
type Outcome = Result<(&'static str, u64), TokenError>;

fn check_with(options: VerifierOptions, cases: &[(&str, Outcome)]) {
    let verifier = verifier(options);
    for (claims, expected) in cases {
        let token = mint::sign(SECRET, claims);
        let verified = verifier.verify(&token, now());
        let seen = verified
            .as_ref()
            .map(|verified| (&*verified.user_id, verified.expires_at));
        assert_eq!(seen.map_err(|error| *error), *expected, "{claims}");
    }
}

fn check(cases: &[(&str, Outcome)]) {
    check_with(with_secret(), cases);
}

const LATEST: u64 = 253_402_300_799;

#[test]
fn expiry() {
    use TokenError::{BadClaim, Expired, Malformed, MissingClaim};
    check(&[
        (r#"{"sub":"u","exp":1700000060}"#, Ok(("u", 1_700_000_060))),
        (r#"{"sub":"u","exp":1700000001}"#, Ok(("u", 1_700_000_001))),
        (r#"{"sub":"u","exp":1700000060.9}"#, Ok(("u", 1_700_000_060))),
        (r#"{"sub":"u","exp":1.70000006e9}"#, Ok(("u", 1_700_000_060))),
        (r#"{"sub":"u","exp":18446744073709551615}"#, Ok(("u", LATEST))),
        (r#"{"sub":"u","exp":1e300}"#, Ok(("u", LATEST))),
        (r#"{"sub":"u","exp":1e400}"#, Err(Malformed)),
        (r#"{"sub":"u","exp":NaN}"#, Err(Malformed)),
        (r#"{"sub":"u","exp":1700000000}"#, Err(Expired)),
        (r#"{"sub":"u","exp":1700000000.9}"#, Err(Expired)),
        (r#"{"sub":"u","exp":1699999999}"#, Err(Expired)),
        (r#"{"sub":"u","exp":0}"#, Err(Expired)),
        (r#"{"sub":"u","exp":-1}"#, Err(Expired)),
        (r#"{"sub":"u","exp":-1e300}"#, Err(Expired)),
        (r#"{"sub":"u"}"#, Err(MissingClaim("exp"))),
        (r#"{"sub":"u","exp":"1700000060"}"#, Err(BadClaim("exp"))),
        (r#"{"sub":"u","exp":null}"#, Err(BadClaim("exp"))),
        (r#"{"sub":"u","exp":true}"#, Err(BadClaim("exp"))),
        (r#"{"sub":"u","exp":[1700000060]}"#, Err(BadClaim("exp"))),
    ]);
}

#[test]
fn not_before_and_issued_at() {
    use TokenError::{BadClaim, NotYetValid};
    let good = Ok(("u", 1_700_000_060));
    check(&[
        (
            r#"{"sub":"u","exp":1700000060,"nbf":1700000000,"iat":1700000000}"#,
            good,
        ),
        (
            r#"{"sub":"u","exp":1700000060,"nbf":-5,"iat":1699999999.9}"#,
            good,
        ),
        (
            r#"{"sub":"u","exp":1700000060,"nbf":1700000001}"#,
            Err(NotYetValid),
        ),
        (
            r#"{"sub":"u","exp":1700000060,"nbf":1700000000.5}"#,
            Err(NotYetValid),
        ),
        (r#"{"sub":"u","exp":1700000060,"nbf":1e300}"#, Err(NotYetValid)),
        (
            r#"{"sub":"u","exp":1700000060,"nbf":"1700000000"}"#,
            Err(BadClaim("nbf")),
        ),
        (r#"{"sub":"u","exp":1700000060,"nbf":null}"#, good),
        (r#"{"sub":"u","exp":1700000060,"nbf":true}"#, Err(BadClaim("nbf"))),
    ]);
    for iat in [
        "1700000002",
        "4e9",
        "\"2026-01-01\"",
        "null",
        "true",
        "[]",
        "{}",
        "-1",
    ] {
        check(&[(&format!(r#"{{"sub":"u","exp":1700000060,"iat":{iat}}}"#), good)]);
    }
}

#[test]
fn leeway_widens_each_of_them() {
    let options = VerifierOptions {
        leeway: Duration::from_secs(5),
        ..with_secret()
    };
    check_with(
        options,
        &[
            (r#"{"sub":"u","exp":1699999996}"#, Ok(("u", 1_700_000_001))),
            (r#"{"sub":"u","exp":1699999995}"#, Err(TokenError::Expired)),
            (
                r#"{"sub":"u","exp":1700000060,"nbf":1700000005,"iat":1700000005}"#,
                Ok(("u", 1_700_000_065)),
            ),
            (
                r#"{"sub":"u","exp":1700000060,"nbf":1700000006}"#,
                Err(TokenError::NotYetValid),
            ),
            (r#"{"sub":"u","exp":1e300}"#, Ok(("u", LATEST))),
        ],
    );
}

#[test]
fn subject() {
    use TokenError::{BadClaim, MissingClaim};
    let bad = Err(BadClaim("sub"));
    let end = 1_700_000_060;
    check(&[
        (r#"{"exp":1700000060,"sub":"user123"}"#, Ok(("user123", end))),
        (r#"{"exp":1700000060,"sub":"用户٣"}"#, Ok(("用户٣", end))),
        (
            r#"{"exp":1700000060,"sub":"\u7528\ud83d\ude00"}"#,
            Ok(("用😀", end)),
        ),
        (r#"{"exp":1700000060,"sub":"a:b c/d"}"#, Ok(("a:b c/d", end))),
        (r#"{"exp":1700000060,"sub":12345}"#, Ok(("12345", end))),
        (r#"{"exp":1700000060,"sub":0}"#, Ok(("0", end))),
        (r#"{"exp":1700000060,"sub":-7}"#, Ok(("-7", end))),
        (
            r#"{"exp":1700000060,"sub":18446744073709551615}"#,
            Ok(("18446744073709551615", end)),
        ),
        (r#"{"exp":1700000060,"sub":18446744073709551616}"#, bad),
        (r#"{"exp":1700000060,"sub":1.0}"#, bad),
        (r#"{"exp":1700000060,"sub":-0}"#, bad),
        (r#"{"exp":1700000060,"sub":""}"#, bad),
        (r#"{"exp":1700000060,"sub":null}"#, bad),
        (r#"{"exp":1700000060,"sub":true}"#, bad),
        (r#"{"exp":1700000060,"sub":["u"]}"#, bad),
        (r#"{"exp":1700000060,"sub":"a\nb"}"#, bad),
        (r#"{"exp":1700000060,"sub":"a\u0000"}"#, bad),
        (r#"{"exp":1700000060,"sub":"a\u0085"}"#, bad),
        (r#"{"exp":1700000060,"sub":"\ud800"}"#, Err(TokenError::Malformed)),
        (r#"{"exp":1700000060}"#, Err(MissingClaim("sub"))),
    ]);
}

#[test]
fn subject_length_is_counted_in_bytes() {
    let verifier = verifier(with_secret());
    let verdict = |id: &str| {
        let token = mint(SECRET, id, Duration::from_secs(9), &serde_json::Map::new(), now());
        verifier.verify(&token, now()).err()
    };
    assert_eq!(verdict(&"x".repeat(MAX_SUBJECT_BYTES)), None);
    assert_eq!(
        verdict(&"x".repeat(MAX_SUBJECT_BYTES + 1)),
        Some(TokenError::BadClaim("sub"))
    );
    assert_eq!(verdict(&"用".repeat(85)), None);
    assert_eq!(verdict(&"用".repeat(86)), Some(TokenError::BadClaim("sub")));
}

#[test]
fn only_a_json_number_is_a_number() {
    let verifier = verifier(with_secret());
    for (claims, expected) in [
        (r#"{"sub":12345,"exp":1700000060}"#, true),
        (r#"{"sub":"12345","exp":1700000060}"#, false),
    ] {
        let verified = verifier.verify(&mint::sign(SECRET, claims), now()).unwrap();
        assert_eq!(
            (&*verified.user_id, verified.subject_is_number),
            ("12345", expected)
        );
    }
}

#[test]
fn session() {
    let options = VerifierOptions {
        public_key_files: vec![key_file("p256-public")],
        ..with_secret()
    };
    let verifier = verifier(options);
    for (sid, expected) in [
        (r#""abc""#, Ok(Some("abc"))),
        ("7", Ok(None)),
        ("null", Ok(None)),
        (r#""""#, Ok(None)),
        (r#""a\tb""#, Ok(None)),
        ("[]", Ok(None)),
    ] {
        let claims = format!(r#"{{"sub":"u","exp":1700000060,"sid":{sid}}}"#);
        let verified = verifier.verify(&mint::sign(SECRET, &claims), now());
        assert_eq!(
            verified.as_ref().map(|v| v.session_id.as_deref()).map_err(|e| *e),
            expected,
            "{claims}"
        );
        let (es256, key) = (Algorithm::ES256, private_key("p256"));
        let foreign = token(&header(es256, None), &claims, &key, es256);
        let verified = verifier.verify(&foreign, now()).unwrap();
        assert_eq!(
            verified.session_id, None,
            "a session of an identity provider is none of ours: {claims}"
        );
    }
}

#[test]
fn issuer() {
    use TokenError::{BadClaim, MissingClaim, WrongIssuer};
    let cases: [(&str, Outcome); 5] = [
        (
            r#"{"sub":"u","exp":1700000060,"iss":"us"}"#,
            Ok(("u", 1_700_000_060)),
        ),
        (r#"{"sub":"u","exp":1700000060,"iss":"them"}"#, Err(WrongIssuer)),
        (r#"{"sub":"u","exp":1700000060,"iss":"US"}"#, Err(WrongIssuer)),
        (
            r#"{"sub":"u","exp":1700000060,"iss":["us"]}"#,
            Err(BadClaim("iss")),
        ),
        (r#"{"sub":"u","exp":1700000060}"#, Err(MissingClaim("iss"))),
    ];
    check_with(
        VerifierOptions {
            issuer: Some("us".to_owned()),
            ..with_secret()
        },
        &cases,
    );
    check(&cases.map(|(claims, _)| (claims, Ok(("u", 1_700_000_060)))));
}

#[test]
fn audience() {
    use TokenError::{BadClaim, MissingClaim, WrongAudience};
    let cases: [(&str, Outcome); 8] = [
        (
            r#"{"sub":"u","exp":1700000060,"aud":"here"}"#,
            Ok(("u", 1_700_000_060)),
        ),
        (
            r#"{"sub":"u","exp":1700000060,"aud":["there","here"]}"#,
            Ok(("u", 1_700_000_060)),
        ),
        (
            r#"{"sub":"u","exp":1700000060,"aud":"there"}"#,
            Err(WrongAudience),
        ),
        (
            r#"{"sub":"u","exp":1700000060,"aud":"here there"}"#,
            Err(WrongAudience),
        ),
        (r#"{"sub":"u","exp":1700000060,"aud":[]}"#, Err(WrongAudience)),
        (
            r#"{"sub":"u","exp":1700000060,"aud":["here",1]}"#,
            Err(BadClaim("aud")),
        ),
        (
            r#"{"sub":"u","exp":1700000060,"aud":{"here":1}}"#,
            Err(BadClaim("aud")),
        ),
        (r#"{"sub":"u","exp":1700000060}"#, Err(MissingClaim("aud"))),
    ];
    check_with(
        VerifierOptions {
            audience: Some("here".to_owned()),
            ..with_secret()
        },
        &cases,
    );
    check(&cases.map(|(claims, _)| (claims, Ok(("u", 1_700_000_060)))));
}

#[test]
fn a_payload_that_is_not_one_json_object_is_refused() {
    let deep = format!(
        r#"{{"sub":"u","exp":1700000060,"x":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let malformed = Err(TokenError::Malformed);
    check(&[
        ("", malformed),
        ("null", malformed),
        (r#""text""#, malformed),
        (r#"[{"sub":"u","exp":1700000060}]"#, malformed),
        (r#"{"sub":"u","exp":1700000060}}"#, malformed),
        (r#"{"sub":"u","exp":1700000060,}"#, malformed),
        (r#"{"sub":"u","exp":1700000060,"sub":"v"}"#, malformed),
        (r#"{"sub":"u","exp":1700000060,"x":1,"\u0078":2}"#, malformed),
        (&deep, malformed),
        (" {\"sub\":\"u\",\n\"exp\":1700000060} ", Ok(("u", 1_700_000_060))),
    ]);
}

#[test]
fn names_and_lists() {
    let verifier = verifier(with_secret());
    let read = |more: &str| {
        let claims = format!(r#"{{"sub":"u","exp":1700000060{more}}}"#);
        verifier.verify(&mint::sign(SECRET, &claims), now()).unwrap()
    };
    for (more, username) in [
        (r#","username":"a","name":"b","email":"c""#, "a"),
        (r#","username":"","name":"b","email":"c""#, "b"),
        (r#","username":7,"email":"c""#, "c"),
        ("", "u"),
    ] {
        assert_eq!(read(more).username(), username, "{more}");
    }
    let lists = read(r#","roles":["user",7,"admin"],"rooms":"admin""#);
    assert_eq!(lists.list("roles").collect::<Vec<_>>(), ["user", "admin"]);
    assert_eq!(lists.list("rooms").count(), 0, "a string is not a list");
    assert_eq!(lists.list("none").count(), 0);
}

#[test]
fn a_clock_before_1970_does_not_panic() {
    let token = mint(
        SECRET,
        "u",
        Duration::from_secs(9),
        &serde_json::Map::new(),
        UNIX_EPOCH - Duration::from_secs(9),
    );
    assert!(
        verifier(with_secret())
            .verify(&token, UNIX_EPOCH - Duration::from_secs(1))
            .is_ok()
    );
}
