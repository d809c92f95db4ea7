//! A real Mosquitto with mutual TLS: who may read and write what goes by the name in the certificate.

use crate::certs::{Authority, Identity, Validity};
use crate::process::{Process, free_port, succeed, until};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The names that a server on this machine may have.
pub const HOSTS: &str = "DNS:localhost,IP:127.0.0.1";
/// Name in the certificate of the policy authority's back end.
pub const FLEET: &str = "fleet";
/// Name in the certificate of the one who may read everything.
pub const WATCHER: &str = "watcher";
/// How long a broker may take to come up or to go down.
const LIMIT: Duration = Duration::from_secs(15);

/// Cars write batches, notices, answers and their last will, and read their documents; a recipient reads its own prefix;
/// the back end writes documents and reads answers and wills; the watcher reads all.
const RIGHTS: &str = "\
pattern read glovebox/v1/%u/#
pattern read glovebox/v1/device/%u/policy
pattern read glovebox/v1/device/%u/consent
pattern write glovebox/v1/device/%u/status
pattern write glovebox/v1/device/%u/gone

user car-1
topic write glovebox/v1/+/+/batch
topic write glovebox/v1/+/+/notice

user fleet
topic write glovebox/v1/device/+/policy
topic write glovebox/v1/device/+/consent
topic read glovebox/v1/device/+/status
topic read glovebox/v1/device/+/gone

user watcher
topic read #
";

/// A running Mosquitto. Dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    process: Option<Process>,
    authority: Authority,
    port: u16,
    plain_port: u16,
    watcher: Identity,
    fleet: Identity,
}

impl Broker {
    /// Starts one on free ports, with a server certificate for this machine.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(folder: &Path, authority: &Authority) -> Result<Self> {
        let server = authority.issue("server", HOSTS, Validity::Live)?;
        Self::start_as(folder, authority, &server)
    }

    /// Starts one with another server certificate.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_as(folder: &Path, authority: &Authority, server: &Identity) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let watcher = authority.issue(WATCHER, "", Validity::Live)?;
        let fleet = authority.issue(FLEET, "", Validity::Live)?;
        let (port, plain_port) = (free_port()?, free_port()?);
        let (folder, authority) = (folder.to_path_buf(), authority.clone());
        let mut broker = Self { folder, process: None, authority, port, plain_port, watcher, fleet };
        broker.write_settings(server)?;
        broker.restart()?;
        Ok(broker)
    }

    fn write_settings(&self, server: &Identity) -> Result<()> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let settings = format!(
            "listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
             use_identity_as_username true\ntls_version tlsv1.3\n\
             listener {} 127.0.0.1\n\
             allow_anonymous false\nacl_file {}\nuser root\npersistence true\npersistence_location {}/\n\
             autosave_interval 1\nautosave_on_changes true\nmax_queued_messages 0\nmax_queued_bytes 0\n\
             log_dest stderr\nlog_type all\nconnection_messages true\n",
            self.port,
            self.authority.certificate().display(),
            server.cert.display(),
            server.key.display(),
            self.plain_port,
            file("rights"),
            self.folder.display(),
        );
        std::fs::write(self.folder.join("rights"), RIGHTS)?;
        std::fs::write(self.folder.join("mosquitto.conf"), settings)?;
        Ok(())
    }

    /// `localhost:PORT` with mutual TLS.
    #[must_use]
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `localhost:PORT` without TLS.
    #[must_use]
    pub fn plain_address(&self) -> String {
        format!("localhost:{}", self.plain_port)
    }

    /// Everything that it has logged: each PUBLISH with topic and size, each client id.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Topics of the PUBLISH packets that came in so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<String> {
        received(&self.log())
    }

    /// Bytes that it has logged.
    ///
    /// # Errors
    /// If there is no log.
    pub fn logged(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.log_file())?.len())
    }

    /// Topics of the PUBLISH packets that came in since it had logged so many bytes.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn received_since(&self, logged: u64) -> Result<Vec<String>> {
        let mut file = std::fs::File::open(self.log_file())?;
        file.seek(SeekFrom::Start(logged))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(received(&String::from_utf8_lossy(&bytes)))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("mosquitto.log")
    }

    /// Forgets all sessions and queued messages, while it does not run.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.folder.join("mosquitto.db"))?)
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], on the same ports with what it had saved.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        let program = crate::need::program("mosquitto").context("mosquitto is not installed")?;
        let mut command = Command::new(program);
        command.arg("-c").arg(self.folder.join("mosquitto.conf"));
        let mut process = Process::start(&mut command, &self.log_file(), None)?;
        until("the broker", LIMIT, || {
            process.must_run()?;
            Ok(std::net::TcpStream::connect(("127.0.0.1", self.port)).ok())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// SIGTERM: it saves what it has.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.terminate(LIMIT).map(|_| ())
    }

    /// Freezes it: connections stay, nothing is answered.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends [`Self::freeze`].
    ///
    /// # Errors
    /// If it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Saves sessions and queued messages to disk now.
    ///
    /// # Errors
    /// If it does not.
    pub fn save(&mut self) -> Result<()> {
        let saved = |log: String| log.matches("Saving in-memory database").count();
        let before = saved(self.log());
        self.signal(Signal::SIGUSR1)?;
        until("the broker to save", LIMIT, || {
            self.process.as_mut().context("the broker does not run")?.must_run()?;
            Ok((saved(self.log()) > before).then_some(()))
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the broker does not run")?.signal(signal)
    }

    fn client(&self, program: &str, identity: &Identity) -> Command {
        let mut command = Command::new(program);
        command.args([
            "-V",
            "mqttv5",
            "-h",
            "localhost",
            "-p",
            &self.port.to_string(),
            "-q",
            "1",
            "--cafile",
        ]);
        command.arg(self.authority.certificate()).arg("--cert").arg(&identity.cert);
        command.arg("--key").arg(&identity.key);
        command
    }

    /// Publishes a document as the back end does.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub fn publish(&self, topic: &str, file: &Path, retain: bool) -> Result<()> {
        let mut command = self.client("mosquitto_pub", &self.fleet);
        command.args(["-i", "fleet", "-t", topic, "-f"]).arg(file);
        if retain {
            command.arg("-r");
        }
        succeed(&mut command).map(|_| ())
    }

    /// Keeps everything that is published from now on.
    ///
    /// # Errors
    /// If the watcher cannot subscribe.
    pub fn watch(&self) -> Result<Capture> {
        let (lines, log) = (self.folder.join("capture"), self.folder.join("capture.log"));
        let mut command = self.client("mosquitto_sub", &self.watcher);
        command.args(["-i", "watcher", "-t", "#", "-F", "%t %x"]);
        let answered = |log: String| log.matches("Sending SUBACK to watcher").count();
        let before = answered(self.log());
        let mut process = Process::start(&mut command, &log, Some(&lines))?;
        until("the watcher's subscription", LIMIT, || {
            process.must_run()?;
            Ok((answered(self.log()) > before).then_some(()))
        })?;
        Ok(Capture { lines, process })
    }
}

fn received(log: &str) -> Vec<String> {
    let topic =
        |line: &str| line.split_once("Received PUBLISH from ")?.1.split('\'').nth(1).map(str::to_owned);
    log.lines().filter_map(topic).collect()
}

/// One PUBLISH as the watcher saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
}

/// Everything that was published since it began.
#[derive(Debug)]
pub struct Capture {
    lines: PathBuf,
    process: Process,
}

impl Capture {
    /// All of it so far.
    ///
    /// # Errors
    /// If the watcher has ended.
    pub fn all(&mut self) -> Result<Vec<Published>> {
        self.process.must_run()?;
        let text = String::from_utf8_lossy(&std::fs::read(&self.lines)?).into_owned();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let ours = complete.lines().filter(|line| line.starts_with("glovebox/"));
        ours.map(|line| {
            let (topic, payload) = line.split_once(' ').unwrap_or((line, ""));
            ensure!(payload.len() % 2 == 0, "half a byte in the capture of {topic}");
            Ok(Published { topic: topic.to_owned(), payload: hex::decode(payload)? })
        })
        .collect()
    }
}
