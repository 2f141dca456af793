//! Values that change their key, database or shard, and databases as a whole.

use super::Shard;
use crate::db::Db;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::store::{Incoming, OutOfMemory};
use crate::value::OwnedValue;

impl Shard {
    /// Takes a value out with its deadline, recording `why` ([`ChangeKind::RenamedFrom`] or
    /// [`ChangeKind::MovedFrom`]).
    pub fn take(&mut self, db: u32, key: &Key<'_>, why: ChangeKind) -> Option<OwnedValue> {
        let found = self.locate(db, key)?;
        let handle = self.unlink(db, key, found);
        self.journal.record(why, db, key.bytes);
        Some(self.store.take(handle))
    }

    /// A copy of a value with its deadline, for COPY.
    pub fn copy(&mut self, db: u32, key: &Key<'_>) -> Option<OwnedValue> {
        let found = self.locate(db, key)?;
        Some(self.store.copy(found.handle))
    }

    /// Stores a value that was taken or copied, whatever was there before, recording `New` for a
    /// new key and `why` ([`ChangeKind::RenamedTo`], [`ChangeKind::MovedTo`] or
    /// [`ChangeKind::Set`]). A short string moves into its entry; a long value moves without being
    /// copied.
    pub fn put(
        &mut self,
        db: u32,
        key: &Key<'_>,
        value: OwnedValue,
        why: ChangeKind,
    ) -> Result<(), OutOfMemory> {
        let found = self.locate(db, key);
        let incoming = Incoming::from_owned(value.payload, value.raw);
        self.place(db, key, found, incoming, value.deadline_ms)?;
        self.journal.record(why, db, key.bytes);
        Ok(())
    }

    /// Renames a key with its deadline, over whatever has the new name; whether it existed. Both
    /// keys may be the same.
    pub fn rename(&mut self, db: u32, from: &Key<'_>, to: &Key<'_>) -> Result<bool, OutOfMemory> {
        let Some(value) = self.take(db, from, ChangeKind::RenamedFrom) else {
            return Ok(false);
        };
        self.put(db, to, value, ChangeKind::RenamedTo)?;
        Ok(true)
    }

    /// Exchanges two databases.
    pub fn swap_db(&mut self, one: u32, other: u32) {
        self.dbs.swap(one as usize, other as usize);
        self.note_expiring(one);
        self.note_expiring(other);
        self.journal.record(ChangeKind::Swapped, one, b"");
        self.journal.record(ChangeKind::Swapped, other, b"");
    }

    /// Empties a database at once; its memory is freed by [`Shard::collect_garbage`]. How many keys
    /// it had.
    pub fn flush_db(&mut self, db: u32) -> usize {
        let len = self.dbs[db as usize].len();
        let old = std::mem::replace(&mut self.dbs[db as usize], Db::new(self.slot_mode));
        if len > 0 {
            self.garbage.add_db(old);
        }
        self.journal.record(ChangeKind::Flushed, db, b"");
        len
    }
}
