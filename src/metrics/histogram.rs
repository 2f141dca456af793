//! Latencies of one command, with two significant digits.
//!
//! The layout is that of an HDR histogram of nanoseconds up to one second: values below 256 have a
//! counter each; above, every power of two is divided into 128 equal ranges, so that a range is at
//! most 1/128 of its values. Recording is a shift and an addition. 3072 counters, 24 KiB, of which
//! a command touches the few pages that its latencies lie in; so there is one only for commands
//! that have run.

/// Ranges that a power of two is divided into.
const HALF: u64 = 128;
/// Powers of two above the first 256 values, up to the largest value.
const COUNTERS: usize = 3072;
/// Latencies above count as this one: nanoseconds.
const VALUE_MAX: u64 = 1_000_000_000;
/// The first step of [`Histogram::steps`], nanoseconds; each step is twice the one before.
const FIRST_STEP: u64 = 1024;

/// Counters of latencies.
#[derive(Clone, Debug)]
pub struct Histogram {
    total: u64,
    counts: Box<[u64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { total: 0, counts: vec![0; COUNTERS].into_boxed_slice() }
    }
}

impl Histogram {
    /// Counts a latency. O(1).
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.counts[index_of(nanoseconds.clamp(1, VALUE_MAX))] += 1;
        self.total += 1;
    }

    /// Adds those of another core. O(counters).
    pub fn add(&mut self, other: &Self) {
        self.total += other.total;
        for (count, other) in self.counts.iter_mut().zip(&*other.counts) {
            *count += other;
        }
    }

    /// How many latencies have been counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency in nanoseconds that this share (0 to 100) of all does not exceed: the largest
    /// value of its range, for 0 the least. O(counters).
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (percent.min(100.0) / 100.0 * self.total as f64 + 0.5) as u64;
        let mut cumulative = 0;
        let found = self.counts.iter().position(|count| {
            cumulative += count;
            cumulative >= wanted.max(1)
        });
        let Some(index) = found else { return 0 };
        if percent == 0.0 { lowest(index) } else { lowest(index + 1) - 1 }
    }

    /// How many latencies lie up to a microsecond, two, four and so on: pairs of an upper bound in
    /// microseconds and the count up to it, without those where nothing is added. O(counters).
    pub fn steps(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let (mut cumulative, mut shown, mut step) = (0, 0, FIRST_STEP);
        for (index, count) in self.counts.iter().enumerate() {
            cumulative += count;
            // A step ends with the range in which it lies, as in the peers' replies.
            if lowest(index) >= step {
                step *= 2;
                if cumulative > shown {
                    steps.push(((lowest(index + 1) - 1) / 1000, cumulative));
                    shown = cumulative;
                }
            }
        }
        if cumulative > shown {
            steps.push(((lowest(COUNTERS) - 1) / 1000, cumulative));
        }
        steps
    }
}

/// The counter of a value.
#[inline]
fn index_of(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(HALF.ilog2() + 1);
    (u64::from(shift) * HALF + (value >> shift)) as usize
}

/// The least value of a counter.
fn lowest(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / HALF).saturating_sub(1);
    (index - shift * HALF) << shift
}

const _: () = assert!(COUNTERS as u64 == (VALUE_MAX.ilog2() as u64 - 6 + 1) * HALF);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_range() {
        let mut previous = 0;
        let powers = (0..30).flat_map(|power| [(1u64 << power) - 1, 1 << power, (1 << power) + 1]);
        for value in powers.chain((0..VALUE_MAX).step_by(999_983)).filter(|v| *v <= VALUE_MAX) {
            let index = index_of(value);
            let (low, next) = (lowest(index), lowest(index + 1));
            assert!((low..next).contains(&value), "{value} in {low}..{next}");
            assert!(next - low <= (value / 128).max(1), "{value}: {} wide", next - low);
            previous = previous.max(index);
        }
        assert!(previous < COUNTERS);
    }

    #[test]
    fn percentiles_are_those_of_the_peers() {
        let mut histogram = Histogram::default();
        // As Valkey shows 7, 14 and 55 microseconds.
        for (us, shown) in [(7, 7_007), (14, 14_015), (55, 55_039)] {
            let mut one = Histogram::default();
            one.record(us * 1000);
            assert_eq!(one.percentile(50.0), shown);
            histogram.add(&one);
        }
        assert_eq!(histogram.percentile(50.0), 14_015);
        assert_eq!(histogram.percentile(100.0), 55_039);
        assert_eq!(histogram.percentile(0.0), 6_976);
        assert_eq!(Histogram::default().percentile(99.0), 0);
    }

    #[test]
    fn steps_double_and_skip_what_adds_nothing() {
        let mut histogram = Histogram::default();
        for nanoseconds in [500, 600, 1_030, 3_000, 60_000, 2_000_000_000] {
            histogram.record(nanoseconds);
        }
        let steps = histogram.steps();
        assert_eq!(steps[..3], [(1, 3), (4, 4), (66, 5)]);
        assert_eq!(steps.last().unwrap().1, histogram.total());
    }
}
