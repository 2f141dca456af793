//! Consumer groups: what was delivered to whom and is not acknowledged.
//!
//! | operation | cost |
//! |---|---|
//! | deliver, acknowledge, claim, release | O(log pending) |
//! | next pending entry by identifier, of all or of one consumer | O(log pending) |
//! | next pending entry by idle time | O(log pending) |
//! | consumer by name | O(log consumers) |
//! | share, clone of what is shared | O(pending / 64 + consumers) |
//!
//! A pending entry takes about 120 bytes: it is indexed by identifier, by the time of its last
//! delivery, and in its consumer's own set.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::{Id, Log};
use crate::blockmap::BlockMap;

/// Bytes a pending entry takes in the three indexes, with the slack of their nodes.
const PENDING_BYTES: usize =
    (size_of::<(Id, Pending)>() + size_of::<(u64, Id)>() + size_of::<Id>()) * 3 / 2;

/// Names a consumer of one group; stable until the consumer is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsumerId(NonZeroU32);

impl ConsumerId {
    fn of_index(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("invariant: a group has less than 2^32 consumers"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last tried anything, in milliseconds of the Unix epoch.
    pub seen_ms: u64,
    /// When it last got something, in milliseconds of the Unix epoch.
    pub active_ms: Option<u64>,
    pending: BlockMap<Id, ()>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries were delivered to it and are not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// These entries from `start` on, in order.
    pub fn pending_from(&self, start: Id) -> impl Iterator<Item = Id> + '_ {
        self.pending.from(start).map(|(id, ())| *id)
    }
}

/// An entry that was delivered and is not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// To whom it was delivered; nobody once it was released.
    consumer: Option<ConsumerId>,
    /// When it was delivered last, in milliseconds of the Unix epoch; of a released entry, its
    /// place in the order of releases.
    time: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

impl Pending {
    /// To whom it was delivered last; `None` once it was released.
    pub fn consumer(&self) -> Option<ConsumerId> {
        self.consumer
    }

    /// When it was delivered last, in milliseconds of the Unix epoch; 0 for a released entry.
    pub fn delivered_ms(&self) -> u64 {
        if self.consumer.is_some() { self.time } else { 0 }
    }

    /// Milliseconds since then; of a released entry, more than any.
    pub fn idle_ms(&self, now_ms: u64) -> u64 {
        if self.consumer.is_some() { now_ms.saturating_sub(self.time) } else { u64::MAX }
    }
}

/// A group of consumers.
#[derive(Clone, Debug)]
pub struct Group {
    /// Entries above it were not delivered.
    pub last_delivered: Id,
    /// How many entries were delivered in all, where that is known.
    pub entries_read: Option<u64>,
    pending: BlockMap<Id, Pending>,
    /// Delivered entries by time.
    by_time: BlockMap<(u64, Id), ()>,
    /// Released entries in the order of their release.
    released: BlockMap<u64, Id>,
    releases: u64,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    consumers: Vec<Option<Consumer>>,
    free: Vec<ConsumerId>,
    name_bytes: usize,
}

impl Group {
    pub(super) fn new(last_delivered: Id, entries_read: Option<u64>) -> Self {
        Self {
            last_delivered,
            entries_read,
            pending: BlockMap::default(),
            by_time: BlockMap::default(),
            released: BlockMap::default(),
            releases: 0,
            names: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
            name_bytes: 0,
        }
    }

    /// Notes that an entry of the log is being delivered, the first time if it is above all others:
    /// then the count of entries read follows as the peers let it, where it can be told.
    pub fn advance(&mut self, log: &Log, id: Id) {
        if id <= self.last_delivered {
            return;
        }
        let follows = self.last_delivered >= log.first_id();
        match self.entries_read {
            Some(read) if follows && !log.has_deleted_from(self.last_delivered) => {
                self.entries_read = Some(read.wrapping_add(1));
            }
            _ if log.entries_added() > 0 => self.entries_read = log.entries_added_up_to(id),
            _ => {}
        }
        self.last_delivered = id;
    }

    /// How many entries of the log it has not read, where that is known.
    pub fn lag(&self, log: &Log) -> Option<i64> {
        let read = match self.entries_read {
            _ if log.entries_added() == 0 => return Some(0),
            Some(read) if !log.has_deleted_from(self.last_delivered) => read,
            _ => log.entries_added_up_to(self.last_delivered)?,
        };
        Some(log.entries_added().wrapping_sub(read) as i64)
    }

    /// The consumer of a name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// Adds a consumer, seen now; `None` if there is one of that name.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: u64) -> Option<ConsumerId> {
        if self.names.contains_key(name) {
            return None;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.consumers.push(None);
            ConsumerId::of_index(self.consumers.len() - 1)
        });
        self.consumers[id.index()] = Some(Consumer {
            name: name.into(),
            seen_ms: now_ms,
            active_ms: None,
            pending: BlockMap::default(),
        });
        self.names.insert(name.into(), id);
        self.name_bytes += 2 * name.len();
        Some(id)
    }

    /// Acknowledges up to so many of the entries that are pending for a consumer, ahead of its
    /// removal; how many.
    pub fn acknowledge_of(&mut self, consumer: ConsumerId, count: usize) -> usize {
        let pending = self.consumer(consumer).pending.keys().take(count);
        let ids: Vec<Id> = pending.copied().collect();
        for id in &ids {
            assert!(self.acknowledge(*id), "both know what is pending");
        }
        ids.len()
    }

    /// Removes a consumer with what is pending for it; how many entries these were. O(they).
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        let consumer = self.consumers[id.index()].take().expect("invariant: names name consumers");
        self.free.push(id);
        self.name_bytes -= 2 * name.len();
        for entry in consumer.pending.keys() {
            let pending = self.pending.remove(entry).expect("invariant: both know what is pending");
            self.by_time.remove(&(pending.time, *entry));
        }
        Some(consumer.pending.len())
    }

    /// A consumer.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.consumers[id.index()].as_ref().expect("invariant: an identifier names a consumer")
    }

    /// A consumer, to note when it was seen.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.consumers[id.index()].as_mut().expect("invariant: an identifier names a consumer")
    }

    /// All consumers, ordered by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.names.values().map(|id| self.consumer(*id))
    }

    /// How many consumers there are.
    pub fn consumers_len(&self) -> usize {
        self.names.len()
    }

    /// How many entries are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// How many of them were released by their consumers.
    pub fn released_len(&self) -> usize {
        self.released.len()
    }

    /// A pending entry.
    pub fn pending(&self, id: Id) -> Option<&Pending> {
        self.pending.get(&id)
    }

    fn known(&self, id: Id) -> &Pending {
        self.pending.get(&id).expect("invariant: what is indexed is pending")
    }

    /// Pending entries from `start` on, ordered by identifier.
    pub fn pending_from(&self, start: Id) -> impl DoubleEndedIterator<Item = (Id, &Pending)> {
        self.pending.from(start).map(|(id, pending)| (*id, pending))
    }

    /// Released entries in the order of their release, then delivered ones, the longest idle first.
    pub fn pending_by_idle(&self) -> impl Iterator<Item = (Id, &Pending)> {
        let delivered = self.by_time.keys().map(|(_, id)| *id);
        self.released.values().copied().chain(delivered).map(|id| (id, self.known(id)))
    }

    /// When the entry was delivered that has been pending for longest, in milliseconds of the Unix
    /// epoch; `None` without any that is with a consumer.
    pub fn first_delivered_ms(&self) -> Option<u64> {
        self.by_time.keys().next().map(|(delivered_ms, _)| *delivered_ms)
    }

    /// Notes that an entry is with a consumer, whoever had it before, if any.
    pub fn assign(&mut self, id: Id, consumer: ConsumerId, delivered_ms: u64, deliveries: u64) {
        let pending = Pending { consumer: Some(consumer), time: delivered_ms, deliveries };
        match self.pending.insert(id, pending) {
            Some(old) if old.consumer == Some(consumer) => {
                self.by_time.remove(&(old.time, id));
            }
            Some(old) => {
                self.forget(id, old);
                self.consumer_mut(consumer).pending.insert(id, ());
            }
            None => {
                self.consumer_mut(consumer).pending.insert(id, ());
            }
        }
        self.by_time.insert((delivered_ms, id), ());
    }

    /// Takes an entry from its consumer, or makes it pending for nobody.
    pub fn release(&mut self, id: Id, deliveries: u64) {
        self.releases += 1;
        let pending = Pending { consumer: None, time: self.releases, deliveries };
        if let Some(old) = self.pending.insert(id, pending) {
            self.forget(id, old);
        }
        self.released.insert(self.releases, id);
    }

    /// The entries that were released, in the order in which they were.
    pub fn released(&self) -> impl Iterator<Item = (Id, &Pending)> {
        self.released.values().map(|id| (*id, self.known(*id)))
    }

    /// Notes that an entry is done with; whether it was pending.
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(old) = self.pending.remove(&id) else { return false };
        self.forget(id, old);
        true
    }

    /// Removes an entry from the indexes beside the one by identifier.
    fn forget(&mut self, id: Id, old: Pending) {
        if let Some(consumer) = old.consumer {
            self.consumer_mut(consumer).pending.remove(&id);
            self.by_time.remove(&(old.time, id));
        } else {
            self.released.remove(&old.time);
        }
    }

    /// Whether an entry is pending here, or was not delivered yet.
    pub fn needs(&self, id: Id) -> bool {
        id > self.last_delivered || self.pending.contains(&id)
    }

    /// Heap bytes, about. O(1).
    pub fn memory(&self) -> usize {
        let consumer_bytes = size_of::<Option<Consumer>>() + size_of::<(Box<[u8]>, ConsumerId)>();
        self.pending.len() * PENDING_BYTES + self.consumers.len() * consumer_bytes + self.name_bytes
    }

    /// Makes what is pending common property: from now on a clone copies none of it.
    pub(super) fn share(&mut self) {
        self.pending.share();
        self.by_time.share();
        self.released.share();
        self.consumers.iter_mut().flatten().for_each(|consumer| consumer.pending.share());
    }

    /// Frees about so many pending entries; whether there are more.
    pub(crate) fn drain(&mut self, budget: &mut usize) -> bool {
        while *budget > 0
            && let Some((id, old)) = self.pending.pop_last()
        {
            self.forget(id, old);
            *budget -= 1;
        }
        !self.pending.is_empty()
    }

    /// Checks that the indexes agree; O(pending).
    pub fn verify(&self) {
        assert_eq!(self.by_time.len() + self.released.len(), self.pending.len());
        let of_consumers: usize = self.consumers().map(Consumer::pending_len).sum();
        assert_eq!(of_consumers + self.released.len(), self.pending.len());
        self.pending.verify();
        self.by_time.verify();
        self.released.verify();
        self.consumers().for_each(|consumer| consumer.pending.verify());
        for (id, pending) in self.pending.iter() {
            match pending.consumer {
                Some(consumer) => {
                    assert!(self.consumer(consumer).pending.contains(id));
                    assert!(self.by_time.contains(&(pending.time, *id)));
                }
                None => assert_eq!(self.released.get(&pending.time), Some(id)),
            }
        }
        assert_eq!(self.names.len() + self.free.len(), self.consumers.len());
        assert!(self.names.iter().all(|(name, id)| self.consumer(*id).name == *name));
        let name_bytes: usize = self.names.keys().map(|name| 2 * name.len()).sum();
        assert_eq!(name_bytes, self.name_bytes);
    }
}
