//! Where the shared test data is.
#![expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test reads data, and says what it skips"
)]
#![expect(unreachable_pub, reason = "shared by several test binaries")]

use std::path::{Path, PathBuf};

/// Folder of the shared data; tells and skips when it is absent, fails on a build machine.
pub fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("GLOVEBOX_SHARED").map_or_else(beside, PathBuf::from);
    if root.join("data").is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}; set GLOVEBOX_SHARED", root.display());
    eprintln!("skipped: no test data at {}; set GLOVEBOX_SHARED", root.display());
    None
}
