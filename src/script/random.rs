//! `math.random` of scripts: the same numbers on every machine for the same seed, as the peers'.
//!
//! The 48-bit linear congruential generator of `lrand48`, whose constants are POSIX's.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
/// The state before anything is seeded.
const INITIAL: u64 = 0x1234_ABCD_330E;

/// One generator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(INITIAL)
    }
}

impl Random {
    /// Begins the sequence of a seed.
    pub(super) fn seed(&mut self, seed: i32) {
        self.0 = u64::from(seed as u32) << 16 | 0x330E;
    }

    /// The next number, at least 0 and below 2^31.
    pub(super) fn next(&mut self) -> i32 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        (self.0 >> 17) as i32
    }

    /// The next fraction, at least 0 and below 1.
    pub(super) fn fraction(&mut self) -> f64 {
        const MAX: i32 = i32::MAX;
        f64::from(self.next() % MAX) / f64::from(MAX)
    }
}
