//! Everybody beside the car: policy authority, owner and recipients, with their keys and signed documents, all made by
//! the real commands.

use crate::agent::{Agent, COMMAND_LIMIT, DEVICE, binary};
use crate::process::output;
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use glovebox_core::names::WallTime;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One recipient and what it asks for.
#[derive(Debug, Clone)]
pub struct Party {
    /// Its id.
    pub id: String,
    /// Signals and the transforms that it asks for itself.
    pub signals: Vec<(String, Value)>,
    /// Stamps in microseconds.
    pub microseconds: bool,
    /// Age at which its batches close, in seconds.
    pub batch_age_s: u32,
    /// It asks for what lies around this event only.
    pub event: Option<Value>,
}

impl Party {
    /// One that asks for `signals` without transforms.
    #[must_use]
    pub fn plain(id: &str, signals: &[&str]) -> Self {
        let signals = signals.iter().map(|signal| ((*signal).to_owned(), json!([]))).collect();
        Self { id: id.to_owned(), signals, microseconds: false, batch_age_s: 10, event: None }
    }
}

/// The one purpose of all requests here.
pub const PURPOSE: &str = "service-planning";

/// Keys and documents in one folder.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    parties: Vec<Party>,
}

impl Fleet {
    /// Makes all keys, the root's statement and the recipients' statements.
    ///
    /// # Errors
    /// What a command says.
    pub fn new(folder: &Path, parties: Vec<Party>) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let fleet = Self { folder: folder.to_path_buf(), parties };
        for name in ["root", "signing", "owner"] {
            fleet.new_key("ed25519", name)?;
        }
        let (not_before, not_after) = (day(-1)?, day(60)?);
        let statement = json!({
            "schema_version": 1, "key": fleet.public("signing")?, "serial": 1,
            "not_before": not_before, "not_after": not_after,
        });
        fleet.sign("signing", &statement, "signing-key", "root", &[])?;
        for party in &fleet.parties {
            fleet.new_key("ed25519", &format!("{}-request", party.id))?;
            fleet.new_key("x25519", &format!("{}-hpke", party.id))?;
            let statement = json!({
                "schema_version": 1, "recipient": party.id, "hpke_key": fleet.public(&format!("{}-hpke", party.id))?,
                "not_before": not_before, "not_after": not_after,
            });
            fleet.sign(
                &format!("{}-hpke", party.id),
                &statement,
                "hpke-key",
                &format!("{}-request", party.id),
                &[],
            )?;
            let key = format!("{}-request", party.id);
            // Once: the same version with other dates would be another request.
            fleet.sign(&key, &fleet.request(party)?, "request", &key, &[])?;
        }
        Ok(fleet)
    }

    /// The recipients.
    #[must_use]
    pub fn parties(&self) -> &[Party] {
        &self.parties
    }

    /// A file of the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn new_key(&self, kind: &str, name: &str) -> Result<()> {
        self.glovebox(&["keys", "new", kind, "--out", name]).map(|_| ())
    }

    /// Runs `glovebox` in the folder; it must succeed.
    ///
    /// # Errors
    /// What it says.
    pub fn glovebox(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary("glovebox")?);
        let output = output(command.args(arguments).current_dir(&self.folder), COMMAND_LIMIT)?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (said(&output.stdout), said(&output.stderr));
        ensure!(output.status.success(), "glovebox {}: {}\n{out}{err}", arguments.join(" "), output.status);
        Ok(out)
    }

    /// The raw public key of `NAME.pub` in hexadecimal: the last 32 bytes of its SPKI.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn public(&self, name: &str) -> Result<String> {
        let path = self.file(&format!("{name}.pub"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body.trim())?;
        ensure!(
            der.len() == 44,
            "{} holds {} bytes, an SPKI of such a key has 44",
            path.display(),
            der.len()
        );
        Ok(hex::encode(&der[12..]))
    }

    /// Writes `NAME.json` and signs it to `NAME.dsse`.
    ///
    /// # Errors
    /// What the command says.
    pub fn sign(
        &self,
        name: &str,
        document: &Value,
        kind: &str,
        key: &str,
        more: &[&str],
    ) -> Result<PathBuf> {
        let (plain, signed) = (format!("{name}.json"), format!("{name}.dsse"));
        std::fs::write(self.file(&plain), serde_json::to_vec_pretty(document)?)?;
        let key = format!("{key}.key");
        let mut arguments = vec!["policy", "sign", &plain, "--type", kind, "--key", &key, "-o", &signed];
        arguments.extend_from_slice(more);
        self.glovebox(&arguments)?;
        Ok(self.file(&signed))
    }

    fn signed(&self, name: &str) -> Result<Value> {
        let path = self.file(&format!("{name}.dsse"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The request of a recipient, before it is signed.
    ///
    /// # Errors
    /// If the clock is before 1970.
    pub fn request(&self, party: &Party) -> Result<Value> {
        let signal = |(path, transforms): &(String, Value)| json!({ "signal": path, "necessity": "required", "transforms": transforms });
        let mut request = json!({
            "schema_version": 1, "id": format!("{PURPOSE}-request"), "version": 1, "recipient": party.id,
            "purpose": {
                "id": PURPOSE, "code": "https://w3id.org/dpv#ServiceProvision",
                "text": [{ "language": "en", "text": "To plan the next service." }],
            },
            "lawful_basis": "dpv:Consent",
            "signals": party.signals.iter().map(signal).collect::<Vec<_>>(),
            "retention_period": "P30D", "storage_locations": ["DE"], "onward_disclosure": [],
            "profiling": false, "automated_decision": false, "incentive": "",
            "privacy_notice": { "uri": "https://example.com/privacy", "digest": "00".repeat(32), "language": "en" },
            "jurisdiction": ["DE"], "batch_age_s": party.batch_age_s, "microseconds": party.microseconds,
            "expires": day(60)?,
        });
        if let Some(event) = &party.event {
            request["event"] = event.clone();
        }
        Ok(request)
    }

    /// The bundle before it is signed; the requests in it are signed.
    ///
    /// # Errors
    /// What a command says.
    pub fn bundle(&self, version: u64) -> Result<Value> {
        let (mut recipients, mut requests, mut catalogue) = (Vec::new(), Vec::new(), Vec::<Value>::new());
        for party in &self.parties {
            let key = format!("{}-request", party.id);
            requests.push(self.signed(&key)?);
            recipients.push(json!({
                "id": party.id, "name": format!("{} Ltd", party.id), "contact": format!("privacy@{}.example", party.id),
                "country": "DE", "request_key": self.public(&key)?,
                "hpke_keys": [self.signed(&format!("{}-hpke", party.id))?], "status": "active",
            }));
            for (signal, _) in &party.signals {
                if !catalogue.iter().any(|entry| entry["signal"] == signal.as_str()) {
                    let label = json!([{ "language": "en", "text": "A signal of the test" }]);
                    catalogue.push(
                        json!({ "signal": signal, "category": "condition", "labels": label, "floor": [] }),
                    );
                }
            }
        }
        Ok(json!({
            "schema_version": 1, "version": version, "issued": day(0)?, "expires": day(30)?,
            "target": { "vehicle": DEVICE }, "catalogue": catalogue, "recipients": recipients,
            "requests": requests, "directives": [],
        }))
    }

    /// Signs a bundle with the root's statement beside it.
    ///
    /// # Errors
    /// What the command says.
    pub fn sign_bundle(&self, name: &str, bundle: &Value) -> Result<PathBuf> {
        self.sign(name, bundle, "bundle", "signing", &["--statement", "signing.dsse"])
    }

    /// Pins root and owner on the car, installs the first bundle and grants `granted` all that they ask for.
    ///
    /// # Errors
    /// What a command says.
    pub fn prepare(&self, agent: &Agent, granted: &[&str]) -> Result<()> {
        let path = |name: &str| self.file(name).display().to_string();
        agent.run(&["provision", "--authority", &path("root.pub"), "--owner", &path("owner.pub")])?;
        let bundle = self.sign_bundle("bundle-1", &self.bundle(1)?)?;
        agent.run(&["policy", "install", &bundle.display().to_string()])?;
        for recipient in granted {
            self.grant(agent, recipient)?;
        }
        Ok(())
    }

    /// The owner grants a recipient all that it asks for.
    ///
    /// # Errors
    /// What the command says.
    pub fn grant(&self, agent: &Agent, recipient: &str) -> Result<()> {
        let key = self.file("owner.key").display().to_string();
        let grant = [
            "consent",
            "grant",
            "--yes",
            "--recipient",
            recipient,
            "--purpose",
            PURPOSE,
            "--key",
            &key,
            "--days",
            "20",
        ];
        agent.run(&grant).map(|_| ())
    }
}

/// RFC 3339 of now and so many days more.
///
/// # Errors
/// If the clock is before 1970.
pub fn day(days: i64) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let second = i64::try_from(now)? + days * i64::try_from(Duration::from_secs(86_400).as_secs())?;
    // A minute back, so that nothing that is made now lies in the future of a coarser clock.
    Ok(WallTime((second - 60) * 1_000_000).to_string())
}
