//! A list: a sequence of byte strings in packed blocks.
//!
//! ```text
//! List -> Directory -> chunks of <= 128 blocks, each with its count of elements
//!                        Block -> | room | len bytes | len bytes | ... | room |
//!      -> TailIndex    positions in the last block, once something was popped there
//! ```
//!
//! A block holds as many elements as `list-max-listpack-size` allows ([`ListLimits`]); an element
//! longer than that has a block of its own. Only the blocks at the ends have spare room, at the
//! side where they grow; a block that is no longer at an end is cut to size, and beyond
//! `list-compress-depth` blocks from both ends it is compressed.
//!
//! | operation | cost |
//! |---|---|
//! | push, pop | O(1) amortised |
//! | get, set, insert by index | O(elements / 50 000 + block) |
//! | visit | that, then O(1) an element, without allocation |
//! | remove by value | O(elements) |
//! | take from an end | O(blocks / 128 + block), the rest is left to [`List::drain`] |
//!
//! Memory: an element shorter than 240 bytes costs one byte beside its own. A list of 2M elements
//! of 20 bytes in blocks of 8 KiB takes 21.1 bytes an element (a test holds this below 21.5).
//!
//! A list knows no key and no command. It reports itself as `listpack` or `quicklist` where the
//! peers' list would be one: it becomes a quicklist when it exceeds one block, and a listpack again
//! only when it fits half of one.

mod block;
mod directory;
mod edit;
pub(crate) mod small;
mod tail;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use block::{Block, Elements, encoded_len, offsets};
use directory::{BlockAt, Directory};
pub use edit::Removal;
use tail::TailIndex;

/// The block sizes that negative values of `list-max-listpack-size` stand for, -1 first.
const BLOCK_BYTES: [u32; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// No block limited by a count of elements grows beyond this.
const COUNTED_BLOCK_BYTES: u32 = 8 << 10;
/// The header of a listpack, and the bytes that it spends on each element beyond a block's.
const LISTPACK_HEADER: usize = 7;
const LISTPACK_ELEMENT: usize = 1;

/// One of a list's ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The head: index 0.
    Front,
    /// The tail: index -1.
    Back,
}

/// Which way a list is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the head to the tail.
    Forward,
    /// From the tail to the head.
    Backward,
}

/// How large blocks get and which are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListLimits {
    block_bytes: u32,
    block_count: u32,
    compress_depth: u32,
}

impl Default for ListLimits {
    /// The peers' defaults: 8 KiB, nothing compressed.
    fn default() -> Self {
        Self::new(-2, 0)
    }
}

impl ListLimits {
    /// From the values of `list-max-listpack-size` (negative: a class of 4 to 64 KiB; otherwise a
    /// count of elements, at least one) and `list-compress-depth`.
    pub fn new(max_listpack_size: i64, compress_depth: u64) -> Self {
        let compress_depth = u32::try_from(compress_depth).unwrap_or(u32::MAX);
        if max_listpack_size < 0 {
            let class = max_listpack_size.unsigned_abs().min(BLOCK_BYTES.len() as u64) as usize - 1;
            let block_bytes = BLOCK_BYTES[class];
            return Self { block_bytes, block_count: u32::MAX, compress_depth };
        }
        let block_count = u32::try_from(max_listpack_size.max(1)).unwrap_or(u32::MAX);
        Self { block_bytes: COUNTED_BLOCK_BYTES, block_count, compress_depth }
    }

    pub(crate) fn is_counted(self) -> bool {
        self.block_count != u32::MAX
    }

    /// The buffer to begin a block with, for elements of about `size` bytes.
    fn capacity_for(self, size: usize) -> usize {
        let wanted = size.saturating_mul(self.block_count as usize);
        wanted.min(self.block_bytes as usize).max(size)
    }
}

/// The list. See the module.
#[derive(Clone, Debug, Default)]
pub struct List {
    directory: Directory,
    tail: TailIndex,
    /// Reported as `quicklist`.
    is_quicklist: bool,
}

impl List {
    /// An empty list, which has allocated nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.directory.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blocks: how many pieces there are to free.
    pub fn blocks(&self) -> usize {
        self.directory.blocks()
    }

    /// The bytes that the peers' listpacks of the blocks take, about: integers take less there.
    /// O(blocks).
    pub fn listpack_bytes(&self) -> usize {
        let mut bytes = 0;
        let mut next = self.directory.end(End::Front);
        while let Some(at) = next {
            bytes += listpack_bytes_of(self.directory.block(at));
            next = self.directory.next(at);
        }
        bytes
    }

    /// Bytes of heap memory behind the list. O(1).
    pub fn memory(&self) -> usize {
        self.directory.memory() + self.tail.memory()
    }

    /// The name that OBJECT ENCODING gives it.
    pub fn encoding_name(&self) -> &'static str {
        if self.is_quicklist { "quicklist" } else { "listpack" }
    }

    /// Adds an element at an end. Amortised O(element). It is shorter than 4 GiB, or this panics.
    #[inline]
    pub fn push(&mut self, end: End, element: &[u8], limits: ListLimits) {
        let Some(at) = self.directory.end(end) else {
            return self.push_block(end, element, limits);
        };
        let is_sole = self.directory.blocks() == 1;
        let start = self.directory.block(at).first_position();
        if !self.directory.change(at, |block| block.push(end, element, limits, is_sole)) {
            return self.push_block(end, element, limits);
        }
        if self.tail.is_active() && (is_sole || end == End::Back) {
            self.follow_push(end, element, start);
        }
        if !self.is_quicklist {
            self.is_quicklist = !self.fits_listpack(limits);
        }
    }

    /// Keeps the tail's positions true after a push to the last block, which started at `start`.
    fn follow_push(&mut self, end: End, element: &[u8], start: u32) {
        let at = self.directory.end(End::Back).expect("invariant: something was pushed");
        let block = self.directory.block(at);
        let size = encoded_len(element.len()) as u32;
        match end {
            End::Back if block.first_position() == start => {
                self.tail.pushed(block.end_position() - size);
            }
            End::Front if block.first_position() + size == start => {}
            _ => self.tail.forget(),
        }
    }

    #[cold]
    fn push_block(&mut self, end: End, element: &[u8], limits: ListLimits) {
        let size = encoded_len(element.len());
        let capacity = match self.directory.blocks() {
            0 => size,
            _ => limits.capacity_for(size),
        };
        self.is_quicklist |= !self.is_empty();
        self.directory.push(end, Block::new(element, end, capacity));
        self.is_quicklist |= !self.fits_listpack(limits);
        if end == End::Back || self.directory.blocks() == 2 {
            self.tail.forget();
        }
        if let Some(sealed) = self.directory.nth_from(end, 1) {
            self.directory.change(sealed, Block::shrink);
        }
        let depth = limits.compress_depth as usize;
        if depth > 0
            && self.directory.blocks() / 2 >= depth
            && self.directory.blocks() > 2 * depth
            && let Some(inner) = self.directory.nth_from(end, depth)
        {
            self.directory.change(inner, Block::compress);
        }
    }

    /// Takes an element from an end and shows it to `use_element`; `None` when there is none.
    /// Amortised O(1).
    #[inline]
    pub fn pop<R>(
        &mut self,
        end: End,
        limits: ListLimits,
        use_element: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let at = self.directory.end(end)?;
        let result = match end {
            End::Front => self.directory.change(at, |block| block.pop_front(use_element)),
            End::Back => {
                let position = self.tail.pop(self.directory.block(at));
                self.directory.change(at, |block| block.pop_back(position, use_element))
            }
        };
        let left = self.directory.block(at).count();
        if left == 0 {
            self.drop_end_block(end, at, limits);
        } else if end == End::Front && self.directory.blocks() == 1 {
            self.tail.limit(left);
        }
        if self.is_quicklist {
            self.convert_back(limits);
        }
        Some(result)
    }

    #[cold]
    fn drop_end_block(&mut self, end: End, at: BlockAt, limits: ListLimits) {
        self.directory.remove(at);
        if end == End::Back || self.is_empty() {
            self.tail.forget();
        }
        self.open_end(end, limits);
    }

    /// Unpacks what came within reach of an end by removing blocks there.
    fn open_end(&mut self, end: End, limits: ListLimits) {
        // The end block itself is compressed only where the depth was lowered meanwhile.
        for distance in [0, (limits.compress_depth as usize).saturating_sub(1)] {
            if let Some(at) = self.directory.nth_from(end, distance) {
                self.directory.change(at, Block::open);
            }
        }
    }

    /// Shows the element at `index` to `use_element`; `None` when there is none.
    pub fn get<R>(&self, index: usize, use_element: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if index >= self.len() {
            return None;
        }
        let (at, within) = self.directory.find(index);
        let mut scratch = Vec::new();
        let text = self.directory.block(at).read(&mut scratch);
        Elements::new(text).nth(within).map(use_element)
    }

    /// Shows the elements from `index` on to `visitor`, until it breaks or the list ends. O(1) an
    /// element; nothing is allocated unless a block is compressed or walked backwards.
    pub fn visit(
        &self,
        index: usize,
        direction: Direction,
        visitor: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) {
        if index < self.len() {
            let (at, within) = self.directory.find(index);
            match direction {
                Direction::Forward => self.visit_forward(at, within, visitor),
                Direction::Backward => self.visit_backward(at, within, visitor),
            }
        }
    }

    /// Shows the `count` elements from `index` on, or as many as there are, to `visitor`.
    pub fn range(&self, index: usize, count: usize, mut visitor: impl FnMut(&[u8])) {
        let mut left = count;
        if left == 0 {
            return;
        }
        self.visit(index, Direction::Forward, |element| {
            visitor(element);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }

    fn visit_forward(
        &self,
        mut at: BlockAt,
        mut within: usize,
        mut visitor: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) {
        let mut scratch = Vec::new();
        loop {
            let mut elements = Elements::new(self.directory.block(at).read(&mut scratch));
            for _ in 0..within {
                elements.next();
            }
            if elements.try_for_each(&mut visitor).is_break() {
                return;
            }
            within = 0;
            let Some(next) = self.directory.next(at) else { return };
            at = next;
        }
    }

    fn visit_backward(
        &self,
        mut at: BlockAt,
        within: usize,
        mut visitor: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) {
        let mut scratch = Vec::new();
        let mut starts: Vec<u32> = Vec::new();
        let mut wanted = within + 1;
        loop {
            let text = self.directory.block(at).read(&mut scratch);
            starts.clear();
            starts.extend(offsets(text).take(wanted).map(|offset| offset as u32));
            for &start in starts.iter().rev() {
                if visitor(block::split_first(&text[start as usize..]).0).is_break() {
                    return;
                }
            }
            wanted = usize::MAX;
            let Some(previous) = self.directory.previous(at) else { return };
            at = previous;
        }
    }

    /// Removes `count` elements, or all, from an end; returns them as a list, whose freeing can be
    /// spread with [`List::drain`]. O(blocks / 128 + 128).
    #[must_use = "what is taken may be long: it is freed in steps"]
    pub fn take(&mut self, end: End, count: usize, limits: ListLimits) -> Self {
        if count >= self.len() {
            return std::mem::take(self);
        }
        let taken = self.directory.take_chunks(end, count);
        let mut left = count - taken.len();
        while left > 0 {
            let at = self.directory.end(end).expect("invariant: fewer are taken than there are");
            let held = self.directory.block(at).count();
            if held > left {
                self.directory.change(at, |block| {
                    block.open();
                    block.shorten(end, left);
                });
                break;
            }
            self.directory.remove(at);
            left -= held;
        }
        self.tail.forget();
        self.open_end(end, limits);
        self.convert_back(limits);
        Self { directory: taken, tail: TailIndex::default(), is_quicklist: true }
    }

    /// Frees up to `blocks` blocks of a list that serves nothing else any more; whether there are
    /// more. O(blocks).
    pub fn drain(&mut self, blocks: usize) -> bool {
        self.tail.forget();
        self.directory.drain(blocks);
        !self.is_empty()
    }

    /// Makes clones cheap: from now on they are O(blocks / 128), or O(bytes / 256 KiB), as this is,
    /// and what is written to here or there is copied first, some 256 KiB at a time.
    pub fn share(&mut self) {
        self.directory.share();
    }

    /// Bytes of blocks that nobody else has.
    #[cfg(test)]
    pub(crate) fn own_bytes(&self) -> usize {
        self.directory.own_bytes()
    }

    /// Shows the elements of each block to `visitor`, in order, until it fails. O(elements).
    pub fn try_for_each_block<E>(
        &self,
        mut visitor: impl FnMut(&mut dyn Iterator<Item = &[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut scratch = Vec::new();
        for block in self.directory.iter() {
            visitor(&mut Elements::new(block.read(&mut scratch)))?;
        }
        Ok(())
    }

    /// Whether the peers' list would be a listpack still.
    fn fits_listpack(&self, limits: ListLimits) -> bool {
        self.fits_listpack_with(0, 0, limits)
    }

    /// Whether it would be with so much more in it.
    fn fits_listpack_with(&self, bytes: usize, count: usize, limits: ListLimits) -> bool {
        self.directory.blocks() <= 1
            && self.first_listpack_bytes() + bytes <= limits.block_bytes as usize
            && self.len() + count <= limits.block_count as usize
    }

    /// Reports the list as a listpack again when it fits half of one, as the peers do.
    fn convert_back(&mut self, limits: ListLimits) {
        if self.directory.blocks() > 1 {
            return;
        }
        let (bytes, count) = if limits.is_counted() {
            (limits.block_bytes, limits.block_count / 2)
        } else {
            (limits.block_bytes / 2, u32::MAX)
        };
        self.is_quicklist &=
            self.first_listpack_bytes() > bytes as usize || self.len() > count as usize;
    }

    /// The bytes that the peers' listpack of the first block's elements takes, or a little more
    /// where some are integers.
    fn first_listpack_bytes(&self) -> usize {
        let first = self.directory.end(End::Front);
        first.map_or(LISTPACK_HEADER, |at| listpack_bytes_of(self.directory.block(at)))
    }

    /// Checks the invariants; O(bytes).
    pub fn verify(&self) {
        self.directory.verify();
        let ends = [End::Front, End::Back].map(|end| self.directory.end(end));
        for at in ends.into_iter().flatten() {
            assert!(!self.directory.block(at).is_compressed(), "end blocks are open");
        }
        match ends[1] {
            Some(at) => self.tail.verify(self.directory.block(at)),
            None => assert!(!self.tail.is_active(), "no block, no positions"),
        }
        assert!(self.is_quicklist || self.directory.blocks() <= 1, "a listpack is one block");
    }
}

/// The bytes that a block's elements take in a listpack of the peers.
fn listpack_bytes_of(block: &Block) -> usize {
    LISTPACK_HEADER + block.unpacked_len() + block.count() * LISTPACK_ELEMENT
}
