//! The allocator of the process: jemalloc with size classes 8 bytes apart.
//!
//! Classes such as 24 and 40 are what saves memory, and they are only aligned to 8. The binding
//! takes malloc's word that everything of 16 bytes and more is aligned to 16, which with these
//! classes it is not: a hash table, whose groups are read 16 bytes at a time, would fault. So what
//! wants 16 is rounded up to a multiple of it: every class that is such a multiple is aligned to
//! it, since its slabs begin at a page. For larger alignments the binding asks explicitly.

#![expect(
    unsafe_code,
    reason = "the allocator's interface is unsafe; every block argues its safety"
)]

use std::alloc::{GlobalAlloc, Layout};

use tikv_jemallocator::Jemalloc;

/// See the module's head.
#[derive(Clone, Copy, Default, Debug)]
pub struct Allocator;

/// The alignment that the binding takes for granted and the size classes do not give.
const ASSUMED_ALIGN: usize = 16;

/// What to ask for instead of `size` bytes with this alignment. Never less, and the same each time.
#[inline]
const fn rounded(size: usize, align: usize) -> usize {
    if align == ASSUMED_ALIGN { size.next_multiple_of(ASSUMED_ALIGN) } else { size }
}

#[inline]
fn rounded_layout(layout: Layout) -> Layout {
    // SAFETY: the alignment is a layout's, and a layout's size rounded up to its alignment does not
    // exceed `isize::MAX`.
    unsafe {
        Layout::from_size_align_unchecked(rounded(layout.size(), layout.align()), layout.align())
    }
}

// SAFETY: every request is passed on to an allocator with a layout that is at least as large and
// aligned, derived from the original one in the same way when it is freed or resized.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: rounding does not make the size zero, which the caller promises it is not.
        unsafe { Jemalloc.alloc(rounded_layout(layout)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { Jemalloc.alloc_zeroed(rounded_layout(layout)) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` or `realloc` with this layout, rounded alike.
        unsafe { Jemalloc.dealloc(pointer, rounded_layout(layout)) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let size = rounded(size, layout.align());
        // SAFETY: the block was allocated with this layout, rounded alike, and the caller promises
        // that the new size rounded up to the alignment does not overflow.
        unsafe { Jemalloc.realloc(pointer, rounded_layout(layout), size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hash tables faulted at some sizes: jemalloc's classes of 24, 40 and 56 bytes are aligned to
    /// 8 only, and the binding did not ask for more.
    #[test]
    fn blocks_are_aligned_as_asked() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in 1..=300 {
                let layout = Layout::from_size_align(size, align).unwrap();
                // Several of a class, since the first one of a slab is aligned to the page.
                let blocks: Vec<*mut u8> = (0..5)
                    .map(|_| {
                        // SAFETY: the size is not zero.
                        unsafe { Allocator.alloc(layout) }
                    })
                    .collect();
                for block in blocks {
                    assert!(!block.is_null());
                    assert_eq!(block.addr() % align, 0, "{size} bytes aligned to {align}");
                    // SAFETY: the block has this layout, and 24 bytes more do not overflow.
                    let block = unsafe { Allocator.realloc(block, layout, size + 24) };
                    assert!(!block.is_null());
                    assert_eq!(block.addr() % align, 0, "{size} bytes aligned to {align}, resized");
                    let grown = Layout::from_size_align(size + 24, align).unwrap();
                    // SAFETY: the block was resized to this layout.
                    unsafe { Allocator.dealloc(block, grown) };
                }
            }
        }
    }
}
