//! The public test vectors of Wycheproof for JWS, through the verifier.

use super::*;

/// Vectors whose label differs from the RFCs, with the verdict of the RFCs.
const DISPUTED: [(u64, bool, &str); 6] = [
    (
        346,
        false,
        "PS384 with a JWK that says `alg: PS256`; vectors 338 and 340 rightly refuse just that",
    ),
    (350, false, "as 346"),
    (
        367,
        true,
        "byte for byte the token of vector 357, which is valid; the padding it means to show is not there",
    ),
    (370, true, "as 367"),
    (
        372,
        false,
        "a `?` in the header, which RFC 7515 section 2 excludes, and the MAC is over other bytes",
    ),
    (373, false, "a `?` in the payload, as 372"),
];

/// Returns a verifier with the group's key, beside other keys so that every algorithm is accepted: the binding of the keys to
/// their algorithms must refuse, not the list.
fn group_verifier(group: &Value) -> Result<Verifier, AuthSetupError> {
    let secret = match &group["private"] {
        key if key["kty"] == "oct" => URL_SAFE_NO_PAD.decode(key["k"].as_str().unwrap()).unwrap(),
        _ => SECRET.to_vec(),
    };
    let mut files = ["rsa", "p256", "p384", "ed25519"]
        .map(|name| key_file(&format!("{name}-public")))
        .to_vec();
    files.extend(group.get("public").map(|jwk| jwk.to_string().into_bytes()));
    Verifier::new(VerifierOptions {
        hmac_secrets: vec![secret],
        algorithms: ALL_ALGORITHMS.to_vec(),
        ..with_public_keys(files)
    })
}

fn header_algorithm(jws: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(jws.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(header["alg"].as_str()?.to_owned())
}

#[test]
fn every_vector_has_the_expected_verdict() {
    let file: Value = serde_json::from_slice(&data("wycheproof_json_web_signature_test.json")).unwrap();
    let (mut judged, mut disputed, mut not_configured) = (0, 0, Vec::new());
    for group in file["testGroups"].as_array().unwrap() {
        let verifier = group_verifier(group);
        for vector in group["tests"].as_array().unwrap() {
            let id = vector["tcId"].as_u64().unwrap();
            let jws = vector["jws"].as_str().unwrap();
            let accepted = verifier
                .as_ref()
                .is_ok_and(|verifier| verifier.verified_payload(jws).is_ok());
            let labelled_valid = match vector["result"].as_str().unwrap() {
                "valid" => true,
                "invalid" => false,
                other => panic!("vector {id}: {other}"),
            };
            let algorithm = header_algorithm(jws).and_then(|name| name.parse::<Algorithm>().ok());
            if labelled_valid && algorithm.is_none() && id != 372 {
                not_configured.push((id, header_algorithm(jws).unwrap()));
                assert!(!accepted, "vector {id}");
            } else if let Some((_, verdict, why)) = DISPUTED.iter().find(|(other, ..)| *other == id) {
                disputed += 1;
                assert_eq!(accepted, *verdict, "vector {id}: {why}");
                assert_ne!(
                    accepted, labelled_valid,
                    "vector {id} was corrected; it is disputed no longer"
                );
            } else {
                judged += 1;
                assert_eq!(accepted, labelled_valid, "vector {id}: {}", vector["comment"]);
            }
        }
    }
    assert_eq!(
        not_configured,
        [(347, "ES512".to_owned()), (351, "ES512".to_owned())]
    );
    assert_eq!((judged, disputed), (393, 6));
    assert_eq!(file["numberOfTests"], 393 + 6 + 2);
}

/// The signatures of vectors 346 and 350 are good: only the key's `alg` forbids them.
#[test]
fn a_disputed_signature_is_accepted_once_the_key_allows_it() {
    let file: Value = serde_json::from_slice(&data("wycheproof_json_web_signature_test.json")).unwrap();
    let mut seen = 0;
    for group in file["testGroups"].as_array().unwrap() {
        for vector in group["tests"].as_array().unwrap() {
            if vector["tcId"] == 346 || vector["tcId"] == 350 {
                let mut group = group.clone();
                group["public"].as_object_mut().unwrap().remove("alg");
                let payload = group_verifier(&group)
                    .unwrap()
                    .verified_payload(vector["jws"].as_str().unwrap());
                assert!(
                    payload
                        .unwrap()
                        .starts_with("It’s a dangerous business".as_bytes())
                );
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn keys_for_encryption_are_refused_as_such() {
    let file: Value = serde_json::from_slice(&data("wycheproof_json_web_signature_test.json")).unwrap();
    let mut refused = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let key = &group["public"];
        if key["use"] == "enc" || key["key_ops"] == json!(["encrypt"]) {
            let error = group_verifier(group).unwrap_err();
            let expected = matches!(
                error,
                AuthSetupError::PublicKey {
                    error: KeyError::NotForSignatures,
                    ..
                }
            );
            assert!(expected, "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 4);
}
