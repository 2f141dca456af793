//! The positions of the last elements of a list's last block, so that they can be taken from the
//! end of a block that can only be walked forwards.
//!
//! Nothing is kept until an element is taken from the end; then the block is walked once and the
//! positions (two bytes each, for one block of a list) follow what is pushed and popped.
//!
//! Invariant: the last `covered` of `positions` are those of the block's last `covered` elements.

use super::block::Block;

/// The positions.
#[derive(Clone, Debug, Default)]
pub(super) struct TailIndex {
    positions: Vec<u16>,
    /// How many of the positions, counted from the end, are true.
    covered: usize,
}

impl TailIndex {
    /// Bytes of heap memory.
    pub(super) fn memory(&self) -> usize {
        self.positions.capacity() * size_of::<u16>()
    }

    /// Whether any positions are kept.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.covered > 0
    }

    /// Keeps nothing: the last block is another one, or its elements have moved.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// An element was pushed at the end of the block, which starts at `position`.
    pub(super) fn pushed(&mut self, position: u32) {
        if self.is_active() {
            self.positions.push(to_u16(position as usize));
            self.covered += 1;
        }
    }

    /// Elements were taken from the front of the block, so that it has `count`.
    #[inline]
    pub(super) fn limit(&mut self, count: usize) {
        self.covered = self.covered.min(count);
    }

    /// The position of the last element of `block`, which is about to be taken. Amortised O(1).
    #[inline]
    pub(super) fn pop(&mut self, block: &Block) -> u32 {
        if block.count() == 1 {
            self.covered = 0;
            return block.first_position();
        }
        if self.covered == 0 {
            self.positions.clear();
            self.positions.extend(block.positions().map(to_u16));
            self.covered = self.positions.len();
        }
        self.covered -= 1;
        let position = self.positions.pop().expect("invariant: a block has elements");
        u32::from(position)
    }

    /// Checks the invariant against the last block; O(block).
    pub(super) fn verify(&self, block: &Block) {
        assert!(self.covered <= block.count() && self.covered <= self.positions.len());
        if self.is_active() {
            let kept = &self.positions[self.positions.len() - self.covered..];
            let actual = block.positions().skip(block.count() - self.covered).map(to_u16);
            assert!(actual.eq(kept.iter().copied()), "the positions are true");
        }
    }
}

fn to_u16(position: usize) -> u16 {
    u16::try_from(position).expect("invariant: a block of several elements has at most 64 KiB")
}
