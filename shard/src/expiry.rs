//! When keys fall due: an exact index that costs five bytes a deadline.
//!
//! The deadline itself, exact to the millisecond, lies in the entry. Each table segment that has
//! keys with a deadline keeps a [`TtlIndex`]: for each of them its fingerprint (2 bytes) and its
//! coarse deadline (3 bytes), unordered. The earliest deadline of the segment is armed in the
//! [`Schedule`] of its table; the table's earliest in that of its database; the database's in that
//! of the shard. So what falls due next is found at once, and keys far from their deadline cost
//! nothing until then.
//!
//! A segment is never armed too late. It may be armed too early: removing a deadline leaves the
//! arming as it is, and when it fires the segment is looked through and armed anew.
//!
//! A coarse deadline counts 4 ms from the base of its index and saturates after 18.6 hours. A
//! saturated one fires then, finds its key not due, and the index is rebuilt with a new base.
//!
//! | operation | cost |
//! |---|---|
//! | add | O(1), O(log segments) when it is the segment's earliest |
//! | remove | a vectorised search through at most a segment's fingerprints |
//! | next deadline | O(1) |
//! | fire | O(keys with a deadline in the segment) |

use std::collections::BTreeSet;

use crate::sizes::size_class;

const COARSE_MS: u64 = 4;
const COARSE_MAX: u32 = (1 << 24) - 1;

/// The deadlines of one segment. See the module's head.
///
/// Invariant "multiset": it holds the pair (fingerprint, coarse deadline) of each key of the
/// segment that has a deadline, and no other.
pub(crate) struct TtlIndex {
    base_ms: u64,
    /// What the segment is armed for.
    armed_ms: Option<u64>,
    len: usize,
    /// For a capacity of n: n fingerprints, then the low 16 bits of n coarse deadlines, then their
    /// high 8 bits.
    bytes: Box<[u8]>,
}

/// Bytes for one deadline.
const ITEM_BYTES: usize = 5;
/// The smallest array's.
const BYTES_MIN: usize = 40;

impl TtlIndex {
    /// An empty index, whose coarse deadlines count from `now_ms`.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { base_ms: now_ms, armed_ms: None, len: 0, bytes: Box::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn base_ms(&self) -> u64 {
        self.base_ms
    }

    pub(crate) fn armed_ms(&self) -> Option<u64> {
        self.armed_ms
    }

    pub(crate) fn set_armed_ms(&mut self, armed_ms: Option<u64>) {
        self.armed_ms = armed_ms;
    }

    /// Bytes of heap memory.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    /// Adds a key's deadline.
    pub(crate) fn add(&mut self, fingerprint: u16, deadline_ms: u64) {
        let coarse = self.coarse(deadline_ms);
        if self.len == self.capacity() {
            self.resize(self.len + 1);
        }
        self.len += 1;
        self.write(self.len - 1, fingerprint, coarse);
    }

    /// Removes the deadline of a key that is in the index.
    pub(crate) fn remove(&mut self, fingerprint: u16, deadline_ms: u64) {
        let coarse = self.coarse(deadline_ms);
        let mut from = 0;
        let index = loop {
            let found = position(&self.bytes[2 * from..2 * self.len], fingerprint);
            let index = from + found.expect("invariant: the index holds each key's deadline");
            if self.coarse_at(index) == coarse {
                break index;
            }
            from = index + 1;
        };
        let last = self.len - 1;
        self.write(index, self.fingerprint_at(last), self.coarse_at(last));
        self.len = last;
        if self.len * 2 < self.capacity() && self.bytes.len() > BYTES_MIN {
            self.resize(self.len + self.len / 8);
        }
    }

    /// The moment that a key with this deadline has to be looked at: the deadline, or the end of
    /// the index's reach when that comes first.
    pub(crate) fn firing_ms(&self, deadline_ms: u64) -> u64 {
        deadline_ms.min(self.moment(COARSE_MAX))
    }

    /// Fingerprints of keys that may be due at `now_ms`: none that is due is left out.
    pub(crate) fn candidates(&self, now_ms: u64) -> impl Iterator<Item = u16> + '_ {
        let now = self.coarse(now_ms);
        (0..self.len())
            .filter(move |&index| self.coarse_at(index) <= now)
            .map(|index| self.fingerprint_at(index))
    }

    /// The moment of the earliest coarse deadline, and the fingerprints that have it.
    pub(crate) fn earliest(&self) -> Option<(u64, impl Iterator<Item = u16> + '_)> {
        let least = (0..self.len()).map(|index| self.coarse_at(index)).min()?;
        let fingerprints = (0..self.len())
            .filter(move |&index| self.coarse_at(index) == least)
            .map(|index| self.fingerprint_at(index));
        Some((self.moment(least), fingerprints))
    }

    /// Whether the index reaches to `now_ms`, or all its later deadlines are saturated.
    pub(crate) fn is_spent(&self, now_ms: u64) -> bool {
        now_ms >= self.moment(COARSE_MAX)
    }

    /// Checks "multiset" against the keys of the segment that have a deadline.
    pub(crate) fn verify(&self, keys: impl Iterator<Item = (u16, u64)>) {
        let mut expected: Vec<_> =
            keys.map(|(fingerprint, deadline)| (fingerprint, self.coarse(deadline))).collect();
        let mut held: Vec<_> = (0..self.len())
            .map(|index| (self.fingerprint_at(index), self.coarse_at(index)))
            .collect();
        expected.sort_unstable();
        held.sort_unstable();
        assert_eq!(held, expected, "the index holds each deadline of the segment once");
    }

    fn coarse(&self, deadline_ms: u64) -> u32 {
        let units = deadline_ms.saturating_sub(self.base_ms) / COARSE_MS;
        units.min(u64::from(COARSE_MAX)) as u32
    }

    fn moment(&self, coarse: u32) -> u64 {
        self.base_ms + u64::from(coarse) * COARSE_MS
    }

    fn capacity(&self) -> usize {
        self.bytes.len() / ITEM_BYTES
    }

    #[inline]
    fn fingerprint_at(&self, index: usize) -> u16 {
        u16::from_le_bytes([self.bytes[2 * index], self.bytes[2 * index + 1]])
    }

    #[inline]
    fn coarse_at(&self, index: usize) -> u32 {
        let capacity = self.capacity();
        let low = 2 * (capacity + index);
        let high = 4 * capacity + index;
        u32::from_le_bytes([self.bytes[low], self.bytes[low + 1], self.bytes[high], 0])
    }

    fn write(&mut self, index: usize, fingerprint: u16, coarse: u32) {
        let capacity = self.capacity();
        let [low, middle, high, _] = coarse.to_le_bytes();
        self.bytes[2 * index..2 * index + 2].copy_from_slice(&fingerprint.to_le_bytes());
        let at = 2 * (capacity + index);
        self.bytes[at..at + 2].copy_from_slice(&[low, middle]);
        self.bytes[4 * capacity + index] = high;
    }

    /// Moves to an array for at least `len` deadlines.
    fn resize(&mut self, len: usize) {
        let bytes = size_class((len * ITEM_BYTES).max(BYTES_MIN));
        if bytes == self.bytes.len() {
            return;
        }
        let mut resized = Self { bytes: vec![0; bytes].into_boxed_slice(), ..*self };
        for index in 0..self.len {
            resized.write(index, self.fingerprint_at(index), self.coarse_at(index));
        }
        *self = resized;
    }
}

/// The first index of `wanted` in an array of little-endian numbers. Compares in blocks without a
/// branch inside, which the compiler turns into vector instructions.
fn position(values: &[u8], wanted: u16) -> Option<usize> {
    const LANES: usize = 32;
    let is_wanted = |value: &[u8]| value == wanted.to_le_bytes();
    let mut chunks = values.chunks_exact(2 * LANES);
    for (block, chunk) in chunks.by_ref().enumerate() {
        let hits: u16 = chunk
            .chunks_exact(2)
            .map(|value| u16::from(u16::from_le_bytes([value[0], value[1]]) == wanted))
            .sum();
        if hits > 0 {
            let inside = chunk.chunks_exact(2).position(is_wanted)?;
            return Some(block * LANES + inside);
        }
    }
    let rest = chunks.remainder();
    let inside = rest.chunks_exact(2).position(is_wanted)?;
    Some((values.len() - rest.len()) / 2 + inside)
}

/// Moments at which something has to be looked at, in order. The owner of a key keeps the moment
/// that the key is armed for, and passes it in.
pub(crate) struct Schedule<K> {
    armed: BTreeSet<(u64, K)>,
}

impl<K: Ord + Copy> Schedule<K> {
    pub(crate) fn new() -> Self {
        Self { armed: BTreeSet::new() }
    }

    /// The earliest moment and its key.
    #[inline]
    pub(crate) fn first(&self) -> Option<(u64, K)> {
        self.armed.first().copied()
    }

    /// The earliest moment.
    #[inline]
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.first().map(|(moment, _)| moment)
    }

    /// Moves `key` from the moment it is armed for, if any, to another, if any. O(log n).
    pub(crate) fn rearm(&mut self, key: K, armed_ms: &mut Option<u64>, next_ms: Option<u64>) {
        if *armed_ms == next_ms {
            return;
        }
        if let Some(old) = *armed_ms {
            let was_armed = self.armed.remove(&(old, key));
            assert!(was_armed, "what the owner remembers is armed");
        }
        if let Some(new) = next_ms {
            self.armed.insert((new, key));
        }
        *armed_ms = next_ms;
    }

    pub(crate) fn len(&self) -> usize {
        self.armed.len()
    }

    /// Roughly the bytes of heap memory: a B-tree's nodes are about three quarters full.
    pub(crate) fn memory(&self) -> usize {
        self.armed.len() * size_of::<(u64, K)>() * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn position_finds_the_first_in_blocks_and_remainder() {
        let values: Vec<u8> = (0..100u16).chain(0..100).flat_map(u16::to_le_bytes).collect();
        for wanted in 0..100 {
            assert_eq!(position(&values, wanted), Some(wanted as usize));
        }
        assert_eq!(position(&values, 100), None);
    }

    #[test]
    fn deadlines_beyond_the_reach_fire_at_its_end() {
        let mut index = TtlIndex::new(1000);
        let end = 1000 + u64::from(COARSE_MAX) * COARSE_MS;
        index.add(1, end + 5_000_000);
        assert_eq!(index.firing_ms(end + 5_000_000), end);
        assert_eq!(index.candidates(end - 1).count(), 0);
        assert_eq!(index.candidates(end).count(), 1);
        assert!(index.is_spent(end));
    }

    proptest! {
        #[test]
        fn candidates_include_all_that_is_due(
            base in 0..1_000_000u64,
            deadlines in proptest::collection::vec((0..50u16, 0..2_000_000u64), 1..200),
            removed in proptest::collection::vec(any::<prop::sample::Index>(), 0..50),
            now in 0..2_000_000u64,
        ) {
            let mut index = TtlIndex::new(base);
            let mut model = deadlines.clone();
            for &(fingerprint, deadline) in &deadlines {
                index.add(fingerprint, deadline);
            }
            for pick in removed {
                if model.is_empty() { break; }
                let (fingerprint, deadline) = model.swap_remove(pick.index(model.len()));
                index.remove(fingerprint, deadline);
                index.verify(model.iter().copied());
            }
            let candidates: Vec<_> = index.candidates(now).collect();
            for &(fingerprint, deadline) in &model {
                if deadline <= now {
                    prop_assert!(candidates.contains(&fingerprint));
                }
            }
            let earliest = model.iter().map(|&(_, deadline)| deadline).min();
            prop_assert_eq!(index.earliest().is_some(), earliest.is_some());
            if let (Some((moment, mut fingerprints)), Some(due)) = (index.earliest(), earliest) {
                prop_assert!(moment.max(base) <= due.max(base));
                prop_assert!(due.saturating_sub(moment) < COARSE_MS);
                let fingerprint = model.iter().find(|pair| pair.1 == due).unwrap().0;
                prop_assert!(fingerprints.any(|found| found == fingerprint));
            }
        }
    }
}
