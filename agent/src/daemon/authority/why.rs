//! Why a signal leaves or does not, as the authority explains it; and which one was meant, if nobody here knows it.

use super::LocalAuthority;
use crate::control::{Meanwhile, Why, WhyOrder};
use glovebox_core::consent::effective::explain;
use glovebox_core::decode::Leaves;
use glovebox_core::names::SignalPath;
use std::collections::BTreeSet;

/// So many near names are told.
const NEAR_MAX: usize = 3;

impl LocalAuthority {
    /// Why a signal leaves or does not.
    #[must_use]
    pub fn why(&self, order: &WhyOrder, leaves: &Leaves, meanwhile: &Meanwhile) -> Why {
        let mut explained = explain(&self.situation(leaves), &order.signal, order.recipient.as_ref());
        self.add_session(&order.signal, &mut explained);
        let leaf = leaves.find(&order.signal);
        let unit = leaf.and_then(|leaf| Some(leaves.get(leaf)?.unit.as_str()));
        let mut why = Why::of(&order.signal, unit.unwrap_or_default(), &explained);
        let policy = self.control().policy();
        let is_private = policy.is_some_and(|policy| policy.is_private(&order.signal));
        why.add(meanwhile, is_private);
        if leaf.is_none() {
            let named = self.named();
            why.known = named.contains(&order.signal);
            let all = leaves.iter().map(|(_, leaf)| &leaf.path).chain(named.iter().copied());
            why.near = near(&order.signal, &all.collect());
        }
        why
    }

    /// Every signal that a grant names or a request asks for.
    fn named(&self) -> BTreeSet<&SignalPath> {
        let requests = self.control().policy().map(|policy| policy.requests()).unwrap_or_default();
        let asked = requests.iter().flat_map(|request| &request.payload().signals).map(|asked| &asked.signal);
        let granted = self.control().grants().live().iter();
        let granted = granted.flat_map(|grant| &grant.given().payload().pii_information);
        granted.map(|item| &item.signal).chain(asked).collect()
    }
}

/// Those that end alike, then those that are spelt alike: at most a third of their letters otherwise.
fn near(wanted: &SignalPath, all: &BTreeSet<&SignalPath>) -> Vec<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let (text, end) = (wanted.as_str().to_ascii_lowercase(), last(wanted.as_str()));
    let rank = |path: &SignalPath| {
        let edits = strsim::damerau_levenshtein(&text, &path.as_str().to_ascii_lowercase());
        let ends_alike = last(path.as_str()) == end;
        let spelt_alike = edits <= path.as_str().len() / 3;
        (ends_alike || spelt_alike).then(|| (!ends_alike, edits, path.to_string()))
    };
    let others = all.iter().filter(|path| **path != wanted);
    let mut found: Vec<_> = others.filter_map(|path| rank(path)).collect();
    found.sort();
    found.truncate(NEAR_MAX);
    found.into_iter().map(|(.., path)| path).collect()
}
