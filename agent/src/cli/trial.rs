//! A car, an authority, a recipient and an owner in a folder, made by commands only: what the README tells to type.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::{consent, keys, owner, policy, provision};
use crate::clock::{Clock, Time as _};
use crate::control::Authority;
use crate::daemon::authority::{Car, KnownLeaf, KnownLeaves, LocalAuthority};
use clap::Parser;
use glovebox_core::names::{Digest, SignalPath};
use std::path::PathBuf;
use std::process::ExitCode;
use tempfile::TempDir;

#[derive(Parser)]
#[command(name = "glovebox")]
enum Cli {
    Keys(keys::Args),
    Provision(provision::Args),
    Policy(policy::Args),
    Consent(consent::Args),
    Owner(owner::Args),
}

pub(crate) struct Trial {
    folder: TempDir,
}

/// All that the sample request asks for, but this one.
pub(crate) const NOT_IN_THE_CAR: &str = "Vehicle.Service.DistanceToService";

impl Trial {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// With keys, a signed bundle (`bundle.dsse`) and a provisioned car.
    pub(crate) fn provisioned() -> Self {
        let trial = Self::new();
        trial.keys_and_statements();
        trial.bundle(1, "");
        trial.run("provision --authority @root.pub --owner @owner.pub").unwrap();
        trial
    }

    pub(crate) fn keys_and_statements(&self) {
        for name in ["root", "signing", "owner", "tyres"] {
            self.run(&format!("keys new ed25519 --out @{name}")).unwrap();
        }
        self.run("keys new x25519 --out @hpke").unwrap();
        self.run("policy new signing-key --key @signing.pub --serial 1 --days 90 -o @signing.json").unwrap();
        self.run("policy sign @signing.json --type signing-key --key @root.key -o @signing.dsse").unwrap();
        self.run("policy new hpke-key --recipient tyres --key @hpke.pub -o @hpke.json").unwrap();
        self.run("policy sign @hpke.json --type hpke-key --key @tyres.key -o @hpke.dsse").unwrap();
        let signals =
            "--signal Vehicle.Speed:rate=1000:quantise=0.5 --signal CAN.can0.ENGINE.RPM:on_change=10";
        let request = format!(
            "policy new request --recipient tyres --purpose tyre-care {signals} --signal {NOT_IN_THE_CAR}"
        );
        self.run(&format!("{request} -o @request.json")).unwrap();
        self.run("policy sign @request.json --type request --key @tyres.key -o @request.dsse").unwrap();
    }

    /// A signed bundle of this version.
    pub(crate) fn bundle(&self, version: u64, more: &str) {
        let tyres = "--recipient tyres:Example_Tyres_GmbH:DE:@tyres.pub:@hpke.dsse --request @request.dsse";
        self.run(&format!(
            "policy new bundle --device car-1 --policy-version {version} {tyres} --category driving=CAN.* {more} \
             -o @bundle.json"
        ))
        .unwrap();
        self.run("policy sign @bundle.json --type bundle --key @signing.key --statement @signing.dsse -o @bundle.dsse")
            .unwrap();
    }

    /// Runs a command; `@` stands for the folder.
    pub(crate) fn run(&self, line: &str) -> anyhow::Result<ExitCode> {
        let folder = format!("{}/", self.folder.path().display());
        let words = line.split_whitespace().map(|word| word.replace('@', &folder));
        let cli = Cli::try_parse_from(std::iter::once("glovebox".to_owned()).chain(words))?;
        match &cli {
            Cli::Keys(args) => keys::run(args),
            Cli::Provision(args) => provision::run(args, &self.state()),
            Cli::Policy(args) => policy::run(args, Clock::new().now(), || self.open()),
            Cli::Consent(args) => consent::run(args, &self.state(), || self.open()),
            Cli::Owner(args) => owner::run(args, &self.state(), self.open()?),
        }
    }

    /// What a failing command says.
    pub(crate) fn fails(&self, line: &str) -> String {
        format!("{:#}", self.run(line).unwrap_err())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The stores themselves.
    pub(crate) fn local(&self) -> LocalAuthority {
        let car = Car { device: "car-1".parse().unwrap(), groups: Vec::new() };
        LocalAuthority::open(&self.state(), car, leaves()).unwrap()
    }

    fn open(&self) -> anyhow::Result<Box<dyn Authority>> {
        let car = Car { device: "car-1".parse().unwrap(), groups: Vec::new() };
        consent::authority(&self.path("control.sock"), &self.state(), car, || Ok(leaves()))
    }
}

pub(crate) fn leaves() -> KnownLeaves {
    Box::new(|signal: &SignalPath| {
        let digest = Digest::of(signal.as_str().as_bytes());
        let unit = if signal.as_str() == "Vehicle.Speed" { "km/h" } else { "" };
        (signal.as_str() != NOT_IN_THE_CAR).then(|| KnownLeaf { digest, unit: unit.to_owned() })
    })
}
