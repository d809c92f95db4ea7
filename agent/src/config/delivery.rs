//! `[uplink]`, as far as it says in which order batches go and when: classes of purposes, and what must hold.

use glovebox_core::delivery::{NetworkKind, Networks, OnlyWhen as Condition};
use glovebox_core::limits;
use glovebox_core::names::{PurposeId, SignalPath};
use glovebox_core::outbox::Priority;
use glovebox_core::pipeline::watch::Test;

use super::fault::{FaultKind, Hint, Place};
use super::reader::{Collector, Read, Reader, Told};
use super::sections::{Seen, interface_name};
use super::source::{Table, Value};

/// In which order batches go, and when.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delivery {
    /// Purposes that go first.
    pub urgent: Vec<PurposeId>,
    /// Purposes that go last.
    pub bulk: Vec<PurposeId>,
    /// `[uplink.only_when]`.
    pub only_when: Option<OnlyWhen>,
}

/// What must hold so that batches of some classes are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct OnlyWhen {
    /// The classes, and the networks.
    pub condition: Condition,
    /// The signal and what is asked of it.
    pub signal: Option<Signal>,
}

/// A signal of the car's databases, which need not be granted to anybody.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Its name.
    pub path: SignalPath,
    /// What is asked of it.
    pub test: Test,
    /// Where it stands in the configuration.
    pub place: Place,
}

impl Delivery {
    /// The class of a purpose.
    #[must_use]
    pub fn priority(&self, purpose: &PurposeId) -> Priority {
        if self.urgent.contains(purpose) {
            Priority::Urgent
        } else if self.bulk.contains(purpose) {
            Priority::Bulk
        } else {
            Priority::Normal
        }
    }

    pub(super) fn read(root: &Table, to: &mut Collector) -> Read<Self> {
        let reader = Reader::section(root, "uplink", to);
        let mut seen = Seen::new("a purpose has one class: remove one of them");
        let urgent = read_purposes(&reader, "urgent", &mut seen, to);
        let bulk = read_purposes(&reader, "bulk", &mut seen, to);
        let only_when = reader.inner("only_when", to)?.map(|inner| OnlyWhen::read(&inner, to));
        Ok(Self { urgent: urgent?, bulk: bulk?, only_when: only_when.transpose()? })
    }
}

fn read_purposes(
    reader: &Reader<'_>,
    key: &str,
    seen: &mut Seen,
    to: &mut Collector,
) -> Read<Vec<PurposeId>> {
    let texts = reader.texts(key, to)?;
    let range = 0..=limits::CLASSED_PURPOSES_MAX;
    if !range.contains(&texts.len()) {
        return Err(reader.outside(key, format!("a list of {}", texts.len()), &range, to));
    }
    let read = |(text, place): (&str, Place), to: &mut Collector| {
        let purpose = PurposeId::new(text).map_err(|why| {
            let (key, why) = (reader.name(key), why.to_string());
            to.tell(&place, FaultKind::Malformed { key, why, example: "[\"tyre-care\"]" })
        })?;
        seen.once_at(reader, key, (text, &place), to)?;
        Ok(purpose)
    };
    each(texts, to, read)
}

/// Reads each of a list, so that all faults are noted.
fn each<T>(
    texts: Vec<(&str, Place)>,
    to: &mut Collector,
    mut read: impl FnMut((&str, Place), &mut Collector) -> Read<T>,
) -> Read<Vec<T>> {
    let all: Vec<Read<T>> = texts.into_iter().map(|text| read(text, to)).collect();
    all.into_iter().collect()
}

const CLASSES: [(&str, Priority); 3] =
    [("urgent", Priority::Urgent), ("normal", Priority::Normal), ("bulk", Priority::Bulk)];

impl OnlyWhen {
    fn read(reader: &Reader<'_>, to: &mut Collector) -> Read<Self> {
        let classes = read_classes(reader, to);
        let kinds = NetworkKind::ALL.map(|kind| (kind.name(), kind));
        let kinds = read_words(reader, "networks", &kinds, to);
        let interfaces = read_interfaces(reader, to);
        let signal = read_signal(reader, to);
        let (classes, kinds, interfaces, signal) = (classes?, kinds?, interfaces?, signal?);
        if kinds.is_empty() && interfaces.is_empty() && signal.is_none() {
            let example = "networks = [\"wifi\"], interfaces = [\"wlan*\"] or signal = \"Vehicle.IsMoving\"";
            return Err(reader.missing("networks", example, to));
        }
        let networks = Networks { kinds, interfaces };
        Ok(Self { condition: Condition { classes, networks, signal: signal.is_some() }, signal })
    }
}

/// All if nothing is said.
fn read_classes(reader: &Reader<'_>, to: &mut Collector) -> Read<Vec<Priority>> {
    if reader.get("classes").is_none() {
        return Ok(CLASSES.map(|(_, class)| class).to_vec());
    }
    let classes = read_words(reader, "classes", &CLASSES, to)?;
    if classes.is_empty() {
        return Err(reader.outside("classes", "a list of 0", &(1..=CLASSES.len()), to));
    }
    Ok(classes)
}

/// A list of words of which only these are known.
fn read_words<T: Copy>(
    reader: &Reader<'_>,
    key: &str,
    known: &[(&str, T)],
    to: &mut Collector,
) -> Read<Vec<T>> {
    let mut seen = Seen::new("remove one of them");
    let read = |(text, place): (&str, Place), to: &mut Collector| {
        let Some((_, word)) = known.iter().find(|(name, _)| *name == text) else {
            let hint = Hint::nearest(text, known.iter().map(|(name, _)| *name));
            let kind = FaultKind::UnknownWord { key: reader.name(key), word: text.to_owned(), hint };
            return Err(to.tell(&place, kind));
        };
        seen.once_at(reader, key, (text, &place), to)?;
        Ok(*word)
    };
    each(reader.texts(key, to)?, to, read)
}

/// Names of interfaces, `*` at the end for any rest.
fn read_interfaces(reader: &Reader<'_>, to: &mut Collector) -> Read<Vec<String>> {
    let (key, range) = ("interfaces", 0..=limits::ONLY_WHEN_INTERFACES_MAX);
    let texts = reader.texts(key, to)?;
    if !range.contains(&texts.len()) {
        return Err(reader.outside(key, format!("a list of {}", texts.len()), &range, to));
    }
    let mut seen = Seen::new("remove one of them");
    let read = |(text, place): (&str, Place), to: &mut Collector| {
        seen.once_at(reader, key, (text, &place), to)?;
        let name = interface_name(text.strip_suffix('*').unwrap_or(text));
        let whole = name.and_then(|name| match name.contains('*') {
            true => Err(format!("`{text}` has a `*` before its end")),
            false => Ok(text.to_owned()),
        });
        whole.map_err(|why| {
            let kind = FaultKind::Malformed { key: reader.name(key), why, example: "[\"wlan*\", \"eth0\"]" };
            to.tell(&place, kind)
        })
    };
    each(texts, to, read)
}

/// The keys that say what is asked of the signal.
const TESTS: [&str; 3] = ["equals", "at_least", "at_most"];

pub(super) fn read_signal(reader: &Reader<'_>, to: &mut Collector) -> Read<Option<Signal>> {
    let example = "signal = \"Vehicle.IsMoving\"";
    let path = reader.parsed("signal", example, to, SignalPath::new);
    let test = read_test(reader, to);
    match (path?, test?) {
        (None, None) => Ok(None),
        (Some(path), Some(test)) => Ok(Some(Signal { path, test, place: reader.place("signal") })),
        (Some(_), None) => Err(reader.missing("equals", "equals = false, at_least = 1 or at_most = 0", to)),
        (None, Some(_)) => Err(reader.missing("signal", example, to)),
    }
}

fn read_test(reader: &Reader<'_>, to: &mut Collector) -> Read<Option<Test>> {
    let [equals, at_least, at_most] = TESTS.map(|key| reader.get(key));
    let within = (at_least.is_some() || at_most.is_some()).then_some("at_least");
    let Some(equals) = equals else {
        let (at_least, at_most) = (number(reader, "at_least", to), number(reader, "at_most", to));
        let (at_least, at_most) = (at_least?, at_most?);
        if at_least.zip(at_most).is_some_and(|(least, most)| least > most) {
            let why = "it is more than `at_most`: no value is both".to_owned();
            return Err(malformed(reader, "at_least", why, to));
        }
        return Ok(within.map(|_| Test::Within { at_least, at_most }));
    };
    if within.is_some() {
        let why = "it stands beside `at_least` or `at_most`: one of them says it all".to_owned();
        return Err(malformed(reader, "equals", why, to));
    }
    match &equals.value {
        Value::Text(name) => Ok(Some(Test::Named(name.clone()))),
        Value::Boolean(truth) => Ok(Some(Test::Equals(f64::from(u8::from(*truth))))),
        _ => Ok(number(reader, "equals", to)?.map(Test::Equals)),
    }
}

fn malformed(reader: &Reader<'_>, key: &str, why: String, to: &mut Collector) -> Told {
    let kind = FaultKind::Malformed { key: reader.name(key), why, example: "at_least = 0 and at_most = 5" };
    to.tell(&reader.place(key), kind)
}

/// A number with or without a fraction.
fn number(reader: &Reader<'_>, key: &str, to: &mut Collector) -> Read<Option<f64>> {
    let Some(item) = reader.get(key) else { return Ok(None) };
    match &item.value {
        Value::Float(number) if number.is_finite() => Ok(Some(*number)),
        Value::Integer(number, text) => match number.and_then(|number| i32::try_from(number).ok()) {
            Some(number) => Ok(Some(f64::from(number))),
            None => Err(reader.outside(key, text, &(i32::MIN..=i32::MAX), to)),
        },
        _ => {
            let wanted = "a number, or for `equals` also true, false or the name of a value in quotes";
            Err(reader.wrong(key, item, wanted, to))
        }
    }
}
