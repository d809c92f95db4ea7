//! Published vectors and what two recipients must not share.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail loudly")]

use super::{CarSealer, StrictVerifier, hkdf_sha256, usable_hpke_key};
use glovebox_core::consent::document::Verifier as _;
use glovebox_core::names::{HpkeKey, RecipientId, VerifyingKey};
use glovebox_core::seal::{SealError, Sealer as _};
use rustls::crypto::aws_lc_rs::hpke::{
    ALL_SUPPORTED_SUITES, DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE,
};
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey};
use serde_json::Value;
use std::io::Read as _;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The vectors beside the repository, or `None` (said in one line) where they are absent and CI does not ask for them.
fn vectors(name: &str) -> Option<Value> {
    let shared = std::env::var_os("GLOVEBOX_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let path = shared.join("data").join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
        println!("skipped: {} is missing, set GLOVEBOX_SHARED", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn sealer() -> CarSealer {
    CarSealer::new(Zeroizing::new([7; 32]), 1)
}

fn recipient(id: &str) -> RecipientId {
    RecipientId::new(id).unwrap()
}

/// RFC 8032, section 7.1, tests 1 to 3 and SHA(abc): seed, public key, message, signature.
const RFC_8032: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn the_signatures_of_rfc_8032_are_made_and_verified() {
    use ed25519_dalek::Signer as _;
    for [seed, public, message, signature] in RFC_8032 {
        let array = |text: &str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&array(seed));
        let (public, message) = (VerifyingKey(array(public)), hex::decode(message).unwrap());
        let mut signature = <[u8; 64]>::try_from(hex::decode(signature).unwrap()).unwrap();
        assert_eq!(key.verifying_key().to_bytes(), public.0);
        assert_eq!(key.sign(&message).to_bytes(), signature);
        assert!(StrictVerifier.verify(&public, &message, &signature));
        signature[0] ^= 1;
        assert!(!StrictVerifier.verify(&public, &message, &signature));
    }
}

#[test]
fn wycheproof_agrees_on_every_ed25519_signature() {
    let Some(file) = vectors("wycheproof/ed25519_test.json.gz") else { return };
    let mut seen = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let key = VerifyingKey(bytes(&group["publicKey"]["pk"]).try_into().unwrap());
        for test in group["tests"].as_array().unwrap() {
            // A signature of another length does not even have the type of one.
            let signature = <[u8; 64]>::try_from(bytes(&test["sig"]));
            let valid = signature.is_ok_and(|s| StrictVerifier.verify(&key, &bytes(&test["msg"]), &s));
            assert_eq!(valid, test["result"] == "valid", "test {}: {}", test["tcId"], test["comment"]);
            seen += 1;
        }
    }
    assert_eq!(seen, file["numberOfTests"].as_u64().unwrap());
}

#[test]
fn small_order_keys_verify_nothing() {
    // The neutral element: a lax verifier takes (R = A = 0, s = 0) for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(!StrictVerifier.verify(&VerifyingKey(neutral), b"anything", &signature));
}

#[test]
fn wycheproof_agrees_on_hkdf() {
    let Some(file) = vectors("wycheproof/hkdf_sha256_test.json.gz") else { return };
    let mut seen = 0;
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let mut out = vec![0; usize::try_from(test["size"].as_u64().unwrap()).unwrap()];
            let made =
                hkdf_sha256(&bytes(&test["salt"]), &bytes(&test["ikm"]), &bytes(&test["info"]), &mut out);
            assert_eq!(made.is_ok(), test["result"] == "valid", "test {}", test["tcId"]);
            if made.is_ok() {
                assert_eq!(out, bytes(&test["okm"]), "test {}", test["tcId"]);
            }
            seen += 1;
        }
    }
    assert_eq!(seen, file["numberOfTests"].as_u64().unwrap());
}

#[test]
fn the_messages_of_rfc_9180_are_opened() {
    let Some(file) = vectors("hpke/rfc9180_vectors_public.json.gz") else { return };
    let (mut ours, mut all) = (0, 0);
    for case in file.as_array().unwrap().iter().filter(|case| case["mode"] == 0) {
        let ids =
            ["kem_id", "kdf_id", "aead_id"].map(|id| u16::try_from(case[id].as_u64().unwrap()).unwrap());
        let Some(suite) = ALL_SUPPORTED_SUITES.iter().find(|suite| {
            let suite = suite.suite();
            let its: [u16; 3] = [suite.kem.into(), suite.sym.kdf_id.into(), suite.sym.aead_id.into()];
            its == ids
        }) else {
            continue;
        };
        let secret = HpkePrivateKey::from(bytes(&case["skRm"]));
        let encapsulated = EncapsulatedSecret(bytes(&case["enc"]));
        let mut opener = suite.setup_opener(&encapsulated, &bytes(&case["info"]), &secret).unwrap();
        // The file holds the first messages and then samples, so only the unbroken run from 0 can be opened in order.
        for message in case["encryptions"].as_array().unwrap().iter().take(3) {
            let plain = opener.open(&bytes(&message["aad"]), &bytes(&message["ct"])).unwrap();
            assert_eq!(plain, bytes(&message["pt"]));
            all += 1;
            ours += u32::from(ids == [0x20, 1, 3]);
        }
    }
    assert!(ours >= 3 && all >= 15, "{ours} messages of our suite, {all} of all");
}

#[test]
fn what_is_sealed_opens_with_the_recipients_key_and_no_other_info_or_aad() {
    let (public, secret) = SUITE.generate_key_pair().unwrap();
    let key = HpkeKey(public.0.try_into().unwrap());
    let (encapsulated, ciphertext) = sealer().encrypt(&key, b"info", b"aad", b"plain").unwrap();
    let encapsulated = EncapsulatedSecret(encapsulated);
    assert_eq!(SUITE.open(&encapsulated, b"info", b"aad", &ciphertext, &secret).unwrap(), b"plain");
    assert!(SUITE.open(&encapsulated, b"other", b"aad", &ciphertext, &secret).is_err());
    assert!(SUITE.open(&encapsulated, b"info", b"other", &ciphertext, &secret).is_err());
}

#[test]
fn a_low_order_hpke_key_is_refused() {
    // The points of order 1, 2, 4 and 8 on Curve25519 and its twist, and their second encodings (RFC 7748, section 7).
    let low = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in low {
        let key: HpkeKey = point.parse().unwrap();
        assert_eq!(sealer().encrypt(&key, b"", b"", b"plain"), Err(SealError::RecipientKey), "{point}");
        assert!(!usable_hpke_key(&key), "{point}");
    }
}

#[test]
fn two_recipients_share_nothing_and_one_keeps_its_alias() {
    let (car, tyres, insurer) = (sealer(), recipient("tyres"), recipient("insurer"));
    assert_ne!(car.alias(&tyres), car.alias(&insurer));
    assert_ne!(car.principal(&tyres), car.principal(&insurer));
    assert_eq!(car.alias(&tyres), sealer().alias(&tyres), "the alias outlives a restart");
    assert_eq!(car.principal(&tyres), sealer().principal(&tyres));
    assert_ne!(car.alias(&tyres).unwrap().0, car.principal(&tyres).0);

    let next_owner = CarSealer::new(Zeroizing::new([7; 32]), 2);
    assert_ne!(car.alias(&tyres), next_owner.alias(&tyres));
    let other_car = CarSealer::new(Zeroizing::new([8; 32]), 1);
    assert_ne!(car.alias(&tyres), other_car.alias(&tyres));

    let signature = car.sign(&tyres, b"envelope").unwrap();
    assert!(StrictVerifier.verify(&car.alias(&tyres).unwrap(), b"envelope", &signature));
    assert!(!StrictVerifier.verify(&car.alias(&insurer).unwrap(), b"envelope", &signature));
}

/// Pins the derivation of the wire format; the figures were computed with Python's `hmac` and `hashlib`.
#[test]
fn alias_and_principal_are_derived_as_the_format_says() {
    let (car, tyres) = (sealer(), recipient("tyres"));
    assert_eq!(car.alias(&tyres).unwrap().to_string(), ALIAS_OF_TYRES);
    assert_eq!(car.principal(&tyres).to_string(), PRINCIPAL_OF_TYRES);
}

const ALIAS_OF_TYRES: &str = "67da27f09b57558d321203d8c972271707034a91b7ee6e9dfd3c2ad01b3c3753";
const PRINCIPAL_OF_TYRES: &str = "a1837f10a59c1aa69985fe819431dcd62e5966399658f131ac011aa4275437f6";

#[test]
fn debug_output_tells_no_secret() {
    let car = CarSealer::new(Zeroizing::new([0xAB; 32]), 3);
    car.alias(&recipient("tyres")).unwrap();
    let text = format!("{car:?}");
    assert!(!text.to_lowercase().contains("abab") && !text.contains("171, 171"), "{text}");
}
