//! One CAN interface, listened to. The type has no way to send, and nobody else gets at the descriptor (invariant 10).

use super::filter::Filter;
use super::raw::{BYTES_MAX, ERRORS_ASKED};
use glovebox_core::limits::{BUS_READ_FRAMES, BUS_RECEIVE_BUFFER_BYTES};
use glovebox_core::names::WallTime;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, TimestampingFlag, Timestamps, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use socket2::{Domain, Protocol, Type};
use socketcan::{CanAddr, CanFdSocket, CanSocket, SocketOptions as _};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// `AF_CAN` and `CAN_RAW` of linux/can.h.
const AF_CAN: i32 = 29;
const CAN_RAW: i32 = 1;

/// A raw socket on one interface that only ever reads.
#[derive(Debug)]
pub(super) struct Listener {
    socket: CanFdSocket,
    index: u32,
    /// What the kernel has dropped so far, as it counts it.
    dropped: u32,
}

/// What the kernel tells of one frame beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// The kernel's stamp.
    pub(super) kernel: Option<WallTime>,
    /// The controller's own, on a clock of its own, in microseconds.
    pub(super) hardware_us: Option<i64>,
}

/// Memory for one read.
#[derive(Debug)]
pub(super) struct Buffer([[u8; BYTES_MAX]; BUS_READ_FRAMES]);

impl Default for Buffer {
    fn default() -> Self {
        Self([[0; BYTES_MAX]; BUS_READ_FRAMES])
    }
}

impl Listener {
    /// Listens to the interface with this index. The filter is there before the interface is: what is not asked for
    /// never waits in this socket.
    pub(super) fn open(index: u32, filters: &[Filter]) -> io::Result<Self> {
        let raw = socket2::Socket::new(Domain::from(AF_CAN), Type::RAW, Some(Protocol::from(CAN_RAW)))?;
        raw.set_nonblocking(true)?;
        let socket = CanSocket::from(OwnedFd::from(raw));
        socket.set_error_filter(ERRORS_ASKED)?;
        let listener = Self { socket: CanFdSocket::try_from(socket)?, index, dropped: 0 };
        listener.filter(filters)?;
        listener.ask_for_stamps()?;
        let raw = socket2::SockRef::from(&listener.socket);
        raw.bind(&CanAddr::new(index).into_sock_addr())?;
        Ok(listener)
    }

    fn ask_for_stamps(&self) -> io::Result<()> {
        let fd = self.socket.as_fd();
        let stamps = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE;
        setsockopt(&fd, sockopt::Timestamping, &stamps)?;
        setsockopt(&fd, sockopt::RxqOvfl, &1)?;
        // The first needs a privilege that the agent does not have in service; the second is bounded by the system.
        if setsockopt(&fd, sockopt::RcvBufForce, &BUS_RECEIVE_BUFFER_BYTES).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &BUS_RECEIVE_BUFFER_BYTES)?;
        }
        Ok(())
    }

    /// Only this comes from now on, and what waits already.
    pub(super) fn filter(&self, filters: &[Filter]) -> io::Result<()> {
        if filters.is_empty() {
            return self.socket.set_filter_drop_all();
        }
        let filters: Vec<(u32, u32)> = filters.iter().map(|filter| (filter.id, filter.mask)).collect();
        self.socket.set_filters(&filters)
    }

    /// The interface's number in the kernel; another interface of the same name has another one.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// To be waited for.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what is there, at most [`BUS_READ_FRAMES`] frames; how many came, and how many the kernel has dropped since
    /// the last read for want of room. None if nothing is there.
    pub(super) fn read(
        &mut self,
        buffer: &mut Buffer,
        mut frame: impl FnMut(&[u8], Told),
    ) -> io::Result<(usize, u32)> {
        // Made anew each time: the kernel shortens the lengths in it, and they are not set back.
        let room = cmsg_space!(Timestamps, u32);
        let mut headers: MultiHeaders<()> = MultiHeaders::preallocate(BUS_READ_FRAMES, Some(room));
        let mut slices = buffer.0.each_mut().map(|bytes| [IoSliceMut::new(bytes)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let read = match recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
            Ok(read) => read,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok((0, 0)),
            Err(errno) => return Err(errno.into()),
        };
        let (mut count, mut dropped) = (0, self.dropped);
        for message in read {
            let mut told = Told::default();
            for control in message.cmsgs()? {
                match control {
                    ControlMessageOwned::ScmTimestampsns(stamps) => told = Told::from(&stamps),
                    ControlMessageOwned::RxqOvfl(so_far) => dropped = so_far,
                    _ => {}
                }
            }
            count += 1;
            if let Some(bytes) = message.iovs().next() {
                frame(bytes, told);
            }
        }
        let more = dropped.wrapping_sub(self.dropped);
        self.dropped = dropped;
        Ok((count, more))
    }
}

impl From<&Timestamps> for Told {
    /// A stamp that is all zero was not made.
    fn from(stamps: &Timestamps) -> Self {
        let made = |stamp: TimeSpec| Some(stamp.num_microseconds()).filter(|microseconds| *microseconds != 0);
        Self { kernel: made(stamps.system).map(WallTime), hardware_us: made(stamps.hw_raw) }
    }
}
