//! What a derived signal is made of, and whether each of it may feed it: agreed to in the same grant, at least inside the
//! car, and kept back by nobody. None of it leaves by that.

use super::super::document::record::{Decision, PiiInformation};
use super::super::document::request::Request;
use super::super::grants::Grant;
use super::super::transform::{TransformSpec, inherited};
use super::{Clause, Directive, Docket, View};
use crate::decode::Predicate;
use crate::names::SignalPath;

/// One signal that another is derived of.
pub(super) struct Input {
    /// Which.
    pub(super) signal: SignalPath,
    /// What the request and the record say of it that holds for what is derived; or why it was not agreed to.
    pub(super) granted: Result<Vec<TransformSpec>, Clause>,
    /// The same of later records and directives; or what holds it back now.
    pub(super) now: Result<Vec<TransformSpec>, Clause>,
}

/// Whether it may feed a derived signal.
fn may_feed(decision: Decision) -> bool {
    matches!(decision, Decision::Yes | Decision::InVehicle)
}

impl View<'_> {
    /// All that `signal` is made of; nothing if it is not derived.
    pub(super) fn inputs(&self, signal: &SignalPath, request: &Request, grant: &Grant) -> Vec<Input> {
        let Some(predicate) = Predicate::named(signal) else { return Vec::new() };
        let input = |signal: SignalPath| match self.agreed(&signal, request, grant) {
            Ok((item, granted)) => {
                let now = self.now(item, grant);
                Input { signal, granted: Ok(granted), now }
            }
            Err(clause) => Input { signal, granted: Err(clause), now: Err(clause) },
        };
        predicate.made_of().map(input).collect()
    }

    /// What the owner agreed to of it, in this grant.
    fn agreed<'g>(
        &self,
        signal: &SignalPath,
        request: &Request,
        grant: &'g Grant,
    ) -> Result<(&'g PiiInformation, Vec<TransformSpec>), Clause> {
        let items = &grant.given().payload().pii_information;
        let item = items.iter().find(|item| item.signal == *signal && may_feed(item.decision));
        let item = item.ok_or(Clause::NotGranted)?;
        let asked = request.signals.iter().find(|asked| asked.signal == *signal);
        let asked = asked.ok_or(Clause::NotRequested)?;
        let leaf = self.leaves.find(signal).and_then(|leaf| self.leaves.get(leaf));
        if leaf.ok_or(Clause::NoSuchLeaf)?.digest != item.signal_map_digest {
            return Err(Clause::ExtractionChanged);
        }
        let lists = [asked.transforms.as_slice(), &item.transform];
        Ok((item, lists.into_iter().flat_map(inherited).cloned().collect()))
    }

    /// What is said of it now.
    fn now(&self, item: &PiiInformation, grant: &Grant) -> Result<Vec<TransformSpec>, Clause> {
        let leaf = self.leaves.find(&item.signal).and_then(|leaf| self.leaves.get(leaf));
        self.classified(item, leaf.ok_or(Clause::NoSuchLeaf)?, &mut Docket::deciding())?;
        let mut specs = Vec::new();
        for record in grant.narrowed() {
            let kept = record.payload().pii_information.iter().find(|kept| kept.signal == item.signal);
            let kept = kept.filter(|kept| may_feed(kept.decision)).ok_or(Clause::NotGranted)?;
            specs.extend(inherited(&kept.transform).cloned());
        }
        for directive in &self.bundle.directives {
            match directive {
                Directive::Drop { signal } if *signal == item.signal => return Err(Clause::SignalDropped),
                Directive::Tighten { signal, transforms } if *signal == item.signal => {
                    specs.extend(inherited(transforms).cloned());
                }
                _ => {}
            }
        }
        Ok(specs)
    }
}
