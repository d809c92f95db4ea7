//! Certificates made by the openssl command: what a fleet would have, and what goes wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A certificate authority in a folder of its own.
#[derive(Clone)]
pub(crate) struct Authority {
    folder: PathBuf,
    pub(crate) cert: PathBuf,
}

impl Pair {
    /// Puts certificate and key in the place of `old`, each by a rename, as tools that renew do.
    pub(crate) fn replaces(&self, old: &Self) {
        replace(&self.key, &old.key);
        replace(&self.cert, &old.cert);
    }
}

/// Puts a copy of `new` in the place of `old`, by a rename.
pub(crate) fn replace(new: &Path, old: &Path) {
    let beside = old.with_extension("new");
    std::fs::copy(new, &beside).unwrap();
    std::fs::rename(&beside, old).unwrap();
}

/// Good today.
pub(crate) const VALID: (&str, &str) = ("20200101000000Z", "20990101000000Z");
/// Expired on New Year's Day 2021.
pub(crate) const EXPIRED: (&str, &str) = ("20200101000000Z", "20210101000000Z");
/// Not valid before 2098.
pub(crate) const EARLY: (&str, &str) = ("20980101000000Z", "20990101000000Z");

fn openssl(folder: &Path, arguments: &str) {
    let output =
        Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Authority {
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let ca = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n";
        std::fs::write(folder.join("ca.cnf"), ca).unwrap();
        std::fs::write(folder.join("index.txt"), "").unwrap();
        std::fs::write(folder.join("serial"), "1000\n").unwrap();
        openssl(
            folder,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -days 3650 -subj /CN=authority",
        );
        Self { folder: folder.to_owned(), cert: folder.join("ca.crt") }
    }

    /// A certificate for `name` in files called `file`.
    pub(crate) fn issue_as(&self, file: &str, name: &str, dates: (&str, &str)) -> Pair {
        let pair = self.issue(name, "DNS:car", dates);
        let at = |end: &str| self.folder.join(format!("{file}.{end}"));
        let moved = Pair { cert: at("crt"), key: at("key") };
        std::fs::rename(pair.cert, &moved.cert).unwrap();
        std::fs::rename(pair.key, &moved.key).unwrap();
        moved
    }

    /// A certificate for `name`, with `names` as subject alternative names (`DNS:…,IP:…`).
    pub(crate) fn issue(&self, name: &str, names: &str, (from, until): (&str, &str)) -> Pair {
        let folder = &self.folder;
        let extensions = format!(
            "subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
        );
        std::fs::write(folder.join("ext"), extensions).unwrap();
        openssl(
            folder,
            &format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ),
        );
        openssl(
            folder,
            &format!(
                "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -in {name}.csr -out {name}.crt -startdate {from} -enddate {until} -extfile ext"
            ),
        );
        Pair { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
    }
}
