//! The fuzzers' kept corpora, replayed without a fuzzer: seeds written by hand, and every input that ever found a fault.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(unreachable_pub, reason = "also a library, of the fuzzers")]
#[path = "../core/fuzz/src/lib.rs"]
mod targets;

/// A seed called `bad-…` is refused by its reader; every other must get through to the decoder, or it is no seed.
#[test]
fn the_corpora_find_nothing() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("core/fuzz/corpus");
    let mut wrong = Vec::new();
    for (name, body) in targets::TARGETS {
        let mut seeds = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let through = body(&std::fs::read(&path).unwrap());
            if through == path.file_name().unwrap().to_string_lossy().starts_with("bad-") {
                wrong.push(path.display().to_string());
            }
            seeds += 1;
        }
        assert!(seeds >= 4, "{name}: {seeds} seeds");
    }
    assert!(wrong.is_empty(), "called bad and got through, or not called bad and did not: {wrong:#?}");
}

#[test]
fn corpora_stay_small() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("core/fuzz/corpus");
    for (name, _) in targets::TARGETS {
        let sizes = std::fs::read_dir(corpus.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len());
        let bytes: u64 = sizes.sum();
        assert!(bytes <= 64 * 1024, "{name}: {bytes} bytes: keep what finds something, drop the rest");
    }
}
