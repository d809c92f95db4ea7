//! The stores while no daemon runs: a withdrawal destroys here what the daemon would have destroyed.

use std::path::PathBuf;

use glovebox_core::names::FlowId;

use crate::control::{
    Accepted, Authority, AuthorityError, Consent, Draft, DraftOrder, EnrolmentOrder, Owner, WithdrawOrder,
    Withdrawn,
};
use crate::daemon::authority::LocalAuthority;
use crate::outbox;
use crate::store::Store;
use crate::store::disk::Place;

/// Decides on documents in the stores, and keeps the queue in step.
pub(super) struct Stores {
    pub(super) local: LocalAuthority,
    /// The state folder.
    pub(super) state: PathBuf,
}

impl Stores {
    /// What waited of an ended flow goes, with its keys; why not, if it cannot: then the daemon does it at its start.
    fn destroy(&self, flow: FlowId) -> anyhow::Result<()> {
        let queue = Place::system(self.state.join("outbox"));
        if !queue.join(&flow.to_string()).exists() {
            return Ok(());
        }
        let (index, _) = Store::open(&self.state.join("index"))?;
        Ok(outbox::destroy(&queue, index.table("outbox")?, flow)?)
    }
}

impl Authority for Stores {
    fn draft(&mut self, order: &DraftOrder) -> Result<Draft, AuthorityError> {
        self.local.draft(order)
    }

    fn submit(&mut self, document: &[u8]) -> Result<Accepted, AuthorityError> {
        self.local.submit(document)
    }

    fn withdraw(&mut self, order: &WithdrawOrder) -> Result<Vec<Withdrawn>, AuthorityError> {
        let mut ended = self.local.withdraw(order)?;
        for flow in &mut ended {
            flow.left = self.destroy(flow.flow).err().map(|error| format!("{error:#}"));
        }
        Ok(ended)
    }

    fn draft_enrolment(&mut self, order: &EnrolmentOrder) -> Result<Draft, AuthorityError> {
        self.local.draft_enrolment(order)
    }

    fn owners(&mut self) -> Result<Vec<Owner>, AuthorityError> {
        self.local.owners()
    }

    fn list(&mut self) -> Result<Vec<Consent>, AuthorityError> {
        self.local.list()
    }
}
