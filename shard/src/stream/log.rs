//! The entries of a stream: blocks in a directory ordered by identifier, and what is remembered of
//! entries that are gone.

use std::collections::VecDeque;

use super::Id;
use super::block::{Block, Entry, Pairs};
use super::iterate::{Range, RangeBack};
use crate::held::Held;

/// Blocks of one part of the directory. A part that somebody else has as well is copied as a whole
/// when it is written to: a quarter of a megabyte with the blocks' default size.
const CHUNK_MAX: usize = 64;
/// Parts below this are joined with a neighbour where both are small.
const CHUNK_SMALL: usize = CHUNK_MAX / 4;
/// No block grows beyond it, and no entry may be larger, as in the peers.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// How large a block may get: `stream-node-max-bytes` and `stream-node-max-entries`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeLimits {
    /// Bytes; 0 for no limit.
    pub bytes: usize,
    /// Entries, those that were removed included; 0 for no limit.
    pub entries: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self { bytes: 4096, entries: 100 }
    }
}

impl NodeLimits {
    fn bytes_max(self) -> usize {
        if self.bytes == 0 { BLOCK_BYTES_MAX } else { self.bytes.min(BLOCK_BYTES_MAX) }
    }
}

/// An entry that no stream can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

/// What trimming shall reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimTo {
    /// At most so many entries.
    Len(u64),
    /// No entry below this one.
    MinId(Id),
}

/// How far trimming goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimHow {
    /// Exactly.
    Exact,
    /// As far as whole blocks can go, of at most so many entries in all; 0 for no limit.
    Blocks {
        /// The limit.
        entries_max: u64,
    },
}

/// The entries. Appending is O(1), finding O(log blocks) and a walk of a block.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Blocks in order, in parts of at most [`CHUNK_MAX`]; no part is empty.
    chunks: VecDeque<Held<Vec<Block>>>,
    blocks: usize,
    len: u64,
    last_id: Id,
    max_deleted: Id,
    entries_added: u64,
    /// Heap bytes of the blocks.
    bytes: usize,
}

/// Where a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockAt {
    pub(super) chunk: usize,
    pub(super) block: usize,
}

impl Log {
    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The identifier given last, or set by [`Log::set_last_id`].
    #[inline]
    pub fn last_id(&self) -> Id {
        self.last_id
    }

    /// The identifier of the first entry; [`Id::MIN`] if there is none.
    pub fn first_id(&self) -> Id {
        self.chunks.front().map_or(Id::MIN, |chunk| chunk[0].first())
    }

    /// The identifier of the last entry; [`Id::MIN`] if there is none.
    pub fn last_entry_id(&self) -> Id {
        self.chunks.back().and_then(|chunk| chunk.last()).map_or(Id::MIN, Block::last)
    }

    /// The greatest identifier that was deleted other than by trimming; [`Id::MIN`] if none was.
    pub fn max_deleted(&self) -> Id {
        self.max_deleted
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// How many blocks hold them: what the peers report as keys of their radix tree.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Sets the identifier that the next one must exceed; it must not be below an entry's.
    pub fn set_last_id(&mut self, id: Id) {
        assert!(id >= self.last_entry_id(), "the last identifier is not below an entry's");
        self.last_id = id;
    }

    /// Sets the count of entries that were ever added.
    pub fn set_entries_added(&mut self, count: u64) {
        self.entries_added = count;
    }

    /// Sets the greatest identifier that was deleted.
    pub fn set_max_deleted(&mut self, id: Id) {
        self.max_deleted = id;
    }

    /// Adds an entry, whose identifier must be above [`Log::last_id`]. Amortised O(its bytes).
    pub fn append<'a>(
        &mut self,
        id: Id,
        pairs: impl Pairs<'a>,
        limits: NodeLimits,
    ) -> Result<(), TooLarge> {
        assert!(id > self.last_id, "identifiers grow");
        let bytes = pairs.clone().map(|(field, value)| field.len() + value.len()).sum::<usize>();
        if bytes > BLOCK_BYTES_MAX {
            return Err(TooLarge);
        }
        let bytes_max = limits.bytes_max();
        match self.chunks.back_mut().and_then(|chunk| chunk.to_mut().last_mut()) {
            Some(block) if has_room(block, pairs.clone(), limits) => {
                let before = block.memory();
                block.append(id, pairs, bytes_max);
                self.bytes += block.memory() - before;
            }
            _ => self.add_block(Block::new(id, pairs)),
        }
        self.len += 1;
        self.entries_added += 1;
        self.last_id = id;
        Ok(())
    }

    fn add_block(&mut self, block: Block) {
        if let Some(full) = self.chunks.back_mut().and_then(|chunk| chunk.to_mut().last_mut()) {
            let before = full.memory();
            full.close();
            self.bytes = self.bytes - before + full.memory();
        }
        self.bytes += block.memory();
        self.blocks += 1;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK_MAX => chunk.to_mut().push(block),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK_MAX);
                chunk.push(block);
                self.chunks.push_back(Held::Own(chunk));
            }
            None => {
                self.chunks.reserve_exact(1);
                self.chunks.push_back(Held::Own(vec![block]));
            }
        }
    }

    /// The last block that begins at or before `id`.
    pub(super) fn block_of(&self, id: Id) -> Option<BlockAt> {
        let chunk = self.chunks.partition_point(|chunk| chunk[0].first() <= id).checked_sub(1)?;
        let block = self.chunks[chunk].partition_point(|block| block.first() <= id) - 1;
        Some(BlockAt { chunk, block })
    }

    pub(super) fn block(&self, at: BlockAt) -> Option<&Block> {
        self.chunks.get(at.chunk)?.get(at.block)
    }

    /// The place of the block after this one, which may have none.
    pub(super) fn after(&self, at: BlockAt) -> BlockAt {
        if at.block + 1 < self.chunks[at.chunk].len() {
            BlockAt { block: at.block + 1, ..at }
        } else {
            BlockAt { chunk: at.chunk + 1, block: 0 }
        }
    }

    /// The place of the block before this one.
    pub(super) fn before(&self, at: BlockAt) -> Option<BlockAt> {
        if let Some(block) = at.block.checked_sub(1) {
            return Some(BlockAt { block, ..at });
        }
        let chunk = at.chunk.checked_sub(1)?;
        Some(BlockAt { chunk, block: self.chunks[chunk].len() - 1 })
    }

    /// The entries from `start` to `end`, both included, in order. Finding the first is O(log
    /// blocks) and the walk of a block; no entry allocates.
    pub fn range(&self, start: Id, end: Id) -> Range<'_> {
        Range::new(self, start, end)
    }

    /// The entries from `end` down to `start`, both included. A block's places are noted in one
    /// buffer, reused for all blocks; no entry allocates.
    pub fn range_back(&self, start: Id, end: Id) -> RangeBack<'_> {
        RangeBack::new(self, start, end)
    }

    /// An entry.
    pub fn get(&self, id: Id) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// Whether there is such an entry.
    pub fn contains(&self, id: Id) -> bool {
        self.get(id).is_some()
    }

    /// Deletes an entry and remembers the greatest one deleted; whether there was one.
    pub fn delete(&mut self, id: Id) -> bool {
        let is_deleted = self.remove(id);
        if is_deleted {
            self.max_deleted = self.max_deleted.max(id);
        }
        is_deleted
    }

    /// Removes an entry as trimming does; whether there was one.
    pub(super) fn remove(&mut self, id: Id) -> bool {
        let Some(at) = self.block_of(id) else { return false };
        let block = &mut self.chunks[at.chunk].to_mut()[at.block];
        let before = block.memory();
        if !block.remove(id) {
            return false;
        }
        // The header of the entry that follows can outgrow what was cut out.
        self.bytes = self.bytes - before + block.memory();
        self.len -= 1;
        if block.len() == 0 {
            self.remove_block(at);
        }
        true
    }

    /// Takes a block out of the directory.
    fn remove_block(&mut self, at: BlockAt) {
        let block = self.chunks[at.chunk].to_mut().remove(at.block);
        self.bytes -= block.memory();
        self.blocks -= 1;
        let left = self.chunks[at.chunk].len();
        if left == 0 {
            self.chunks.remove(at.chunk);
        } else if left < CHUNK_SMALL
            && let Some(next) = self.chunks.get(at.chunk + 1)
            && next.len() < CHUNK_SMALL
        {
            let next = self.chunks.remove(at.chunk + 1);
            let next = next.into_iter().flat_map(Held::into_inner);
            self.chunks[at.chunk].to_mut().extend(next);
        }
    }

    /// Removes entries from the front until `to` holds; how many. A whole block goes without a
    /// look at its entries. An exact trim goes on within the first block that stays.
    pub fn trim(&mut self, to: TrimTo, how: TrimHow) -> u64 {
        let before = self.len;
        while let Some(block) = self.chunks.front().map(|chunk| &chunk[0])
            && block_goes(block, self.len, to, how, before - self.len)
        {
            self.len -= block.len() as u64;
            self.remove_block(BlockAt { chunk: 0, block: 0 });
        }
        if how == TrimHow::Exact {
            while self.is_front_beyond(to) {
                let is_removed = self.remove(self.first_id());
                debug_assert!(is_removed, "the first entry can be removed");
            }
        }
        before - self.len
    }

    fn is_front_beyond(&self, to: TrimTo) -> bool {
        match to {
            TrimTo::Len(len) => self.len > len,
            TrimTo::MinId(id) => self.len > 0 && self.first_id() < id,
        }
    }

    /// How many entries at the front lie in blocks that [`Log::trim`] would remove whole.
    pub(super) fn whole_blocks_beyond(&self, to: TrimTo, how: TrimHow) -> u64 {
        let mut beyond = 0;
        for block in self.iter() {
            if !block_goes(block, self.len - beyond, to, how, beyond) {
                break;
            }
            beyond += block.len() as u64;
        }
        beyond
    }

    /// The number of entries that were added up to `id`, where it can be told: the peers' logical
    /// read counter of an identifier.
    pub fn entries_added_up_to(&self, id: Id) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id {
            return Some(self.entries_added);
        }
        if id != Id::MIN && id < self.max_deleted {
            return None;
        }
        if id == self.last_id {
            return Some(self.entries_added);
        }
        let first = self.first_id();
        if id > self.last_id || (self.max_deleted != Id::MIN && self.max_deleted >= first) {
            return None;
        }
        // A file may claim fewer additions than there are entries.
        let gone = self.entries_added.wrapping_sub(self.len);
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(gone),
            std::cmp::Ordering::Equal => Some(gone.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Whether an entry at or after `start` was deleted, as far as is remembered.
    pub fn has_deleted_from(&self, start: Id) -> bool {
        self.len > 0 && self.max_deleted != Id::MIN && start <= self.max_deleted
    }

    /// Heap bytes, about.
    pub fn memory(&self) -> usize {
        self.bytes
            + self.blocks * size_of::<Block>()
            + self.chunks.len() * size_of::<Held<Vec<Block>>>()
    }

    /// Makes clones cheap: from now on they are O(blocks / 64), as this is.
    pub(super) fn share(&mut self) {
        for chunk in &mut self.chunks {
            chunk.share();
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Block> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Frees about so many blocks; whether there are more. A part of the directory that somebody
    /// else may have goes whole.
    pub(super) fn drain(&mut self, budget: &mut usize) -> bool {
        while *budget > 0
            && let Some(chunk) = self.chunks.back_mut()
        {
            if chunk.is_shared() {
                *budget = budget.saturating_sub(chunk.len());
                self.len -= chunk.iter().map(|block| block.len() as u64).sum::<u64>();
                self.bytes -= chunk.iter().map(Block::memory).sum::<usize>();
                self.blocks -= chunk.len();
                self.chunks.pop_back();
                continue;
            }
            let chunk = chunk.to_mut();
            while *budget > 0
                && let Some(block) = chunk.pop()
            {
                self.len -= block.len() as u64;
                self.bytes -= block.memory();
                self.blocks -= 1;
                *budget -= 1;
            }
            if chunk.is_empty() {
                self.chunks.pop_back();
            }
        }
        !self.chunks.is_empty()
    }

    /// Checks every block, the directory and the counts; O(entries).
    pub fn verify(&self) {
        let blocks = || self.iter();
        for chunk in &self.chunks {
            assert!(
                !chunk.is_empty() && chunk.len() <= CHUNK_MAX,
                "parts are neither empty nor over"
            );
        }
        blocks().for_each(|block| {
            assert!(block.len() > 0, "no block is without entries");
            block.verify();
        });
        assert!(
            blocks().zip(blocks().skip(1)).all(|(a, b)| a.last() < b.first()),
            "blocks are in order"
        );
        assert_eq!(blocks().count(), self.blocks);
        assert_eq!(blocks().map(Block::len).sum::<usize>() as u64, self.len);
        assert_eq!(blocks().map(Block::memory).sum::<usize>(), self.bytes);
        assert!(self.last_entry_id() <= self.last_id);
    }
}

/// Whether an entry may go into a block.
fn has_room<'a>(block: &Block, pairs: impl Pairs<'a>, limits: NodeLimits) -> bool {
    (limits.entries == 0 || block.entries_ever() < limits.entries)
        && block.size_with(pairs) <= limits.bytes_max()
}

/// Whether the first block of a log of `len` entries may go as a whole, when `removed` are gone.
fn block_goes(block: &Block, len: u64, to: TrimTo, how: TrimHow, removed: u64) -> bool {
    let entries = block.len() as u64;
    let is_within_limit = match how {
        TrimHow::Blocks { entries_max } if entries_max > 0 => removed + entries <= entries_max,
        _ => true,
    };
    let is_beyond = match to {
        TrimTo::Len(max) => len > max && len - entries >= max,
        TrimTo::MinId(id) => block.last() < id,
    };
    is_within_limit && is_beyond
}
