//! Private places: cells of H3 that the owner keeps to the car. Inside of one, and while nobody knows where the car is,
//! nothing of its place and its trips leaves. A private place is a cell and those around it, about 5 km²: whole cells of a
//! public grid, so that where the track breaks off tells no more than they do.

use super::atom::{DEGREES, coordinate};
use super::transform::{Coding, Coordinate, Fix, Resolution};
use crate::decode::{Leaf, LeafIndex, Leaves, Reading, State};
use crate::limits::GEO_PAIR_US_MAX;
use crate::names::Moment;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The private places of this car.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zones {
    cells: BTreeSet<u64>,
    everywhere: bool,
}

impl Zones {
    /// Each of `cells` and its neighbours; `None` if one of them is no cell of [`Resolution::ZONE`].
    #[must_use]
    pub fn of(cells: &[u64]) -> Option<Self> {
        let around = cells.iter().map(|cell| Resolution::ZONE.around(*cell)).collect::<Option<Vec<_>>>()?;
        Some(Self { cells: around.into_iter().flatten().collect(), everywhere: false })
    }

    /// Nobody knows which there are: every place is one.
    #[must_use]
    pub fn everywhere() -> Self {
        Self { cells: BTreeSet::new(), everywhere: true }
    }

    /// None is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && !self.everywhere
    }

    fn holds(&self, cell: u64) -> bool {
        self.everywhere || self.cells.contains(&cell)
    }
}

/// Looks where the car is, whether or not that is granted to anybody. All that comes out is whether it is inside.
#[derive(Debug, Clone)]
pub struct Place {
    zones: Arc<Zones>,
    latitude: (LeafIndex, Coding),
    longitude: (LeafIndex, Coding),
    apart_us: u64,
    fix: Fix,
}

impl Place {
    /// By the coordinates of this car in degrees: those of the VSS, else the only two that there are. `None`: nobody can
    /// tell where it is.
    #[must_use]
    pub fn new(leaves: &Leaves, zones: Arc<Zones>) -> Option<Self> {
        let of = |wanted| {
            let is = |leaf: &Leaf| coordinate(&leaf.path) == Some(wanted) && DEGREES.contains(&&*leaf.unit);
            let all: Vec<_> = leaves.iter().filter(|(_, leaf)| is(leaf)).collect();
            let vss =
                |(_, leaf): &&(LeafIndex, &Leaf)| leaf.path.as_str().starts_with("Vehicle.CurrentLocation.");
            let found = all.iter().find(vss).or(all.first().filter(|_| all.len() == 1))?;
            Some((found.0, found.1))
        };
        let ((lat, latitude), (lon, longitude)) = (of(Coordinate::Latitude)?, of(Coordinate::Longitude)?);
        let coding = |leaf: &Leaf| {
            let &Leaf { value_type, scale, offset, .. } = leaf;
            Coding { value_type, scale, offset }
        };
        let apart_us = if latitude.same_frames(longitude) { 0 } else { GEO_PAIR_US_MAX };
        let (latitude, longitude) = ((lat, coding(latitude)), (lon, coding(longitude)));
        Some(Self { zones, latitude, longitude, apart_us, fix: Fix::default() })
    }

    /// The two coordinates.
    #[must_use]
    pub fn leaves(&self) -> [LeafIndex; 2] {
        [self.latitude.0, self.longitude.0]
    }

    /// Whether the car is inside, if the readings of a frame make a position whole.
    pub fn look(&mut self, readings: &[Reading], now: Moment) -> Option<bool> {
        let mut found = None;
        for reading in readings {
            let (coordinate, coding) = match reading.leaf {
                leaf if leaf == self.latitude.0 => (Coordinate::Latitude, self.latitude.1),
                leaf if leaf == self.longitude.0 => (Coordinate::Longitude, self.longitude.1),
                _ => continue,
            };
            let degrees = (reading.state == State::Value).then(|| coding.value(reading.bits));
            let cell = self.fix.take((Resolution::ZONE, self.apart_us), coordinate, (now, degrees));
            found = cell.map(|cell| self.zones.holds(cell)).or(found);
        }
        found
    }
}
