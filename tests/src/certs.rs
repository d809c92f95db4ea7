//! Certificates of a test: one authority, and what it issues, by the `openssl` command.

use crate::process::succeed;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Live,
    /// It has ended long ago.
    Expired,
    /// It begins in 2047.
    Early,
    /// Now, and it ends in 20 days.
    EndsSoon,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Certificate.
    pub cert: PathBuf,
    /// Key, 0600.
    pub key: PathBuf,
}

/// Issues certificates.
#[derive(Debug, Clone)]
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// A new authority with its files in `folder`.
    ///
    /// # Errors
    /// What `openssl` says.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("index.txt"), "")?;
        let authority = Self { folder: folder.to_path_buf() };
        let settings = authority.settings("ca", name, "")?;
        let mut command = authority.openssl(&["req", "-x509", "-new", "-nodes", "-days", "30"]);
        command.args([
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-extensions",
            "authority",
        ]);
        succeed(command.arg("-config").arg(settings).args(["-keyout", "ca.key", "-out", "ca.crt"]))?;
        Ok(authority)
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate for `name`, which as a server may be called one of `hosts` (`DNS:localhost,IP:127.0.0.1`).
    ///
    /// # Errors
    /// What `openssl` says.
    pub fn issue(&self, name: &str, hosts: &str, validity: Validity) -> Result<Identity> {
        let settings = self.settings(name, name, hosts)?;
        let file = |end: &str| format!("{name}.{end}");
        let dates: &[&str] = match validity {
            Validity::Live => &["-startdate", "20250101000000Z", "-enddate", "20490101000000Z"],
            Validity::Expired => &["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"],
            Validity::Early => &["-startdate", "20470101000000Z", "-enddate", "20490101000000Z"],
            Validity::EndsSoon => &["-startdate", "20250101000000Z", "-days", "20"],
        };
        let mut request = self.openssl(&["req", "-new", "-nodes", "-newkey", "ec"]);
        request.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]).arg("-config").arg(&settings);
        succeed(request.args(["-keyout", &file("key"), "-out", &file("csr")]))?;
        let mut sign = self.openssl(&["ca", "-batch", "-notext"]);
        sign.args(dates);
        sign.arg("-config").arg(&settings).args(["-extensions", "leaf"]);
        succeed(sign.args(["-in", &file("csr"), "-out", &file("crt")]))?;
        Ok(Identity { cert: self.folder.join(file("crt")), key: self.folder.join(file("key")) })
    }

    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(&self.folder);
        command
    }

    fn settings(&self, file: &str, name: &str, hosts: &str) -> Result<PathBuf> {
        let hosts = if hosts.is_empty() { String::new() } else { format!("subjectAltName = {hosts}\n") };
        let path = self.folder.join(format!("{file}.cnf"));
        let text = format!(
            "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = {name}\n\
             [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
             [ca]\ndefault_ca = store\n\
             [store]\ndatabase = index.txt\nnew_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\n\
             unique_subject = no\npolicy = any\ncertificate = ca.crt\nprivate_key = ca.key\n\
             [any]\ncommonName = supplied\n\
             [leaf]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
             extendedKeyUsage = serverAuth, clientAuth\n{hosts}"
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }
}
