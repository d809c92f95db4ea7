//! Which multiplexors must hold which values for a signal to be in a frame: simple (`M`, `m3`), extended and
//! cascaded (`m3M` and `SG_MUL_VAL_`). What is not clear is left out, never decoded on a guess.

use super::extras::Above;
use super::message::Read;
use super::{Notices, Selector, Signal};
use crate::limits::MULTIPLEX_DEPTH_MAX;
use can_dbc::MultiplexIndicator;
use std::collections::{HashMap, HashSet};

/// One step up: the multiplexor's index in the message, and its values.
type Step = Option<(usize, Vec<(u64, u64)>)>;

/// Gives each signal its selectors; the short names stay beside the signals for the caller.
pub(super) fn resolve<'e>(
    read: Vec<Read<'_>>,
    above: impl Fn(&str) -> &'e [Above],
    notices: &mut Notices<'_>,
) -> Vec<(String, Signal)> {
    let by_name: HashMap<&str, usize> = read.iter().enumerate().map(|(i, r)| (r.short.as_str(), i)).collect();
    let named: HashSet<&str> =
        read.iter().flat_map(|signal| above(&signal.short)).map(|above| above.multiplexor.as_str()).collect();
    let all = All { read: &read, by_name, named };
    let steps: Vec<Result<Step, String>> =
        read.iter().map(|signal| step(signal, &all, above(&signal.short))).collect();
    let selectors: Vec<Result<Vec<Selector>, String>> =
        (0..read.len()).map(|index| climb(index, &read, &steps)).collect();
    let mut signals = Vec::with_capacity(read.len());
    for (Read { short, statement, mut signal, .. }, selectors) in read.into_iter().zip(selectors) {
        match selectors {
            Ok(selectors) => {
                signal.selectors = selectors;
                signals.push((short, signal));
            }
            Err(what) => {
                notices.add(statement.line, statement.column, format!("the signal is left out: {what}"));
            }
        }
    }
    signals
}

/// The signals of the message.
struct All<'r> {
    read: &'r [Read<'r>],
    by_name: HashMap<&'r str, usize>,
    /// Those that some `SG_MUL_VAL_` names as a multiplexor.
    named: HashSet<&'r str>,
}

/// The multiplexor directly above a signal.
fn step(signal: &Read<'_>, all: &All<'_>, above: &[Above]) -> Result<Step, String> {
    let value = match signal.indicator {
        MultiplexIndicator::MultiplexedSignal(value)
        | MultiplexIndicator::MultiplexorAndMultiplexedSignal(value) => Some(value),
        // Some files write `m` without a value at a multiplexor, which is itself in every frame.
        MultiplexIndicator::Plain
            if marked_without_value(signal.statement.text) && !all.named.contains(signal.short.as_str()) =>
        {
            return Err("it is multiplexed and no value is given".to_owned());
        }
        MultiplexIndicator::Plain | MultiplexIndicator::Multiplexor => None,
    };
    match (above, value) {
        ([first, rest @ ..], _) => {
            if rest.iter().any(|other| other.multiplexor != first.multiplexor) {
                return Err("`SG_MUL_VAL_` puts it under two multiplexors".to_owned());
            }
            let index = all.by_name.get(first.multiplexor.as_str()).copied();
            let index = index.ok_or("`SG_MUL_VAL_` names a multiplexor that the message does not have")?;
            let marked = matches!(
                all.read[index].indicator,
                MultiplexIndicator::Multiplexor | MultiplexIndicator::MultiplexorAndMultiplexedSignal(_)
            );
            if !marked {
                return Err("the multiplexor that `SG_MUL_VAL_` names is not marked `M`".to_owned());
            }
            let ranges = above.iter().flat_map(|above| above.ranges.iter().copied()).collect();
            Ok(Some((index, merge(ranges)?)))
        }
        ([], None) => Ok(None),
        ([], Some(value)) => {
            let is_root = |signal: &Read<'_>| signal.indicator == MultiplexIndicator::Multiplexor;
            let mut roots = (0..all.read.len()).filter(|index| is_root(&all.read[*index]));
            match (roots.next(), roots.next()) {
                (Some(root), None) => Ok(Some((root, vec![(value, value)]))),
                (None, _) => Err("it is multiplexed and the message has no multiplexor".to_owned()),
                (Some(_), Some(_)) => {
                    Err("the message has two multiplexors and no `SG_MUL_VAL_` for it".to_owned())
                }
            }
        }
    }
}

/// `SG_ name m : …`, which the crate reads as a plain signal.
fn marked_without_value(statement: &str) -> bool {
    statement.split(':').next().is_some_and(|head| head.split_whitespace().nth(2) == Some("m"))
}

/// All multiplexors above a signal, the nearest last.
fn climb(index: usize, read: &[Read<'_>], steps: &[Result<Step, String>]) -> Result<Vec<Selector>, String> {
    let mut selectors = Vec::new();
    let mut at = index;
    while let Some((above, ranges)) = steps[at].as_ref().map_err(Clone::clone)? {
        if selectors.len() == MULTIPLEX_DEPTH_MAX || *above == index {
            return Err("its multiplexors go round in a circle or too deep".to_owned());
        }
        selectors.push(Selector { layout: read[*above].signal.layout, ranges: ranges.clone() });
        at = *above;
    }
    selectors.reverse();
    Ok(selectors)
}

/// Sorted, and joined where they touch.
fn merge(mut ranges: Vec<(u64, u64)>) -> Result<Vec<(u64, u64)>, String> {
    if let Some((low, high)) = ranges.iter().find(|(low, high)| low > high) {
        return Err(format!("`SG_MUL_VAL_` gives it the values {low} to {high}, the first is larger"));
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some((_, last)) if low <= last.saturating_add(1) => *last = high.max(*last),
            _ => merged.push((low, high)),
        }
    }
    Ok(merged)
}
