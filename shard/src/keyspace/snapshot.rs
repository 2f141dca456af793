//! For snapshots: the walk through all entries, and the hook for one that is taken while commands
//! go on.

use super::Shard;
use crate::arena::Handle;
use crate::hash::Key;
use crate::owned::OwnedValue;
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

/// An entry that a walk has come to.
pub struct WalkedEntry<'a> {
    shard: &'a Shard,
    handle: Handle,
}

impl<'a> WalkedEntry<'a> {
    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.shard.store.key(self.handle)
    }

    /// A look at the value.
    pub fn value(&self) -> ValueRef<'a> {
        self.shard.store.value(self.handle)
    }

    /// When the key expires, in milliseconds of the Unix epoch; it may be due already.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.shard.store.deadline(self.handle)
    }

    /// Its access stamp.
    pub fn stamp(&self) -> u16 {
        self.shard.store.entry(self.handle).stamp()
    }

    /// A copy of the value and the deadline; O(elements).
    pub fn to_value(&self) -> OwnedValue {
        self.shard.export(self.handle)
    }
}

impl Shard {
    /// Calls `visit` with the entries of a database from `cursor` (0: the start) on, until `count`
    /// or a few more were visited or the end is reached; the cursor to go on from, 0 at the end.
    ///
    /// As long as no key comes or goes between the calls, each entry is visited exactly once. Due
    /// keys are visited as well.
    pub fn walk(
        &self,
        db: u32,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&WalkedEntry<'_>),
    ) -> u64 {
        let mut visit = |handle| visit(&WalkedEntry { shard: self, handle });
        self.scan_handles(db, cursor, count, &mut visit)
    }

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
