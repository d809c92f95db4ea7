//! The independent checker: what was agreed, in its own words; and whether each sample is within it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A transform as it was asked for, in tenths of the unit and milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reduce {
    Grid {
        step: i128,
        offset: i128,
    },
    Rate {
        ms: i64,
    },
    Change {
        delta: i128,
        repeat: Option<i64>,
    },
    /// Seconds.
    Bucket {
        s: i64,
    },
    /// The greatest of each window of so many seconds.
    Max {
        s: i64,
    },
    /// Of each window of so many seconds how many lay below, between and above two edges.
    Bins {
        s: i64,
        edges: [i128; 2],
    },
    /// An event above the level, again after it was so much below.
    Above {
        level: i128,
        back: i128,
    },
    /// So many a day.
    Budget {
        n: i64,
    },
    /// `in_vehicle`.
    Inside,
    /// `drop`, or an op that is not built.
    Nothing,
}

impl Reduce {
    /// Whether it holds for what is derived of the signal too: it says when, how often or whether at all, not what.
    fn is_inherited(self) -> bool {
        !matches!(self, Self::Grid { .. } | Self::Change { .. } | Self::Above { .. } | Self::Inside)
    }
}

/// What a bundle says, as it was made.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub version: u64,
    pub issued: i64,
    pub expires: i64,
    pub recipients: Vec<Party>,
    /// By signal: category and floor; a signal that is not there is unknown.
    pub catalogue: BTreeMap<usize, (char, Vec<Reduce>)>,
    pub suspended: Vec<(usize, bool)>,
    pub dropped: Vec<usize>,
    pub tightened: Vec<(usize, Reduce)>,
}

/// A company in a bundle.
#[derive(Debug, Clone)]
pub struct Party {
    pub active: bool,
    /// Which of its request keys.
    pub key: u8,
    /// Its requests, by purpose.
    pub requests: Vec<Asked>,
    pub hpke_until: i64,
}

/// A request, as it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub purpose: usize,
    pub expires: i64,
    pub signals: BTreeMap<usize, Vec<Reduce>>,
}

/// A consent record, as it was made.
#[derive(Debug, Clone)]
pub struct Given {
    pub request: Asked,
    pub key: u8,
    pub from: i64,
    pub until: i64,
    /// By signal: category, transforms, floor waived. Only what was said yes to.
    pub yes: BTreeMap<usize, (char, Vec<Reduce>, bool)>,
    /// By signal: category, transforms. What may be used in the car.
    pub inside: BTreeMap<usize, (char, Vec<Reduce>)>,
    /// Extracted in another way than the car does.
    pub relabelled: bool,
}

/// What was done.
#[derive(Debug, Clone)]
pub enum Act {
    Bundle(Policy),
    /// Signed by somebody else, or with a version that does not rise: refused.
    FalseBundle(Policy),
    Give {
        recipient: usize,
        purpose: usize,
        given: Given,
    },
    /// Not signed by the owner: refused.
    FalseGive {
        recipient: usize,
        purpose: usize,
        given: Given,
    },
    Narrow {
        recipient: usize,
        purpose: usize,
        keep: BTreeMap<usize, Vec<Reduce>>,
        until: i64,
    },
    Withdraw {
        recipient: usize,
        purpose: usize,
    },
    Clock {
        now: i64,
    },
    ClockInDoubt,
    /// `raw` of each signal that is in the frame.
    Frame {
        ms: i64,
        raw: Vec<(usize, u64)>,
    },
}

/// What was found in an opened envelope.
#[derive(Debug, Clone)]
pub struct Sample {
    pub recipient: usize,
    pub purpose: usize,
    pub signal: usize,
    pub ms: i64,
    /// In hundredths; for a quantised one the lower edge, with the width of its cell.
    pub value: Option<i128>,
    pub width: Option<i128>,
    /// The descriptor says that its stamp is on the edge of so many seconds; 0: as it was.
    pub bucket_s: i64,
    /// The descriptor says that it is the greatest of a window of so many seconds; 0: a reading.
    pub window_s: i64,
    /// The descriptor says that it counts the values of the window between these, in hundredths.
    pub bin: Option<Bin>,
    /// The descriptor says that it is no value but an event.
    pub event: bool,
}

/// Scale of each signal in hundredths, and offset in hundredths.
pub const SIGNALS: [(i128, i128); 6] = [(100, 0), (10, -4000), (50, 0), (1, 0), (100, -4000), (25, 100)];
/// All signals, with those that are derived.
pub const ALL: usize = 8;
/// Derived of the second, an acceleration: slower by more than 3.4.
pub const BRAKING: usize = 6;
/// Derived of the third and fourth: a speed below 1, and a brake, which is 0 or 1.
pub const PARKED: usize = 7;
/// So long an input counts.
const COUNTS_MS: i64 = 3_000;
/// In the place of a value where there is none.
const NONE: i128 = i128::MIN;

/// What a signal is made of.
fn inputs(signal: usize) -> &'static [usize] {
    match signal {
        BRAKING => &[2],
        PARKED => &[3, 4],
        _ => &[],
    }
}
/// Signed 12 bits.
pub const SIGNED: usize = 2;
/// Physical range of signal 2, in hundredths.
pub const RANGE: (i128, i128) = (-50_000, 50_000);

/// The category of a signal: of what it is made of the one that says most.
pub fn category(policy: &Policy, signal: usize) -> Option<char> {
    let of = |signal: &usize| policy.catalogue.get(signal).map(|(letter, _)| *letter).filter(|it| *it != '?');
    let all: Option<Vec<char>> = inputs(signal).iter().chain([&signal]).map(of).collect();
    all?.into_iter().min()
}

fn physical(signal: usize, raw: u64) -> i128 {
    let raw = i128::from(raw);
    let raw = if signal == SIGNED && raw >= 2048 { raw - 4096 } else { raw };
    let (scale, offset) = SIGNALS[signal];
    raw * scale + offset
}

type Flow = (usize, usize);
/// Least value and first above it, where there are such.
pub type Bin = [Option<i128>; 2];

#[derive(Debug, Clone)]
struct Live {
    given: Given,
    narrowed: Vec<(BTreeMap<usize, Vec<Reduce>>, i64)>,
}

/// One moment at which a signal was on the bus: what was true then, and the rules it was under.
struct Chance {
    value: i128,
    rules: Vec<Reduce>,
    /// Which of the spans between two acts: a swap may have dropped what was emitted before it.
    span: u64,
    used: bool,
}

/// What was found last of one signal in one flow.
struct Told {
    ms: i64,
    value: Option<i128>,
    rules: Vec<Reduce>,
    span: u64,
}

pub struct Checker {
    policy: Option<Policy>,
    grants: HashMap<Flow, Live>,
    now: Option<i64>,
    /// By flow and signal, then by millisecond.
    chances: HashMap<(Flow, usize), BTreeMap<i64, Vec<Chance>>>,
    last: HashMap<(Flow, usize, Option<Bin>), Told>,
    /// What left under a budget, by flow, signal, budget and day.
    spent: HashMap<(Flow, usize, i64, i64), i64>,
    span: u64,
    samples: u64,
    honest: bool,
    /// All that was on the bus, by signal: millisecond and value.
    history: HashMap<usize, Vec<(i64, i128)>>,
    /// What was last on the bus of each signal.
    last_read: HashMap<usize, (i64, i128)>,
    derived: u64,
    /// Of the last frame.
    ms: i64,
}

impl Checker {
    /// One that is not honest overlooks the grants of the first recipient: to show that it would notice.
    pub fn new(honest: bool) -> Self {
        Self {
            policy: None,
            grants: HashMap::new(),
            now: Some(super::world::START),
            chances: HashMap::new(),
            last: HashMap::new(),
            spent: HashMap::new(),
            span: 0,
            samples: 0,
            honest,
            history: HashMap::new(),
            last_read: HashMap::new(),
            derived: 0,
            ms: 0,
        }
    }

    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// How many of these were derived.
    pub fn derived(&self) -> u64 {
        self.derived
    }

    pub fn note(&mut self, act: &Act) {
        self.span += u64::from(!matches!(act, Act::Frame { .. }));
        match act {
            Act::Bundle(policy) => self.policy = Some(policy.clone()),
            Act::FalseBundle(_) | Act::FalseGive { .. } => {}
            Act::Give { recipient, purpose, given } => {
                if self.honest || *recipient != 0 {
                    let live = Live { given: given.clone(), narrowed: Vec::new() };
                    self.grants.insert((*recipient, *purpose), live);
                }
            }
            Act::Narrow { recipient, purpose, keep, until } => {
                if let Some(live) = self.grants.get_mut(&(*recipient, *purpose)) {
                    live.narrowed.push((keep.clone(), *until));
                }
            }
            Act::Withdraw { recipient, purpose } => {
                self.grants.remove(&(*recipient, *purpose));
                self.last.retain(|(flow, ..), _| flow != &(*recipient, *purpose));
                self.spent.retain(|(flow, ..), _| flow != &(*recipient, *purpose));
            }
            Act::Clock { now } => self.now = Some(*now),
            Act::ClockInDoubt => self.now = None,
            Act::Frame { ms, raw } => self.frame(*ms, raw),
        }
    }

    fn frame(&mut self, ms: i64, raw: &[(usize, u64)]) {
        self.ms = ms;
        let mut values: Vec<(usize, i128)> =
            raw.iter().map(|(signal, raw)| (*signal, physical(*signal, *raw))).collect();
        for (signal, value) in &values {
            let has_one = *signal != SIGNED || (RANGE.0..=RANGE.1).contains(value);
            self.last_read.insert(*signal, (ms, if has_one { *value } else { NONE }));
        }
        for derived in [BRAKING, PARKED] {
            if raw.iter().any(|(signal, _)| inputs(derived).contains(signal)) {
                values.extend(self.work_out(derived).map(|value| (derived, value)));
            }
        }
        for (signal, value) in &values {
            self.history.entry(*signal).or_default().push((ms, *value));
        }
        let flows: Vec<Flow> = self.grants.keys().copied().collect();
        for flow in flows {
            for (signal, value) in &values {
                let Some(rules) = self.rules(flow, *signal) else { continue };
                let chance = Chance { value: *value, rules, span: self.span, used: false };
                self.chances.entry((flow, *signal)).or_default().entry(ms).or_default().push(chance);
            }
        }
    }

    /// What the derived signal is now, in hundredths: 100 is yes; `None` if one of its inputs was never on the bus.
    fn work_out(&self, derived: usize) -> Option<i128> {
        let last: Option<Vec<(i64, i128)>> =
            inputs(derived).iter().map(|input| self.last_read.get(input).copied()).collect();
        let last = last?;
        if last.iter().any(|(ms, value)| self.ms - ms > COUNTS_MS || *value == NONE) {
            return Some(NONE);
        }
        let yes = match last.as_slice() {
            [(_, along)] => *along < -340,
            [_, (_, brake)] if *brake != 0 && *brake != 100 => return Some(NONE),
            [(_, speed), (_, brake)] => *brake == 100 && speed.abs() < 100,
            _ => return Some(NONE),
        };
        Some(if yes { 100 } else { 0 })
    }

    /// What holds for all that is made of `input`; `None`: it may feed nothing.
    fn fed(&self, flow: Flow, input: usize, waived: bool) -> Option<Vec<Reduce>> {
        let (policy, live) = (self.policy.as_ref()?, self.grants.get(&flow)?);
        let given = &live.given;
        let yes = given.yes.get(&input).map(|(letter, list, _)| (letter, list));
        let (was, list) = yes.or(given.inside.get(&input).map(|(letter, list)| (letter, list)))?;
        if category(policy, input)? != *was || policy.dropped.contains(&input) {
            return None;
        }
        let mut rules = given.request.signals.get(&input)?.clone();
        rules.extend(list);
        if !waived {
            rules.extend(&policy.catalogue.get(&input)?.1);
        }
        for (keep, _) in &live.narrowed {
            rules.extend(keep.get(&input)?);
        }
        rules.extend(policy.tightened.iter().filter(|(which, _)| *which == input).map(|(_, reduce)| *reduce));
        rules.retain(|rule| rule.is_inherited());
        Some(rules)
    }

    /// The reductions under which the signal may leave now; `None`: it may not.
    fn rules(&self, flow: Flow, signal: usize) -> Option<Vec<Reduce>> {
        let (now, policy, live) = (self.now?, self.policy.as_ref()?, self.grants.get(&flow)?);
        let party = policy.recipients.get(flow.0)?;
        let given = &live.given;
        let dates = policy.issued <= now
            && now < policy.expires
            && given.from <= now
            && now < given.until
            && now < given.request.expires
            && now < party.hpke_until
            && live.narrowed.iter().all(|(_, until)| now < *until);
        let suspended = policy.suspended.iter().any(|(who, whole)| *who == flow.0 && (*whole || flow.1 == 0));
        let same = party.key == given.key && party.requests.contains(&given.request) && !given.relabelled;
        if !dates || suspended || !same || !party.active || policy.dropped.contains(&signal) {
            return None;
        }
        let (_, floor) = policy.catalogue.get(&signal)?;
        let (was, transforms, waived) = given.yes.get(&signal)?;
        if category(policy, signal)? != *was {
            return None;
        }
        let mut rules = given.request.signals.get(&signal)?.clone();
        rules.extend(transforms);
        if !waived {
            rules.extend(floor);
        }
        for (keep, _) in &live.narrowed {
            rules.extend(keep.get(&signal)?);
        }
        rules
            .extend(policy.tightened.iter().filter(|(which, _)| *which == signal).map(|(_, reduce)| *reduce));
        for input in inputs(signal) {
            rules.extend(self.fed(flow, *input, *waived)?);
        }
        (!rules.contains(&Reduce::Nothing) && !rules.contains(&Reduce::Inside)).then_some(rules)
    }

    /// Every sample that left must have been on the bus, under rules that it keeps, and still be allowed now. At the
    /// `end` what waits for the end of its bucket goes out as well.
    pub fn check(&mut self, samples: &[Sample], end: bool) -> Result<(), String> {
        for sample in samples {
            self.samples += 1;
            self.derived += u64::from(sample.signal >= BRAKING);
            let flow = (sample.recipient, sample.purpose);
            let now =
                self.rules(flow, sample.signal).ok_or_else(|| format!("not granted any more: {sample:?}"))?;
            let (bucket, window) = (1000 * sample.bucket_s, 1000 * sample.window_s);
            let over = sample.ms + if end { window } else { window.max(bucket) };
            if over > sample.ms && self.ms < over {
                return Err(format!("left before its window or bucket was over, at {}: {sample:?}", self.ms));
            }
            let until = over_by(sample.ms, bucket, window);
            if sample.bin.is_some() {
                self.counts(flow, (sample, until), &now)?;
                continue;
            }
            let of_it = self.chances.entry((flow, sample.signal)).or_default();
            let within = of_it.range_mut(sample.ms..until);
            let mut chances: Vec<&mut Chance> = within.flat_map(|(_, list)| list).collect();
            // Of one bucket, what was let through last: what waited under other rules is gone.
            chances.sort_by_key(|chance| std::cmp::Reverse(chance.span));
            let fits = |chance: &&mut Chance| !chance.used && keeps(sample, chance.value, &chance.rules);
            let chance = chances.into_iter().find(fits);
            let chance = chance.ok_or_else(|| format!("no such reading was let through: {sample:?}"))?;
            chance.used = true;
            let (value, rules, span) = (chance.value, chance.rules.clone(), chance.span);
            if !keeps(sample, value, &now) {
                return Err(format!("finer than what applies now: {sample:?} under {now:?}"));
            }
            self.is_crossing(sample, &rules)?;
            self.within_budget(flow, sample, &rules)?;
            self.in_time(flow, sample, &rules, span)?;
        }
        Ok(())
    }

    /// No bin holds more than lay in it while a histogram with its edges was agreed to, and there was a value at all.
    fn counts(&mut self, flow: Flow, (sample, until): (&Sample, i64), now: &[Reduce]) -> Result<(), String> {
        if !is_a_bin(sample, now) {
            return Err(format!("finer than what applies now: {sample:?} under {now:?}"));
        }
        let of_it = self.chances.entry((flow, sample.signal)).or_default();
        let all = of_it.range(sample.ms..until).flat_map(|(_, list)| list);
        let agreed: Vec<&Chance> = all.filter(|chance| is_a_bin(sample, &chance.rules)).collect();
        let [low, high] = sample.bin.unwrap_or_default();
        let inside = |value: i128| low.is_none_or(|low| low <= value) && high.is_none_or(|high| value < high);
        let most = agreed.iter().filter(|chance| inside(chance.value)).count();
        let Some(last) = agreed.last() else { return Err(format!("no value was let through: {sample:?}")) };
        if sample.value.is_none_or(|told| told > 100 * most as i128) {
            return Err(format!("only {most} lay there: {sample:?}"));
        }
        let (rules, span) = (last.rules.clone(), last.span);
        self.within_budget(flow, sample, &rules)?;
        self.in_time(flow, sample, &rules, span)
    }

    /// Before an event the value was once where it has to come from. With a grid it is that of a cell, so not looked at.
    fn is_crossing(&self, sample: &Sample, rules: &[Reduce]) -> Result<(), String> {
        let has_grid = rules.iter().any(|rule| matches!(rule, Reduce::Grid { .. }));
        let end = sample.ms + (1000 * (sample.bucket_s + sample.window_s)).max(1);
        let before = || self.history[&sample.signal].iter().filter(|(then, _)| *then < end);
        for rule in rules {
            if let Reduce::Above { level, back } = rule
                && !has_grid
                && !before().any(|(_, value)| *value <= (level - back) * 10)
            {
                return Err(format!("crosses nothing: {sample:?}"));
            }
        }
        Ok(())
    }

    /// No day has more than was agreed for it.
    fn within_budget(&mut self, flow: Flow, sample: &Sample, rules: &[Reduce]) -> Result<(), String> {
        let day = sample.ms.div_euclid(24 * 3600 * 1000);
        let budgets =
            rules.iter().filter_map(|rule| if let Reduce::Budget { n } = rule { Some(*n) } else { None });
        // Several documents may say the same.
        for n in budgets.collect::<BTreeSet<i64>>() {
            let spent = self.spent.entry((flow, sample.signal, n, day)).or_default();
            *spent += 1;
            if *spent > n {
                return Err(format!("number {spent} of {n} a day: {sample:?}"));
            }
        }
        Ok(())
    }

    /// Gaps are never shorter than agreed, and what did not change is not repeated.
    fn in_time(&mut self, flow: Flow, sample: &Sample, rules: &[Reduce], span: u64) -> Result<(), String> {
        let told = Told { ms: sample.ms, value: sample.value, rules: rules.to_vec(), span };
        let before = self.last.insert((flow, sample.signal, sample.bin), told);
        let Some(before) = before else { return Ok(()) };
        let (then, value) = (before.ms, before.value);
        for rule in rules {
            match rule {
                Reduce::Max { s } | Reduce::Bins { s, .. }
                    if sample.bucket_s == 0 && before.rules.contains(rule) && sample.ms - then < s * 1000 =>
                {
                    return Err(format!("two of one window: {sample:?}"));
                }
                Reduce::Rate { ms } if before.rules.contains(rule) && sample.ms - then < *ms => {
                    return Err(format!("{} ms after the last one: {sample:?}", sample.ms - then));
                }
                // A window is decided on when it is over, perhaps after an act: what was told before that may be dropped.
                Reduce::Change { delta, repeat } if before.span == self.span && !sample.event => {
                    // With two dead bands the wider one with the longer repeat applies; each alone is weaker.
                    let silent = repeat.is_none_or(|most| sample.ms - then < most);
                    let enough = match (value, sample.value) {
                        (Some(a), Some(b)) => a != b && (a - b).abs() >= delta * 10,
                        (a, b) => a != b,
                    };
                    if silent && !enough {
                        return Err(format!("no change since {value:?}: {sample:?}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Before when all was on the bus of which a sample with this stamp can tell: a window belongs to the bucket in which it
/// begins. All in milliseconds.
fn over_by(stamp: i64, bucket: i64, window: i64) -> i64 {
    let last = stamp + bucket.max(1) - 1;
    if window == 0 { last + 1 } else { (last.div_euclid(window) + 1) * window }
}

/// Whether the sample tells no more of `value` than every rule allows.
fn keeps(sample: &Sample, value: i128, rules: &[Reduce]) -> bool {
    let outside = value == NONE || sample.signal == SIGNED && !(RANGE.0..=RANGE.1).contains(&value);
    let coarse = rules.iter().all(|rule| match rule {
        Reduce::Grid { step, offset } => sample.event || on_grid(sample, *step * 10, *offset * 10),
        Reduce::Bucket { s } => {
            sample.bucket_s > 0 && sample.bucket_s % s == 0 && sample.ms.rem_euclid(s * 1000) == 0
        }
        Reduce::Max { s } => {
            let on_edge = sample.ms.rem_euclid(s * 1000) == 0 || sample.bucket_s > 0;
            sample.window_s > 0 && sample.window_s % s == 0 && on_edge
        }
        Reduce::Above { level, .. } => sample.event && value > level * 10,
        Reduce::Bins { .. } => false,
        _ => true,
    });
    if sample.event {
        return coarse && !outside && sample.value == Some(100);
    }
    let Some(told) = sample.value else { return outside && bucket_is_kept(sample, rules) };
    let width = sample.width.unwrap_or(0);
    let true_of_it = if width == 0 { told == value } else { told <= value && value < told + width };
    coarse && true_of_it && !outside
}

/// Whether a bin of a window was agreed to by every rule.
fn is_a_bin(sample: &Sample, rules: &[Reduce]) -> bool {
    let edges = || sample.bin.into_iter().flatten().flatten();
    let asked = rules.iter().any(|rule| matches!(rule, Reduce::Bins { .. }));
    asked
        && rules.iter().all(|rule| match rule {
            Reduce::Bins { s, edges: agreed } => {
                sample.window_s % s == 0 && edges().all(|edge| agreed.map(|it| it * 10).contains(&edge))
            }
            Reduce::Grid { step, offset } => {
                edges().all(|edge| (edge - offset * 10).rem_euclid(step * 10) == 0)
            }
            Reduce::Bucket { s } => sample.bucket_s > 0 && sample.bucket_s % s == 0,
            Reduce::Max { .. } | Reduce::Above { .. } => false,
            Reduce::Change { delta, .. } => *delta == 0,
            Reduce::Rate { .. } | Reduce::Budget { .. } | Reduce::Inside | Reduce::Nothing => true,
        })
}

fn on_grid(sample: &Sample, step: i128, offset: i128) -> bool {
    let width = sample.width.unwrap_or(0);
    sample.value.is_none_or(|told| width % step == 0 && width > 0 && (told - offset).rem_euclid(step) == 0)
}

fn bucket_is_kept(sample: &Sample, rules: &[Reduce]) -> bool {
    rules.iter().all(|rule| match rule {
        Reduce::Bucket { s } => sample.ms.rem_euclid(s * 1000) == 0,
        Reduce::Above { .. } | Reduce::Max { .. } | Reduce::Bins { .. } => false,
        _ => true,
    })
}
