//! A real Mosquitto, its life and death.

use super::certs::{Authority, Pair, VALID};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Whether Mosquitto and openssl are here; says so if not, and fails if `CI` is set.
pub(crate) fn missing() -> bool {
    let absent: Vec<_> = ["mosquitto", "mosquitto_sub", "mosquitto_pub", "openssl"]
        .into_iter()
        .filter(|tool| {
            !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
                .chain(["/usr/sbin".into()])
                .any(|folder| folder.join(tool).is_file())
        })
        .collect();
    if absent.is_empty() {
        return false;
    }
    assert!(std::env::var_os("CI").is_none(), "{} not found", absent.join(", "));
    eprintln!(
        "skipped: {} not found (apt-get install mosquitto mosquitto-clients openssl)",
        absent.join(", ")
    );
    true
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A broker with mutual TLS on `port`, its certificates, and a car's.
pub(crate) struct Broker {
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    pub(crate) authority: Authority,
    pub(crate) car: Pair,
    pub(crate) server: Pair,
    child: Option<Child>,
}

impl Broker {
    /// Starts it with the broker's certificate for localhost.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(
            folder,
            |authority| authority.issue("server", "DNS:localhost,IP:127.0.0.1", VALID),
            "",
        )
    }

    /// Starts it with another certificate, and `more` lines of configuration.
    pub(crate) fn start_with(folder: &Path, server: impl Fn(&Authority) -> Pair, more: &str) -> Self {
        let authority = Authority::new(&folder.join("ca"));
        Self::start_of(folder, authority, &server, more)
    }

    /// Starts another broker of the same fleet.
    pub(crate) fn start_beside(folder: &Path, other: &Self) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let server = |authority: &Authority| authority.issue("second", "DNS:localhost,IP:127.0.0.1", VALID);
        Self::start_of(folder, other.authority.clone(), &server, "")
    }

    fn start_of(
        folder: &Path,
        authority: Authority,
        server: &dyn Fn(&Authority) -> Pair,
        more: &str,
    ) -> Self {
        let server = server(&authority);
        let car = authority.issue("car-1", "DNS:car-1", VALID);
        let port = free_port();
        let lines = format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
             use_identity_as_username true\nallow_anonymous false\nuser root\npersistence true\n\
             persistence_location {}/\nlog_type all\n{more}\n",
            authority.cert.display(),
            server.cert.display(),
            server.key.display(),
            folder.display()
        );
        std::fs::write(folder.join("mosquitto.conf"), lines).unwrap();
        let mut broker = Self { port, folder: folder.to_owned(), authority, car, server, child: None };
        broker.restart();
        broker
    }

    /// `localhost:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn restart(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("mosquitto")
            .env("PATH", path)
            .arg("-c")
            .arg(self.folder.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "mosquitto does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.join("mosquitto.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        }
    }

    /// SIGKILL: nothing is saved.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.take().unwrap().wait().unwrap();
    }

    /// Publishes `payload`, retained or not, as the operator would.
    pub(crate) fn publish(&self, topic: &str, payload: &str, retain: bool) {
        let operator = self.authority.issue("operator", "DNS:operator", VALID);
        let mut command = self.tool("mosquitto_pub", &operator);
        command.args(["-q", "1", "-t", topic, "-m", payload]).args(retain.then_some("-r"));
        assert!(command.status().unwrap().success());
    }

    /// A `mosquitto_sub` on `filter`: the lines of what it gets. It gives up when the broker dies, and is started
    /// again.
    pub(crate) fn subscribe(&self, filter: &str) -> Subscriber {
        let recipient = self.authority.issue("recipient", "DNS:recipient", VALID);
        let mut command = self.tool("mosquitto_sub", &recipient);
        command.args(["-q", "0", "-t", filter, "-F", "%p"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let child = Arc::new(Mutex::new(Some(command.spawn().unwrap())));
        let (sink, holder) = (Arc::clone(&lines), Arc::clone(&child));
        std::thread::spawn(move || {
            loop {
                let output = holder.lock().unwrap().as_mut().map(|child| child.stdout.take().unwrap());
                let Some(output) = output else { return };
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    sink.lock().unwrap().push(line);
                }
                std::thread::sleep(Duration::from_millis(100));
                if let Some(child) = holder.lock().unwrap().as_mut() {
                    child.wait().unwrap();
                    *child = command.spawn().unwrap();
                }
            }
        });
        let until = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(filter) {
            assert!(Instant::now() < until, "no subscription: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Subscriber { child, lines }
    }

    fn tool(&self, name: &str, pair: &Pair) -> Command {
        let mut command = Command::new(name);
        command.args(["-V", "mqttv5", "-h", "localhost", "-p", &self.port.to_string()]);
        command
            .arg("--cafile")
            .arg(&self.authority.cert)
            .arg("--cert")
            .arg(&pair.cert)
            .arg("--key")
            .arg(&pair.key);
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A `mosquitto_sub` and what it got.
pub(crate) struct Subscriber {
    child: Arc<Mutex<Option<Child>>>,
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Bytes that the kernel holds for the broker on `port`, received and unread, a connection each (`/proc/net/tcp`).
pub(crate) fn unread_bytes(port: u16) -> Vec<u64> {
    sockets(port, 1, |queues| queues.1)
}

/// Bytes that the kernel still has to send to the broker on `port`, or sent without its acknowledgement, a socket each.
pub(crate) fn unsent_bytes(port: u16) -> Vec<u64> {
    sockets(port, 2, |queues| queues.0)
}

fn sockets(port: u16, end: usize, pick: for<'a> fn((&'a str, &'a str)) -> &'a str) -> Vec<u64> {
    const LISTENING: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[end].ends_with(&suffix) && fields[3] != LISTENING)
        .filter_map(|fields| u64::from_str_radix(pick(fields[4].split_once(':')?), 16).ok())
        .collect()
}
