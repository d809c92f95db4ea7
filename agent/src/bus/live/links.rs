//! Interfaces come and go: the kernel says over netlink that something has changed, and each is looked at again.
//! What it says in detail is not needed, so nothing that it sends is parsed.

use crate::bus::Link;
use nix::errno::Errno;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// `RTMGRP_LINK` of linux/rtnetlink.h.
const LINK_GROUP: u32 = 1;

/// Hears of every change of an interface.
#[derive(Debug)]
pub(super) struct Changes(OwnedFd);

impl Changes {
    /// Listens from now on.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP))?;
        Ok(Self(fd))
    }

    /// To be waited for.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether there was a change since the last time. Lost messages are one too.
    pub(super) fn take(&self) -> bool {
        let mut buffer = [0; 8192];
        let mut any = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}

/// The interface of this name: its number, and whether it is up.
#[must_use]
pub fn look(name: &str) -> Link {
    let Ok(index) = if_nametoindex(name) else { return Link::Missing };
    let up = nix::ifaddrs::getifaddrs().is_ok_and(|mut all| {
        all.any(|one| one.interface_name == name && one.flags.contains(InterfaceFlags::IFF_UP))
    });
    if up { Link::Up(index) } else { Link::Down(index) }
}
