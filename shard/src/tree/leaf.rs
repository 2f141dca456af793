//! A leaf: up to 128 handles of 5 bytes in order.

use super::{Edges, Order, Usage};
use crate::arena::Handle;
use crate::prefetch::prefetch;
use crate::sizes::size_class;

/// Handles in a full leaf: 640 bytes, which is a size of the allocator.
pub(super) const SLOTS_MAX: usize = 128;
const SLOT_BYTES: usize = 5;
/// Entries that are fetched together in a search; about as many as a core can wait for at once.
const PROBES: usize = 11;

const _: () = assert!(Handle::BITS <= SLOT_BYTES as u32 * 8);

/// A handle in the bytes that it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot([u8; SLOT_BYTES]);

impl Slot {
    #[inline]
    pub(super) fn new(handle: Handle) -> Self {
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(&handle.raw().to_le_bytes()[..SLOT_BYTES]);
        Self(bytes)
    }

    #[inline]
    pub(super) fn handle(self) -> Handle {
        let mut bytes = [0; 8];
        bytes[..SLOT_BYTES].copy_from_slice(&self.0);
        Handle::from_raw(u64::from_le_bytes(bytes)).expect("invariant: a slot holds a handle")
    }
}

/// A leaf. Only that of an empty tree is empty.
pub(super) struct Leaf {
    slots: Vec<Slot>,
}

/// The bytes that an array of so many slots costs.
fn allocated(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { size_class(capacity * SLOT_BYTES) }
}

/// The slots that fit where `len` do.
fn capacity_for(len: usize) -> usize {
    (size_class(len * SLOT_BYTES) / SLOT_BYTES).min(SLOTS_MAX)
}

impl Leaf {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new() }
    }

    #[inline]
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Bytes of heap memory.
    pub(super) fn bytes(&self) -> usize {
        allocated(self.slots.capacity())
    }

    /// The place of a handle.
    #[inline]
    pub(super) fn find(&self, slot: Slot) -> Option<usize> {
        self.slots.iter().position(|other| *other == slot)
    }

    /// Exchanges a handle; whether it was there.
    pub(super) fn replace(&mut self, old: Slot, new: Slot) -> bool {
        let found = self.find(old);
        if let Some(at) = found {
            self.slots[at] = new;
        }
        found.is_some()
    }

    /// How many handles come before a place in the order; see [`super::Tree::seek`].
    ///
    /// A binary search would wait for one entry after the other. This fetches the bounds of
    /// [`PROBES`] + 1 stretches together, then what lies in the one that is left.
    pub(super) fn partition(
        &self,
        prefix: u64,
        order: &impl Order,
        is_before: impl Fn(Handle) -> bool,
    ) -> usize {
        let precedes = |slot: &Slot| {
            let handle = slot.handle();
            let other = order.prefix(handle);
            other < prefix || other == prefix && is_before(handle)
        };
        let mut from = 0;
        let mut rest = self.slots.as_slice();
        if rest.len() > PROBES {
            let step = rest.len().div_ceil(PROBES + 1);
            for slot in rest.iter().skip(step - 1).step_by(step) {
                prefetch(order.address(slot.handle()));
            }
            let stretches = rest.len() / step;
            let mut low = 0;
            let mut high = stretches;
            while low < high {
                let middle = usize::midpoint(low, high);
                if precedes(&rest[(middle + 1) * step - 1]) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            from = low * step;
            rest = &rest[from..(from + step).min(rest.len())];
            if low < stretches {
                // The last of this stretch is the pivot that was found not to come before.
                rest = &rest[..rest.len() - 1];
            }
        }
        for slot in rest {
            prefetch(order.address(slot.handle()));
        }
        from + rest.partition_point(precedes)
    }

    /// Adds a handle; the right part when the leaf had to split.
    pub(super) fn insert(
        &mut self,
        at: usize,
        slot: Slot,
        edges: Edges,
        usage: &mut Usage,
    ) -> Option<Self> {
        if self.slots.len() < SLOTS_MAX {
            self.insert_here(at, slot, usage);
            return None;
        }
        let middle = if at == SLOTS_MAX && edges.last {
            SLOTS_MAX
        } else if at == 0 && edges.first {
            0
        } else {
            SLOTS_MAX / 2
        };
        let mut right = self.split_off(middle, usage);
        if at > middle || middle == SLOTS_MAX {
            right.insert_here(at - middle, slot, usage);
        } else {
            self.insert_here(at, slot, usage);
        }
        Some(right)
    }

    fn insert_here(&mut self, at: usize, slot: Slot, usage: &mut Usage) {
        self.resize(capacity_for(self.slots.len() + 1), usage);
        self.slots.insert(at, slot);
    }

    fn split_off(&mut self, at: usize, usage: &mut Usage) -> Self {
        if at == 0 {
            return std::mem::replace(self, Self::new());
        }
        let mut right = Self::new();
        if at < self.slots.len() {
            right.resize(capacity_for(self.slots.len() - at), usage);
            right.slots.extend_from_slice(&self.slots[at..]);
            self.slots.truncate(at);
            self.shrink(capacity_for(at), usage);
        }
        right
    }

    /// Removes at most `limit` handles from `start` on; how many.
    pub(super) fn take(
        &mut self,
        start: usize,
        limit: usize,
        usage: &mut Usage,
        sink: &mut impl FnMut(Handle),
    ) -> usize {
        let end = start.saturating_add(limit).min(self.slots.len());
        self.slots.drain(start..end).for_each(|slot| sink(slot.handle()));
        let len = self.slots.len();
        // A quarter is kept, so that insertions and removals in turns do not resize each time.
        self.shrink(if len == 0 { 0 } else { capacity_for(len + len / 4 + 2) }, usage);
        end - start
    }

    /// Takes all handles of the leaf after it.
    pub(super) fn append(&mut self, next: &Self, usage: &mut Usage) {
        usage.bytes -= next.bytes();
        self.resize(capacity_for(self.slots.len() + next.slots.len()), usage);
        self.slots.extend_from_slice(&next.slots);
    }

    /// Makes room for as many slots, unless there is.
    fn resize(&mut self, capacity: usize, usage: &mut Usage) {
        if capacity > self.slots.capacity() {
            let before = self.bytes();
            self.slots.reserve_exact(capacity - self.slots.len());
            usage.bytes = usage.bytes - before + self.bytes();
        }
    }

    fn shrink(&mut self, capacity: usize, usage: &mut Usage) {
        if capacity < self.slots.capacity() {
            let before = self.bytes();
            self.slots.shrink_to(capacity);
            usage.bytes = usage.bytes - before + self.bytes();
        }
    }
}
