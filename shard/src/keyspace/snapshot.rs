//! The hook for a snapshot that is taken while commands go on.

use super::Shard;
use crate::hash::Key;
use crate::table::KeySource;
use crate::value::ValueRef;

/// An entry as a snapshot saves it.
#[derive(Clone, Copy, Debug)]
pub struct SavedEntry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: ValueRef<'a>,
    /// When it expires, in milliseconds of the Unix epoch.
    pub deadline_ms: Option<u64>,
}

impl Shard {
    /// To be called before a write to `key` while a snapshot with number `cut` is being taken: when
    /// the snapshot does not have the key's segment yet, calls `save` with each entry of it as it
    /// is now, and notes that it has. Whether it did.
    ///
    /// The snapshot's own walk saves the segments that no write came to in the same way, so that
    /// each entry that existed at the cut is saved once, as it was then. Numbers only grow.
    pub fn save_before_write(
        &mut self,
        db: u32,
        key: &Key<'_>,
        cut: u64,
        save: &mut dyn FnMut(SavedEntry<'_>),
    ) -> bool {
        let slot = self.slot_of(key);
        if self.dbs[db as usize].table(slot).is_none()
            || !self.dbs[db as usize].touch(slot, key.hash, cut)
        {
            return false;
        }
        let table = self.dbs[db as usize].table(slot).expect("invariant: it was touched");
        let store = &self.store;
        table.for_segment_of(key.hash, |handle| {
            let (key, value) = (store.key(handle), store.value(handle));
            save(SavedEntry { key, value, deadline_ms: store.deadline(handle) });
        });
        true
    }
}
