//! The layout of an entry: everything about a key in one block of the arena.
//!
//! ```text
//! byte 0     kind (bits 0-2), phase (3), has deadline (4), pad (5-6), raw (7)
//! byte 1     length of the key; 255: the key is outside, in the external part
//! bytes 2-3  access stamp, for eviction and OBJECT IDLETIME / FREQ
//! [6 bytes]  deadline, milliseconds of the Unix epoch, where the key has one
//! key, value, 0-3 bytes of padding
//! ```
//!
//! No length of the value is stored: it is what the block has left, less the pad.

use crate::value::ValueType;

/// The header's size.
pub(crate) const HEADER_BYTES: usize = 4;
/// A deadline's size.
pub(crate) const DEADLINE_BYTES: usize = 6;
/// Keys up to this length lie in their entry.
pub(crate) const KEY_INLINE_MAX: usize = 254;
const KEY_OUTSIDE: u8 = 255;
/// The largest deadline that can be stored, in milliseconds of the Unix epoch: the year 10889. A
/// later one is stored as this.
pub const DEADLINE_MAX: u64 = (1 << 48) - 1;

const KIND_MASK: u8 = 0b0000_0111;
const PHASE_BIT: u8 = 0b0000_1000;
const DEADLINE_BIT: u8 = 0b0001_0000;
const PAD_SHIFT: u32 = 5;
const PAD_MASK: u8 = 0b0110_0000;
const RAW_BIT: u8 = 0b1000_0000;

/// What the value's bytes mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// They are the string.
    String,
    /// A two's complement integer in 1, 2, 4 or 8 bytes.
    Int,
    /// The number of a cell of [`crate::external::Externals`].
    External,
    /// They are a small collection, as [`crate::pack`] or [`crate::intset`] writes it.
    Pack(PackKind),
}

/// What a small collection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PackKind {
    /// Fields and values by turns.
    Hash,
    /// Members.
    Set,
    /// Integer members in order, in an array of their own.
    IntSet,
    /// Members and scores by turns, in the sorted set's order.
    SortedSet,
    /// Elements, as [`crate::list`] writes a block.
    List,
}

impl PackKind {
    pub(crate) fn value_type(self) -> ValueType {
        match self {
            Self::Hash => ValueType::Hash,
            Self::Set | Self::IntSet => ValueType::Set,
            Self::SortedSet => ValueType::SortedSet,
            Self::List => ValueType::List,
        }
    }

    /// The name that OBJECT ENCODING gives it.
    pub(crate) fn encoding_name(self) -> &'static str {
        match self {
            Self::IntSet => "intset",
            Self::Hash | Self::Set | Self::SortedSet | Self::List => "listpack",
        }
    }
}

impl Kind {
    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::String,
            1 => Self::Int,
            2 => Self::External,
            3 => Self::Pack(PackKind::Hash),
            4 => Self::Pack(PackKind::Set),
            5 => Self::Pack(PackKind::IntSet),
            6 => Self::Pack(PackKind::SortedSet),
            7 => Self::Pack(PackKind::List),
            _ => unreachable!("only these kinds are written"),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::String => 0,
            Self::Int => 1,
            Self::External => 2,
            Self::Pack(PackKind::Hash) => 3,
            Self::Pack(PackKind::Set) => 4,
            Self::Pack(PackKind::IntSet) => 5,
            Self::Pack(PackKind::SortedSet) => 6,
            Self::Pack(PackKind::List) => 7,
        }
    }
}

/// An entry to be written.
#[derive(Clone, Copy)]
pub(crate) struct EntrySpec<'a> {
    pub(crate) kind: Kind,
    pub(crate) raw: bool,
    /// For snapshots: see [`crate::keyspace::snapshot`].
    pub(crate) phase: bool,
    pub(crate) stamp: u16,
    pub(crate) deadline: Option<u64>,
    /// `None` for a key that lies outside.
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
}

impl EntrySpec<'_> {
    /// The bytes that the entry needs.
    pub(crate) fn size(&self) -> usize {
        let deadline = if self.deadline.is_some() { DEADLINE_BYTES } else { 0 };
        HEADER_BYTES + deadline + self.key.map_or(0, <[u8]>::len) + self.value.len()
    }

    /// Writes the entry into a block of at least `size()` bytes and at most 3 more.
    pub(crate) fn write(&self, block: &mut [u8]) {
        let pad = block.len() - self.size();
        assert!(pad < 4, "a block is of the entry's size class");
        let deadline_bit = if self.deadline.is_some() { DEADLINE_BIT } else { 0 };
        let raw_bit = if self.raw { RAW_BIT } else { 0 };
        let phase_bit = if self.phase { PHASE_BIT } else { 0 };
        let flags = deadline_bit | raw_bit | phase_bit;
        block[0] = self.kind.bits() | flags | (pad as u8) << PAD_SHIFT;
        block[1] = match self.key {
            Some(key) => u8::try_from(key.len()).expect("invariant: long keys lie outside"),
            None => KEY_OUTSIDE,
        };
        block[2..4].copy_from_slice(&self.stamp.to_le_bytes());
        let mut rest = &mut block[HEADER_BYTES..];
        if let Some(deadline) = self.deadline {
            let (bytes, after) = rest.split_at_mut(DEADLINE_BYTES);
            bytes.copy_from_slice(&deadline.to_le_bytes()[..DEADLINE_BYTES]);
            rest = after;
        }
        if let Some(key) = self.key {
            let (bytes, after) = rest.split_at_mut(key.len());
            bytes.copy_from_slice(key);
            rest = after;
        }
        rest[..self.value.len()].copy_from_slice(self.value);
    }
}

/// A look at an entry's block.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    block: &'a [u8],
}

impl<'a> Entry<'a> {
    #[inline]
    pub(crate) fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::from_bits(self.block[0] & KIND_MASK)
    }

    pub(crate) fn is_raw(self) -> bool {
        self.block[0] & RAW_BIT != 0
    }

    #[inline]
    pub(crate) fn phase(self) -> bool {
        self.block[0] & PHASE_BIT != 0
    }

    #[inline]
    fn has_deadline(self) -> bool {
        self.block[0] & DEADLINE_BIT != 0
    }

    pub(crate) fn stamp(self) -> u16 {
        u16::from_le_bytes([self.block[2], self.block[3]])
    }

    /// When the key expires, in milliseconds of the Unix epoch.
    #[inline]
    pub(crate) fn deadline(self) -> Option<u64> {
        if !self.has_deadline() {
            return None;
        }
        let mut bytes = [0; 8];
        bytes[..DEADLINE_BYTES]
            .copy_from_slice(&self.block[HEADER_BYTES..HEADER_BYTES + DEADLINE_BYTES]);
        Some(u64::from_le_bytes(bytes))
    }

    #[inline]
    fn key_start(self) -> usize {
        if self.has_deadline() { HEADER_BYTES + DEADLINE_BYTES } else { HEADER_BYTES }
    }

    /// The key; `None` when it lies outside.
    #[inline]
    pub(crate) fn key(self) -> Option<&'a [u8]> {
        let len = self.block[1];
        let start = self.key_start();
        (len != KEY_OUTSIDE).then(|| &self.block[start..start + len as usize])
    }

    /// The bytes of the value, whose meaning is the kind's.
    #[inline]
    pub(crate) fn value(self) -> &'a [u8] {
        &self.block[value_range(self.block)]
    }

    /// The integer of an entry of kind [`Kind::Int`].
    #[inline]
    pub(crate) fn int(self) -> i64 {
        let value = self.value();
        match *value {
            [a] => i64::from(i8::from_le_bytes([a])),
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(value.try_into().expect("invariant: widths are 1, 2, 4, 8")),
        }
    }

    /// The cell of an entry of kind [`Kind::External`].
    #[inline]
    pub(crate) fn external(self) -> u32 {
        u32::from_le_bytes(self.value().try_into().expect("invariant: a cell has 4 bytes"))
    }
}

/// Where the value lies in an entry's block.
#[inline]
pub(crate) fn value_range(block: &[u8]) -> std::ops::Range<usize> {
    let entry = Entry::new(block);
    let key_len = if block[1] == KEY_OUTSIDE { 0 } else { block[1] as usize };
    let pad = (block[0] & PAD_MASK) >> PAD_SHIFT;
    entry.key_start() + key_len..block.len() - pad as usize
}

/// Writes the access stamp of an entry.
#[inline]
pub(crate) fn set_stamp(block: &mut [u8], stamp: u16) {
    block[2..4].copy_from_slice(&stamp.to_le_bytes());
}

/// Marks a string as changed in place.
pub(crate) fn set_raw(block: &mut [u8]) {
    block[0] |= RAW_BIT;
}

/// Writes the phase of an entry.
pub(crate) fn set_phase(block: &mut [u8], phase: bool) {
    block[0] = block[0] & !PHASE_BIT | if phase { PHASE_BIT } else { 0 };
}

/// Replaces the deadline of an entry that has one.
pub(crate) fn set_deadline(block: &mut [u8], deadline: u64) {
    assert!(Entry::new(block).has_deadline(), "the entry has room for a deadline");
    block[HEADER_BYTES..HEADER_BYTES + DEADLINE_BYTES]
        .copy_from_slice(&deadline.to_le_bytes()[..DEADLINE_BYTES]);
}

/// The shortest two's complement form of an integer: the bytes and how many count.
pub(crate) fn int_bytes(value: i64) -> ([u8; 8], usize) {
    let width = if i8::try_from(value).is_ok() {
        1
    } else if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    };
    (value.to_le_bytes(), width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            raw: bool, phase: bool, stamp: u16, outside: bool,
            deadline in proptest::option::of(0..=DEADLINE_MAX),
            key in proptest::collection::vec(any::<u8>(), 0..=KEY_INLINE_MAX),
            value in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            let spec = EntrySpec {
                kind: Kind::String, raw, phase, stamp, deadline,
                key: (!outside).then_some(&key), value: &value,
            };
            let mut block = vec![0xAA; spec.size().next_multiple_of(4)];
            spec.write(&mut block);
            let entry = Entry::new(&block);
            prop_assert_eq!(entry.kind(), Kind::String);
            prop_assert_eq!(entry.is_raw(), raw);
            prop_assert_eq!(entry.phase(), phase);
            prop_assert_eq!(entry.stamp(), stamp);
            prop_assert_eq!(entry.deadline(), deadline);
            prop_assert_eq!(entry.key(), (!outside).then_some(key.as_slice()));
            prop_assert_eq!(entry.value(), value.as_slice());
            set_phase(&mut block, !phase);
            let entry = Entry::new(&block);
            prop_assert_eq!((entry.phase(), entry.is_raw()), (!phase, raw));
            prop_assert_eq!(entry.deadline(), deadline);
            prop_assert_eq!(entry.value(), value.as_slice());
        }

        #[test]
        fn integers_survive_in_their_shortest_form(value: i64, shift in 0..64u32) {
            let value = value >> shift;
            let (bytes, width) = int_bytes(value);
            let spec = EntrySpec {
                kind: Kind::Int, raw: false, phase: false, stamp: 0, deadline: None,
                key: Some(b"k"), value: &bytes[..width],
            };
            let mut block = vec![0; spec.size().next_multiple_of(4)];
            spec.write(&mut block);
            prop_assert_eq!(Entry::new(&block).int(), value);
        }
    }
}
