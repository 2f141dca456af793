//! Going through keys: SCAN, RANDOMKEY, slots.

use super::{Overdue, Shard};
use crate::arena::Handle;
use crate::hash::{Key, skew};
use crate::journal::ChangeKind;
use crate::random::Randoms;
use crate::table::KeySource;
use crate::table::scan::CURSOR_BITS;
use crate::value::ValueRef;

/// Bits of a cursor that [`Shard::scan`] uses; those above are the caller's, for the shard's
/// number.
pub const SCAN_CURSOR_BITS: u32 = CURSOR_BITS + 14;

/// Entries that are drawn for a random key at most.
const RANDOM_TRIES: usize = 100;

/// What [`Shard::random_key`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RandomKey<'a> {
    /// A key.
    Key(&'a [u8]),
    /// The database has no key.
    Empty,
    /// None, among those that were drawn. To be tried again.
    NotFound,
}

impl Shard {
    /// Calls `visit` with the keys from `cursor` (0: the start) on, until `count` or a few more
    /// were visited or the end is reached; the cursor to go on from, 0 at the end.
    ///
    /// A key that exists from the first call to the last is visited at least once, whatever else
    /// comes and goes. Due keys are left out. Only the low [`SCAN_CURSOR_BITS`] bits of a cursor
    /// are used; any number is accepted.
    pub fn scan(
        &self,
        db: u32,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> u64 {
        self.scan_handles(db, cursor, count, &mut self.unless_due(visit))
    }

    /// As [`Shard::scan`], due keys included: `visit` is told which are.
    pub fn scan_with_due(
        &self,
        db: u32,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>, bool),
    ) -> u64 {
        self.scan_handles(db, cursor, count, &mut |handle| {
            visit(self.store.key(handle), self.store.value(handle), self.is_due(handle));
        })
    }

    /// What shows the entries that are not due.
    fn unless_due(&self, visit: &mut dyn FnMut(&[u8], ValueRef<'_>)) -> impl FnMut(Handle) {
        |handle| {
            if !self.is_due(handle) {
                visit(self.store.key(handle), self.store.value(handle));
            }
        }
    }

    /// As [`Shard::scan`], due keys included.
    pub(super) fn scan_handles(
        &self,
        db: u32,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(Handle),
    ) -> u64 {
        let mut left = count.max(1);
        let mut inner = cursor & ((1 << CURSOR_BITS) - 1);
        let mut from = (cursor >> CURSOR_BITS) as usize & (crate::SLOTS - 1);
        while let Some(slot) = self.dbs[db as usize].next_slot(from) {
            if slot as usize != from {
                inner = 0;
            }
            let (next, visited) = self.scan_table(db, slot, inner, left, visit);
            if next != 0 {
                return next | u64::from(slot) << CURSOR_BITS;
            }
            from = slot as usize + 1;
            inner = 0;
            left = left.saturating_sub(visited.max(1));
            if left == 0 {
                // The next slot that has keys, so that the end is seen when it is reached.
                return self.dbs[db as usize]
                    .next_slot(from)
                    .map_or(0, |slot| u64::from(slot) << CURSOR_BITS);
            }
        }
        0
    }

    /// Like [`Shard::scan`] through the keys of one slot, in slot mode; its cursors are its own.
    pub fn scan_slot(
        &self,
        db: u32,
        slot: u16,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> u64 {
        self.scan_table(db, slot, cursor, count, &mut self.unless_due(visit)).0
    }

    /// Number of keys of a slot, in slot mode, with those that are due and not removed yet.
    pub fn slot_len(&self, db: u32, slot: u16) -> usize {
        self.dbs[db as usize].table(slot).map_or(0, crate::table::Table::len)
    }

    /// The first slot from `slot` on that has keys, in slot mode.
    pub fn next_slot(&self, db: u32, slot: u16) -> Option<u16> {
        self.dbs[db as usize].next_slot(slot as usize)
    }

    fn scan_table(
        &self,
        db: u32,
        slot: u16,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(Handle),
    ) -> (u64, usize) {
        let mut visited = 0;
        let Some(table) = self.dbs[db as usize].table(slot) else {
            return (0, 0);
        };
        let next = table.scan(cursor, count, &self.store, |handle| {
            visited += 1;
            visit(handle);
        });
        (next, visited)
    }

    /// A random key. Due keys that are come upon are removed, unless they are to be kept; so many
    /// of them may be met that no key is found in a bounded time.
    pub fn random_key(&mut self, db: u32) -> RandomKey<'_> {
        for _ in 0..RANDOM_TRIES {
            let Some((slot, handle)) = self.random_entry(db) else { return RandomKey::Empty };
            if !self.is_due(handle) {
                return RandomKey::Key(self.store.key(handle));
            }
            if self.overdue == Overdue::Kept {
                continue;
            }
            let bytes = self.store.key(handle).to_vec();
            let key = Key { bytes: &bytes, hash: self.store.hash(handle), slot };
            let found = self.find(db, &key);
            let (position, handle) = found.expect("invariant: a drawn entry is in its table");
            let found = super::Found { position, handle };
            self.remove_found(db, &key, found, ChangeKind::Expired);
        }
        // Where every key may be due, and all of them stay, one of them is the answer, as with the
        // peers: else it would never come.
        let may_all_be_due = self.expires(db) == self.len(db);
        if self.overdue == Overdue::Kept && may_all_be_due {
            return match self.random_entry(db) {
                Some((_, handle)) => RandomKey::Key(self.store.key(handle)),
                None => RandomKey::Empty,
            };
        }
        RandomKey::NotFound
    }

    /// A random entry, due or not, with its slot in slot mode.
    pub(super) fn random_entry(&mut self, db: u32) -> Option<(u16, Handle)> {
        // Skewed like the hashes, so that dense places are drawn as often as their keys are many.
        let random = skew(self.next_random());
        let from = (self.next_random() >> 50) as usize;
        let state = &self.dbs[db as usize];
        let slot = state.next_slot(from).or_else(|| state.next_slot(0))?;
        Some((slot, state.table(slot)?.random(random)?))
    }

    /// The next of a sequence of numbers that looks random, set by the seed.
    pub fn next_random(&mut self) -> u64 {
        self.randoms.next()
    }

    /// A sequence of its own, for what draws numbers while it looks at the shard.
    pub fn randoms(&mut self) -> Randoms {
        Randoms::new(self.next_random())
    }
}
