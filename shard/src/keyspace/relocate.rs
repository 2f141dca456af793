//! Values that change their key, database or shard, and databases as a whole.

use super::{Found, Shard};
use crate::arena::{BLOCK_BYTES_MAX, Handle};
use crate::db::Db;
use crate::entry::{DEADLINE_BYTES, HEADER_BYTES, KEY_INLINE_MAX, Kind, PackKind, int_bytes};
use crate::external::External;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::owned::OwnedValue;
use crate::store::{Incoming, OutOfMemory};
use crate::value::{Payload, ValueRef};

/// The name of a cell, which stands for a value that lies outside its entry.
const CELL_BYTES: usize = size_of::<u32>();

/// A value out of its place, within its shard: what its elements have in the arena stays there.
pub(super) struct Moving {
    pub(super) form: Form,
    pub(super) raw: bool,
    pub(super) deadline: Option<u64>,
}

/// What a value is while it has no entry.
pub(super) enum Form {
    Int(i64),
    Bytes(Vec<u8>),
    Pack(PackKind, Vec<u8>),
    Outside(Payload),
}

impl Shard {
    /// Takes a value out with its deadline, recording `why` ([`ChangeKind::RenamedFrom`] or
    /// [`ChangeKind::MovedFrom`]). O(elements); O(1) for a list, O(chunks) for the entries of a
    /// stream.
    pub fn take(&mut self, db: u32, key: &Key<'_>, why: ChangeKind) -> Option<OwnedValue> {
        let found = self.locate(db, key)?;
        self.save_before_change(db, found.handle);
        self.share(found.handle);
        let value = self.take_list(found).unwrap_or_else(|| self.export(found.handle));
        let handle = self.unlink(db, key, found);
        let external = self.store.release(handle);
        self.discard(external);
        self.journal.record(why, db, key.bytes);
        Some(value)
    }

    /// A copy of a value with its deadline, for COPY. O(elements); O(chunks) for a list or the
    /// entries of a stream, which both share until one of them is changed.
    pub fn copy(&mut self, db: u32, key: &Key<'_>) -> Option<OwnedValue> {
        let found = self.locate(db, key)?;
        self.share(found.handle);
        Some(self.export(found.handle))
    }

    /// Removes a key whose value was copied to another place, recording `why`
    /// ([`ChangeKind::RenamedFrom`] or [`ChangeKind::MovedFrom`]); whether it existed.
    pub fn remove_moved(&mut self, db: u32, key: &Key<'_>, why: ChangeKind) -> bool {
        self.remove_recorded(db, key, why)
    }

    /// Stores a value that was taken or copied, whatever was there before, recording `New` for a
    /// new key and `why` ([`ChangeKind::RenamedTo`], [`ChangeKind::MovedTo`] or
    /// [`ChangeKind::Set`]). O(elements).
    pub fn put(
        &mut self,
        db: u32,
        key: &Key<'_>,
        value: OwnedValue,
        why: ChangeKind,
    ) -> Result<(), OutOfMemory> {
        let found = self.locate(db, key);
        self.place_owned_at(db, key, found, value)?;
        self.journal.record(why, db, key.bytes);
        Ok(())
    }

    /// As [`Shard::put`], for commands that the peers let remove the key first: it is `New` in any
    /// case.
    pub fn put_anew(
        &mut self,
        db: u32,
        key: &Key<'_>,
        value: OwnedValue,
        why: ChangeKind,
    ) -> Result<(), OutOfMemory> {
        let (raw, deadline) = (value.raw, value.deadline_ms);
        let form = self.import(value.data)?;
        self.put_moving(db, key, Moving { form, raw, deadline }, why)
    }

    /// Stores a value of this shard, recording `New` and `why`.
    pub(super) fn put_moving(
        &mut self,
        db: u32,
        key: &Key<'_>,
        moving: Moving,
        why: ChangeKind,
    ) -> Result<(), OutOfMemory> {
        let found = self.locate(db, key);
        self.attach(db, key, found, moving)?;
        if found.is_some() {
            self.journal.record(ChangeKind::New, db, key.bytes);
        }
        self.journal.record(why, db, key.bytes);
        Ok(())
    }

    /// Stores a value in the place of the one found, or as a new one, recording `New` for a new
    /// key.
    pub(super) fn place_owned_at(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        value: OwnedValue,
    ) -> Result<(), OutOfMemory> {
        let (raw, deadline) = (value.raw, value.deadline_ms);
        let form = self.import(value.data)?;
        self.attach(db, key, found, Moving { form, raw, deadline })
    }

    /// Moves a value with its deadline to another key, database or both of this shard, over
    /// whatever is there; whether it existed. Both may be the same. O(1) whatever the value.
    /// Records `why` for the old and the new key, and `New` where that did not exist.
    pub fn relocate(
        &mut self,
        from: (u32, &Key<'_>),
        to: (u32, &Key<'_>),
        why: (ChangeKind, ChangeKind),
    ) -> Result<bool, OutOfMemory> {
        let (db, key) = from;
        let Some(found) = self.locate(db, key) else {
            return Ok(false);
        };
        // A lack of memory must not cost the value: that there is room is known before it moves.
        self.check_room(found.handle, to.1)?;
        let moving = self.detach(db, key, found);
        let found = self.locate(to.0, to.1);
        // The peers tell of the new key before they tell of the old one, and remove what was there
        // first.
        let attached = self.attach(to.0, to.1, found, moving);
        if found.is_some() {
            self.journal.record(ChangeKind::New, to.0, to.1.bytes);
        }
        self.journal.record(why.0, db, key.bytes);
        attached.expect("invariant: there is room for the entry under its new key");
        self.journal.record(why.1, to.0, to.1.bytes);
        Ok(true)
    }

    /// Whether an entry's value could be written under another key: whatever form it takes there,
    /// it needs a block of one of two sizes, and at most one cell for what lies outside.
    fn check_room(&mut self, handle: Handle, key: &Key<'_>) -> Result<(), OutOfMemory> {
        let entry = self.store.entry(handle);
        let deadline = if entry.deadline().is_some() { DEADLINE_BYTES } else { 0 };
        let inline_key = if key.bytes.len() <= KEY_INLINE_MAX { key.bytes.len() } else { 0 };
        let head = HEADER_BYTES + deadline + inline_key;
        let value = match (entry.kind(), self.store.value(handle)) {
            (_, ValueRef::Int(value)) => int_bytes(value).1,
            (_, ValueRef::Bytes(bytes)) => bytes.len(),
            (Kind::Pack(_), _) => entry.value().len(),
            _ => CELL_BYTES,
        };
        for size in [head + CELL_BYTES, head + value] {
            if size <= BLOCK_BYTES_MAX {
                let block = self.store.arena.alloc(size).ok_or(OutOfMemory)?;
                self.store.arena.free(block);
            }
        }
        let spare = External { key: None, payload: Payload::Int(0) };
        let cell = self.store.externals.insert(spare).ok_or(OutOfMemory)?;
        self.store.externals.remove(cell);
        Ok(())
    }

    /// Renames a key with its deadline, over whatever has the new name; whether it existed. Both
    /// keys may be the same. O(1).
    pub fn rename(&mut self, db: u32, from: &Key<'_>, to: &Key<'_>) -> Result<bool, OutOfMemory> {
        let why = (ChangeKind::RenamedFrom, ChangeKind::RenamedTo);
        self.relocate((db, from), (db, to), why)
    }

    fn detach(&mut self, db: u32, key: &Key<'_>, found: Found) -> Moving {
        let handle = self.unlink(db, key, found);
        let entry = self.store.entry(handle);
        let (raw, deadline) = (entry.is_raw(), entry.deadline());
        let inside = match entry.kind() {
            Kind::Int => Some(Form::Int(entry.int())),
            Kind::String => Some(Form::Bytes(entry.value().to_vec())),
            Kind::Pack(kind) => Some(Form::Pack(kind, entry.value().to_vec())),
            Kind::External => None,
        };
        let outside = self.store.release(handle).map(|external| match external.payload {
            Payload::Int(value) => Form::Int(value),
            payload => Form::Outside(payload),
        });
        let form = inside.or(outside).expect("invariant: a value is inside or outside");
        Moving { form, raw, deadline }
    }

    fn attach(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        moving: Moving,
    ) -> Result<(), OutOfMemory> {
        let Moving { form, raw, deadline } = moving;
        let block;
        let incoming = match form {
            Form::Int(value) => Incoming::Int(value),
            Form::Bytes(bytes) => {
                block = bytes;
                Incoming::Bytes { bytes: &block, raw }
            }
            Form::Pack(kind, bytes) => {
                block = bytes;
                Incoming::Pack { kind, bytes: &block }
            }
            Form::Outside(payload) => {
                self.place(db, key, found, Incoming::Owned { payload, raw }, deadline)?;
                self.arm_members(db, key);
                self.follow_moved(db, key);
                return Ok(());
            }
        };
        self.place(db, key, found, incoming, deadline)
    }

    /// Has a snapshot that takes a collection in parts go on with it at its new key.
    fn follow_moved(&mut self, db: u32, key: &Key<'_>) {
        let cell = self.look(db, key).and_then(|found| self.store.external_of(found.handle));
        if let Some(cell) = cell {
            self.note_moved(cell);
        }
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
