//! Leaves to a plan: grouped by bus, identifier and selectors, in the order of their numbers.

use super::derived::Derived;
use super::extract::{Ranged, Rare, Select, Word};
use super::ids::{BusIds, Key};
use super::{Entry, Group, Plan};
use crate::decode::j1939::{Address, CONNECTION, DATA, Pgn, valid_max};
use crate::decode::layout::{ByteOrder, Layout, Selector, Window};
use crate::decode::predicate::Works;
use crate::decode::{Leaf, LeafIndex, Leaves, SourceAddress, ValueType};
use crate::frame::{BusIndex, CanId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

type Needed<'l> = Vec<(LeafIndex, &'l Leaf)>;

pub(super) fn compile(leaves: &Leaves, needed: &[LeafIndex]) -> Plan {
    let mut needed: Vec<LeafIndex> = needed.to_vec();
    needed.sort_unstable();
    needed.dedup();
    let works = Works::new(leaves, &needed);
    let made = |index: &LeafIndex| leaves.get(*index).and_then(|leaf| leaf.made.as_ref());
    let inputs: Vec<LeafIndex> =
        needed.iter().filter_map(made).flat_map(|made| &made.inputs).copied().collect();
    needed.retain(|index| made(index).is_none());
    needed.extend(inputs);
    needed.sort_unstable();
    needed.dedup();
    let keys = Keys::new(leaves);
    let mut by_frame: BTreeMap<BusIndex, BTreeMap<Key, Needed<'_>>> = BTreeMap::new();
    for index in needed {
        if let Some(leaf) = leaves.get(index) {
            by_frame.entry(leaf.bus).or_default().entry(keys.of(leaf)).or_default().push((index, leaf));
        }
    }
    let mut plan = Plan { works, ..Plan::default() };
    for (bus, mut frames) in by_frame {
        if frames.iter().any(|(key, needed)| is_long(*key, needed)) {
            for carrier in [CONNECTION, DATA] {
                frames.entry(Key::Group(carrier, SourceAddress::NONE)).or_default();
            }
        }
        let ids: Vec<(Key, u32)> =
            frames.iter().map(|(key, needed)| (*key, plan.add_entry(*key, needed))).collect();
        plan.buses.resize_with(usize::from(bus.0), BusIds::default);
        plan.buses.push(BusIds::new(&ids));
    }
    plan
}

/// Whether it may come in several frames.
fn is_long(key: Key, needed: &Needed<'_>) -> bool {
    match key {
        Key::Group(pgn, _) => needed.iter().any(|(_, leaf)| pgn.may_be_long(leaf.size)),
        Key::Id(_) => false,
    }
}

/// How the databases name the senders of each group.
struct Keys {
    sources: HashMap<(BusIndex, Pgn), BTreeSet<SourceAddress>>,
}

/// The null address (SAE J1939-81): in databases it stands for any sender.
const ANY_SOURCE: SourceAddress = SourceAddress(0xFE);

impl Keys {
    fn new(leaves: &Leaves) -> Self {
        let mut sources: HashMap<_, BTreeSet<SourceAddress>> = HashMap::new();
        for (_, leaf) in leaves.iter() {
            if let Some(from) = address(leaf) {
                sources.entry((leaf.bus, from.pgn)).or_default().insert(from.source);
            }
        }
        Self { sources }
    }

    /// A group that is described once is the same whoever sends it, whatever sender stands in the database; where it
    /// is described by sender, each has its own.
    fn of(&self, leaf: &Leaf) -> Key {
        let Some(from) = address(leaf) else { return Key::Id(leaf.id) };
        let once = self.sources.get(&(leaf.bus, from.pgn)).is_none_or(|sources| sources.len() == 1);
        let source = if once || from.source == ANY_SOURCE { SourceAddress::NONE } else { from.source };
        Key::Group(from.pgn, source)
    }
}

/// What the identifier of a leaf of J1939 says.
fn address(leaf: &Leaf) -> Option<Address> {
    match leaf.id {
        CanId::Extended(id) if leaf.j1939 => Address::of(id),
        _ => None,
    }
}

impl Plan {
    fn add_entry(&mut self, key: Key, needed: &Needed<'_>) -> u32 {
        let mut order: Vec<&[Selector]> = Vec::new();
        let mut by_selectors: HashMap<&[Selector], Needed<'_>> = HashMap::new();
        for &(index, leaf) in needed {
            let group = by_selectors.entry(&leaf.selectors).or_default();
            if group.is_empty() && !leaf.selectors.is_empty() {
                order.push(&leaf.selectors);
            }
            group.push((index, leaf));
        }
        let like = like(needed);
        let mapped = &mut self.mapped;
        let mut take = |selectors: &[Selector]| {
            group(selectors, &by_selectors.remove(selectors).unwrap_or_default(), like, mapped)
        };
        let always = take(&[]);
        let multiplexed: Box<[Group]> = order.into_iter().map(take).collect();
        let selectors = needed.iter().flat_map(|(_, leaf)| &leaf.selectors).map(|selector| selector.layout);
        let layouts = selectors.chain(needed.iter().map(|(_, leaf)| leaf.layout));
        let bytes = layouts.map(Layout::bytes).max().unwrap_or(0);
        let j1939 = matches!(key, Key::Group(..));
        let simple = !j1939
            && multiplexed.is_empty()
            && always.rare.is_empty()
            && always.derived.is_empty()
            && bytes <= 8
            && always.all_in(like);
        let simple_from = if simple { u8::try_from(bytes).unwrap_or(u8::MAX) } else { u8::MAX };
        let long = is_long(key, needed);
        let carrier = matches!(key, Key::Group(CONNECTION | DATA, _));
        let (order, pattern) = (like, key.pattern());
        let entry = Entry { always, multiplexed, bytes, simple_from, order, j1939, long, carrier, pattern };
        self.entries.push(entry);
        // At most `LEAVES_MAX` leaves.
        u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
    }
}

impl Group {
    fn all_in(&self, order: ByteOrder) -> bool {
        self.plain.iter().chain(self.ranged.iter().map(Ranged::word)).all(|word| word.order == order)
    }
}

/// The byte order of the first that has one: what is within one byte is read in any.
fn like(needed: &Needed<'_>) -> ByteOrder {
    let mut layouts = needed.iter().map(|(_, leaf)| leaf.layout);
    let several = |layout: &Layout| {
        layout.in_order(ByteOrder::LittleEndian).is_none() || layout.in_order(ByteOrder::BigEndian).is_none()
    };
    layouts.find(several).map_or(ByteOrder::LittleEndian, |layout| layout.order)
}

/// Adds those that a mapping derives or samples to `mapped`.
fn group(selectors: &[Selector], needed: &Needed<'_>, like: ByteOrder, mapped: &mut Vec<LeafIndex>) -> Group {
    let (mut plain, mut ranged, mut rare, mut derived) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &(index, leaf) in needed {
        if leaf.derivation.is_some() || leaf.sampling.is_some() {
            derived.push(Derived::new(slow(index, leaf.source()), leaf, mapped.len()));
            mapped.push(index);
            continue;
        }
        let (sign, all) = (leaf.sign(), (0, top(leaf)));
        let integer = !matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64);
        let bounds = bounds(leaf);
        let word = Word::new(index, leaf.layout, like).filter(|_| integer && !has_codes(leaf));
        match (word, word.and_then(|word| Ranged::new(word, sign, bounds))) {
            (Some(word), _) if sign == 0 && bounds == all => plain.push(word),
            (_, Some(word)) => ranged.push(word),
            _ => rare.push(slow(index, leaf)),
        }
    }
    let select = |selector: &Selector| Select {
        layout: Window::new(selector.layout),
        ranges: selector.ranges.clone().into(),
    };
    let selects = selectors.iter().map(select).collect();
    Group { plain: plain.into(), ranged: ranged.into(), rare: rare.into(), derived: derived.into(), selects }
}

/// What takes any leaf out of a frame.
fn slow(index: LeafIndex, leaf: &Leaf) -> Rare {
    Rare {
        leaf: index,
        layout: Window::new(leaf.layout),
        value_type: leaf.value_type,
        sign: leaf.sign(),
        bounds: bounds(leaf),
        codes: has_codes(leaf),
        scale: leaf.scale,
        offset: leaf.offset,
        range: leaf.range,
    }
}

/// The highest raw value.
fn top(leaf: &Leaf) -> u64 {
    u64::MAX >> (64 - leaf.layout.length.clamp(1, 64))
}

/// Whether J1939's codes for "not available" and "error" hold for the leaf: they are defined for unsigned numbers.
fn has_codes(leaf: &Leaf) -> bool {
    leaf.j1939 && leaf.value_type == ValueType::Unsigned
}

/// The largest raw value that is no code. A code that the database names and that follows the values is one of them
/// (SPN 523: `FB` is the gear "park").
fn largest(leaf: &Leaf) -> u64 {
    if !has_codes(leaf) {
        return top(leaf);
    }
    let named =
        |raw: u64| i64::try_from(raw).is_ok_and(|raw| leaf.names.iter().any(|(name, _)| *name == raw));
    let mut top = valid_max(leaf.layout.length);
    while leaf.layout.length == 8 && top < 0xFD && named(top + 1) {
        top += 1;
    }
    top
}

/// The raw values within the leaf's range, with the sign bit flipped: lowest and highest, inclusive.
///
/// `raw * scale + offset` in doubles never turns back as raw grows (rounding keeps order), so the values within the
/// range are one run, and its ends are found by halving. None at all: lowest above highest.
fn bounds(leaf: &Leaf) -> (u64, u64) {
    if matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64) {
        return (0, top(leaf));
    }
    let top = largest(leaf);
    let Some((minimum, maximum)) = leaf.range else { return (0, top) };
    let sign = leaf.sign();
    let value = |ordered: u64| leaf.float(ordered.wrapping_sub(sign));
    let (low, high) = if leaf.scale >= 0.0 {
        (first(top, |raw| value(raw) >= minimum), first(top, |raw| value(raw) > maximum))
    } else {
        (first(top, |raw| value(raw) <= maximum), first(top, |raw| value(raw) < minimum))
    };
    match (low, high) {
        (Some(low), None) => (low, top),
        (Some(low), Some(after)) if low < after => (low, after - 1),
        _ => (1, 0),
    }
}

/// The first number of `0..=top` for which `holds` is true, which then stays true.
fn first(top: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(top) {
        return None;
    }
    let (mut low, mut high) = (0, top);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}
