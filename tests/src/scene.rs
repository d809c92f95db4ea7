//! A whole scene: authority of certificates, broker, fleet, car, recipients, in one folder that stays if a test fails.

use crate::agent::{Agent, Bus, DEVICE, Settings};
use crate::broker::Broker;
use crate::certs::{Authority, Identity, Validity};
use crate::fleet::{Fleet, Party};
use crate::need::Drive;
use crate::process::tail;
use crate::recipient::{Subscriber, Subscription};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Everything but the agent, which a test starts itself.
#[derive(Debug)]
pub struct Scene {
    folder: Option<TempDir>,
    /// Issues all certificates.
    pub authority: Authority,
    /// The broker.
    pub broker: Broker,
    /// Keys and documents.
    pub fleet: Fleet,
    /// The car's certificate.
    pub car: Identity,
}

impl Scene {
    /// Sets it up.
    ///
    /// # Errors
    /// If a part of it does not come up.
    pub fn new(parties: Vec<Party>) -> Result<Self> {
        // Short: a socket's path has at most 108 bytes.
        let folder = tempfile::Builder::new().prefix("gb-").tempdir()?;
        let authority = Authority::new(&folder.path().join("ca"), "Test CA")?;
        let broker = Broker::start(&folder.path().join("broker"), &authority)?;
        let fleet = Fleet::new(&folder.path().join("fleet"), parties)?;
        let car = authority.issue(DEVICE, "", Validity::Live)?;
        Ok(Self { folder: Some(folder), authority, broker, fleet, car })
    }

    /// A file or folder of the scene.
    ///
    /// # Errors
    /// Never while the scene lives.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder.as_ref().context("the scene has ended")?.path().join(name))
    }

    /// Settings that replay the recorded drive to this broker.
    #[must_use]
    pub fn settings(&self, drive: &Drive, speed: &str, batch_age_s: u32) -> Settings {
        let bus = |name: &str, dbc: &Path| Bus {
            name: name.to_owned(),
            interface: name.to_owned(),
            dbc: vec![dbc.to_path_buf()],
        };
        let buses = vec![bus("can0", &drive.powertrain), bus("can1", &drive.radar)];
        let replay = Some(drive.log.clone());
        Settings { replay, speed: speed.to_owned(), ..self.live(buses, batch_age_s) }
    }

    /// Settings that read interfaces of the kernel.
    #[must_use]
    pub fn live(&self, buses: Vec<Bus>, batch_age_s: u32) -> Settings {
        Settings {
            replay: None,
            speed: "max".to_owned(),
            buses,
            map: None,
            batch_age_s,
            broker: self.broker.address(),
            ca: self.authority.certificate(),
            car: self.car.clone(),
            state: None,
            more: String::new(),
        }
    }

    /// A car with these settings; nothing runs yet.
    ///
    /// # Errors
    /// If its configuration cannot be written.
    pub fn agent(&self, settings: &Settings) -> Result<Agent> {
        Agent::new(&self.path("car")?, settings)
    }

    /// Starts the subscriber of a recipient.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn subscribe(&self, id: &str, more: &[&str]) -> Result<Subscriber> {
        let subscription = Subscription {
            id: id.to_owned(),
            broker: self.broker.address(),
            ca: self.authority.certificate(),
            identity: self.authority.issue(id, "", Validity::Live)?,
            hpke_key: self.fleet.file(&format!("{id}-hpke.key")),
            folder: self.path(&format!("recipient-{id}"))?,
            more: more.iter().map(|word| (*word).to_owned()).collect(),
        };
        let answer = format!("Sending SUBACK to glovebox-recipient-{id}");
        Subscriber::start(&subscription, || self.broker.log().contains(&answer))
    }

    /// All went well: the folder goes.
    pub fn finish(mut self) {
        self.folder = None;
    }
}

impl Drop for Scene {
    #[expect(clippy::print_stderr, reason = "whoever looks for the fault needs the logs")]
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        let kept = folder.keep();
        eprintln!("everything of this test stays in {}", kept.display());
        for path in crate::source::tree(&kept) {
            if path.extension().is_some_and(|extension| extension == "log") {
                eprintln!("--- the end of {}\n{}", path.display(), tail(&path, 20));
            }
        }
    }
}
