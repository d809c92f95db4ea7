//! Throw-away certificates: one authority, the broker, and who may come to it. The only user of rcgen.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use glovebox_tests::certs::Identity;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Issues certificates into one folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one, with its certificate in `NAME.crt`; its key is in memory only.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = named(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem())?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// A certificate for `name`, which as a server is called one of `hosts`.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = named(name, hosts)?.signed_by(&key, &self.issuer)?;
        let file = |end: &str| self.folder.join(format!("{name}{end}"));
        let identity = Identity { cert: file(".crt"), key: file("-tls.key") };
        std::fs::write(&identity.cert, certificate.pem())?;
        write_secret(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// Readable by nobody else from its first moment.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.with_context(|| format!("cannot create {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}
