//! The life of one car by one seed: what happens next is drawn, done, and looked at.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use glovebox::clock::Time as _;
use glovebox_core::limits::BUILD_DATE_US;
use glovebox_tests::seeded::Seeded;

use super::car::{Car, INDEX_LOG, LEDGER_LOG, Outside, Settings};
use super::disk::{SimDisk, Survives};
use super::documents::SimDocuments;
use super::machine::{Cut, Machine, Temper};
use super::model::{Act, Chain, Policy, SIGNALS, chains};
use super::net::{Net, Weather};
use super::oracle::{Counts, Oracle};
use super::table::SimTable;
use super::trace::Trace;

const DAY_US: i64 = 24 * 3_600 * 1_000_000;
const YEAR_US: i64 = 365 * DAY_US;
/// When every life begins.
const START_US: i64 = BUILD_DATE_US + 30 * DAY_US;

/// What a life may meet. A seed draws some of them, so that each has lives in which it is alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Net,
    Broker,
    Power,
    Kill,
    DiskFull,
    DiskReadOnly,
    DiskFails,
    Rot,
    Clock,
    Policies,
    Withdrawals,
    Narrowings,
    FalseDocuments,
    Pauses,
}

const TROUBLES: [Trouble; 13] = [
    Trouble::Net,
    Trouble::Broker,
    Trouble::Power,
    Trouble::Kill,
    Trouble::DiskFull,
    Trouble::DiskReadOnly,
    Trouble::DiskFails,
    Trouble::Rot,
    Trouble::Clock,
    Trouble::Policies,
    Trouble::Withdrawals,
    Trouble::Narrowings,
    Trouble::FalseDocuments,
];

const DISK: [Trouble; 3] = [Trouble::DiskFull, Trouble::DiskReadOnly, Trouble::DiskFails];

/// What one life came to.
pub struct Life {
    pub counts: Counts,
    pub duplicates: u64,
    pub deaths: u64,
    pub trace: String,
    pub fault: Option<String>,
}

pub struct World {
    pub(super) outside: Outside,
    pub(super) car: Option<Car>,
    troubles: Vec<Trouble>,
    pub(super) policy: Policy,
    /// Documents that were shown before, with what they mean; they come again.
    pub(super) shown: Vec<(Vec<u8>, Option<Act>)>,
    pub(super) records: u64,
    deaths: u64,
}

impl World {
    fn new(seed: u64, kept: bool) -> Self {
        let mut random = Seeded::new(seed);
        let machine = Machine::new(random.fork(), START_US);
        let sector = random.pick(&[512, 4096]);
        let settings = Settings {
            // Key files, folders, index and its log count too: below the first nothing of the last flow would ever fit.
            cap: random.pick(&[192, 256, 448, 4096]) * 1024,
            column_bytes: random.pick(&[1024, 4096, 6144]),
            ledger_entries: random.pick(&[64, 100_000]),
            gather: Duration::from_secs(random.pick(&[0, 2, 20])),
        };
        let ledger = SimTable::new(machine.clone(), "ledger");
        let mut troubles: Vec<Trouble> = TROUBLES.into_iter().filter(|_| random.one_in(3)).collect();
        if Seeded::new(!seed).one_in(3) {
            troubles.push(Trouble::Pauses);
        }
        let disk = SimDisk::new(machine.clone(), sector);
        let mut oracle = Oracle::new(ledger.clone(), disk.clone());
        oracle.disk_fails = troubles.contains(&Trouble::DiskFails);
        // What gives way on a full disk may not be noted there, and is found missing at the next start.
        oracle.damage = oracle.disk_fails
            || [Trouble::Rot, Trouble::DiskFull].iter().any(|trouble| troubles.contains(trouble));
        let outside = Outside {
            settings,
            disk,
            index: SimTable::new(machine.clone(), "index"),
            documents: SimDocuments::new(machine.clone()),
            net: Net::new(random.fork()),
            oracle,
            trace: Trace::new(kept),
            looked_us: None,
            gate: None,
            frames: 0,
            index_lost: false,
            disk_troubled: DISK.iter().any(|trouble| troubles.contains(trouble)),
            ledger,
            machine,
            random,
        };
        let policy = Policy {
            version: 0,
            issued_us: START_US,
            expires_us: START_US + YEAR_US,
            asked: chains().map(|chain| (chain, (1, (0..SIGNALS).collect()))).collect(),
            suspended: BTreeSet::new(),
            dropped: BTreeSet::new(),
        };
        let (shown, records, deaths) = (Vec::new(), 0, 0);
        Self { outside, car: None, troubles, policy, shown, records, deaths }
    }

    /// One whole life.
    pub fn live(seed: u64, kept: bool) -> Life {
        let mut world = Self::new(seed, kept);
        let (settings, troubles) = (world.outside.settings, world.troubles.clone());
        world.outside.trace.say(|| format!("seed {seed}: {settings:?} {troubles:?}"));
        world.guarded(|world| {
            world.start();
            world.new_policy();
            for chain in chains().take(2) {
                world.give(chain, None);
            }
        });
        let steps = 60 + world.outside.random.below(120);
        for step in 0..steps {
            if world.outside.oracle.fault.is_some() {
                break;
            }
            world.outside.trace.say(|| format!("step {step}"));
            world.guarded(Self::step);
        }
        if world.outside.oracle.fault.is_none() {
            world.outside.trace.say(|| "all is well again".to_owned());
            world.finish();
        }
        let Outside { oracle, trace, .. } = world.outside;
        Life {
            counts: oracle.counts,
            duplicates: oracle.recipients.duplicates,
            deaths: world.deaths,
            trace: trace.text().to_owned(),
            fault: oracle.fault,
        }
    }

    fn has(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble)
    }

    /// Does something during which the power may go.
    pub(super) fn guarded(&mut self, what: impl FnOnce(&mut Self)) {
        if let Err(reason) = catch_unwind(AssertUnwindSafe(|| what(self))) {
            if !reason.is::<Cut>() {
                resume_unwind(reason);
            }
            let killed =
                self.has(Trouble::Kill) && (!self.has(Trouble::Power) || self.outside.random.one_in(2));
            self.die(killed);
        }
    }

    /// The process ends at once; without power also what the disk had not written.
    fn die(&mut self, killed: bool) {
        self.deaths += 1;
        self.outside.machine.cut_in(None);
        if let Some(car) = &mut self.car {
            // The uplink may have sent what it had taken, or not.
            car.hands(&mut self.outside).take_commands();
        }
        self.arrives_without_agent();
        self.car = None;
        let survives = match self.outside.random.below(4) {
            0 => Survives::Nothing,
            1 => Survives::All,
            _ => Survives::Some(20 + self.outside.random.below(70)),
        };
        self.outside
            .trace
            .say(|| if killed { "killed".into() } else { format!("power cut, {survives:?} survives") });
        if !killed {
            self.outside.disk.cut(survives);
        }
        self.outside.index.cut();
        self.outside.ledger.cut();
        self.outside.oracle.lost_memory();
        self.outside.machine.pass(3_000_000);
    }

    fn stop(&mut self) {
        let Some(car) = self.car.take() else { return };
        car.stop(&mut self.outside);
        if self.outside.machine.temper() != Temper::Sound {
            self.outside.oracle.lost_memory();
        }
        // Whoever withdrew was told if it could not be stored.
        self.outside.oracle.buried.clear();
        self.arrives_without_agent();
        self.outside.index.cut();
        self.outside.ledger.cut();
        self.outside.machine.pass(3_000_000);
    }

    /// What was in the socket when the agent ended.
    fn arrives_without_agent(&mut self) {
        for parcel in self.outside.net.lost_agent(self.outside.machine.monotonic()) {
            self.outside.oracle.delivered(&parcel);
        }
    }

    pub(super) fn start(&mut self) {
        match Car::start(&mut self.outside) {
            Ok(car) => self.car = Some(car),
            Err(why) => {
                self.outside.trace.say(|| format!("does not start: {why}"));
                self.arrives_without_agent();
                self.outside.index.cut();
                self.outside.ledger.cut();
                self.outside.oracle.lost_memory();
                self.outside.machine.pass(3_000_000);
            }
        }
    }

    fn step(&mut self) {
        if self.car.is_none() {
            return self.start();
        }
        match self.outside.random.below(20) {
            0..=6 => self.drive(),
            7..=10 => self.network(),
            11 | 12 => self.second(),
            13 => self.trouble(),
            14 => self.trouble(),
            15 => self.decide(),
            _ => self.turns(),
        }
    }

    fn drive(&mut self) {
        let frames = 1 + self.outside.random.below(40);
        let every = 1 + self.outside.random.below(60);
        let Some(car) = &mut self.car else { return };
        let mut hands = car.hands(&mut self.outside);
        for _ in 0..frames {
            hands.frame(i64::try_from(every).unwrap());
        }
        if hands.outside.random.one_in(3) {
            hands.silence(1 + i64::try_from(every).unwrap() * 40);
        }
    }

    fn network(&mut self) {
        let steps = 1 + self.outside.random.below(60);
        let Some(car) = &mut self.car else { return };
        let mut hands = car.hands(&mut self.outside);
        for _ in 0..steps {
            hands.net();
            if hands.outside.random.one_in(4) {
                hands.turn();
            }
        }
    }

    fn turns(&mut self) {
        let turns = 1 + self.outside.random.below(6);
        let Some(car) = &mut self.car else { return };
        (0..turns).for_each(|_| car.hands(&mut self.outside).turn());
    }

    /// What the daemon does once a second.
    fn second(&mut self) {
        self.outside.machine.pass(1_000_000);
        if let Some(car) = &mut self.car {
            car.look_again(&mut self.outside);
        }
    }

    fn trouble(&mut self) {
        if self.troubles.is_empty() {
            return;
        }
        let trouble = self.outside.random.pick(&self.troubles);
        self.outside.trace.say(|| format!("trouble: {trouble:?}"));
        self.work_out(trouble);
        let machine = &self.outside.machine;
        self.outside.trace.say(|| format!("  the disk is {:?}", machine.temper()));
    }

    fn work_out(&mut self, trouble: Trouble) {
        let random = &mut self.outside.random;
        let machine = &self.outside.machine;
        match trouble {
            Trouble::Net => {
                let weather = &mut self.outside.net.weather;
                match random.below(5) {
                    0 => weather.silent = !weather.silent,
                    1 => weather.away = !weather.away,
                    _ => self
                        .car
                        .as_mut()
                        .into_iter()
                        .for_each(|car| car.hands(&mut self.outside).disconnect()),
                }
            }
            Trouble::Broker => self.outside.net.weather = weather(random),
            Trouble::Power | Trouble::Kill if random.one_in(3) => self.die(trouble == Trouble::Kill),
            Trouble::Power | Trouble::Kill => machine.cut_in(Some(random.below(60))),
            Trouble::DiskFull => toggle(machine, Temper::Full),
            Trouble::DiskReadOnly => toggle(machine, Temper::ReadOnly),
            Trouble::DiskFails => toggle(machine, Temper::Failing),
            Trouble::Rot => self.rot(),
            Trouble::Clock => self.clock(),
            Trouble::Policies => self.another_policy(),
            Trouble::Withdrawals => self.withdraw(),
            Trouble::Narrowings => self.narrow(),
            Trouble::FalseDocuments => self.false_document(),
            Trouble::Pauses => self.pause(),
        }
    }

    fn rot(&mut self) {
        match self.outside.random.below(12) {
            0 => {
                self.outside.index.rot();
                self.outside.trace.say(|| "  the index".to_owned());
            }
            1 => {
                self.outside.ledger.rot();
                self.outside.trace.say(|| "  the ledger".to_owned());
            }
            _ => {
                let what = self.outside.disk.rot();
                let hit = |log| what.as_ref().is_some_and(|what| what.contains(log));
                self.outside.index_lost |= hit(INDEX_LOG);
                self.outside.oracle.ledger_rots |= hit(LEDGER_LOG);
                self.outside.trace.say(|| format!("  {what:?}"));
            }
        }
    }

    fn clock(&mut self) {
        let now = self.outside.machine.now().0;
        let right = START_US + self.outside.machine.monotonic().0;
        let to = match self.outside.random.below(6) {
            0 => 0,
            1 => now + YEAR_US,
            2 => now - YEAR_US,
            3 => now + 3_600_000_000,
            _ => right,
        };
        self.outside.machine.step_wall(to);
    }

    /// The owner or the authority does something.
    fn decide(&mut self) {
        match self.outside.random.below(4) {
            0 => self.new_policy(),
            1 => self.again(),
            _ => {
                let all: Vec<Chain> = chains().collect();
                let chain = self.outside.random.pick(&all);
                self.give(chain, None);
            }
        }
    }

    /// Everything is mended, and there is time: what is stored comes to its recipients.
    fn finish(&mut self) {
        let machine = self.outside.machine.clone();
        machine.cut_in(None);
        machine.set_temper(Temper::Sound);
        self.outside.net.weather = Weather::default();
        let right = START_US + machine.monotonic().0;
        machine.step_wall(right.max(self.outside.documents.mark_us() + 3_600_000_000));
        match self.outside.random.below(3) {
            0 => self.stop(),
            1 => self.die(true),
            _ => self.die(false),
        }
        self.car = None;
        self.start();
        self.policy.suspended.clear();
        self.policy.dropped.clear();
        self.resume_all();
        self.new_policy();
        self.second();
        for _ in 0..3 {
            self.drain();
        }
        let Some(car) = &self.car else {
            return self.outside.oracle.fail("does not start on a sound machine".into());
        };
        let (now, index_lost) = (self.outside.now(), self.outside.index_lost);
        self.outside.oracle.ended(&car.inside.custody, &now, index_lost);
        self.outside.nothing_leaks();
    }

    fn drain(&mut self) {
        let Some(car) = &mut self.car else { return };
        let mut hands = car.hands(&mut self.outside);
        (0..20).for_each(|_| hands.frame(5));
        hands.silence(3_000);
        self.second();
        for _ in 0..3_000 {
            let Some(car) = &mut self.car else { return };
            let mut hands = car.hands(&mut self.outside);
            hands.turn();
            (0..8).for_each(|_| hands.net());
            hands.outside.machine.pass(500_000);
            if hands.inside.inbox.is_empty()
                && hands.outside.net.is_idle()
                && hands.outside.net.connection().is_some()
            {
                if hands.inside.custody.delivery.in_flight() == 0 && hands.outside.random.one_in(4) {
                    break;
                }
                self.second();
            }
        }
    }
}

impl Outside {
    /// Invariant 7, and what is left of withdrawn flows.
    fn nothing_leaks(&mut self) {
        if self.disk.holds(super::bus::MARK.as_bytes()) {
            self.oracle.fail("7: a signal's name is on the disk".to_owned());
        }
        let ended = self.now().model.ended.clone();
        let paths = self.disk.paths();
        for flow in ended {
            let name = flow.to_string();
            if let Some(path) = paths.iter().find(|path| path.to_string_lossy().contains(&name)) {
                self.oracle.fail(format!("5: {} of a withdrawn flow is on the disk", path.display()));
            }
            let key = flow.0.to_be_bytes();
            if self.index.durable().keys().any(|it| it.get(1..9) == Some(&key[..])) {
                self.oracle.fail(format!("5: the index knows of withdrawn flow {name}"));
            }
        }
    }
}

fn weather(random: &mut Seeded) -> Weather {
    let percent = |random: &mut Seeded| random.pick(&[0, 0, 5, 30]);
    Weather {
        refuses: percent(random),
        loses: percent(random),
        doubles: percent(random),
        packet_max: random.pick(&[None, None, Some(1500)]),
        receive_max: random.pick(&[None, Some(2), Some(8)]),
        ..Weather::default()
    }
}

fn toggle(machine: &Machine, temper: Temper) {
    let sound = machine.temper() != Temper::Sound;
    machine.set_temper(if sound { Temper::Sound } else { temper });
}
