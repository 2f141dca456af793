//! Keys with what routing computed of them once: the table hash and the cluster slot.

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

    /// The hash of a key: its high bits choose a table segment, its low ones the place in it.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let [a, b, c, d] = self.seeds;
        let mut hasher = ahash::RandomState::with_seeds(a, b, c, d).build_hasher();
        hasher.write(key);
        hasher.finish()
    }
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
