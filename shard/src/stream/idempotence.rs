//! What producers have added lately, so that an addition that is sent again is recognised.
//!
//! Each producer has a table of its own, bounded in length; what is older than the duration is
//! forgotten. The table of a producer that has gone silent is cleared by the additions of others:
//! each looks at a few producers in turn.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::Id;

/// How long and how much is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdempotenceLimits {
    /// Seconds.
    pub duration_s: u32,
    /// Additions of one producer.
    pub additions_max: u32,
}

impl Default for IdempotenceLimits {
    fn default() -> Self {
        Self { duration_s: 100, additions_max: 100 }
    }
}

/// Producers that an addition looks at beside its own.
const SWEEP: usize = 2;
/// Bytes of a remembered addition beside its name.
const ADDITION_BYTES: usize =
    (size_of::<(Arc<[u8]>, Id)>() + size_of::<(u64, Arc<[u8]>)>()) * 3 / 2 + 2 * size_of::<usize>();
const PRODUCER_BYTES: usize = size_of::<(Box<[u8]>, Producer)>() * 3 / 2;

#[derive(Clone, Debug, Default)]
struct Producer {
    /// When an addition was made, in milliseconds, and its name.
    order: VecDeque<(u64, Arc<[u8]>)>,
    ids: BTreeMap<Arc<[u8]>, Id>,
}

/// The tables. Looking up and adding are O(log producers + log additions).
#[derive(Clone, Debug, Default)]
pub struct Idempotence {
    limits: IdempotenceLimits,
    producers: BTreeMap<Box<[u8]>, Producer>,
    /// Where the next look at silent producers begins.
    sweep_from: Box<[u8]>,
    tracked: usize,
    added: u64,
    duplicates: u64,
    bytes: usize,
}

impl Idempotence {
    /// How long and how much is remembered.
    pub fn limits(&self) -> IdempotenceLimits {
        self.limits
    }

    /// Sets the limits, and forgets every addition if they changed.
    pub fn set_limits(&mut self, limits: IdempotenceLimits) {
        if limits != self.limits {
            *self =
                Self { limits, added: self.added, duplicates: self.duplicates, ..Self::default() };
        }
    }

    /// Producers of which something is remembered.
    pub fn producers_len(&self) -> usize {
        self.producers.len()
    }

    /// Additions that are remembered.
    pub fn tracked(&self) -> usize {
        self.tracked
    }

    /// Additions that were ever remembered.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// Additions that were recognised as repeated.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Sets the counts that are only told, as a file has them.
    pub fn set_counts(&mut self, added: u64, duplicates: u64) {
        self.added = added;
        self.duplicates = duplicates;
    }

    /// What is remembered: producer, name, entry and time, a producer's in order of their making.
    pub fn additions(&self) -> impl Iterator<Item = (&[u8], &[u8], Id, u64)> {
        self.producers.iter().flat_map(|(name, producer)| {
            let order = producer.order.iter();
            order.map(|(time, addition)| (&**name, &**addition, producer.ids[addition], *time))
        })
    }

    /// The entry that this addition of a producer has made; counted as a duplicate.
    pub fn find(&mut self, producer: &[u8], addition: &[u8], now_ms: u64) -> Option<Id> {
        self.forget_old(producer, now_ms);
        let id = self.producers.get(producer)?.ids.get(addition).copied()?;
        self.duplicates += 1;
        Some(id)
    }

    /// Remembers an addition, which was looked up before, and forgets the oldest beyond the limit.
    pub fn add(&mut self, producer: &[u8], addition: &[u8], id: Id, now_ms: u64) {
        self.sweep(now_ms);
        let addition: Arc<[u8]> = addition.into();
        if !self.producers.contains_key(producer) {
            self.bytes += PRODUCER_BYTES + producer.len();
        }
        let table = self.producers.entry(producer.into()).or_default();
        if table.ids.insert(addition.clone(), id).is_some() {
            table.order.retain(|(_, name)| *name != addition);
        } else {
            self.tracked += 1;
            self.bytes += ADDITION_BYTES + addition.len();
        }
        table.order.push_back((now_ms, addition));
        self.added += 1;
        if table.order.len() > self.limits.additions_max as usize {
            self.forget_oldest(producer);
        }
    }

    /// Looks at a few producers in turn and forgets what is too old.
    fn sweep(&mut self, now_ms: u64) {
        for _ in 0..SWEEP.min(self.producers.len()) {
            let from = Bound::Excluded(&*self.sweep_from);
            let next = self.producers.range::<[u8], _>((from, Bound::Unbounded)).next();
            let Some(name) = next.map(|(name, _)| name.clone()) else {
                self.sweep_from = Box::default();
                return;
            };
            self.forget_old(&name, now_ms);
            self.sweep_from = name;
        }
    }

    fn forget_old(&mut self, producer: &[u8], now_ms: u64) {
        let duration_ms = u64::from(self.limits.duration_s) * 1000;
        let is_old = |table: &Producer| {
            table.order.front().is_some_and(|(time, _)| time.saturating_add(duration_ms) <= now_ms)
        };
        while self.producers.get(producer).is_some_and(is_old) {
            self.forget_oldest(producer);
        }
    }

    fn forget_oldest(&mut self, producer: &[u8]) {
        let table = self.producers.get_mut(producer).expect("invariant: it was looked up");
        let (_, addition) = table.order.pop_front().expect("invariant: a table is not empty");
        table.ids.remove(&addition);
        self.tracked -= 1;
        self.bytes -= ADDITION_BYTES + addition.len();
        if table.order.is_empty() {
            self.producers.remove(producer);
            self.bytes -= PRODUCER_BYTES + producer.len();
        }
    }

    /// Heap bytes, about.
    pub fn memory(&self) -> usize {
        self.bytes
    }

    /// Checks tables and counts; O(additions).
    pub fn verify(&self) {
        let mut tracked = 0;
        let mut bytes = 0;
        for (name, producer) in &self.producers {
            assert!(!producer.order.is_empty(), "no table is empty");
            assert!(producer.order.len() <= self.limits.additions_max as usize);
            assert_eq!(producer.order.len(), producer.ids.len());
            assert!(producer.order.iter().all(|(_, addition)| producer.ids.contains_key(addition)));
            tracked += producer.order.len();
            bytes += PRODUCER_BYTES + name.len();
            bytes += producer.ids.keys().map(|name| ADDITION_BYTES + name.len()).sum::<usize>();
        }
        assert_eq!(tracked, self.tracked);
        assert_eq!(bytes, self.bytes);
    }
}
