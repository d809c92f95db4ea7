//! What is said about owner keys over the control socket.

use glovebox_core::consent::document::enrolment::EnrolmentAct;
use glovebox_core::names::{VerifyingKey, WallTime};
use serde::{Deserialize, Serialize};

/// An owner key that is to come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentOrder {
    /// Which of the two.
    pub act: EnrolmentAct,
    /// The key.
    pub owner_key: VerifyingKey,
}

/// An enrolled owner key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The key.
    pub owner_key: VerifyingKey,
    /// When its enrolment was drafted; none: the first owner, since the car was provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<WallTime>,
    /// The owner key that signed its enrolment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_by: Option<VerifyingKey>,
    /// Live flows whose consent this key signed.
    pub gave: usize,
}
