//! Storing and removing values, and their deadlines.

use super::{Found, Overdue, Shard};
use crate::entry::DEADLINE_MAX;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::store::{EntryHead, Incoming, OutOfMemory};
use crate::value::{NewValue, is_too_long_for_embstr};

/// What becomes of a key's deadline when its value is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// It is taken away.
    Clear,
    /// It stays.
    Keep,
    /// It becomes this moment, in milliseconds of the Unix epoch.
    At(u64),
}

/// What [`Shard::set`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetOutcome {
    /// Whether the key existed.
    pub replaced: bool,
}

impl Shard {
    /// Stores a string, whatever was there before. Records `New` for a new key, `Set`, and `Expire`
    /// for [`Ttl::At`]. A deadline that has passed makes the key expire at its next use.
    pub fn set(
        &mut self,
        db: u32,
        key: &Key<'_>,
        value: NewValue<'_>,
        ttl: Ttl,
    ) -> Result<SetOutcome, OutOfMemory> {
        self.set_as(db, key, value, ttl, ChangeKind::Set)
    }

    /// As [`Shard::set`], recording `why` in the place of `Set`.
    pub fn set_as(
        &mut self,
        db: u32,
        key: &Key<'_>,
        value: NewValue<'_>,
        ttl: Ttl,
        why: ChangeKind,
    ) -> Result<SetOutcome, OutOfMemory> {
        let found = self.locate(db, key);
        let old = found.and_then(|found| self.store.entry(found.handle).deadline());
        let deadline = match ttl {
            Ttl::Clear => None,
            Ttl::Keep => old,
            Ttl::At(deadline) => Some(deadline),
        };
        let mut incoming = Incoming::new(value);
        if let Incoming::Bytes { bytes, raw } = &mut incoming {
            // A deadline that is taken away now still was there when the peers chose the encoding.
            *raw |= is_too_long_for_embstr(key.bytes, bytes, old.is_some());
        }
        self.place(db, key, found, incoming, deadline)?;
        self.journal.record(why, db, key.bytes);
        if matches!(ttl, Ttl::At(_)) {
            self.journal.record(ChangeKind::Expire, db, key.bytes);
        }
        Ok(SetOutcome { replaced: found.is_some() })
    }

    /// Stores an integer and keeps the deadline: INCR and its kin. Records `New` for a new key, and
    /// `Modified`. In place unless the width changes (1, 2, 4 or 8 bytes).
    pub fn set_int(&mut self, db: u32, key: &Key<'_>, value: i64) -> Result<(), OutOfMemory> {
        let found = self.locate(db, key);
        let deadline = found.and_then(|found| self.store.entry(found.handle).deadline());
        self.place(db, key, found, Incoming::Int(value), deadline)?;
        self.journal.record(ChangeKind::Modified, db, key.bytes);
        Ok(())
    }

    /// Removes a key; whether it existed. What takes long to free is left to
    /// [`Shard::collect_garbage`].
    pub fn remove(&mut self, db: u32, key: &Key<'_>) -> bool {
        self.remove_recorded(db, key, ChangeKind::Deleted)
    }

    /// Removes a key to make room; whether it existed.
    pub fn evict(&mut self, db: u32, key: &Key<'_>) -> bool {
        self.remove_recorded(db, key, ChangeKind::Evicted)
    }

    /// Removes a key because its deadline has passed, or would have when it was given; whether it
    /// existed.
    pub fn expire(&mut self, db: u32, key: &Key<'_>) -> bool {
        self.remove_recorded(db, key, ChangeKind::Expired)
    }

    pub(super) fn remove_recorded(&mut self, db: u32, key: &Key<'_>, why: ChangeKind) -> bool {
        let Some(found) = self.locate(db, key) else {
            return false;
        };
        self.remove_found(db, key, found, why);
        true
    }

    /// Gives a key a deadline, which may have passed; whether the key exists.
    pub fn set_deadline(
        &mut self,
        db: u32,
        key: &Key<'_>,
        deadline_ms: u64,
    ) -> Result<bool, OutOfMemory> {
        let Some(found) = self.locate(db, key) else {
            return Ok(false);
        };
        self.change_deadline(db, key, found, Some(deadline_ms.min(DEADLINE_MAX)))?;
        self.journal.record(ChangeKind::Expire, db, key.bytes);
        Ok(true)
    }

    /// Takes a key's deadline away; whether it had one.
    pub fn persist(&mut self, db: u32, key: &Key<'_>) -> Result<bool, OutOfMemory> {
        let Some(found) = self.locate(db, key) else {
            return Ok(false);
        };
        if self.store.entry(found.handle).deadline().is_none() {
            return Ok(false);
        }
        self.change_deadline(db, key, found, None)?;
        self.journal.record(ChangeKind::Persist, db, key.bytes);
        Ok(true)
    }

    fn change_deadline(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Found,
        deadline: Option<u64>,
    ) -> Result<(), OutOfMemory> {
        self.save_before_change(db, found.handle);
        let slot = self.slot_of(key);
        let old = self.store.entry(found.handle).deadline();
        let handle = self.store.set_deadline(found.handle, deadline)?;
        if handle != found.handle {
            self.dbs[db as usize].replace(slot, found.position, handle);
        }
        self.dbs[db as usize].move_deadline(slot, key.hash, old, deadline, self.now_ms);
        self.note_expiring(db);
        Ok(())
    }

    /// Removes a key that was kept although it is due, before another takes its place.
    #[inline]
    fn remove_kept(&mut self, db: u32, key: &Key<'_>) {
        if self.overdue == Overdue::Kept
            && let Some((position, handle)) = self.find(db, key)
        {
            self.remove_found(db, key, Found { position, handle }, ChangeKind::Expired);
        }
    }

    /// Writes an entry in the place of the one found, or as a new one. Nothing changes on failure.
    pub(super) fn place(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        incoming: Incoming<'_>,
        deadline: Option<u64>,
    ) -> Result<(), OutOfMemory> {
        let slot = self.slot_of(key);
        let deadline = deadline.map(|deadline| deadline.min(DEADLINE_MAX));
        let old_stamp = found.map(|found| self.store.entry(found.handle).stamp());
        let stamp = self.next_stamp(old_stamp);
        let head = EntryHead { key: key.bytes, deadline, stamp };
        let Some(Found { position, handle: old }) = found else {
            self.remove_kept(db, key);
            let handle = self.store.write(head, incoming, None)?;
            self.dbs[db as usize].insert(slot, key.hash, handle, self.now_ms, &self.store);
            self.note_expiring(db);
            self.journal.record(ChangeKind::New, db, key.bytes);
            return Ok(());
        };
        self.save_before_change(db, old);
        let old_deadline = self.store.entry(old).deadline();
        let old_cell = self.store.external_of(old);
        let handle = self.store.write(head, incoming, Some(old))?;
        if let Some(cell) = old_cell {
            self.disarm_cell(db, cell);
            let external = self.store.externals.remove(cell);
            self.discard(Some(external));
        }
        if handle != old {
            self.dbs[db as usize].replace(slot, position, handle);
        }
        self.dbs[db as usize].move_deadline(slot, key.hash, old_deadline, deadline, self.now_ms);
        self.note_expiring(db);
        Ok(())
    }
}
