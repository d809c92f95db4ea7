//! Leaves to a plan: grouped by bus, identifier and selectors, in the order of their numbers.

use super::extract::{Rare, Select, Values, Word};
use super::ids::{BusIds, Key};
use super::{Entry, Group, Plan, Span};
use crate::decode::j1939::{Address, Pgn, valid_max};
use crate::decode::layout::{Layout, Selector, Window};
use crate::decode::{Leaf, LeafIndex, Leaves, SourceAddress, ValueType};
use crate::frame::{BusIndex, CanId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

type Needed<'l> = Vec<(LeafIndex, &'l Leaf)>;

pub(super) fn compile(leaves: &Leaves, needed: &[LeafIndex]) -> Plan {
    let mut needed: Vec<LeafIndex> = needed.to_vec();
    needed.sort_unstable();
    needed.dedup();
    let keys = Keys::new(leaves);
    let mut by_frame: BTreeMap<BusIndex, BTreeMap<Key, Needed<'_>>> = BTreeMap::new();
    for index in needed {
        if let Some(leaf) = leaves.get(index) {
            by_frame.entry(leaf.bus).or_default().entry(keys.of(leaf)).or_default().push((index, leaf));
        }
    }
    let mut plan = Plan::default();
    for (bus, frames) in by_frame {
        let ids: Vec<(Key, u32)> =
            frames.iter().map(|(key, needed)| (*key, plan.add_entry(*key, needed))).collect();
        plan.buses.resize_with(usize::from(bus.0), BusIds::default);
        plan.buses.push(BusIds::new(&ids));
        let long =
            ids.iter().any(|(_, entry)| plan.entries.get(*entry as usize).is_some_and(|entry| entry.long));
        plan.long.resize(usize::from(bus.0), false);
        plan.long.push(long);
    }
    plan
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
            if group.is_empty() {
                order.push(&leaf.selectors);
            }
            group.push((index, leaf));
        }
        let first = length(&self.groups);
        let mut bytes = 0;
        for selectors in order {
            let group = by_selectors.remove(selectors).unwrap_or_default();
            bytes = bytes.max(self.add_group(selectors, &group));
        }
        let groups = Span { first, end: length(&self.groups) };
        let long = match key {
            Key::Group(pgn, _) => needed.iter().any(|(_, leaf)| pgn.may_be_long(leaf.size)),
            Key::Id(_) => false,
        };
        self.entries.push(Entry { groups, bytes, long, pattern: key.pattern() });
        length(&self.entries) - 1
    }

    /// Adds a group and tells how many bytes a frame must have for it.
    fn add_group(&mut self, selectors: &[Selector], needed: &Needed<'_>) -> u32 {
        let first = length(&self.selects);
        for Selector { layout, ranges } in selectors {
            let low = length(&self.ranges);
            self.ranges.extend_from_slice(ranges);
            let ranges = Span { first: low, end: length(&self.ranges) };
            self.selects.push(Select { layout: Window::new(*layout), ranges });
        }
        let selects = Span { first, end: length(&self.selects) };
        let (first_word, first_rare) = (length(&self.words), length(&self.rare));
        for (index, leaf) in needed {
            self.add_leaf(*index, leaf);
        }
        let words = Span { first: first_word, end: length(&self.words) };
        let rare = Span { first: first_rare, end: length(&self.rare) };
        self.groups.push(Group { selects, words, rare });
        let layouts = selectors.iter().map(|selector| selector.layout);
        layouts.chain(needed.iter().map(|(_, leaf)| leaf.layout)).map(Layout::bytes).max().unwrap_or(0)
    }

    fn add_leaf(&mut self, index: LeafIndex, leaf: &Leaf) {
        let integer = !matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64);
        let bounds = if integer { bounds(leaf) } else { (0, u64::MAX) };
        let values = Values { sign: leaf.sign(), bounds, j1939: has_codes(leaf) };
        match Word::new(index, leaf.layout, values) {
            Some(word) if integer => self.words.push(word),
            _ => self.rare.push(Rare {
                leaf: index,
                layout: Window::new(leaf.layout),
                value_type: leaf.value_type,
                values,
                scale: leaf.scale,
                offset: leaf.offset,
                range: leaf.range,
            }),
        }
    }
}

/// Whether J1939's codes for "not available" and "error" hold for the leaf: they are defined for unsigned numbers.
fn has_codes(leaf: &Leaf) -> bool {
    leaf.j1939 && leaf.value_type == ValueType::Unsigned
}

/// The largest raw value that is no code. A code that the database names and that follows the values is one of them
/// (SPN 523: `FB` is the gear "park").
fn largest(leaf: &Leaf) -> u64 {
    let ones = u64::MAX >> (64 - leaf.layout.length.clamp(1, 64));
    if !has_codes(leaf) {
        return ones;
    }
    let named =
        |raw: u64| i64::try_from(raw).is_ok_and(|raw| leaf.names.iter().any(|(name, _)| *name == raw));
    let mut top = valid_max(leaf.layout.length);
    while leaf.layout.length == 8 && top < 0xFD && named(top + 1) {
        top += 1;
    }
    top
}

fn length<T>(list: &[T]) -> u32 {
    // At most `LEAVES_MAX` leaves, each with few selectors.
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// The raw values within the leaf's range, with the sign bit flipped: lowest and highest, inclusive.
///
/// `raw * scale + offset` in doubles never turns back as raw grows (rounding keeps order), so the values within the
/// range are one run, and its ends are found by halving. None at all: lowest above highest.
fn bounds(leaf: &Leaf) -> (u64, u64) {
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
