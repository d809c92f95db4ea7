//! SocketCAN: any number of interfaces, one reader. It listens and never sends.
//!
//! ```text
//!  wait ─▶ frames, a changed interface, the bell ─▶ read: raw ─▶ stamp ─▶ Frame
//!                    links ─▶ socket, bound anew where an interface came back
//! ```

mod filter;
mod links;
mod raw;
mod socket;
mod stamp;

pub use links::look;
pub use stamp::{Clocks, TimeLine};

use super::{Controller, Interface, States};
use filter::{Filter, filters};
use glovebox_core::frame::{BusIndex, Frame, IdPattern};
use glovebox_core::limits::BUS_GATHER_MS;
use links::Changes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use raw::{ControllerError, Received};
use socket::{Buffer, Listener};
use stamp::HardwareClock;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why live buses cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Changes of interfaces cannot be heard of.
    #[error("cannot hear of changes of interfaces: {0}; a sandbox has to allow AF_NETLINK")]
    Changes(io::Error),
    /// The kernel gave no descriptor.
    #[error("cannot make an eventfd: {0}")]
    Bell(io::Error),
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Data frames read.
    pub frames: u64,
    /// Frames that the kernel dropped for want of room.
    pub dropped: u64,
    /// What was no frame.
    pub faulty: u64,
    /// Error frames.
    pub errors: u64,
    /// Times that a controller went off its bus.
    pub bus_off: u64,
    /// Times that a controller became error passive.
    pub error_passive: u64,
    /// Times that a controller came back from bus-off.
    pub restarts: u64,
    /// Interfaces that came up, went down, vanished or came back.
    pub changes: u64,
}

/// Wakes the reader from another thread.
#[derive(Debug, Clone)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// Wakes it now, or keeps it from falling asleep.
    pub fn ring(&self) {
        // It can fail only when it has rung 2⁶⁴ times without being heard.
        let _ = self.0.write(1);
    }
}

/// All configured interfaces.
#[derive(Debug)]
pub struct Live {
    buses: Vec<Bus>,
    changes: Changes,
    bell: Bell,
    buffer: Box<Buffer>,
    states: Arc<States>,
    counts: Counts,
    /// Something was odd: the interfaces are looked at again then.
    look_again: Option<Instant>,
}

#[derive(Debug)]
struct Bus {
    interface: String,
    listener: Option<Listener>,
    filters: Vec<Filter>,
    hardware: HardwareClock,
    /// It could not be listened to, and that was said.
    refused: bool,
}

impl Live {
    /// For these interfaces, whether they are there or not. Nothing is read before [`Self::filter`] says what.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn open(interfaces: &[Interface], states: Arc<States>) -> Result<Self, LiveError> {
        let bus = |interface: &Interface| Bus {
            interface: interface.interface.clone(),
            listener: None,
            filters: Vec::new(),
            hardware: HardwareClock::default(),
            refused: false,
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_flags(flags).map_err(|errno| LiveError::Bell(errno.into()))?;
        let mut live = Self {
            buses: interfaces.iter().map(bus).collect(),
            changes: Changes::open().map_err(LiveError::Changes)?,
            bell: Bell(Arc::new(bell)),
            buffer: Box::default(),
            states,
            counts: Counts::default(),
            look_again: None,
        };
        live.look_at_links();
        Ok(live)
    }

    /// Ends a [`Self::wait`] from elsewhere.
    #[must_use]
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Only these identifiers are read from now on; what waits in the kernel already still comes.
    pub fn filter(&mut self, patterns: impl Fn(BusIndex) -> Vec<IdPattern>) {
        for (number, bus) in (0..).zip(&mut self.buses) {
            let wanted = filters(&patterns(BusIndex(number)));
            if wanted == bus.filters {
                continue;
            }
            bus.filters = wanted;
            let Some(listener) = &bus.listener else { continue };
            if let Err(error) = listener.filter(&bus.filters) {
                // A socket with another filter than it should have is none.
                tracing::error!(target: "bus", interface = bus.interface, %error, "the filter was not taken: opened anew");
                bus.listener = None;
                self.look_again = Some(Instant::now());
            }
        }
    }

    /// Waits for frames, a changed interface or the bell, at most so long. Frames gather a little before it returns,
    /// unless there is no time at all.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        let listeners = self.buses.iter().filter_map(|bus| bus.listener.as_ref());
        let others = [self.changes.as_fd(), self.bell.0.as_fd()];
        let mut all: Vec<PollFd<'_>> = others.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into();
        all.extend(listeners.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        let look_again = self.look_again.map(|then| then.saturating_duration_since(Instant::now()));
        let at_most = at_most.min(look_again.unwrap_or(Duration::MAX));
        let at_most = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        waited(poll(&mut all, at_most))?;
        let urgent = |fds: &[PollFd<'_>]| fds[..others.len()].iter().any(|fd| fd.any().unwrap_or(true));
        let frames = all.iter().any(|fd| fd.any().unwrap_or(true));
        if frames && !urgent(&all) && at_most != PollTimeout::ZERO {
            all.truncate(others.len());
            waited(poll(&mut all, PollTimeout::from(BUS_GATHER_MS)))?;
        }
        // It stays readable until it is read.
        let _ = self.bell.0.read();
        // Not at each wake-up: a busy bus has two hundred a second.
        if self.changes.take() || self.look_again.is_some_and(|then| then <= Instant::now()) {
            self.look_at_links();
        }
        Ok(())
    }

    /// Reads what is there, each bus in its turn; `frame` gets every data frame. Whether there may be more.
    pub fn read(&mut self, line: &TimeLine, mut frame: impl FnMut(&Frame)) -> bool {
        let mut more = false;
        for (number, bus) in (0..).zip(&mut self.buses) {
            let Some(listener) = &mut bus.listener else { continue };
            let (mut errors, counts) = (Vec::new(), &mut self.counts);
            let read = listener.read(&mut self.buffer, |bytes, told| {
                let stamp = match (told.hardware_us, told.kernel) {
                    (Some(hardware), Some(kernel)) => Some(bus.hardware.wall(hardware, kernel)),
                    (_, kernel) => kernel,
                };
                match Received::parse(bytes, BusIndex(number), line.moment(stamp)) {
                    Received::Data(read) => {
                        counts.frames += 1;
                        frame(&read);
                    }
                    Received::Error(error) => errors.push(error),
                    Received::Remote => {}
                    Received::Faulty => counts.faulty += 1,
                }
            });
            match read {
                Ok((count, dropped)) => {
                    more |= count == glovebox_core::limits::BUS_READ_FRAMES;
                    counts.dropped += u64::from(dropped);
                }
                // Netlink says the same.
                Err(error) if error.raw_os_error() == Some(Errno::ENETDOWN as i32) => {}
                Err(error) => {
                    tracing::warn!(target: "bus", interface = bus.interface, %error, "cannot be read: opened anew");
                    bus.listener = None;
                    self.look_again = Some(Instant::now() + LOOK_AGAIN);
                }
            }
            for error in errors {
                note(number, &bus.interface, error, &self.states, counts);
            }
        }
        more
    }

    fn look_at_links(&mut self) {
        self.look_again = None;
        for (number, bus) in self.buses.iter_mut().enumerate() {
            let link = look(&bus.interface);
            let bound = bus.listener.as_ref().map(Listener::index);
            if bound.is_some() && bound != link.index() {
                bus.listener = None;
            }
            if let (None, Some(index)) = (&bus.listener, link.index())
                && !bus.listen(index)
            {
                self.look_again = Some(Instant::now() + LOOK_AGAIN);
            }
            if self.states.set_link(number, link) {
                self.counts.changes += 1;
                tracing::info!(target: "bus", interface = bus.interface, state = %link, "link");
            }
        }
    }
}

/// An interface that could not be listened to is tried again so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Bus {
    /// Whether it could; why not is said once.
    fn listen(&mut self, index: u32) -> bool {
        self.hardware = HardwareClock::default();
        match Listener::open(index, &self.filters) {
            Ok(listener) => (self.listener, self.refused) = (Some(listener), false),
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::error!(target: "bus", interface = self.interface, %error,
                        "cannot be listened to; is it a CAN interface? It is tried again");
                }
            }
        }
        !self.refused
    }
}

/// What a controller says of itself: counted, and said when it is news.
fn note(number: u8, interface: &str, error: ControllerError, states: &States, counts: &mut Counts) {
    counts.errors += 1;
    counts.restarts += u64::from(error.restarted);
    if error.overflow {
        // Counted as an error frame; a flooded bus must not flood the log.
        tracing::debug!(target: "bus", interface, "the controller had no room for a frame");
    }
    let Some(state) = error.state else { return };
    if !states.set_controller(usize::from(number), state) {
        return;
    }
    match state {
        Controller::BusOff => {
            counts.bus_off += 1;
            tracing::error!(target: "bus", interface, %state, "controller");
        }
        Controller::ErrorPassive => {
            counts.error_passive += 1;
            tracing::warn!(target: "bus", interface, %state, "controller");
        }
        Controller::ErrorWarning => tracing::warn!(target: "bus", interface, %state, "controller"),
        Controller::ErrorActive => tracing::info!(target: "bus", interface, %state, "controller"),
    }
}

fn waited(outcome: nix::Result<i32>) -> io::Result<()> {
    match outcome {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
