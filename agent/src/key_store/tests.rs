//! Provisioning works once; nothing secret is open to others or told in an error.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::pem::PemError;
use super::{KeyError, KeyKind, KeyStore, new_key_pair, read_signing_key, read_verifying_key};
use super::{read_x25519_private, read_x25519_public, thumb};
use crate::store::files::FileError;
use glovebox_core::names::VerifyingKey;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tempfile::TempDir;

fn key(seed: u8) -> VerifyingKey {
    VerifyingKey(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn provisioned() -> (TempDir, KeyStore) {
    let folder = TempDir::new().unwrap();
    let keys = KeyStore::open(&folder.path().join("state/keys")).unwrap();
    keys.provision(&key(1), &key(2)).unwrap();
    (folder, keys)
}

#[test]
fn before_provisioning_each_key_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let keys = KeyStore::open(&folder.path().join("keys")).unwrap();
    assert!(keys.owners().unwrap().is_empty());
    for error in [keys.alias().unwrap_err(), keys.record_key().unwrap_err(), keys.root().unwrap_err()] {
        assert!(error.to_string().contains("glovebox provision --authority"), "{error}");
    }
}

#[test]
fn provisioning_sets_root_owner_and_fresh_secrets_for_the_agent_alone() {
    let (_folder, keys) = provisioned();
    assert_eq!(keys.root().unwrap(), key(1));
    assert_eq!(keys.owners().unwrap(), [key(2)]);
    assert_eq!(keys.alias().unwrap().epoch, 1);
    let (_other_folder, other) = provisioned();
    assert_ne!(*keys.alias().unwrap().secret, *other.alias().unwrap().secret);
    assert_ne!(keys.record_key().unwrap(), other.record_key().unwrap());
    let owner = format!("owners/{}.pub", thumb(&key(2)));
    for name in ["alias", "record.key", "root.pub", &owner] {
        assert_eq!(mode(&keys.dir.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&keys.dir), 0o700);
    assert_eq!(mode(&keys.dir.join("owners")), 0o700);
}

#[test]
fn a_second_provision_is_refused_and_changes_nothing() {
    let (_folder, keys) = provisioned();
    let before = keys.alias().unwrap();
    let error = keys.provision(&key(3), &key(4)).unwrap_err();
    assert!(matches!(&error, KeyError::OwnerEnrolled { thumb: it, .. } if *it == thumb(&key(2))), "{error}");
    assert_eq!(keys.root().unwrap(), key(1));
    assert_eq!(keys.owners().unwrap(), [key(2)]);
    assert_eq!(*keys.alias().unwrap().secret, *before.secret);
}

#[test]
fn a_power_cut_before_the_owner_is_written_leaves_a_car_that_can_be_provisioned() {
    let (_folder, keys) = provisioned();
    let before = keys.alias().unwrap();
    fs::remove_file(keys.dir.join(format!("owners/{}.pub", thumb(&key(2))))).unwrap();
    let again = keys.provision(&key(3), &key(4)).unwrap();
    assert_eq!(again.epoch, 2);
    assert_ne!(*keys.alias().unwrap().secret, *before.secret, "a new owner gets fresh randomness");
}

#[test]
fn two_at_once_cannot_enrol_two_first_owners() {
    let folder = TempDir::new().unwrap();
    let keys = KeyStore::open(&folder.path().join("keys")).unwrap();
    crate::store::files::create_folder(&keys.dir.join("owners")).unwrap();
    let lock = keys.lock().unwrap();
    assert!(matches!(keys.provision(&key(1), &key(2)), Err(KeyError::Busy { .. })));
    drop(lock);
    keys.provision(&key(1), &key(2)).unwrap();
}

#[test]
fn keys_of_small_order_and_one_key_for_both_are_refused() {
    let folder = TempDir::new().unwrap();
    let keys = KeyStore::open(&folder.path().join("keys")).unwrap();
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = VerifyingKey(neutral);
    assert!(matches!(keys.provision(&weak, &key(2)), Err(KeyError::Unusable { who: "authority" })));
    assert!(matches!(keys.provision(&key(1), &weak), Err(KeyError::Unusable { who: "owner" })));
    assert!(matches!(keys.provision(&key(1), &key(1)), Err(KeyError::SameKey)));
}

#[test]
fn files_and_folders_open_to_others_are_refused_with_the_mend() {
    let (_folder, keys) = provisioned();
    for (name, mode, mend) in
        [("alias", 0o640, "600"), ("record.key", 0o604, "600"), ("root.pub", 0o622, "go-w")]
    {
        let path = keys.dir.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = match name {
            "alias" => keys.alias().map(drop).unwrap_err(),
            "record.key" => keys.record_key().map(drop).unwrap_err(),
            _ => keys.root().map(drop).unwrap_err(),
        };
        let mend = format!("chmod {mend} {}", path.display());
        assert!(error.to_string().contains(&mend), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(&keys.dir, fs::Permissions::from_mode(0o750)).unwrap();
    let error = KeyStore::open(&keys.dir).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn a_damaged_secret_is_an_error_that_tells_nothing_of_it() {
    let (_folder, keys) = provisioned();
    let alias = keys.dir.join("alias");
    let secret = keys.alias().unwrap().secret;
    let record = keys.dir.join("record.key");
    let text = fs::read_to_string(&record).unwrap();
    let body = text.lines().nth(1).unwrap().to_owned();
    for bytes in [&secret[..], &secret[..31], &[&b"GBA2\0\0\0\x01"[..], &secret[..]].concat()] {
        fs::write(&alias, bytes).unwrap();
        tells_nothing(&keys.alias().unwrap_err(), &secret[..]);
    }
    for damaged in [text.replace("MC4C", "MC5C"), text.replace("-----END", "----END"), body.clone()] {
        fs::write(&record, damaged).unwrap();
        let error = keys.record_key().unwrap_err();
        tells_nothing(&error, &secret[..]);
        assert!(!format!("{error} {error:?}").contains(&body[20..40]), "{error}");
    }
    assert!(!format!("{keys:?}").contains("alias:"));
}

fn tells_nothing(error: &KeyError, secret: &[u8]) {
    let text = format!("{error} {error:?}").to_lowercase();
    assert!(!text.contains(&hex::encode(&secret[..8])), "{text}");
    assert!(!text.contains(&format!("{}, {}, {}", secret[0], secret[1], secret[2])), "{text}");
}

#[test]
fn new_keys_are_private_read_back_and_overwrite_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("car.v1");
    let (private, public) = new_key_pair(KeyKind::Ed25519, &path).unwrap();
    assert_eq!(private.file_name().unwrap(), "car.v1.key");
    assert_eq!(mode(&private), 0o600);
    let signing = read_signing_key(&private).unwrap();
    assert_eq!(read_verifying_key(&public).unwrap().0, signing.verifying_key().to_bytes());

    fs::remove_file(&private).unwrap();
    let error = new_key_pair(KeyKind::X25519, &path).unwrap_err();
    assert!(matches!(error, PemError::File(FileError::Exists { .. })), "{error}");
    assert!(!private.exists(), "nothing is half made");

    let (private, public) = new_key_pair(KeyKind::X25519, &folder.path().join("hpke")).unwrap();
    let (secret, point) = (read_x25519_private(&private).unwrap(), read_x25519_public(&public).unwrap());
    assert_eq!(super::pem::x25519_public(&secret).unwrap(), point.0);
}

/// Made by OpenSSL 3.0.19: `openssl genpkey -algorithm ed25519`, then `pkey -pubout`.
const OPENSSL: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIOJOTR8co54WgUq1jvyTIgOk4R6yQg96SV/u66HHAvoz\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAnmYGVe3+C16zZbrrJqYBxsS1G2gUDZgnc+5lokCVtOc=\n-----END PUBLIC KEY-----\n",
];
/// RFC 8410, section 10.3: the same private key without and with its public half.
const RFC_8410_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const RFC_8410_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

fn file(folder: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn keys_of_rfc_8410_and_of_openssl_are_read_and_written_alike() {
    let folder = TempDir::new().unwrap();
    for [private, public] in [OPENSSL, [RFC_8410_PRIVATE, RFC_8410_PUBLIC]] {
        let signing = read_signing_key(&file(&folder, "k.key", private)).unwrap();
        let verifying = read_verifying_key(&file(&folder, "k.pub", public)).unwrap();
        assert_eq!(signing.verifying_key().to_bytes(), verifying.0);
        assert_eq!(super::pem::encode_signing(&signing).as_str(), private);
        assert_eq!(super::pem::encode_verifying(&verifying).as_str(), public);
    }
}

#[test]
fn a_key_of_another_kind_is_named() {
    let folder = TempDir::new().unwrap();
    let (x_private, x_public) = new_key_pair(KeyKind::X25519, &folder.path().join("x")).unwrap();
    let public = file(&folder, "k.pub", RFC_8410_PUBLIC);
    let private = file(&folder, "k.key", RFC_8410_PRIVATE);
    let says = |error: PemError, words: &str| assert!(error.to_string().contains(words), "{error}");
    says(read_signing_key(&x_private).unwrap_err(), "an X25519 key");
    says(read_verifying_key(&x_public).unwrap_err(), "an X25519 key");
    says(read_x25519_public(&public).unwrap_err(), "an Ed25519 key");
    says(read_signing_key(&public).unwrap_err(), "it holds a public key");
    says(read_verifying_key(&private).unwrap_err(), "it holds a private key");
    says(read_signing_key(&file(&folder, "n", "hello")).unwrap_err(), "PEM header");
    says(read_signing_key(&folder.path().join("gone")).unwrap_err(), "glovebox keys new");
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
    says(read_verifying_key(&file(&folder, "w", weak)).unwrap_err(), "small order");
}

#[test]
fn a_private_key_whose_public_half_is_not_its_own_is_refused() {
    use base64::Engine as _;
    let folder = TempDir::new().unwrap();
    let seed = [5; 32];
    let own = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    let pem = |public: &[u8; 32]| {
        let der = [
            &hex::decode("3051020101300506032b657004220420").unwrap()[..],
            &seed,
            &hex::decode("812100").unwrap(),
            public,
        ]
        .concat();
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{}\n{}\n-----END PRIVATE KEY-----\n", &body[..64], &body[64..])
    };
    assert_eq!(read_signing_key(&file(&folder, "own", &pem(&own))).unwrap().to_bytes(), seed);
    assert!(read_signing_key(&file(&folder, "other", &pem(&key(9).0))).is_err());
}
