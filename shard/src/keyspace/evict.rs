//! Which keys go when memory runs short, and how often each is used.
//!
//! As with the peers, a few keys are drawn at random for each eviction, and the best of all that
//! were drawn lately wait in a small pool. Keys with a deadline, where only those may go, come from
//! the segments' indexes of deadlines; the next to expire are known without drawing.
//!
//! The two bytes of an entry's access stamp are the caller's coarse clock, or, where use is counted
//! ([`Shard::set_use_counting`]): in the high byte the minute of the last access, which turns round
//! after 4.2 hours, and in the low byte a logarithmic counter that falls with time (Morris,
//! "Counting large numbers of events in small registers", 1978, as the peers use it).

use super::{Found, Shard};
use crate::arena::Handle;
use crate::hash::{Key, skew};
use crate::journal::ChangeKind;

/// What a new key's counter begins with, so that it is not the first to go.
const COUNT_INITIAL: u8 = 5;
/// Candidates that wait.
const POOL: usize = 16;
/// Random segments that are tried for keys with a deadline before the schedule is asked.
const SEGMENT_TRIES: usize = 4;

/// How the counter of accesses moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UseCounting {
    /// The larger, the more accesses a step of the counter takes.
    pub log_factor: u32,
    /// Minutes after which the counter falls by one; 0: never.
    pub decay_min: u32,
}

/// Which key goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EvictionOrder {
    /// The one whose last access is the longest ago.
    LeastRecent,
    /// The one that is used least often.
    LeastFrequent,
    /// Any.
    Random,
    /// The one that expires next.
    Soonest,
}

/// How keys are evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Eviction {
    /// Which go first.
    pub order: EvictionOrder,
    /// Whether only keys with a deadline may go.
    pub expiring: bool,
    /// Keys drawn in each database for one eviction.
    pub samples: usize,
}

/// A key that may go. The larger the score, the sooner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Candidate {
    score: u64,
    db: u32,
    slot: u16,
    key: Box<[u8]>,
}

impl Shard {
    /// Counts accesses in the stamps from now on, or, with `None`, does not. The stamp that
    /// [`Shard::set_access_stamp`] sets must then be the minute, in its high byte.
    pub fn set_use_counting(&mut self, counting: Option<UseCounting>) {
        self.counting = counting;
    }

    /// Whether accesses are counted.
    pub fn counts_use(&self) -> bool {
        self.counting.is_some()
    }

    /// How often a key is used, as its counter tells: `None` for a missing key. Notes no access.
    pub fn frequency(&mut self, db: u32, key: &Key<'_>) -> Option<u8> {
        let found = self.locate(db, key)?;
        Some(self.decayed(self.store.entry(found.handle).stamp()))
    }

    /// Evicts one key, by its order the best that was found; false when there is none that may go.
    /// O(databases x samples).
    pub fn evict_one(&mut self, how: Eviction) -> bool {
        if how.order == EvictionOrder::Random {
            return self.evict_any(how);
        }
        // What waits may have been deleted, or be of another order since that was changed.
        if self.pool_order != Some(how) {
            self.pool.clear();
            self.pool_order = Some(how);
        }
        for _ in 0..=POOL {
            self.fill_pool(how);
            let Some(Candidate { db, slot, key, .. }) = self.pool.pop() else { return false };
            if self.evict_named(db, slot, &key, how.expiring) {
                return true;
            }
        }
        false
    }

    /// Evicts a key at random, from one database after the other.
    fn evict_any(&mut self, how: Eviction) -> bool {
        let databases = self.dbs.len();
        for _ in 0..databases {
            self.evict_next_db = (self.evict_next_db + 1) % databases;
            let db = self.evict_next_db as u32;
            let mut drawn = std::mem::take(&mut self.due);
            drawn.clear();
            let slot = self.draw(db, Eviction { samples: 1, ..how }, &mut drawn);
            let key = drawn.first().map(|&handle| self.store.key(handle).to_vec());
            self.due = drawn;
            if key.is_some_and(|key| self.evict_named(db, slot, &key, how.expiring)) {
                return true;
            }
        }
        false
    }

    /// Evicts this key, if it is there and may go.
    fn evict_named(&mut self, db: u32, slot: u16, key: &[u8], expiring: bool) -> bool {
        let key = Key { bytes: key, hash: self.store.hasher.hash(key), slot };
        let Some((position, handle)) = self.find(db, &key) else { return false };
        if expiring && self.store.entry(handle).deadline().is_none() {
            return false;
        }
        self.remove_found(db, &key, Found { position, handle }, ChangeKind::Evicted);
        true
    }

    /// Draws keys of every database into the pool, which keeps the best.
    fn fill_pool(&mut self, how: Eviction) {
        let mut drawn = std::mem::take(&mut self.due);
        for db in 0..self.dbs.len() as u32 {
            drawn.clear();
            let slot = self.draw(db, how, &mut drawn);
            for &handle in &drawn {
                let score = self.score(handle, how.order);
                let is_better = self.pool.first().is_none_or(|worst| score > worst.score);
                let key = self.store.key(handle);
                let known = |candidate: &Candidate| candidate.db == db && *candidate.key == *key;
                if (self.pool.len() < POOL || is_better) && !self.pool.iter().any(known) {
                    let candidate = Candidate { score, db, slot, key: key.into() };
                    let place = self.pool.partition_point(|other| other.score <= score);
                    self.pool.insert(place, candidate);
                    if self.pool.len() > POOL {
                        self.pool.remove(0);
                    }
                }
            }
        }
        self.due = drawn;
    }

    /// Draws keys of a database that may go, all of them of one slot in slot mode; that slot.
    fn draw(&mut self, db: u32, how: Eviction, drawn: &mut Vec<Handle>) -> u16 {
        let candidates = if how.expiring { self.expires(db) } else { self.len(db) };
        if candidates == 0 {
            return 0;
        }
        let tries = match how.order {
            EvictionOrder::Soonest => 0,
            _ if how.expiring => SEGMENT_TRIES,
            _ => 1,
        };
        for _ in 0..tries {
            let random = [skew(self.next_random()), self.next_random()];
            let state = &self.dbs[db as usize];
            let slot = state.sample(random, how.expiring, how.samples, &self.store, drawn);
            if !drawn.is_empty() {
                return slot;
            }
        }
        // The next to expire are known; and where keys with a deadline are rare, these are some.
        self.dbs[db as usize].soonest(how.samples, self.now_ms, &self.store, drawn)
    }

    fn score(&self, handle: Handle, order: EvictionOrder) -> u64 {
        let entry = self.store.entry(handle);
        match order {
            EvictionOrder::LeastRecent => self.access_stamp.wrapping_sub(entry.stamp()).into(),
            EvictionOrder::LeastFrequent => u64::from(u8::MAX - self.decayed(entry.stamp())),
            EvictionOrder::Soonest => u64::MAX - entry.deadline().unwrap_or(u64::MAX),
            EvictionOrder::Random => 0,
        }
    }

    /// Notes an access to an entry. Its line is dirtied only when the stamp changes.
    #[inline]
    pub(super) fn note_access(&mut self, handle: Handle) {
        let old = self.store.entry(handle).stamp();
        let new = self.next_stamp(Some(old));
        if new != old {
            self.store.set_stamp(handle, new);
        }
    }

    /// The stamp of an entry that is used now, or of a new one.
    #[inline]
    pub(super) fn next_stamp(&mut self, old: Option<u16>) -> u16 {
        match self.counting {
            None => self.access_stamp,
            Some(counting) => self.counted_stamp(old, counting),
        }
    }

    #[cold]
    fn counted_stamp(&mut self, old: Option<u16>, counting: UseCounting) -> u16 {
        let count = match old {
            None => COUNT_INITIAL,
            Some(old) => {
                let count = self.decayed(old);
                // One step in (count - initial) * factor + 1 accesses, on average.
                let above = u64::from(count.saturating_sub(COUNT_INITIAL));
                let one_in = above * u64::from(counting.log_factor) + 1;
                let steps = count < u8::MAX && self.next_random().is_multiple_of(one_in);
                count + u8::from(steps)
            }
        };
        self.access_stamp & 0xFF00 | u16::from(count)
    }

    /// The counter of a stamp, less what it has lost since.
    fn decayed(&self, stamp: u16) -> u8 {
        let [count, minute] = stamp.to_le_bytes();
        let [_, now] = self.access_stamp.to_le_bytes();
        let decay_min = self.counting.map_or(0, |counting| counting.decay_min);
        let lost = u32::from(now.wrapping_sub(minute)).checked_div(decay_min).unwrap_or(0);
        count.saturating_sub(lost.min(u8::MAX.into()) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::ShardConfig;
    use crate::keyspace::write::Ttl;
    use crate::value::NewValue;

    const LFU: UseCounting = UseCounting { log_factor: 10, decay_min: 1 };

    fn shard() -> Shard {
        let hash_seeds = [1, 2, 3, 4];
        Shard::new(ShardConfig { databases: 2, hash_seeds, slot_mode: false, rng_seed: 9 })
    }

    fn name(number: usize) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    fn key<'a>(shard: &Shard, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: shard.hash(bytes), slot: 0 }
    }

    fn set(shard: &mut Shard, number: usize, ttl: Ttl) {
        let name = name(number);
        let key = key(shard, &name);
        shard.set((number % 2) as u32, &key, NewValue::Int(1), ttl).unwrap();
    }

    fn exists(shard: &mut Shard, number: usize) -> bool {
        let name = name(number);
        let key = key(shard, &name);
        shard.exists((number % 2) as u32, &key)
    }

    fn how(order: EvictionOrder, expiring: bool) -> Eviction {
        Eviction { order, expiring, samples: 5 }
    }

    /// Evicts half of `keys`; how many of the lower half went.
    fn evict_half(shard: &mut Shard, keys: usize, how: Eviction) -> usize {
        for _ in 0..keys / 2 {
            assert!(shard.evict_one(how), "there are keys to evict");
        }
        assert_eq!(shard.len(0) + shard.len(1), keys / 2);
        shard.verify();
        (0..keys / 2).filter(|number| !exists(shard, *number)).count()
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let mut shard = shard();
        for number in 0..2000 {
            shard.set_access_stamp(number as u16);
            set(&mut shard, number, Ttl::Clear);
        }
        let lower = evict_half(&mut shard, 2000, how(EvictionOrder::LeastRecent, false));
        assert!(lower > 850, "{lower} of the 1000 oldest went");
    }

    #[test]
    fn the_least_frequently_used_go_first() {
        let mut shard = shard();
        shard.set_use_counting(Some(LFU));
        shard.set_access_stamp(0x0100);
        for number in 0..2000 {
            set(&mut shard, number, Ttl::Clear);
        }
        for number in 1000..2000 {
            for _ in 0..50 {
                let (name, db) = (name(number), (number % 2) as u32);
                let key = key(&shard, &name);
                shard.get(db, &key);
            }
        }
        let lower = evict_half(&mut shard, 2000, how(EvictionOrder::LeastFrequent, false));
        assert!(lower > 900, "{lower} of the 1000 that were not used went");
    }

    #[test]
    fn only_keys_with_a_deadline_go_and_the_next_to_expire_first() {
        for order in [EvictionOrder::LeastRecent, EvictionOrder::Random, EvictionOrder::Soonest] {
            let mut shard = shard();
            for number in 0..5000 {
                let deadline = 1_000_000 + number as u64 * 1000;
                set(&mut shard, number, if number < 100 { Ttl::At(deadline) } else { Ttl::Clear });
            }
            let how = how(order, true);
            for round in 0..100 {
                assert!(shard.evict_one(how), "{order:?}: key {round} of 100");
                if order == EvictionOrder::Soonest && round == 49 {
                    let near = (0..50).filter(|number| exists(&mut shard, *number)).count();
                    assert!(near < 10, "{near} of the 50 next to expire are left");
                }
            }
            assert!(!shard.evict_one(how), "none is left that may go");
            assert_eq!(shard.len(0) + shard.len(1), 4900);
            shard.verify();
        }
    }

    #[test]
    fn an_empty_shard_has_nothing_to_evict() {
        for order in [EvictionOrder::LeastRecent, EvictionOrder::Random, EvictionOrder::Soonest] {
            assert!(!shard().evict_one(how(order, false)));
        }
    }

    #[test]
    fn the_counter_rises_slowly_and_falls_with_time() {
        let mut shard = shard();
        shard.set_use_counting(Some(LFU));
        shard.set_access_stamp(0x0500);
        set(&mut shard, 0, Ttl::Clear);
        let name = name(0);
        let key = key(&shard, &name);
        assert_eq!(shard.frequency(0, &key), Some(COUNT_INITIAL));
        for _ in 0..1000 {
            shard.get(0, &key);
        }
        let count = shard.frequency(0, &key).unwrap();
        assert!((8..40).contains(&count), "{count} after a thousand accesses");
        shard.set_access_stamp(0x0800);
        assert_eq!(shard.frequency(0, &key), Some(count - 3));
        shard.set_use_counting(Some(UseCounting { decay_min: 0, ..LFU }));
        assert_eq!(shard.frequency(0, &key), Some(count));
    }
}
