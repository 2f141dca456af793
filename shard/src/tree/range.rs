//! Going through handles by rank, from either side.

use std::slice;

use super::Tree;
use super::leaf::Slot;
use crate::arena::Handle;

/// The handles with some ranks. A leaf is looked up once; within it a step is an increment.
#[derive(Clone)]
pub(crate) struct Range<'a> {
    tree: &'a Tree,
    start: usize,
    end: usize,
    /// What the leaf at `start` holds from there on; empty when it has to be looked up.
    front: slice::Iter<'a, Slot>,
    /// What the leaf before `end` holds up to there; empty when it has to be looked up.
    back: slice::Iter<'a, Slot>,
}

impl<'a> Range<'a> {
    pub(super) fn new(tree: &'a Tree, start: usize, end: usize) -> Self {
        Self { tree, start, end, front: [].iter(), back: [].iter() }
    }
}

impl Iterator for Range<'_> {
    type Item = Handle;

    #[inline]
    fn next(&mut self) -> Option<Handle> {
        if self.start == self.end {
            return None;
        }
        if self.front.len() == 0 {
            let (slots, at) = self.tree.leaf_at(self.start);
            self.front = slots[at..].iter();
        }
        self.start += 1;
        self.front.next().map(|slot| slot.handle())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.end - self.start;
        (len, Some(len))
    }

    /// O(log n): ranks are counted, not walked.
    fn nth(&mut self, skip: usize) -> Option<Handle> {
        if skip > 0 {
            self.start = self.start.saturating_add(skip).min(self.end);
            self.front = [].iter();
        }
        self.next()
    }
}

impl DoubleEndedIterator for Range<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Handle> {
        if self.start == self.end {
            return None;
        }
        if self.back.len() == 0 {
            let (slots, at) = self.tree.leaf_at(self.end - 1);
            self.back = slots[..=at].iter();
        }
        self.end -= 1;
        self.back.next_back().map(|slot| slot.handle())
    }
}

impl ExactSizeIterator for Range<'_> {}
