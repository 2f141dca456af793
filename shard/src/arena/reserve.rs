//! A range of address space that is backed by memory as far as it has been committed.
//!
//! The arena needs one contiguous range (a handle is an offset in it) that grows without moving. On
//! Linux that is a `PROT_NONE` mapping made accessible from the front as it is needed; under Miri,
//! which has no such mappings, a zeroed allocation of a smaller size stands in.

#![expect(
    unsafe_code,
    reason = "maps memory and makes slices of it; every access is bounds-checked here"
)]

use std::ptr::NonNull;

/// Memory is made accessible in steps of this size, which take no memory before they are touched.
const COMMIT_BYTES: usize = 1 << 20;
/// The step beyond `HUGE_PAGES_FROM`, so large that few huge pages would lie across two steps.
const COMMIT_BYTES_LARGE: usize = 32 << 20;
/// What is made accessible beyond this size prefers huge pages.
const HUGE_PAGES_FROM: usize = 4 << 20;

/// A contiguous range of bytes: `0..committed` can be read and written, the rest is only reserved.
///
/// Invariant "committed": `committed <= reserved`, and `base..base + committed` is initialised
/// (zero until written), readable and writable memory that only this value refers to.
pub(super) struct Reservation {
    base: NonNull<u8>,
    reserved: usize,
    committed: usize,
}

// SAFETY: a `Reservation` owns its mapping exclusively, as a `Box<[u8]>` owns its bytes.
unsafe impl Send for Reservation {}

impl Reservation {
    /// Reserves `bytes`, or, where the limits of the process forbid so much, the largest half,
    /// quarter, ... of it that is still at least `least`.
    pub(super) fn new(bytes: usize, least: usize) -> Option<Self> {
        let mut reserved = bytes;
        while reserved >= least {
            if let Some(base) = sys::reserve(reserved) {
                return Some(Self { base, reserved, committed: 0 });
            }
            reserved /= 2;
        }
        None
    }

    /// The bytes of address space held.
    pub(super) fn reserved(&self) -> usize {
        self.reserved
    }

    /// Makes at least `0..bytes` accessible. False when it lies beyond the reservation or the
    /// kernel refuses.
    ///
    /// A large reservation asks for huge pages: with keys all over it, a good part of a lookup's
    /// time is spent on address translation otherwise. A small one does not, because an idle shard
    /// should not hold 2 MiB for a few keys.
    pub(super) fn commit(&mut self, bytes: usize) -> bool {
        if bytes <= self.committed {
            return true;
        }
        let is_large = self.committed >= HUGE_PAGES_FROM;
        let step = if is_large { COMMIT_BYTES_LARGE } else { COMMIT_BYTES };
        let target = bytes.next_multiple_of(step).min(self.reserved);
        if bytes > target || !sys::commit(self.base, self.committed, target) {
            return false;
        }
        if is_large {
            sys::prefer_huge_pages(self.base, self.committed, target);
        }
        self.committed = target;
        true
    }

    /// The bytes `offset..offset + len`; both ends must be committed.
    #[inline]
    pub(super) fn slice(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset + len <= self.committed, "a block lies in committed memory");
        let start = self.base.as_ptr().wrapping_add(offset);
        // SAFETY: the assertion and invariant "committed" make the range valid initialised memory;
        // `&self` keeps writers away for the lifetime of the result.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The bytes `offset..offset + len`, for writing; both ends must be committed.
    #[inline]
    pub(super) fn slice_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        assert!(offset + len <= self.committed, "a block lies in committed memory");
        let start = self.base.as_ptr().wrapping_add(offset);
        // SAFETY: as in `slice`; `&mut self` makes this the only reference into the range.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// The address of `offset`, for prefetching only.
    #[inline]
    pub(super) fn address(&self, offset: usize) -> *const u8 {
        self.base.as_ptr().wrapping_add(offset)
    }

    /// Gives the physical memory of a page-aligned committed range back; it reads as zero or as
    /// before afterwards.
    pub(super) fn discard(&mut self, offset: usize, len: usize) {
        assert!(offset + len <= self.committed, "only committed memory is given back");
        sys::discard(self.base, offset, len);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        sys::release(self.base, self.reserved);
    }
}

#[cfg(not(miri))]
mod sys {
    //! The Linux calls.
    use std::ptr::NonNull;

    pub(super) fn reserve(bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choosing touches no
        // existing memory.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED { None } else { NonNull::new(address.cast()) }
    }

    pub(super) fn commit(base: NonNull<u8>, from: usize, to: usize) -> bool {
        let start = base.as_ptr().wrapping_add(from).cast();
        // SAFETY: the caller passes a range of its own reservation, to which no reference exists
        // yet.
        let result =
            unsafe { libc::mprotect(start, to - from, libc::PROT_READ | libc::PROT_WRITE) };
        result == 0
    }

    pub(super) fn prefer_huge_pages(base: NonNull<u8>, from: usize, to: usize) {
        let start = base.as_ptr().wrapping_add(from).cast();
        // SAFETY: the range is the caller's own, and this advice changes no content. Where the
        // kernel has no huge pages, nothing happens.
        unsafe { libc::madvise(start, to - from, libc::MADV_HUGEPAGE) };
    }

    pub(super) fn discard(base: NonNull<u8>, offset: usize, len: usize) {
        let start = base.as_ptr().wrapping_add(offset).cast();
        // SAFETY: the range is committed memory of the caller's reservation and `&mut` there
        // excludes references. An error leaves the memory as it was, which is sound as well.
        unsafe { libc::madvise(start, len, libc::MADV_DONTNEED) };
    }

    pub(super) fn release(base: NonNull<u8>, bytes: usize) {
        // SAFETY: the mapping was made by `reserve` with this length and its owner is being
        // dropped.
        unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
    }
}

#[cfg(miri)]
mod sys {
    //! A zeroed allocation in place of a mapping. Its size is bounded, because it is backed in
    //! full.
    use std::alloc::Layout;
    use std::ptr::NonNull;

    const BYTES_MAX: usize = 4 << 20;

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes, 4096).ok()
    }

    pub(super) fn reserve(bytes: usize) -> Option<NonNull<u8>> {
        if bytes > BYTES_MAX {
            return None;
        }
        // SAFETY: the callers reserve more than zero bytes.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(layout(bytes)?) })
    }

    pub(super) fn commit(_base: NonNull<u8>, _from: usize, _to: usize) -> bool {
        true
    }

    pub(super) fn prefer_huge_pages(_base: NonNull<u8>, _from: usize, _to: usize) {}

    pub(super) fn discard(_base: NonNull<u8>, _offset: usize, _len: usize) {}

    pub(super) fn release(base: NonNull<u8>, bytes: usize) {
        let Some(layout) = layout(bytes) else { return };
        // SAFETY: allocated by `reserve` with the same layout.
        unsafe { std::alloc::dealloc(base.as_ptr(), layout) };
    }
}
