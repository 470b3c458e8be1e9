//! Public key files, and the options as a whole.

use super::*;

fn refusal(file: &[u8]) -> KeyError {
    match Verifier::new(with_public_keys(vec![file.to_vec()])) {
        Err(AuthSetupError::PublicKey { index: 0, error }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_form_of_a_public_key() {
    for (file, key, algorithm) in [
        ("rsa-public", "rsa", Algorithm::RS256),
        ("rsa-pkcs1-public", "rsa", Algorithm::RS256),
        ("rsa-certificate", "rsa", Algorithm::RS256),
        ("p256-public", "p256", Algorithm::ES256),
        ("p256-certificate", "p256", Algorithm::ES256),
        ("p384-public", "p384", Algorithm::ES384),
        ("ed25519-public", "ed25519", Algorithm::EdDSA),
        ("ed25519-certificate", "ed25519", Algorithm::EdDSA),
    ] {
        let verifier = verifier(with_public_keys(vec![key_file(file)]));
        let token = signed(key, algorithm, Some("an id that the file does not tell"));
        assert_eq!(verifier.verify(&token, now()).err(), None, "{file}");
        let jwk = jwk(key, algorithm, None);
        let forms = [
            jwk.to_string(),
            format!(" \n{}", json!({"keys": [{"kty": "oct", "k": "AAAA"}, jwk]})),
        ];
        for form in forms {
            let verifier = Verifier::new(with_public_keys(vec![form.clone().into_bytes()])).unwrap();
            assert_eq!(verifier.verify(&token, now()).err(), None, "{form}");
        }
    }
}

#[test]
fn several_keys_in_one_file_and_text_between_them() {
    let mut file = b"# the old key\r\n".to_vec();
    file.extend(
        String::from_utf8(key_file("rsa-other-public"))
            .unwrap()
            .replace('\n', "\r\n")
            .bytes(),
    );
    file.extend(b"# the new keys\n");
    file.extend(key_file("rsa-public"));
    file.extend(key_file("p256-public"));
    let verifier = verifier(with_public_keys(vec![file]));
    for (key, algorithm) in [
        ("rsa", Algorithm::RS256),
        ("rsa-other", Algorithm::RS256),
        ("p256", Algorithm::ES256),
    ] {
        assert_eq!(
            verifier.verify(&signed(key, algorithm, None), now()).err(),
            None,
            "{key}"
        );
    }
    let foreign = signed("ed25519", Algorithm::EdDSA, None);
    assert_eq!(
        verifier.verify(&foreign, now()).err(),
        Some(TokenError::UnsupportedAlgorithm)
    );
}

#[test]
fn files_that_are_refused() {
    let cut = &key_file("rsa-public")[..200];
    let mut good_and_bad = key_file("rsa-public");
    good_and_bad.extend(key_file("rsa1024-public"));
    for (file, expected) in [
        (&b""[..], KeyError::Unreadable),
        (b"not a key", KeyError::Unreadable),
        (b"\xff\xfe", KeyError::Unreadable),
        (b"{}", KeyError::Unreadable),
        (b"{\"keys\":[]}", KeyError::Unreadable),
        (b"{\"keys\":{}}", KeyError::Unreadable),
        (b"{", KeyError::Unreadable),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            KeyError::Unsupported,
        ),
        (
            b"-----BEGIN OPENSSH KEY-----\nAAAA\n-----END OPENSSH KEY-----\n",
            KeyError::Unsupported,
        ),
        (cut, KeyError::Unreadable),
        (&key_file("rsa-private"), KeyError::Private),
        (&key_file("ed25519-private"), KeyError::Private),
        (&key_file("rsa1024-public"), KeyError::RsaSize(1024)),
        (&good_and_bad, KeyError::RsaSize(1024)),
        (&key_file("secp256k1-public"), KeyError::Unsupported),
        (&key_file("p521-public"), KeyError::Unsupported),
        (&key_file("x25519-public"), KeyError::Unsupported),
        (&key_file("ed448-public"), KeyError::Unsupported),
        (&key_file("p256-compressed-public"), KeyError::Unreadable),
        (br#"{"kty":"oct","k":"AAAA"}"#, KeyError::Symmetric),
        (
            br#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#,
            KeyError::Unsupported,
        ),
        (br#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, KeyError::RsaSize(17)),
        (br#"{"kty":"RSA","n":"","e":"AQAB"}"#, KeyError::RsaSize(0)),
        (br#"{"kty":"RSA","e":"AQAB"}"#, KeyError::Unreadable),
    ] {
        let shown = String::from_utf8_lossy(&file[..file.len().min(60)]).into_owned();
        assert_eq!(refusal(file), expected, "{shown}");
    }
}

#[test]
fn members_of_a_jwk_that_decide() {
    let changed = |member: &str, value: Value| {
        let mut key = jwk("p256", Algorithm::ES256, None);
        key[member] = value;
        key.to_string().into_bytes()
    };
    for (member, value, expected) in [
        ("use", json!("sig"), None),
        ("use", json!("enc"), Some(KeyError::NotForSignatures)),
        ("use", json!("SIG"), Some(KeyError::NotForSignatures)),
        ("use", json!(7), Some(KeyError::Unreadable)),
        ("key_ops", json!(["verify"]), None),
        ("key_ops", json!(["sign", "verify"]), None),
        ("key_ops", json!(["sign"]), Some(KeyError::NotForSignatures)),
        ("key_ops", json!([]), Some(KeyError::NotForSignatures)),
        ("key_ops", json!("verify"), Some(KeyError::Unreadable)),
        ("alg", json!("ES256"), None),
        ("alg", json!("ES384"), Some(KeyError::Unsupported)),
        ("alg", json!("HS256"), Some(KeyError::Unsupported)),
        ("alg", json!("ECDH-ES"), Some(KeyError::Unsupported)),
        ("d", json!("AAAA"), Some(KeyError::Private)),
        ("crv", json!("P-384"), Some(KeyError::Unreadable)),
        ("kty", json!("RSA"), Some(KeyError::Unreadable)),
        ("kty", json!("OKP"), Some(KeyError::Unsupported)),
        ("x", json!("AAAA"), Some(KeyError::Unreadable)),
        ("x", json!("not base64url!"), Some(KeyError::Unreadable)),
        ("x5c", json!(["ignored"]), None),
    ] {
        let file = changed(member, value.clone());
        let seen = match Verifier::new(with_public_keys(vec![file])) {
            Ok(_) => None,
            Err(AuthSetupError::PublicKey { error, .. }) => Some(error),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(seen, expected, "{member}: {value}");
    }
}

#[test]
fn a_short_x_and_a_long_y_make_no_point() {
    let key = jwk("p256", Algorithm::ES256, None);
    let bytes = |member: &str| URL_SAFE_NO_PAD.decode(key[member].as_str().unwrap()).unwrap();
    let point = [bytes("x"), bytes("y")].concat();
    let (x, y) = point.split_at(31);
    let moved =
        json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    assert_eq!(refusal(moved.to_string().as_bytes()), KeyError::Unreadable);
}

#[test]
fn a_key_id_must_be_the_same_where_both_have_one() {
    let set = json!({"keys": [
        jwk("rsa", Algorithm::RS256, Some("one")),
        jwk("rsa-other", Algorithm::RS256, Some("two")),
    ]});
    let verifier = verifier(with_public_keys(vec![set.to_string().into_bytes()]));
    for (key, kid, expected) in [
        ("rsa", Some("one"), None),
        ("rsa-other", Some("two"), None),
        ("rsa-other", None, None),
        ("rsa", Some("two"), Some(TokenError::BadSignature)),
        ("rsa", Some("three"), Some(TokenError::UnknownKey)),
        ("rsa", Some(""), Some(TokenError::UnknownKey)),
    ] {
        let token = signed(key, Algorithm::RS256, kid);
        assert_eq!(verifier.verify(&token, now()).err(), expected, "{key} {kid:?}");
    }
}

#[test]
fn without_key_ids_a_bounded_number_of_keys_is_tried() {
    let key = jwk("rsa-other", Algorithm::RS256, None);
    let with_others = |others: usize| {
        let mut keys = vec![key.clone(); others];
        keys.push(jwk("rsa", Algorithm::RS256, None));
        verifier(with_public_keys(vec![
            json!({ "keys": keys }).to_string().into_bytes(),
        ]))
    };
    let token = signed("rsa", Algorithm::RS256, None);
    assert_eq!(with_others(7).verify(&token, now()).err(), None);
    assert_eq!(
        with_others(8).verify(&token, now()).err(),
        Some(TokenError::BadSignature)
    );
}

#[test]
fn options_that_cannot_work() {
    let check = |options: VerifierOptions, expected: &str| {
        let error = Verifier::new(options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(VerifierOptions::default(), "no key");
    check(
        VerifierOptions {
            hmac_secrets: vec![Vec::new()],
            ..with_secret()
        },
        "is empty",
    );
    let rs256_only = VerifierOptions {
        algorithms: vec![Algorithm::RS256],
        ..with_secret()
    };
    check(rs256_only, "RS256");
    let key_too_many = VerifierOptions {
        algorithms: vec![Algorithm::HS256],
        public_key_files: vec![key_file("rsa-public")],
        ..with_secret()
    };
    check(key_too_many, "none of the configured algorithms");
    check(
        with_public_keys(vec![key_file("rsa-public"), b"x".to_vec()]),
        "file number 2",
    );
    for url in [
        "",
        "keys.example/jwks",
        "file:///etc/passwd",
        "ftp://keys.example/",
        "http://",
    ] {
        check(
            VerifierOptions {
                jwks_url: Some(url.to_owned()),
                ..with_secret()
            },
            "JWKS URL",
        );
    }
    let hmac_from_jwks = VerifierOptions {
        jwks_url: Some("https://keys.example/".to_owned()),
        algorithms: vec![Algorithm::HS256],
        ..VerifierOptions::default()
    };
    check(hmac_from_jwks, "HS256");
}
