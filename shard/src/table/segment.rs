//! A segment: an array of slots ordered by fingerprint, and the directory that owns segments.
//!
//! ```text
//! segment    | ttl index 8 | len 2, depth 1 | slot | slot | slot | ...
//! slot       6 bytes: handle (34 bits) | fingerprint (14 bits); all zero: empty
//! directory  | ptr | ptr | ptr | ptr |  indexed by the top bits of the hash; the upper 16 bits
//!              of a pointer hold the capacity, so that a lookup goes from the directory to the
//!              right slot without reading the segment's head
//! ```
//!
//! A fingerprint's home is its proportional place in the array; entries lie at their home or after
//! it, in order of fingerprints, without a gap between home and place. So a search ends at the
//! first empty slot or larger fingerprint, a removal shifts the rest of the run back, and an array
//! of another size is made by one pass without looking at a key. The last [`SLACK`] slots are
//! nobody's home: they take what is pushed off the end. Small arrays (and ones that would overflow
//! their end) are *packed*: every home is slot 0, the array is simply sorted.

#![expect(unsafe_code, reason = "tagged pointers to segments with an inline array")]

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

use crate::arena::Handle;
use crate::expiry::TtlIndex;
use crate::sizes::size_class;

/// Bits of a hash that a slot keeps: its low ones.
pub(super) const FINGERPRINT_BITS: u32 = 14;
/// One more than the largest fingerprint.
pub(super) const FINGERPRINTS: u32 = 1 << FINGERPRINT_BITS;

const _: () = assert!(Handle::BITS + FINGERPRINT_BITS == 48, "a slot is 6 bytes");

const SLOT_BYTES: usize = 6;
const SLOT_MASK: u64 = (1 << 48) - 1;
/// A slot is read as 8 bytes, so 2 more must follow the last.
const TAIL_BYTES: usize = 2;
/// Slots at the end that are nobody's home.
const SLACK: usize = 16;
/// Arrays below this capacity are packed.
const CAPACITY_SPREAD_MIN: usize = 64;
/// The allocation of the smallest segment.
const BYTES_MIN: usize = 80;
/// Slots of the largest ordinary segment; only hashes that splitting cannot part need larger ones.
pub(super) const CAPACITY_MAX: usize = capacity_of(3072);
/// For how many entries at most an array of that size is asked for.
pub(super) const ROOM_MAX: usize = (CAPACITY_MAX - 1) * 9 / 10;

const TAG_SHIFT: u32 = 48;
const TAG_PACKED: usize = 1 << 15;

/// What precedes the slots.
#[repr(C)]
struct Head {
    ttl: Option<Box<TtlIndex>>,
    len: u16,
    depth: u8,
}

const HEAD_BYTES: usize = size_of::<Head>();
const _: () = assert!(HEAD_BYTES == 16);

const fn capacity_of(allocation: usize) -> usize {
    (allocation - HEAD_BYTES - TAIL_BYTES) / SLOT_BYTES
}

/// A used slot: where the entry is, and the fingerprint of its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) handle: Handle,
    pub(super) fingerprint: u32,
}

impl Slot {
    fn from_bits(bits: u64) -> Option<Self> {
        let handle = Handle::from_raw(bits & ((1 << Handle::BITS) - 1))?;
        Some(Self { handle, fingerprint: (bits >> Handle::BITS) as u32 })
    }

    fn bits(self) -> u64 {
        self.handle.raw() | u64::from(self.fingerprint) << Handle::BITS
    }
}

/// A segment, by its tagged pointer.
///
/// Invariant "alive": the untagged pointer is that of an allocation of `layout()` that holds an
/// initialised `Head` and an initialised array of `capacity` slots. Only [`Directory`] frees it,
/// and only when it forgets the last copy of the pointer. Copies never leave this module, and a
/// reference to one borrows the directory (or the only copy, before the segment is installed).
pub(super) struct Segment(NonNull<u8>);

impl Segment {
    /// An empty segment for at least `len` slots at the usual load.
    pub(super) fn with_room(len: usize, depth: u8) -> Self {
        let wanted = len + len / 9 + 1;
        let bytes = HEAD_BYTES + wanted * SLOT_BYTES + TAIL_BYTES;
        let allocation = size_class(bytes.max(BYTES_MIN));
        Self::allocate(allocation, depth)
    }

    fn allocate(allocation: usize, depth: u8) -> Self {
        let capacity = capacity_of(allocation);
        let layout = layout(capacity);
        // SAFETY: the layout's size is not zero.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        assert!(base.addr().get() >> TAG_SHIFT == 0, "addresses of a process fit in 48 bits");
        let head = Head { ttl: None, len: 0, depth };
        // SAFETY: the allocation is large enough and aligned for a `Head`, and nobody else has it.
        unsafe { base.cast::<Head>().write(head) };
        let packed = if capacity < CAPACITY_SPREAD_MIN { TAG_PACKED } else { 0 };
        Self(tagged(base, capacity | packed))
    }

    /// The slots of several segments or of one, in order of fingerprints, in a new segment with
    /// room for `room` of them.
    pub(super) fn from_ordered(
        slots: impl ExactSizeIterator<Item = Slot> + Clone,
        room: usize,
        depth: u8,
    ) -> Self {
        let len = slots.len();
        let mut segment = Self::with_room(room, depth);
        if !segment.fill(slots.clone()) {
            segment.0 = tagged(segment.base(), segment.capacity() | TAG_PACKED);
            segment.slots_mut().fill(0);
            let fits = segment.fill(slots);
            assert!(fits, "a packed array holds as many slots as it has");
        }
        segment.head_mut().len = len as u16;
        segment
    }

    /// Places ordered slots; false when they run off the end.
    fn fill(&mut self, slots: impl Iterator<Item = Slot>) -> bool {
        let mut next = 0;
        for slot in slots {
            let index = self.home(slot.fingerprint).max(next);
            if index >= self.capacity() {
                return false;
            }
            self.write(index, slot.bits());
            next = index + 1;
        }
        true
    }

    #[inline]
    pub(super) fn capacity(&self) -> usize {
        (self.0.addr().get() >> TAG_SHIFT) & (TAG_PACKED - 1)
    }

    fn is_packed(&self) -> bool {
        (self.0.addr().get() >> TAG_SHIFT) & TAG_PACKED != 0
    }

    pub(super) fn len(&self) -> usize {
        self.head().len as usize
    }

    /// How many top bits of their hashes the keys of this segment share.
    pub(super) fn depth(&self) -> u8 {
        self.head().depth
    }

    pub(super) fn ttl(&self) -> Option<&TtlIndex> {
        self.head().ttl.as_deref()
    }

    pub(super) fn ttl_mut(&mut self) -> &mut Option<Box<TtlIndex>> {
        &mut self.head_mut().ttl
    }

    /// Bytes of heap memory, the index of deadlines not included.
    pub(super) fn memory(&self) -> usize {
        layout(self.capacity()).size()
    }

    /// The first slot with this fingerprint whose entry is the one wanted.
    #[inline]
    pub(super) fn find(
        &self,
        fingerprint: u32,
        mut is_wanted: impl FnMut(Handle) -> bool,
    ) -> Option<(usize, Handle)> {
        let capacity = self.capacity();
        let mut index = self.home(fingerprint);
        while index < capacity {
            let slot = Slot::from_bits(self.read(index))?;
            if slot.fingerprint >= fingerprint {
                if slot.fingerprint > fingerprint {
                    return None;
                }
                if is_wanted(slot.handle) {
                    return Some((index, slot.handle));
                }
            }
            index += 1;
        }
        None
    }

    /// The index of the first used slot whose fingerprint is not below `fingerprint`.
    pub(super) fn lower_bound(&self, fingerprint: u32) -> Option<usize> {
        (self.home(fingerprint)..self.capacity())
            .find(|&index| self.slot(index).is_some_and(|slot| slot.fingerprint >= fingerprint))
    }

    /// The index of the first used slot from `index` on.
    pub(super) fn next_used(&self, index: usize) -> Option<usize> {
        (index..self.capacity()).find(|&index| self.slot(index).is_some())
    }

    /// The slot at `index`, if it is used.
    #[inline]
    pub(super) fn slot(&self, index: usize) -> Option<Slot> {
        Slot::from_bits(self.read(index))
    }

    /// The used slots in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> + Clone + '_ {
        (0..self.capacity()).filter_map(|index| self.slot(index))
    }

    /// The entries from somewhere on, to the end and then from the beginning.
    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = Handle> + '_ {
        let start = start % self.capacity().max(1);
        let indices = (start..self.capacity()).chain(0..start);
        indices.filter_map(|index| self.slot(index)).map(|slot| slot.handle)
    }

    /// Puts a slot in its place; false when the array is too full for it.
    pub(super) fn insert(&mut self, slot: Slot) -> bool {
        let capacity = self.capacity();
        if self.len() >= self.limit() {
            return false;
        }
        let mut index = self.home(slot.fingerprint);
        while index < capacity {
            match self.slot(index) {
                Some(other) if other.fingerprint <= slot.fingerprint => index += 1,
                _ => break,
            }
        }
        let Some(gap) = (index..capacity).find(|&gap| self.slot(gap).is_none()) else {
            return false;
        };
        let bytes = index * SLOT_BYTES..gap * SLOT_BYTES;
        self.slots_mut().copy_within(bytes, (index + 1) * SLOT_BYTES);
        self.write(index, slot.bits());
        self.head_mut().len += 1;
        true
    }

    /// Empties the slot at `index` and closes the gap.
    pub(super) fn remove(&mut self, index: usize) {
        assert!(self.slot(index).is_some(), "only a used slot is removed");
        let mut end = index + 1;
        while end < self.capacity() {
            match self.slot(end) {
                Some(slot) if self.home(slot.fingerprint) < end => end += 1,
                _ => break,
            }
        }
        let bytes = (index + 1) * SLOT_BYTES..end * SLOT_BYTES;
        self.slots_mut().copy_within(bytes, index * SLOT_BYTES);
        self.write(end - 1, 0);
        self.head_mut().len -= 1;
    }

    /// Points the used slot at `index` to another entry of the same key.
    pub(super) fn replace(&mut self, index: usize, handle: Handle) {
        let slot = self.slot(index).expect("invariant: only a used slot is replaced");
        self.write(index, Slot { handle, ..slot }.bits());
    }

    /// The address of a fingerprint's home, for prefetching only.
    #[inline]
    pub(super) fn address(&self, fingerprint: u32) -> *const u8 {
        let offset = HEAD_BYTES + self.home(fingerprint) * SLOT_BYTES;
        self.base().as_ptr().wrapping_add(offset)
    }

    /// The address of the head, for prefetching only.
    #[inline]
    pub(super) fn head_address(&self) -> *const u8 {
        self.base().as_ptr()
    }

    /// Whether the array should be remade smaller.
    pub(super) fn is_sparse(&self) -> bool {
        let capacity = self.capacity();
        capacity > capacity_of(BYTES_MIN) && self.len() * 2 < capacity
    }

    /// Slots that may be used before the array has to grow.
    pub(super) fn limit(&self) -> usize {
        let capacity = self.capacity();
        if self.is_packed() { capacity } else { capacity - capacity / 10 }
    }

    /// The slot where a search for a fingerprint starts.
    #[inline]
    fn home(&self, fingerprint: u32) -> usize {
        debug_assert!(fingerprint < FINGERPRINTS);
        if self.is_packed() {
            return 0;
        }
        (fingerprint as usize * (self.capacity() - SLACK)) >> FINGERPRINT_BITS
    }

    #[inline]
    fn base(&self) -> NonNull<u8> {
        let untag = |address: std::num::NonZero<usize>| address.get() & ((1 << TAG_SHIFT) - 1);
        self.0.map_addr(|address| {
            std::num::NonZero::new(untag(address)).expect("invariant: a segment is not at zero")
        })
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: "alive", and `&self` excludes writers.
        unsafe { self.base().cast::<Head>().as_ref() }
    }

    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: "alive", and `&mut self` makes this the only reference.
        unsafe { self.base().cast::<Head>().as_mut() }
    }

    #[inline]
    fn slots(&self) -> &[u8] {
        let start = self.base().as_ptr().wrapping_add(HEAD_BYTES);
        let bytes = self.capacity() * SLOT_BYTES + TAIL_BYTES;
        // SAFETY: "alive": the array follows the head and was zeroed when allocated.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }

    fn slots_mut(&mut self) -> &mut [u8] {
        let start = self.base().as_ptr().wrapping_add(HEAD_BYTES);
        let bytes = self.capacity() * SLOT_BYTES + TAIL_BYTES;
        // SAFETY: as in `slots`; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(start, bytes) }
    }

    #[inline]
    fn read(&self, index: usize) -> u64 {
        let start = index * SLOT_BYTES;
        let bytes = self.slots()[start..start + 8].try_into().expect("invariant: 8 bytes");
        u64::from_le_bytes(bytes) & SLOT_MASK
    }

    fn write(&mut self, index: usize, bits: u64) {
        let start = index * SLOT_BYTES;
        self.slots_mut()[start..start + SLOT_BYTES]
            .copy_from_slice(&bits.to_le_bytes()[..SLOT_BYTES]);
    }

    /// Checks the order and the places of the slots; O(capacity).
    pub(super) fn verify(&self) {
        let mut last = 0;
        let mut used = 0;
        for index in 0..self.capacity() {
            let Some(slot) = self.slot(index) else {
                continue;
            };
            used += 1;
            assert!(slot.fingerprint >= last, "slots are in order of fingerprints");
            last = slot.fingerprint;
            let home = self.home(slot.fingerprint);
            assert!(home <= index, "no slot lies before its home");
            let gap = (home..index).find(|&between| self.slot(between).is_none());
            assert_eq!(gap, None, "no gap between a slot and its home");
        }
        assert_eq!(used, self.len());
    }
}

fn layout(capacity: usize) -> Layout {
    let bytes = HEAD_BYTES + capacity * SLOT_BYTES + TAIL_BYTES;
    Layout::from_size_align(bytes.next_multiple_of(16), align_of::<Head>())
        .expect("invariant: a segment is small")
}

fn tagged(base: NonNull<u8>, tag: usize) -> NonNull<u8> {
    base.map_addr(|address| address | tag << TAG_SHIFT)
}

/// The directory: for each value of the top bits of a hash, the segment that has it. A segment that
/// shares fewer bits than the directory has stands in it several times, side by side.
pub(super) struct Directory {
    entries: Vec<Segment>,
    depth: u8,
    /// Bytes of all segments, without their indexes of deadlines.
    segment_bytes: usize,
}

// SAFETY: a `Directory` owns its segments exclusively, and what they hold can be sent.
unsafe impl Send for Directory {}

impl Directory {
    pub(super) fn new() -> Self {
        let segment = Segment::with_room(0, 0);
        let segment_bytes = segment.memory();
        Self { entries: vec![segment], depth: 0, segment_bytes }
    }

    /// How many top bits index the directory.
    pub(super) fn depth(&self) -> u8 {
        self.depth
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The index of a hash's segment.
    #[inline]
    pub(super) fn index(&self, hash: u64) -> usize {
        // Two shifts, because one by 64 is not defined.
        ((hash >> 1) >> (63 - self.depth)) as usize
    }

    #[inline]
    pub(super) fn segment(&self, index: usize) -> &Segment {
        &self.entries[index]
    }

    pub(super) fn segment_mut(&mut self, index: usize) -> &mut Segment {
        &mut self.entries[index]
    }

    /// Bytes of heap memory, the segments' included; O(1).
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Segment>() + self.segment_bytes
    }

    /// Where the segment at `index` stands: the first index and the number of them.
    pub(super) fn span(&self, index: usize) -> (usize, usize) {
        let count = 1 << (self.depth - self.segment(index).depth());
        (index & !(count - 1), count)
    }

    /// The segments in order, each once, with the first index of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Segment)> {
        let mut index = 0;
        std::iter::from_fn(move || {
            let segment = self.entries.get(index)?;
            let first = index;
            index += self.span(index).1;
            Some((first, segment))
        })
    }

    /// Replaces what stands at `first..` by the given segments, each as often as said, and frees
    /// what stood there.
    pub(super) fn install<const N: usize>(&mut self, first: usize, parts: [(usize, Segment); N]) {
        let end = first + parts.iter().map(|part| part.0).sum::<usize>();
        let mut index = first;
        while index < end {
            let (start, count) = self.span(index);
            assert!(start == index && start + count <= end, "whole segments are replaced");
            self.segment_bytes -= self.entries[index].memory();
            // SAFETY: `count` entries hold this pointer and all are overwritten below.
            unsafe { free(&self.entries[index]) };
            index += count;
        }
        let mut index = first;
        for (count, segment) in parts {
            self.segment_bytes += segment.memory();
            for entry in &mut self.entries[index..index + count] {
                *entry = Segment(segment.0);
            }
            index += count;
        }
    }

    /// Doubles the directory; no segment changes. Moves 8 bytes an entry.
    pub(super) fn double(&mut self) {
        let twice = |segment: &Segment| [Segment(segment.0), Segment(segment.0)];
        self.entries = self.entries.iter().flat_map(twice).collect();
        self.depth += 1;
    }

    /// Frees the last segment. What is left serves only to be taken apart further.
    pub(super) fn pop(&mut self) {
        let (first, _) = self.span(self.entries.len() - 1);
        self.segment_bytes -= self.entries[first].memory();
        // SAFETY: the entries that hold this pointer are dropped here.
        unsafe { free(&self.entries[first]) };
        self.entries.truncate(first);
    }

    /// Halves the directory, when no segment needs its last bit.
    pub(super) fn halve(&mut self) {
        self.entries = self.entries.iter().step_by(2).map(|segment| Segment(segment.0)).collect();
        self.depth -= 1;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let mut index = 0;
        while index < self.entries.len() {
            let count = self.span(index).1;
            // SAFETY: the `count` entries that hold this pointer are not looked at again.
            unsafe { free(&self.entries[index]) };
            index += count;
        }
    }
}

/// Frees a segment.
///
/// # Safety
/// The caller forgets every copy of its pointer, and nothing borrows from it.
unsafe fn free(segment: &Segment) {
    let base = segment.base();
    let layout = layout(segment.capacity());
    // SAFETY: "alive"; nobody looks at the head afterwards.
    unsafe { base.cast::<Head>().drop_in_place() };
    // SAFETY: "alive", and the layout follows from the capacity as it did at allocation.
    unsafe { std::alloc::dealloc(base.as_ptr(), layout) };
}
