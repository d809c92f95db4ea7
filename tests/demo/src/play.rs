//! The play itself: sets the scene, drives, withdraws in a tunnel, drives home, and checks.

mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use glovebox_tests::process::free_port;
use glovebox_tests::source::tree;
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{Car, DEVICE};
use crate::broker::{self, Seen};
use crate::certs::Authority;
use crate::checks::{self, Check};
use crate::company::Reader;
use crate::door::Door;
use crate::papers::{self, Papers};
use crate::screen::Screen;
use crate::story::{self, Company, Story};
use crate::view::{CompanyView, Look, View};
use crate::{Options, car, model};

const LIMIT: Duration = Duration::from_secs(60);
/// How long a queue must stay empty to be taken for drained.
const SETTLE: Duration = Duration::from_millis(800);
/// How long the last samples may take from the acknowledgement to the reader's lines.
const OPENED: Duration = Duration::from_secs(10);
/// Granted signals of a company that get a line each in plain output.
const SAID: usize = 2;
/// Batches of each company that wait in the tunnel before the owner withdraws.
const WAITING: u64 = 2;

/// Plays it to its end. Whether all checks are fine.
pub(crate) fn play(options: &Options, screen: &mut Screen) -> Result<bool> {
    let run = tempfile::Builder::new().prefix("gb-demo-").tempdir().context("no temporary folder")?;
    let folder = match &options.keep {
        Some(keep) => new_folder(keep)?,
        None => run.path().to_owned(),
    };
    let story = story(options, &folder, screen)?;
    let mut play = Play::set(story, &folder, run, options.fast, screen)?;
    play.screen.enter();
    let driven = play.drive();
    play.screen.leave();
    driven?;
    if let Some(keep) = &options.keep {
        play.screen.say(Look::Plain, &format!("\nkeys, documents, queue and logs are in {}", keep.display()));
    }
    Ok(play.sum_up())
}

fn new_folder(keep: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().mode(0o700).create(keep);
    made.with_context(|| format!("--keep {}: a new folder cannot be made there", keep.display()))?;
    Ok(std::fs::canonicalize(keep)?)
}

/// The simulated drive, or the recorded one.
fn story(options: &Options, folder: &Path, screen: &Screen) -> Result<Story> {
    if let Some(files) = options.files() {
        screen.say(Look::Plain, "     looking through the log");
        let story = files.story(options.fast)?;
        for company in &story.companies {
            let paths = |asked: Vec<&str>| asked.join(", ");
            let granted = paths(company.granted().map(|asked| asked.path.as_str()).collect());
            let denied = paths(company.denied().map(|asked| asked.path.as_str()).collect());
            let but = if denied.is_empty() { String::new() } else { format!("; asks in vain for {denied}") };
            screen.say(Look::Plain, &format!("     {} gets {granted}{but}", company.name));
        }
        return Ok(story);
    }
    let (log, truth) = model::drive(options.seed);
    let file = |name: &str| folder.join(name);
    std::fs::write(file("drive.log"), log)?;
    std::fs::write(file("car.dbc"), car::dbc())?;
    std::fs::write(file("vss.json"), serde_json::to_vec_pretty(&car::mapping())?)?;
    Ok(Story {
        title: format!("a simulated drive, seed {}", options.seed),
        log: file("drive.log"),
        dbc: file("car.dbc"),
        map: Some(file("vss.json")),
        bus: "can0".to_owned(),
        truth,
        companies: story::companies(),
        shown: story::shown(),
        speed: if options.fast { 45.0 } else { 10.0 },
        is_vss: true,
    })
}

struct Play<'a> {
    story: Story,
    screen: &'a mut Screen,
    is_fast: bool,
    car: Car,
    readers: [Reader; 2],
    door: Door,
    seen: Receiver<Seen>,
    captured: Vec<Seen>,
    view: View,
    checks: Vec<Check>,
    status: Value,
    asked: Instant,
    begun: Option<Instant>,
    /// The reading that the screen has come to, and the last value of each signal.
    at: usize,
    now: BTreeMap<usize, Option<f64>>,
    // Last, so that it goes when all processes have.
    _run: TempDir,
}

impl<'a> Play<'a> {
    /// Keys, certificates, documents, broker, readers; the car is ready to drive off.
    fn set(story: Story, folder: &Path, run: TempDir, is_fast: bool, screen: &'a mut Screen) -> Result<Self> {
        screen.say(Look::Plain, "     certificates of a throw-away authority");
        let authority = Authority::new(folder, "ca")?;
        let (ca, server) = (folder.join("ca.crt"), authority.issue("broker", &["localhost"])?);
        let identity = authority.issue(DEVICE, &[])?;
        let other = Authority::new(folder, "other-ca")?.issue("stranger", &[])?;
        let password = authority_password()?;
        let inner = free_port()?;
        let seen = broker::start(inner, &password)?;
        let door = Door::open(&server, &ca, inner, &password)?;
        listening(inner)?;
        let mut checks = Vec::new();
        let knocked = checks::strangers(door.companies, inner, &ca, &identity, &other);
        checks.push(Check::of("the broker refuses a client without a certificate", knocked));
        screen.say(Look::Plain, "     keys, requests and a signed policy, by the agent's own commands");
        let papers = Papers::new(&folder.join("papers"), &story)?;
        let car = Car::new(folder, run.path(), &story, door.road, &ca, &identity)?;
        papers.install(&car)?;
        let mut view = View {
            title: story.title.clone(),
            total_s: drive_s(&story),
            speed: story.speed,
            has_network: true,
            ..View::default()
        };
        let mut readers = Vec::new();
        for (number, company) in story.companies.iter().enumerate() {
            let words = papers.grant(&car, company)?;
            view.companies[number].name = company.name.to_owned();
            if company.denied().next().is_some() {
                let withheld = papers::withheld(&words)?;
                let check = checks::withheld(company, &withheld);
                checks.push(Check::of(
                    &format!("the agent names what it withholds from the {}", company.id),
                    check,
                ));
                view.companies[number].withheld = withheld;
            }
            let told = tell_grant(screen, &mut view.companies[number], company, &words);
            view.happened(Look::Good, &told);
            let reader = authority.issue(company.id, &[])?;
            let key = papers.file(&format!("{}-hpke.key", company.id));
            readers.push(Reader::start(folder, company.id, door.companies, &ca, &reader, &key)?);
        }
        checks.push(Check::of(
            "private keys are readable by their owner alone",
            checks::keys_are_private(folder),
        ));
        let readers = readers.try_into().ok().context("two companies")?;
        let now = Instant::now();
        Ok(Self {
            story,
            screen,
            is_fast,
            car,
            readers,
            door,
            seen,
            captured: Vec::new(),
            view,
            checks,
            status: Value::Null,
            asked: now,
            begun: None,
            at: 0,
            now: BTreeMap::new(),
            _run: run,
        })
    }

    /// From the first frame to the last acknowledged batch.
    fn drive(&mut self) -> Result<()> {
        self.happened(Look::Plain, "the car drives off");
        self.car.start()?;
        self.begun = Some(Instant::now());
        let begin = self.view.total_s * 2 / 5;
        self.until("the tunnel, and a batch for each before it", LIMIT, |play| {
            let is_served = play.readers.iter().all(|reader| reader.count > 0);
            Ok((play.view.time_s >= begin && is_served) || play.car.is_parked())
        })?;
        let waiting = self.tunnel()?;
        let sent = self.withdraw(&waiting)?;
        self.pause(if self.is_fast { 300 } else { 3_000 })?;
        self.door.network(true);
        self.view.has_network = true;
        self.happened(Look::Good, "out of the tunnel: the network is back");
        self.until("an empty queue", LIMIT, |play| Ok(play.queued(0) == 0 && play.link() == "connected"))?;
        self.happened(Look::Good, "all that waited for the workshop has been sent");
        self.home()?;
        self.after_withdrawal(sent);
        let delivered = checks::complete(&self.readers[0]);
        let name = "the workshop got every batch, also those of the tunnel, without a gap";
        self.checks.push(Check::of(name, delivered));
        self.car.stop()?;
        self.readers.iter_mut().try_for_each(Reader::stop)?;
        self.happened(Look::Plain, "looking through all that the broker saw");
        self.screen.show(&self.view);
        self.last_checks();
        Ok(())
    }

    /// No network, until batches of both wait on disk. How many.
    fn tunnel(&mut self) -> Result<[u64; 2]> {
        self.door.network(false);
        self.view.has_network = false;
        self.happened(Look::Warn, "a tunnel: no network, batches wait on the car's disk");
        self.until("batches of both that wait on disk", LIMIT, |play| {
            let wait = [play.queued(0), play.queued(1)];
            let least = if play.car.is_parked() { 1 } else { WAITING };
            Ok(wait.iter().all(|batches| *batches >= least))
        })?;
        let waiting = [self.queued(0), self.queued(1)];
        let [a, b] = waiting;
        let sealed = checks::sealed_on_disk(&self.story, &self.car.queues());
        let sealed = sealed.map(|_| format!("{a} and {b} batches"));
        self.checks.push(Check::of("without a network batches of both wait on disk, sealed", sealed));
        Ok(waiting)
    }

    /// The owner withdraws from the second company. How many messages the broker had seen of it.
    fn withdraw(&mut self, waiting: &[u64; 2]) -> Result<usize> {
        let company = self.story.companies[1].clone();
        let flow = self.readers[1].flow.clone().context("the insurer has opened nothing yet")?;
        let queue = self.car.queue(&flow);
        let before: Vec<PathBuf> = tree(&queue);
        let names: Vec<String> =
            before.iter().filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect();
        self.tick()?;
        let sent = self.messages(1);
        self.happened(
            Look::Warn,
            &format!("the owner: glovebox consent withdraw --recipient {}", company.id),
        );
        let said = self.car.run(&["consent", "withdraw", "--recipient", company.id])?;
        self.view.companies[1].is_withdrawn = true;
        let gone = || {
            ensure!(before.len() >= 2, "there was no queue with keys before: {names:?}");
            ensure!(said.contains("withdrawn: insurer"), "the agent said: {said}");
            ensure!(!queue.exists(), "{} is still there: {:?}", queue.display(), tree(&queue));
            Ok(format!("{} batches in {}", waiting[1], names.join(", ")))
        };
        let gone = gone();
        self.checks.push(Check::of("withdrawn: its queue and keys are gone from the disk", gone));
        let list = self.car.run(&["consent", "list"])?;
        let line = list.lines().rfind(|line| line.contains(company.id) && line.contains("withdrawn"));
        let listed = line.map(|line| line.split_whitespace().skip(2).take(2).collect::<Vec<_>>().join(" "));
        let listed = listed.with_context(|| format!("`consent list` says: {list}"));
        self.checks.push(Check::of("withdrawn: the agent's list of consents says so", listed));
        self.status = self.car.status()?;
        self.happened(
            Look::Warn,
            &format!("{}; queue and keys destroyed", said.lines().next().unwrap_or_default()),
        );
        Ok(sent)
    }

    /// Drives on until everything is sent and opened.
    fn home(&mut self) -> Result<()> {
        let seconds = drive_s(&self.story);
        #[expect(clippy::cast_precision_loss, reason = "a drive is short")]
        let limit = LIMIT + Duration::from_secs_f64(seconds as f64 / self.story.speed);
        self.until("the end of the drive", limit, |play| Ok(play.car.is_parked()))?;
        self.happened(Look::Plain, "the car is parked; the last batches go out");
        let mut since = None;
        self.until("an empty queue", LIMIT, |play| {
            let counters = &play.status["counters"];
            let of = |group: &str, name: &str| counters[group][name].as_u64().unwrap_or(0);
            // What the withdrawal caught before it was stored never will be.
            let ended = of("outbox", "batches_stored") + of("batch", "batches_discarded");
            let is_stored = ended >= of("batch", "batches_closed");
            let is_empty = play.status["queue"]["batches"] == 0 && is_stored;
            since = if is_empty { since.or(Some(Instant::now())) } else { None };
            Ok(since.is_some_and(|since: Instant| since.elapsed() > SETTLE))
        })?;
        self.view.time_s = self.view.total_s;
        // Acknowledged is not yet opened. Whether all comes is for the checks to say.
        let expected: usize =
            self.story.truth.expected(&self.story.companies[0]).values().map(Vec::len).sum();
        let begin = Instant::now();
        self.until("the last samples", LIMIT, |play| {
            Ok(play.readers[0].count >= expected || begin.elapsed() > OPENED)
        })
    }

    fn after_withdrawal(&mut self, sent: usize) {
        let now = self.messages(1);
        let nothing = || {
            ensure!(sent > 0, "nothing of it was sent before either");
            ensure!(now == sent, "{} messages after the withdrawal", now - sent);
            Ok(format!("{sent} messages before, 0 after"))
        };
        self.checks.push(Check::of("withdrawn: nothing more of it went out", nothing()));
    }

    fn last_checks(&mut self) {
        let Self { story, readers: [workshop, insurer], .. } = &*self;
        let [first, second] = &story.companies;
        let checks = [
            (
                "what the workshop opened is what the car measured, reduced as granted",
                checks::opened(&story.truth, first, workshop, false),
            ),
            (
                "the insurer opened the one signal that it was granted and no other",
                checks::only(second, insurer),
            ),
            (
                "what the insurer opened is what the car measured, up to the withdrawal",
                checks::opened(&story.truth, second, insurer, true),
            ),
            ("the insurer got every batch that was sent, without a gap", checks::complete(insurer)),
            (
                "what the broker saw holds no signal's name and no value",
                checks::blind(story, &self.captured, &self.readers),
            ),
        ];
        self.checks.extend(checks.map(|(name, outcome)| Check::of(name, outcome)));
    }

    /// Prints all checks; whether all are fine.
    fn sum_up(&mut self) -> bool {
        let screen = &self.screen;
        screen.say(Look::Plain, "");
        for view in &self.view.companies {
            screen.say(Look::Plain, &format!("     {}: {}", view.name, view.weight()));
        }
        screen.say(Look::Plain, "");
        for check in &self.checks {
            match &check.outcome {
                Ok(()) => screen.say(Look::Good, &format!("ok     {}", check.name)),
                Err(why) => screen.say(Look::Bad, &format!("FAILED {}: {why}", check.name)),
            }
        }
        let failed = self.checks.iter().filter(|check| check.outcome.is_err()).count();
        screen
            .say(Look::Plain, &format!("{} passed, {failed} failed, 0 skipped", self.checks.len() - failed));
        failed == 0
    }
}

/// What the agent showed the owner, in its own words.
fn tell_grant(screen: &Screen, view: &mut CompanyView, company: &Company, words: &str) -> String {
    let granted = papers::granted(words);
    screen.say(
        Look::Plain,
        &format!("     the owner decides on what {} asks for; the agent says:", company.name),
    );
    for line in granted.iter().take(SAID) {
        screen.say(Look::Good, &format!("       + {line}"));
    }
    if granted.len() > SAID {
        screen.say(Look::Good, &format!("       + and {} more", granted.len() - SAID));
    }
    for path in &view.withheld {
        screen.say(Look::Bad, &format!("       - {path}: asked for and not granted"));
    }
    // How one signal alone is reduced has room on the screen.
    let reduced = |one: &String| one.split_once(": ").map(|(_, how)| how.to_owned());
    view.reduced = if granted.len() == 1 { granted.first().and_then(reduced) } else { None };
    let count = granted.len();
    format!("the owner grants {count} {} to {}", if count == 1 { "signal" } else { "signals" }, company.name)
}

fn authority_password() -> Result<String> {
    let mut bytes = [0; 24];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("no random numbers")?;
    Ok(hex::encode(bytes))
}

/// Until the broker listens.
fn listening(port: u16) -> Result<()> {
    glovebox_tests::process::until("the broker", Duration::from_secs(10), || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(|_| ()))
    })
}

/// Seconds of the drive.
fn drive_s(story: &Story) -> u64 {
    let (first, last) = story.truth.span_us();
    u64::try_from(last - first).unwrap_or(0).div_ceil(1_000_000).max(1)
}
