//! Geohashes: positions as interleaved bits, which sort near places near each other.
//!
//! A position becomes 26 bits of latitude and 26 of longitude, interleaved, latitude lowest: 52
//! bits, which a double holds exactly, and which are the score of a member. A prefix of the bits is
//! a cell, the coarser the shorter.

/// Bits of each coordinate in a score.
pub(super) const STEPS_MAX: u32 = 26;
/// Where the Mercator projection ends.
pub(super) const LATITUDE_MAX: f64 = 85.051_128_78;
pub(super) const LONGITUDE_MAX: f64 = 180.0;

const EVEN: u64 = 0x5555_5555_5555_5555;

/// A place in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Position {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

impl Position {
    /// Whether it can be stored.
    pub(super) fn is_valid(self) -> bool {
        let Self { longitude, latitude } = self;
        (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&latitude)
    }

    /// The score of a member here.
    pub(super) fn score(self) -> f64 {
        Cell::of(self, STEPS_MAX, LATITUDE_MAX).bits as f64
    }

    /// The middle of the smallest cell that a score names.
    pub(super) fn of_score(score: f64) -> Self {
        let area = Cell { bits: bits_of(score), steps: STEPS_MAX }.area();
        let middle = |min: f64, max: f64, most: f64| f64::midpoint(min, max).clamp(-most, most);
        Self {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// The usual text of a geohash, in which latitudes go to the poles: eleven characters, of which
    /// the last is always zero, as in the peers.
    pub(super) fn text(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, STEPS_MAX, 90.0).bits;
        std::array::from_fn(|at| {
            let index = if at == 10 { 0 } else { bits >> (52 - (at + 1) * 5) & 0x1F };
            ALPHABET[index as usize]
        })
    }
}

/// A score as bits. Those of an ordinary sorted set may be negative or infinite: the result is what
/// the peers' conversion gives on x86-64, where C leaves it open.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    let signed = |score: f64| if (-HALF..HALF).contains(&score) { score as i64 } else { i64::MIN };
    if score >= HALF { signed(score - HALF) as u64 ^ 1 << 63 } else { signed(score) as u64 }
}

/// What a cell covers, in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Area {
    pub(super) west: f64,
    pub(super) south: f64,
    pub(super) east: f64,
    pub(super) north: f64,
}

/// A cell: so many bits of each coordinate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    bits: u64,
    steps: u32,
}

impl Cell {
    /// The cell of a position, for latitudes up to `latitude_max`.
    pub(super) fn of(position: Position, steps: u32, latitude_max: f64) -> Self {
        let scaled = |value: f64, most: f64| {
            let fraction = (value + most) / (most + most);
            (fraction * (1u64 << steps) as f64) as u32
        };
        let latitude = spread(scaled(position.latitude, latitude_max));
        let longitude = spread(scaled(position.longitude, LONGITUDE_MAX));
        Self { bits: latitude | longitude << 1, steps }
    }

    pub(super) fn area(self) -> Area {
        let side = (1u64 << self.steps) as f64;
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        let edge = |index: f64, most: f64| -most + index / side * (most + most);
        Area {
            south: edge(f64::from(latitude), LATITUDE_MAX),
            north: edge(f64::from(latitude) + 1.0, LATITUDE_MAX),
            west: edge(f64::from(longitude), LONGITUDE_MAX),
            east: edge(f64::from(longitude) + 1.0, LONGITUDE_MAX),
        }
    }

    /// The scores in it: from the first to before the second.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }

    /// The cell so many to the east and to the north. A coordinate that is moved wraps around; one
    /// that is not stays as it is, also at the very edge of the globe, which has a cell of its own.
    pub(super) fn neighbour(self, east: i32, north: i32) -> Self {
        let all = u64::MAX >> (64 - 2 * self.steps);
        let moved = |bits: u64, by: i32| match by {
            0 => bits & EVEN,
            _ => spread(gather(bits).wrapping_add_signed(by)) & all,
        };
        let latitude = moved(self.bits, north);
        let longitude = moved(self.bits >> 1, east);
        Self { bits: latitude | longitude << 1, steps: self.steps }
    }
}

/// Puts the bits of a number at the even places.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    for (shift, mask) in [
        (16, 0x0000_FFFF_0000_FFFF),
        (8, 0x00FF_00FF_00FF_00FF),
        (4, 0x0F0F_0F0F_0F0F_0F0F),
        (2, 0x3333_3333_3333_3333),
        (1, EVEN),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// The number whose bits are at the even places.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & EVEN;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0F0F_0F0F_0F0F_0F0F),
        (4, 0x00FF_00FF_00FF_00FF),
        (8, 0x0000_FFFF_0000_FFFF),
        (16, 0x0000_0000_FFFF_FFFF),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_come_back(value: u32) {
            prop_assert_eq!(gather(spread(value)), value);
        }

        #[test]
        fn a_position_lies_in_its_cell_and_its_neighbours_touch_it(
            longitude in -179.0..179.0f64, latitude in -84.0..84.0f64, steps in 2..=STEPS_MAX,
        ) {
            let cell = Cell::of(Position { longitude, latitude }, steps, LATITUDE_MAX);
            let area = cell.area();
            prop_assert!(area.west <= longitude && longitude <= area.east);
            prop_assert!(area.south <= latitude && latitude <= area.north);
            if area.east < LONGITUDE_MAX && area.north < LATITUDE_MAX {
                let corner = cell.neighbour(1, 1);
                prop_assert!(corner.area().west >= area.east);
                prop_assert!(corner.area().south >= area.north);
                prop_assert_eq!(corner.neighbour(-1, -1), cell);
            }
        }

        #[test]
        fn a_score_leads_back_to_within_a_metre(
            longitude in -180.0..=180.0f64, latitude in -85.0..=85.0f64,
        ) {
            let back = Position::of_score(Position { longitude, latitude }.score());
            prop_assert!((back.longitude - longitude).abs() < 1e-5);
            prop_assert!((back.latitude - latitude).abs() < 1e-5);
        }
    }

    #[test]
    fn any_score_has_bits() {
        assert_eq!(bits_of(5.9), 5);
        assert_eq!(bits_of(-1.0), u64::MAX);
        assert_eq!(bits_of(1.5e19), 15_000_000_000_000_000_000);
        assert_eq!((bits_of(f64::NEG_INFINITY), bits_of(f64::INFINITY)), (1 << 63, 0));
    }

    #[test]
    fn known_scores_and_texts() {
        let palermo = Position { longitude: 13.361_389, latitude: 38.115_556 };
        assert_eq!(palermo.score() as u64, 3_479_099_956_230_698);
        assert_eq!(&Position::of_score(palermo.score()).text(), b"sqc8b49rny0");
    }
}
