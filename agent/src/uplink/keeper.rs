//! The certificate, key and authorities in use, and what becomes of them when their files change: looked at, tried out
//! on a connection of their own, and only then taken. What a broker took last is kept in memory, so that a broken
//! renewal never costs a connection.
//!
//! ```text
//!   files changed ─ twice the same ─▶ read ─▶ in date, fit together ─▶ shown to the broker ─▶ rebuild in order
//!                                       └──────── no ──┴── refused ────────┘
//!                                            said loudly; the old ones stay; tried again when the files change, or later
//! ```

use super::config::{Broker, Config};
use super::dates::{self, Due};
use super::failure::{Failure, FileFault};
use super::{check, link, tls};
use glovebox_core::limits::{UPLINK_FILES_LOOK_MS, UPLINK_RENEWAL_RETRY_MS};
use glovebox_core::names::WallTime;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is said that the certificate ends soon.
const SAY_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Which state of the three files; a file that is not there has none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([Option<FileStamp>; 3]);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of the last change of its content, and of anything.
    times: [i64; 4],
}

impl Stamp {
    fn of(config: &Config) -> Self {
        Self([&config.ca, &config.cert, &config.key].map(|source| file_stamp(source.path())))
    }
}

fn file_stamp(path: &Path) -> Option<FileStamp> {
    let found = std::fs::metadata(path).ok()?;
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    Some(FileStamp { device: found.dev(), inode: found.ino(), bytes: found.size(), times })
}

/// What the three files gave.
pub(super) struct Material {
    pub(super) client: Arc<rustls::ClientConfig>,
    /// When the first certificate of our chain ends.
    pub(super) until: Option<WallTime>,
    stamp: Stamp,
}

impl Material {
    fn read(config: &Config) -> Result<Self, FileFault> {
        // Before reading: what changes meanwhile is then seen as a change.
        let stamp = Stamp::of(config);
        let files = tls::Files::read(config)?;
        let until = check::chain_ends(&files);
        Ok(Self { client: files.client(config)?, until, stamp })
    }

    /// For one that is to follow another: there is no hurry, so that what is out of date can wait.
    fn renewed(config: &Config) -> Result<Self, FileFault> {
        let grave = check::check_files(config, dates::now()).into_iter().find(|finding| finding.grave);
        match grave {
            Some(finding) => Err(FileFault::Unfit(finding.text)),
            None => Self::read(config),
        }
    }
}

/// Keeps what works.
pub(super) struct Keeper {
    config: Arc<Config>,
    good: Option<Arc<Material>>,
    refused: Option<(Stamp, Instant)>,
    said: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self { config, good: None, refused: None, said: None }
    }

    /// For the next connection: what is on disk, or what a broker took last if that is of no use.
    pub(super) fn pick(&mut self) -> Result<Arc<Material>, FileFault> {
        let picked = self.read_or_good()?;
        self.say_when_it_ends(&picked);
        Ok(picked)
    }

    fn read_or_good(&mut self) -> Result<Arc<Material>, FileFault> {
        let Some(good) = self.good.clone() else { return Material::read(&self.config).map(Arc::new) };
        let stamp = Stamp::of(&self.config);
        if stamp == good.stamp || self.was_refused(&stamp) {
            return Ok(good);
        }
        match Material::renewed(&self.config) {
            Ok(material) => Ok(Arc::new(material)),
            Err(fault) => {
                self.refuse(stamp, &fault);
                Ok(good)
            }
        }
    }

    /// A broker took this one.
    pub(super) fn took(&mut self, material: &Arc<Material>) {
        self.good = Some(Arc::clone(material));
    }

    /// An attempt with this one failed before a broker took it.
    pub(super) fn failed(&mut self, material: &Arc<Material>, failure: &Failure) {
        let untried = self.good.as_ref().is_some_and(|good| !Arc::ptr_eq(good, material));
        if untried && failure.blames_files() {
            self.refuse(material.stamp.clone(), failure);
        }
    }

    /// Returns when the files have changed and `broker` takes what is in them now.
    pub(super) async fn watch(&mut self, used: &Material, broker: &Broker) {
        let mut seen = used.stamp.clone();
        loop {
            tokio::time::sleep(Duration::from_millis(UPLINK_FILES_LOOK_MS)).await;
            self.say_when_it_ends(used);
            let Some(stamp) = self.blocking(Stamp::of).await else { continue };
            if stamp == used.stamp {
                continue;
            }
            if stamp != seen {
                // Perhaps the key follows in a moment.
                seen = stamp;
            } else if !self.was_refused(&stamp) && self.try_out(stamp, broker).await {
                return;
            }
        }
    }

    async fn try_out(&mut self, stamp: Stamp, broker: &Broker) -> bool {
        let material = match self.blocking(Material::renewed).await {
            Some(Ok(material)) => material,
            Some(Err(fault)) => {
                self.refuse(stamp, &fault);
                return false;
            }
            None => return false,
        };
        match link::try_out(&self.config, broker, material.client).await {
            Ok(()) => {
                let until = material.until.map(|until| until.to_string());
                tracing::info!(target: "uplink", until, "certificate, key or authorities have changed, and work: reconnecting with them");
                true
            }
            Err(failure) if failure.blames_files() => {
                self.refuse(stamp, &failure);
                false
            }
            Err(failure) => {
                tracing::debug!(target: "uplink", %failure, "renewed files could not be tried out yet");
                false
            }
        }
    }

    /// File systems can be slow, and the connection must not wait for them.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Config) -> T + Send + 'static,
    ) -> Option<T> {
        let config = Arc::clone(&self.config);
        tokio::task::spawn_blocking(move || work(&config)).await.ok()
    }

    fn was_refused(&self, stamp: &Stamp) -> bool {
        let again = Duration::from_millis(UPLINK_RENEWAL_RETRY_MS);
        self.refused.as_ref().is_some_and(|(refused, at)| refused == stamp && at.elapsed() < again)
    }

    fn refuse(&mut self, stamp: Stamp, why: &dyn std::error::Error) {
        tracing::error!(target: "uplink", %why, "certificate, key or authorities have changed and cannot be used: going on with the old ones");
        self.refused = Some((stamp, Instant::now()));
    }

    /// At the start, and then once a day.
    fn say_when_it_ends(&mut self, used: &Material) {
        let (Some(until), now) = (used.until, dates::now()) else { return };
        let due = dates::Validity { from: None, until: Some(until) }.at(now);
        if due == Due::Good || self.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        let cert = self.config.cert.path().display();
        tracing::warn!(target: "uplink", %cert, %until, "the car's certificate ends soon, or has ended: renew it; the new files are taken without a restart");
    }
}
