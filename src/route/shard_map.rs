//! Which shard owns a key, and what its hashes are.

use kvasir_proto::key_slot;
use kvasir_shard::{Key, KeyHasher};

use super::engine::ShardId;
use super::locks::Fingerprint;

/// Slots of the cluster's hash function.
const SLOTS: u32 = 16384;

/// The division of the slots among the shards: shard `i` of `n` owns the slots `s` with
/// `s * n / 16384 = i`, which are contiguous, as a cluster's usually are.
#[derive(Clone, Copy, Debug)]
pub struct ShardMap {
    shards: u16,
    hasher: KeyHasher,
}

impl ShardMap {
    /// A map for `shards` shards (1 to 1024).
    pub fn new(shards: u16, hasher: KeyHasher) -> Self {
        assert!((1..=1024).contains(&shards), "between 1 and 1024 shards");
        Self { shards, hasher }
    }

    /// How many shards there are.
    pub fn shards(self) -> u16 {
        self.shards
    }

    /// The key with its table hash and its slot. With one shard the slot is not computed: nothing
    /// asks for it outside cluster mode.
    pub fn key(self, bytes: &[u8]) -> Key<'_> {
        self.key_in_slot(bytes, self.slot(bytes))
    }

    /// As [`ShardMap::key`], for a key whose slot is known.
    #[inline]
    pub fn key_in_slot(self, bytes: &[u8], slot: u16) -> Key<'_> {
        Key { bytes, hash: self.hasher.hash(bytes), slot }
    }

    /// The slot of a key; 0 with one shard.
    #[inline]
    pub fn slot(self, bytes: &[u8]) -> u16 {
        if self.shards == 1 { 0 } else { key_slot(bytes) }
    }

    /// The shard that owns the key.
    pub fn owner(self, bytes: &[u8]) -> ShardId {
        if self.shards == 1 { ShardId(0) } else { self.owner_of_slot(key_slot(bytes)) }
    }

    /// The shard that owns a slot.
    pub fn owner_of_slot(self, slot: u16) -> ShardId {
        ShardId((u32::from(slot) * u32::from(self.shards) / SLOTS) as u16)
    }

    /// The key as the locks see it.
    pub fn fingerprint(self, db: u32, hash: u64) -> Fingerprint {
        hash.wrapping_add(u64::from(db).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
