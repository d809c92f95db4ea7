//! How each bus is, for whoever asks while another thread reads it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    /// There is none of this name.
    #[default]
    Missing,
    /// It is there, and down.
    Down(u32),
    /// It is up.
    Up(u32),
    /// A log is replayed in its place.
    Replaying,
    /// The log has ended.
    Ended,
}

impl Link {
    /// The kernel's number of the interface, if there is one.
    #[must_use]
    pub fn index(self) -> Option<u32> {
        match self {
            Self::Down(index) | Self::Up(index) => Some(index),
            Self::Missing | Self::Replaying | Self::Ended => None,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Down(_) => "down",
            Self::Up(_) => "up",
            Self::Replaying => "replaying",
            Self::Ended => "replay ended",
        })
    }
}

/// What a CAN controller says of itself (ISO 11898-1, fault confinement).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Controller {
    /// As it should be.
    #[default]
    ErrorActive,
    /// Many errors.
    ErrorWarning,
    /// So many that it no longer says so on the bus.
    ErrorPassive,
    /// It has left the bus.
    BusOff,
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ErrorActive => "error active",
            Self::ErrorWarning => "error warning",
            Self::ErrorPassive => "error passive",
            Self::BusOff => "bus off",
        })
    }
}

/// The states of all buses, by number.
#[derive(Debug)]
pub struct States(Mutex<Vec<(Link, Controller)>>);

impl States {
    /// For so many buses, of which nothing is known yet.
    #[must_use]
    pub fn new(buses: usize) -> Self {
        Self(Mutex::new(vec![(Link::default(), Controller::default()); buses]))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Link, Controller)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How they are.
    #[must_use]
    pub fn all(&self) -> Vec<(Link, Controller)> {
        self.lock().clone()
    }

    /// All of them are in this state.
    pub fn set_links(&self, link: Link) {
        self.lock().iter_mut().for_each(|bus| bus.0 = link);
    }

    /// Whether that is news. An interface that comes up begins with a controller that is well.
    pub(super) fn set_link(&self, bus: usize, link: Link) -> bool {
        let mut all = self.lock();
        let Some(bus) = all.get_mut(bus).filter(|bus| bus.0 != link) else { return false };
        bus.0 = link;
        if matches!(link, Link::Up(_)) {
            bus.1 = Controller::default();
        }
        true
    }

    /// Whether that is news.
    pub(super) fn set_controller(&self, bus: usize, state: Controller) -> bool {
        self.lock().get_mut(bus).is_some_and(|bus| std::mem::replace(&mut bus.1, state) != state)
    }
}
