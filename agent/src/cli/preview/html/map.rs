//! Places: the cells that are told, and under them the route, which stays in the car. No picture of the land is needed, so
//! none is loaded.

use std::fmt::{Result, Write as _};

use glovebox_core::consent::transform::boundary;

use super::plot::diamond;
use crate::cli::preview::words;

/// The drawing, in units of the SVG.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 360.0;
/// Left free around the places.
const EDGE: f64 = 28.0;
/// Kilometres of a degree of latitude.
const DEGREE_KM: f64 = 111.2;
/// Corners of a route and marks of points that are drawn.
const POINTS_MAX: usize = 1_000;
/// Cells that are drawn.
const CELLS_MAX: usize = 400;

/// One place, in degrees of latitude and longitude.
pub(super) struct Map {
    /// Where the car was.
    pub(super) route: Vec<(f64, f64)>,
    /// Points that leave as they are.
    pub(super) points: Vec<(f64, f64)>,
    /// Cells that leave, and how often each.
    pub(super) cells: Vec<(u64, u64)>,
}

/// A flat picture of a small part of the earth.
struct Flat {
    middle: (f64, f64),
    /// Units of the SVG for a kilometre.
    unit: f64,
    /// Kilometres of a degree of longitude.
    east_km: f64,
}

impl Flat {
    /// In which all of these find room.
    fn around(places: &[(f64, f64)]) -> Option<Self> {
        let (origin, _) = (*places.first()?, ());
        let near: Vec<(f64, f64)> = places.iter().map(|it| (it.0, beside(origin.1, it.1))).collect();
        let range = |part: fn(&(f64, f64)) -> f64| {
            let all = near.iter().map(part);
            (all.clone().fold(f64::MAX, f64::min), all.fold(f64::MIN, f64::max))
        };
        let ((south, north), (west, east)) = (range(|it| it.0), range(|it| it.1));
        let middle = (f64::midpoint(south, north), f64::midpoint(west, east));
        let east_km = (DEGREE_KM * middle.0.to_radians().cos()).max(1.0);
        let (tall, broad) = ((north - south) * DEGREE_KM, (east - west) * east_km);
        let unit = ((HEIGHT - 2.0 * EDGE) / tall.max(0.2)).min((WIDTH - 2.0 * EDGE) / broad.max(0.2));
        unit.is_finite().then_some(Self { middle, unit, east_km })
    }

    fn place(&self, (latitude, longitude): (f64, f64)) -> (f64, f64) {
        let east = (beside(self.middle.1, longitude) - self.middle.1) * self.east_km * self.unit;
        let north = (latitude - self.middle.0) * DEGREE_KM * self.unit;
        (WIDTH / 2.0 + east, HEIGHT / 2.0 - north)
    }
}

/// The same longitude within half a turn of another.
fn beside(other: f64, longitude: f64) -> f64 {
    let apart = (longitude - other + 180.0).rem_euclid(360.0) - 180.0;
    other + apart
}

impl Map {
    pub(super) fn is_empty(&self) -> bool {
        self.route.is_empty() && self.points.is_empty() && self.cells.is_empty()
    }

    pub(super) fn draw(&self, out: &mut String) -> Result {
        let mut cells: Vec<(u64, Vec<(f64, f64)>)> =
            self.cells.iter().filter_map(|(cell, count)| Some((*count, boundary(*cell)?))).collect();
        cells.truncate(CELLS_MAX);
        let corners = cells.iter().flat_map(|(_, corners)| corners).copied();
        let all: Vec<(f64, f64)> = corners.chain(self.route.iter().chain(&self.points).copied()).collect();
        let Some(flat) = Flat::around(&all) else { return Ok(()) };
        write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>Map: {}, {}</title>",
            words::some(self.cells.len() as u64, "cell"),
            words::some(self.points.len() as u64, "point")
        )?;
        draw_cells(out, &flat, &cells)?;
        self.draw_route(out, &flat)?;
        self.draw_points(out, &flat)?;
        scale_bar(out, &flat)?;
        self.legend(out)?;
        out.push_str("</svg>");
        Ok(())
    }

    fn draw_route(&self, out: &mut String, flat: &Flat) -> Result {
        out.push_str("<path class=\"came route\" d=\"");
        for (at, place) in thinned(&self.route).enumerate() {
            let (x, y) = flat.place(place);
            write!(out, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' })?;
        }
        out.push_str("\"/>");
        Ok(())
    }

    fn draw_points(&self, out: &mut String, flat: &Flat) -> Result {
        out.push_str("<path class=\"mark\" d=\"");
        for place in thinned(&self.points) {
            let (x, y) = flat.place(place);
            diamond(out, x, y)?;
        }
        out.push_str("\"/>");
        Ok(())
    }

    fn legend(&self, out: &mut String) -> Result {
        out.push_str("<text x=\"470\" y=\"350\" class=\"end unit\">north is up</text>");
        out.push_str(
            "<path class=\"came\" d=\"M8 12h22\"/><text x=\"36\" y=\"16\">route: stays in the car</text>",
        );
        match (self.cells.is_empty(), self.points.is_empty()) {
            (false, _) => {
                let words = words::some(self.cells.len() as u64, "cell");
                out.push_str("<path class=\"cell\" d=\"M186 12l5.5 -8h11l5.5 8 -5.5 8h-11z\"/>");
                write!(out, "<text x=\"214\" y=\"16\">leaves: {words}</text>")
            }
            (true, false) => {
                out.push_str("<path class=\"mark\" d=\"");
                diamond(out, 196.0, 12.0)?;
                out.push_str("\"/><text x=\"206\" y=\"16\">leaves: POINTS, where the car was</text>");
                Ok(())
            }
            (true, true) => {
                out.push_str("<text x=\"190\" y=\"16\" class=\"none\">nothing leaves</text>");
                Ok(())
            }
        }
    }
}

fn draw_cells(out: &mut String, flat: &Flat, cells: &[(u64, Vec<(f64, f64)>)]) -> Result {
    for (count, corners) in cells {
        out.push_str("<path class=\"cell\" d=\"");
        let places: Vec<(f64, f64)> = corners.iter().map(|corner| flat.place(*corner)).collect();
        for (at, (x, y)) in places.iter().enumerate() {
            write!(out, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' })?;
        }
        out.push_str("z\"/>");
        let number = f64::from(u32::try_from(places.len()).unwrap_or(1)).max(1.0);
        let (x, y) = places.iter().fold((0.0, 0.0), |sum, it| (sum.0 + it.0 / number, sum.1 + it.1 / number));
        let broad = places.iter().map(|it| (it.0 - x).abs()).fold(0.0, f64::max);
        if broad > 14.0 {
            write!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" class=\"mid count\">{count}</text>", y + 4.0)?;
        }
    }
    Ok(())
}

/// A round length, about a quarter of the picture.
fn scale_bar(out: &mut String, flat: &Flat) -> Result {
    const LENGTHS_KM: [f64; 13] =
        [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 2_000.0];
    let fits = LENGTHS_KM.into_iter().rfind(|km| km * flat.unit <= WIDTH / 4.0);
    let Some(km) = fits else { return Ok(()) };
    let words = if km < 1.0 { format!("{} m", words::number(km * 1_000.0)) } else { format!("{km} km") };
    let (y, width) = (HEIGHT - 10.0, km * flat.unit);
    write!(out, "<path class=\"axis\" d=\"M8 {}v5h{width:.1}v-5\"/>", y - 5.0)?;
    write!(out, "<text x=\"{:.1}\" y=\"{y}\">{words}</text>", 14.0 + width)
}

/// Every so many of them, the last too.
fn thinned(places: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let every = places.len().div_ceil(POINTS_MAX).max(1);
    let last = places.last().filter(|_| every > 1);
    places.iter().step_by(every).chain(last).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(map: &Map) -> String {
        let mut out = String::new();
        let _ = map.draw(&mut out);
        out
    }

    /// Corners of all paths of a class.
    fn corners(svg: &str, class: &str) -> Vec<(f64, f64)> {
        let paths = svg.split("<path ").filter(|path| path.starts_with(&format!("class=\"{class}\"")));
        let data = paths.filter_map(|path| path.split("d=\"").nth(1)?.split('"').next());
        let points = data.flat_map(|data| data.split(['M', 'L', 'z']).map(str::trim));
        points
            .filter_map(|point| {
                let (x, y) = point.split_once(' ')?;
                Some((x.parse().ok()?, y.parse().ok()?))
            })
            .collect()
    }

    #[test]
    fn a_cell_lies_around_the_route_that_it_is_made_of() {
        let route = vec![(48.1, 11.5), (48.101, 11.499)];
        // `latlng_to_cell(48.1, 11.5, 7)` of H3's own library.
        let map = Map { route, points: Vec::new(), cells: vec![(0x0871_f8d4_5aff_ffff, 7)] };
        let svg = drawn(&map);
        let (cell, route) = (corners(&svg, "cell"), corners(&svg, "came route"));
        assert_eq!((cell.len(), route.len()), (6, 2), "{svg}");
        let range = |part: fn(&(f64, f64)) -> f64| {
            let all = cell.iter().map(part);
            all.clone().fold(f64::MAX, f64::min)..all.fold(f64::MIN, f64::max)
        };
        for place in &route {
            assert!(range(|it| it.0).contains(&place.0) && range(|it| it.1).contains(&place.1), "{svg}");
        }
        assert!(route[1].0 < route[0].0 && route[1].1 < route[0].1, "west is left, north is up");
        assert!(svg.contains("class=\"mid count\">7</text>"));
    }

    #[test]
    fn a_route_over_the_date_line_is_one() {
        let map =
            Map { route: vec![(-17.0, 179.99), (-17.0, -179.99)], points: Vec::new(), cells: Vec::new() };
        let route = corners(&drawn(&map), "came route");
        assert!((route[0].0 - route[1].0).abs() <= WIDTH && route[1].0 > route[0].0, "{route:?}");
        assert!(route.iter().all(|it| (0.0..=WIDTH).contains(&it.0)), "{route:?}");
    }

    #[test]
    fn however_much_there_is_it_is_bounded() {
        let places: Vec<(f64, f64)> = (0..100_000).map(|at| (f64::from(at) / 1e4, 10.0)).collect();
        let map = Map { route: places.clone(), points: places, cells: Vec::new() };
        assert!(drawn(&map).len() < 80_000);
    }
}
