//! `subscribe` against a real Mosquitto with mutual TLS 1.3.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use glovebox_proto::envelope::batch_topic;
use glovebox_proto::v1;
use prost::Message as _;
use serde_json::Value;

use crate::car;
use crate::command::Desk;

const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// True if both are there; else one line, or a failure where nothing may be skipped.
fn tools() -> bool {
    let has = |tool: &str| Command::new(tool).arg("-h").output().is_ok();
    let missing: Vec<_> =
        ["mosquitto", "mosquitto_pub", "openssl"].into_iter().filter(|tool| !has(tool)).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "missing: {missing:?}");
    if !missing.is_empty() {
        println!("skipped: {missing:?} not installed");
    }
    missing.is_empty()
}

fn shell(desk: &Desk, script: &str) {
    let out = Command::new("sh").args(["-euc", script]).current_dir(desk.folder.path()).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
}

/// An authority, a broker's and a client's certificate.
fn certificates(desk: &Desk) {
    shell(
        desk,
        "umask 077
        new() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $1.key; }
        new ca; openssl req -x509 -new -key ca.key -days 2 -subj /CN=test-ca -out ca.crt
        printf 'subjectAltName=DNS:localhost' > san
        for n in broker client; do
            new $n; openssl req -new -key $n.key -subj /CN=$n -out $n.csr
            openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out $n.crt
        done
        new stranger; openssl req -x509 -new -key stranger.key -days 2 -subj /CN=stranger -out stranger.crt",
    );
}

struct Broker {
    port: u16,
    process: Option<Running>,
}

impl Broker {
    fn start(desk: &Desk) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = desk.folder.path().display();
        let configuration = format!(
            "listener {port} 127.0.0.1\ncafile {folder}/ca.crt\ncertfile {folder}/broker.crt\n\
             keyfile {folder}/broker.key\nrequire_certificate true\ntls_version tlsv1.3\nallow_anonymous true\n\
             persistence true\npersistence_location {folder}/\nuser root\n"
        );
        fs::write(desk.path("broker.conf"), configuration).unwrap();
        let mut broker = Self { port, process: None };
        broker.run(desk);
        broker
    }

    fn run(&mut self, desk: &Desk) {
        let log = File::create(desk.path("broker.log")).unwrap();
        let mut command = Command::new("mosquitto");
        command.args(["-c", "broker.conf"]).current_dir(desk.folder.path());
        self.process = Some(Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(desk.path("broker.log")).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGTERM, so that it saves its sessions.
    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            terminate(&process.0);
            process.0.wait().unwrap();
        }
    }

    fn publish(&self, desk: &Desk, topic: &str, payload: &[u8]) {
        fs::write(desk.path("payload"), payload).unwrap();
        let port = self.port;
        shell(
            desk,
            &format!(
                "mosquitto_pub -V 5 -h localhost -p {port} --cafile ca.crt --cert client.crt --key client.key \
                 -q 1 -t {topic} -f payload"
            ),
        );
    }
}

fn terminate(child: &Child) {
    let done = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(done.success());
}

/// A running `subscribe` and its lines.
struct Subscriber {
    process: Running,
    lines: Receiver<Value>,
}

impl Subscriber {
    fn start(desk: &Desk, port: u16, more: &[&str]) -> Self {
        let broker = format!("localhost:{port}");
        let mut command = desk.command();
        command.args([
            "subscribe",
            "--id",
            "acme",
            "--broker",
            &broker,
            "--ca",
            "ca.crt",
            "--cert",
            "client.crt",
        ]);
        command.args(["--key", "client.key", "--hpke-key", "acme.key", "--json"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let subscribed = said.any(|line| line.unwrap().contains("subscribed to"));
        assert!(subscribed, "the subscription did not come about");
        std::thread::spawn(move || said.for_each(drop));
        Self { process: Running(child), lines }
    }

    /// Sequences and events up to (and with) the line that `last` describes.
    fn until(&self, last: &str) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        while told.last().is_none_or(|line| line != last) {
            let line = self.lines.recv_timeout(PATIENCE);
            assert!(line.is_ok(), "no `{last}` after {told:?}");
            let line = line.unwrap();
            let what = line["event"].as_str().unwrap_or("sample");
            let text = match what {
                "gap" => format!("gap {}-{}", line["first"], line["last"]),
                "refused" => "refused".to_owned(),
                "batch" => continue,
                other => format!("{other} {}", line["seq"]),
            };
            if told.last() != Some(&text) {
                told.push(text);
            }
        }
        told
    }

    fn end(mut self) {
        terminate(&self.process.0);
        assert_eq!(self.process.0.wait().unwrap().code(), Some(0));
        assert_eq!(self.lines.iter().count(), 18, "the rest of the last batch, and nothing else");
    }
}

fn follow(out: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn subscribe_survives_restarts_of_both_sides() {
    if !tools() {
        return;
    }
    let desk = Desk::new();
    certificates(&desk);
    // No access list here: Mosquitto 2.0.11 with one drops, after its restart, what comes for a reader that has not
    // come back yet.
    let mut broker = Broker::start(&desk);
    let (with, without, topic) = (car::batch(true), car::batch(false), car::topic());
    let send = |broker: &Broker, sequence, batch: &v1::Batch| {
        broker.publish(&desk, &topic, &car::payload(sequence, batch));
    };
    let more = ["--state", "state", "--write-envelopes", "raw"];
    let subscriber = Subscriber::start(&desk, broker.port, &more);
    send(&broker, 1, &without);
    assert_eq!(subscriber.until("held 1"), ["held 1"]);
    send(&broker, 2, &with);
    assert_eq!(subscriber.until("sample 2"), ["sample 1", "sample 2"]);
    subscriber.end();

    // While nobody is there: a new one, an old one, and one from nobody.
    send(&broker, 5, &without);
    send(&broker, 1, &without);
    broker.publish(&desk, &batch_topic("acme", &"0".repeat(32)), &car::payload(6, &with));
    let subscriber = Subscriber::start(&desk, broker.port, &more);
    assert_eq!(subscriber.until("refused"), ["gap 3-4", "sample 5", "duplicate 1", "refused"]);

    broker.stop();
    broker.run(&desk);
    let epoch = v1::Header { epoch: 2, ..car::header(1) };
    broker.publish(&desk, &topic, &car::seal(&epoch, &with.encode_to_vec()).encode_to_vec());
    // What was not acknowledged before the broker ended comes again.
    let told = subscriber.until("sample 1");
    assert!(
        told.iter()
            .rev()
            .skip(1)
            .all(|line| line == "duplicate 1" || line == "duplicate 5" || line == "refused"),
        "{told:?}"
    );
    subscriber.end();
    assert!(fs::read_dir(desk.path("raw")).unwrap().count() >= 6);
    assert_eq!(fs::read_dir(desk.path("state/held")).unwrap().count(), 0);
}

#[test]
fn a_group_shares_and_a_missing_key_loses_nothing() {
    if !tools() {
        return;
    }
    let desk = Desk::new();
    certificates(&desk);
    let broker = Broker::start(&desk);
    desk.private("acme.key", &car::pem_of(&car::counting(0x40)));
    let more = ["--group", "readers", "--state", "state"];
    let subscriber = Subscriber::start(&desk, broker.port, &more);
    broker.publish(&desk, &car::topic(), &car::payload(4, &car::batch(true)));
    assert_eq!(subscriber.until("refused"), ["refused"]);
    drop(subscriber);
    // Killed; its session lives on under the name in the state folder, and the envelope waits there.
    desk.private("acme.key", &car::pem());
    let subscriber = Subscriber::start(&desk, broker.port, &more);
    assert_eq!(subscriber.until("sample 4"), ["sample 4"], "no gap is told in a group");
    assert_eq!(fs::read_dir(desk.path("state/held")).unwrap().count(), 0);
}

#[test]
fn wrong_certificates_are_told_apart() {
    if !tools() {
        return;
    }
    let desk = Desk::new();
    certificates(&desk);
    let broker = Broker::start(&desk);
    let said = |host: &str, names: [&str; 3]| {
        let [ca, cert, key] = names.map(|name| desk.path(name));
        let address = format!("{host}:{}", broker.port);
        let mut command = desk.command();
        command.args(["subscribe", "--id", "acme", "--hpke-key", "acme.key", "--json", "--broker", &address]);
        command.arg("--ca").arg(ca).arg("--cert").arg(cert).arg("--key").arg(key);
        let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
        line
    };
    let own = ["ca.crt", "client.crt", "client.key"];
    let line = said("localhost", ["stranger.crt", "client.crt", "client.key"]);
    assert!(line.contains("invalid peer certificate: UnknownIssuer"), "{line}");
    let line = said("127.0.0.1", own);
    assert!(line.contains("certificate not valid for name \"127.0.0.1\""), "{line}");
    let line = said("localhost", ["ca.crt", "stranger.crt", "stranger.key"]);
    assert!(line.contains("fatal alert"), "{line}");
    shell(&desk, "chmod 644 client.key");
    assert!(said("localhost", own).contains("run `chmod 600"), "a key that others can read");
}
