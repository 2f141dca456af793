//! What is searched: circles, boxes and polygons on the sphere, and the cells that cover them.

use super::hash::{Cell, LATITUDE_MAX, Position, STEPS_MAX};

/// The earth's radius that the peers use.
const EARTH_RADIUS_METRES: f64 = 6_372_797.560_856;
/// Half of the earth's girth in the Mercator projection.
const MERCATOR_MAX_METRES: f64 = 20_037_726.37;
/// The factor is the peers', so that results agree to the last bit.
const RADIANS: f64 = std::f64::consts::PI / 180.0;

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS
}

/// The distance of two places in metres, on a sphere (the haversine formula).
pub(super) fn distance(a: Position, b: Position) -> f64 {
    let v = ((radians(b.longitude) - radians(a.longitude)) / 2.0).sin();
    if v == 0.0 {
        return latitude_distance(a.latitude, b.latitude);
    }
    let (from, to) = (radians(a.latitude), radians(b.latitude));
    let u = ((to - from) / 2.0).sin();
    // No fused operations: the peers' results have two roundings.
    let square = u * u + from.cos() * to.cos() * v * v;
    2.0 * EARTH_RADIUS_METRES * square.sqrt().asin()
}

fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_METRES * (radians(b) - radians(a)).abs()
}

/// The form of what is searched; lengths in metres.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Form {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
    Polygon(Vec<Position>),
}

/// What is searched.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Shape {
    pub(super) form: Form,
    pub(super) center: Position,
}

/// Extremes in degrees.
struct Bounds {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Shape {
    /// The distance of a place from the center in metres, if it is inside.
    pub(super) fn distance_inside(&self, place: Position) -> Option<f64> {
        let center = self.center;
        match &self.form {
            Form::Circle { radius } => Some(distance(center, place)).filter(|far| far <= radius),
            Form::Box { width, height } => {
                if latitude_distance(place.latitude, center.latitude) > height / 2.0 {
                    return None;
                }
                let beside = Position { latitude: place.latitude, ..center };
                let is_inside = distance(place, beside) <= width / 2.0;
                is_inside.then(|| distance(center, place))
            }
            Form::Polygon(vertices) => contains(vertices, place).then(|| distance(center, place)),
        }
    }

    fn bounds(&self) -> Bounds {
        let (half_width, half_height) = match &self.form {
            Form::Circle { radius } => (*radius, *radius),
            Form::Box { width, height } => (width / 2.0, height / 2.0),
            Form::Polygon(vertices) => return bounds_of(vertices),
        };
        let Position { longitude, latitude } = self.center;
        let up = degrees(half_height / EARTH_RADIUS_METRES);
        // The side nearer to the pole is the wider one in degrees.
        let widest = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(half_width / EARTH_RADIUS_METRES / radians(widest).cos());
        Bounds {
            west: longitude - aside,
            south: latitude - up,
            east: longitude + aside,
            north: latitude + up,
        }
    }

    /// The distance from the center within which everything lies.
    fn radius(&self) -> f64 {
        match &self.form {
            Form::Circle { radius } => *radius,
            Form::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Form::Polygon(vertices) => {
                let far = vertices.iter().map(|vertex| distance(self.center, *vertex));
                far.fold(0.0, f64::max)
            }
        }
    }

    /// At most nine cells in which everything that is inside lies, in the peers' order: results
    /// that are not sorted come in it.
    pub(super) fn cells(&self) -> Vec<Cell> {
        const AROUND: [(i32, i32); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let bounds = self.bounds();
        let mut steps = steps_for(self.radius(), self.center.latitude);
        let mut cell = Cell::of(self.center, steps, LATITUDE_MAX);
        let is_too_small = cell.neighbour(0, 1).area().north < bounds.north
            || cell.neighbour(0, -1).area().south > bounds.south
            || cell.neighbour(1, 0).area().east < bounds.east
            || cell.neighbour(-1, 0).area().west > bounds.west;
        if steps > 1 && is_too_small {
            steps -= 1;
            cell = Cell::of(self.center, steps, LATITUDE_MAX);
        }
        let area = cell.area();
        let is_useless = |(east, north): (i32, i32)| {
            steps >= 2
                && (north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east)
        };
        let mut cells: Vec<Cell> = Vec::with_capacity(AROUND.len());
        for (east, north) in AROUND {
            let neighbour = cell.neighbour(east, north);
            // A cell may be its own neighbour where there are few.
            if !is_useless((east, north)) && cells.last() != Some(&neighbour) {
                cells.push(neighbour);
            }
        }
        cells
    }
}

/// How fine the cells may be so that nine cover a circle, at this latitude.
fn steps_for(radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEPS_MAX;
    }
    let mut steps: i32 = 1;
    let mut reach = radius;
    while reach < MERCATOR_MAX_METRES && steps < 100 {
        reach *= 2.0;
        steps += 1;
    }
    // The range is within the cells also in the worst case, and cells near the poles are narrow.
    steps -= 2;
    if latitude.abs() > 66.0 {
        steps -= 1;
        if latitude.abs() > 80.0 {
            steps -= 1;
        }
    }
    steps.clamp(1, STEPS_MAX as i32) as u32
}

fn bounds_of(vertices: &[Position]) -> Bounds {
    let none = f64::INFINITY;
    let start = Bounds { west: none, south: none, east: -none, north: -none };
    vertices.iter().fold(start, |bounds, vertex| Bounds {
        west: bounds.west.min(vertex.longitude),
        south: bounds.south.min(vertex.latitude),
        east: bounds.east.max(vertex.longitude),
        north: bounds.north.max(vertex.latitude),
    })
}

/// The middle of a polygon's vertices, from which distances in it are told.
pub(super) fn middle(vertices: &[Position]) -> Position {
    let count = vertices.len() as f64;
    let mean = |of: fn(&Position) -> f64| vertices.iter().map(of).sum::<f64>() / count;
    Position {
        longitude: mean(|vertex| vertex.longitude),
        latitude: mean(|vertex| vertex.latitude),
    }
}

/// Whether a place is in a polygon whose sides are straight in degrees: a ray from it crosses the
/// sides an odd number of times.
fn contains(vertices: &[Position], place: Position) -> bool {
    let mut is_inside = false;
    let Some(mut from) = vertices.last() else { return false };
    for to in vertices {
        let spans = (from.latitude > place.latitude) != (to.latitude > place.latitude);
        if spans {
            let part = (place.latitude - from.latitude) / (to.latitude - from.latitude);
            let crossing = from.longitude + part * (to.longitude - from.longitude);
            is_inside ^= place.longitude < crossing;
        }
        from = to;
    }
    is_inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(longitude: f64, latitude: f64) -> Position {
        Position { longitude, latitude }
    }

    /// Deterministic places all over the globe.
    fn places() -> impl Iterator<Item = Position> {
        (0..20_000u32).map(|index| {
            let fraction = |factor: f64| (f64::from(index) * factor).fract();
            at(fraction(0.618_033_988_7) * 358.0 - 179.0, fraction(0.414_213_562_3) * 168.0 - 84.0)
        })
    }

    #[test]
    fn cells_cover_what_is_inside() {
        let forms = [
            Form::Circle { radius: 500_000.0 },
            Form::Circle { radius: 2_000_000.0 },
            Form::Box { width: 900_000.0, height: 300_000.0 },
        ];
        for center in [at(0.0, 0.0), at(100.0, 45.0), at(-60.0, -30.0), at(20.0, 60.0)] {
            for form in &forms {
                let shape = Shape { form: form.clone(), center };
                let cells = shape.cells();
                let inside = places().filter(|place| shape.distance_inside(*place).is_some());
                let mut count = 0;
                for place in inside {
                    count += 1;
                    let score = place.score();
                    let covers = |cell: &Cell| {
                        let (first, end) = cell.scores();
                        (first..end).contains(&score)
                    };
                    assert!(cells.iter().any(covers), "{shape:?} {place:?}");
                }
                assert!(count > 3, "{shape:?}");
            }
        }
    }

    #[test]
    fn a_polygon_need_not_be_convex() {
        // An L.
        let vertices =
            [at(0.0, 0.0), at(4.0, 0.0), at(4.0, 1.0), at(1.0, 1.0), at(1.0, 4.0), at(0.0, 4.0)];
        for (place, inside) in [
            (at(0.5, 3.0), true),
            (at(3.0, 0.5), true),
            (at(2.0, 2.0), false),
            (at(5.0, 0.5), false),
            (at(-1.0, 0.5), false),
        ] {
            assert_eq!(contains(&vertices, place), inside, "{place:?}");
        }
        let center = middle(&vertices);
        let shape = Shape { form: Form::Polygon(vertices.to_vec()), center };
        assert!(shape.distance_inside(at(0.5, 3.0)).is_some());
        assert!(!shape.cells().is_empty());
    }
}
