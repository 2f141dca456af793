//! The shard: its state, how a key is found, and the operations that only look.

pub(crate) mod evict;
pub(crate) mod expire;
mod garbage;
pub(crate) mod iterate;
mod list;
pub(crate) mod memory;
pub(crate) mod open;
mod owned;
pub(crate) mod portion;
mod relocate;
pub(crate) mod restore;
pub(crate) mod snapshot;
#[cfg(test)]
mod snapshot_tests;
mod stream;
mod string;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use crate::arena::{Arena, Handle};
use crate::collections::EncodingLimits;
use crate::collections::members::Members;
use crate::db::Db;
use crate::hash::{Key, KeyHasher};
use crate::journal::{ChangeKind, Journal};
use crate::prefetch::{LINE_BYTES, prefetch};
use crate::random::Randoms;
use crate::store::Store;
use crate::table::{KeySource, Position};
use crate::value::{Payload, ValueRef, ValueType};
use evict::{Candidate, Eviction, UseCounting};
use garbage::Garbage;
use snapshot::Cut;

/// Lines of a text outside its entry that are asked for ahead.
const TEXT_LINES_AHEAD: usize = 16;

/// How a shard is made.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Number of databases, at least 1.
    pub databases: usize,
    /// Seeds of the table hash; unpredictable to clients, the same for all shards of a process.
    pub hash_seeds: [u64; 4],
    /// Whether keys are kept by cluster slot, so that they can be counted and listed by it.
    pub slot_mode: bool,
    /// Seed of what looks random ([`Shard::random_key`]).
    pub rng_seed: u64,
}

/// What a key whose deadline has passed is to operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overdue {
    /// Missing, and removed when it is come upon.
    Removed,
    /// Missing, but it stays until something else takes its place.
    Kept,
    /// There, as if its deadline were still to come.
    Live,
}

/// One core's keyspace.
pub struct Shard {
    store: Store,
    dbs: Vec<Db>,
    slot_mode: bool,
    now_ms: u64,
    /// Deadlines up to this moment have passed: the present, or none while a log is replayed.
    due_ms: u64,
    expiry_suspended: bool,
    /// Due elements are removed before a collection is looked at, however many they are.
    settles_all: bool,
    overdue: Overdue,
    access_stamp: u16,
    /// How accesses are counted, if they are.
    counting: Option<UseCounting>,
    /// What may be evicted next, the best last.
    pool: Vec<Candidate>,
    /// What the candidates were chosen by.
    pool_order: Option<Eviction>,
    /// The database that a key was last evicted from at random.
    evict_next_db: usize,
    randoms: Randoms,
    expired_total: u64,
    /// Databases from this one on have no deadlines.
    expiring_dbs: usize,
    expired_members_total: u64,
    garbage: Garbage,
    /// The snapshot that is being taken.
    cut: Option<Cut>,
    limits: EncodingLimits,
    /// Reused by what has to hold a few handles or bytes for a moment.
    due: Vec<Handle>,
    scratch: Vec<u8>,
    /// What changed, for whoever follows it.
    pub journal: Journal,
}

/// An entry that was found and is not due.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    position: Position,
    pub(crate) handle: Handle,
}

impl Shard {
    /// An empty shard at time 0.
    pub fn new(config: ShardConfig) -> Self {
        Self::with_arena_limit(config, usize::MAX)
    }

    fn with_arena_limit(config: ShardConfig, limit_bytes: usize) -> Self {
        assert!(config.databases > 0, "a shard has a database");
        let arena = Arena::new(limit_bytes);
        Self {
            store: Store {
                arena: arena.expect("invariant: a process has 2 MiB of address space to spare"),
                externals: crate::external::Externals::new(),
                hasher: KeyHasher::new(config.hash_seeds),
                phase: false,
            },
            dbs: (0..config.databases).map(|_| Db::new(config.slot_mode)).collect(),
            slot_mode: config.slot_mode,
            now_ms: 0,
            due_ms: 0,
            expiry_suspended: false,
            settles_all: false,
            overdue: Overdue::Removed,
            access_stamp: 0,
            counting: None,
            pool: Vec::new(),
            pool_order: None,
            evict_next_db: 0,
            randoms: Randoms::new(config.rng_seed),
            expired_total: 0,
            expiring_dbs: 0,
            expired_members_total: 0,
            garbage: Garbage::default(),
            cut: None,
            limits: EncodingLimits::default(),
            due: Vec::new(),
            scratch: Vec::new(),
            journal: Journal::default(),
        }
    }

    /// The hasher of this shard's keys, which other cores may use.
    pub fn hasher(&self) -> KeyHasher {
        self.store.hasher
    }

    /// The hash of a key.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.store.hasher.hash(key)
    }

    /// Tells the time in milliseconds of the Unix epoch. It never goes back: an earlier time than
    /// the last is ignored.
    pub fn set_now(&mut self, unix_ms: u64) {
        self.now_ms = self.now_ms.max(unix_ms);
        if !self.expiry_suspended {
            self.due_ms = self.now_ms;
        }
    }

    /// Has deadlines pass as at an earlier moment, milliseconds, until [`look_now`] is called: for
    /// a transaction that has found a key there, which must not lose it before it ends.
    ///
    /// [`look_now`]: Self::look_now
    pub fn look_back(&mut self, unix_ms: u64) {
        self.due_ms = self.due_ms.min(unix_ms);
    }

    /// Ends [`look_back`](Self::look_back).
    pub fn look_now(&mut self) {
        if !self.expiry_suspended {
            self.due_ms = self.now_ms;
        }
    }

    /// Has no deadline pass, of keys or of elements, while `suspended`: for the replay of a log, in
    /// which what expires is removed by commands. A command that moves a deadline must find what
    /// would have expired by now, and did not when it was logged. Relative times count from the
    /// present all the same.
    pub fn suspend_expiry(&mut self, suspended: bool) {
        self.expiry_suspended = suspended;
        self.due_ms = if suspended { 0 } else { self.now_ms };
    }

    /// Has due elements removed, and recorded, before their collection is looked at, however many
    /// they are, rather than some of them, with the others hidden. To somebody who repeats what was
    /// recorded an element is there until its removal.
    pub fn settle_all(&mut self, all: bool) {
        self.settles_all = all;
    }

    /// Whether a log is replayed: whether expiry is suspended.
    pub fn is_replaying(&self) -> bool {
        self.expiry_suspended
    }

    /// Deadlines up to this moment have passed: [`Shard::now_ms`], or 0 while expiry is suspended.
    pub fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// Sets when small collections become large ones, from now on.
    pub fn set_encoding_limits(&mut self, limits: EncodingLimits) {
        self.limits = limits;
    }

    /// When small collections become large ones.
    pub fn encoding_limits(&self) -> EncodingLimits {
        self.limits
    }

    /// The time last told.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Sets what keys whose deadline has passed are to operations from now on.
    /// [`Shard::expire_due`] removes them whatever it is, and is not to be called meanwhile.
    #[inline]
    pub fn set_overdue(&mut self, overdue: Overdue) {
        self.overdue = overdue;
    }

    /// Sets the stamp that keys get when they are read or written from now on. Its meaning (a
    /// coarse clock, a counter) is the eviction policy's.
    pub fn set_access_stamp(&mut self, stamp: u16) {
        self.access_stamp = stamp;
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// Elements that [`Shard::prefetch_elements`] asks for at most.
    pub const ELEMENTS_AHEAD: usize = 16;

    /// Asks for what operations on these keys, given by their databases and hashes, will touch: the
    /// places in the tables, then the entries, and where much lies outside those, that as well.
    /// Each stage finds what the one before has asked for. In slot mode, where a hash does not lead
    /// to a table, this does nothing.
    #[inline]
    pub fn prefetch_keys(&self, keys: impl Iterator<Item = (u32, u64)> + Clone) {
        keys.clone().for_each(|(db, hash)| self.prefetch_slot(db, hash));
        keys.clone().for_each(|(db, hash)| self.prefetch_entry(db, hash));
        if self.store.externals.bytes() > self.store.arena.used_bytes() {
            keys.clone().for_each(|(db, hash)| self.prefetch_cell(db, hash));
            keys.for_each(|(db, hash)| self.prefetch_text(db, hash));
        }
    }

    #[inline]
    fn prefetch_slot(&self, db: u32, hash: u64) {
        if let Some(table) = self.dbs[db as usize].sole_table() {
            table.prefetch_slot(hash);
        }
    }

    /// Asks for what putting a new key with this hash takes, some time before.
    #[inline]
    pub fn prefetch_change(&self, db: u32, hash: u64) {
        if let Some(table) = self.dbs[db as usize].sole_table() {
            table.prefetch_change(hash);
        }
    }

    #[inline]
    fn prefetch_entry(&self, db: u32, hash: u64) {
        if let Some(table) = self.dbs[db as usize].sole_table() {
            table.prefetch_entry(hash, &self.store);
        }
    }

    #[inline]
    fn prefetch_cell(&self, db: u32, hash: u64) {
        if let Some(cell) = self.cell_of_hash(db, hash) {
            prefetch(std::ptr::from_ref(self.store.externals.cell(cell)).cast());
        }
    }

    #[inline]
    fn prefetch_text(&self, db: u32, hash: u64) {
        let cell = self.cell_of_hash(db, hash).and_then(|cell| self.store.externals.find(cell));
        if let Some(Payload::String(text)) = cell.map(|external| &external.payload) {
            let lines = text.bytes.chunks(LINE_BYTES).take(TEXT_LINES_AHEAD);
            lines.for_each(|line| prefetch(line.as_ptr()));
        }
    }

    /// The cell of the first entry that a search for a hash would look at.
    #[inline]
    fn cell_of_hash(&self, db: u32, hash: u64) -> Option<u32> {
        let (_, handle) = self.dbs[db as usize].sole_table()?.find(hash, |_| true)?;
        self.store.external_of(handle)
    }

    /// Asks for elements of large collections, given with the hashes of their keys, some time after
    /// [`Shard::prefetch_keys`]: first for all their slots, then for their entries. Only the first
    /// [`Shard::ELEMENTS_AHEAD`] count.
    #[inline]
    pub fn prefetch_elements<'e>(&self, db: u32, elements: impl Iterator<Item = (u64, &'e [u8])>) {
        let mut asked = [None; Self::ELEMENTS_AHEAD];
        let mut count = 0;
        let mut last = None;
        for (hash, element) in elements.take(Self::ELEMENTS_AHEAD) {
            // One collection often has several elements in a row.
            let members = match last {
                Some((last_hash, members)) if last_hash == hash => members,
                _ => self.members_of_hash(db, hash),
            };
            last = Some((hash, members));
            if let Some(members) = members {
                let hash = self.store.hasher.hash(element);
                members.prefetch_slot(hash);
                asked[count] = Some((members, hash));
                count += 1;
            }
        }
        for &(members, hash) in asked[..count].iter().flatten() {
            members.prefetch_entry(&self.store, hash);
        }
    }

    /// The elements of a large collection whose key has this hash or one like it.
    fn members_of_hash(&self, db: u32, hash: u64) -> Option<&Members> {
        let cell = self.cell_of_hash(db, hash)?;
        match &self.store.externals.get(cell).payload {
            Payload::Collection(collection) => collection.members(),
            _ => None,
        }
    }

    /// The value of a key; notes the access, or records a miss. About two cache misses.
    #[inline]
    pub fn get(&mut self, db: u32, key: &Key<'_>) -> Option<ValueRef<'_>> {
        let Some(Found { handle, .. }) = self.locate(db, key) else {
            self.journal.record(ChangeKind::Missed, db, key.bytes);
            return None;
        };
        self.note_access(handle);
        Some(self.store.value(handle))
    }

    /// The value of a key for a change of it: notes the access, and records no miss.
    #[inline]
    pub fn get_for_change(&mut self, db: u32, key: &Key<'_>) -> Option<ValueRef<'_>> {
        let Found { handle, .. } = self.locate(db, key)?;
        self.note_access(handle);
        Some(self.store.value(handle))
    }

    /// The value of a key, without noting the access or removing it when it is due.
    pub fn peek(&self, db: u32, key: &Key<'_>) -> Option<ValueRef<'_>> {
        self.look(db, key).map(|found| self.store.value(found.handle))
    }

    /// Whether a key exists. Notes no access.
    pub fn exists(&mut self, db: u32, key: &Key<'_>) -> bool {
        self.locate(db, key).is_some()
    }

    /// The type of a key's value. Notes no access.
    pub fn value_type(&mut self, db: u32, key: &Key<'_>) -> Option<ValueType> {
        let found = self.locate(db, key)?;
        Some(self.store.value(found.handle).value_type())
    }

    /// The name of the encoding of a key's value, as OBJECT ENCODING reports it.
    pub fn encoding_name(&mut self, db: u32, key: &Key<'_>) -> Option<&'static str> {
        let found = self.locate(db, key)?;
        Some(self.store.encoding_name(found.handle))
    }

    /// A key's deadline: `None` for a missing key, `Some(None)` for one without. Notes no access.
    pub fn deadline(&mut self, db: u32, key: &Key<'_>) -> Option<Option<u64>> {
        let found = self.locate(db, key)?;
        Some(self.store.entry(found.handle).deadline())
    }

    /// The access stamp of a key. Notes no access.
    pub fn access_stamp(&mut self, db: u32, key: &Key<'_>) -> Option<u16> {
        let found = self.locate(db, key)?;
        Some(self.store.entry(found.handle).stamp())
    }

    /// Notes an access to a key; whether it exists.
    pub fn touch(&mut self, db: u32, key: &Key<'_>) -> bool {
        let Some(found) = self.locate(db, key) else {
            return false;
        };
        self.note_access(found.handle);
        true
    }

    /// Marks a key as used at another time, or as often, as `stamp` says; whether it exists.
    pub fn mark_use(&mut self, db: u32, key: &Key<'_>, stamp: u16) -> bool {
        let Some(found) = self.locate(db, key) else {
            return false;
        };
        self.store.set_stamp(found.handle, stamp);
        true
    }

    /// Number of keys in a database, with those that are due and not removed yet.
    pub fn len(&self, db: u32) -> usize {
        self.dbs[db as usize].len()
    }

    /// Whether a database has no key.
    pub fn is_empty(&self, db: u32) -> bool {
        self.len(db) == 0
    }

    /// Whether a database has had a key since it was last emptied as a whole.
    pub fn is_used(&self, db: u32) -> bool {
        self.dbs[db as usize].is_used()
    }

    /// Number of keys in a database that have a deadline.
    pub fn expires(&self, db: u32) -> usize {
        self.dbs[db as usize].expires()
    }

    /// The mean time to live of the keys that have a deadline, in milliseconds; 0 without any.
    /// Exact.
    pub fn avg_ttl(&self, db: u32) -> u64 {
        self.dbs[db as usize].mean_deadline().map_or(0, |mean| mean.saturating_sub(self.now_ms))
    }

    #[inline]
    fn slot_of(&self, key: &Key<'_>) -> u16 {
        if self.slot_mode { key.slot } else { 0 }
    }

    /// Finds a key that is not due.
    #[inline]
    fn look(&self, db: u32, key: &Key<'_>) -> Option<Found> {
        let (position, handle) = self.find(db, key)?;
        (!self.is_due(handle)).then_some(Found { position, handle })
    }

    /// Finds a key; removes it when it is due.
    #[inline]
    fn locate(&mut self, db: u32, key: &Key<'_>) -> Option<Found> {
        let (position, handle) = self.find(db, key)?;
        let found = Found { position, handle };
        if self.is_due(handle) {
            self.expire_found(db, key, found);
            return None;
        }
        Some(found)
    }

    #[inline]
    fn find(&self, db: u32, key: &Key<'_>) -> Option<(Position, Handle)> {
        let table = self.dbs[db as usize].table(self.slot_of(key))?;
        table.find(key.hash, |handle| self.store.is_key(handle, key.bytes))
    }

    #[inline]
    fn is_due(&self, handle: Handle) -> bool {
        let due = self.store.deadline(handle).is_some_and(|deadline| deadline <= self.due_ms);
        due && self.overdue != Overdue::Live
    }

    #[cold]
    fn expire_found(&mut self, db: u32, key: &Key<'_>, found: Found) {
        if self.overdue == Overdue::Kept {
            return;
        }
        self.remove_found(db, key, found, ChangeKind::Expired);
    }

    /// Removes an entry, due or not, and records why.
    fn remove_found(&mut self, db: u32, key: &Key<'_>, found: Found, why: ChangeKind) {
        let handle = self.unlink(db, key, found);
        let external = self.store.release(handle);
        self.discard(external);
        self.expired_total += u64::from(why == ChangeKind::Expired);
        self.journal.record(why, db, key.bytes);
    }

    /// Removes an entry from its database; it is still in the store.
    fn unlink(&mut self, db: u32, key: &Key<'_>, found: Found) -> Handle {
        let Found { position, handle } = found;
        self.save_before_change(db, handle);
        let slot = self.slot_of(key);
        self.disarm_members(db, handle);
        self.dbs[db as usize].remove(slot, key.hash, (position, handle), &self.store);
        handle
    }

    /// Checks every invariant of the shard; O(keys). For tests and debugging commands.
    pub fn verify(&self) {
        self.store.arena.verify();
        self.store.externals.verify();
        for external in self.store.externals.iter() {
            match &external.payload {
                Payload::Collection(collection) => collection.verify(&self.store),
                Payload::Taken => unreachable!("a collection is put back after each change"),
                Payload::Int(_) | Payload::String(_) | Payload::Pack(..) => {}
            }
        }
        for db in &self.dbs {
            db.verify(&self.store);
        }
        self.verify_cut();
    }
}
