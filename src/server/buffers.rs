//! The receive buffers that a core lends to the kernel: a ring-mapped provided-buffer group.
//!
//! ```text
//!   entries (shared with the kernel)         data (ours; the kernel fills a buffer it took)
//!   +---------------------------+            +-----------+-----------+-----------+----
//!   | address, length, id       |  ------->  | buffer 0  | buffer 1  | buffer 2  | ...
//!   | ... one for each buffer   |            +-----------+-----------+-----------+----
//!   +---------------------------+
//!     ^ head: kernel    ^ tail: us
//! ```
//!
//! The kernel takes buffers from the head as bytes arrive, so that an idle connection holds none;
//! we put them back at the tail after the engine has read them. Buffers are used in turn, thus each
//! that was ever lent becomes resident memory and passes through the cache. Therefore only a few
//! are lent at first, and more only after the kernel has run out ([`ReceiveBuffers::grow`]).
#![expect(unsafe_code, reason = "memory shared with the kernel; every block argues its safety")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Bytes of one buffer: what a loopback peer with a deep pipeline sends between two looks.
pub(super) const BUFFER_SIZE: usize = 16 * 1024;
/// The most buffers that are ever lent: 4 MiB a core.
const BUFFERS_MAX: u16 = 256;
/// The buffers lent at the start.
const BUFFERS_FIRST: u16 = 32;
/// The group's name within its ring; there is only one.
pub(super) const GROUP: u16 = 0;

/// The provided buffers of one ring. Must be dropped after the ring that it was registered with.
#[derive(Debug)]
pub(super) struct ReceiveBuffers {
    entries: Mapping,
    data: Mapping,
    /// Buffers lent so far, from the first of `data`.
    lent: u16,
    /// Our private tail. The kernel sees it after [`publish`](Self::publish).
    tail: u16,
}

impl ReceiveBuffers {
    /// Reserves addresses for all buffers, and memory for none yet.
    pub(super) fn new() -> io::Result<Self> {
        let entries = Mapping::new(usize::from(BUFFERS_MAX) * size_of::<BufRingEntry>())?;
        let data = Mapping::new(usize::from(BUFFERS_MAX) * BUFFER_SIZE)?;
        let mut buffers = Self { entries, data, lent: 0, tail: 0 };
        for _ in 0..BUFFERS_FIRST {
            buffers.lend_another();
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Tells the kernel about the group.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address = self.entries.start.as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, holds BUFFERS_MAX entries (a power of two), and
        // outlives the ring by the contract of this type.
        unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS_MAX, GROUP, 0) }
    }

    /// The bytes that the kernel has written to a buffer that it took and gave to us.
    pub(super) fn bytes(&self, id: u16, length: usize) -> &[u8] {
        assert!(
            id < self.lent && length <= BUFFER_SIZE,
            "invariant: the kernel fills lent buffers"
        );
        // SAFETY: `id` is below `lent`, so the buffer lies within the mapping.
        let start = unsafe { self.data.start.add(usize::from(id) * BUFFER_SIZE) };
        // SAFETY: the buffer is mapped, `length` bytes fit into it, and the kernel does not write
        // to it again before `recycle`, which takes `self` mutably and thus ends this borrow.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// Lends a buffer again that the kernel had given to us. Seen after [`publish`](Self::publish).
    pub(super) fn recycle(&mut self, id: u16) {
        assert!(id < self.lent, "invariant: the kernel returns lent buffers");
        let index = usize::from(self.tail & (BUFFERS_MAX - 1));
        // SAFETY: `id` is below `lent`, so the buffer lies within the mapping.
        let buffer = unsafe { self.data.start.add(usize::from(id) * BUFFER_SIZE) };
        // SAFETY: `index` is below BUFFERS_MAX, so the entry lies within its mapping.
        let mut entry = unsafe { self.entries.start.cast::<BufRingEntry>().add(index) };
        // SAFETY: the entry is mapped and aligned, and any bit pattern is a valid entry. At most
        // BUFFERS_MAX buffers are lent, so the kernel's head has passed this entry and the kernel
        // does not read it before the tail is published. We are the only thread that writes.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(buffer.as_ptr() as u64);
        entry.set_len(BUFFER_SIZE as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was recycled.
    pub(super) fn publish(&self) {
        // SAFETY: the pointer is that of the group's first entry, which is mapped; the function
        // only computes the address of a field of it.
        let tail = unsafe { BufRingEntry::tail(self.entries.start.as_ptr().cast()) };
        // SAFETY: the field is mapped, aligned for u16, lives as long as `self`, and is only
        // accessed atomically (by us here, by the kernel elsewhere).
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries are visible before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }

    /// Lends twice as many, up to the limit, because the kernel ran out of them.
    pub(super) fn grow(&mut self) {
        for _ in 0..self.lent.min(BUFFERS_MAX - self.lent) {
            self.lend_another();
        }
        self.publish();
    }

    fn lend_another(&mut self) {
        self.lent += 1;
        self.recycle(self.lent - 1);
    }
}

/// Private anonymous memory, page-aligned, zeroed, resident only where it was touched.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("invariant: mmap never maps address zero");
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `new` mapped, and nothing borrows it any more.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
