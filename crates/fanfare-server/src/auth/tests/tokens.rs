//! The form of a token, and the keys that may verify it.

use super::*;

fn refusal(options: VerifierOptions, token: &str) -> Option<TokenError> {
    verifier(options).verify(token, now()).err()
}

fn good() -> String {
    mint::sign(SECRET, &good_claims())
}

#[test]
fn the_compact_form_and_nothing_else() {
    let good = good();
    let (header, payload, signature) = {
        let mut parts = good.split('.');
        (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        )
    };
    assert_eq!(refusal(with_secret(), &good), None);
    let json = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
    let megabyte = "x".repeat(1_000_000);
    let dots = ".".repeat(MAX_TOKEN_BYTES);
    let malformed = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        dots,
        "x".to_owned(),
        "用户.用户.用户".to_owned(),
        megabyte.clone(),
        format!("{header}.{payload}.{megabyte}"),
        format!("{header}.{payload}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{payload}.{signature}"),
        format!(" {good}"),
        format!("Bearer {good}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header} .{payload}.{signature}"),
        format!(".{payload}.{signature}"),
        json,
    ];
    for token in malformed {
        let shown: String = token.chars().take(60).collect();
        assert_eq!(
            refusal(with_secret(), &token),
            Some(TokenError::Malformed),
            "{shown}"
        );
    }
    for token in [
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}. {signature}"),
        format!("{header}.{payload}.{signature}\n"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}.{}", &signature[..20]),
        format!("{header}.{payload}.{}", signature.replace(['-', '_'], "+")),
    ] {
        if token != good {
            assert_eq!(
                refusal(with_secret(), &token),
                Some(TokenError::BadSignature),
                "{token}"
            );
        }
    }
}

#[test]
fn the_spare_bits_of_a_signature_are_not_a_second_spelling() {
    // 43 characters carry 258 bits for the 256 of the MAC; all four endings would decode to it in a lax reader.
    let good = good();
    let (rest, last) = good.split_at(good.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.chars().filter(|other| other.to_string() != last) {
        assert_eq!(
            refusal(with_secret(), &format!("{rest}{other}")),
            Some(TokenError::BadSignature)
        );
    }
}

#[test]
fn a_token_as_long_as_the_limit_is_read() {
    let with_filler = |length: usize| {
        let claims = json!({"sub": "u", "exp": NOW + 60, "x": "x".repeat(length)});
        mint::sign(SECRET, &claims.to_string())
    };
    let longest = (0..MAX_TOKEN_BYTES)
        .rev()
        .map(with_filler)
        .find(|token| token.len() <= MAX_TOKEN_BYTES);
    let longest = longest.unwrap();
    assert!(longest.len() > MAX_TOKEN_BYTES - 4);
    assert_eq!(refusal(with_secret(), &longest), None);
    assert_eq!(
        refusal(with_secret(), &with_filler(MAX_TOKEN_BYTES)),
        Some(TokenError::Malformed)
    );
}

#[test]
fn headers() {
    use TokenError::{Malformed, UnsupportedAlgorithm};
    let key = EncodingKey::from_secret(SECRET);
    let many = (0..40)
        .map(|number| format!(r#","p{number}":0"#))
        .collect::<Vec<_>>()
        .concat();
    for (header, expected) in [
        (r#"{"alg":"HS256"}"#, None),
        (r#"{"typ":"at+jwt","alg":"HS256","cty":7,"x":{"y":[]}}"#, None),
        (
            r#"{"typ":7,"alg":"HS256","kid":"any id, for a secret has none"}"#,
            None,
        ),
        (r#"{"alg":"HS256","b64":true}"#, None),
        (r#"{"alg":"HS256","kid":7}"#, Some(Malformed)),
        (r#"{"alg":7}"#, Some(Malformed)),
        (r#"{"alg":null}"#, Some(Malformed)),
        (r#"{"typ":"JWT"}"#, Some(Malformed)),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Some(Malformed)),
        (r#"{"alg":"HS256","x":1,"x":1}"#, Some(Malformed)),
        (r#"{"alg":"HS256"} x"#, Some(Malformed)),
        (r#"["HS256"]"#, Some(Malformed)),
        (r#""HS256""#, Some(Malformed)),
        (
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            Some(UnsupportedAlgorithm),
        ),
        (
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            Some(UnsupportedAlgorithm),
        ),
        (r#"{"alg":"HS256","crit":[]}"#, Some(UnsupportedAlgorithm)),
        (r#"{"alg":"HS256","crit":null}"#, Some(UnsupportedAlgorithm)),
        (r#"{"alg":"hs256"}"#, Some(UnsupportedAlgorithm)),
        (r#"{"alg":" HS256"}"#, Some(UnsupportedAlgorithm)),
        (r#"{"alg":"HS384"}"#, Some(UnsupportedAlgorithm)),
        (r#"{"alg":"RS256"}"#, Some(UnsupportedAlgorithm)),
        (r#"{"alg":""}"#, Some(UnsupportedAlgorithm)),
        (&format!(r#"{{"alg":"HS256"{many}}}"#), Some(Malformed)),
    ] {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(good_claims())
        );
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        assert_eq!(
            refusal(with_secret(), &format!("{message}.{signature}")),
            expected,
            "{header}"
        );
    }
}

#[test]
fn none_is_no_algorithm_in_any_spelling() {
    let options = || VerifierOptions {
        algorithms: ALL_ALGORITHMS.to_vec(),
        public_key_files: ["rsa", "p256", "p384", "ed25519"]
            .map(|name| key_file(&format!("{name}-public")))
            .to_vec(),
        ..with_secret()
    };
    let good = good();
    let signature = good.rsplit('.').next().unwrap();
    for name in ["none", "None", "NONE", "nOnE", "null", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": name}).to_string());
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(good_claims()));
        for token in [format!("{message}."), format!("{message}.{signature}")] {
            assert_eq!(
                refusal(options(), &token),
                Some(TokenError::UnsupportedAlgorithm),
                "{name}"
            );
        }
    }
}

#[test]
fn every_algorithm_with_its_key_and_no_other() {
    let files = ["rsa", "p256", "p384", "ed25519"]
        .map(|name| key_file(&format!("{name}-public")))
        .to_vec();
    let verifier = verifier(VerifierOptions {
        algorithms: ALL_ALGORITHMS.to_vec(),
        public_key_files: files,
        ..with_secret()
    });
    let secret = EncodingKey::from_secret(SECRET);
    for made_with in ALL_ALGORITHMS {
        let key = match made_with {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => secret.clone(),
            Algorithm::ES256 => private_key("p256"),
            Algorithm::ES384 => private_key("p384"),
            Algorithm::EdDSA => private_key("ed25519"),
            _ => private_key("rsa"),
        };
        for claimed in ALL_ALGORITHMS {
            let token = token(&header(claimed, None), &good_claims(), &key, made_with);
            let expected = (claimed != made_with).then_some(TokenError::BadSignature);
            assert_eq!(
                verifier.verify(&token, now()).err(),
                expected,
                "{made_with:?} as {claimed:?}"
            );
        }
    }
}

/// The classic confusion: the known public key, used as an HMAC secret.
#[test]
fn a_public_key_is_never_a_secret() {
    for name in [
        "rsa-public",
        "rsa-pkcs1-public",
        "p256-public",
        "ed25519-public",
        "rsa-certificate",
    ] {
        let pem = key_file(name);
        let trimmed = pem.trim_ascii().to_vec();
        for bytes in [pem.clone(), trimmed] {
            let forged = mint::sign(&bytes, &good_claims());
            let public_only = with_public_keys(vec![pem.clone()]);
            assert_eq!(
                refusal(public_only, &forged),
                Some(TokenError::UnsupportedAlgorithm),
                "{name}"
            );
            let both = VerifierOptions {
                public_key_files: vec![pem.clone()],
                ..with_secret()
            };
            assert_eq!(refusal(both, &forged), Some(TokenError::BadSignature), "{name}");
            let as_secret = VerifierOptions {
                hmac_secrets: vec![bytes],
                ..VerifierOptions::default()
            };
            let error = Verifier::new(as_secret).unwrap_err();
            assert!(matches!(error, AuthSetupError::SecretIsPublicKey), "{name}");
        }
    }
}

#[test]
fn a_key_in_the_header_is_ignored() {
    let own = jwk("rsa-other", Algorithm::RS256, None);
    let header =
        json!({"alg": "RS256", "jwk": own, "jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/"});
    let token = token(
        &header,
        &good_claims(),
        &private_key("rsa-other"),
        Algorithm::RS256,
    );
    let options = with_public_keys(vec![key_file("rsa-public")]);
    assert_eq!(refusal(options, &token), Some(TokenError::BadSignature));
}

#[test]
fn the_signature_is_verified_before_the_claims() {
    let forged = mint::sign(b"another secret", r#"{"exp":0}"#);
    assert_eq!(refusal(with_secret(), &forged), Some(TokenError::BadSignature));
}

#[test]
fn texts_of_refusals_contain_nothing_of_the_token() {
    let token = mint::sign(SECRET, r#"{"sub":"hunter2\n","exp":1700000060}"#);
    let text = verifier(with_secret())
        .verify(&token, now())
        .unwrap_err()
        .to_string();
    assert_eq!(text, "the token's `sub` claim is not usable");
}
