//! The hash table: segmented and extendible.
//!
//! The top bits of a key's hash choose a segment of at most about 460 entries through the
//! [`segment::Directory`]; the low 14 bits are the fingerprint that orders a segment's slots. A
//! slot is 6 bytes and names an entry of the arena; the table never holds keys, it asks a
//! [`KeySource`] for them.
//!
//! A segment's array grows in steps of 10 to 25 % as it fills, by one pass that looks at no key. A
//! full segment splits in two, which hashes its keys again. Two sparse neighbours merge. So the
//! largest step of any insertion or removal is one segment; only the directory (8 bytes a segment)
//! doubles and halves as a whole. Where it is known how many entries are to come, segments split
//! while they are almost empty, so that few keys are hashed again.
//!
//! | operation | cost |
//! |---|---|
//! | find | directory entry, slot (1-2 lines), entry: 2 cache misses when the directory is cached |
//! | insert, remove | the same, and a shift of a few slots; at worst a split or merge |
//! | memory | 6 bytes a key at a load of 0.72 to 0.9, and 32 a segment: about 7.5 a key |

pub(crate) mod scan;
mod segment;
#[cfg(test)]
mod tests;

use crate::arena::Handle;
use crate::expiry::{Schedule, TtlIndex};
use crate::prefetch::{LINE_BYTES, prefetch};
use segment::{CAPACITY_MAX, Directory, FINGERPRINTS, ROOM_MAX, Segment, Slot};

/// Segments with more shared bits than this are not split but grow: only a broken hash gets there.
const DEPTH_MAX: u8 = 36;
/// Up to this depth a directory grows however many segments share it: to half a megabyte.
const DEPTH_FREE: u8 = 16;
/// Beyond, it has fewer than so many entries a segment before it doubles.
const DIRECTORY_SHARE: usize = 8;
/// Two segments merge when they hold no more than this together; a split leaves more in each.
const MERGE_LEN_MAX: usize = CAPACITY_MAX * 3 / 8;
/// Entries that a segment is expected to have at most: so few that chance fills hardly any.
const EXPECTED_LEN_MAX: u64 = 400;
/// Entries that are fetched ahead while a split hashes keys, or all are visited.
const PREFETCH_AHEAD: usize = 12;

/// What the table has to know of the entries that it points to.
pub(crate) trait KeySource {
    /// The hash of the entry's key.
    fn hash(&self, handle: Handle) -> u64;
    /// The entry's deadline.
    fn deadline(&self, handle: Handle) -> Option<u64>;
    /// Where the entry lies, for prefetching.
    fn address(&self, handle: Handle) -> *const u8;
}

/// Where an entry's slot is. Valid until the table changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    index: usize,
    slot: usize,
}

/// The table. See the module's head.
pub(crate) struct Table {
    directory: Directory,
    len: usize,
    segments: usize,
    /// Segments that share as many bits as index the directory.
    deepest: usize,
    expected: Expected,
    /// When the segments have to be looked at for due keys, by the first hash of each.
    schedule: Schedule<u64>,
}

/// What segments will be like when all entries have come that are expected.
#[derive(Clone, Copy, Default)]
struct Expected {
    /// Bits that each shares.
    depth: u8,
    /// Entries in each.
    len: usize,
}

/// Figures on a table's shape.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// Entries.
    pub keys: usize,
    /// Segments.
    pub segments: usize,
    /// Slots in all segments.
    pub slots: usize,
    /// Entries in the directory.
    pub directory: usize,
    /// Entries in the fullest segment.
    pub segment_keys_max: usize,
    /// Bytes of the directory and the segments.
    pub bytes: usize,
    /// Bytes of the index of deadlines.
    pub ttl_bytes: usize,
}

impl TableStats {
    /// Adds the figures of another table.
    pub(crate) fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.segments += other.segments;
        self.slots += other.slots;
        self.directory += other.directory;
        self.segment_keys_max = self.segment_keys_max.max(other.segment_keys_max);
        self.bytes += other.bytes;
        self.ttl_bytes += other.ttl_bytes;
    }
}

/// Segments that are armed anew in a search for the first.
const REARM_TRIES: usize = 4;

#[inline]
fn fingerprint_of(hash: u64) -> u32 {
    hash as u32 & (FINGERPRINTS - 1)
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            directory: Directory::new(),
            len: 0,
            segments: 1,
            deepest: 1,
            expected: Expected::default(),
            schedule: Schedule::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Prepares for so many entries in all; 0 when there is nothing to prepare for any more.
    pub(crate) fn expect(&mut self, entries: u64) {
        let depth = entries.div_ceil(EXPECTED_LEN_MAX).next_power_of_two().ilog2();
        self.expected = Expected { depth: depth as u8, len: (entries >> depth) as usize };
    }

    /// Bytes of the directory and the segments; O(1).
    pub(crate) fn bytes(&self) -> usize {
        self.directory.memory()
    }

    /// Finds the entry with this hash that `is_wanted`.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u64,
        is_wanted: impl FnMut(Handle) -> bool,
    ) -> Option<(Position, Handle)> {
        let index = self.directory.index(hash);
        let found = self.directory.segment(index).find(fingerprint_of(hash), is_wanted);
        found.map(|(slot, handle)| (Position { index, slot }, handle))
    }

    /// Asks for the slot of a hash.
    #[inline]
    pub(crate) fn prefetch_slot(&self, hash: u64) {
        let segment = self.directory.segment(self.directory.index(hash));
        prefetch(segment.address(fingerprint_of(hash)));
    }

    /// Asks for what adding or removing an entry with this hash takes: the slots up to the next
    /// gap, which often is in the next line, and the head of the segment.
    #[inline]
    pub(crate) fn prefetch_change(&self, hash: u64) {
        let segment = self.directory.segment(self.directory.index(hash));
        let slot = segment.address(fingerprint_of(hash));
        prefetch(slot);
        prefetch(slot.wrapping_add(LINE_BYTES));
        prefetch(segment.head_address());
    }

    /// Asks for the first entry that a search for a hash would look at.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64, keys: &impl KeySource) {
        let segment = self.directory.segment(self.directory.index(hash));
        if let Some((_, handle)) = segment.find(fingerprint_of(hash), |_| true) {
            prefetch(keys.address(handle));
        }
    }

    /// Adds an entry whose key is not in the table.
    pub(crate) fn insert(&mut self, hash: u64, handle: Handle, keys: &impl KeySource) {
        let slot = Slot { handle, fingerprint: fingerprint_of(hash) };
        loop {
            let index = self.directory.index(hash);
            if self.directory.segment_mut(index).insert(slot) {
                break;
            }
            self.make_room(index, keys);
        }
        self.len += 1;
    }

    /// Removes the entry at a position. Its deadline must have been removed before.
    pub(crate) fn remove(&mut self, position: Position, keys: &impl KeySource) {
        let Position { index, slot } = position;
        let segment = self.directory.segment_mut(index);
        segment.remove(slot);
        self.len -= 1;
        if segment.len() * 2 <= MERGE_LEN_MAX && self.merge(index, keys) {
            return;
        }
        if self.directory.segment(index).is_sparse() {
            let len = self.directory.segment(index).len();
            self.resize(index, len + 1);
        }
    }

    /// Points the slot at a position to another entry of the same key.
    pub(crate) fn replace(&mut self, position: Position, handle: Handle) {
        self.directory.segment_mut(position.index).replace(position.slot, handle);
    }

    /// The entry at a random place, from 64 random bits. Every key can come; keys in segments that
    /// are emptier than others come somewhat more often.
    pub(crate) fn random(&self, random: u64) -> Option<Handle> {
        let start = self.directory.index(random);
        let count = self.directory.len();
        let segment = (start..count)
            .chain(0..start)
            .map(|index| self.directory.segment(index))
            .find(|segment| segment.len() > 0)?;
        let pick = random as u32 as usize % segment.len();
        segment.iter().nth(pick).map(|slot| slot.handle)
    }

    /// Adds up to `most` entries that lie behind each other at a random place; with `expiring` such
    /// as have a deadline, and none when those of the place have none.
    pub(crate) fn sample(
        &self,
        random: [u64; 2],
        expiring: bool,
        most: usize,
        keys: &impl KeySource,
        drawn: &mut Vec<Handle>,
    ) {
        let index = self.directory.index(random[0]);
        let segment = self.directory.segment(index);
        if !expiring {
            if segment.len() == 0 {
                drawn.extend(self.random(random[0]));
            } else {
                drawn.extend(segment.iter_from(random[1] as usize).take(most));
            }
            return;
        }
        let Some(ttl) = segment.ttl().filter(|ttl| ttl.len() > 0) else { return };
        let first = random[1] as usize % ttl.len();
        for fingerprint in ttl.candidates(u64::MAX).skip(first).take(most) {
            segment.find(u32::from(fingerprint), |handle| {
                let expires = keys.deadline(handle).is_some() && !drawn.contains(&handle);
                if expires {
                    drawn.push(handle);
                }
                expires
            });
        }
    }

    /// The hash that leads to the segment that is to be looked at first, armed for the earliest of
    /// its deadlines.
    pub(crate) fn first_armed(&mut self, now_ms: u64, keys: &impl KeySource) -> Option<u64> {
        let mut point = self.schedule.first()?.1;
        // A segment that was armed too early is armed anew, and may not be the first any more.
        for _ in 0..REARM_TRIES {
            self.rearm(point, now_ms, keys);
            let first = self.schedule.first()?.1;
            if first == point {
                break;
            }
            point = first;
        }
        Some(point)
    }

    /// Adds up to `most` entries of the segment of `point` that have its earliest deadlines.
    pub(crate) fn earliest_of(
        &self,
        point: u64,
        most: usize,
        keys: &impl KeySource,
        drawn: &mut Vec<Handle>,
    ) {
        let segment = self.directory.segment(self.directory.index(point));
        let Some((_, fingerprints)) = segment.ttl().and_then(|ttl| ttl.earliest()) else { return };
        for fingerprint in fingerprints.take(most) {
            segment.find(u32::from(fingerprint), |handle| {
                if keys.deadline(handle).is_some() && !drawn.contains(&handle) {
                    drawn.push(handle);
                }
                false
            });
        }
    }

    /// Calls `visit` with each entry; O(entries).
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Handle)) {
        for (_, segment) in self.directory.iter() {
            segment.iter().for_each(|slot| visit(slot.handle));
        }
    }

    /// As [`Table::for_each`], with the entries fetched some steps ahead.
    pub(crate) fn for_each_fetched(&self, keys: &impl KeySource, mut visit: impl FnMut(Handle)) {
        for (_, segment) in self.directory.iter() {
            let mut ahead = segment.iter();
            for slot in ahead.by_ref().take(PREFETCH_AHEAD) {
                prefetch(keys.address(slot.handle));
            }
            for slot in segment.iter() {
                if let Some(next) = ahead.next() {
                    prefetch(keys.address(next.handle));
                }
                visit(slot.handle);
            }
        }
    }

    /// The shape of the table; O(segments).
    pub(crate) fn stats(&self) -> TableStats {
        let mut stats = TableStats {
            keys: self.len,
            directory: self.directory.len(),
            bytes: self.bytes(),
            ttl_bytes: self.schedule.memory(),
            ..TableStats::default()
        };
        for (_, segment) in self.directory.iter() {
            stats.segments += 1;
            stats.slots += segment.capacity();
            stats.segment_keys_max = stats.segment_keys_max.max(segment.len());
            stats.ttl_bytes += segment.ttl().map_or(0, TtlIndex::memory);
        }
        stats
    }

    fn make_room(&mut self, index: usize, keys: &impl KeySource) {
        let segment = self.directory.segment(index);
        let is_large = segment.capacity() >= CAPACITY_MAX;
        if (is_large || segment.depth() < self.expected.depth) && self.may_split(segment.depth()) {
            self.split(index, keys);
        } else {
            // The array may be below its limit when slots ran off its end.
            let room = segment.len().max(segment.limit()) + 1;
            self.resize(index, room);
        }
    }

    /// Whether a segment of this depth is to be parted rather than to grow. Keys in the order of
    /// their hashes part the same segment again and again before there are any for the others; but
    /// a directory must not grow without end for keys that nothing parts.
    fn may_split(&self, depth: u8) -> bool {
        let is_in_proportion = || self.directory.len() < DIRECTORY_SHARE * self.segments;
        let needs_no_more = depth < self.directory.depth() || depth < DEPTH_FREE;
        depth < DEPTH_MAX && (needs_no_more || is_in_proportion())
    }

    /// Remakes a segment's array with room for `room` entries.
    fn resize(&mut self, index: usize, room: usize) {
        let (first, count) = self.directory.span(index);
        let segment = self.directory.segment_mut(first);
        let ttl = segment.ttl_mut().take();
        let slots: Vec<Slot> = segment.iter().collect();
        let depth = segment.depth();
        let mut resized = Segment::from_ordered(slots.iter().copied(), room, depth);
        *resized.ttl_mut() = ttl;
        self.directory.install(first, [(count, resized)]);
    }

    /// Parts a segment by the next bit of its keys' hashes.
    fn split(&mut self, index: usize, keys: &impl KeySource) {
        let mut index = index;
        if self.directory.segment(index).depth() == self.directory.depth() {
            self.directory.double();
            self.deepest = 0;
            index *= 2;
        }
        let (first, count) = self.directory.span(index);
        let base_ms = self.disarm(first);
        let segment = self.directory.segment(first);
        let depth = segment.depth();
        let slots: Vec<Slot> = segment.iter().collect();
        let mut halves = [const { Vec::new() }; 2];
        for half in &mut halves {
            half.reserve_exact(slots.len());
        }
        for (at, slot) in slots.iter().enumerate() {
            if let Some(ahead) = slots.get(at + PREFETCH_AHEAD) {
                prefetch(keys.address(ahead.handle));
            }
            let side = keys.hash(slot.handle) >> (63 - depth) & 1;
            halves[side as usize].push(*slot);
        }
        let expected = if depth + 1 == self.expected.depth { self.expected.len } else { 0 };
        let parts = halves.map(|half| {
            // All may lie on one side, as when keys come in the order of their hashes. That side is
            // then as full as before, and parted again, rather than larger.
            let room = (half.len() + 1).max(expected).min(ROOM_MAX);
            (count / 2, Segment::from_ordered(half.iter().copied(), room, depth + 1))
        });
        self.directory.install(first, parts);
        self.segments += 1;
        if depth + 1 == self.directory.depth() {
            self.deepest += 2;
        }
        if let Some(base_ms) = base_ms {
            self.index_deadlines(first, base_ms, keys);
            self.index_deadlines(first + count / 2, base_ms, keys);
        }
    }

    /// Merges a segment with its neighbour when both are sparse; whether it did.
    fn merge(&mut self, index: usize, keys: &impl KeySource) -> bool {
        let (first, count) = self.directory.span(index);
        let segment = self.directory.segment(first);
        let depth = segment.depth();
        if depth == 0 {
            return false;
        }
        let other = self.directory.segment(first ^ count);
        let len = segment.len() + other.len();
        if other.depth() != depth || len > MERGE_LEN_MAX {
            return false;
        }
        let left = first & !count;
        let mut slots: Vec<Slot> = self.directory.segment(left).iter().collect();
        slots.extend(self.directory.segment(left + count).iter());
        slots.sort_by_key(|slot| slot.fingerprint);
        let bases = [self.disarm(left), self.disarm(left + count)];
        let merged = Segment::from_ordered(slots.iter().copied(), len + 1, depth - 1);
        self.directory.install(left, [(2 * count, merged)]);
        self.segments -= 1;
        if depth == self.directory.depth() {
            self.deepest -= 2;
        }
        if let Some(base_ms) = bases.into_iter().flatten().max() {
            self.index_deadlines(left, base_ms, keys);
        }
        while self.deepest == 0 && self.directory.depth() > 0 {
            self.directory.halve();
            let depth = self.directory.depth();
            let deepest = self.directory.iter().filter(|(_, segment)| segment.depth() == depth);
            self.deepest = deepest.count();
        }
        true
    }
}

/// Deadlines: the part of the table that keeps the segments' indexes and the schedule in step.
impl Table {
    /// When the table has to be looked at for due keys.
    #[inline]
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.schedule.next_ms()
    }

    /// Adds the deadline of a key that is in the table.
    pub(crate) fn add_deadline(&mut self, hash: u64, deadline_ms: u64, now_ms: u64) {
        let index = self.directory.index(hash);
        let ttl = self.directory.segment_mut(index).ttl_mut();
        let ttl = ttl.get_or_insert_with(|| Box::new(TtlIndex::new(now_ms)));
        ttl.add(fingerprint_of(hash) as u16, deadline_ms);
        let firing_ms = ttl.firing_ms(deadline_ms);
        if ttl.armed_ms().is_none_or(|armed_ms| firing_ms < armed_ms) {
            self.arm(index, Some(firing_ms));
        }
    }

    /// Removes the deadline of a key that is in the table. The segment may stay armed for it.
    pub(crate) fn remove_deadline(&mut self, hash: u64, deadline_ms: u64) {
        let index = self.directory.index(hash);
        let ttl = self.directory.segment_mut(index).ttl_mut();
        let ttl = ttl.as_mut().expect("invariant: a deadline is in its segment's index");
        ttl.remove(fingerprint_of(hash) as u16, deadline_ms);
        if ttl.len() == 0 {
            self.disarm(index);
        }
    }

    /// Collects at most `limit` due entries of the earliest armed segment into `due`, and says
    /// which hash leads to the segment. `None` when no segment is armed for `now_ms`.
    ///
    /// The caller removes them and then calls [`Table::rearm`] with the hash.
    pub(crate) fn collect_due(
        &self,
        now_ms: u64,
        limit: usize,
        keys: &impl KeySource,
        due: &mut Vec<Handle>,
    ) -> Option<u64> {
        let (armed_ms, point) = self.schedule.first()?;
        if armed_ms > now_ms {
            return None;
        }
        let segment = self.directory.segment(self.directory.index(point));
        let ttl = segment.ttl().expect("invariant: an armed segment has deadlines");
        for fingerprint in ttl.candidates(now_ms) {
            segment.find(u32::from(fingerprint), |handle| {
                if keys.deadline(handle).is_some_and(|deadline| deadline <= now_ms) {
                    due.push(handle);
                }
                false
            });
            if due.len() >= limit {
                break;
            }
        }
        // Two keys of one fingerprint were both found for each of them.
        due.sort_unstable();
        due.dedup();
        Some(point)
    }

    /// Arms the segment of `point` for the earliest of its deadlines.
    pub(crate) fn rearm(&mut self, point: u64, now_ms: u64, keys: &impl KeySource) {
        let index = self.directory.index(point);
        let Some(ttl) = self.directory.segment(index).ttl() else {
            return;
        };
        if ttl.is_spent(now_ms) {
            self.index_deadlines(index, now_ms, keys);
        } else {
            let next_ms = self.earliest(index, keys);
            self.arm(index, next_ms);
        }
    }

    /// The exact moment at which the segment at `index` has to be looked at.
    fn earliest(&self, index: usize, keys: &impl KeySource) -> Option<u64> {
        let segment = self.directory.segment(index);
        let ttl = segment.ttl()?;
        let (_, fingerprints) = ttl.earliest()?;
        let mut earliest: Option<u64> = None;
        for fingerprint in fingerprints {
            segment.find(u32::from(fingerprint), |handle| {
                if let Some(deadline) = keys.deadline(handle) {
                    let firing = ttl.firing_ms(deadline);
                    earliest = Some(earliest.map_or(firing, |least| least.min(firing)));
                }
                false
            });
        }
        earliest
    }

    /// Makes the index of the segment at `index` anew from its entries, and arms it.
    fn index_deadlines(&mut self, index: usize, base_ms: u64, keys: &impl KeySource) {
        self.disarm(index);
        let segment = self.directory.segment(index);
        let mut ttl = Box::new(TtlIndex::new(base_ms));
        let mut earliest: Option<u64> = None;
        for slot in segment.iter() {
            if let Some(deadline) = keys.deadline(slot.handle) {
                ttl.add(slot.fingerprint as u16, deadline);
                let firing = ttl.firing_ms(deadline);
                earliest = Some(earliest.map_or(firing, |least| least.min(firing)));
            }
        }
        if ttl.len() > 0 {
            *self.directory.segment_mut(index).ttl_mut() = Some(ttl);
            self.arm(index, earliest);
        }
    }

    fn arm(&mut self, index: usize, next_ms: Option<u64>) {
        let point = self.point(index);
        let ttl = self.directory.segment_mut(index).ttl_mut();
        let ttl = ttl.as_mut().expect("invariant: only a segment with deadlines is armed");
        let mut armed_ms = ttl.armed_ms();
        self.schedule.rearm(point, &mut armed_ms, next_ms);
        ttl.set_armed_ms(armed_ms);
    }

    /// Takes the index of a segment away, and what it is armed for; the base that it had.
    fn disarm(&mut self, index: usize) -> Option<u64> {
        let point = self.point(index);
        let ttl = self.directory.segment_mut(index).ttl_mut().take()?;
        self.schedule.rearm(point, &mut ttl.armed_ms(), None);
        Some(ttl.base_ms())
    }

    /// The first hash of the segment at `index`, which is its name in the schedule.
    fn point(&self, index: usize) -> u64 {
        let first = self.directory.span(index).0 as u64;
        (first << (63 - self.directory.depth())) << 1
    }
}

/// Taking a table apart, and checking one.
impl Table {
    /// Calls `visit` with up to `budget` entries from the end of the table, starting after the
    /// first `skip` of the last segment, and frees segments that are done. The new `skip`, or
    /// `None` when the table is empty. Only good for throwing the table away.
    pub(crate) fn drain(
        &mut self,
        skip: usize,
        budget: usize,
        mut visit: impl FnMut(Handle),
    ) -> Option<usize> {
        if self.directory.len() == 0 {
            return None;
        }
        let segment = self.directory.segment(self.directory.len() - 1);
        let mut seen = 0;
        for slot in segment.iter().skip(skip).take(budget) {
            visit(slot.handle);
            seen += 1;
        }
        if skip + seen < segment.len() {
            return Some(skip + seen);
        }
        self.directory.pop();
        (self.directory.len() > 0).then_some(0)
    }

    /// Checks every invariant; O(entries).
    pub(crate) fn verify(&self, keys: &impl KeySource) {
        let mut len = 0;
        let mut segments = 0;
        let mut deepest = 0;
        let mut armed = 0;
        let mut bytes = 0;
        for (first, segment) in self.directory.iter() {
            segment.verify();
            bytes += segment.memory();
            len += segment.len();
            segments += 1;
            deepest += usize::from(segment.depth() == self.directory.depth());
            for slot in segment.iter() {
                let hash = keys.hash(slot.handle);
                assert_eq!(fingerprint_of(hash), slot.fingerprint);
                let index = self.directory.index(hash);
                assert_eq!(self.directory.span(index).0, first, "a key is in its hash's segment");
            }
            armed += self.verify_deadlines(first, segment, keys);
        }
        assert_eq!(len, self.len);
        assert_eq!(segments, self.segments);
        assert!(bytes < self.bytes(), "the directory's bytes come on top");
        assert_eq!(deepest, self.deepest);
        assert_eq!(armed, self.schedule.len());
    }

    fn verify_deadlines(&self, first: usize, segment: &Segment, keys: &impl KeySource) -> usize {
        let with_deadline = segment.iter().filter_map(|slot| {
            keys.deadline(slot.handle).map(|deadline| (slot.fingerprint as u16, deadline))
        });
        let Some(ttl) = segment.ttl() else {
            assert_eq!(with_deadline.count(), 0, "each deadline is in an index");
            return 0;
        };
        assert!(ttl.len() > 0, "an empty index is dropped");
        ttl.verify(with_deadline);
        let armed_ms = ttl.armed_ms().expect("invariant: a segment with deadlines is armed");
        let earliest = self.earliest(first, keys).expect("invariant: it has one");
        assert!(armed_ms <= earliest, "a segment is never armed too late");
        1
    }
}
