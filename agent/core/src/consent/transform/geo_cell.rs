//! `geo_cell`: of a place only the cell of H3 is told in which it lies, never a point. The only file that knows h3o.
//!
//! A cell of resolution 7 has 5.16 km² on average, one of 8 has 0.74. What California calls precise is a circle of
//! 1,850 ft, 0.999 km² (Civil Code 1798.140): 7 and below are coarse, 8 is not. Cells lie on a public grid, so that many
//! of them tell no more than each.

use super::coding::Coding;
use super::spec::TransformSpec;
use crate::decode::ValueType;
use crate::limits::GEO_CELL_DEPTH_MAX;
use crate::names::Moment;

/// A resolution of H3: 0 (a continent's part, 4.4 million km²) to [`GEO_CELL_DEPTH_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resolution(u8);

impl Resolution {
    /// The finest that is coarse.
    pub const COARSE_MAX: Self = Self(7);
    /// That of a private place.
    pub const ZONE: Self = Self(8);

    /// `None` above [`GEO_CELL_DEPTH_MAX`]: that is a point.
    #[must_use]
    pub fn new(resolution: u8) -> Option<Self> {
        (i64::from(resolution) <= GEO_CELL_DEPTH_MAX).then_some(Self(resolution))
    }

    /// `{"op": "geo_cell", "resolution": 7}`
    pub(super) fn parse(spec: &TransformSpec) -> Option<Self> {
        spec.only(&["resolution"])?;
        let resolution = spec.integer("resolution", 0..=GEO_CELL_DEPTH_MAX)?;
        Self::new(u8::try_from(resolution).ok()?)
    }

    /// The coarser.
    pub(super) fn meet(self, other: Self) -> Option<Self> {
        Some(self.min(other))
    }

    /// Average area of a cell, in km².
    pub(super) fn area_km2(self) -> f64 {
        self.h3().area_km2()
    }

    pub(super) fn told(self) -> Vec<(&'static str, String)> {
        vec![("resolution", self.0.to_string())]
    }

    /// H3's number of a cell.
    pub(super) fn coding() -> Coding {
        Coding::of(ValueType::Unsigned, 1.0, 0.0)
    }

    fn h3(self) -> h3o::Resolution {
        h3o::Resolution::try_from(self.0).unwrap_or(h3o::Resolution::Zero)
    }

    /// The cell of a place in degrees; `None` if it is none on earth.
    #[must_use]
    pub fn cell(self, latitude: f64, longitude: f64) -> Option<u64> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return None;
        }
        let place = h3o::LatLng::new(latitude, longitude).ok()?;
        Some(u64::from(place.to_cell(self.h3())))
    }
}

impl Resolution {
    /// A cell and its neighbours; `None` if it is no cell of this resolution.
    pub(in super::super) fn around(self, cell: u64) -> Option<Vec<u64>> {
        let cell = h3o::CellIndex::try_from(cell).ok().filter(|cell| cell.resolution() == self.h3())?;
        Some(cell.grid_disk::<Vec<_>>(1).into_iter().map(u64::from).collect())
    }
}

/// The corners of a cell in degrees, latitude and longitude, in their order around it; `None` if there is no such cell.
#[must_use]
pub fn boundary(cell: u64) -> Option<Vec<(f64, f64)>> {
    let cell = h3o::CellIndex::try_from(cell).ok()?;
    Some(cell.boundary().iter().map(|corner| (corner.lat(), corner.lng())).collect())
}

impl std::fmt::Display for Resolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which coordinate a leaf is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Coordinate {
    Latitude,
    Longitude,
}

/// Puts two coordinates of one position together. Each is used once, so that no cell is made of two positions.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Fix {
    latitude: Option<(Moment, f64)>,
    longitude: Option<(Moment, f64)>,
}

impl Fix {
    /// Takes one in degrees; `None`: it has no value, so there is no position. The cell if this made the position whole:
    /// both coordinates at most `apart_us` apart.
    pub(in super::super) fn take(
        &mut self,
        (resolution, apart_us): (Resolution, u64),
        coordinate: Coordinate,
        (moment, degrees): (Moment, Option<f64>),
    ) -> Option<u64> {
        let taken = degrees.map(|degrees| (moment, degrees));
        match coordinate {
            Coordinate::Latitude => self.latitude = taken,
            Coordinate::Longitude => self.longitude = taken,
        }
        let ((then, latitude), (when, longitude)) = self.latitude.zip(self.longitude)?;
        if then.0.abs_diff(when.0) > apart_us {
            return None;
        }
        *self = Self::default();
        resolution.cell(latitude, longitude)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolution(number: u8) -> Resolution {
        Resolution::new(number).unwrap()
    }

    /// Cells by H3's own documentation and command: `h3 latLngToCell`.
    #[test]
    fn cells_are_those_of_h3() {
        for (latitude, longitude, number, cell) in [
            (37.775_938_728_915_946, -122.417_950_630_186_56, 9, 0x0892_8308_280f_ffff),
            (37.775_938_728_915_946, -122.417_950_630_186_56, 0, 0x0802_9fff_ffff_ffff),
        ] {
            assert_eq!(resolution(number).cell(latitude, longitude), Some(cell), "{number}");
        }
        for (latitude, longitude) in [(90.1, 0.0), (0.0, 180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(resolution(7).cell(latitude, longitude), None);
        }
        assert_eq!(Resolution::new(11), None, "a point");
    }

    /// Corners by H3's own library: `cell_to_boundary`. A pentagon's edges are broken where they cross the solid.
    #[test]
    fn boundaries_are_those_of_h3() {
        let known = [
            (37.775_197_782_893_386, -122.417_199_718_416_58),
            (37.776_880_448_402_27, -122.416_128_357_792_69),
            (37.778_385_004_930_925, -122.417_387_976_176_19),
            (37.778_206_872_622_38, -122.419_718_954_148_08),
            (37.776_524_206_993_216, -122.420_790_245_418_79),
            (37.775_019_673_792_62, -122.419_530_628_073_42),
        ];
        let corners = boundary(0x0892_8308_280f_ffff).unwrap();
        let near = |(a, b): (&(f64, f64), &(f64, f64))| (a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9;
        assert_eq!(corners.len(), known.len());
        assert!(corners.iter().zip(&known).all(near), "{corners:?}");
        assert_eq!(boundary(0x0850_8000_3fff_ffff).unwrap().len(), 10);
        assert_eq!((boundary(0), boundary(u64::MAX)), (None, None));
    }

    proptest! {
        /// Coarse means coarse, wherever on earth.
        #[test]
        fn a_cell_of_resolution_7_is_larger_than_what_california_calls_precise(
            latitude in -90.0f64..90.0, longitude in -180.0f64..180.0, number in 0u8..=7,
        ) {
            let cell = resolution(number).cell(latitude, longitude).unwrap();
            let area = h3o::CellIndex::try_from(cell).unwrap().area_km2();
            prop_assert!(area > 0.999, "{area} km²");
        }
    }

    #[test]
    fn two_coordinates_make_one_cell_once() {
        let (mut fix, seven) = (Fix::default(), resolution(7));
        let second = 1_000_000;
        let mut take =
            |us: i64, coordinate, degrees| fix.take((seven, 1_000_000), coordinate, (Moment(us), degrees));
        assert_eq!(take(0, Coordinate::Latitude, Some(48.1)), None);
        assert_eq!(take(second, Coordinate::Longitude, Some(11.5)), seven.cell(48.1, 11.5));
        assert_eq!(take(second, Coordinate::Longitude, Some(12.5)), None, "the latitude is used up");
        assert_eq!(take(2 * second + 1, Coordinate::Latitude, Some(49.1)), None, "too long after it");
        assert_eq!(take(2 * second + 2, Coordinate::Latitude, None), None, "no value");
        assert_eq!(take(2 * second + 3, Coordinate::Longitude, Some(12.5)), None, "so there is none");
        assert_eq!(take(2 * second + 4, Coordinate::Latitude, Some(49.1)), seven.cell(49.1, 12.5));
    }
}
