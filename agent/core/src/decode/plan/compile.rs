//! Leaves to a plan: grouped by bus, identifier and selectors, in the order of their numbers.

use super::derived::Derived;
use super::extract::{Rare, Select, Word};
use super::ids::BusIds;
use super::{Entry, Group, Plan, Span};
use crate::decode::layout::{Layout, Selector, Window};
use crate::decode::{Leaf, LeafIndex, Leaves, ValueType};
use crate::frame::{BusIndex, CanId};
use std::collections::{BTreeMap, HashMap};

type Needed<'l> = Vec<(LeafIndex, &'l Leaf)>;

pub(super) fn compile(leaves: &Leaves, needed: &[LeafIndex]) -> Plan {
    let mut needed: Vec<LeafIndex> = needed.to_vec();
    needed.sort_unstable();
    needed.dedup();
    let mut by_frame: BTreeMap<BusIndex, BTreeMap<CanId, Needed<'_>>> = BTreeMap::new();
    for index in needed {
        if let Some(leaf) = leaves.get(index) {
            by_frame.entry(leaf.bus).or_default().entry(leaf.id).or_default().push((index, leaf));
        }
    }
    let mut plan = Plan::default();
    for (bus, frames) in by_frame {
        let ids: Vec<(CanId, u32)> =
            frames.iter().map(|(id, needed)| (*id, plan.add_entry(needed))).collect();
        plan.buses.resize_with(usize::from(bus.0), BusIds::default);
        plan.buses.push(BusIds::new(&ids));
    }
    plan
}

impl Plan {
    fn add_entry(&mut self, needed: &Needed<'_>) -> u32 {
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
        self.entries.push(Entry { groups, bytes });
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
        let first_derived = length(&self.derived);
        for (index, leaf) in needed {
            self.add_leaf(*index, leaf);
        }
        let words = Span { first: first_word, end: length(&self.words) };
        let rare = Span { first: first_rare, end: length(&self.rare) };
        let derived = Span { first: first_derived, end: length(&self.derived) };
        self.groups.push(Group { selects, words, rare, derived });
        let layouts = selectors.iter().map(|selector| selector.layout);
        layouts.chain(needed.iter().map(|(_, leaf)| leaf.layout)).map(Layout::bytes).max().unwrap_or(0)
    }

    fn add_leaf(&mut self, index: LeafIndex, leaf: &Leaf) {
        if leaf.derivation.is_some() || leaf.sampling.is_some() {
            self.derived.push(Derived::new(rare(index, leaf.source()), leaf));
            return;
        }
        let integer = !matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64);
        match Word::new(index, leaf.layout, leaf.sign(), bounds(leaf)) {
            Some(word) if integer => self.words.push(word),
            _ => self.rare.push(rare(index, leaf)),
        }
    }
}

fn rare(index: LeafIndex, leaf: &Leaf) -> Rare {
    Rare {
        leaf: index,
        layout: Window::new(leaf.layout),
        value_type: leaf.value_type,
        sign: leaf.sign(),
        bounds: bounds(leaf),
        scale: leaf.scale,
        offset: leaf.offset,
        range: leaf.range,
    }
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
    if matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64) {
        return (0, u64::MAX);
    }
    let top = u64::MAX >> (64 - leaf.layout.length.clamp(1, 64));
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
