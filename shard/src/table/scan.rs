//! SCAN's order and cursor.
//!
//! A scan goes through regions in order: a region is the keys whose hashes share a prefix, usually
//! a segment; within a region it goes by fingerprint. The cursor says "regions before this prefix
//! are done, and in this one all fingerprints below `next`":
//!
//! ```text
//! bits 14..40   1 followed by the prefix (its length is where the 1 stands)
//! bits 0..14    next fingerprint
//! ```
//!
//! A key's hash never changes, so neither does its place in this order: whatever splits and merges
//! between two calls, a key that stays is passed exactly when the scan passes its place. When the
//! region was split since, its parts are gone through side by side; when it was merged into a
//! larger segment, keys with another prefix are left out. A call stops only between fingerprints,
//! so that it returns a few more entries than asked for at most.

use super::segment::{FINGERPRINT_BITS, FINGERPRINTS, Segment};
use super::{KeySource, Table, fingerprint_of};
use crate::arena::Handle;

/// Bits that a table's cursor takes at most.
pub(crate) const CURSOR_BITS: u32 = 40;
/// The longest prefix that fits; deeper segments are gone through side by side.
const DEPTH_MAX: u8 = (CURSOR_BITS - FINGERPRINT_BITS - 1) as u8;

/// A place in the order of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    prefix: u64,
    depth: u8,
    fingerprint: u32,
}

impl Place {
    const START: Self = Self { prefix: 0, depth: 0, fingerprint: 0 };

    /// Any number is a cursor; those never given out start anew.
    fn decode(cursor: u64) -> Self {
        let marked = cursor >> FINGERPRINT_BITS & ((1 << (DEPTH_MAX + 1)) - 1);
        if marked == 0 {
            return Self::START;
        }
        let depth = marked.ilog2() as u8;
        let fingerprint = cursor as u32 & (FINGERPRINTS - 1);
        Self { prefix: marked ^ 1 << depth, depth, fingerprint }
    }

    fn encode(self) -> u64 {
        (1 << self.depth | self.prefix) << FINGERPRINT_BITS | u64::from(self.fingerprint)
    }

    /// The first hash of the region.
    fn hash(self) -> u64 {
        (self.prefix << (63 - self.depth)) << 1
    }

    /// The beginning of the region after this one, if any.
    fn next_region(self) -> Option<Self> {
        let prefix = self.prefix + 1;
        (prefix < 1 << self.depth).then_some(Self { prefix, fingerprint: 0, ..self })
    }
}

impl Table {
    /// Calls `visit` with entries from `cursor` (0: the start) on, until at least `count` were
    /// visited or the end is reached; the cursor to go on from, or 0 at the end.
    ///
    /// An entry that is in the table from the first call to the last is visited at least once.
    /// Visits `count` entries and those that share a fingerprint with the last (more when the
    /// region has split many times since the last call), in time proportional to them and to the
    /// empty segments passed, of which at most ten for each entry asked for.
    pub(crate) fn scan(
        &self,
        cursor: u64,
        count: usize,
        keys: &impl KeySource,
        mut visit: impl FnMut(Handle),
    ) -> u64 {
        let mut place = Place::decode(cursor);
        let mut left = count.max(1);
        let mut regions_left = count.max(1).saturating_mul(10);
        loop {
            if place.fingerprint == 0 {
                place = self.refit(place);
            }
            let visited = self.scan_region(&mut place, left, keys, &mut visit);
            left = left.saturating_sub(visited);
            if place.fingerprint == FINGERPRINTS {
                match place.next_region() {
                    Some(next) => place = next,
                    None => return 0,
                }
            }
            regions_left -= 1;
            if left == 0 || regions_left == 0 {
                return place.encode();
            }
        }
    }

    /// A region's beginning as that of the segment which lies there, as far as the cursor can say
    /// so.
    fn refit(&self, place: Place) -> Place {
        let depth = self.directory.segment(self.directory.index(place.hash())).depth();
        let depth = depth.min(DEPTH_MAX);
        if depth >= place.depth {
            return Place { prefix: place.prefix << (depth - place.depth), depth, ..place };
        }
        let up = place.depth - depth;
        if place.prefix & ((1 << up) - 1) == 0 {
            return Place { prefix: place.prefix >> up, depth, ..place };
        }
        place
    }

    /// Visits entries of the region from `place` on and moves it behind them; how many.
    fn scan_region(
        &self,
        place: &mut Place,
        count: usize,
        keys: &impl KeySource,
        visit: &mut impl FnMut(Handle),
    ) -> usize {
        let mut parts = self.parts(*place);
        let is_merged = parts[0].0.depth() < place.depth;
        // Going through many parts costs as much as the entries that make it worth while.
        let target = count.max(parts.len());
        let mut visited = 0;
        while visited < target {
            let Some(fingerprint) = parts.iter().filter_map(next_fingerprint).min() else {
                place.fingerprint = FINGERPRINTS;
                return visited;
            };
            for part in &mut parts {
                while next_fingerprint(part) == Some(fingerprint) {
                    let (segment, at) = *part;
                    let slot = at.and_then(|at| segment.slot(at));
                    let slot = slot.expect("invariant: a fingerprint is that of a used slot");
                    part.1 = at.and_then(|at| segment.next_used(at + 1));
                    let is_here = !is_merged || is_in_region(keys.hash(slot.handle), *place);
                    if is_here {
                        visit(slot.handle);
                        visited += 1;
                    }
                }
            }
            place.fingerprint = fingerprint + 1;
        }
        if parts.iter().all(|part| part.1.is_none()) {
            place.fingerprint = FINGERPRINTS;
        }
        visited
    }

    /// The segments that hold keys of a region, each with its first slot to visit.
    fn parts(&self, place: Place) -> Vec<(&Segment, Option<usize>)> {
        let mut parts = Vec::new();
        let mut index = self.directory.index(place.hash());
        let last = match place.next_region() {
            Some(next) => self.directory.index(next.hash() - 1),
            None => self.directory.len() - 1,
        };
        while index <= last {
            let (first, count) = self.directory.span(index);
            let segment = self.directory.segment(first);
            parts.push((segment, segment.lower_bound(place.fingerprint)));
            index = first + count;
        }
        parts
    }
}

/// Whether a scan that goes on from `cursor` has passed the place of this hash.
pub(crate) fn is_passed(cursor: u64, hash: u64) -> bool {
    let place = Place::decode(cursor);
    let prefix = (hash >> 1) >> (63 - place.depth);
    (prefix, fingerprint_of(hash)) < (place.prefix, place.fingerprint)
}

fn next_fingerprint((segment, at): &(&Segment, Option<usize>)) -> Option<u32> {
    at.and_then(|at| segment.slot(at)).map(|slot| slot.fingerprint)
}

fn is_in_region(hash: u64, place: Place) -> bool {
    (hash >> 1) >> (63 - place.depth) == place.prefix
}
