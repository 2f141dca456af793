//! One database: a table, or in slot mode a table for each cluster slot.

use crate::arena::Handle;
use crate::expiry::Schedule;
use crate::store::Store;
use crate::table::{Position, Table, TableStats};

/// Cluster slots.
pub const SLOTS: usize = 16384;

enum Tables {
    One(Table),
    /// Tables are made when their slot gets its first key and dropped with its last. Empty until
    /// the database gets its first key.
    Slots(Vec<Option<Box<SlotTable>>>),
}

struct SlotTable {
    table: Table,
    /// What the slot is armed for in the database's schedule.
    armed_ms: Option<u64>,
}

/// A database. Its counts and schedule are in step with its tables.
pub(crate) struct Db {
    tables: Tables,
    /// It has had a key.
    used: bool,
    len: usize,
    expires: usize,
    /// The sum of all deadlines, for the average.
    deadline_sum: u128,
    /// Bytes of the tables and of what leads to them.
    bytes: usize,
    /// When slots have to be looked at; unused when there is one table.
    schedule: Schedule<u16>,
    /// When collections have to be looked at for elements that are due, by their cell.
    members: Schedule<u32>,
    /// How far a snapshot is with it, as long as there are entries to save.
    pub(crate) walk: Option<Walk>,
}

/// How far a snapshot is with a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Walk {
    /// The database's number at the cut; it may have been exchanged since.
    pub(crate) db: u32,
    /// Where to go on, as for SCAN.
    pub(crate) cursor: u64,
}

impl Db {
    pub(crate) fn new(slot_mode: bool) -> Self {
        let tables = if slot_mode { Tables::Slots(Vec::new()) } else { Tables::One(Table::new()) };
        let mut db = Self {
            tables,
            used: false,
            len: 0,
            expires: 0,
            deadline_sum: 0,
            bytes: 0,
            schedule: Schedule::new(),
            members: Schedule::new(),
            walk: None,
        };
        db.bytes = db.stats().bytes;
        db
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether it has ever had a key.
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    pub(crate) fn expires(&self) -> usize {
        self.expires
    }

    /// Bytes of tables; O(1).
    pub(crate) fn table_bytes(&self) -> usize {
        self.bytes
    }

    /// The mean of the deadlines.
    pub(crate) fn mean_deadline(&self) -> Option<u64> {
        (self.expires > 0).then(|| (self.deadline_sum / self.expires as u128) as u64)
    }

    /// The table that keys of `slot` are in, if there is one.
    #[inline]
    pub(crate) fn table(&self, slot: u16) -> Option<&Table> {
        match &self.tables {
            Tables::One(table) => Some(table),
            Tables::Slots(slots) => slots.get(slot as usize)?.as_ref().map(|slot| &slot.table),
        }
    }

    /// Prepares the table, where there is but one, for so many keys; 0 ends that.
    pub(crate) fn expect(&mut self, keys: u64) {
        if let Tables::One(table) = &mut self.tables {
            table.expect(keys);
        }
    }

    /// The table, where there is but one.
    #[inline]
    pub(crate) fn sole_table(&self) -> Option<&Table> {
        match &self.tables {
            Tables::One(table) => Some(table),
            Tables::Slots(_) => None,
        }
    }

    /// The table that keys of `slot` are in, made if need be.
    #[inline]
    fn table_mut(&mut self, slot: u16) -> &mut Table {
        match &mut self.tables {
            Tables::One(table) => table,
            Tables::Slots(slots) => {
                if slots.is_empty() {
                    slots.resize_with(SLOTS, || None);
                    self.bytes += SLOTS * size_of::<Option<Box<SlotTable>>>();
                }
                let make = || Box::new(SlotTable { table: Table::new(), armed_ms: None });
                &mut slots[slot as usize].get_or_insert_with(make).table
            }
        }
    }

    /// The first slot from `slot` on that has a table; slot 0 is that of a database with one table.
    pub(crate) fn next_slot(&self, slot: usize) -> Option<u16> {
        let found = match &self.tables {
            Tables::One(_) => (slot == 0).then_some(0),
            Tables::Slots(slots) => (slot..slots.len()).find(|&slot| slots[slot].is_some()),
        };
        found.map(|slot| slot as u16)
    }

    /// Adds an entry whose key is not in the database.
    pub(crate) fn insert(&mut self, slot: u16, hash: u64, handle: Handle, now: u64, store: &Store) {
        let before = self.table_bytes_of(slot);
        self.table_mut(slot).insert(hash, handle, store);
        self.bytes = self.bytes - before + self.table_bytes_of(slot);
        self.len += 1;
        self.used = true;
        if let Some(deadline) = store.entry(handle).deadline() {
            self.add_deadline(slot, hash, deadline, now);
        }
    }

    /// Removes the entry at a position; the caller releases it.
    pub(crate) fn remove(
        &mut self,
        slot: u16,
        hash: u64,
        (position, handle): (Position, Handle),
        store: &Store,
    ) {
        if let Some(deadline) = store.entry(handle).deadline() {
            self.remove_deadline(slot, hash, deadline);
        }
        self.len -= 1;
        let before = self.table_bytes_of(slot);
        let table = self.table_mut(slot);
        table.remove(position, store);
        if table.len() == 0 {
            self.drop_table(slot);
        }
        self.bytes = self.bytes - before + self.table_bytes_of(slot);
    }

    /// Bytes of one slot's table, or of the only one.
    fn table_bytes_of(&self, slot: u16) -> usize {
        match &self.tables {
            Tables::One(table) => table.bytes(),
            Tables::Slots(slots) => {
                let entry = slots.get(slot as usize).and_then(Option::as_ref);
                entry.map_or(0, |entry| entry.table.bytes() + size_of::<SlotTable>())
            }
        }
    }

    /// Points a slot of the table to another entry of the same key.
    pub(crate) fn replace(&mut self, slot: u16, position: Position, handle: Handle) {
        self.table_mut(slot).replace(position, handle);
    }

    /// Follows a change of a key's deadline.
    pub(crate) fn move_deadline(
        &mut self,
        slot: u16,
        hash: u64,
        from: Option<u64>,
        to: Option<u64>,
        now: u64,
    ) {
        if from == to {
            return;
        }
        if let Some(old) = from {
            self.remove_deadline(slot, hash, old);
        }
        if let Some(new) = to {
            self.add_deadline(slot, hash, new, now);
        }
    }

    fn add_deadline(&mut self, slot: u16, hash: u64, deadline: u64, now: u64) {
        self.expires += 1;
        self.deadline_sum += u128::from(deadline);
        self.table_mut(slot).add_deadline(hash, deadline, now);
        self.sync(slot);
    }

    fn remove_deadline(&mut self, slot: u16, hash: u64, deadline: u64) {
        self.expires -= 1;
        self.deadline_sum -= u128::from(deadline);
        self.table_mut(slot).remove_deadline(hash, deadline);
    }

    /// Brings the schedule in step with the slot's table.
    fn sync(&mut self, slot: u16) {
        if let Tables::Slots(slots) = &mut self.tables
            && let Some(Some(entry)) = slots.get_mut(slot as usize)
        {
            let next_ms = entry.table.next_ms();
            self.schedule.rearm(slot, &mut entry.armed_ms, next_ms);
        }
    }

    fn drop_table(&mut self, slot: u16) {
        if let Tables::Slots(slots) = &mut self.tables
            && let Some(mut entry) = slots[slot as usize].take()
        {
            self.schedule.rearm(slot, &mut entry.armed_ms, None);
        }
    }

    /// Follows the moment at which a collection has to be looked at.
    pub(crate) fn arm_members(
        &mut self,
        cell: u32,
        armed_ms: &mut Option<u64>,
        next_ms: Option<u64>,
    ) {
        self.members.rearm(cell, armed_ms, next_ms);
    }

    /// Number of collections that have elements with a deadline.
    pub(crate) fn armed_members(&self) -> usize {
        self.members.len()
    }

    /// The collection with the earliest due element, if that is due at `now_ms` and no key is due
    /// before.
    pub(crate) fn due_members(&self, now_ms: u64) -> Option<u32> {
        let (moment, cell) = self.members.first()?;
        let is_first = self.next_key_ms().is_none_or(|key_ms| moment <= key_ms);
        (moment <= now_ms && is_first).then_some(cell)
    }

    /// When the database has to be looked at for due keys or elements.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        [self.next_key_ms(), self.members.next_ms()].into_iter().flatten().min()
    }

    /// When the database has to be looked at for due keys.
    fn next_key_ms(&self) -> Option<u64> {
        match &self.tables {
            Tables::One(table) => table.next_ms(),
            Tables::Slots(_) => self.schedule.next_ms(),
        }
    }

    /// Adds up to `most` entries from a random place, see [`Table::sample`]; their slot.
    pub(crate) fn sample(
        &self,
        random: [u64; 2],
        expiring: bool,
        most: usize,
        store: &Store,
        drawn: &mut Vec<Handle>,
    ) -> u16 {
        let slot = self.next_slot((random[1] >> 50) as usize).or_else(|| self.next_slot(0));
        let slot = slot.unwrap_or(0);
        if let Some(table) = self.table(slot) {
            table.sample(random, expiring, most, store, drawn);
        }
        slot
    }

    /// Adds up to `most` entries with the earliest deadlines, as far as they lie in one segment;
    /// their slot.
    pub(crate) fn soonest(
        &mut self,
        most: usize,
        now_ms: u64,
        store: &Store,
        drawn: &mut Vec<Handle>,
    ) -> u16 {
        let slot = match &self.tables {
            Tables::One(_) => 0,
            Tables::Slots(_) => match self.schedule.first() {
                Some((_, slot)) => slot,
                None => return 0,
            },
        };
        let table = self.table_mut(slot);
        if let Some(point) = table.first_armed(now_ms, store) {
            table.earliest_of(point, most, store, drawn);
        }
        self.sync(slot);
        slot
    }

    /// Collects due entries of one segment: see [`Table::collect_due`]. The slot and the hash that
    /// lead to it are for [`Db::rearm`].
    pub(crate) fn collect_due(
        &self,
        now_ms: u64,
        limit: usize,
        store: &Store,
        due: &mut Vec<Handle>,
    ) -> Option<(u16, u64)> {
        let slot = match &self.tables {
            Tables::One(_) => 0,
            Tables::Slots(_) => self.schedule.first().filter(|first| first.0 <= now_ms)?.1,
        };
        let table = self.table(slot).expect("invariant: an armed slot has a table");
        // A slot may be armed too early, when its table was armed anew: then there is no segment.
        let point = table.collect_due(now_ms, limit, store, due);
        Some((slot, point?))
    }

    /// Arms a segment anew after its due entries were removed.
    pub(crate) fn rearm(&mut self, slot: u16, point: u64, now_ms: u64, store: &Store) {
        if self.table(slot).is_some() {
            self.table_mut(slot).rearm(point, now_ms, store);
            self.sync(slot);
        }
    }

    /// Brings the schedule's first slot in step, so that it is not armed too early.
    pub(crate) fn settle(&mut self) {
        if let Some((_, slot)) = self.schedule.first() {
            self.sync(slot);
        }
    }

    /// Takes entries off the end: see [`Table::drain`]. False when nothing is left.
    pub(crate) fn drain(
        &mut self,
        skip: &mut usize,
        budget: usize,
        visit: impl FnMut(Handle),
    ) -> bool {
        let step = |table: &mut Table, skip: &mut usize| {
            let next = table.drain(*skip, budget, visit);
            *skip = next.unwrap_or(0);
            next.is_some()
        };
        match &mut self.tables {
            Tables::One(table) => step(table, skip),
            Tables::Slots(slots) => {
                // The vector shrinks as slots are done, so that none is looked at twice.
                while matches!(slots.last(), Some(None)) {
                    slots.pop();
                }
                let Some(Some(entry)) = slots.last_mut() else {
                    return false;
                };
                if !step(&mut entry.table, skip) {
                    slots.pop();
                }
                true
            }
        }
    }

    /// Calls `visit` with each entry; O(entries).
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Handle)) {
        let mut slot = 0;
        while let Some(found) = self.next_slot(slot) {
            let table = self.table(found).expect("invariant: it was found");
            table.for_each(&mut visit);
            slot = found as usize + 1;
        }
    }

    /// Figures on all tables together; O(segments).
    pub(crate) fn stats(&self) -> TableStats {
        let mut total = TableStats::default();
        let mut slot = 0;
        while let Some(found) = self.next_slot(slot) {
            let mut stats = self.table(found).map(Table::stats).unwrap_or_default();
            stats.bytes = self.table_bytes_of(found);
            total.add(&stats);
            slot = found as usize + 1;
        }
        total.ttl_bytes += self.schedule.memory() + self.members.memory();
        if let Tables::Slots(slots) = &self.tables {
            total.bytes += slots.len() * size_of::<Option<Box<SlotTable>>>();
        }
        total
    }

    /// Checks every invariant; O(entries).
    pub(crate) fn verify(&self, store: &Store) {
        let (mut len, mut expires, mut sum) = (0, 0, 0);
        let mut slot = 0;
        while let Some(found) = self.next_slot(slot) {
            let table = self.table(found).expect("invariant: it was found");
            table.verify(store);
            len += table.len();
            table.for_each(|handle| {
                if let Some(deadline) = store.entry(handle).deadline() {
                    expires += 1;
                    sum += u128::from(deadline);
                }
            });
            slot = found as usize + 1;
        }
        assert_eq!((len, expires, sum), (self.len, self.expires, self.deadline_sum));
        assert_eq!(self.bytes, self.stats().bytes, "bytes are accounted exactly");
        if let Tables::Slots(slots) = &self.tables {
            let armed = slots.iter().flatten().filter(|entry| entry.armed_ms.is_some()).count();
            assert_eq!(armed, self.schedule.len());
            for entry in slots.iter().flatten() {
                assert!(entry.table.len() > 0, "an empty slot has no table");
                if let Some(next_ms) = entry.table.next_ms() {
                    assert!(entry.armed_ms.is_some_and(|armed_ms| armed_ms <= next_ms));
                }
            }
        }
    }
}
