//! Seeded pseudo-random numbers (`SplitMix64`): the same seed gives the same test for ever, which
//! a library's generator does not promise across its versions.

/// A pseudo-random sequence that is a pure function of its seed.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero. The bias is below 2^-32 for small bounds.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "no number is below zero");
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// True once in `odds` draws on average.
    pub fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    /// One of the elements of a slice that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A generator for a part of the test, so that its draws do not shift those of the others.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }
}

/// The seed of a run without `KVASIR_SEED`.
const USUAL_SEED: u64 = 20_261_122;

/// The seed of this run: the same in every run, so that what fails is what has changed, unless
/// `KVASIR_SEED` names another, or says `random`. Print it on failure.
pub fn seed_from_environment() -> u64 {
    match std::env::var("KVASIR_SEED") {
        Err(_) => USUAL_SEED,
        Ok(text) if text == "random" => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |passed| passed.as_nanos() as u64)
        }
        Ok(text) => text.parse().expect("KVASIR_SEED must be a decimal number or `random`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence_and_bounds_hold() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        for bound in 1..200 {
            let drawn = a.below(bound);
            assert_eq!(drawn, b.below(bound));
            assert!(drawn < bound);
        }
        assert_ne!(Rng::new(1).bits(), Rng::new(2).bits());
    }

    #[test]
    fn every_value_below_the_bound_is_drawn() {
        let mut rng = Rng::new(3);
        let mut seen = [0_u32; 10];
        for _ in 0..1_000 {
            seen[rng.below(10)] += 1;
        }
        assert!(seen.iter().all(|&times| times > 50), "{seen:?}");
    }
}
