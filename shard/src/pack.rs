//! A small collection as one block: byte strings one after the other, each with its length.
//!
//! ```text
//! tag 0x00-0xDF         a string of that many bytes, which follow
//! tag 0xE0-0xEF         an integer from 0 to 15
//! tag 0xF0-0xF3         an integer in 1, 2, 4 or 8 bytes, two's complement
//! tag 0xF4, 0xF5        a number in 4 or 8 bytes, IEEE 754
//! tag 0xF6              a string whose length follows in 4 bytes
//! ```
//!
//! Every value has exactly one form, the shortest, so two items are equal where their bytes are.
//! There is no count and no way back: a block is short, and is read from its beginning. What the
//! items mean (members; fields and values; members and scores) is the collection's.
//!
//! Invariant: blocks are written by this module only; reading one asserts on anything else.

use std::ops::Range;

use crate::value::{ValueRef, parse_canonical_int};

/// Strings up to this length have it in their tag.
const SHORT_MAX: usize = 0xDF;
const SMALL_INT: u8 = 0xE0;
const SMALL_INT_MAX: i64 = 15;
const INT_8: u8 = 0xF0;
const INT_16: u8 = 0xF1;
const INT_32: u8 = 0xF2;
const INT_64: u8 = 0xF3;
const FLOAT_32: u8 = 0xF4;
const FLOAT_64: u8 = 0xF5;
const LONG: u8 = 0xF6;
/// Integers up to this magnitude are exact as a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// One item of a block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Item<'a> {
    /// A string that is not the canonical text of an integer.
    Bytes(&'a [u8]),
    /// A string that is; or a number that is an integer.
    Int(i64),
    /// A number that is not an integer: a score.
    Float(f64),
}

impl<'a> Item<'a> {
    /// The item as a number, where it was written by [`push_number`].
    pub(crate) fn number(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
            Self::Bytes(_) => unreachable!("a number was written here"),
        }
    }

    /// The item as a string value, where it was written by [`push`].
    pub(crate) fn value(self) -> ValueRef<'a> {
        match self {
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
            Self::Int(value) => ValueRef::Int(value),
            Self::Float(_) => unreachable!("a string was written here"),
        }
    }
}

/// Appends a string.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Some(value) = parse_canonical_int(bytes) {
        push_int(out, value);
    } else if bytes.len() <= SHORT_MAX {
        out.push(bytes.len() as u8);
        out.extend_from_slice(bytes);
    } else {
        let len = u32::try_from(bytes.len()).expect("invariant: a string is below 4 GiB");
        out.push(LONG);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

/// Appends a string value.
pub(crate) fn push_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Int(value) => push_int(out, value),
        ValueRef::Bytes(bytes) => push(out, bytes),
        ValueRef::Collection(_) => unreachable!("a collection holds strings"),
    }
}

/// Appends an integer, which is the same as appending its text.
pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    if (0..=SMALL_INT_MAX).contains(&value) {
        out.push(SMALL_INT + value as u8);
        return;
    }
    let (bytes, width) = crate::entry::int_bytes(value);
    out.push(match width {
        1 => INT_8,
        2 => INT_16,
        4 => INT_32,
        _ => INT_64,
    });
    out.extend_from_slice(&bytes[..width]);
}

/// Appends a number, which must not be NaN. Exact, but for the sign of zero, which is kept.
pub(crate) fn push_number(out: &mut Vec<u8>, value: f64) {
    let is_negative_zero = value == 0.0 && value.is_sign_negative();
    if value.abs() <= EXACT_MAX && value.trunc().to_bits() == value.to_bits() && !is_negative_zero {
        push_int(out, value as i64);
    } else if f64::from(value as f32).to_bits() == value.to_bits() {
        out.push(FLOAT_32);
        out.extend_from_slice(&(value as f32).to_le_bytes());
    } else {
        out.push(FLOAT_64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Bytes after the tag, by the tag, for tags from [`SMALL_INT`] to below [`LONG`].
const WIDTHS: [u8; (LONG - SMALL_INT) as usize] =
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 4, 8];

/// Where the item at `at` ends.
///
/// Walking a block is a chain of these, each waiting for the one before, so the usual cases take a
/// comparison or two and no jump through a table.
#[inline]
pub(crate) fn end_of(block: &[u8], at: usize) -> usize {
    let tag = block[at];
    if usize::from(tag) <= SHORT_MAX {
        at + 1 + usize::from(tag)
    } else if tag < LONG {
        at + 1 + usize::from(WIDTHS[usize::from(tag - SMALL_INT)])
    } else {
        assert!(tag == LONG, "only these tags are written");
        at + 5 + u32::from_le_bytes(array(&block[at + 1..at + 5])) as usize
    }
}

/// The item at `at`, and where it ends.
#[inline]
pub(crate) fn item(block: &[u8], at: usize) -> (Item<'_>, usize) {
    let end = end_of(block, at);
    let body = &block[at + 1..end];
    if usize::from(block[at]) <= SHORT_MAX {
        return (Item::Bytes(body), end);
    }
    let item = match block[at] {
        tag @ 0xE0..=0xEF => Item::Int(i64::from(tag - SMALL_INT)),
        INT_8 => Item::Int(i64::from(i8::from_le_bytes(array(body)))),
        INT_16 => Item::Int(i64::from(i16::from_le_bytes(array(body)))),
        INT_32 => Item::Int(i64::from(i32::from_le_bytes(array(body)))),
        INT_64 => Item::Int(i64::from_le_bytes(array(body))),
        FLOAT_32 => Item::Float(f64::from(f32::from_le_bytes(array(body)))),
        FLOAT_64 => Item::Float(f64::from_le_bytes(array(body))),
        _ => Item::Bytes(&body[4..]),
    };
    (item, end)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("invariant: the tag tells the width")
}

/// The items of a block, in order.
#[derive(Clone)]
pub(crate) struct Items<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Items<'a> {
    pub(crate) fn new(block: &'a [u8]) -> Self {
        Self { block, at: 0 }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.at == self.block.len() {
            return None;
        }
        let (found, end) = item(self.block, self.at);
        self.at = end;
        Some(found)
    }
}

/// How many items a block has; O(items).
pub(crate) fn count(block: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < block.len() {
        at = end_of(block, at);
        count += 1;
    }
    count
}

/// A string as an item, for comparing it with those of blocks and for putting it into one.
pub(crate) struct Encoded {
    /// The usual case without an allocation: a short string that is no integer.
    short: [u8; 1 + SHORT_MAX],
    short_len: usize,
    other: Vec<u8>,
}

impl Encoded {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut encoded = Self { short: [0; 1 + SHORT_MAX], short_len: 0, other: Vec::new() };
        if bytes.len() <= SHORT_MAX && parse_canonical_int(bytes).is_none() {
            encoded.short_len = bytes.len() + 1;
            encoded.short[0] = bytes.len() as u8;
            encoded.short[1..encoded.short_len].copy_from_slice(bytes);
        } else {
            push(&mut encoded.other, bytes);
        }
        encoded
    }

    pub(crate) fn of_int(value: i64) -> Self {
        let mut encoded = Self { short: [0; 1 + SHORT_MAX], short_len: 0, other: Vec::new() };
        push_int(&mut encoded.other, value);
        encoded
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.short_len > 0 { &self.short[..self.short_len] } else { &self.other }
    }
}

/// Where the string `wanted` is among every `stride`-th item from the first; O(items).
pub(crate) fn find(block: &[u8], wanted: &[u8], stride: usize) -> Option<Range<usize>> {
    search(block, Encoded::new(wanted).bytes(), stride).ok()
}

/// Where an item is among every `stride`-th one from the first, or how many of these there are;
/// O(items).
pub(crate) fn search(block: &[u8], wanted: &[u8], stride: usize) -> Result<Range<usize>, usize> {
    let (mut at, mut passed) = (0, 0);
    while at < block.len() {
        let end = end_of(block, at);
        if block[at] == wanted[0] && &block[at..end] == wanted {
            return Ok(at..end);
        }
        at = end;
        for _ in 1..stride {
            at = end_of(block, at);
        }
        passed += 1;
    }
    Err(passed)
}

/// Puts `new` in the place of the bytes at `range`.
pub(crate) fn replace(block: &mut Vec<u8>, range: Range<usize>, new: &[u8]) {
    let (len, new_end) = (block.len(), range.start + new.len());
    if new_end > range.end {
        block.resize(len + (new_end - range.end), 0);
    }
    block.copy_within(range.end..len, new_end);
    block.truncate(len - range.end + new_end);
    block[range.start..new_end].copy_from_slice(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(item: Item<'_>) -> Vec<u8> {
        item.value().to_vec().expect("a string")
    }

    proptest! {
        #[test]
        fn strings_come_back_and_are_found(
            strings in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..300),
                    any::<i64>().prop_map(|value| value.to_string().into_bytes()),
                    (0..40i64).prop_map(|value| value.to_string().into_bytes()),
                ], 0..20),
        ) {
            let mut block = Vec::new();
            for string in &strings {
                push(&mut block, string);
            }
            let back: Vec<_> = Items::new(&block).map(text).collect();
            prop_assert_eq!(&back, &strings);
            prop_assert_eq!(count(&block), strings.len());
            for string in &strings {
                let range = find(&block, string, 1).unwrap();
                prop_assert_eq!(&text(item(&block, range.start).0), string);
                prop_assert_eq!(item(&block, range.start).1, range.end);
            }
            prop_assert!(find(&block, &[b'x'; 301], 1).is_none());
        }

        #[test]
        fn numbers_come_back_exactly(value in any::<f64>().prop_filter("", |v| !v.is_nan())) {
            for value in [value, f64::from(value as f32), value.trunc(), -0.0, 0.0, f64::INFINITY] {
                let mut block = Vec::new();
                push_number(&mut block, value);
                let (item, end) = item(&block, 0);
                prop_assert_eq!(item.number().to_bits(), value.to_bits());
                prop_assert_eq!(end, block.len());
            }
        }
    }

    #[test]
    fn only_every_stride_th_item_is_looked_at() {
        let mut block = Vec::new();
        for string in ["a", "b", "b", "c"] {
            push(&mut block, string.as_bytes());
        }
        assert_eq!(find(&block, b"b", 2), Some(4..6));
        assert_eq!(find(&block, b"c", 2), None);
    }
}
