//! Removing keys when they fall due, in bounded steps.

use super::{Found, Shard};
use crate::arena::Handle;
use crate::collections::members::Home;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::table::{KeySource, Position};
use crate::value::Payload;

/// What [`Shard::expire_due`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Keys and elements removed.
    pub expired: usize,
    /// When it has to be called next, in milliseconds of the Unix epoch: not after the present time
    /// when the budget was used up, `None` when no key has a deadline.
    pub next_deadline_ms: Option<u64>,
}

/// Looking at a segment costs about as much as removing a few keys.
const SEGMENT_COST: usize = 4;
/// Due elements that are removed at most before a collection is seen.
const SEEN_MAX: usize = 2048;

impl Shard {
    /// Removes keys whose deadline has passed at `now_ms` (which is told to the shard as well), the
    /// earliest first to within a table segment, up to about `budget` of them. Costs nothing for
    /// keys that are not due, however many there are.
    pub fn expire_due(&mut self, now_ms: u64, budget: usize) -> Progress {
        self.set_now(now_ms);
        let mut left = budget;
        let mut expired = 0;
        while left > 0 {
            let Some(db) = self.most_due() else { break };
            let removed = match self.dbs[db as usize].due_members(self.due_ms) {
                Some(cell) => self.expire_members(db, cell, left),
                None => self.expire_segment(db, left),
            };
            expired += removed;
            left = left.saturating_sub(removed + SEGMENT_COST);
        }
        Progress { expired, next_deadline_ms: self.next_deadline_ms() }
    }

    /// When [`Shard::expire_due`] has something to do next.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.dbs.iter().take(self.expiring_dbs).filter_map(crate::db::Db::next_ms).min()
    }

    /// Elements of collections that expired since the start.
    pub fn expired_members_total(&self) -> u64 {
        self.expired_members_total
    }

    /// Keys that expired since the start, whether found by a command or by `expire_due`.
    pub fn expired_total(&self) -> u64 {
        self.expired_total
    }

    /// Remembers that a database may have deadlines, so that `expire_due` looks at it.
    pub(super) fn note_expiring(&mut self, db: u32) {
        let index = db as usize;
        let state = &self.dbs[index];
        if index >= self.expiring_dbs && (state.expires() > 0 || state.armed_members() > 0) {
            self.expiring_dbs = index + 1;
        }
    }

    /// The database that is armed for the earliest moment, if that has come.
    fn most_due(&self) -> Option<u32> {
        let armed = self.dbs.iter().take(self.expiring_dbs).enumerate();
        let (moment, db) = armed.filter_map(|(db, state)| Some((state.next_ms()?, db))).min()?;
        (moment <= self.due_ms).then_some(db as u32)
    }

    /// Removes due keys of the earliest armed segment of a database; how many.
    fn expire_segment(&mut self, db: u32, limit: usize) -> usize {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let state = &mut self.dbs[db as usize];
        let Some((slot, point)) = state.collect_due(self.due_ms, limit, &self.store, &mut due)
        else {
            // The slot's own table has nothing armed for now: bring the schedule in step with it.
            state.settle();
            self.due = due;
            return 0;
        };
        let mut key_bytes = std::mem::take(&mut self.scratch);
        for &handle in &due {
            key_bytes.clear();
            key_bytes.extend_from_slice(self.store.key(handle));
            let key = Key { bytes: &key_bytes, hash: self.store.hash(handle), slot };
            let table = self.dbs[db as usize].table(slot);
            let found = table.and_then(|table| table.find(key.hash, |other| other == handle));
            let (position, handle) = found.expect("invariant: a due entry is in its table");
            self.remove_found(db, &key, Found { position, handle }, ChangeKind::Expired);
        }
        self.scratch = key_bytes;
        self.dbs[db as usize].rearm(slot, point, self.now_ms, &self.store);
        let removed = due.len();
        self.due = due;
        removed
    }

    /// Removes the due elements of the collection at a key, before they are seen. Those beyond a
    /// bound go in the next steps of [`Shard::expire_due`], a little late.
    pub(crate) fn expire_members_of(&mut self, db: u32, key: &Key<'_>) {
        let mut left = SEEN_MAX;
        while left > 0 {
            let Some(found) = self.look(db, key) else { return };
            let Some(cell) = self.store.external_of(found.handle) else { return };
            let due_ms = match &self.store.externals.get(cell).payload {
                Payload::Collection(collection) => {
                    collection.members().and_then(|members| members.armed_ms)
                }
                _ => None,
            };
            if due_ms.is_none_or(|due_ms| due_ms > self.due_ms) {
                return;
            }
            left = left.saturating_sub(self.expire_members(db, cell, left).max(SEGMENT_COST));
        }
    }

    /// Removes due elements of a collection, and its key with the last of them; how many. Records
    /// `ElementExpired` for each, the collection's event, and `Deleted`.
    pub(super) fn expire_members(&mut self, db: u32, cell: u32, limit: usize) -> usize {
        if self.is_cut() {
            let home = self.home_of(cell);
            let (_, handle) = self.key_of_cell(db, cell, home);
            self.save_before_change(db, handle);
        }
        let payload = self
            .store
            .externals
            .update(cell, |external| std::mem::replace(&mut external.payload, Payload::Taken));
        let Payload::Collection(mut collection) = payload else {
            unreachable!("only a collection is armed");
        };
        let (mut freed, mut gone) = (Vec::new(), Vec::new());
        let value_type = collection.value_type();
        let notes_gone = self.journal.is_enabled(ChangeKind::ElementExpired(value_type));
        let note = |name: &[u8]| {
            if notes_gone {
                gone.push(Box::<[u8]>::from(name));
            }
        };
        let removed = collection.expire(&mut self.store, self.due_ms, limit, &mut freed, note);
        let home = collection.members().map(|members| members.home).unwrap_or_default();
        let (event, is_empty) = (collection.expired_event(), collection.len() == 0);
        let payload = Payload::Collection(collection);
        self.store.externals.update(cell, |external| external.payload = payload);
        for external in freed {
            self.discard(Some(external));
        }
        self.arm_cell(db, cell, home);
        self.expired_members_total += removed as u64;
        let (position, handle) = self.key_of_cell(db, cell, home);
        let bytes = self.store.key(handle).to_vec();
        let key = Key { bytes: &bytes, hash: home.hash, slot: home.slot };
        for name in gone {
            self.journal.record_element(value_type, db, key.bytes, &name);
        }
        if removed > 0 {
            self.journal.record(ChangeKind::Event(event), db, key.bytes);
            self.journal.record(ChangeKind::Modified, db, key.bytes);
        }
        if is_empty {
            self.remove_found(db, &key, Found { position, handle }, ChangeKind::Deleted);
        }
        removed
    }

    /// Where the key of an armed collection lies.
    fn home_of(&self, cell: u32) -> Home {
        let Payload::Collection(collection) = &self.store.externals.get(cell).payload else {
            unreachable!("only a collection is armed");
        };
        collection.members().map(|members| members.home).unwrap_or_default()
    }

    /// The entry of an armed collection.
    fn key_of_cell(&self, db: u32, cell: u32, home: Home) -> (Position, Handle) {
        let table = self.dbs[db as usize].table(home.slot);
        let found = table.and_then(|table| {
            table.find(home.hash, |handle| self.store.external_of(handle) == Some(cell))
        });
        found.expect("invariant: an armed collection has a key")
    }
}
