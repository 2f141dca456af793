//! The shard's slab allocator for entries.
//!
//! One contiguous range of address space, in pages of 16 KiB. A page holds blocks of one size
//! class; classes are 4 bytes apart, so a block wastes at most 3 bytes. A block is named by a
//! [`Handle`]: its offset in units of 4 bytes, 34 bits, which reaches 64 GiB. Nothing is stored
//! beside a block: its size is that of its page.
//!
//! ```text
//! pages   | 0: never used | 1: 28 B | 2: 28 B | 3: 120 B | 4: empty | ...
//! classes | 0             | 7       | 7       | 30       | 0        | ... one byte a page, hot
//! metas   | next, prev, free list, carved, live: 16 bytes a page
//! ```
//!
//! Pages of a class with room form a list; allocation takes from its head. A freed block joins its
//! page's free list, whose links lie in the free blocks. A page without live blocks goes to a pool
//! for any class to use; what the pool holds beyond a reserve is given back to the kernel by
//! [`Arena::trim`].
//!
//! | operation | cost |
//! |---|---|
//! | `alloc`, `free`, `block` | O(1) |
//! | `trim(n)` | at most n `madvise` calls |
//! | memory a block | 0 bytes, and at most 3 by rounding |

mod reserve;

use reserve::Reservation;

/// The step between size classes, and what a handle counts in.
const UNIT_BYTES: usize = 4;
const PAGE_BYTES: usize = 16 << 10;
const UNITS_PER_PAGE: usize = PAGE_BYTES / UNIT_BYTES;
const CLASSES: usize = 256;
/// The largest block.
pub(crate) const BLOCK_BYTES_MAX: usize = (CLASSES - 1) * UNIT_BYTES;
/// 34-bit handles of 4-byte units.
const RESERVE_BYTES: usize = 64 << 30;
const RESERVE_BYTES_LEAST: usize = 2 << 20;
/// Empty pages kept for reuse before `trim` gives any back.
const POOL_PAGES: usize = 64;
const PAGES_PER_CHUNK: usize = 4096;

/// Names a block: its offset in units of 4 bytes. Never zero, so that a zeroed table slot is an
/// empty one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub(crate) struct Handle(u64);

impl Handle {
    /// Bits that a handle needs at most.
    pub(crate) const BITS: u32 = 34;

    /// The handle whose bits are `raw`, or `None` for zero.
    #[inline]
    pub(crate) fn from_raw(raw: u64) -> Option<Self> {
        (raw != 0).then_some(Self(raw))
    }

    /// The bits: non-zero and below `2^BITS`.
    #[inline]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    fn page(self) -> usize {
        self.0 as usize / UNITS_PER_PAGE
    }

    #[inline]
    fn unit(self) -> usize {
        self.0 as usize % UNITS_PER_PAGE
    }

    #[inline]
    fn offset(self) -> usize {
        self.0 as usize * UNIT_BYTES
    }
}

/// What is known of a page besides its class. Page 0 is never used, so 0 ends a list.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct PageMeta {
    next: u32,
    prev: u32,
    /// The first unit of the first free block, plus one; 0 ends the list.
    free_head: u16,
    /// Blocks ever handed out since the page got its class; those beyond have never been touched.
    carved: u16,
    live: u16,
}

const _: () = assert!(size_of::<PageMeta>() == 16);

/// The metadata of 4096 pages. Chunks never move, so growth copies nothing.
struct Chunk {
    classes: Box<[u8]>,
    metas: Box<[PageMeta]>,
}

impl Chunk {
    fn new() -> Self {
        Self {
            classes: vec![0; PAGES_PER_CHUNK].into_boxed_slice(),
            metas: vec![PageMeta::default(); PAGES_PER_CHUNK].into_boxed_slice(),
        }
    }

    const BYTES: usize = PAGES_PER_CHUNK * (1 + size_of::<PageMeta>());
}

/// The allocator. See the module's head.
pub(crate) struct Arena {
    memory: Reservation,
    chunks: Vec<Chunk>,
    /// For each class, the first page with room.
    partial: Box<[u32; CLASSES]>,
    /// Pages handed out at least once, and page 0.
    pages: usize,
    /// Empty pages whose memory is still ours.
    pool_head: u32,
    pool_len: usize,
    /// Empty pages whose memory was given back.
    released_head: u32,
    released_len: usize,
    used_bytes: usize,
    limit_bytes: usize,
}

impl Arena {
    /// An arena of at most `limit_bytes` (and never more than 64 GiB). `None` when no address space
    /// can be had.
    pub(crate) fn new(limit_bytes: usize) -> Option<Self> {
        let reserve = limit_bytes.clamp(RESERVE_BYTES_LEAST, RESERVE_BYTES).next_power_of_two();
        let memory = Reservation::new(reserve, RESERVE_BYTES_LEAST)?;
        let limit_bytes = limit_bytes.min(memory.reserved());
        Some(Self {
            memory,
            chunks: Vec::new(),
            partial: Box::new([0; CLASSES]),
            pages: 1,
            pool_head: 0,
            pool_len: 0,
            released_head: 0,
            released_len: 0,
            used_bytes: 0,
            limit_bytes,
        })
    }

    /// The block size that a request of `size` bytes gets.
    #[inline]
    pub(crate) fn rounded(size: usize) -> usize {
        size.next_multiple_of(UNIT_BYTES)
    }

    /// A block of at least `size` bytes (1..=[`BLOCK_BYTES_MAX`]) with undefined content. `None`
    /// when memory is exhausted.
    pub(crate) fn alloc(&mut self, size: usize) -> Option<Handle> {
        let class = size.div_ceil(UNIT_BYTES);
        assert!((1..CLASSES).contains(&class), "the caller keeps larger values elsewhere");
        let mut page = self.partial[class] as usize;
        if page == 0 {
            page = self.take_page(class)?;
        }
        let mut meta = *self.meta(page);
        let unit = if meta.free_head == 0 {
            let unit = meta.carved as usize * class;
            meta.carved += 1;
            unit
        } else {
            let unit = meta.free_head as usize - 1;
            let link = self.memory.slice(page * PAGE_BYTES + unit * UNIT_BYTES, 2);
            meta.free_head = u16::from_le_bytes([link[0], link[1]]);
            unit
        };
        meta.live += 1;
        *self.meta_mut(page) = meta;
        if meta.live as usize == blocks_per_page(class) {
            self.unlink_partial(page, class);
        }
        self.used_bytes += class * UNIT_BYTES;
        Some(Handle((page * UNITS_PER_PAGE + unit) as u64))
    }

    /// Returns a block. `handle` must come from `alloc` and not have been freed since.
    pub(crate) fn free(&mut self, handle: Handle) {
        let page = handle.page();
        let unit = handle.unit();
        let class = self.class(page);
        assert!(class != 0, "a freed block lies in a page that is in use");
        let mut meta = *self.meta(page);
        assert!(meta.live > 0, "a freed block was live");
        let was_full = meta.live as usize == blocks_per_page(class);
        meta.live -= 1;
        self.used_bytes -= class * UNIT_BYTES;
        if meta.live == 0 {
            if !was_full {
                self.unlink_partial(page, class);
            }
            self.recycle_page(page);
            return;
        }
        let link = meta.free_head.to_le_bytes();
        self.memory.slice_mut(handle.offset(), 2).copy_from_slice(&link);
        meta.free_head = unit as u16 + 1;
        *self.meta_mut(page) = meta;
        if was_full {
            self.link_partial(page, class);
        }
    }

    /// The bytes of a block: all of its size class.
    #[inline]
    pub(crate) fn block(&self, handle: Handle) -> &[u8] {
        self.memory.slice(handle.offset(), self.block_bytes(handle))
    }

    /// The bytes of a block, for writing.
    #[inline]
    pub(crate) fn block_mut(&mut self, handle: Handle) -> &mut [u8] {
        self.memory.slice_mut(handle.offset(), self.block_bytes(handle))
    }

    /// The size of a block.
    #[inline]
    pub(crate) fn block_bytes(&self, handle: Handle) -> usize {
        self.class(handle.page()) * UNIT_BYTES
    }

    /// The address of a block, for prefetching only.
    #[inline]
    pub(crate) fn address(&self, handle: Handle) -> *const u8 {
        self.memory.address(handle.offset())
    }

    /// Bytes in live blocks.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes that the arena holds from the system: its pages that have not been given back, and its
    /// metadata.
    pub(crate) fn held_bytes(&self) -> usize {
        (self.pages - 1 - self.released_len) * PAGE_BYTES + self.chunks.len() * Chunk::BYTES
    }

    /// Gives up to `budget` surplus empty pages back to the kernel; the number given.
    pub(crate) fn trim(&mut self, budget: usize) -> usize {
        let count = self.pool_len.saturating_sub(POOL_PAGES).min(budget);
        for _ in 0..count {
            let page = self.pool_head;
            let meta = self.meta_mut(page as usize);
            let next = meta.next;
            self.meta_mut(page as usize).next = self.released_head;
            self.memory.discard(page as usize * PAGE_BYTES, PAGE_BYTES);
            self.pool_head = next;
            self.released_head = page;
        }
        self.pool_len -= count;
        self.released_len += count;
        count
    }

    #[inline]
    fn class(&self, page: usize) -> usize {
        self.chunks[page / PAGES_PER_CHUNK].classes[page % PAGES_PER_CHUNK] as usize
    }

    fn meta(&self, page: usize) -> &PageMeta {
        &self.chunks[page / PAGES_PER_CHUNK].metas[page % PAGES_PER_CHUNK]
    }

    fn meta_mut(&mut self, page: usize) -> &mut PageMeta {
        &mut self.chunks[page / PAGES_PER_CHUNK].metas[page % PAGES_PER_CHUNK]
    }

    /// An empty page, made the head of `class`'s list: from the pool, then from those given back,
    /// then a new one.
    fn take_page(&mut self, class: usize) -> Option<usize> {
        let page = if self.pool_head != 0 {
            let page = self.pool_head as usize;
            self.pool_head = self.meta(page).next;
            self.pool_len -= 1;
            page
        } else if self.released_head != 0 {
            let page = self.released_head as usize;
            self.released_head = self.meta(page).next;
            self.released_len -= 1;
            page
        } else {
            self.new_page()?
        };
        *self.meta_mut(page) = PageMeta::default();
        self.chunks[page / PAGES_PER_CHUNK].classes[page % PAGES_PER_CHUNK] = class as u8;
        self.link_partial(page, class);
        Some(page)
    }

    fn new_page(&mut self) -> Option<usize> {
        let page = self.pages;
        let end = (page + 1) * PAGE_BYTES;
        if end > self.limit_bytes {
            return None;
        }
        if !self.memory.commit(end) {
            return None;
        }
        if page / PAGES_PER_CHUNK == self.chunks.len() {
            self.chunks.push(Chunk::new());
        }
        self.pages += 1;
        Some(page)
    }

    fn recycle_page(&mut self, page: usize) {
        self.chunks[page / PAGES_PER_CHUNK].classes[page % PAGES_PER_CHUNK] = 0;
        *self.meta_mut(page) = PageMeta { next: self.pool_head, ..PageMeta::default() };
        self.pool_head = page as u32;
        self.pool_len += 1;
    }

    fn link_partial(&mut self, page: usize, class: usize) {
        let head = self.partial[class];
        let meta = self.meta_mut(page);
        meta.next = head;
        meta.prev = 0;
        if head != 0 {
            self.meta_mut(head as usize).prev = page as u32;
        }
        self.partial[class] = page as u32;
    }

    fn unlink_partial(&mut self, page: usize, class: usize) {
        let PageMeta { next, prev, .. } = *self.meta(page);
        if prev == 0 {
            assert_eq!(
                self.partial[class] as usize, page,
                "a page without predecessor heads its list"
            );
            self.partial[class] = next;
        } else {
            self.meta_mut(prev as usize).next = next;
        }
        if next != 0 {
            self.meta_mut(next as usize).prev = prev;
        }
    }

    /// Checks every invariant; O(pages + free blocks). For tests and debugging commands.
    pub(crate) fn verify(&self) {
        let mut used = 0;
        let mut with_room = 0;
        let mut empty = 0;
        for page in 1..self.pages {
            let class = self.class(page);
            if class == 0 {
                empty += 1;
                continue;
            }
            let meta = self.meta(page);
            used += meta.live as usize * class * UNIT_BYTES;
            assert!(meta.live > 0, "an empty page is in the pool");
            assert!(meta.carved as usize <= blocks_per_page(class));
            with_room += usize::from((meta.live as usize) < blocks_per_page(class));
            self.verify_free_list(page, class);
        }
        assert_eq!(used, self.used_bytes, "used bytes are accounted exactly");
        assert_eq!(empty, self.pool_len + self.released_len);
        assert_eq!(self.list_len(self.pool_head, 0), self.pool_len);
        assert_eq!(self.list_len(self.released_head, 0), self.released_len);
        let listed: usize =
            (1..CLASSES).map(|class| self.list_len(self.partial[class], class)).sum();
        assert_eq!(listed, with_room, "the lists hold the pages with room");
    }

    fn verify_free_list(&self, page: usize, class: usize) {
        let meta = self.meta(page);
        let mut seen = vec![false; blocks_per_page(class)];
        let mut head = meta.free_head;
        while head != 0 {
            let unit = head as usize - 1;
            assert_eq!(unit % class, 0, "a free block starts at a block boundary");
            let block = unit / class;
            assert!(block < meta.carved as usize && !seen[block], "a free block is listed once");
            seen[block] = true;
            let link = self.memory.slice(page * PAGE_BYTES + unit * UNIT_BYTES, 2);
            head = u16::from_le_bytes([link[0], link[1]]);
        }
        let free = seen.iter().filter(|&&free| free).count();
        assert_eq!(free + meta.live as usize, meta.carved as usize);
    }

    fn list_len(&self, head: u32, class: usize) -> usize {
        let mut len = 0;
        let mut page = head as usize;
        while page != 0 {
            assert_eq!(self.class(page), class);
            len += 1;
            assert!(len < self.pages, "a list has no cycle");
            page = self.meta(page).next as usize;
        }
        len
    }
}

#[inline]
fn blocks_per_page(class: usize) -> usize {
    UNITS_PER_PAGE / class
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_of_one_page_are_disjoint_and_keep_their_bytes() {
        let mut arena = Arena::new(1 << 21).unwrap();
        let handles: Vec<_> = (0..1000u32)
            .map(|n| {
                let handle = arena.alloc(5 + n as usize % 40).unwrap();
                let fill = (n % 251) as u8;
                arena.block_mut(handle).fill(fill);
                (handle, fill)
            })
            .collect();
        for (handle, fill) in handles {
            assert!(arena.block(handle).iter().all(|&byte| byte == fill));
            arena.free(handle);
        }
        arena.verify();
        assert_eq!(arena.used_bytes(), 0);
    }

    #[test]
    fn exhaustion_is_reported_and_freed_memory_serves_another_class() {
        let mut arena = Arena::new(1 << 21).unwrap();
        let mut handles = Vec::new();
        while let Some(handle) = arena.alloc(100) {
            handles.push(handle);
        }
        assert!(handles.len() * 100 > (1 << 21) - 3 * PAGE_BYTES);
        assert!(arena.alloc(200).is_none());
        for handle in handles {
            arena.free(handle);
        }
        assert!(arena.trim(usize::MAX) > 0, "beyond the reserve, pages are given back");
        arena.verify();
        assert!(arena.alloc(200).is_some());
    }

    #[test]
    fn trim_is_bounded_by_its_budget() {
        let mut arena = Arena::new(1 << 21).unwrap();
        let handles: Vec<_> = (0..1600).map(|_| arena.alloc(1000).unwrap()).collect();
        for handle in handles {
            arena.free(handle);
        }
        let held = arena.held_bytes();
        assert_eq!(arena.trim(3), 3);
        assert_eq!(arena.held_bytes(), held - 3 * PAGE_BYTES);
        arena.verify();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

        #[test]
        fn behaves_like_a_map_of_blocks(
            steps in proptest::collection::vec(
                (any::<bool>(), 1..BLOCK_BYTES_MAX, any::<u16>()), 1..400),
        ) {
            let mut arena = Arena::new(1 << 21).unwrap();
            let mut model: Vec<(Handle, usize, u8)> = Vec::new();
            for (index, (free, size, pick)) in steps.into_iter().enumerate() {
                if free && !model.is_empty() {
                    let (handle, size, fill) = model.swap_remove(pick as usize % model.len());
                    let block = arena.block(handle);
                    prop_assert_eq!(block.len(), Arena::rounded(size));
                    prop_assert!(block.iter().all(|&byte| byte == fill));
                    arena.free(handle);
                } else if let Some(handle) = arena.alloc(size) {
                    let fill = index as u8;
                    arena.block_mut(handle).fill(fill);
                    model.push((handle, size, fill));
                }
                arena.verify();
            }
            let used: usize = model.iter().map(|&(_, size, _)| Arena::rounded(size)).sum();
            prop_assert_eq!(arena.used_bytes(), used);
        }
    }
}
