//! Opening a collection: for a look, or to change it outside its place and put it back.

use super::{Found, Shard};
use crate::arena::{BLOCK_BYTES_MAX, Handle};
use crate::collections::members::{Home, Members};
use crate::collections::{Collection, EncodingLimits};
use crate::entry::{Kind, PackKind};
use crate::external::External;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::store::{Incoming, OutOfMemory, Store};
use crate::value::{Payload, ValueType};

/// Due elements that are removed at most, as a rule, before a collection is looked at.
const SETTLE_MAX: usize = 256;
/// A look at a part of a collection costs about as much as removing so many elements.
const LOOK_COST: usize = SETTLE_MAX / 16;

/// Why a collection cannot be opened or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessError {
    /// The key holds a value of another type.
    WrongType,
    /// The shard's memory is exhausted.
    OutOfMemory,
}

impl From<OutOfMemory> for AccessError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// A look at what a key holds, by how it is stored.
#[derive(Clone, Copy)]
pub(crate) enum ContentRef<'a> {
    /// A string of any form.
    String,
    /// A small collection.
    Pack(PackKind, &'a [u8]),
    /// A large one.
    Collection(&'a Collection),
}

impl Store {
    /// What an entry holds.
    #[inline]
    pub(crate) fn content(&self, handle: Handle) -> ContentRef<'_> {
        let entry = self.entry(handle);
        match entry.kind() {
            Kind::String | Kind::Int => ContentRef::String,
            Kind::Pack(kind) => ContentRef::Pack(kind, entry.value()),
            Kind::External => match &self.externals.get(entry.external()).payload {
                Payload::Int(_) | Payload::String(_) => ContentRef::String,
                Payload::Pack(kind, bytes) => ContentRef::Pack(*kind, bytes),
                Payload::Collection(collection) => ContentRef::Collection(collection),
                Payload::Taken => unreachable!("a collection is put back before it is looked at"),
            },
        }
    }
}

/// A collection out of its place.
pub(crate) enum Content {
    /// A small one, or none at all while the block is empty.
    Pack(PackKind, Vec<u8>),
    /// A large one.
    Large(Box<Collection>),
}

impl Content {
    fn is_empty(&self) -> bool {
        match self {
            Self::Pack(PackKind::IntSet, block) => crate::intset::len(block) == 0,
            Self::Pack(_, block) => block.is_empty(),
            Self::Large(collection) => collection.is_gone(),
        }
    }
}

/// A collection that is being changed, and what is needed for that.
pub(crate) struct Open<'a> {
    pub(crate) content: Content,
    pub(crate) store: &'a mut Store,
    pub(crate) limits: EncodingLimits,
    pub(crate) now_ms: u64,
    /// Parts of elements that lay outside their entries, to be freed.
    pub(crate) freed: Vec<External>,
    /// Whether anything was changed.
    pub(crate) changed: bool,
    /// Elements that a command removed because their moment had passed.
    pub(crate) expired: usize,
    /// Elements that were due, and which others of the same name have replaced.
    replaced_due: Vec<Box<[u8]>>,
    /// Whether anybody follows those.
    notes_due: bool,
    /// What to record of the change, in order, before the key goes if it gets empty.
    events: Vec<&'static str>,
    /// Whether anybody follows events.
    notes_events: bool,
}

impl Open<'_> {
    /// Records an event once the change is done, if anybody wants to know.
    #[inline]
    pub(crate) fn event(&mut self, name: &'static str) {
        if self.notes_events {
            self.events.push(name);
        }
    }

    /// Notes that an element that was due is replaced by one of the same name, as if it had been
    /// removed before.
    pub(crate) fn note_due(&mut self, name: &[u8]) {
        if self.notes_due {
            self.replaced_due.push(name.into());
        }
    }
}

impl Shard {
    /// What a key holds, if it exists; notes the access when `touch` says so. With the store in
    /// which its elements lie.
    pub(crate) fn content(
        &mut self,
        db: u32,
        key: &Key<'_>,
        touch: bool,
    ) -> Option<(ContentRef<'_>, &Store)> {
        if !touch {
            return self.peek_content(db, key);
        }
        let found = self.locate_settled(db, key)?;
        self.note_access(found.handle);
        Some((self.store.content(found.handle), &self.store))
    }

    /// As [`Shard::content`], without noting the access.
    pub(crate) fn peek_content(&self, db: u32, key: &Key<'_>) -> Option<(ContentRef<'_>, &Store)> {
        let found = self.look(db, key)?;
        Some((self.store.content(found.handle), &self.store))
    }

    /// Takes the collection at `key` out of its place, lets `change` have it, and puts it back. A
    /// missing key gives an empty block of kind `empty`. When the collection is not empty
    /// afterwards the key exists (recording `New`), else it does not (recording `Deleted`), in both
    /// cases around the events that `change` named.
    pub(crate) fn update<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        empty: PackKind,
        change: impl FnOnce(&mut Open<'_>) -> R,
    ) -> Result<R, AccessError> {
        let found = self.locate_settled(db, key);
        self.update_found(db, key, found, empty, change)
    }

    /// As [`Shard::update`], where the key was looked for already.
    pub(crate) fn update_found<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        empty: PackKind,
        change: impl FnOnce(&mut Open<'_>) -> R,
    ) -> Result<R, AccessError> {
        let content = match found {
            None => Content::Pack(empty, self.take_scratch(&[])),
            Some(found) => {
                self.save_before_change(db, found.handle);
                self.note_access(found.handle);
                self.take_content(found, empty.value_type())?
            }
        };
        let (limits, now_ms) = (self.limits, self.due_ms);
        let store = &mut self.store;
        let mut open = Open {
            content,
            store,
            limits,
            now_ms,
            freed: Vec::new(),
            changed: false,
            expired: 0,
            replaced_due: Vec::new(),
            notes_due: self.journal.is_enabled(ChangeKind::ElementExpired(empty.value_type())),
            events: Vec::new(),
            notes_events: self.journal.is_enabled(ChangeKind::Event("")),
        };
        let result = change(&mut open);
        let Open { content, freed, changed, expired, replaced_due, events, .. } = open;
        self.expired_members_total += expired as u64;
        for external in freed {
            self.discard(Some(external));
        }
        let is_empty = content.is_empty();
        self.put_content(db, key, found, content, changed)?;
        for name in replaced_due {
            self.journal.record_element(empty.value_type(), db, key.bytes, &name);
        }
        for event in events {
            self.journal.record(ChangeKind::Event(event), db, key.bytes);
        }
        if changed && !is_empty {
            self.journal.record(ChangeKind::Modified, db, key.bytes);
        }
        if let (Some(found), true) = (found, is_empty) {
            self.remove_found(db, key, found, ChangeKind::Deleted);
        }
        Ok(result)
    }

    /// Finds a key; removes it when it is due, and the elements of its collection that are, up to a
    /// bound unless all are wanted (see [`Shard::settle_all`]).
    fn locate_settled(&mut self, db: u32, key: &Key<'_>) -> Option<Found> {
        let found = self.locate(db, key)?;
        let Some(cell) = self.store.external_of(found.handle) else { return Some(found) };
        let mut left = SETTLE_MAX;
        if self.settles_all && self.has_due_members(cell) {
            // Each part is looked at twice: for what is due, and for when to look again.
            left += 2 * LOOK_COST * self.expiring_members(cell);
        }
        while left > 0 && self.has_due_members(cell) {
            left = left.saturating_sub(self.expire_members(db, cell, left).max(LOOK_COST));
            let (_, handle) = self.find(db, key)?;
            if self.store.external_of(handle) != Some(cell) {
                return self.locate(db, key);
            }
        }
        Some(found)
    }

    /// How many elements of a collection have a deadline: no more of its parts can have due ones.
    fn expiring_members(&self, cell: u32) -> usize {
        match &self.store.externals.get(cell).payload {
            Payload::Collection(collection) => collection.members().map_or(0, Members::expiring),
            _ => 0,
        }
    }

    fn has_due_members(&self, cell: u32) -> bool {
        let Payload::Collection(collection) = &self.store.externals.get(cell).payload else {
            return false;
        };
        let next_ms = collection.members().and_then(Members::next_ms);
        next_ms.is_some_and(|next_ms| next_ms <= self.due_ms)
    }

    fn take_scratch(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut block = std::mem::take(&mut self.scratch);
        block.clear();
        block.extend_from_slice(bytes);
        block
    }

    /// The collection of an entry, which keeps its block or has [`Payload::Taken`] instead.
    fn take_content(&mut self, found: Found, wanted: ValueType) -> Result<Content, AccessError> {
        let entry = self.store.entry(found.handle);
        let value_type = self.store.value(found.handle).value_type();
        if value_type != wanted {
            return Err(AccessError::WrongType);
        }
        if let Kind::Pack(kind) = entry.kind() {
            let mut block = std::mem::take(&mut self.scratch);
            block.clear();
            block.extend_from_slice(self.store.entry(found.handle).value());
            return Ok(Content::Pack(kind, block));
        }
        let payload = self.store.externals.update(entry.external(), |external| {
            std::mem::replace(&mut external.payload, Payload::Taken)
        });
        Ok(match payload {
            Payload::Pack(kind, block) => Content::Pack(kind, block),
            Payload::Collection(collection) => Content::Large(collection),
            _ => unreachable!("the type is a collection's"),
        })
    }

    /// Puts a collection back, an empty one too. A block that lies in its entry is written only
    /// when it changed.
    fn put_content(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        content: Content,
        changed: bool,
    ) -> Result<(), AccessError> {
        debug_assert!(found.is_none_or(
            |found| self.is_in_place(found) || self.store.external_of(found.handle).is_some()
        ));
        if content.is_empty() {
            match (found, content) {
                (Some(found), content) => self.give_back(found, content),
                (None, Content::Pack(_, block)) => self.scratch = block,
                (None, Content::Large(_)) => {}
            }
            return Ok(());
        }
        match content {
            Content::Pack(kind, block) => self.put_pack(db, key, found, kind, block, changed)?,
            Content::Large(collection) => {
                let payload = Payload::Collection(collection);
                if let Some(cell) = found.and_then(|found| self.store.external_of(found.handle)) {
                    self.refill(cell, payload);
                    let home = Home { hash: key.hash, slot: self.slot_of(key) };
                    self.arm_cell(db, cell, home);
                } else {
                    self.place_payload(db, key, found, payload)?;
                    self.arm_members(db, key);
                }
            }
        }
        Ok(())
    }

    fn put_pack(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        kind: PackKind,
        block: Vec<u8>,
        changed: bool,
    ) -> Result<(), AccessError> {
        if let Some(cell) = found.and_then(|found| self.store.external_of(found.handle)) {
            self.refill(cell, Payload::Pack(kind, block));
            return Ok(());
        }
        if !changed {
            self.scratch = block;
            return Ok(());
        }
        if block.len() > BLOCK_BYTES_MAX {
            let payload = Payload::Pack(kind, block);
            return Ok(self.place_payload(db, key, found, payload)?);
        }
        let deadline = found.and_then(|found| self.store.entry(found.handle).deadline());
        let incoming = Incoming::Pack { kind, bytes: &block };
        let placed = self.place(db, key, found, incoming, deadline);
        self.scratch = block;
        Ok(placed?)
    }

    /// Writes an entry for a payload outside, which keeps the key's deadline.
    fn place_payload(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        payload: Payload,
    ) -> Result<(), OutOfMemory> {
        let deadline = found.and_then(|found| self.store.entry(found.handle).deadline());
        let incoming = Incoming::Owned { payload, raw: false };
        self.place(db, key, found, incoming, deadline)
    }

    #[inline]
    fn refill(&mut self, cell: u32, payload: Payload) {
        self.store.externals.update(cell, |external| external.payload = payload);
    }

    /// Whether an entry holds its value itself.
    fn is_in_place(&self, found: Found) -> bool {
        self.store.external_of(found.handle).is_none()
    }

    /// Puts an empty collection back, for the entry to be removed as any other.
    fn give_back(&mut self, found: Found, content: Content) {
        let cell = self.store.external_of(found.handle);
        match (cell, content) {
            (Some(cell), Content::Pack(kind, block)) => {
                self.refill(cell, Payload::Pack(kind, block));
            }
            (Some(cell), Content::Large(collection)) => {
                self.refill(cell, Payload::Collection(collection));
            }
            (None, Content::Pack(_, block)) => self.scratch = block,
            (None, Content::Large(_)) => {}
        }
    }

    /// Brings the database's schedule in step with the members' deadlines of the collection at a
    /// key.
    pub(crate) fn arm_members(&mut self, db: u32, key: &Key<'_>) {
        let Some(found) = self.look(db, key) else { return };
        let Some(cell) = self.store.external_of(found.handle) else { return };
        let home = Home { hash: key.hash, slot: self.slot_of(key) };
        self.arm_cell(db, cell, home);
    }

    /// As [`Shard::arm_members`], by the cell and the key's place.
    pub(crate) fn arm_cell(&mut self, db: u32, cell: u32, home: Home) {
        let external = self.store.externals.get_mut(cell);
        let Payload::Collection(collection) = &mut external.payload else { return };
        let Some(members) = collection.members_mut() else { return };
        let next_ms = members.next_ms();
        members.home = home;
        if next_ms != members.armed_ms {
            self.dbs[db as usize].arm_members(cell, &mut members.armed_ms, next_ms);
            self.note_expiring(db);
        }
    }
}
