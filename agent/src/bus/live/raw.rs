//! What the kernel hands over of one frame: `struct can_frame` and `struct canfd_frame` of linux/can.h, and the error
//! frames of linux/can/error.h.
//!
//! ```text
//! byte 0‥3  identifier and flags, in the machine's order     16 bytes: classic, 72 bytes: FD
//! byte 4    length        byte 5  flags (FD)                 byte 8‥  data
//! ```

use super::filter::{EXTENDED, REMOTE};
use crate::bus::Controller;
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::Moment;

/// Bytes of `struct canfd_frame`.
pub(super) const BYTES_MAX: usize = 72;
const CLASSIC_BYTES: usize = 16;
const ERROR: u32 = 0x2000_0000;
const STANDARD_MASK: u32 = 0x7FF;
const EXTENDED_MASK: u32 = 0x1FFF_FFFF;

const ERROR_CONTROLLER: u32 = 0x004;
const ERROR_BUS_OFF: u32 = 0x040;
const ERROR_RESTARTED: u32 = 0x100;
/// What is asked of the controller: its states. Single errors on the bus would be a frame each.
pub(super) const ERRORS_ASKED: u32 = ERROR_CONTROLLER | ERROR_BUS_OFF | ERROR_RESTARTED;
/// Bits of data byte 1 of a controller error.
const OVERFLOW: u8 = 0x01;
const WARNING: u8 = 0x04 | 0x08;
const PASSIVE: u8 = 0x10 | 0x20;
const ACTIVE: u8 = 0x40;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A data frame.
    Data(Frame),
    /// What the controller says of itself.
    Error(ControllerError),
    /// A remote frame: it has no data, and no filter asks for it.
    Remote,
    /// Bytes that are no frame.
    Faulty,
}

/// An error frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ControllerError {
    /// The controller's new state, if that is what it says.
    pub(super) state: Option<Controller>,
    /// It came back from bus-off.
    pub(super) restarted: bool,
    /// It had no room for a frame.
    pub(super) overflow: bool,
}

impl Received {
    /// Reads one frame of `bus`, received at `moment`.
    pub(super) fn parse(bytes: &[u8], bus: BusIndex, moment: Moment) -> Self {
        let classic = bytes.len() == CLASSIC_BYTES;
        if !classic && bytes.len() != BYTES_MAX {
            return Self::Faulty;
        }
        let word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let Some(data) = bytes[8..].get(..usize::from(bytes[4])) else { return Self::Faulty };
        if word & ERROR != 0 {
            return Self::Error(ControllerError::parse(word & EXTENDED_MASK, data));
        }
        if word & REMOTE != 0 {
            return Self::Remote;
        }
        let id = match u16::try_from(word & STANDARD_MASK) {
            Ok(id) if word & EXTENDED == 0 => CanId::Standard(id),
            _ => CanId::Extended(word & EXTENDED_MASK),
        };
        Frame::new(bus, id, moment, data).map_or(Self::Faulty, Self::Data)
    }
}

impl ControllerError {
    fn parse(class: u32, data: &[u8]) -> Self {
        let detail = if class & ERROR_CONTROLLER == 0 { 0 } else { data.get(1).copied().unwrap_or(0) };
        let restarted = class & ERROR_RESTARTED != 0;
        let state = if class & ERROR_BUS_OFF != 0 {
            Some(Controller::BusOff)
        } else if detail & PASSIVE != 0 {
            Some(Controller::ErrorPassive)
        } else if detail & WARNING != 0 {
            Some(Controller::ErrorWarning)
        } else if detail & ACTIVE != 0 || restarted {
            Some(Controller::ErrorActive)
        } else {
            None
        };
        Self { state, restarted, overflow: detail & OVERFLOW != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a driver hands over: no panic, and a frame says no more than the bytes.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Received::Data(frame) = read(&bytes) {
                prop_assert_eq!(frame.data(), &bytes[8..8 + usize::from(bytes[4])]);
            }
        }
    }

    fn classic(word: u32, length: u8, data: [u8; 8]) -> Vec<u8> {
        [&word.to_ne_bytes()[..], &[length, 0, 0, 0], &data].concat()
    }

    fn read(bytes: &[u8]) -> Received {
        Received::parse(bytes, BusIndex(3), Moment(7))
    }

    fn data(id: CanId, data: &[u8]) -> Received {
        Frame::new(BusIndex(3), id, Moment(7), data).map_or(Received::Faulty, Received::Data)
    }

    #[test]
    fn classic_and_fd_frames_are_read() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(read(&classic(0x123, 3, bytes)), data(CanId::Standard(0x123), &[1, 2, 3]));
        assert_eq!(read(&classic(0x9FFF_FFFF, 8, bytes)), data(CanId::Extended(0x1FFF_FFFF), &bytes));
        let mut fd = classic(0x7FF, 64, bytes);
        fd.resize(72, 9);
        let Received::Data(frame) = read(&fd) else { return assert_eq!(read(&fd), Received::Remote) };
        assert_eq!((frame.id, frame.data().len(), frame.data()[63]), (CanId::Standard(0x7FF), 64, 9));
    }

    #[test]
    fn what_is_no_frame_is_faulty() {
        for bytes in [vec![], vec![0; 15], vec![0; 17], vec![0; 71], vec![0; 73]] {
            assert_eq!(read(&bytes), Received::Faulty);
        }
        assert_eq!(read(&classic(1, 9, [0; 8])), Received::Faulty, "longer than it can be");
        let mut fd = classic(1, 65, [0; 8]);
        fd.resize(72, 0);
        assert_eq!(read(&fd), Received::Faulty);
        assert_eq!(read(&classic(0x4000_0123, 0, [0; 8])), Received::Remote);
    }

    #[test]
    fn error_frames_tell_the_state_of_the_controller() {
        let error =
            |class: u32, detail| read(&classic(0x2000_0000 | class, 8, [0, detail, 0, 0, 0, 0, 0, 0]));
        let state = |state| ControllerError { state: Some(state), ..ControllerError::default() };
        assert_eq!(error(0x40, 0), Received::Error(state(Controller::BusOff)));
        assert_eq!(error(0x04, 0x10), Received::Error(state(Controller::ErrorPassive)));
        assert_eq!(error(0x04, 0x20), Received::Error(state(Controller::ErrorPassive)));
        assert_eq!(error(0x04, 0x08), Received::Error(state(Controller::ErrorWarning)));
        assert_eq!(error(0x04, 0x40), Received::Error(state(Controller::ErrorActive)));
        let back = ControllerError { restarted: true, ..state(Controller::ErrorActive) };
        assert_eq!(error(0x100, 0), Received::Error(back));
        let full = ControllerError { overflow: true, ..ControllerError::default() };
        assert_eq!(error(0x04, 0x01), Received::Error(full));
        assert_eq!(error(0x01, 0xFF), Received::Error(ControllerError::default()), "no controller error");
    }
}
