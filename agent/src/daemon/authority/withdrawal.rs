//! A withdrawal, and the notice by which its recipient is asked to erase what it has. The notice is sealed and stored before
//! the tombstone and counts only with it, so that a cut of power leaves both or neither in force; whatever fails with it,
//! the withdrawal goes on.

use glovebox_core::names::{Digest, FlowId, TrustedTime};
use glovebox_core::seal::{Erasure, SealedNotice};

use super::{LocalAuthority, Stamp, random_uuid};
use crate::control::{Asked, Authority as _, AuthorityError, WithdrawOrder, Withdrawn};
use crate::notice_store::Notice;

impl LocalAuthority {
    pub(super) fn withdraw_all(&mut self, order: &WithdrawOrder) -> Result<Vec<Withdrawn>, AuthorityError> {
        self.bury_again();
        let mut meant = self.meant(order);
        if meant.is_empty() {
            let what = order.purpose.as_ref().map_or_else(String::new, |purpose| format!(" for {purpose}"));
            return Err(AuthorityError::Refused(format!(
                "nothing is granted to {}{what}: `glovebox consent list` shows what is",
                order.recipient
            )));
        }
        let mut failed = None;
        for ended in &mut meant {
            ended.erasure = order.erase.then(|| self.ask_erasure(ended.flow));
            // One that fails does not keep the others.
            failed = self.withdraw_flow(ended.flow).err().or(failed);
        }
        failed.map_or(Ok(meant), Err)
    }

    fn meant(&self, order: &WithdrawOrder) -> Vec<Withdrawn> {
        let grants = self.control.grants().live().iter();
        grants
            .map(|grant| (grant.flow(), grant.given().payload()))
            .filter(|(_, record)| record.recipient.party_id == order.recipient)
            .filter(|(_, record)| order.purpose.as_ref().is_none_or(|purpose| record.purpose.id == *purpose))
            .map(|(flow, record)| Withdrawn {
                recipient: order.recipient.clone(),
                purpose: record.purpose.id.clone(),
                flow,
                left: None,
                erasure: None,
            })
            .collect()
    }

    /// One flow withdrawn: with a record signed by the car's record key, and if that fails by its tombstone alone.
    fn withdraw_flow(&mut self, flow: FlowId) -> Result<(), AuthorityError> {
        let recorded = random_uuid()
            .ok_or(())
            .and_then(|record_id| {
                let stamp = Stamp { record_id, ..self.stamp() };
                self.control.draft_withdrawal(flow, stamp).map_err(drop)
            })
            .and_then(|record| self.signed(&record).ok_or(()))
            .is_ok_and(|document| self.submit(&document).is_ok());
        if !recorded {
            tracing::error!(target: "consent", "flow {flow}: withdrawn without a record");
        }
        if self.control.grants().find(flow).is_some() {
            let _ = self.end(flow);
            self.control.bury(flow);
        }
        // Dead in this process in any case; but a restart could bring it back.
        match self.unburied.is_empty() {
            true => Ok(()),
            false => Err(AuthorityError::Refused(
                "stopped, but the withdrawal could not be stored (is the disk full?): it is tried again with the next \
                 command"
                    .to_owned(),
            )),
        }
    }

    fn ask_erasure(&self, flow: FlowId) -> Asked {
        let stored = self.sealed_erasure(flow).and_then(|notice| {
            let store = self.notices.as_ref().ok_or("there is no place for a notice")?;
            store.ask(&notice).map_err(|error| error.to_string())
        });
        let Err(why) = stored else { return Asked::Waits };
        tracing::error!(target: "consent", %flow, %why, "the recipient is not asked for erasure");
        let contact = self
            .control
            .grants()
            .find(flow)
            .map(|grant| grant.given().payload().recipient.party_contact.clone());
        Asked::Not { why, contact: contact.unwrap_or_default() }
    }

    /// To the key that the recipient of the grant has by the policy in force. Whether it is suspended is no matter: it has
    /// what it has.
    fn sealed_erasure(&self, flow: FlowId) -> Result<Notice, String> {
        let grant = self.control.grants().find(flow).ok_or("the grant is gone")?;
        let record = grant.given().payload();
        let recipient = record.recipient.party_id.clone();
        let policy = self.control.policy().ok_or("no policy bundle is in force that says its key")?;
        let known = policy.recipient(&recipient).ok_or("the policy in force does not know it")?;
        if Digest::of(&known.request_key.0) != record.recipient.key_thumbprint {
            return Err("by the policy in force it has another key than when it was granted".to_owned());
        }
        // As in the record: when it was asked is what the clock says, and nothing is decided by it.
        let at = self.stamp().at.max(self.store.mark());
        let now = self.now().unwrap_or(TrustedTime { earliest: at, latest: at });
        let key = policy.notice_key(&recipient, now).ok_or("the policy in force has no key for it")?;
        let sealer = self.sealer.as_deref().ok_or("this car has no keys")?;
        let tag = getrandom::u32().map_err(|_| "no randomness to be had from the system")?;
        let erasure = Erasure { recipient, flow, request_digest: record.request_digest, at };
        let sealed = SealedNotice::seal(&erasure, &key, tag, sealer).map_err(|error| error.to_string())?;
        Ok(Notice { recipient: erasure.recipient, at, sealed })
    }

    /// The flow has its tombstone.
    pub(super) fn erasure_counts(&self, flow: FlowId) {
        let confirmed = self.notices.as_ref().map_or(Ok(()), |store| store.confirm(flow));
        if let Err(error) = confirmed {
            tracing::error!(target: "consent", %flow, %error, "the notice waits for the next start");
        }
    }
}
