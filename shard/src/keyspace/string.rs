//! Strings changed in place: APPEND, SETRANGE, SETBIT, BITFIELD, PFADD.

use super::{Found, Shard};
use crate::arena::Handle;
use crate::entry::Kind;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::store::{Incoming, OutOfMemory};

impl Shard {
    /// The bytes of a string for writing, grown with zeroes to at least `len` bytes. A missing key
    /// is made; an integer becomes its text; the deadline stays. Records `New` for a new key, and
    /// `Modified`. The key must not hold another type.
    ///
    /// Growing is amortised O(bytes added) once the string is longer than about 1 KiB; below that
    /// the entry is rewritten. The string's encoding is `raw` from then on.
    pub fn string_mut(
        &mut self,
        db: u32,
        key: &Key<'_>,
        len: usize,
    ) -> Result<&mut [u8], OutOfMemory> {
        let found = self.locate(db, key);
        if let Some(found) = found {
            self.save_before_change(db, found.handle);
        }
        let is_in_place = found.is_some_and(|found| self.resize_in_place(found.handle, len));
        if !is_in_place {
            self.rewrite(db, key, found, len)?;
        }
        self.journal.record(ChangeKind::Modified, db, key.bytes);
        let found = self.look(db, key).expect("invariant: it was written just now");
        self.note_access(found.handle);
        Ok(self.store.string_mut(found.handle))
    }

    /// Stores a whole string that was changed outside its place. A missing key is made; the
    /// deadline stays. Records `New` for a new key, and `Modified`. The string's encoding is `raw`
    /// from then on.
    pub fn rewrite_string(
        &mut self,
        db: u32,
        key: &Key<'_>,
        bytes: &[u8],
    ) -> Result<(), OutOfMemory> {
        let found = self.locate(db, key);
        let deadline = found.and_then(|found| self.store.entry(found.handle).deadline());
        self.place(db, key, found, Incoming::Bytes { bytes, raw: true }, deadline)?;
        self.journal.record(ChangeKind::Modified, db, key.bytes);
        Ok(())
    }

    /// Makes a string ready to be written to, so that it is reported as `raw` from then on, as the
    /// peers do before they see that there is nothing to write. An integer becomes its text.
    /// Records nothing: the value is the same.
    pub fn write_out(&mut self, db: u32, key: &Key<'_>) -> Result<(), OutOfMemory> {
        let Some(found) = self.locate(db, key) else { return Ok(()) };
        if self.store.entry(found.handle).is_raw() {
            return Ok(());
        }
        if self.resize_in_place(found.handle, 0) {
            self.store.string_mut(found.handle);
            return Ok(());
        }
        self.rewrite(db, key, Some(found), 0)
    }

    /// Makes an entry ready to be written to without giving it another block; false when it needs
    /// one.
    fn resize_in_place(&mut self, handle: Handle, len: usize) -> bool {
        let entry = self.store.entry(handle);
        match entry.kind() {
            Kind::Int => false,
            Kind::String => len <= entry.value().len(),
            Kind::External => self.store.resize_external(handle, len),
            Kind::Pack(_) => unreachable!("the caller checked that it is a string"),
        }
    }

    /// Writes a string anew with at least `len` bytes.
    fn rewrite(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        len: usize,
    ) -> Result<(), OutOfMemory> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let mut deadline = None;
        if let Some(found) = found {
            self.store.value(found.handle).write_to(&mut bytes);
            deadline = self.store.entry(found.handle).deadline();
        }
        let len = len.max(bytes.len());
        bytes.resize(len, 0);
        let incoming = Incoming::Bytes { bytes: &bytes, raw: true };
        let placed = self.place(db, key, found, incoming, deadline);
        bytes.shrink_to(SCRATCH_BYTES_MAX);
        self.scratch = bytes;
        placed
    }
}

/// What the scratch buffer keeps between uses.
const SCRATCH_BYTES_MAX: usize = 64 << 10;
