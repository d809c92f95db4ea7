//! A withdrawal that asks for erasure and is killed before each of its steps: every call by which it changes the disk or its
//! connection. Then the car starts again. If the command had reported success, or the tombstone is on disk, the grant is
//! over, nothing of it is left or sent, and its recipient is told; else it lives as before, nobody is told, nothing is lost.

use crate::behind_a_proxy;
use anyhow::{Context, Result, ensure};
use glovebox::ledger::{Config, Ledger};
use glovebox::store::Store;
use glovebox_tests::calls::{Calls, DISK, Fate, NETWORK, tracing};
use glovebox_tests::need;
use glovebox_tests::process::{copy_folder, until};
use glovebox_tests::proxy::{Network, Proxy};
use glovebox_tests::stage::{LEAVER, LIMIT, RECIPIENTS, STORED_A_LIFE, Stage};
use glovebox_tests::tally::Row;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// TLS, CONNECT, SUBSCRIBE and some batches pass; then the link goes dead with batches on their way.
const STUCK_AFTER: u64 = 9_000;
/// A withdrawal has fewer steps, or this test would not come to an end.
const STEPS_MAX: usize = 400;

const WITHDRAW: [&str; 5] = ["consent", "withdraw", "--recipient", LEAVER, "--erase"];

/// A frame that no grant needs: nothing new is collected.
const QUIET: &str = "(1.000000) can0 7FF#00\n(2.000000) can0 7FF#00\n";

/// A car with batches of all three recipients on disk.
struct Prepared {
    stage: Stage,
    proxy: Proxy,
    state: PathBuf,
    /// Batches that wait, by recipient.
    waiting: BTreeMap<&'static str, usize>,
    /// Withdrawals that hold: so often the leaver is told.
    told: usize,
}

fn queued(status: &Value, recipient: &str) -> Option<usize> {
    let flow = status["flows"].as_array()?.iter().find(|flow| flow["recipient"] == recipient)?;
    usize::try_from(flow["queued_batches"].as_u64()?).ok()
}

fn prepare(test: &str) -> Result<Prepared> {
    let (mut stage, proxy) = behind_a_proxy(test)?;
    proxy.set(Network::HalfOpen);
    stage.agent.start()?;
    stage.stores(2 * STORED_A_LIFE)?;
    stage.stop()?;
    let quiet = stage.scene.path("quiet.log")?;
    std::fs::write(&quiet, QUIET)?;
    stage.settings.replay = Some(quiet);
    stage.agent.configure(&stage.settings)?;
    stage.agent.start()?;
    let status = stage.agent.status()?;
    stage.stop()?;
    let mut waiting = BTreeMap::new();
    for recipient in RECIPIENTS {
        waiting.insert(recipient, queued(&status, recipient).context("a flow is missing")?);
    }
    let state = stage.scene.path("prepared")?;
    copy_folder(&stage.agent.state(), &state)?;
    Ok(Prepared { stage, proxy, state, waiting, told: 0 })
}

/// How a withdrawal ended.
struct Ended {
    steps: Vec<String>,
    reported: bool,
    killed: bool,
}

impl Ended {
    /// The car was killed by a step of its own before the command came: that one withdrew in the stores alone.
    fn was_not_asked(&self) -> bool {
        self.killed && self.reported
    }
}

impl Prepared {
    /// One withdrawal, with batches of everybody on their way.
    fn withdrawal(&mut self, fate: Fate) -> Result<Ended> {
        copy_folder(&self.state, &self.stage.agent.state())?;
        self.proxy.set(Network::StuckAfter(STUCK_AFTER));
        self.stage.agent.start()?;
        let on_their_way = |status: &Value| status["link"]["in_flight"].as_u64() > Some(0);
        self.stage.agent.wait_for("batches on their way", LIMIT, on_their_way)?;
        let kinds = [&DISK[..], &NETWORK].concat();
        let calls = Calls::of(self.stage.agent.id()?, &self.stage.agent.state(), &kinds, fate)?;
        let reported = match fate {
            Fate::Counted => self.stage.withdraw_by(&WITHDRAW).map(|()| true)?,
            _ => self.stage.agent.try_run(&WITHDRAW)?.status.success(),
        };
        let steps = calls.let_go()?;
        let killed = matches!(fate, Fate::Killed(at) if steps.len() >= at);
        if killed {
            self.stage.agent.gone()?;
        } else {
            self.stage.agent.kill()?;
        }
        Ok(Ended { steps, reported, killed })
    }

    /// The car starts again over a good network and sends all that it has.
    fn again(&mut self) -> Result<Value> {
        self.proxy.set(Network::Good);
        let since = Instant::now();
        self.stage.agent.start()?;
        let sent = |status: &Value| {
            let nobody_to_tell = status["notices"].as_array().is_some_and(Vec::is_empty);
            nobody_to_tell && status["queue"]["batches"] == 0 && status["link"]["state"] == "connected"
        };
        let status = self.stage.agent.wait_for("an empty queue", LIMIT, sent)?;
        self.stage.recovery.push(since.elapsed());
        self.stage.agent.kill()?;
        Ok(status)
    }

    /// Publishes of each recipient's on a kind of topic.
    fn published(&self, since: u64, kind: &str) -> Result<BTreeMap<&'static str, usize>> {
        let topics = self.stage.scene.broker.received_since(since)?;
        let is_of =
            |topic: &str, id: &str| topic.starts_with(&format!("glovebox/v1/{id}/")) && topic.ends_with(kind);
        let of = |id: &str| topics.iter().filter(|topic| is_of(topic, id)).count();
        Ok(RECIPIENTS.into_iter().map(|id| (id, of(id))).collect())
    }

    /// The leaver is told if the withdrawal holds, and nobody else is ever.
    fn told(&mut self, over: bool, begun: u64) -> Result<()> {
        let notices = self.published(begun, "/notice")?;
        for (id, count) in notices {
            let is_told = over && id == LEAVER;
            ensure!((count > 0) == is_told, "over: {over}, and {count} notices to {id}");
        }
        self.told += usize::from(over);
        let told = self.told;
        until("the notice at the leaver", LIMIT, || {
            Ok((self.stage.printed_by(LEAVER)?.events("notice").len() >= told).then_some(()))
        })?;
        let printed = self.stage.printed_by(LEAVER)?;
        let notices = printed.events("notice");
        ensure!(notices.len() == told, "{} notices of {told} withdrawals", notices.len());
        let asks = |notice: &&Value| notice["erasure_requested"] == true && notice["kind"] == "withdrawn";
        ensure!(notices.iter().all(asks), "{notices:?}");
        Ok(())
    }

    /// Kills one withdrawal and looks at what is there afterwards; whether it was killed at all.
    fn cut(&mut self, fate: Fate, row: &mut Row) -> Result<(Ended, bool)> {
        let begun = self.stage.scene.broker.logged()?;
        let ended = self.withdrawal(fate)?;
        let tombstone = std::fs::read_dir(self.stage.agent.state().join("tombstones"))?.next().is_some();
        let over = ended.reported || tombstone;
        self.at_rest()?;
        let cut = self.stage.scene.broker.logged()?;
        let status = self.again()?;
        let (all, after) = (self.published(begun, "/batch")?, self.published(cut, "/batch")?);
        for (id, waiting) in &self.waiting {
            let gone = over && *id == LEAVER;
            let lost = if gone { 0 } else { waiting.saturating_sub(all[id]) };
            row.stored += waiting;
            row.lost += lost;
            ensure!(lost == 0, "{lost} of {waiting} batches for {id} did not come");
            ensure!(queued(&status, id).is_some() != gone, "over: {over}, but {id} is not so in {status}");
        }
        if over {
            row.withdrawn_sent = Some(row.withdrawn_sent.unwrap_or(0) + after[LEAVER]);
            ensure!(after[LEAVER] == 0, "{} batches of the withdrawn grant were sent", after[LEAVER]);
            self.stage.nothing_is_left()?;
        }
        self.told(over, begun)?;
        self.ledger_is_sound()?;
        Ok((ended, over))
    }

    /// What the proxy had handed on has come.
    fn at_rest(&self) -> Result<()> {
        let mut last = self.stage.scene.broker.logged()?;
        until("the broker to rest", LIMIT, || {
            std::thread::sleep(Duration::from_millis(30));
            let now = self.stage.scene.broker.logged()?;
            Ok((std::mem::replace(&mut last, now) == now).then_some(()))
        })
    }

    fn ledger_is_sound(&self) -> Result<()> {
        let (store, opened) = Store::open(&self.stage.agent.state().join("ledger"))?;
        let ledger = Ledger::open(store.table("ledger")?, &opened, Config::default())?;
        ensure!(opened == glovebox::store::Opened::Existing, "the ledger was {opened:?}");
        ledger.verify(&[]).map(|_| ()).context("the ledger")
    }
}

#[test]
fn invariant_05_a_withdrawal_is_whole_or_never_was_wherever_it_is_cut() -> Result<()> {
    let test = "faults_withdrawal";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(()) = tracing(test)? else { return Ok(()) };
    let mut prepared = prepare(test)?;
    let mut row = Row { fault: "withdrawal: SIGKILL before each of its steps".to_owned(), ..Row::default() };
    // The first one runs through: it tells the flow, and which steps there are.
    let (whole, over) = prepared.cut(Fate::Counted, &mut row)?;
    ensure!(whole.reported && over, "the withdrawal does not even work");
    let (mut lived, mut died) = (0, 0);
    let mut at = 1;
    loop {
        ensure!(at <= STEPS_MAX, "a withdrawal with more than {STEPS_MAX} steps: {:?}", whole.steps);
        let (ended, over) = prepared
            .cut(Fate::Killed(at), &mut row)
            .with_context(|| format!("killed before step {at} of {:#?}", whole.steps))?;
        if !ended.killed {
            break;
        }
        row.runs += 1;
        if ended.was_not_asked() {
            continue;
        }
        at += 1;
        if over { died += 1 } else { lived += 1 }
    }
    ensure!(lived > 0 && died > 0, "cut before and behind the point of no return: {lived}, {died}");
    row.recovery = std::mem::take(&mut prepared.stage.recovery);
    row.say();
    need::say(&format!(
        "{} points of a withdrawal: {lived} times the grant lived on, {died} times it was over",
        row.runs
    ));
    prepared.stage.read()?;
    prepared.stage.tally.must_be_true()?;
    need::say(&format!("its steps: {:#?}", whole.steps));
    prepared.stage.scene.finish();
    Ok(())
}
