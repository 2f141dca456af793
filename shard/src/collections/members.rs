//! The elements of a large collection: a table of entries, as the keyspace is one.
//!
//! | operation | cost |
//! |---|---|
//! | find, insert, remove | those of [`crate::table`]: about two cache misses |
//! | memory an element | its entry (4 bytes, 6 for a deadline, name, value, rounded up to 4) |
//! | | about 7 in the table, 5 there for a deadline |

use std::collections::HashSet;

use super::pass::{ElementSaver, Pass};
use crate::arena::Handle;
use crate::entry::DEADLINE_MAX;
use crate::external::External;
use crate::hash::skew;
use crate::random::Randoms;
use crate::store::{EntryHead, Incoming, OutOfMemory, Store};
use crate::table::{KeySource, Position, Table, TableStats};
use crate::value::ValueType;

/// How often a random element is drawn again because it is due.
const RANDOM_TRIES: usize = 32;
/// Samples of up to one part in this many are drawn one by one.
const SAMPLE_SHARE: usize = 3;
/// A step of a snapshot's pass takes about so many bytes of elements at most.
const PASS_BYTES: usize = 128 << 10;

/// Where the key of a collection lies in its database, for finding it when members expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Home {
    pub(crate) hash: u64,
    pub(crate) slot: u16,
}

/// The elements. See the module's head.
pub(crate) struct Members {
    table: Table,
    expiring: usize,
    arena_bytes: usize,
    /// Bytes of names and values that lie outside their entries.
    outside_bytes: usize,
    /// What the collection is armed for in its database's schedule.
    pub(crate) armed_ms: Option<u64>,
    /// Its key, as long as it is armed.
    pub(crate) home: Home,
    /// A snapshot takes it in parts.
    pass: Option<Box<Pass>>,
}

/// An element that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    position: Position,
    pub(crate) handle: Handle,
}

impl Members {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            expiring: 0,
            arena_bytes: 0,
            outside_bytes: 0,
            armed_ms: None,
            home: Home::default(),
            pass: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many elements have a deadline.
    pub(crate) fn expiring(&self) -> usize {
        self.expiring
    }

    /// When the next element falls due, or a moment before.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.table.next_ms()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Bytes of all elements, but for those of the table; O(1).
    pub(crate) fn bytes(&self) -> usize {
        self.arena_bytes + self.outside_bytes
    }

    /// The shape of the table; O(segments).
    pub(crate) fn stats(&self) -> TableStats {
        self.table.stats()
    }

    /// Finds an element, due or not.
    #[inline]
    pub(crate) fn find(&self, store: &Store, name: &[u8]) -> Option<Found> {
        self.find_hashed(store, store.hasher.hash(name), name)
    }

    /// As [`Members::find`], where the name is hashed already.
    #[inline]
    pub(crate) fn find_hashed(&self, store: &Store, hash: u64, name: &[u8]) -> Option<Found> {
        let (position, handle) = self.table.find(hash, |handle| store.is_key(handle, name))?;
        Some(Found { position, handle })
    }

    /// Asks for the slot of the element whose name has this hash.
    #[inline]
    pub(crate) fn prefetch_slot(&self, hash: u64) {
        self.table.prefetch_slot(hash);
    }

    /// Asks for what adding or removing the element whose name has this hash takes.
    #[inline]
    pub(crate) fn prefetch_change(&self, hash: u64) {
        self.table.prefetch_change(hash);
    }

    /// Asks for the entry of an element, some time after [`Members::prefetch_slot`].
    #[inline]
    pub(crate) fn prefetch_entry(&self, store: &Store, hash: u64) {
        self.table.prefetch_entry(hash, store);
    }

    /// Finds an element that is not due.
    #[inline]
    pub(crate) fn look(&self, store: &Store, now_ms: u64, name: &[u8]) -> Option<Found> {
        self.look_hashed(store, now_ms, store.hasher.hash(name), name)
    }

    /// As [`Members::look`], where the name is hashed already.
    #[inline]
    pub(crate) fn look_hashed(
        &self,
        store: &Store,
        now_ms: u64,
        hash: u64,
        name: &[u8],
    ) -> Option<Found> {
        let found = self.find_hashed(store, hash, name);
        found.filter(|found| !is_due(store, found.handle, now_ms))
    }

    /// The place of an element by its entry.
    pub(crate) fn of_handle(&self, store: &Store, handle: Handle) -> Found {
        let found = self.table.find(store.hash(handle), |other| other == handle);
        let (position, handle) = found.expect("invariant: an element is in its table");
        Found { position, handle }
    }

    /// Adds an element whose name is not among them; its entry. Nothing changes on failure.
    pub(crate) fn insert(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        name: &[u8],
        value: Incoming<'_>,
        deadline_ms: Option<u64>,
    ) -> Result<Handle, OutOfMemory> {
        let hash = store.hasher.hash(name);
        self.insert_hashed(store, now_ms, (hash, name), value, deadline_ms)
    }

    /// As [`Members::insert`], where the name is hashed already.
    pub(crate) fn insert_hashed(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        (hash, name): (u64, &[u8]),
        value: Incoming<'_>,
        deadline_ms: Option<u64>,
    ) -> Result<Handle, OutOfMemory> {
        let deadline = deadline_ms.map(|deadline| deadline.min(DEADLINE_MAX));
        let head = EntryHead { key: name, deadline, stamp: 0 };
        let handle = store.write(head, value, None)?;
        if let Some(pass) = &mut self.pass {
            pass.note_new(hash, name);
        }
        self.table.insert(hash, handle, store);
        self.arena_bytes += store.arena.block_bytes(handle);
        self.outside_bytes += store.outside_bytes(handle);
        if let Some(deadline) = deadline {
            self.table.add_deadline(hash, deadline, now_ms);
            self.expiring += 1;
        }
        Ok(handle)
    }

    /// Gives an element another value and deadline; its entry afterwards. What lay outside goes to
    /// `freed`. Nothing changes on failure.
    pub(crate) fn replace(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        found: Found,
        value: Incoming<'_>,
        deadline_ms: Option<u64>,
        freed: &mut Vec<External>,
    ) -> Result<Handle, OutOfMemory> {
        let name = store.key(found.handle).to_vec();
        let named = (store.hasher.hash(&name), &name[..]);
        self.replace_named(store, now_ms, named, found, value, deadline_ms, freed)
    }

    /// As [`Members::replace`], where the element's hash and name are at hand.
    #[expect(clippy::too_many_arguments, reason = "what is replaced, and by what")]
    pub(crate) fn replace_named(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        (hash, name): (u64, &[u8]),
        found: Found,
        value: Incoming<'_>,
        deadline_ms: Option<u64>,
        freed: &mut Vec<External>,
    ) -> Result<Handle, OutOfMemory> {
        let old = found.handle;
        self.save_before_change(store, old);
        let (old_deadline, old_cell) = (store.deadline(old), store.external_of(old));
        let old_bytes = Bytes::of(store, old);
        let deadline = deadline_ms.map(|deadline| deadline.min(DEADLINE_MAX));
        let head = EntryHead { key: name, deadline, stamp: 0 };
        let handle = store.write(head, value, Some(old))?;
        freed.extend(old_cell.map(|cell| store.externals.remove(cell)));
        self.moved(store, found, old_bytes, handle);
        self.move_deadline(hash, old_deadline, deadline, now_ms);
        Ok(handle)
    }

    /// Gives an element another deadline or none.
    pub(crate) fn set_deadline(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        found: Found,
        deadline_ms: Option<u64>,
    ) -> Result<Handle, OutOfMemory> {
        let old = found.handle;
        self.save_before_change(store, old);
        let hash = store.hash(old);
        let (old_deadline, old_bytes) = (store.deadline(old), Bytes::of(store, old));
        let deadline = deadline_ms.map(|deadline| deadline.min(DEADLINE_MAX));
        let handle = store.set_deadline(old, deadline)?;
        self.moved(store, found, old_bytes, handle);
        self.move_deadline(hash, old_deadline, deadline, now_ms);
        Ok(handle)
    }

    /// Removes an element; what lay outside its entry goes to `freed`.
    pub(crate) fn remove(&mut self, store: &mut Store, found: Found, freed: &mut Vec<External>) {
        let Found { position, handle } = found;
        self.save_before_change(store, handle);
        if let Some(deadline) = store.deadline(handle) {
            self.table.remove_deadline(store.hash(handle), deadline);
            self.expiring -= 1;
        }
        self.table.remove(position, store);
        self.arena_bytes -= store.arena.block_bytes(handle);
        self.outside_bytes -= store.outside_bytes(handle);
        freed.extend(store.release(handle));
    }

    /// Calls `visit` with each element that is not due; O(elements).
    pub(crate) fn for_each(&self, store: &Store, now_ms: u64, mut visit: impl FnMut(Handle)) {
        self.table.for_each_fetched(store, |handle| {
            if !is_due(store, handle, now_ms) {
                visit(handle);
            }
        });
    }

    /// Goes on from a cursor: see [`Table::scan`].
    pub(crate) fn scan(
        &self,
        store: &Store,
        now_ms: u64,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Handle),
    ) -> u64 {
        self.table.scan(cursor, count, store, |handle| {
            if !is_due(store, handle, now_ms) {
                visit(handle);
            }
        })
    }

    /// An element at a random place, due or not; `None` without any.
    pub(crate) fn random(&self, random: u64) -> Option<Handle> {
        self.table.random(skew(random))
    }

    /// An element at a random place that is not due; `None` without any.
    pub(crate) fn draw(&self, store: &Store, now_ms: u64, randoms: &mut Randoms) -> Option<Handle> {
        for _ in 0..RANDOM_TRIES {
            let handle = self.random(randoms.next())?;
            if !is_due(store, handle, now_ms) {
                return Some(handle);
            }
        }
        // Nearly all are due and wait for their turn to be removed.
        let mut left = Vec::new();
        self.for_each(store, now_ms, |handle| left.push(handle));
        (!left.is_empty()).then(|| left[randoms.below(left.len())])
    }

    /// Calls `visit` with `count` different elements that are not due, chosen at random; with all
    /// when there are no more.
    pub(crate) fn sample(
        &self,
        store: &Store,
        now_ms: u64,
        count: usize,
        randoms: &mut Randoms,
        mut visit: impl FnMut(Handle),
    ) {
        if count >= self.len() {
            return self.for_each(store, now_ms, visit);
        }
        // Few of many: drawn one by one, passing over those that came before.
        let mut drawn = HashSet::new();
        if count <= self.len() / SAMPLE_SHARE {
            let mut tries = 2 * count + RANDOM_TRIES;
            while drawn.len() < count && tries > 0 {
                tries -= 1;
                let handle = self.random(randoms.next());
                let handle = handle.filter(|handle| !is_due(store, *handle, now_ms));
                if let Some(handle) = handle
                    && drawn.insert(handle)
                {
                    visit(handle);
                }
            }
        }
        if drawn.len() == count {
            return;
        }
        let mut rest = Vec::with_capacity(self.len());
        self.for_each(store, now_ms, |handle| {
            if !drawn.contains(&handle) {
                rest.push(handle);
            }
        });
        for taken in 0..(count - drawn.len()).min(rest.len()) {
            let pick = taken + randoms.below(rest.len() - taken);
            rest.swap(taken, pick);
            visit(rest[taken]);
        }
    }

    /// See [`super::Collection::expire`]. `before` is shown each element while it still exists.
    pub(crate) fn expire(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        limit: usize,
        freed: &mut Vec<External>,
        mut before: impl FnMut(&Store, Handle),
    ) -> usize {
        let mut due = Vec::new();
        let Some(point) = self.table.collect_due(now_ms, limit, store, &mut due) else {
            return 0;
        };
        for &handle in &due {
            before(store, handle);
            let found = self.of_handle(store, handle);
            self.remove(store, found, freed);
        }
        self.table.rearm(point, now_ms, store);
        due.len()
    }

    /// See [`super::Collection::drain`].
    pub(crate) fn drain(
        &mut self,
        store: &mut Store,
        skip: &mut usize,
        budget: usize,
        freed: &mut Vec<External>,
    ) -> bool {
        let Self { table, pass, .. } = self;
        let next = table.drain(*skip, budget, |handle| {
            if let Some(pass) = pass {
                pass.save_before_change(store, handle);
            }
            freed.extend(store.release(handle));
        });
        if next.is_none() {
            self.end_pass();
        }
        *skip = next.unwrap_or(0);
        next.is_some()
    }

    /// Has a snapshot take the elements that there are now in parts.
    pub(crate) fn begin_pass(&mut self, value_type: ValueType, saver: Box<dyn ElementSaver>) {
        assert!(self.pass.is_none(), "one snapshot at a time");
        self.pass = Some(Box::new(Pass::new(value_type, saver)));
    }

    /// Goes on with that: about `count` elements, and fewer where they are large.
    pub(crate) fn step_pass(&mut self, store: &mut Store, count: usize) {
        let (bytes, len) = (self.bytes(), self.len());
        let Some(pass) = &mut self.pass else { return };
        let mean = bytes / len.max(1);
        let count = count.min(PASS_BYTES / mean.max(1)).max(1);
        if !pass.is_full() && !pass.step(&self.table, store, count) {
            self.end_pass();
        }
    }

    /// Whether a snapshot has parts of it and waits for the others.
    pub(crate) fn has_pass(&self) -> bool {
        self.pass.is_some()
    }

    /// Whether a snapshot waits for parts of it, and has no room for them now.
    pub(crate) fn is_pass_full(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.is_full())
    }

    /// The snapshot was given up.
    pub(crate) fn forget_pass(&mut self) {
        self.pass = None;
    }

    fn end_pass(&mut self) {
        if let Some(pass) = self.pass.take() {
            pass.end();
        }
    }

    #[inline]
    fn save_before_change(&mut self, store: &mut Store, handle: Handle) {
        if let Some(pass) = &mut self.pass {
            pass.save_before_change(store, handle);
        }
    }

    /// Checks every invariant; O(elements).
    pub(crate) fn verify(&self, store: &Store) {
        self.table.verify(store);
        let (mut expiring, mut inside, mut outside) = (0, 0, 0);
        self.table.for_each(|handle| {
            expiring += usize::from(store.deadline(handle).is_some());
            inside += store.arena.block_bytes(handle);
            outside += store.outside_bytes(handle);
        });
        assert_eq!((expiring, inside), (self.expiring, self.arena_bytes));
        assert_eq!(outside, self.outside_bytes);
    }

    /// Follows an entry to what it has become.
    fn moved(&mut self, store: &Store, found: Found, old: Bytes, handle: Handle) {
        if handle != found.handle {
            self.table.replace(found.position, handle);
        }
        let new = Bytes::of(store, handle);
        self.arena_bytes = self.arena_bytes - old.inside + new.inside;
        self.outside_bytes = self.outside_bytes - old.outside + new.outside;
    }

    fn move_deadline(&mut self, hash: u64, from: Option<u64>, to: Option<u64>, now_ms: u64) {
        if from == to {
            return;
        }
        if let Some(old) = from {
            self.table.remove_deadline(hash, old);
            self.expiring -= 1;
        }
        if let Some(new) = to {
            self.table.add_deadline(hash, new, now_ms);
            self.expiring += 1;
        }
    }
}

/// The bytes of an element.
#[derive(Clone, Copy)]
struct Bytes {
    inside: usize,
    outside: usize,
}

impl Bytes {
    fn of(store: &Store, handle: Handle) -> Self {
        Self { inside: store.arena.block_bytes(handle), outside: store.outside_bytes(handle) }
    }
}

fn is_due(store: &Store, handle: Handle, now_ms: u64) -> bool {
    store.deadline(handle).is_some_and(|deadline| deadline <= now_ms)
}
