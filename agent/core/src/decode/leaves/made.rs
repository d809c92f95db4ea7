//! Derived signals as leaves: what this car has the inputs of, in units that are known.

use super::{Leaf, Leaves};
use crate::decode::predicate::{Input, Made, Predicate, digest};
use crate::decode::{LeafIndex, Notice};
use crate::limits::LEAVES_MAX;
use crate::names::SignalPath;

impl Leaves {
    /// Adds those whose inputs are all there. One of which an input cannot be used is left out and told.
    pub(super) fn derive(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for predicate in Predicate::ALL {
            let found = predicate.made_of().map(|path| self.find(&path)).collect::<Option<Vec<_>>>();
            let Some((inputs, path)) = found.zip(SignalPath::new(predicate.path()).ok()) else { continue };
            let made = Made { predicate, inputs };
            match (self.unfit(&made), self.leaf(made, path)) {
                (None, Some(leaf)) => self.put(leaf),
                (Some(what), _) => notices.push(left_out(predicate, &what)),
                (None, None) => {}
            }
        }
        notices
    }

    /// Why an input cannot be used.
    fn unfit(&self, made: &Made) -> Option<String> {
        let mut pairs = made.predicate.inputs().iter().zip(&made.inputs);
        pairs.find_map(|(input, index)| unfit(made.predicate, input, self.get(*index)?))
    }

    fn leaf(&self, made: Made, path: SignalPath) -> Option<Leaf> {
        let predicate = made.predicate;
        let inputs = made.inputs.iter().map(|index| self.get(*index)).collect::<Option<Vec<_>>>()?;
        let names: Vec<_> =
            (0..).zip(predicate.names()).map(|(raw, name)| (raw, (*name).to_owned())).collect();
        let most = names.last().map_or(1, |(raw, _)| *raw);
        let first = (*inputs.first()?).clone();
        Some(Leaf {
            path,
            signal: predicate.path().to_owned(),
            unit: String::new(),
            value_type: predicate.value_type(),
            scale: 1.0,
            offset: 0.0,
            names,
            #[expect(clippy::cast_precision_loss, reason = "the number of a name")]
            range: Some((0.0, most as f64)),
            derivation: None,
            sampling: None,
            made: Some(made),
            digest: digest(predicate, inputs.iter().map(|input| (input.path.as_str(), input.digest))),
            ..first
        })
    }

    fn put(&mut self, leaf: Leaf) {
        let Ok(index) = u32::try_from(self.all.len()) else { return };
        if self.all.len() < LEAVES_MAX {
            self.by_path.insert(leaf.path.clone(), LeafIndex(index));
            self.all.push(leaf);
        }
    }
}

fn unfit(predicate: Predicate, input: &Input, leaf: &Leaf) -> Option<String> {
    if !input.units.is_empty() && !input.units.contains(&leaf.unit.as_str()) {
        let unit = if leaf.unit.is_empty() { "no unit" } else { &leaf.unit };
        return Some(format!("has {unit}, and must have {}", input.units[0]));
    }
    let seldom = |us: u64| i64::try_from(us).is_ok_and(|us| us > predicate.counts_us());
    leaf.sampling.and_then(|sampling| match sampling {
        it if it.on_change => Some(
            "is mapped with `on_change`, so that its silence says nothing; give an `interval_ms`".to_owned(),
        ),
        it if seldom(it.interval_us) => Some(format!(
            "is looked at so seldom; give an `interval_ms` of at most {}",
            predicate.counts_us() / 1_000
        )),
        _ => None,
    })
}

/// By its own name, which is the agent's and no signal of the car.
fn left_out(predicate: Predicate, what: &str) -> Notice {
    let what = format!("is left out: a signal that it is made of {what}");
    Notice { place: predicate.path().to_owned(), line: 0, column: 0, what }
}
