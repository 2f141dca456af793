//! Walks over entries, in both directions.

use super::Id;
use super::block::{Cursor, Entry};
use super::log::{BlockAt, Log};

/// Entries in order; see [`Log::range`].
#[derive(Clone, Debug)]
pub struct Range<'a> {
    log: &'a Log,
    /// The block after the one that is walked.
    next: BlockAt,
    cursor: Cursor<'a>,
    start: Id,
    end: Id,
}

impl<'a> Range<'a> {
    pub(super) fn new(log: &'a Log, start: Id, end: Id) -> Self {
        let mut next = log.block_of(start).unwrap_or(BlockAt { chunk: 0, block: 0 });
        if log.block(next).is_some_and(|block| block.last() < start) {
            next = log.after(next);
        }
        Self { log, next, cursor: Cursor::empty(), start, end }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            for entry in self.cursor.by_ref() {
                if entry.id > self.end {
                    self.cursor = Cursor::empty();
                    self.next.chunk = usize::MAX;
                    return None;
                }
                if entry.id >= self.start {
                    return Some(entry);
                }
            }
            let block = self.log.block(self.next).filter(|block| block.first() <= self.end)?;
            self.cursor = block.entries();
            self.next = self.log.after(self.next);
        }
    }
}

/// Entries in reverse order; see [`Log::range_back`].
#[derive(Clone, Debug)]
pub struct RangeBack<'a> {
    log: &'a Log,
    /// The block whose places are noted.
    at: Option<BlockAt>,
    /// Where its entries begin that have not been returned.
    places: Vec<(u32, Id)>,
    start: Id,
    end: Id,
}

impl<'a> RangeBack<'a> {
    pub(super) fn new(log: &'a Log, start: Id, end: Id) -> Self {
        let mut range = Self { log, at: log.block_of(end), places: Vec::new(), start, end };
        range.note_places();
        range
    }

    fn note_places(&mut self) {
        if let Some(block) = self.at.and_then(|at| self.log.block(at))
            && block.last() >= self.start
        {
            block.places(&mut self.places);
        }
    }
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let block = self.log.block(self.at?)?;
            let Some((at, id)) = self.places.pop() else {
                self.at = self.log.before(self.at?);
                self.note_places();
                if self.places.is_empty() {
                    self.at = None;
                }
                continue;
            };
            if id < self.start {
                self.at = None;
                return None;
            }
            if id <= self.end {
                return block.entries_from(at as usize, id).next();
            }
        }
    }
}
