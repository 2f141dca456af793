//! The arguments of a request: ranges into the bytes that were received, and the view that joins
//! the two.

use core::ops::Index;

use crate::request::REQUEST_LENGTH_MAX;

/// Where one argument lies in its request (or in the scratch space of an inline one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArgRange {
    /// Offset of its first byte.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
}

const _: () = assert!(size_of::<ArgRange>() == 8);

impl ArgRange {
    pub(crate) fn new(start: usize, len: usize) -> Self {
        debug_assert!(start + len <= REQUEST_LENGTH_MAX);
        Self { start: start as u32, len: len as u32 }
    }

    #[inline]
    fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &buffer[start..start + self.len as usize]
    }
}

/// The arguments of one request as ranges; reusable, so that parsing allocates nothing in the end.
#[derive(Clone, Debug, Default)]
pub struct ArgRanges {
    pub(crate) ranges: Vec<ArgRange>,
    /// The unescaped arguments of an inline request with quotes; empty otherwise.
    scratch: Vec<u8>,
    /// Whether the ranges are of `scratch` and not of the request.
    in_scratch: bool,
}

impl ArgRanges {
    /// The number of arguments.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no argument.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The arguments themselves; `request` is the input that was parsed (it may be longer or
    /// shorter, as long as it begins with the same `consumed` bytes).
    #[inline]
    pub fn view<'a>(&'a self, request: &'a [u8]) -> Args<'a> {
        let buffer = if self.in_scratch { &self.scratch } else { request };
        Args { buffer, ranges: &self.ranges }
    }

    /// Forgets the arguments and keeps the memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.scratch.clear();
        self.in_scratch = false;
    }

    pub(crate) fn push(&mut self, range: ArgRange) {
        self.ranges.push(range);
    }

    pub(crate) fn use_scratch(&mut self) {
        self.in_scratch = true;
    }

    pub(crate) fn scratch(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.in_scratch);
        &mut self.scratch
    }
}

/// A view of the arguments of one request: the command's name and what follows.
///
/// To carry a request elsewhere, copy [`Args::buffer`] and [`Args::ranges`], and join them again
/// with [`Args::new`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Args<'a> {
    buffer: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// Joins ranges with the bytes that they are ranges of.
    ///
    /// A range outside `buffer` panics when its argument is read.
    pub fn new(buffer: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Self { buffer, ranges }
    }

    /// The number of arguments, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no argument.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `index`, or nothing when there are fewer.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        Some(self.ranges.get(index)?.of(self.buffer))
    }

    /// Argument `index`, which must exist: indexing, with the lifetime of the request.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.ranges[index].of(self.buffer)
    }

    /// The arguments from `first` on; none when there are fewer.
    #[inline]
    pub fn tail(&self, first: usize) -> Args<'a> {
        Args { buffer: self.buffer, ranges: self.ranges.get(first..).unwrap_or_default() }
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + use<'a> {
        let buffer = self.buffer;
        self.ranges.iter().map(move |range| range.of(buffer))
    }

    /// The bytes that the ranges refer to: the request as it came, or its unescaped form.
    #[inline]
    pub fn buffer(&self) -> &'a [u8] {
        self.buffer
    }

    /// Where the arguments lie in [`Args::buffer`].
    #[inline]
    pub fn ranges(&self) -> &'a [ArgRange] {
        self.ranges
    }

    /// The lengths of all arguments together, in bytes. O(arguments).
    pub fn bytes(&self) -> usize {
        self.ranges.iter().map(|range| range.len as usize).sum()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}
