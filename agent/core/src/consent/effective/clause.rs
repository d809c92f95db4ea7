//! The clauses of "a signal may leave when": as a question, as a no, and what would change it.

use crate::names::{PurposeId, RecipientId};
use serde::Serialize;

/// Why something does not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Clause {
    /// Invariant 3.
    #[error("there is no policy")]
    NoPolicy,
    /// Invariant 3.
    #[error("the time is in doubt")]
    TimeInDoubt,
    /// A bundle that was held back must not go on for ever.
    #[error("the policy is not valid at this time")]
    PolicyExpired,
    /// Directive `require_min_version`.
    #[error("the policy asks for a newer agent")]
    AgentTooOld,
    /// No record gives this recipient anything for this purpose, or what gave it has ended.
    #[error("the owner has not agreed to this purpose, or does not any more")]
    NotGiven,
    /// Before or after the dates of the record.
    #[error("the grant is not live at this time")]
    GrantNotLive,
    /// `max_bytes_per_day` is 0.
    #[error("the grant allows no bytes a day")]
    Condition,
    /// Not in the bundle.
    #[error("the policy does not name the recipient")]
    RecipientUnknown,
    /// Status, or directive `suspend`.
    #[error("the recipient is suspended")]
    RecipientSuspended,
    /// Attack: the recipient's key was swapped.
    #[error("the recipient's request key is not the one that was agreed with")]
    RecipientKeyChanged,
    /// None valid now.
    #[error("the recipient has no valid HPKE key")]
    NoHpkeKey,
    /// The bundle does not hold the request that was granted.
    #[error("the policy does not hold the request that was granted")]
    RequestGone,
    /// Past its date.
    #[error("the request has expired")]
    RequestExpired,
    /// Directive `suspend`.
    #[error("the request is suspended")]
    RequestSuspended,
    /// More than [`crate::limits::FLOWS_MAX`].
    #[error("there are too many flows")]
    TooManyFlows,
    /// Decision is not `yes`.
    #[error("the owner did not say yes to this signal")]
    NotGranted,
    /// Decision is `in_vehicle`.
    #[error("by the grant it stays in the car, and is used there")]
    StaysInCar,
    /// Not each of the signals that it is derived of is granted, at least inside the car, and is as it was then.
    #[error("the owner did not agree to all that this signal is made of")]
    InputNotGranted,
    /// The catalogue, a directive or the database keeps one of the signals that it is derived of.
    #[error("the policy holds back a signal that this one is made of")]
    InputHeld,
    /// A grant cannot hold more than was asked.
    #[error("the request does not ask for this signal")]
    NotRequested,
    /// Directive `drop`.
    #[error("the policy drops this signal")]
    SignalDropped,
    /// `unknown`, or not in the catalogue.
    #[error("the catalogue does not say what this signal is")]
    CategoryUnknown,
    /// Attack: the catalogue moves a signal.
    #[error("the catalogue now puts this signal into another category")]
    CategoryChanged,
    /// No database has it.
    #[error("no database of this car gives this signal")]
    NoSuchLeaf,
    /// Attack: the signal map relabels.
    #[error("this signal is extracted in another way than when it was granted")]
    ExtractionChanged,
    /// Attack: a signal map calls a place a pressure.
    #[error("this signal can be read as values that the catalogue holds for implausible")]
    Implausible,
    /// `drop`, an op that is not built, or two that have no common coarsening.
    #[error("the transforms let nothing through")]
    TransformDenies,
    /// Altitude, heading and accuracy beside a `geo_cell`; or a coordinate without the other one.
    #[error("of a place only its cell may leave, and this signal makes none")]
    PartOfAPlace,
    /// A signal in the event's expression may not leave, or leaves as something that is no number.
    #[error("the event that it waits for cannot be seen")]
    EventUnseen,
    /// `delay` is not shorter than `max_age_s`.
    #[error("what is held back so long is too old when it may be sent")]
    TooOldWhenDue,
    /// Everything, this recipient or this purpose is held back for a while.
    #[error("sending is paused in the car")]
    Paused,
    /// No place is read.
    #[error("location is switched off in the car")]
    LocationOff,
}

impl Clause {
    /// All, in the order in which they are asked of a grant; but for the bound on flows, which no grant can pass. The last
    /// two are the session's.
    pub const ALL: [Self; 31] = [
        Self::NoPolicy,
        Self::TimeInDoubt,
        Self::PolicyExpired,
        Self::AgentTooOld,
        Self::NotGiven,
        Self::GrantNotLive,
        Self::Condition,
        Self::RecipientUnknown,
        Self::RecipientSuspended,
        Self::RecipientKeyChanged,
        Self::NoHpkeKey,
        Self::RequestGone,
        Self::RequestExpired,
        Self::RequestSuspended,
        Self::NotGranted,
        Self::StaysInCar,
        Self::NotRequested,
        Self::NoSuchLeaf,
        Self::ExtractionChanged,
        Self::InputNotGranted,
        Self::CategoryUnknown,
        Self::CategoryChanged,
        Self::Implausible,
        Self::SignalDropped,
        Self::InputHeld,
        Self::TransformDenies,
        Self::PartOfAPlace,
        Self::EventUnseen,
        Self::TooOldWhenDue,
        Self::Paused,
        Self::LocationOff,
    ];

    /// The clause as it must hold.
    #[must_use]
    pub fn asks(self) -> &'static str {
        match self {
            Self::NoPolicy => "a policy is in force",
            Self::TimeInDoubt => "the time is trustworthy",
            Self::PolicyExpired => "the policy is valid now",
            Self::AgentTooOld => "this agent is new enough for the policy",
            Self::NotGiven => "the owner has agreed to this purpose",
            Self::GrantNotLive => "the grant is live now",
            Self::Condition => "the grant allows some bytes a day",
            Self::RecipientUnknown => "the policy names the recipient",
            Self::RecipientSuspended => "the recipient is active",
            Self::RecipientKeyChanged => "the recipient's request key is the one that was agreed with",
            Self::NoHpkeKey => "that key has signed an HPKE key that is valid now",
            Self::RequestGone => "the policy holds the request that was granted",
            Self::RequestExpired => "the request has not expired",
            Self::RequestSuspended => "the request is not suspended",
            Self::TooManyFlows => "there is room for the flow",
            Self::NotGranted => "the owner said yes to this signal",
            Self::StaysInCar => "it is granted to leave, and not only to be used in the car",
            Self::InputNotGranted => "the owner agreed to all that it is made of, if it is derived",
            Self::InputHeld => "nothing holds back what it is made of, if it is derived",
            Self::NotRequested => "the request asks for this signal",
            Self::NoSuchLeaf => "this car has the signal",
            Self::ExtractionChanged => "the signal is extracted as it was when it was granted",
            Self::CategoryUnknown => "the catalogue says what the signal is",
            Self::CategoryChanged => "the signal is in the category that was agreed to",
            Self::Implausible => "the signal can be read only as plausible values",
            Self::SignalDropped => "the policy does not drop the signal",
            Self::TransformDenies => "the transforms, all met, let something through",
            Self::PartOfAPlace => {
                "it is no part of a place of which only the cell may leave, or it makes the cell"
            }
            Self::EventUnseen => {
                "if it waits for an event, every signal in its expression may leave as a number"
            }
            Self::TooOldWhenDue => "what is held back is not too old when it may be sent",
            Self::Paused => "sending is not paused in the car",
            Self::LocationOff => "location is on in the car, if it is a place",
        }
    }

    /// Whether only the owner can turn a no into a yes.
    #[must_use]
    pub fn is_the_owners(self) -> bool {
        self.owners_act().is_some()
    }

    /// What would turn a no into a yes, for this recipient and purpose. Only the owner widens: where it takes consent, it
    /// says so, with the command.
    #[must_use]
    pub fn remedy(self, recipient: &RecipientId, purpose: &PurposeId) -> String {
        match self.owners_act() {
            None if self == Self::Paused => format!(
                "end it in the car: `glovebox resume`, or `glovebox resume --recipient {recipient}` if that alone is paused"
            ),
            Some(act) => {
                format!("{act}: `glovebox consent grant --recipient {recipient} --purpose {purpose}`")
            }
            None => self.others_act().to_owned(),
        }
    }

    /// Agreeing anew takes the place of what was agreed to before.
    fn owners_act(self) -> Option<&'static str> {
        Some(match self {
            Self::NotGiven => "the owner may agree",
            Self::GrantNotLive => "the owner may agree anew, with other dates",
            Self::Condition => {
                "the owner may agree anew, to some bytes a day and to the event that the request names"
            }
            Self::RecipientKeyChanged => {
                "ask the recipient why its key changed; the owner may agree anew, to the new one"
            }
            Self::RequestGone => "the owner may agree to the request that took its place",
            Self::NotGranted => "the owner may agree anew, to this signal too",
            Self::InputNotGranted => {
                "the owner may agree anew, also to what it is made of (it stays in the car)"
            }
            Self::ExtractionChanged => "look at what changed in the databases; the owner may agree anew",
            Self::CategoryChanged => "the owner may agree anew, to the category that it is in now",
            _ => return None,
        })
    }

    fn others_act(self) -> &'static str {
        match self {
            Self::NoPolicy => "install a policy bundle: `glovebox policy install FILE`",
            Self::TimeInDoubt => "set the clock of the car; if it is right, `glovebox clock trust` there",
            Self::PolicyExpired => "install a bundle that is valid now; if the clock is wrong, set it",
            Self::AgentTooOld => "install a newer agent",
            Self::RecipientUnknown => "a bundle that names the recipient",
            Self::RecipientSuspended => {
                "a bundle in which the recipient is active and no directive suspends it"
            }
            Self::NoHpkeKey => "a bundle with a key statement of the recipient that is valid now",
            Self::RequestExpired => "a bundle with a later request, and the owner agreeing to it",
            Self::RequestSuspended => "a bundle without the directive that suspends the request",
            Self::TooManyFlows => "withdraw a grant that is not needed",
            Self::NotRequested => "a request that asks for it, and the owner agreeing to that",
            Self::NoSuchLeaf => "a DBC or mapping that has it: `glovebox dbc show`, `glovebox check`",
            Self::CategoryUnknown => "a bundle whose catalogue gives the signal a category",
            Self::Implausible => "a range in the DBC or mapping that lies within the plausible one",
            Self::SignalDropped => "a bundle without the directive that drops the signal",
            Self::StaysInCar => {
                "nothing: so it was asked for and agreed to; for it to leave, a request that asks for that"
            }
            Self::InputHeld => "a bundle that does not hold back what it is made of: ask `why` of that",
            Self::TransformDenies => "transforms that this agent can do, with a common coarsening",
            Self::PartOfAPlace => {
                "latitude and longitude in degrees, both granted; altitude, heading and accuracy stay in the car"
            }
            Self::EventUnseen => {
                "the owner may agree to the signals in it too; figures of a window and cells of places cannot be compared"
            }
            Self::TooOldWhenDue => "a request or a grant whose greatest age is longer than its delay",
            Self::Paused => "end it in the car: `glovebox resume`",
            Self::LocationOff => "switch it on in the car: `glovebox location on`",
            Self::NotGiven
            | Self::GrantNotLive
            | Self::Condition
            | Self::RecipientKeyChanged
            | Self::RequestGone
            | Self::NotGranted
            | Self::InputNotGranted
            | Self::ExtractionChanged
            | Self::CategoryChanged => "the owner may agree anew",
        }
    }
}
