//! Leaves to a plan: grouped by bus, identifier and selectors, in the order of their numbers.

use super::extract::{Ranged, Rare, Select, Word};
use super::ids::BusIds;
use super::{Entry, Group, Plan};
use crate::decode::layout::{ByteOrder, Layout, Selector, Window};
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
            if group.is_empty() && !leaf.selectors.is_empty() {
                order.push(&leaf.selectors);
            }
            group.push((index, leaf));
        }
        let like = like(needed);
        let mut take = |selectors: &[Selector]| {
            group(selectors, &by_selectors.remove(selectors).unwrap_or_default(), like)
        };
        let always = take(&[]);
        let multiplexed: Box<[Group]> = order.into_iter().map(take).collect();
        let selectors = needed.iter().flat_map(|(_, leaf)| &leaf.selectors).map(|selector| selector.layout);
        let layouts = selectors.chain(needed.iter().map(|(_, leaf)| leaf.layout));
        let bytes = layouts.map(Layout::bytes).max().unwrap_or(0);
        let simple = multiplexed.is_empty() && always.rare.is_empty() && bytes <= 8 && always.all_in(like);
        let simple_from = if simple { u8::try_from(bytes).unwrap_or(u8::MAX) } else { u8::MAX };
        self.entries.push(Entry { always, multiplexed, bytes, simple_from, order: like });
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

fn group(selectors: &[Selector], needed: &Needed<'_>, like: ByteOrder) -> Group {
    let (mut plain, mut ranged, mut rare) = (Vec::new(), Vec::new(), Vec::new());
    for &(index, leaf) in needed {
        let sign = leaf.sign();
        let integer = !matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64);
        let all = (0, top(leaf));
        let bounds = if integer { bounds(leaf) } else { all };
        let word = Word::new(index, leaf.layout, like).filter(|_| integer);
        match (word, word.and_then(|word| Ranged::new(word, sign, bounds))) {
            (Some(word), _) if sign == 0 && bounds == all => plain.push(word),
            (_, Some(word)) => ranged.push(word),
            _ => rare.push(Rare {
                leaf: index,
                layout: Window::new(leaf.layout),
                value_type: leaf.value_type,
                sign,
                bounds,
                scale: leaf.scale,
                offset: leaf.offset,
                range: leaf.range,
            }),
        }
    }
    let select = |selector: &Selector| Select {
        layout: Window::new(selector.layout),
        ranges: selector.ranges.clone().into(),
    };
    let selects = selectors.iter().map(select).collect();
    Group { plain: plain.into(), ranged: ranged.into(), rare: rare.into(), selects }
}

/// The highest raw value.
fn top(leaf: &Leaf) -> u64 {
    u64::MAX >> (64 - leaf.layout.length.clamp(1, 64))
}

/// The raw values within the leaf's range, with the sign bit flipped: lowest and highest, inclusive.
///
/// `raw * scale + offset` in doubles never turns back as raw grows (rounding keeps order), so the values within the
/// range are one run, and its ends are found by halving. None at all: lowest above highest.
fn bounds(leaf: &Leaf) -> (u64, u64) {
    let top = top(leaf);
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
