//! The control socket: what the commands say to a running daemon.
//!
//! One JSON object a line, and one back:
//!
//! ```text
//! {"do":"submit","document":"<base64>"}                        -> {"ok":true,"kind":…,"digest":…,"effect":…}
//! {"do":"draft","recipient":…,"purpose":…,"signals":[…],…}     -> {"ok":true,"payload":"<base64>","words":…}
//! {"do":"withdraw","recipient":…,"purpose":…,"erase":…}        -> {"ok":true,"withdrawn":[…]}
//! {"do":"consents"}                                            -> {"ok":true,"consents":[…]}
//! {"do":"draft_enrolment","act":…,"owner_key":…}              -> {"ok":true,"payload":"<base64>","words":…}
//! {"do":"owners"}                                              -> {"ok":true,"owners":[…]}
//! {"do":"why","signal":…,"recipient":…}                        -> {"ok":true,"signal":…,"leaves":…,"purposes":[…]}
//! {"do":"hold","what":"all","lasts":"15m"}                      -> {"ok":true,"holds":[…]}
//! {"do":"release","what":{"recipient":…}}                        -> {"ok":true,"holds":[…]}
//! {"do":"trip_ended"}                                            -> {"ok":true,"holds":[…]}
//! {"do":"clock"}                                                 -> {"ok":true,"now":…,"trusted":…,…}
//! {"do":"trust_clock"}                                           -> the same
//! {"do":"status"}                                              -> {"ok":true,…}
//!                                                              -> {"ok":false,"error":"…"}
//! ```
//!
//! The socket is 0660, and only root and the daemon's own user are answered.

mod client;
mod owners;
mod server;
mod session;
mod time;
mod why;

/// What answers are made of; the crate stays behind this file.
pub mod json {
    pub use serde_json::{Value, json, to_value};
}

use glovebox_core::consent::session::{Lasts, Scope, What};
use glovebox_core::names::{Digest, FlowId, PurposeId, RecipientId, WallTime};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

pub use client::ControlClient;
pub use owners::{EnrolmentOrder, Owner};
pub use server::{Handler, listen, serve};
pub use session::{DriverOrder, DriverStatus, InCar};
pub use time::{ClockStatus, TrustsClock};
pub use why::{Meanwhile, Why, WhyClause, WhyInput, WhyOrder, WhyPurpose};

/// What a command asks of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A signed document of any kind, as it stands in its file.
    Submit {
        /// The bytes.
        #[serde(with = "base64_bytes")]
        document: Vec<u8>,
    },
    /// A consent record for the owner to sign.
    Draft(DraftOrder),
    /// The end of what was granted.
    Withdraw(WithdrawOrder),
    /// All consent records. (Braces, so that serde refuses unknown fields here too.)
    Consents {},
    /// An enrolment for an owner to sign.
    DraftEnrolment(EnrolmentOrder),
    /// All enrolled owner keys.
    Owners {},
    /// Why a signal leaves or does not.
    Why(WhyOrder),
    /// Something is held back for a while.
    Hold {
        /// What.
        what: What,
        /// How long.
        lasts: Lasts,
        /// Whoever drives, or one alone.
        #[serde(default)]
        scope: Scope,
    },
    /// What was held back is let go.
    Release {
        /// What.
        what: What,
        /// For whom it was set.
        #[serde(default)]
        scope: Scope,
    },
    /// Who drives.
    Driver(DriverOrder),
    /// What was held back for this trip is let go.
    TripEnded {},
    /// What is known of the time.
    Clock {},
    /// Somebody in the car vouches for the clock.
    TrustClock {},
    /// What runs now.
    Status {},
}

/// What the owner wants to grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftOrder {
    /// To whom.
    pub recipient: RecipientId,
    /// For what.
    pub purpose: PurposeId,
    /// Which of the signals asked for (`*` stands for anything); all if none is named.
    #[serde(default)]
    pub signals: Vec<String>,
    /// Until when; as long as the request, a year at most, if it is not said.
    #[serde(default)]
    pub until: Option<WallTime>,
    /// The second, separate yes: more than the catalogue's floor.
    #[serde(default)]
    pub waive_floor: bool,
    /// So many bytes a day at most; no limit if it is not said.
    #[serde(default)]
    pub max_bytes_per_day: Option<u64>,
}

/// What the owner ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawOrder {
    /// To whom it was granted.
    pub recipient: RecipientId,
    /// For what; all purposes if it is not said.
    #[serde(default)]
    pub purpose: Option<PurposeId>,
    /// The recipient is asked to erase what it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erase: bool,
}

/// A record that waits for the owner's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The payload to be signed.
    #[serde(with = "base64_bytes")]
    pub payload: Vec<u8>,
    /// What it says, for a person.
    pub words: String,
}

/// A document that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// What kind of document.
    pub kind: String,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// What it changed, in words.
    pub effect: String,
}

/// A flow that was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// To whom it went.
    pub recipient: RecipientId,
    /// For what.
    pub purpose: PurposeId,
    /// The flow, sixteen hexadecimal digits.
    #[serde(with = "flow_text")]
    pub flow: FlowId,
    /// Why what waited of it in the car lies there still; none: it is destroyed, with its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// Whether the recipient is asked to erase what it has; none: nobody wanted that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<Asked>,
}

/// What became of the wish that a recipient erases what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asked", rename_all = "snake_case")]
pub enum Asked {
    /// A sealed notice waits for the network.
    Waits,
    /// It cannot be asked.
    Not {
        /// Why not.
        why: String,
        /// Where it said that it can be reached.
        contact: String,
    },
}

/// One consent record, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// To whom.
    pub recipient: RecipientId,
    /// The company.
    pub name: String,
    /// For what.
    pub purpose: PurposeId,
    /// Which record.
    pub record: String,
    /// What became of it: `given`, `narrowed`, `withdrawn` …
    pub state: String,
    /// Whether data may go by it now, as far as records and dates say.
    pub live: bool,
    /// From when.
    pub not_before: WallTime,
    /// Until when.
    pub not_after: WallTime,
    /// When somebody decided so.
    #[serde(default)]
    pub at: Option<WallTime>,
    /// The leaves that were granted.
    pub signals: Vec<String>,
    /// How each of them is reduced, in words, in the same order.
    #[serde(default)]
    pub reduced: Vec<String>,
    /// Those of them of which nothing leaves whatever the car does, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<Never>,
    /// What keeps all of a live grant from leaving now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
}

/// A leaf that was granted in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Never {
    /// Its name.
    pub signal: String,
    /// The clause that says no.
    pub why: String,
}

/// What a grant waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The clause that says no.
    pub why: String,
    /// What would change it.
    pub remedy: String,
}

/// Why something asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It was understood and refused, for this reason.
    #[error("{0}")]
    Refused(String),
    /// A policy that a newer one took the place of.
    #[error("{0}")]
    Superseded(String),
    /// The daemon could not be asked.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system's own words.
    #[error("control socket {}: cannot {act}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// Which socket.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not for this user.
    #[error("control socket {} is not open to you: run the command as root or as the user of the daemon", path.display())]
    Denied {
        /// Which socket.
        path: PathBuf,
    },
    /// The daemon was there, and has gone.
    #[error(
        "control socket {}: the daemon went away before it answered, so this may be done or not: run the command again",
        path.display()
    )]
    Ended {
        /// Which socket.
        path: PathBuf,
    },
    /// A daemon is there already.
    #[error("control socket {} is in use: another glovebox runs", path.display())]
    InUse {
        /// Which socket.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("{} is no socket: remove it or set another `control_socket` in [health]", path.display())]
    NotASocket {
        /// Which file.
        path: PathBuf,
    },
    /// The daemon did not answer in time or in form.
    #[error("control socket {}: {what}", path.display())]
    Answer {
        /// Which socket.
        path: PathBuf,
        /// What is wrong with the answer.
        what: String,
    },
}

/// Who decides on documents: the daemon over its socket, or the stores themselves when no daemon runs.
pub trait Authority {
    /// A consent record for the owner to sign.
    ///
    /// # Errors
    /// The reason in words: no such request, nothing that can be granted.
    fn draft(&mut self, order: &DraftOrder) -> Result<Draft, AuthorityError>;

    /// Takes a signed document: verifies it, stores it, puts it in force.
    ///
    /// # Errors
    /// The reason in words.
    fn submit(&mut self, document: &[u8]) -> Result<Accepted, AuthorityError>;

    /// Ends what was granted to a recipient, for one purpose or all.
    ///
    /// # Errors
    /// If nothing of it is live, or it cannot be stored.
    fn withdraw(&mut self, order: &WithdrawOrder) -> Result<Vec<Withdrawn>, AuthorityError>;

    /// All consent records, oldest first.
    ///
    /// # Errors
    /// If the daemon cannot be asked.
    fn list(&mut self) -> Result<Vec<Consent>, AuthorityError>;

    /// An enrolment for an owner to sign.
    ///
    /// # Errors
    /// The reason in words: the last owner, no such key, a key that cannot be used.
    fn draft_enrolment(&mut self, order: &EnrolmentOrder) -> Result<Draft, AuthorityError>;

    /// The enrolled owner keys, in the order of their enrolment.
    ///
    /// # Errors
    /// If the daemon cannot be asked.
    fn owners(&mut self) -> Result<Vec<Owner>, AuthorityError>;
}

/// Answers what an authority can answer; `None` for the rest, which is the daemon's.
pub fn answer(
    authority: &mut dyn Authority,
    request: &Request,
) -> Option<Result<serde_json::Value, AuthorityError>> {
    let wrap = |name: &str, value| serde_json::json!({ name: value });
    let json = |value: Result<serde_json::Value, _>| {
        value.map_err(|error: serde_json::Error| AuthorityError::Refused(error.to_string()))
    };
    Some(match request {
        Request::Submit { document } => {
            authority.submit(document).and_then(|accepted| json(serde_json::to_value(accepted)))
        }
        Request::Draft(order) => authority.draft(order).and_then(|draft| json(serde_json::to_value(draft))),
        Request::Withdraw(order) => authority
            .withdraw(order)
            .and_then(|flows| json(serde_json::to_value(flows)).map(|flows| wrap("withdrawn", flows))),
        Request::Consents {} => authority
            .list()
            .and_then(|list| json(serde_json::to_value(list)).map(|list| wrap("consents", list))),
        Request::DraftEnrolment(order) => {
            authority.draft_enrolment(order).and_then(|draft| json(serde_json::to_value(draft)))
        }
        Request::Owners {} => authority
            .owners()
            .and_then(|list| json(serde_json::to_value(list)).map(|list| wrap("owners", list))),
        Request::Why(_)
        | Request::Hold { .. }
        | Request::Release { .. }
        | Request::TripEnded {}
        | Request::Driver(_)
        | Request::Clock {}
        | Request::TrustClock {}
        | Request::Status {} => return None,
    })
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| serde::de::Error::custom("not base64"))
    }
}

mod flow_text {
    use glovebox_core::names::FlowId;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(flow: &FlowId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(flow)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FlowId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
