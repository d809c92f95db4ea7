//! The real core under a random life: makes the documents, hands them over as bytes, opens what comes out.

use super::car::{LEAVES, PATHS, path};
use super::documents::{bundle, bytes, event, key, names, notice, request, specs};
use super::model::{self, ALL, Act, Asked, BRAKING, Given, Party, Policy, RANGE, Reduce, SIGNED, Sample};
use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::document::bundle::{Category, SigningKeyStatement};
use glovebox_core::consent::document::dsse::{DsseEnvelope, pae};
use glovebox_core::consent::document::policy::Policy as Verified;
use glovebox_core::consent::document::record::{
    Conditions, ConsentRecord, Decision, EventState, PiiInformation, Processing, RecordedPurpose,
    RecordedRecipient, verify_record,
};
use glovebox_core::consent::document::request::Necessity;
use glovebox_core::consent::document::{Document, Verifier};
use glovebox_core::consent::effective::{Effective, Situation};
use glovebox_core::consent::grants::{Effect, Grants};
use glovebox_core::decode::Plan;
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::*;
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use glovebox_core::seal::{SealError, Sealer, Sealing};
use glovebox_proto::{body, column, v1};
use glovebox_tests::seeded::Seeded as Random;
use prost::Message as _;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Seconds since 1970 at which every life begins.
pub const START: i64 = 1_800_000_000;
const RECIPIENTS: usize = 2;
const PURPOSES: usize = 2;
const ROOT: VerifyingKey = VerifyingKey([1; 32]);
const SIGNER: VerifyingKey = VerifyingKey([2; 32]);
const OWNER: VerifyingKey = VerifyingKey([3; 32]);
const RECORDER: VerifyingKey = VerifyingKey([4; 32]);
const STRANGER: VerifyingKey = VerifyingKey([5; 32]);

pub fn time(seconds: i64) -> WallTime {
    WallTime(seconds * 1_000_000)
}

/// A signature that only this test's verifier knows: cheap, and as hard to get by accident as a real one.
fn signature(key: &VerifyingKey, message: &[u8]) -> [u8; 64] {
    let mut text = key.0.to_vec();
    text.extend_from_slice(message);
    let digest = Digest::of(&text).0;
    let mut both = [0; 64];
    both[..32].copy_from_slice(&digest);
    both[32..].copy_from_slice(&digest);
    both
}

struct Fake;

impl Verifier for Fake {
    fn verify(&self, key: &VerifyingKey, message: &[u8], claimed: &[u8; 64]) -> bool {
        signature(key, message) == *claimed
    }
}

impl Sealer for Fake {
    fn alias(&self, recipient: &RecipientId) -> Result<VerifyingKey, SealError> {
        Ok(VerifyingKey(Digest::of(recipient.as_str().as_bytes()).0))
    }

    fn encrypt(
        &self,
        key: &HpkeKey,
        _: &[u8],
        _: &[u8],
        text: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), SealError> {
        Ok((key.0.to_vec(), text.to_vec()))
    }

    fn sign(&self, recipient: &RecipientId, message: &[u8]) -> Result<[u8; 64], SealError> {
        Ok(signature(&self.alias(recipient)?, message))
    }
}

pub fn sign<T: Document>(document: &T, key: &VerifyingKey) -> DsseEnvelope {
    let payload = serde_json::to_vec(document).unwrap();
    DsseEnvelope::unsigned(T::TYPE, &payload).with_signature("", &signature(key, &pae(T::TYPE, &payload)))
}

pub fn category(letter: char) -> Category {
    match letter {
        'd' => Category::Driving,
        'e' => Category::Energy,
        _ => Category::Unknown,
    }
}

/// One car with its documents and its pipeline.
pub struct World {
    policy: Policy,
    live: BTreeMap<(usize, usize), Given>,
    now: i64,
    ms: i64,
    doubt: bool,
    // What is tested.
    verified: Option<Verified>,
    grants: Grants,
    pipeline: Pipeline,
    sealing: Sealing,
    sequence: Sequence,
    descriptors: HashMap<Vec<u8>, v1::Descriptor>,
    records: u128,
}

impl World {
    pub fn new() -> Self {
        let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
        Self {
            policy: Policy { version: 1, ..Policy::default() },
            live: BTreeMap::new(),
            now: START,
            ms: 0,
            doubt: false,
            verified: None,
            grants: Grants::new(Default::default()),
            pipeline: Pipeline::new(mapping, 4096),
            sealing: Sealing::new().unwrap(),
            sequence: Sequence(0),
            descriptors: HashMap::new(),
            records: 0,
        }
    }

    /// What happens next.
    pub fn act(&mut self, random: &mut Random) -> Act {
        if self.policy.recipients.is_empty() {
            self.policy = self.bundle(random);
            return Act::Bundle(self.policy.clone());
        }
        let (recipient, purpose) = (pick(random, RECIPIENTS), pick(random, PURPOSES));
        match random.below(24) {
            0 => {
                let policy = self.bundle(random);
                if random.one_in(4) {
                    return Act::FalseBundle(policy);
                }
                self.policy = policy;
                Act::Bundle(self.policy.clone())
            }
            // Documents cost a hundred times what a frame does: few of them, and most of what happens is driving.
            2..=5 => self.give(random, recipient, purpose),
            6 => self.narrow(random, recipient, purpose),
            7 if self.live.remove(&(recipient, purpose)).is_some() => Act::Withdraw { recipient, purpose },
            8 => {
                self.doubt = false;
                self.now += i64::try_from(random.below(4000)).unwrap();
                Act::Clock { now: self.now }
            }
            9 if random.one_in(3) => {
                self.doubt = true;
                Act::ClockInDoubt
            }
            _ => self.frame(random),
        }
    }

    fn bundle(&self, random: &mut Random) -> Policy {
        let mut policy = self.policy.clone();
        policy.version += 1;
        policy.issued = self.now - i64::try_from(random.below(100)).unwrap();
        policy.expires = self.now + 10 + i64::try_from(random.below(20_000)).unwrap();
        if policy.recipients.is_empty() || random.one_in(3) {
            policy.recipients = (0..RECIPIENTS).map(|_| party(random, self.now)).collect();
        }
        if let Some(party) = policy.recipients.get_mut(pick(random, RECIPIENTS)) {
            party.active = !random.one_in(6);
            party.hpke_until = self.now + i64::try_from(random.below(40_000)).unwrap() + 1;
        }
        for signal in 0..ALL {
            if random.one_in(4) || policy.catalogue.is_empty() {
                let letter = random.pick(&['d', 'd', 'd', 'd', 'e', '?']);
                let floor = if random.one_in(3) { reductions(random) } else { Vec::new() };
                policy.catalogue.insert(signal, (letter, floor));
            }
        }
        policy.suspended =
            if random.one_in(6) { vec![(pick(random, RECIPIENTS), random.one_in(2))] } else { vec![] };
        policy.dropped = if random.one_in(4) { vec![pick(random, ALL)] } else { Vec::new() };
        policy.tightened =
            if random.one_in(4) { vec![(pick(random, ALL), reduction(random))] } else { Vec::new() };
        policy
    }

    fn give(&mut self, random: &mut Random, recipient: usize, purpose: usize) -> Act {
        let party = &self.policy.recipients[recipient];
        let request = party.requests[purpose].clone();
        let (mut yes, mut inside) = (BTreeMap::new(), BTreeMap::new());
        for signal in request.signals.keys() {
            if random.one_in(6) {
                continue;
            }
            let known = model::category(&self.policy, *signal).unwrap_or('d');
            let letter = if random.one_in(12) { 'd' } else { known };
            let transforms = if random.one_in(2) { reductions(random) } else { Vec::new() };
            if *signal < BRAKING && random.one_in(3) {
                inside.insert(*signal, (letter, transforms));
                continue;
            }
            yes.insert(*signal, (letter, transforms, random.one_in(4)));
        }
        let key = if random.one_in(15) { party.key + 1 } else { party.key };
        let from = self.now - 100 + i64::try_from(random.below(110)).unwrap();
        let until = self.now + 20 + i64::try_from(random.below(20_000)).unwrap();
        let given = Given { request, key, from, until, yes, inside, relabelled: random.one_in(20) };
        if self.live.contains_key(&(recipient, purpose)) || given.yes.is_empty() || random.one_in(6) {
            return Act::FalseGive { recipient, purpose, given };
        }
        self.live.insert((recipient, purpose), given.clone());
        Act::Give { recipient, purpose, given }
    }

    fn narrow(&mut self, random: &mut Random, recipient: usize, purpose: usize) -> Act {
        let Some(given) = self.live.get(&(recipient, purpose)) else { return self.frame(random) };
        let mut keep = BTreeMap::new();
        for signal in given.yes.keys().chain(given.inside.keys()) {
            if !random.one_in(4) {
                keep.insert(*signal, if random.one_in(2) { reductions(random) } else { Vec::new() });
            }
        }
        Act::Narrow { recipient, purpose, keep, until: given.until }
    }

    fn frame(&mut self, random: &mut Random) -> Act {
        let most = if random.one_in(8) { 1500 } else { 120 };
        self.ms += i64::try_from(random.below(most)).unwrap();
        let small = random.one_in(2);
        let bits = |random: &mut Random, width: u32| {
            let value = random.below(1 << width);
            if small { value % 8 } else { value }
        };
        let raw = match random.below(3) {
            // A brake that is set or not, or something else.
            0 => vec![(4, if random.one_in(4) { bits(random, 8) } else { 40 + random.below(2) })],
            1 => vec![(5, bits(random, 16))],
            _ => vec![
                (0, bits(random, 8)),
                (1, bits(random, 16)),
                (2, bits(random, 12)),
                (3, bits(random, 10)),
            ],
        };
        Act::Frame { ms: self.ms, raw }
    }

    /// Does it to the real core; appends what left.
    pub fn perform(&mut self, act: &Act, out: &mut Vec<Sample>) {
        match act {
            Act::Bundle(policy) => {
                self.verified = Some(self.verify(policy, &SIGNER).unwrap());
            }
            Act::FalseBundle(policy) => assert!(self.verify(policy, &STRANGER).is_err()),
            Act::Give { recipient, purpose, given } => {
                let record = self.given(*recipient, *purpose, given);
                let act = verify_record(&bytes(&record, &OWNER), &[OWNER], &RECORDER, &Fake).unwrap();
                self.grants.apply(act).unwrap();
            }
            Act::FalseGive { recipient, purpose, given } => self.false_give(*recipient, *purpose, given),
            Act::Narrow { recipient, purpose, keep, until } => {
                self.narrowed(*recipient, *purpose, keep, *until);
            }
            Act::Withdraw { recipient, purpose } => self.withdraw(*recipient, *purpose),
            Act::Clock { .. } | Act::ClockInDoubt => {}
            Act::Frame { ms, raw } => return self.drive(*ms, raw, out),
        }
        self.swap(out);
    }

    pub fn finish(&mut self, out: &mut Vec<Sample>) {
        let mut outputs = Vec::new();
        self.pipeline.on_event(Event::Flush, &mut outputs);
        self.open(outputs, out);
    }

    fn verify(&self, policy: &Policy, signer: &VerifyingKey) -> Result<Verified, String> {
        let statement = SigningKeyStatement {
            schema_version: 1,
            key: SIGNER,
            serial: 1,
            not_before: time(START - 1_000_000),
            not_after: time(START + 1_000_000_000),
        };
        let bundle = bundle(policy);
        let envelope = sign(&bundle, signer).with_statement(sign(&statement, &ROOT));
        Verified::verify(&envelope.to_bytes().unwrap(), &ROOT, &Fake).map_err(|error| error.to_string())
    }

    fn false_give(&mut self, recipient: usize, purpose: usize, given: &Given) {
        if given.yes.is_empty() {
            return;
        }
        let record = self.given(recipient, purpose, given);
        for key in [STRANGER, RECORDER] {
            assert!(verify_record(&bytes(&record, &key), &[OWNER], &RECORDER, &Fake).is_err());
        }
    }

    fn narrowed(
        &mut self,
        recipient: usize,
        purpose: usize,
        keep: &BTreeMap<usize, Vec<Reduce>>,
        until: i64,
    ) {
        let (id, purpose_id) = names(recipient, purpose);
        let Some(grant) = self.grants.find_for(&id, &purpose_id) else { return };
        let mut record = grant.given().payload().clone();
        record.supersedes = self.grants.last_for(&id, &purpose_id);
        record.record_id = self.fresh();
        record.events = vec![event(EventState::ConsentNarrowed)];
        record.not_after = time(until);
        let kept = |item: &PiiInformation| {
            let (_, transforms) = keep.iter().find(|(signal, _)| path(**signal) == item.signal)?;
            Some(PiiInformation { transform: specs(transforms), ..item.clone() })
        };
        record.pii_information = record.pii_information.iter().filter_map(kept).collect();
        let act = verify_record(&bytes(&record, &RECORDER), &[OWNER], &RECORDER, &Fake).unwrap();
        self.grants.apply(act).unwrap();
    }

    fn withdraw(&mut self, recipient: usize, purpose: usize) {
        let (id, purpose_id) = names(recipient, purpose);
        let mut record = self.grants.find_for(&id, &purpose_id).unwrap().given().payload().clone();
        record.supersedes = self.grants.last_for(&id, &purpose_id);
        record.record_id = self.fresh();
        record.events = vec![event(EventState::ConsentWithdrawn)];
        let act = verify_record(&bytes(&record, &RECORDER), &[OWNER], &RECORDER, &Fake).unwrap();
        assert_eq!(self.grants.apply(act).unwrap().effect, Effect::Ends);
    }

    fn fresh(&mut self) -> Uuid {
        self.records += 1;
        uuid::Builder::from_random_bytes(self.records.to_be_bytes()).into_uuid()
    }

    fn given(&mut self, recipient: usize, purpose: usize, given: &Given) -> ConsentRecord {
        let (id, purpose_id) = names(recipient, purpose);
        let request = sign(&request(recipient, &given.request), &key(recipient, given.key));
        let pii = |signal: &usize, letter: &char, transforms: &[Reduce], decision: Decision| {
            let leaf = LEAVES.get(LEAVES.find(&path(*signal)).unwrap()).unwrap();
            let signal_map_digest = if given.relabelled { Digest([9; 32]) } else { leaf.digest };
            PiiInformation {
                signal: path(*signal),
                pii_type: String::new(),
                category: category(*letter),
                necessity: Necessity::Optional,
                decision,
                transform: specs(transforms),
                floor_waived: false,
                signal_map_digest,
            }
        };
        let yes = given.yes.iter().map(|(signal, (letter, transforms, floor_waived))| PiiInformation {
            floor_waived: *floor_waived,
            ..pii(signal, letter, transforms, Decision::Yes)
        });
        let inside = given
            .inside
            .iter()
            .map(|(signal, (letter, transforms))| pii(signal, letter, transforms, Decision::InVehicle));
        let pii_information = yes.chain(inside).collect();
        ConsentRecord {
            schema_version: 1,
            record_id: self.fresh(),
            pii_principal_id: Digest([7; 32]),
            subject_vehicle: Fake.alias(&id).unwrap(),
            supersedes: self.grants.last_for(&names(recipient, purpose).0, &names(recipient, purpose).1),
            request_digest: Digest::of(&request.payload_bytes().unwrap()),
            privacy_notice: notice(),
            purpose: RecordedPurpose {
                id: purpose_id,
                code: "dpv:Purpose".into(),
                text_digest: Digest([0; 32]),
            },
            lawful_basis: "dpv:Consent".into(),
            jurisdiction: vec!["DE".into()],
            recipient: RecordedRecipient {
                party_id: id,
                party_name: "Example".into(),
                party_contact: "mailto:a@example.com".into(),
                party_role: "dpv:DataController".into(),
                key_thumbprint: Digest::of(&key(recipient, given.key).0),
            },
            pii_information,
            processing: Processing {
                off_board: true,
                profiling: false,
                automated_decision: false,
                onward_disclosure: Vec::new(),
            },
            retention_period: "P30D".into(),
            storage_locations: vec!["DE".into()],
            not_before: time(given.from),
            not_after: time(given.until),
            conditions: Conditions::default(),
            withdrawal_method: "in the car".into(),
            events: vec![event(EventState::ConsentGiven)],
        }
    }

    fn swap(&mut self, out: &mut Vec<Sample>) {
        let now = TrustedTime { earliest: time(self.now), latest: time(self.now) };
        let situation = Situation {
            policy: self.verified.as_ref(),
            grants: &self.grants,
            leaves: &LEAVES,
            time: (!self.doubt).then_some(now),
            agent_version: "1.0.0",
        };
        let gate = Gate::compile(&Effective::of(&situation), &LEAVES);
        let plan = Plan::compile(&LEAVES, &gate.needed());
        let mut outputs = Vec::new();
        let compiled = Compiled { plan, gate, watches: Watches::default() };
        self.pipeline.on_event(Event::Swap(Box::new(compiled)), &mut outputs);
        self.open(outputs, out);
    }

    fn drive(&mut self, ms: i64, raw: &[(usize, u64)], out: &mut Vec<Sample>) {
        let mut data = 0u64;
        let mut id = 512;
        for (signal, raw) in raw {
            let (start, selector) = [(0, 0), (8, 0), (24, 0), (36, 0), (8, 1), (8, 2)][*signal];
            data |= raw << start | selector;
            id = if *signal < 4 { 256 } else { 512 };
        }
        let length = if id == 256 { 8 } else { 4 };
        let moment = Moment(ms * 1000 + 7);
        let frame =
            Frame::new(BusIndex(0), CanId::Standard(id), moment, &data.to_le_bytes()[..length]).unwrap();
        let mut outputs = Vec::new();
        self.pipeline.on_event(Event::Frame(&frame), &mut outputs);
        self.open(outputs, out);
    }

    /// What left: sealed for real (but for the cipher), opened again by the column decoders.
    fn open(&mut self, outputs: Vec<Output>, out: &mut Vec<Sample>) {
        for output in outputs {
            let Output::Batch(batch) = output else { continue };
            self.sequence = self.sequence.next();
            let place = (Epoch { counter: 1, tag: 1 }, self.sequence);
            let (recipient, purpose) = (batch.rules().recipient.clone(), batch.rules().purpose.clone());
            let sealed = self.sealing.seal(batch, place, &[], &Fake).unwrap();
            let envelope = v1::Envelope::decode(sealed.envelope()).unwrap();
            let message = v1::Batch::decode(body::unpack(&envelope.ciphertext).unwrap().as_slice()).unwrap();
            if let Some(descriptor) = &message.descriptor {
                self.descriptors.insert(message.descriptor_digest.clone(), descriptor.clone());
            }
            let flow = (number(recipient.as_str()), number(purpose.as_str()));
            read(&message, &self.descriptors[&message.descriptor_digest], flow, out);
        }
    }
}

fn number(name: &str) -> usize {
    name[1..].parse().unwrap()
}

fn read(batch: &v1::Batch, descriptor: &v1::Descriptor, flow: (usize, usize), out: &mut Vec<Sample>) {
    let mut found = Vec::new();
    for coded in &batch.columns {
        let times = &batch.times[coded.time as usize];
        let moments = column::decode_times(&times.deltas, times.count as usize).unwrap();
        let states = column::decode_states(&coded.states, moments.len()).unwrap();
        let states: HashMap<u32, v1::State> = states.into_iter().collect();
        let signal = &descriptor.signals[coded.signal as usize];
        let values =
            column::decode_values(signal.r#type(), &coded.values, moments.len() - states.len()).unwrap();
        let mut values = values.into_iter();
        let hundredths = |x: f64| {
            assert!((x * 100.0 - (x * 100.0).round()).abs() < 1e-6, "finer than the grid: {x}");
            #[expect(clippy::cast_possible_truncation, reason = "small, and whole by the check above")]
            let whole = (x * 100.0).round() as i128;
            whole
        };
        let (scale, offset) = (hundredths(signal.scale), hundredths(signal.offset));
        let has = |op: &str| signal.transforms.iter().find(|t| t.op == op);
        let event = has("threshold").is_some();
        let width = has("quantise").filter(|_| !event).map(|_| scale);
        let seconds = |op: &str| has(op).map_or(0, |t| t.parameters[0].value.parse().unwrap());
        let (bucket_s, window_s) = (seconds("time_bucket"), seconds("aggregate"));
        let bin = has("aggregate").and_then(|t| t.parameters.iter().find(|it| it.name == "bin"));
        let bin = bin.map(|it| edges(&it.value, hundredths));
        for (at, moment) in (0u32..).zip(moments) {
            let value = match states.get(&at) {
                Some(v1::State::Absent) => continue,
                Some(_) => None,
                None => {
                    let bits = values.next().unwrap();
                    let signed = signal.r#type() == v1::ValueType::Signed;
                    let raw = if signed { i128::from(bits.cast_signed()) } else { i128::from(bits) };
                    Some(raw * scale + offset)
                }
            };
            let ms = batch.base_time_us / 1000 + moment;
            let signal = PATHS.iter().position(|path| *path == signal.path).unwrap();
            found.push(Sample {
                recipient: flow.0,
                purpose: flow.1,
                signal,
                ms,
                value,
                width,
                bucket_s,
                window_s,
                bin,
                event,
            });
        }
    }
    found.sort_by_key(|sample| sample.ms);
    out.extend(found);
}

/// Of a bin as the descriptor tells it.
fn edges(words: &str, hundredths: impl Fn(f64) -> i128) -> [Option<i128>; 2] {
    let edge = |text: &str| Some(hundredths(text.parse().unwrap()));
    match (words.strip_prefix("below "), words.strip_prefix("from "), words.split_once(" to ")) {
        (Some(high), ..) => [None, edge(high)],
        (_, Some(low), _) => [edge(low), None],
        (.., Some((low, high))) => [edge(low), edge(high)],
        _ => panic!("no bin: {words}"),
    }
}

fn pick(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap()
}

fn reduction(random: &mut Random) -> Reduce {
    match random.below(17) {
        0..=3 => Reduce::Grid {
            step: random.pick(&[5, 10, 20, 30, 50, 100]),
            offset: random.pick(&[0, 0, 0, 10, 5, -35]),
        },
        4..=6 => Reduce::Rate { ms: random.pick(&[50, 100, 300, 1000]) },
        7 | 8 => {
            Reduce::Change { delta: random.pick(&[0, 5, 10, 100]), repeat: random.pick(&[None, Some(500)]) }
        }
        9 | 10 => Reduce::Bucket { s: random.pick(&[1, 1, 2, 3]) },
        11 => Reduce::Max { s: random.pick(&[1, 1, 2]) },
        12 => Reduce::Above { level: random.pick(&[30, 30, 0]), back: random.pick(&[0, 0, 20]) },
        13 => Reduce::Budget { n: random.pick(&[1, 2, 5]) },
        14 => {
            Reduce::Bins { s: random.pick(&[1, 1, 2]), edges: random.pick(&[[0, 100], [100, 300], [0, 305]]) }
        }
        15 => Reduce::Inside,
        _ => Reduce::Nothing,
    }
}

fn reductions(random: &mut Random) -> Vec<Reduce> {
    (0..random.below(3)).map(|_| reduction(random)).collect()
}

fn party(random: &mut Random, now: i64) -> Party {
    let asked = |purpose: usize, random: &mut Random| {
        let mut signals = BTreeMap::new();
        for signal in 0..ALL {
            if signals.is_empty() || !random.one_in(4) {
                signals.insert(signal, if random.one_in(3) { reductions(random) } else { Vec::new() });
            }
        }
        Asked { purpose, expires: now + 100 + i64::try_from(random.below(30_000)).unwrap(), signals }
    };
    let requests = (0..PURPOSES).map(|purpose| asked(purpose, random)).collect();
    let key = u8::try_from(random.below(3)).unwrap();
    Party { active: true, key, requests, hpke_until: now + 50_000 }
}

const _: () = assert!(SIGNED == 2 && RANGE.1 == 50_000);
