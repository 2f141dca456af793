//! Bits of a byte string: the first is the highest of the first byte.
//!
//! Whole words are counted and searched eight bytes at a time; only the bytes at the ends of a
//! range are masked.

use std::ops::Range;

const WORD_BYTES: usize = size_of::<u64>();

/// Eight bytes, the first of which is the highest.
fn word(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("invariant: a word has eight bytes"))
}

/// The range of bits as whole bytes, with masks of what belongs to it of the first and of the last
/// byte; `None` when it is empty.
struct Span {
    first: usize,
    last: usize,
    first_mask: u8,
    last_mask: u8,
}

impl Span {
    fn of(range: &Range<u64>) -> Option<Self> {
        let last_bit = range.end.checked_sub(1).filter(|last| *last >= range.start)?;
        Some(Self {
            first: (range.start / 8) as usize,
            last: (last_bit / 8) as usize,
            first_mask: u8::MAX >> (range.start % 8),
            last_mask: u8::MAX << (7 - last_bit % 8),
        })
    }
}

/// Number of set bits in a range of bits, which lies within the bytes. O(bytes / 8).
pub(super) fn count(bytes: &[u8], range: Range<u64>) -> u64 {
    let Some(Span { first, last, first_mask, last_mask }) = Span::of(&range) else { return 0 };
    if first == last {
        return u64::from((bytes[first] & first_mask & last_mask).count_ones());
    }
    let ends = (bytes[first] & first_mask).count_ones() + (bytes[last] & last_mask).count_ones();
    u64::from(ends) + count_all(&bytes[first + 1..last])
}

fn count_all(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(WORD_BYTES);
    let rest = words.remainder();
    let in_words: u64 = words.map(|bytes| u64::from(word(bytes).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The first bit with this value in a range of bits, which lies within the bytes. O(bytes / 8).
pub(super) fn find(bytes: &[u8], bit: bool, range: Range<u64>) -> Option<u64> {
    let Span { first, last, first_mask, last_mask } = Span::of(&range)?;
    // What is looked for becomes a set bit.
    let flip = if bit { 0 } else { u8::MAX };
    let in_byte = |at: usize, mask: u8| {
        let wanted = (bytes[at] ^ flip) & mask;
        (wanted != 0).then(|| at as u64 * 8 + u64::from(wanted.leading_zeros()))
    };
    if first == last {
        return in_byte(first, first_mask & last_mask);
    }
    let middle = first + 1..last;
    in_byte(first, first_mask)
        .or_else(|| find_in_all(&bytes[middle.clone()], bit).map(|at| middle.start as u64 * 8 + at))
        .or_else(|| in_byte(last, last_mask))
}

fn find_in_all(bytes: &[u8], bit: bool) -> Option<u64> {
    let flip = if bit { 0 } else { u64::MAX };
    let words = bytes.chunks_exact(WORD_BYTES);
    let (rest, start) = (words.remainder(), words.len() as u64 * u64::from(u64::BITS));
    for (index, wanted) in words.map(|bytes| word(bytes) ^ flip).enumerate() {
        if wanted != 0 {
            return Some(index as u64 * u64::from(u64::BITS) + u64::from(wanted.leading_zeros()));
        }
    }
    let wanted = rest.iter().map(|byte| byte ^ flip as u8);
    let mut places = wanted.enumerate().filter(|(_, wanted)| *wanted != 0);
    places.next().map(|(at, wanted)| start + at as u64 * 8 + u64::from(wanted.leading_zeros()))
}

/// The bit at an offset; clear beyond the end.
pub(super) fn get(bytes: &[u8], offset: u64) -> bool {
    bytes.get((offset / 8) as usize).is_some_and(|byte| byte << (offset % 8) & 0x80 != 0)
}

/// Sets or clears the bit at an offset, which is within the bytes.
pub(super) fn set(bytes: &mut [u8], offset: u64, bit: bool) {
    let byte = &mut bytes[(offset / 8) as usize];
    let mask = 0x80 >> (offset % 8);
    *byte = if bit { *byte | mask } else { *byte & !mask };
}

/// In what the bounds of a range are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Byte,
    Bit,
}

/// The bits of a string of `len` bytes that inclusive bounds name, negative ones counted from the
/// end.
pub(super) fn bit_range(start: i64, end: i64, unit: Unit, len: usize) -> Range<u64> {
    let total = match unit {
        Unit::Byte => len as i64,
        Unit::Bit => len as i64 * 8,
    };
    let from_end = |bound: i64| if bound < 0 { (total + bound).max(0) } else { bound };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    if start > end {
        return 0..0;
    }
    let scale = if unit == Unit::Byte { 8 } else { 1 };
    start as u64 * scale..(end as u64 + 1) * scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |i| byte >> (7 - i) & 1 == 1)).collect()
    }

    /// Strings that are mostly of one value, so that searches have to go far.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![8 => Just(0u8), 8 => Just(0xffu8), 1 => any::<u8>()];
        prop_oneof![
            prop::collection::vec(byte, 0..100),
            prop::collection::vec(prop_oneof![40 => Just(0u8), 1 => any::<u8>()], 0..100),
            prop::collection::vec(prop_oneof![40 => Just(0xffu8), 1 => any::<u8>()], 0..100),
        ]
    }

    proptest! {
        #[test]
        fn bits_are_counted_and_found_as_one_by_one(
            mut bytes in bytes(),
            start: prop::sample::Index,
            end: prop::sample::Index,
            bit: bool,
        ) {
            let model = naive(&bytes);
            let (start, end) = (start.index(model.len() + 1), end.index(model.len() + 1));
            let range = start as u64..end as u64;
            let part = model.get(start..end).unwrap_or_default();
            let ones = part.iter().filter(|bit| **bit).count() as u64;
            prop_assert_eq!(count(&bytes, range.clone()), ones);
            let place = part.iter().position(|other| *other == bit);
            prop_assert_eq!(find(&bytes, bit, range), place.map(|at| (start + at) as u64));
            prop_assert_eq!(get(&bytes, start as u64), model.get(start).copied().unwrap_or(false));
            if start < model.len() {
                let mut model = model;
                model[start] = bit;
                set(&mut bytes, start as u64, bit);
                prop_assert_eq!(naive(&bytes), model);
            }
        }

        #[test]
        fn any_bounds_give_a_range_within_the_string(
            start: i64, end: i64, len in 0..50usize, is_bit: bool,
        ) {
            let unit = if is_bit { Unit::Bit } else { Unit::Byte };
            let range = bit_range(start, end, unit, len);
            prop_assert!(range.start <= range.end && range.end <= len as u64 * 8);
        }
    }

    #[test]
    fn bounds_are_inclusive_and_negative_ones_count_from_the_end() {
        assert_eq!(bit_range(0, -1, Unit::Byte, 3), 0..24);
        assert_eq!(bit_range(-1, -1, Unit::Byte, 3), 16..24);
        assert_eq!(bit_range(1, 5, Unit::Bit, 3), 1..6);
        assert_eq!(bit_range(-3, -2, Unit::Bit, 1), 5..7);
        assert_eq!(bit_range(3, 9, Unit::Byte, 3), 0..0);
        assert_eq!(bit_range(2, 1, Unit::Byte, 3), 0..0);
        assert_eq!(bit_range(0, -1, Unit::Byte, 0), 0..0);
        assert_eq!(bit_range(-9, -8, Unit::Byte, 3), 0..8, "the peers clamp both bounds");
    }
}
