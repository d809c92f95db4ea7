//! The HPKE in use opens the published vectors of RFC 9180: base mode, all suites that it has and the file has.

use std::io::Read as _;
use std::path::PathBuf;

use rustls::crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey};
use serde_json::Value;

/// Folder with the data sets, or `None` after a line that says so; an error where nothing may be skipped.
fn shared(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GLOVEBOX_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = root.join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
    println!("skipped: {} is missing", path.display());
    None
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn suite_of(vector: &Value) -> Option<&'static dyn Hpke> {
    let id = |name: &str| u16::try_from(vector[name].as_u64().unwrap()).unwrap();
    let same = |suite: &&&'static dyn Hpke| {
        let known = suite.suite();
        let ids = (u16::from(known.kem), u16::from(known.sym.kdf_id), u16::from(known.sym.aead_id));
        ids == (id("kem_id"), id("kdf_id"), id("aead_id"))
    };
    ALL_SUPPORTED_SUITES.iter().find(same).copied()
}

/// Opens all messages of one vector in turn; how many.
fn open_all(hpke: &dyn Hpke, vector: &Value) -> usize {
    let encapsulated = EncapsulatedSecret(bytes(&vector["enc"]));
    let secret = HpkePrivateKey::from(bytes(&vector["skRm"]));
    let mut opener = hpke.setup_opener(&encapsulated, &bytes(&vector["info"]), &secret).unwrap();
    let messages = vector["encryptions"].as_array().unwrap();
    for message in messages {
        let opened = opener.open(&bytes(&message["aad"]), &bytes(&message["ct"])).unwrap();
        assert_eq!(opened, bytes(&message["pt"]));
    }
    let first = &messages[0];
    let (info, aad) = (bytes(&vector["info"]), bytes(&first["aad"]));
    let once = hpke.open(&encapsulated, &info, &aad, &bytes(&first["ct"]), &secret).unwrap();
    assert_eq!(once, bytes(&first["pt"]), "single-shot, as an envelope is opened");
    let mut changed = bytes(&first["ct"]);
    changed[0] ^= 1;
    assert!(hpke.open(&encapsulated, &info, &aad, &changed, &secret).is_err());
    messages.len()
}

#[test]
fn published_vectors_open() {
    let Some(path) = shared("data/hpke/rfc9180_vectors_public.json.gz") else { return };
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    let base = vectors.iter().filter(|vector| vector["mode"] == 0);
    let opened: Vec<(u64, usize)> = base
        .filter_map(|vector| Some((vector["kem_id"].as_u64().unwrap(), open_all(suite_of(vector)?, vector))))
        .collect();
    // P-256 and X25519, each with HKDF-SHA256 and three AEADs.
    assert_eq!(opened.len(), 6, "{opened:?}");
    assert_eq!(opened.iter().filter(|(kem, _)| *kem == 0x20).count(), 3);
    assert!(opened.iter().all(|(_, messages)| *messages == 257), "{opened:?}");
}
