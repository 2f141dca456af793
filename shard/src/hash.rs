//! Keys with what routing computed of them once: the table hash and the cluster slot.
//!
//! The table hash is skewed on purpose. With even hashes all segments of a table would fill, grow
//! and split at the same time: work would come in waves, the load would swing between two thirds
//! and nine tenths with the number of keys, and each time a whole generation of arrays moved to the
//! next size it would leave the allocator's pages for the last one half empty (2 to 5 bytes a key,
//! measured). So the place of a hash among the segments is bent (as in Martin's spiral storage) so
//! that the keys are twice as dense at one end as at the other: at any time there are segments of
//! every age, and each size is left by some while others come to it.

use std::hash::{BuildHasher, Hasher};

/// Hashes keys for the tables. The cores of a process share one, so that a key hashed where its
/// command arrives needs no second hash where it lives.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    seeds: [u64; 4],
}

impl KeyHasher {
    /// A hasher keyed with `seeds`, which must be unpredictable to clients.
    pub fn new(seeds: [u64; 4]) -> Self {
        Self { seeds }
    }

    /// The hash of a key: its high bits choose a table segment, its low ones the place in it. The
    /// high bits are not evenly spread (see the module's head).
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let [a, b, c, d] = self.seeds;
        let mut hasher = ahash::RandomState::with_seeds(a, b, c, d).build_hasher();
        hasher.write(key);
        skew(hasher.finish())
    }
}

/// Bits that stay as they are: the table's fingerprints are even.
const EVEN_BITS: u64 = (1 << 14) - 1;

/// Bends evenly spread numbers: as fractions, x becomes x (2 + x) / 3, which keeps their order, and
/// makes them twice as dense near 0 as near 1.
#[inline]
pub(crate) fn skew(even: u64) -> u64 {
    const THIRD: u64 = u64::MAX / 3;
    let slope = 2 * THIRD + high_product(THIRD, even);
    high_product(even, slope) & !EVEN_BITS | even & EVEN_BITS
}

#[inline]
fn high_product(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// A key as the operations of a shard take it.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key itself.
    pub bytes: &'a [u8],
    /// [`KeyHasher::hash`] of it.
    pub hash: u64,
    /// Its cluster slot, below 16384. Read only by shards in slot mode.
    pub slot: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skewing_keeps_the_order_and_doubles_the_density() {
        let steps = 1 << 12;
        let skewed: Vec<u64> = (0..steps).map(|step| skew(step << 52)).collect();
        assert!(skewed.is_sorted());
        let first = skewed[1] - skewed[0];
        let last = skewed[steps as usize - 1] - skewed[steps as usize - 2];
        let ratio = last as f64 / first as f64;
        assert!((1.99..2.01).contains(&ratio), "{ratio}");
        assert!(skew(u64::MAX) > u64::MAX - (1 << 16), "the whole range is used");
    }
}
