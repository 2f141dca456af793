//! The numbers that tell keys and members apart.

use std::ops::Range;

/// Multiplies the index of a mixed number. It is a prime above every range, so that all numbers of
/// a range come once (Knuth's multiplier).
const MIXER: u64 = 2_654_435_761;

/// An endless sequence of numbers in a range.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    range: Range<u64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Uniformly distributed, from this state of the generator.
    Uniform(u64),
    /// In order, then again from the start; holds the next index.
    Rising(u64),
    /// Each once in no order, then again; holds the next index.
    Mixed(u64),
}

impl Numbers {
    /// Uniformly distributed numbers, the same ones in every run.
    pub(crate) fn uniform(range: Range<u64>) -> Self {
        Self { range, kind: Kind::Uniform(0x9e37_79b9_7f4a_7c15) }
    }

    /// All numbers in order.
    pub(crate) fn rising(range: Range<u64>) -> Self {
        Self { range, kind: Kind::Rising(0) }
    }

    /// All numbers, each once, in no order.
    pub(crate) fn mixed(range: Range<u64>) -> Self {
        assert!(range.end < MIXER, "a mixed range is smaller than its multiplier");
        Self { range, kind: Kind::Mixed(0) }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        let space = self.range.end - self.range.start;
        let advance = |index: &mut u64| {
            let now = *index;
            *index = if now + 1 == space { 0 } else { now + 1 };
            now
        };
        let offset = match &mut self.kind {
            Kind::Uniform(state) => {
                // xorshift64* (Vigna 2016): three shifts and a multiplication, no table.
                *state ^= *state >> 12;
                *state ^= *state << 25;
                *state ^= *state >> 27;
                let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
                ((u128::from(random) * u128::from(space)) >> 64) as u64
            }
            Kind::Rising(index) => advance(index),
            Kind::Mixed(index) => advance(index) * MIXER % space,
        };
        self.range.start + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(mut numbers: Numbers, count: usize) -> Vec<u64> {
        std::iter::repeat_with(|| numbers.next()).take(count).collect()
    }

    #[test]
    fn uniform_numbers_repeat_and_fill_their_range() {
        let first = take(Numbers::uniform(5..15), 200);
        assert_eq!(first, take(Numbers::uniform(5..15), 200));
        let mut seen = first;
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (5..15).collect::<Vec<_>>());
    }

    #[test]
    fn rising_and_mixed_numbers_come_once_a_turn() {
        assert_eq!(take(Numbers::rising(2..4), 5), [2, 3, 2, 3, 2]);
        let mut mixed = take(Numbers::mixed(0..2_000), 2_000);
        assert_ne!(mixed[..3], [0, 1, 2]);
        mixed.sort_unstable();
        assert_eq!(mixed, (0..2_000).collect::<Vec<_>>());
    }
}
