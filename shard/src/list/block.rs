//! A packed block: a run of elements in one allocation.
//!
//! ```text
//! buffer:  | room | len bytes | len bytes | ... | room |
//!                 ^ start                       ^ end
//! len:     0..=239             one byte
//!          240..=4079          two: 240 + high bits, low bits
//!          more                five: 255, four bytes little-endian
//! ```
//!
//! Elements can only be walked forwards, so that a short one costs a single byte beside its own.
//! Who needs the last one keeps the positions (see `TailIndex`) or walks the block, which is short.
//! A block that is read seldom can be held compressed; then `start..end` is the packed text.
//!
//! Invariant: a block of more than one element unpacks to at most 64 KiB, so that positions in it
//! fit in 16 bits. Invariant: `start..end` parses into exactly `count` elements.

use super::{End, ListLimits};
use crate::lzf;

/// Lengths below this are one byte.
const SHORT_LENGTHS: usize = 240;
/// Lengths below this are at most two bytes; the first byte has 15 values for them.
const MIDDLE_LENGTHS: usize = SHORT_LENGTHS + (15 << 8);
/// The first byte of a length of five bytes.
const LONG_MARK: u8 = 255;
/// Shorter blocks are not compressed, as the peers do it.
const COMPRESS_BYTES_MIN: usize = 48;
/// No block that holds several elements has a larger buffer.
pub(super) const SHARED_BYTES_MAX: usize = 1 << 16;

/// The bytes that an element of `len` bytes takes in a block.
pub(super) fn encoded_len(len: usize) -> usize {
    len + match len {
        0..SHORT_LENGTHS => 1,
        SHORT_LENGTHS..MIDDLE_LENGTHS => 2,
        _ => 5,
    }
}

/// The first element of `bytes` and what follows it.
#[inline]
pub(super) fn split_first(bytes: &[u8]) -> (&[u8], &[u8]) {
    let first = usize::from(bytes[0]);
    if first < SHORT_LENGTHS {
        return bytes[1..].split_at(first);
    }
    split_first_long(bytes)
}

fn split_first_long(bytes: &[u8]) -> (&[u8], &[u8]) {
    if bytes[0] == LONG_MARK {
        let len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        return bytes[5..].split_at(len as usize);
    }
    let high = usize::from(bytes[0]) - SHORT_LENGTHS;
    bytes[2..].split_at(SHORT_LENGTHS + (high << 8) + usize::from(bytes[1]))
}

/// Writes an element to the start of `target`, which has room for it.
#[inline]
pub(super) fn write_element(target: &mut [u8], element: &[u8]) {
    let len = element.len();
    let after = if len < SHORT_LENGTHS {
        target[0] = len as u8;
        &mut target[1..]
    } else if len < MIDDLE_LENGTHS {
        let rest = len - SHORT_LENGTHS;
        target[0] = (SHORT_LENGTHS + (rest >> 8)) as u8;
        target[1] = rest as u8;
        &mut target[2..]
    } else {
        let len = u32::try_from(len).expect("invariant: an element is shorter than 4 GiB");
        target[0] = LONG_MARK;
        target[1..5].copy_from_slice(&len.to_le_bytes());
        &mut target[5..]
    };
    after[..len].copy_from_slice(element);
}

/// The elements of an open text, in order.
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Where in `text`, the one this was made of, the next element starts.
    fn position_in(&self, text: &[u8]) -> usize {
        text.len() - self.rest.len()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (element, rest) = split_first(self.rest);
        self.rest = rest;
        Some(element)
    }
}

/// Where in an open text its elements start, in order.
pub(super) fn offsets(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut elements = Elements::new(text);
    std::iter::from_fn(move || {
        let offset = elements.position_in(text);
        elements.next().map(|_| offset)
    })
}

/// A block; 32 bytes beside its buffer.
#[derive(Clone, Debug)]
pub(super) struct Block {
    buffer: Box<[u8]>,
    start: u32,
    end: u32,
    count: u32,
    /// The length of the text when it is held compressed, otherwise zero.
    unpacked_len: u32,
}

const _: () = assert!(size_of::<Block>() == 32);

impl Block {
    /// A block of one element with room to grow at `end`.
    pub(super) fn new(element: &[u8], end: End, capacity: usize) -> Self {
        let size = encoded_len(element.len());
        let capacity = capacity.max(size);
        let mut buffer = vec![0; capacity].into_boxed_slice();
        let start = match end {
            End::Front => capacity - size,
            End::Back => 0,
        };
        write_element(&mut buffer[start..], element);
        Self { buffer, start: start as u32, end: (start + size) as u32, count: 1, unpacked_len: 0 }
    }

    /// A block of the elements of an open text.
    fn of_text(text: &[u8], count: u32) -> Self {
        Self { buffer: text.into(), start: 0, end: text.len() as u32, count, unpacked_len: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of heap memory.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of the elements with their lengths, when not compressed.
    pub(super) fn unpacked_len(&self) -> usize {
        if self.is_compressed() { self.unpacked_len as usize } else { self.held().len() }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.unpacked_len != 0
    }

    fn held(&self) -> &[u8] {
        &self.buffer[self.start as usize..self.end as usize]
    }

    /// The open text; the block must not be compressed.
    #[inline]
    pub(super) fn text(&self) -> &[u8] {
        debug_assert!(!self.is_compressed(), "who reads a text has opened the block");
        self.held()
    }

    /// The open text, unpacked into `scratch` when the block is compressed.
    pub(super) fn read<'a>(&'a self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if !self.is_compressed() {
            return self.held();
        }
        lzf::decompress_into(self.held(), self.unpacked_len as usize, scratch)
            .expect("invariant: a compressed block unpacks");
        scratch
    }

    /// Whether an element that takes `size` bytes may join.
    #[inline]
    fn accepts(&self, size: usize, limits: ListLimits) -> bool {
        self.count < limits.block_count
            && (self.end - self.start) as usize + size <= limits.block_bytes as usize
    }

    /// Adds an element at an end; false, and nothing done, when the block is full. `sole` says that
    /// the block is the only one, so that either end may grow. Amortised O(element).
    #[inline]
    pub(super) fn push(
        &mut self,
        end: End,
        element: &[u8],
        limits: ListLimits,
        sole: bool,
    ) -> bool {
        debug_assert!(!self.is_compressed(), "end blocks are open");
        let size = encoded_len(element.len());
        if !self.accepts(size, limits) {
            return false;
        }
        match end {
            End::Back => {
                if self.buffer.len() - (self.end as usize) < size {
                    self.make_room(end, size, limits, sole);
                }
                write_element(&mut self.buffer[self.end as usize..], element);
                self.end += size as u32;
            }
            End::Front => {
                if (self.start as usize) < size {
                    self.make_room(end, size, limits, sole);
                }
                self.start -= size as u32;
                write_element(&mut self.buffer[self.start as usize..], element);
            }
        }
        self.count += 1;
        true
    }

    /// Gets at least `size` bytes of room at an end, by moving the text within the buffer or into
    /// a larger one. The other end of a sole block keeps a quarter of the spare room, so that
    /// pushes at both ends in turn do not move the text each time.
    #[cold]
    fn make_room(&mut self, end: End, size: usize, limits: ListLimits, sole: bool) {
        let needed = self.held().len() + size;
        let limit = limits.block_bytes as usize;
        let has_spare = self.buffer.len() >= needed + self.buffer.len() / 4;
        let is_largest = self.buffer.len() >= needed && self.buffer.len() >= limit;
        let capacity = match (has_spare || is_largest, sole) {
            (true, _) => self.buffer.len(),
            (false, true) => (needed + needed / 4 + 16).min(limit.max(needed)),
            (false, false) => limit.max(needed),
        };
        let spare = capacity - needed;
        let other_end = if sole { spare / 4 } else { 0 };
        let start = match end {
            End::Front => size + spare - other_end,
            End::Back => other_end,
        };
        self.relocate(capacity, start);
    }

    /// Puts the text at `start` of a buffer of `capacity` bytes.
    fn relocate(&mut self, capacity: usize, start: usize) {
        let len = self.held().len();
        if capacity == self.buffer.len() {
            self.buffer.copy_within(self.start as usize..self.end as usize, start);
        } else {
            let mut buffer = vec![0; capacity].into_boxed_slice();
            buffer[start..start + len].copy_from_slice(self.held());
            self.buffer = buffer;
        }
        self.start = start as u32;
        self.end = (start + len) as u32;
    }

    /// Takes the first element out.
    #[inline]
    pub(super) fn pop_front<R>(&mut self, use_element: impl FnOnce(&[u8]) -> R) -> R {
        let (element, rest) = split_first(self.text());
        let rest_len = rest.len() as u32;
        let result = use_element(element);
        self.start = self.end - rest_len;
        self.count -= 1;
        result
    }

    /// Takes the last element out, whose position in the buffer is `position`.
    #[inline]
    pub(super) fn pop_back<R>(&mut self, position: u32, use_element: impl FnOnce(&[u8]) -> R) -> R {
        let (element, rest) = split_first(&self.buffer[position as usize..self.end as usize]);
        debug_assert!(rest.is_empty(), "the position is that of the last element");
        let result = use_element(element);
        self.end = position;
        self.count -= 1;
        result
    }

    /// Where in the buffer the elements start, in order.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        offsets(self.text()).map(|offset| offset + self.start as usize)
    }

    /// Where in the buffer the first element starts.
    pub(super) fn first_position(&self) -> u32 {
        self.start
    }

    /// Where in the buffer the last element ends.
    pub(super) fn end_position(&self) -> u32 {
        self.end
    }

    /// Drops `count` elements, fewer than there are, from an end of an open block. O(block).
    pub(super) fn shorten(&mut self, end: End, count: usize) {
        let kept_from_front = match end {
            End::Front => count,
            End::Back => self.count() - count,
        };
        let cut = self.start + self.offset_of(kept_from_front) as u32;
        match end {
            End::Front => self.start = cut,
            End::Back => self.end = cut,
        }
        self.count -= count as u32;
    }

    /// The offset in the text of the element at `index`, or the text's length.
    fn offset_of(&self, index: usize) -> usize {
        let mut elements = Elements::new(self.text());
        for _ in 0..index {
            elements.next();
        }
        elements.position_in(self.text())
    }

    /// Puts `element` before the one at `index` of an open block; false, and nothing done, when
    /// the block is full. O(block).
    pub(super) fn insert(&mut self, index: usize, element: &[u8], limits: ListLimits) -> bool {
        let size = encoded_len(element.len());
        if !self.accepts(size, limits) {
            return false;
        }
        let offset = self.offset_of(index);
        self.splice(offset, 0, Some(element));
        self.count += 1;
        true
    }

    /// Replaces the element at `index` of an open block; false, and nothing done, when the new one
    /// makes it too long, as it cannot where it is alone. O(block).
    pub(super) fn replace(&mut self, index: usize, element: &[u8], limits: ListLimits) -> bool {
        if self.count == 1 {
            *self = Self::new(element, End::Back, 0);
            return true;
        }
        let offset = self.offset_of(index);
        let old = encoded_len(split_first(&self.text()[offset..]).0.len());
        let len = self.held().len() - old + encoded_len(element.len());
        if len > limits.block_bytes as usize {
            return false;
        }
        self.splice(offset, old, Some(element));
        true
    }

    /// Replaces `removed` bytes at `offset` of the text by an element or by nothing.
    fn splice(&mut self, offset: usize, removed: usize, element: Option<&[u8]>) {
        let size = element.map_or(0, |element| encoded_len(element.len()));
        let at = self.start as usize + offset;
        let old_end = self.end as usize;
        let end = old_end - removed + size;
        if end <= self.buffer.len() {
            self.buffer.copy_within(at + removed..old_end, at + size);
            self.end = end as u32;
            if let Some(element) = element {
                write_element(&mut self.buffer[at..], element);
            }
            return;
        }
        let len = end - self.start as usize;
        let mut buffer = vec![0; len].into_boxed_slice();
        buffer[..offset].copy_from_slice(&self.held()[..offset]);
        buffer[offset + size..].copy_from_slice(&self.held()[offset + removed..]);
        if let Some(element) = element {
            write_element(&mut buffer[offset..], element);
        }
        self.buffer = buffer;
        self.start = 0;
        self.end = len as u32;
    }

    /// Removes the element at `index` of an open block. O(block).
    pub(super) fn remove(&mut self, index: usize) {
        let offset = self.offset_of(index);
        let size = encoded_len(split_first(&self.text()[offset..]).0.len());
        self.splice(offset, size, None);
        self.count -= 1;
    }

    /// Removes the elements equal to `value` of an open block, but for the first `skip` of them,
    /// and at most `count`. O(block).
    pub(super) fn remove_equal(&mut self, value: &[u8], mut skip: usize, count: usize) -> usize {
        let end = self.end as usize;
        let mut kept_to = self.start as usize;
        let mut position = kept_to;
        let mut removed = 0;
        while position < end {
            let (element, _) = split_first(&self.buffer[position..end]);
            let size = encoded_len(element.len());
            let is_equal = element == value;
            if is_equal && skip == 0 && removed < count {
                removed += 1;
            } else {
                skip -= usize::from(is_equal && skip > 0);
                if kept_to < position {
                    self.buffer.copy_within(position..position + size, kept_to);
                }
                kept_to += size;
            }
            position += size;
        }
        self.end = kept_to as u32;
        self.count -= removed as u32;
        removed
    }

    /// Cuts an open block before the element at `index`, which is neither the first one nor past
    /// the last; returns the later part. O(block).
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        assert!(index > 0 && index < self.count(), "both parts have elements");
        let offset = self.offset_of(index);
        let later = Self::of_text(&self.text()[offset..], self.count - index as u32);
        self.end = self.start + offset as u32;
        self.count = index as u32;
        later
    }

    /// Appends the elements of an open block to this open one. O(both).
    pub(super) fn append(&mut self, later: &Self) {
        let text = [self.text(), later.text()].concat();
        *self = Self::of_text(&text, self.count + later.count);
    }

    /// Gives unused room back when it is more than a sixteenth. O(block) then.
    pub(super) fn shrink(&mut self) {
        let len = self.held().len();
        if self.buffer.len() - len > self.buffer.len() / 16 {
            self.relocate(len, 0);
        }
    }

    /// Compresses the block unless that saves too little. O(block).
    pub(super) fn compress(&mut self) {
        if self.is_compressed() || self.held().len() < COMPRESS_BYTES_MIN {
            return;
        }
        if let Some(packed) = lzf::compress(self.held()) {
            self.unpacked_len = self.held().len() as u32;
            self.start = 0;
            self.end = packed.len() as u32;
            self.buffer = packed.into_boxed_slice();
        }
    }

    /// Unpacks the block if it is compressed. O(block).
    pub(super) fn open(&mut self) {
        if self.is_compressed() {
            let mut text = Vec::new();
            self.read(&mut text);
            *self = Self {
                start: 0,
                end: text.len() as u32,
                buffer: text.into_boxed_slice(),
                count: self.count,
                unpacked_len: 0,
            };
        }
    }

    /// Checks the invariants; O(block).
    pub(super) fn verify(&self) {
        assert!(self.start < self.end && self.end as usize <= self.buffer.len(), "it holds a text");
        let mut scratch = Vec::new();
        let text = self.read(&mut scratch);
        assert_eq!(text.len(), self.unpacked_len());
        assert_eq!(Elements::new(text).count(), self.count(), "the text is of so many elements");
        let largest = text.len().max(if self.is_compressed() { 0 } else { self.buffer.len() });
        assert!(self.count == 1 || largest <= SHARED_BYTES_MAX, "positions have 16 bits");
    }
}
