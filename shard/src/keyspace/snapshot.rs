//! Snapshots without fork: what the shard was at one moment, told while commands go on.
//!
//! At the cut ([`Shard::begin_cut`]) the *phase* of the shard turns over, which takes no time: from
//! then on every entry whose own phase is the old one has to be saved, and those that are written
//! later have the new one. A walk through the tables saves an entry after the other
//! ([`Shard::step_cut`]) and gives each the new phase. Whatever changes, moves or removes an entry
//! saves it first, in the same turn ([`Shard::save_before_change`]). So each entry of the cut is
//! saved exactly once, as it was then, and nothing that came later is.
//!
//! The unit is the entry, not a segment of the table: a write pays for one value, and not for
//! hundreds of neighbours, so that under writes all over the keyspace no more is saved ahead of the
//! walk than what is written. A phase is one bit in the entry's head, so a snapshot takes no memory
//! beside what its saver holds.
//!
//! The walk goes by the cursors of SCAN: an entry that stays is met whatever splits and merges, and
//! one that is met twice is known by its phase. A database takes its place in the walk along when
//! it is exchanged for another one. One that is emptied is freed in steps anyway, which save its
//! entries on the way.
//!
//! A large hash, set or sorted set would take too long for one turn. When the walk or a write comes
//! to one, it is *opened*: from then on it is saved in parts ([`crate::collections`]' passes), in
//! which elements are to it what entries are to the shard. A list, a stream's log and a string that
//! lies outside its entry are *shared* ([`crate::held`]) before the saver gets them: it can have
//! them as they are without a copy, and what is changed from then on is copied before, in pieces of
//! about 256 KiB, or as a whole if it is a string.
//!
//! A snapshot that is given up has its walk finished all the same, without saving, so that all
//! entries have one phase when the next begins.

use std::any::Any;
use std::sync::Arc;

use super::Shard;
use crate::arena::Handle;
use crate::collections::members::Members;
use crate::collections::{Collection, ElementSaver};
use crate::db::Walk;
use crate::held::Held;
use crate::owned::OwnedValue;
use crate::prefetch::prefetch;
use crate::store::Store;
use crate::table::KeySource;
use crate::value::{LargeString, Payload, ValueRef};

/// What takes the entries of a snapshot.
pub trait Saver: Any + Send {
    /// Takes an entry as it was at the cut, from the database that had the number `db` then.
    fn save(&mut self, db: u32, entry: &SavedEntry<'_>, cause: SaveCause);

    /// Whether it holds so much that the walk has to wait.
    fn is_full(&self) -> bool;

    /// Takes an entry with so many elements, each of which comes for itself to what this returns;
    /// `None` when it wants such an entry whole. Asked of large hashes, sets and sorted sets.
    fn open(
        &mut self,
        db: u32,
        entry: &SavedEntry<'_>,
        size: CollectionSize,
    ) -> Option<Box<dyn ElementSaver>>;
}

/// How large a hash, set or sorted set is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CollectionSize {
    /// Its elements.
    pub elements: usize,
    /// Those of them that have a deadline.
    pub expiring: usize,
    /// Bytes that the elements take.
    pub bytes: usize,
}

/// Why an entry is saved at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaveCause {
    /// The walk has come to it.
    Walk,
    /// It is about to change, and somebody waits for that.
    Change,
}

/// An entry as a snapshot saves it.
pub struct SavedEntry<'a> {
    shard: &'a Shard,
    handle: Handle,
}

impl<'a> SavedEntry<'a> {
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

    /// A copy of the value and the deadline. O(elements), but for a large list O(chunks), as for
    /// the entries of a stream: see [`List::share`](crate::List::share).
    pub fn to_value(&self) -> OwnedValue {
        self.shard.export(self.handle)
    }

    /// The bytes of a string that lies outside its entry, which are this value's for as long as
    /// somebody has them. O(1).
    pub fn shared_text(&self) -> Option<Arc<Vec<u8>>> {
        let cell = self.shard.store.external_of(self.handle)?;
        match &self.shard.store.externals.get(cell).payload {
            Payload::String(LargeString { bytes: Held::Shared(bytes) }) => Some(Arc::clone(bytes)),
            _ => None,
        }
    }
}

/// A snapshot that is being taken.
pub(super) struct Cut {
    /// None when it was given up, and for the moment in which it takes an entry.
    saver: Option<Box<dyn Saver>>,
    /// Entries that the walk has come to, reused.
    met: Vec<Handle>,
    /// The cells of collections that are saved in parts. Some may have been emptied since, and
    /// used again.
    open: Vec<u32>,
}

/// How a step of a snapshot's walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutStep {
    /// There is more to save.
    More,
    /// There is more, when the saver has room, or when what was thrown away has been freed.
    Waits,
    /// Everything has been saved.
    Done,
}

impl Shard {
    /// Begins a snapshot of what the shard is now. None may be under way. O(databases).
    pub fn begin_cut(&mut self, saver: Box<dyn Saver>) {
        assert!(self.cut.is_none(), "one snapshot at a time");
        self.store.phase = !self.store.phase;
        for (db, state) in (0..).zip(&mut self.dbs) {
            state.walk = (state.len() > 0).then_some(Walk { db, cursor: 0 });
        }
        self.cut = Some(Cut { saver: Some(saver), met: Vec::new(), open: Vec::new() });
    }

    /// Whether a snapshot is being taken, or one that was given up has left its walk unfinished.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// What takes the entries of the snapshot that is being taken.
    pub fn saver_mut(&mut self) -> Option<&mut dyn Saver> {
        self.cut.as_mut()?.saver.as_deref_mut()
    }

    /// Goes on with the walk: about `count` entries, which are saved unless that has been done.
    pub fn step_cut(&mut self, count: usize) -> CutStep {
        let Some(cut) = &self.cut else { return CutStep::Done };
        if cut.saver.as_ref().is_some_and(|saver| saver.is_full()) {
            return CutStep::Waits;
        }
        if self.step_open(count) {
            return CutStep::More;
        }
        let mut walks = self.dbs.iter().map(|db| db.walk).enumerate();
        let next = walks.find_map(|(index, walk)| walk.map(|walk| (index, walk)));
        let Some((index, walk)) = next else {
            return if self.is_saving() { CutStep::Waits } else { CutStep::Done };
        };
        let cut = self.cut.as_mut().expect("invariant: it goes on");
        let mut met = std::mem::take(&mut cut.met);
        let cursor = self.scan_handles(index as u32, walk.cursor, count, &mut |handle| {
            prefetch(self.store.address(handle));
            met.push(handle);
        });
        for handle in met.drain(..) {
            if !self.store.is_saved(handle) {
                self.save(walk.db, handle, SaveCause::Walk);
            }
        }
        self.dbs[index].walk = (cursor != 0).then_some(Walk { cursor, ..walk });
        let cut = self.cut.as_mut().expect("invariant: it goes on");
        cut.met = met;
        CutStep::More
    }

    /// Ends the snapshot, whose walk is done.
    pub fn end_cut(&mut self) {
        assert!(!self.is_saving(), "everything has been saved");
        self.cut = None;
    }

    /// Gives the snapshot up: its saver gets nothing more. The walk has to be finished and ended as
    /// that of any other.
    pub fn give_up_cut(&mut self) {
        let Some(cut) = &mut self.cut else { return };
        cut.saver = None;
        for cell in std::mem::take(&mut cut.open) {
            if let Some(members) = self.open_members(cell) {
                members.forget_pass();
            }
        }
        self.garbage.forget_walks();
    }

    /// Whether there is something that the snapshot does not have yet.
    fn is_saving(&self) -> bool {
        let is_walked = self.dbs.iter().any(|db| db.walk.is_some()) || self.garbage.is_walked();
        is_walked || self.cut.as_ref().is_some_and(|cut| !cut.open.is_empty())
    }

    /// Goes on with the first collection that is saved in parts; whether there is one that can go
    /// on.
    fn step_open(&mut self, count: usize) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        let mut open = std::mem::take(&mut cut.open);
        open.retain(|cell| self.open_members(*cell).is_some());
        let next = open
            .iter()
            .copied()
            .find(|cell| self.open_members(*cell).is_some_and(|members| !members.is_pass_full()));
        if let Some(cell) = next {
            self.with_collection(cell, |collection, store| {
                let members = collection.members_mut().expect("invariant: it is open");
                members.step_pass(store, count);
            });
        }
        let cut = self.cut.as_mut().expect("invariant: it goes on");
        cut.open = open;
        next.is_some()
    }

    /// The elements of the collection in a cell, if they are being saved in parts.
    fn open_members(&mut self, cell: u32) -> Option<&mut Members> {
        self.store.externals.find(cell)?;
        let Payload::Collection(collection) = &mut self.store.externals.get_mut(cell).payload
        else {
            return None;
        };
        collection.members_mut().filter(|members| members.has_pass())
    }

    /// Lets `change` have a collection beside the store of its elements.
    fn with_collection(&mut self, cell: u32, change: impl FnOnce(&mut Collection, &mut Store)) {
        let external = self.store.externals.get_mut(cell);
        let payload = std::mem::replace(&mut external.payload, Payload::Taken);
        let Payload::Collection(mut collection) = payload else {
            unreachable!("only collections are saved in parts");
        };
        change(&mut collection, &mut self.store);
        self.store.externals.get_mut(cell).payload = Payload::Collection(collection);
    }

    /// Notes the new cell of a collection that was moved while it is being saved in parts.
    pub(super) fn note_moved(&mut self, cell: u32) {
        if self.cut.is_some()
            && self.open_members(cell).is_some()
            && let Some(cut) = &mut self.cut
        {
            cut.open.push(cell);
        }
    }

    /// To be called before an entry of a database is changed, moved or removed: saves it, if the
    /// snapshot that is being taken does not have it yet.
    #[inline]
    pub(crate) fn save_before_change(&mut self, db: u32, handle: Handle) {
        if self.cut.is_some() && !self.store.is_saved(handle) {
            self.save_now(db, handle);
        }
    }

    #[cold]
    fn save_now(&mut self, db: u32, handle: Handle) {
        let walk = self.dbs[db as usize].walk;
        let walk = walk.expect("invariant: what is not saved lies in a database that is walked");
        self.save(walk.db, handle, SaveCause::Change);
    }

    /// Saves an entry, which is in the store and not saved yet.
    pub(super) fn save(&mut self, db: u32, handle: Handle, cause: SaveCause) {
        self.store.mark_saved(handle);
        let Some(cut) = &mut self.cut else { return };
        let Some(mut saver) = cut.saver.take() else { return };
        if !self.open(&mut *saver, db, handle) {
            self.share(handle);
            saver.save(db, &SavedEntry { shard: self, handle }, cause);
        }
        let cut = self.cut.as_mut().expect("invariant: nothing ends it meanwhile");
        cut.saver = Some(saver);
    }

    /// Makes the value of an entry cheap to clone, where it is of a kind that can be. O(chunks).
    pub(super) fn share(&mut self, handle: Handle) {
        let Some(cell) = self.store.external_of(handle) else { return };
        match &mut self.store.externals.get_mut(cell).payload {
            Payload::Collection(collection) => match &mut **collection {
                Collection::List(list) => list.share(),
                Collection::Stream(stream) => stream.share(),
                Collection::Hash(_) | Collection::Set(_) | Collection::SortedSet(_) => {}
            },
            _ => {
                self.store.share_text(handle);
            }
        }
    }

    /// Begins to save an entry in parts, if it is a large collection that the saver wants so.
    fn open(&mut self, saver: &mut dyn Saver, db: u32, handle: Handle) -> bool {
        let Some(cell) = self.store.external_of(handle) else { return false };
        let Payload::Collection(collection) = &self.store.externals.get(cell).payload else {
            return false;
        };
        let Some(members) = collection.members() else { return false };
        let value_type = collection.value_type();
        let (elements, expiring) = (members.len(), members.expiring());
        let size = CollectionSize { elements, expiring, bytes: members.bytes() };
        let entry = SavedEntry { shard: self, handle };
        let Some(element_saver) = saver.open(db, &entry, size) else { return false };
        self.with_collection(cell, |collection, _| {
            let members = collection.members_mut().expect("invariant: it has them");
            members.begin_pass(value_type, element_saver);
        });
        if let Some(cut) = &mut self.cut {
            cut.open.push(cell);
        }
        true
    }

    /// Whether what the snapshot still has to save must not be freed now.
    pub(super) fn is_saver_full(&self) -> bool {
        let saver = self.cut.as_ref().and_then(|cut| cut.saver.as_ref());
        saver.is_some_and(|saver| saver.is_full())
    }

    /// Only databases that are walked have entries that are not saved.
    pub(super) fn verify_cut(&self) {
        for db in self.dbs.iter().filter(|db| db.walk.is_none()) {
            db.for_each(|handle| assert!(self.store.is_saved(handle), "an entry was passed over"));
        }
        let walks = self.dbs.iter().any(|db| db.walk.is_some());
        assert!(!walks || self.cut.is_some(), "a walk belongs to a snapshot");
    }
}
