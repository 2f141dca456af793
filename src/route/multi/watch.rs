//! `WATCH`: who is to be told that a key has changed.
//!
//! A client's watch is one flag that its core and the shards of the keys share, as
//! [`Claim`](crate::route::blocking) is. A shard sets it right after the command that changed the
//! key (its journal tells), and before anybody else is granted a lock there. `EXEC` runs where it
//! holds the shard to itself, or holds locks on the watched keys too; so when it reads the flag,
//! every change before it has been noted and none can come any more. No message is needed for that.
//!
//! A key with a deadline may be due although nobody has come upon it: the shards leave the earliest
//! deadline beside the flag. Whoever moves a deadline changes the key.
//!
//! A key that is overdue already when it is watched, which happens only where overdue keys are
//! kept, is not there; that it is removed later changes nothing.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use kvasir_shard::{Change, ChangeKind, ChangeMask, Overdue};

use crate::route::core::CoreState;
use crate::route::engine::ShardId;

/// What changes a watched key.
pub(in crate::route) const WATCHED_CHANGES: ChangeMask =
    ChangeMask::ALL.without(ChangeKind::Missed).without(ChangeKind::New);

/// A watched key has changed.
const TOUCHED: u8 = 1;
/// The watch is over: a shard that has not begun it must not.
const OVER: u8 = 2;

/// The identity of a watch, unique in the process.
pub(in crate::route) type WatchId = u64;

/// What a client's core and the shards of its watched keys share.
#[derive(Debug)]
pub(in crate::route) struct Watch {
    pub(super) id: WatchId,
    state: AtomicU8,
    /// The earliest deadline of a watched key, in Unix milliseconds; the largest number for none.
    deadline_ms: AtomicU64,
}

impl Watch {
    fn new(id: WatchId) -> Self {
        Self { id, state: AtomicU8::new(0), deadline_ms: AtomicU64::new(u64::MAX) }
    }

    /// Whether a watched key has changed, or is due at this moment; or nobody is told any more.
    pub(super) fn is_touched(&self, now_ms: u64) -> bool {
        self.has(TOUCHED | OVER) || self.deadline_ms.load(Ordering::Acquire) <= now_ms
    }

    /// Whether it has ended.
    fn is_over(&self) -> bool {
        self.has(OVER)
    }

    fn has(&self, bit: u8) -> bool {
        self.state.load(Ordering::Acquire) & bit != 0
    }

    fn set(&self, bit: u8) {
        self.state.fetch_or(bit, Ordering::AcqRel);
    }
}

/// The watch of a client, on its core. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::route) struct Watching {
    pub(super) watch: Arc<Watch>,
    keys: HashSet<(u32, Box<[u8]>), ahash::RandomState>,
    shards: Vec<ShardId>,
    key_bytes: usize,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watch.set(OVER);
    }
}

impl Watching {
    /// A watch of nothing.
    pub(super) fn new(id: WatchId) -> Self {
        let (keys, shards, key_bytes) = (HashSet::default(), Vec::new(), 0);
        Self { watch: Arc::new(Watch::new(id)), keys, shards, key_bytes }
    }

    /// Adds a key of a shard.
    pub(super) fn add(&mut self, db: u32, key: &[u8], shard: ShardId) {
        if self.keys.insert((db, key.into())) {
            self.key_bytes += key.len();
        }
        if !self.shards.contains(&shard) {
            self.shards.push(shard);
        }
    }

    /// The keys, each with its database.
    pub(super) fn keys(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.keys.iter().map(|(db, key)| (*db, &**key))
    }

    /// The shards of the keys.
    pub(super) fn shards(&self) -> &[ShardId] {
        &self.shards
    }

    /// How many keys are watched; none any more when one has changed.
    pub(super) fn len(&self) -> usize {
        if self.watch.has(TOUCHED) { 0 } else { self.keys.len() }
    }

    /// Bytes that it occupies, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.key_bytes + self.keys.capacity() * size_of::<(u32, Box<[u8]>)>() + size_of::<Self>()
    }
}

/// One who watches a key.
#[derive(Debug)]
struct Watcher {
    watch: Arc<Watch>,
    /// The key was overdue when the watch began.
    overdue: bool,
}

type Names<V> = HashMap<Arc<[u8]>, V, ahash::RandomState>;
/// The keys of a watch, each with its database.
type Places = Vec<(u32, Arc<[u8]>)>;
type Watchers = HashMap<WatchId, Watcher, ahash::RandomState>;

/// Who watches which keys of one shard.
///
/// A key that changes costs O(those who watch it * the keys that each of them watches), once: they
/// are forgotten then. Any other change costs one lookup while anything is watched.
#[derive(Debug, Default)]
pub struct Watches {
    dbs: HashMap<u32, Names<Watchers>, ahash::RandomState>,
    by_id: HashMap<WatchId, Places, ahash::RandomState>,
}

impl Watches {
    /// Whether nothing is watched.
    pub(in crate::route) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many keys are watched.
    pub(crate) fn keys(&self) -> usize {
        self.dbs.values().map(HashMap::len).sum()
    }

    /// How many clients watch.
    pub(in crate::route) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The keys of a watch.
    pub(super) fn keys_of(&self, id: WatchId) -> impl Iterator<Item = (u32, &[u8])> {
        self.by_id.get(&id).into_iter().flatten().map(|(db, key)| (*db, &**key))
    }

    fn insert(&mut self, watch: &Arc<Watch>, db: u32, key: &[u8], overdue: bool) {
        let of_db = self.dbs.entry(db).or_default();
        let name =
            of_db.get_key_value(key).map_or_else(|| key.into(), |(name, _)| Arc::clone(name));
        let watchers = of_db.entry(Arc::clone(&name)).or_default();
        if let Entry::Vacant(vacant) = watchers.entry(watch.id) {
            vacant.insert(Watcher { watch: Arc::clone(watch), overdue });
            self.by_id.entry(watch.id).or_default().push((db, name));
        }
    }

    /// Ends a watch here.
    pub(super) fn forget(&mut self, id: WatchId) {
        for (db, key) in self.by_id.remove(&id).into_iter().flatten() {
            let of_db =
                self.dbs.get_mut(&db).expect("invariant: a watched key's database is known");
            let watchers = of_db.get_mut(&key).expect("invariant: a watched key has watchers");
            watchers.remove(&id);
            if watchers.is_empty() {
                of_db.remove(&key);
            }
            if of_db.is_empty() {
                self.dbs.remove(&db);
            }
        }
    }

    /// Notes a change. Those of whole databases are noted by [`CoreState::touch_emptied`].
    pub(in crate::route) fn note(&mut self, change: &Change<'_>) {
        if !self.is_empty() && WATCHED_CHANGES.contains(change.kind) {
            let removed = matches!(change.kind, ChangeKind::Expired | ChangeKind::Deleted);
            self.touch(change.db, change.key, removed);
        }
    }

    fn touch(&mut self, db: u32, key: &[u8], removed: bool) {
        let watchers = self.dbs.get_mut(&db).and_then(|of_db| of_db.get_mut(key));
        let Some(watchers) = watchers else { return };
        let mut touched = Vec::new();
        for (id, watcher) in watchers {
            if !(removed && std::mem::take(&mut watcher.overdue)) {
                watcher.watch.set(TOUCHED);
                touched.push(*id);
            }
        }
        for id in touched {
            self.forget(id);
        }
    }

    /// Every watcher of a key is found by its identity and the other way round, and nothing is
    /// empty. O(all).
    pub(in crate::route) fn verify(&self) {
        let mut places = 0;
        for (db, of_db) in &self.dbs {
            assert!(!of_db.is_empty(), "a database without watched keys is removed");
            for (key, watchers) in of_db {
                assert!(!watchers.is_empty(), "a key without watchers is removed");
                for id in watchers.keys() {
                    assert!(self.by_id[id].iter().any(|(d, k)| d == db && k == key));
                    places += 1;
                }
            }
        }
        assert_eq!(places, self.by_id.values().map(Vec::len).sum::<usize>());
    }
}

impl CoreState {
    /// The identity of a new watch of one of this core's clients.
    pub(super) fn new_watch(&mut self) -> WatchId {
        self.last_watch += 1;
        self.last_watch << 16 | u64::from(self.id.0)
    }

    /// Begins to watch keys of this shard, unless the watch is over by now.
    pub(super) fn watch_keys<'k>(
        &mut self,
        watch: &Arc<Watch>,
        db: u32,
        keys: impl Iterator<Item = &'k [u8]>,
    ) {
        if watch.is_over() {
            return;
        }
        let keeps = self.keeps_overdue();
        let now_ms = self.shard.now_ms();
        for name in keys {
            let key = self.shared.map.key(name);
            if keeps {
                self.shard.set_overdue(Overdue::Live);
            }
            let deadline = self.shard.deadline(db, &key).flatten();
            if keeps {
                self.shard.set_overdue(Overdue::Kept);
            }
            let overdue = deadline.is_some_and(|deadline_ms| deadline_ms <= now_ms);
            if let Some(deadline_ms) = deadline.filter(|_| !overdue) {
                watch.deadline_ms.fetch_min(deadline_ms, Ordering::AcqRel);
            }
            // What was found due has just gone, and was not there for this client.
            self.follow_journal();
            self.watches.insert(watch, db, name, overdue);
        }
        self.follow_readers();
    }

    /// Notes that a database is about to be emptied: its watched keys that exist change. O(watched
    /// keys of the database).
    pub fn touch_emptied(&mut self, db: u32) {
        self.touch_existing(db, &[db]);
    }

    /// Notes that two databases are about to be exchanged: watched keys that exist in either
    /// change. O(watched keys of both).
    pub fn touch_exchanged(&mut self, one: u32, other: u32) {
        self.touch_existing(one, &[one, other]);
        self.touch_existing(other, &[one, other]);
    }

    /// Touches the watched keys of a database that exist in any of some databases.
    fn touch_existing(&mut self, db: u32, places: &[u32]) {
        self.follow_journal();
        let Some(of_db) = self.watches.dbs.get(&db) else { return };
        let names: Vec<Arc<[u8]>> = of_db.keys().cloned().collect();
        for name in names {
            let key = self.shared.map.key(&name);
            if places.iter().any(|place| self.shard.exists(*place, &key)) {
                self.watches.touch(db, &name, false);
            }
        }
        self.follow_readers();
    }

    /// Ends a watch on every shard; the others are told at the end of the round.
    pub(super) fn end_watch(&mut self, watching: &Watching) {
        watching.watch.set(OVER);
        for &shard in &watching.shards {
            if shard == self.id {
                self.forget_watch(watching.watch.id);
            } else {
                self.ended_watches.push((shard, watching.watch.id));
            }
        }
    }

    /// Ends a watch on this shard.
    pub(in crate::route) fn forget_watch(&mut self, id: WatchId) {
        self.watches.forget(id);
        self.follow_readers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, db: u32, key: &[u8]) -> Change<'_> {
        Change { kind, db, key, element: b"" }
    }

    #[test]
    fn a_change_is_noted_once_and_ends_the_watch_here() {
        let mut watches = Watches::default();
        let (one, other) = (Arc::new(Watch::new(1)), Arc::new(Watch::new(2)));
        watches.insert(&one, 0, b"a", false);
        watches.insert(&one, 0, b"a", false);
        watches.insert(&one, 3, b"b", false);
        watches.insert(&other, 0, b"b", false);
        watches.verify();
        assert_eq!((watches.keys(), watches.len()), (3, 2));
        watches.note(&change(ChangeKind::Set, 3, b"a"));
        watches.note(&change(ChangeKind::Missed, 0, b"a"));
        assert!(!one.is_touched(0) && !other.is_touched(0));
        watches.note(&change(ChangeKind::Set, 3, b"b"));
        assert!(one.is_touched(0) && !other.is_touched(0));
        watches.verify();
        assert_eq!((watches.keys(), watches.len()), (1, 1));
        watches.forget(2);
        watches.verify();
        assert!(watches.is_empty());
    }

    #[test]
    fn the_removal_of_an_overdue_key_is_no_change() {
        let mut watches = Watches::default();
        let watch = Arc::new(Watch::new(1));
        watches.insert(&watch, 0, b"a", true);
        watches.note(&change(ChangeKind::Expired, 0, b"a"));
        assert!(!watch.is_touched(0));
        watches.note(&change(ChangeKind::Set, 0, b"a"));
        assert!(watch.is_touched(0));
    }

    #[test]
    fn a_deadline_that_passes_is_a_change() {
        let watch = Watch::new(1);
        watch.deadline_ms.fetch_min(50, Ordering::AcqRel);
        assert!(!watch.is_touched(49));
        assert!(watch.is_touched(50));
    }
}
