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
    fingerprints: Vec<u16>,
    coarse_low: Vec<u16>,
    coarse_high: Vec<u8>,
}

impl TtlIndex {
    /// An empty index, whose coarse deadlines count from `now_ms`.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            base_ms: now_ms,
            armed_ms: None,
            fingerprints: Vec::new(),
            coarse_low: Vec::new(),
            coarse_high: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fingerprints.len()
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
        size_of::<Self>() + self.fingerprints.capacity() * 5
    }

    /// Adds a key's deadline.
    pub(crate) fn add(&mut self, fingerprint: u16, deadline_ms: u64) {
        let coarse = self.coarse(deadline_ms);
        if self.fingerprints.len() == self.fingerprints.capacity() {
            self.reserve();
        }
        self.fingerprints.push(fingerprint);
        self.coarse_low.push(coarse as u16);
        self.coarse_high.push((coarse >> 16) as u8);
    }

    /// Removes the deadline of a key that is in the index.
    pub(crate) fn remove(&mut self, fingerprint: u16, deadline_ms: u64) {
        let coarse = self.coarse(deadline_ms);
        let mut from = 0;
        let index = loop {
            let found = position(&self.fingerprints[from..], fingerprint);
            let index = from + found.expect("invariant: the index holds each key's deadline");
            if self.coarse_at(index) == coarse {
                break index;
            }
            from = index + 1;
        };
        self.fingerprints.swap_remove(index);
        self.coarse_low.swap_remove(index);
        self.coarse_high.swap_remove(index);
        if self.fingerprints.len() * 2 < self.fingerprints.capacity() {
            self.shrink();
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
            .map(|index| self.fingerprints[index])
    }

    /// The moment of the earliest coarse deadline, and the fingerprints that have it.
    pub(crate) fn earliest(&self) -> Option<(u64, impl Iterator<Item = u16> + '_)> {
        let least = (0..self.len()).map(|index| self.coarse_at(index)).min()?;
        let fingerprints = (0..self.len())
            .filter(move |&index| self.coarse_at(index) == least)
            .map(|index| self.fingerprints[index]);
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
            .map(|index| (self.fingerprints[index], self.coarse_at(index)))
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

    #[inline]
    fn coarse_at(&self, index: usize) -> u32 {
        u32::from(self.coarse_low[index]) | u32::from(self.coarse_high[index]) << 16
    }

    /// Grows by an eighth, so that at most that share is unused.
    fn reserve(&mut self) {
        let more = (self.len() / 8).max(4);
        self.fingerprints.reserve_exact(more);
        self.coarse_low.reserve_exact(more);
        self.coarse_high.reserve_exact(more);
    }

    fn shrink(&mut self) {
        let keep = self.len() + self.len() / 8;
        self.fingerprints.shrink_to(keep);
        self.coarse_low.shrink_to(keep);
        self.coarse_high.shrink_to(keep);
    }
}

/// The first index of `wanted`. Compares in blocks without a branch inside, which the compiler
/// turns into vector instructions.
fn position(values: &[u16], wanted: u16) -> Option<usize> {
    const LANES: usize = 32;
    let mut chunks = values.chunks_exact(LANES);
    for (block, chunk) in chunks.by_ref().enumerate() {
        let hits: u16 = chunk.iter().map(|&value| u16::from(value == wanted)).sum();
        if hits > 0 {
            let inside = chunk.iter().position(|&value| value == wanted)?;
            return Some(block * LANES + inside);
        }
    }
    let start = values.len() - chunks.remainder().len();
    let inside = chunks.remainder().iter().position(|&value| value == wanted)?;
    Some(start + inside)
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
        let values: Vec<u16> = (0..100).chain(0..100).collect();
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
