//! The directory of a list's blocks: chunks of at most 128, each with the count of its elements.
//!
//! Who wants the list as it is now shares its chunks ([`Directory::share`]): one that is written to
//! while somebody else holds it is copied first. So that this is no long work for one turn, a chunk
//! takes no more blocks once it has a quarter of a megabyte.
//!
//! An index is found by walking the chunks' counts, which lie side by side, from the nearer end,
//! then those of one chunk: for a list of ten million elements in 8 KiB blocks that is about a
//! hundred counts. All counters and the accounting of memory are kept here.

use std::collections::VecDeque;

use super::End;
use super::block::Block;
use crate::held::Held;

/// Blocks in a chunk, at most. A full one costs 4 KiB, of which an insertion in it moves a part.
const CHUNK_BLOCKS_MAX: usize = 128;
/// A chunk with so many bytes takes no more blocks.
const CHUNK_BYTES_MAX: usize = 256 << 10;

#[derive(Clone, Debug, Default)]
struct Chunk {
    blocks: Vec<Block>,
    /// Elements in the blocks.
    len: usize,
    /// Bytes of the blocks' buffers.
    buffers: usize,
}

impl Chunk {
    fn of(block: Block) -> Self {
        let (len, buffers) = (block.count(), block.capacity());
        // Most lists have one block.
        Self { blocks: vec![block], len, buffers }
    }

    /// Whether the next block had better lie in another one.
    fn is_full(&self) -> bool {
        self.blocks.len() >= CHUNK_BLOCKS_MAX || self.buffers >= CHUNK_BYTES_MAX
    }

    fn insert(&mut self, at: usize, block: Block) {
        self.len += block.count();
        self.buffers += block.capacity();
        self.blocks.insert(at, block);
    }
}

/// Names a block until the directory's next change of structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockAt {
    chunk: usize,
    block: usize,
}

/// The directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    chunks: VecDeque<Held<Chunk>>,
    len: usize,
    blocks: usize,
    /// Bytes of the blocks' buffers.
    buffers: usize,
}

impl Directory {
    /// Elements in all blocks.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of heap memory. O(1).
    pub(super) fn memory(&self) -> usize {
        self.buffers
            + self.blocks * size_of::<Block>()
            + self.chunks.len() * size_of::<Held<Chunk>>()
    }

    /// The block at an end.
    #[inline]
    pub(super) fn end(&self, end: End) -> Option<BlockAt> {
        match end {
            End::Front => (!self.chunks.is_empty()).then_some(BlockAt { chunk: 0, block: 0 }),
            End::Back => {
                let chunk = self.chunks.len().checked_sub(1)?;
                Some(BlockAt { chunk, block: self.chunks[chunk].blocks.len() - 1 })
            }
        }
    }

    /// The block that is `distance` blocks away from an end. O(chunks walked).
    pub(super) fn nth_from(&self, end: End, distance: usize) -> Option<BlockAt> {
        let mut left = distance;
        let mut step = |chunk: usize| {
            let blocks = self.chunks[chunk].blocks.len();
            if left >= blocks {
                left -= blocks;
                return None;
            }
            let block = match end {
                End::Front => left,
                End::Back => blocks - 1 - left,
            };
            Some(BlockAt { chunk, block })
        };
        match end {
            End::Front => (0..self.chunks.len()).find_map(&mut step),
            End::Back => (0..self.chunks.len()).rev().find_map(&mut step),
        }
    }

    #[inline]
    pub(super) fn block(&self, at: BlockAt) -> &Block {
        &self.chunks[at.chunk].blocks[at.block]
    }

    /// Changes a block and accounts for it.
    #[inline]
    pub(super) fn change<R>(&mut self, at: BlockAt, change: impl FnOnce(&mut Block) -> R) -> R {
        let chunk = self.chunks[at.chunk].to_mut();
        let block = &mut chunk.blocks[at.block];
        let (count, capacity) = (block.count(), block.capacity());
        let result = change(block);
        chunk.len = chunk.len + block.count() - count;
        chunk.buffers = chunk.buffers + block.capacity() - capacity;
        self.len = self.len + block.count() - count;
        self.buffers = self.buffers + block.capacity() - capacity;
        result
    }

    /// The block that holds the element at `index`, which exists, and the element's place in it.
    pub(super) fn find(&self, index: usize) -> (BlockAt, usize) {
        assert!(index < self.len, "the element exists");
        let (chunk, mut left) = if index <= self.len / 2 {
            self.chunk_from_front(index)
        } else {
            self.chunk_from_back(index)
        };
        for (block, found) in self.chunks[chunk].blocks.iter().enumerate() {
            if left < found.count() {
                return (BlockAt { chunk, block }, left);
            }
            left -= found.count();
        }
        unreachable!("a chunk has as many elements as it says")
    }

    fn chunk_from_front(&self, index: usize) -> (usize, usize) {
        let mut left = index;
        for (at, chunk) in self.chunks.iter().enumerate() {
            if left < chunk.len {
                return (at, left);
            }
            left -= chunk.len;
        }
        unreachable!("the index is below the length")
    }

    fn chunk_from_back(&self, index: usize) -> (usize, usize) {
        let mut first = self.len;
        for (at, chunk) in self.chunks.iter().enumerate().rev() {
            first -= chunk.len;
            if index >= first {
                return (at, index - first);
            }
        }
        unreachable!("the first chunk starts at index zero")
    }

    /// The block after `at`.
    pub(super) fn next(&self, at: BlockAt) -> Option<BlockAt> {
        self.normal(BlockAt { block: at.block + 1, ..at })
    }

    /// `at`, or the first block of the next chunk if its chunk ends before it. After the block at
    /// a place was removed, this is the one that followed it.
    pub(super) fn normal(&self, at: BlockAt) -> Option<BlockAt> {
        if self.chunks.get(at.chunk).is_some_and(|chunk| at.block < chunk.blocks.len()) {
            return Some(at);
        }
        let next = if at.block == 0 { at.chunk } else { at.chunk + 1 };
        (next < self.chunks.len()).then_some(BlockAt { chunk: next, block: 0 })
    }

    /// The block before `at`.
    pub(super) fn previous(&self, at: BlockAt) -> Option<BlockAt> {
        if let Some(block) = at.block.checked_sub(1) {
            return Some(BlockAt { block, ..at });
        }
        let chunk = at.chunk.checked_sub(1)?;
        Some(BlockAt { chunk, block: self.chunks[chunk].blocks.len() - 1 })
    }

    /// The block before `at` if the same chunk holds it.
    pub(super) fn previous_in_chunk(&self, at: BlockAt) -> Option<BlockAt> {
        let previous = BlockAt { block: at.block.checked_sub(1)?, ..at };
        debug_assert!(at.block < self.chunks[at.chunk].blocks.len(), "the place is of now");
        Some(previous)
    }

    /// The block after `at` if the same chunk holds it.
    pub(super) fn next_in_chunk(&self, at: BlockAt) -> Option<BlockAt> {
        let block = at.block + 1;
        (block < self.chunks[at.chunk].blocks.len()).then_some(BlockAt { block, ..at })
    }

    /// Whether fewer than `depth` blocks lie between `at` and an end. O(chunks walked).
    pub(super) fn is_within(&self, depth: usize, at: BlockAt) -> bool {
        let before = |end| {
            self.nth_from(end, depth).is_none_or(|first_inside| match end {
                End::Front => (at.chunk, at.block) < (first_inside.chunk, first_inside.block),
                End::Back => (at.chunk, at.block) > (first_inside.chunk, first_inside.block),
            })
        };
        before(End::Front) || before(End::Back)
    }

    /// Adds a block at an end. O(128).
    pub(super) fn push(&mut self, end: End, block: Block) {
        self.count_in(&block);
        let chunk = match end {
            End::Front => self.chunks.front_mut(),
            End::Back => self.chunks.back_mut(),
        };
        if let Some(chunk) = chunk.filter(|chunk| !chunk.is_full()) {
            let at = if end == End::Front { 0 } else { chunk.blocks.len() };
            return chunk.to_mut().insert(at, block);
        }
        if self.chunks.is_empty() {
            self.chunks.reserve_exact(1);
        }
        match end {
            End::Front => self.chunks.push_front(Held::Own(Chunk::of(block))),
            End::Back => self.chunks.push_back(Held::Own(Chunk::of(block))),
        }
    }

    /// Adds a block after the one at `at`; returns its place. O(128), or O(chunks) once in a while.
    pub(super) fn insert_after(&mut self, at: BlockAt, block: Block) -> BlockAt {
        let at = BlockAt { block: at.block + 1, ..at };
        self.insert_at(at, block)
    }

    /// Adds a block so that it comes to lie at `at`; returns its place, which differs when the
    /// chunk had to be split.
    pub(super) fn insert_at(&mut self, mut at: BlockAt, block: Block) -> BlockAt {
        let chunk = &self.chunks[at.chunk];
        if chunk.is_full() && chunk.blocks.len() > 1 {
            self.split_chunk(at.chunk);
            let half = self.chunks[at.chunk].blocks.len();
            if at.block > half {
                at = BlockAt { chunk: at.chunk + 1, block: at.block - half };
            }
        }
        self.count_in(&block);
        self.chunks[at.chunk].to_mut().insert(at.block, block);
        at
    }

    fn split_chunk(&mut self, at: usize) {
        let chunk = self.chunks[at].to_mut();
        let blocks = chunk.blocks.split_off(chunk.blocks.len() / 2);
        let len = blocks.iter().map(Block::count).sum();
        let buffers = blocks.iter().map(Block::capacity).sum();
        chunk.len -= len;
        chunk.buffers -= buffers;
        self.chunks.insert(at + 1, Held::Own(Chunk { blocks, len, buffers }));
    }

    /// Takes a block out. O(128), or O(chunks) for the last one of a chunk.
    pub(super) fn remove(&mut self, at: BlockAt) -> Block {
        let chunk = self.chunks[at.chunk].to_mut();
        let block = chunk.blocks.remove(at.block);
        chunk.len -= block.count();
        chunk.buffers -= block.capacity();
        if chunk.blocks.is_empty() {
            self.chunks.remove(at.chunk);
        }
        self.len -= block.count();
        self.blocks -= 1;
        self.buffers -= block.capacity();
        block
    }

    /// Moves whole chunks of together at most `count` elements from an end into a directory of
    /// their own. O(chunks moved).
    pub(super) fn take_chunks(&mut self, end: End, count: usize) -> Self {
        let mut taken = Self::default();
        let mut left = count;
        while let Some(chunk) = self.pop_chunk(end, left) {
            left -= chunk.len;
            taken.len += chunk.len;
            taken.blocks += chunk.blocks.len();
            taken.buffers += chunk.buffers;
            taken.chunks.push_back(chunk);
        }
        self.len -= taken.len;
        self.blocks -= taken.blocks;
        self.buffers -= taken.buffers;
        taken
    }

    fn pop_chunk(&mut self, end: End, len_max: usize) -> Option<Held<Chunk>> {
        let next = match end {
            End::Front => self.chunks.front(),
            End::Back => self.chunks.back(),
        };
        if next?.len > len_max {
            return None;
        }
        match end {
            End::Front => self.chunks.pop_front(),
            End::Back => self.chunks.pop_back(),
        }
    }

    /// Frees about `blocks` blocks from the back; a chunk that somebody else may have goes whole.
    pub(super) fn drain(&mut self, blocks: usize) {
        let mut left = blocks;
        while left > 0
            && let Some(chunk) = self.chunks.back()
        {
            if chunk.is_shared() {
                left = left.saturating_sub(chunk.blocks.len());
                self.len -= chunk.len;
                self.blocks -= chunk.blocks.len();
                self.buffers -= chunk.buffers;
                self.chunks.pop_back();
            } else {
                left -= 1;
                let at = self.end(End::Back).expect("invariant: no chunk is empty");
                self.remove(at);
            }
        }
    }

    /// Lets somebody else have all blocks as they are now: from then on a clone is O(chunks), as
    /// this is.
    pub(super) fn share(&mut self) {
        for chunk in &mut self.chunks {
            chunk.share();
        }
    }

    /// Bytes of blocks in chunks that nobody else has.
    #[cfg(test)]
    pub(super) fn own_bytes(&self) -> usize {
        let own = self.chunks.iter().filter(|chunk| !chunk.is_shared());
        own.map(|chunk| chunk.buffers).sum()
    }

    /// The blocks, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Block> {
        self.chunks.iter().flat_map(|chunk| &chunk.blocks)
    }

    fn count_in(&mut self, block: &Block) {
        self.len += block.count();
        self.blocks += 1;
        self.buffers += block.capacity();
    }

    /// Checks the invariants and the accounting; O(bytes).
    pub(super) fn verify(&self) {
        for chunk in &self.chunks {
            assert!((1..=CHUNK_BLOCKS_MAX).contains(&chunk.blocks.len()), "no chunk is empty");
            assert_eq!(chunk.len, chunk.blocks.iter().map(Block::count).sum::<usize>());
            assert_eq!(chunk.buffers, chunk.blocks.iter().map(Block::capacity).sum::<usize>());
            chunk.blocks.iter().for_each(Block::verify);
        }
        assert_eq!(self.len, self.chunks.iter().map(|chunk| chunk.len).sum::<usize>());
        assert_eq!(self.blocks, self.chunks.iter().map(|chunk| chunk.blocks.len()).sum::<usize>());
        assert_eq!(self.buffers, self.chunks.iter().map(|chunk| chunk.buffers).sum::<usize>());
    }
}
