//! Changes in the middle of a list: set, insert, remove by value.
//!
//! They move the bytes of one block. A full block that an element is put into is split; blocks that
//! removals made small are joined with a neighbour, so that a list does not end up as a block an
//! element.

use super::block::{Block, Elements};
use super::directory::BlockAt;
use super::{Direction, End, List, ListLimits};

/// A removal by value under way; see [`List::remove_part`].
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    direction: Direction,
    /// How many may go yet.
    left: usize,
    /// How many have gone.
    removed: usize,
    /// Elements that stay, and have been looked at.
    passed: usize,
}

impl Removal {
    /// Of up to `count` elements, the first ones in that direction.
    pub fn new(count: usize, direction: Direction) -> Self {
        Self { direction, left: count, removed: 0, passed: 0 }
    }

    /// How many have gone.
    pub fn removed(&self) -> usize {
        self.removed
    }
}

impl List {
    /// Replaces the element at `index`; false when there is none.
    pub fn set(&mut self, index: usize, element: &[u8], limits: ListLimits) -> bool {
        if index >= self.len() {
            return false;
        }
        // The peers look whether the element could be added, not whether it fits in another's
        // place.
        self.is_quicklist |= !self.fits_listpack_with(element.len(), 1, limits);
        let (at, within) = self.directory.find(index);
        self.tail.forget();
        let replaced = self.directory.change(at, |block| {
            block.open();
            let replaced = block.replace(within, element, limits);
            if !replaced {
                block.remove(within);
            }
            replaced
        });
        if !replaced {
            self.insert(index, element, limits);
            return true;
        }
        self.tidy(at, limits);
        self.is_quicklist |= !self.fits_listpack(limits);
        self.convert_back(limits);
        true
    }

    /// Puts an element before the one at `index`, or at the end when `index` is the length. Panics
    /// beyond that.
    pub fn insert(&mut self, index: usize, element: &[u8], limits: ListLimits) {
        if index == 0 || index == self.len() {
            let end = if index == 0 { End::Front } else { End::Back };
            return self.push(end, element, limits);
        }
        let (at, within) = self.directory.find(index);
        self.tail.forget();
        let inserted = self.directory.change(at, |block| {
            block.open();
            block.insert(within, element, limits)
        });
        let at = match (inserted, within) {
            (true, _) => at,
            (false, 0) => self.insert_before_block(at, element, limits),
            (false, _) => self.insert_by_split(at, within, element, limits),
        };
        self.tidy(at, limits);
        self.is_quicklist |= !self.fits_listpack(limits);
    }

    /// Puts an element between a full block and the one before it; returns where it lies.
    fn insert_before_block(&mut self, at: BlockAt, element: &[u8], limits: ListLimits) -> BlockAt {
        if let Some(previous) = self.directory.previous_in_chunk(at)
            && self.append_to_block(previous, element, limits)
        {
            return previous;
        }
        self.directory.insert_at(at, Block::new(element, End::Back, 0))
    }

    /// Puts an element into a full block by splitting it; returns where it lies.
    fn insert_by_split(
        &mut self,
        at: BlockAt,
        within: usize,
        element: &[u8],
        limits: ListLimits,
    ) -> BlockAt {
        let later = self.directory.change(at, |block| block.split_off(within));
        let later = self.directory.insert_after(at, later);
        let earlier = self.directory.previous(later).expect("invariant: a block was split");
        if self.append_to_block(earlier, element, limits) {
            return earlier;
        }
        self.directory.insert_after(earlier, Block::new(element, End::Back, 0))
    }

    fn append_to_block(&mut self, at: BlockAt, element: &[u8], limits: ListLimits) -> bool {
        self.directory.change(at, |block| {
            block.open();
            block.insert(block.count(), element, limits)
        })
    }

    /// Removes up to `count` elements equal to `value`, the first ones in that direction; returns
    /// how many. O(elements).
    pub fn remove(
        &mut self,
        value: &[u8],
        count: usize,
        direction: Direction,
        limits: ListLimits,
    ) -> usize {
        let mut removal = Removal::new(count, direction);
        let goes_on = self.remove_part(value, &mut removal, usize::MAX, limits);
        assert!(!goes_on, "all blocks were looked at");
        removal.removed
    }

    /// As [`List::remove`], in parts of at most so many blocks; whether there is more to look at.
    /// Nothing else may change the list between two parts. O(elements of the blocks).
    pub fn remove_part(
        &mut self,
        value: &[u8],
        removal: &mut Removal,
        blocks: usize,
        limits: ListLimits,
    ) -> bool {
        let direction = removal.direction;
        let (mut next, mut blocks) = (self.start_of(removal), blocks);
        let before = removal.removed;
        let mut scratch = Vec::new();
        while let Some(at) = next.filter(|_| removal.left > 0 && blocks > 0) {
            blocks -= 1;
            let block = self.directory.block(at);
            let held = block.count();
            let text = block.read(&mut scratch);
            let equal = Elements::new(text).filter(|element| *element == value).count();
            let removed = equal.min(removal.left);
            removal.left -= removed;
            removal.removed += removed;
            removal.passed += held - removed;
            let mut is_gone = false;
            if removed > 0 {
                let skip = if direction == Direction::Backward { equal - removed } else { 0 };
                is_gone = self.remove_in_block(at, value, skip, removed, direction, limits);
            }
            next = match direction {
                Direction::Forward if is_gone => self.directory.normal(at),
                Direction::Forward => self.directory.next(at),
                Direction::Backward => self.directory.previous(at),
            };
        }
        if removal.removed > before {
            self.tail.forget();
            for end in [End::Front, End::Back] {
                self.open_end(end, limits);
            }
            self.convert_back(limits);
        }
        removal.left > 0 && next.is_some()
    }

    /// The block at which a removal goes on. It may hold elements that were passed, none of which
    /// is equal; they are not counted as passed any more.
    fn start_of(&self, removal: &mut Removal) -> Option<BlockAt> {
        let len = self.len();
        if removal.passed >= len {
            return None;
        }
        match removal.direction {
            Direction::Forward => {
                let (at, within) = self.directory.find(removal.passed);
                removal.passed -= within;
                Some(at)
            }
            Direction::Backward => {
                let (at, within) = self.directory.find(len - 1 - removal.passed);
                removal.passed -= self.directory.block(at).count() - 1 - within;
                Some(at)
            }
        }
    }

    /// Removes equal elements of one block and joins it with the neighbour that was looked at
    /// before; whether there is another block at its place now.
    fn remove_in_block(
        &mut self,
        at: BlockAt,
        value: &[u8],
        skip: usize,
        count: usize,
        direction: Direction,
        limits: ListLimits,
    ) -> bool {
        let left = self.directory.change(at, |block| {
            block.open();
            let removed = block.remove_equal(value, skip, count);
            assert_eq!(removed, count, "they were counted");
            block.count()
        });
        if left == 0 {
            self.directory.remove(at);
            return true;
        }
        let joined = match direction {
            Direction::Forward => {
                self.directory.previous_in_chunk(at).filter(|&at| self.join(at, limits))
            }
            Direction::Backward => {
                self.join(at, limits);
                None
            }
        };
        self.settle(joined.unwrap_or(at), limits);
        joined.is_some()
    }

    /// After a change of the block at `at`: joins it with small neighbours, and brings it and them
    /// into the form that their places ask for.
    fn tidy(&mut self, mut at: BlockAt, limits: ListLimits) {
        if let Some(previous) = self.directory.previous_in_chunk(at)
            && self.join(previous, limits)
        {
            at = previous;
        }
        self.join(at, limits);
        let around = [self.directory.previous(at), Some(at), self.directory.next(at)];
        for at in around.into_iter().flatten() {
            self.settle(at, limits);
        }
    }

    /// Joins the block with the next one of its chunk when both together fill at most half of one.
    fn join(&mut self, at: BlockAt, limits: ListLimits) -> bool {
        let Some(next) = self.directory.next_in_chunk(at) else { return false };
        let (earlier, later) = (self.directory.block(at), self.directory.block(next));
        if earlier.unpacked_len() + later.unpacked_len() > limits.block_bytes as usize / 2
            || earlier.count() + later.count() > limits.block_count as usize
        {
            return false;
        }
        let mut later = self.directory.remove(next);
        later.open();
        self.directory.change(at, |block| {
            block.open();
            block.append(&later);
        });
        true
    }

    /// Cuts an interior block to size, and compresses it where the depth asks for that.
    fn settle(&mut self, at: BlockAt, limits: ListLimits) {
        let depth = limits.compress_depth as usize;
        if self.directory.is_within(1, at) {
            return;
        }
        let compress = depth > 0 && !self.directory.is_within(depth, at);
        self.directory.change(at, |block| {
            block.shrink();
            if compress {
                block.compress();
            }
        });
    }
}
