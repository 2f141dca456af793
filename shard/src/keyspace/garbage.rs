//! What was thrown away and takes long to free: long values, large collections, whole databases.

use std::collections::VecDeque;

use super::Shard;
use super::snapshot::SaveCause;
use crate::arena::Handle;
use crate::collections::Collection;
use crate::collections::members::Members;
use crate::db::Db;
use crate::entry::Kind;
use crate::external::External;
use crate::stream::Group;
use crate::value::Payload;

/// Values of at least this size are freed later; smaller ones cost less than queueing them.
const LARGE_BYTES: usize = 64 << 10;
/// Collections of more elements than this are freed later.
const MANY_ELEMENTS: usize = 64;

struct DetachedDb {
    db: Db,
    /// Entries of the last segment that are freed already.
    skip: usize,
}

struct DetachedCollection {
    collection: Box<Collection>,
    /// Elements of the last segment that are freed already.
    skip: usize,
}

impl DetachedCollection {
    fn members(&self) -> Option<&Members> {
        self.collection.members()
    }
}

/// The queue.
#[derive(Default)]
pub(super) struct Garbage {
    values: VecDeque<External>,
    collections: VecDeque<DetachedCollection>,
    groups: VecDeque<Group>,
    dbs: VecDeque<DetachedDb>,
}

impl Garbage {
    pub(super) fn add_db(&mut self, db: Db) {
        self.dbs.push_back(DetachedDb { db, skip: 0 });
    }

    /// Whether something waits here that a snapshot saves before it is freed.
    pub(super) fn is_walked(&self) -> bool {
        let mut collections = self.collections.iter().filter_map(DetachedCollection::members);
        self.dbs.iter().any(|detached| detached.db.walk.is_some())
            || collections.any(Members::has_pass)
    }

    /// Has nothing saved any more.
    pub(super) fn forget_walks(&mut self) {
        self.dbs.iter_mut().for_each(|detached| detached.db.walk = None);
        for detached in &mut self.collections {
            if let Some(members) = detached.collection.members_mut() {
                members.forget_pass();
            }
        }
    }

    /// Queues what takes long to free; what does not is freed, or left over for the caller when
    /// its elements are in the arena.
    fn sort(&mut self, external: External) -> Option<Box<Collection>> {
        match external.payload {
            Payload::Collection(collection) if collection.pieces() > MANY_ELEMENTS => {
                self.collections.push_back(DetachedCollection { collection, skip: 0 });
                None
            }
            Payload::Collection(collection) => Some(collection),
            _ => {
                if external.memory() >= LARGE_BYTES {
                    self.values.push_back(external);
                }
                None
            }
        }
    }

    /// Frees what is pending in the first group that waits; false when there is none.
    fn drain_group(&mut self, left: &mut usize) -> bool {
        let Some(group) = self.groups.front_mut() else { return false };
        if !group.drain(left) {
            self.groups.pop_front();
        }
        true
    }

    /// Bytes of values that wait here; a detached database's are counted by the store, as are the
    /// elements of collections.
    pub(super) fn memory(&self) -> usize {
        let collections = self.collections.iter().map(|detached| detached.collection.heap_bytes());
        let groups = self.groups.iter().map(Group::memory).sum::<usize>();
        self.values.iter().map(External::memory).sum::<usize>()
            + collections.sum::<usize>()
            + groups
    }
}

impl Shard {
    /// Frees what lay outside an entry, now or later.
    pub(crate) fn discard(&mut self, external: Option<External>) {
        let Some(mut collection) = external.and_then(|external| self.garbage.sort(external)) else {
            return;
        };
        let (mut skip, mut freed) = (0, Vec::new());
        while collection.drain(&mut self.store, &mut skip, MANY_ELEMENTS, &mut freed) {}
        for external in freed {
            self.discard(Some(external));
        }
    }

    /// Frees a group that was taken out of its stream, by and by.
    pub fn discard_group(&mut self, group: Group) {
        if group.pending_len() > MANY_ELEMENTS {
            self.garbage.groups.push_back(group);
        }
    }

    /// Frees what was thrown away, about `budget` entries or long values of it, and gives up to as
    /// many empty pages back to the system; whether there is more to do.
    pub fn collect_garbage(&mut self, budget: usize) -> bool {
        let mut left = budget;
        while left > 0 && self.garbage.values.pop_front().is_some() {
            left -= 1;
        }
        while left > 0 && self.drain_collection(&mut left) {}
        while left > 0 && self.garbage.drain_group(&mut left) {}
        while left > 0 && self.drain_db(&mut left) {}
        let trimmed = self.store.arena.trim(left);
        let trim_goes_on = trimmed == left && budget > 0;
        let Garbage { values, collections, groups, dbs } = &self.garbage;
        let is_empty = values.is_empty() && collections.is_empty() && groups.is_empty();
        trim_goes_on || !is_empty || !dbs.is_empty()
    }

    /// Frees elements of the first collection that waits; false when there is none, or when a
    /// snapshot has no room for them.
    fn drain_collection(&mut self, left: &mut usize) -> bool {
        let first = self.garbage.collections.front().and_then(DetachedCollection::members);
        if first.is_some_and(Members::is_pass_full) {
            return false;
        }
        let Some(mut detached) = self.garbage.collections.pop_front() else {
            return false;
        };
        let mut freed = Vec::new();
        let DetachedCollection { collection, skip } = &mut detached;
        let has_more = collection.drain(&mut self.store, skip, *left, &mut freed);
        *left = left.saturating_sub(*left / 2 + 1);
        if has_more {
            self.garbage.collections.push_front(detached);
        }
        for external in freed {
            self.discard(Some(external));
        }
        true
    }

    /// Frees entries of the first database that waits; false when there is none, or when a
    /// snapshot has no room for them.
    fn drain_db(&mut self, left: &mut usize) -> bool {
        if self.garbage.is_walked() && self.is_saver_full() {
            return false;
        }
        let Some(mut detached) = self.garbage.dbs.pop_front() else {
            return false;
        };
        let mut handles: Vec<Handle> = Vec::new();
        let has_more = detached.db.drain(&mut detached.skip, *left, |handle| handles.push(handle));
        let walk = detached.db.walk;
        if has_more {
            self.garbage.dbs.push_front(detached);
        }
        for &handle in &handles {
            if let Some(walk) = walk.filter(|_| !self.store.is_saved(handle)) {
                self.save(walk.db, handle, SaveCause::Change);
            }
            let external = self.store.release(handle);
            self.discard(external);
        }
        *left = left.saturating_sub(handles.len() + 1);
        true
    }

    /// Ends the arming of the members of an entry that is about to leave its database.
    pub(super) fn disarm_members(&mut self, db: u32, handle: Handle) {
        if self.store.entry(handle).kind() == Kind::External {
            self.disarm_cell(db, self.store.entry(handle).external());
        }
    }

    /// As [`Shard::disarm_members`], by the cell.
    pub(super) fn disarm_cell(&mut self, db: u32, cell: u32) {
        let Payload::Collection(collection) = &mut self.store.externals.get_mut(cell).payload
        else {
            return;
        };
        if let Some(members) = collection.members_mut() {
            self.dbs[db as usize].arm_members(cell, &mut members.armed_ms, None);
        }
    }
}
