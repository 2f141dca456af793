//! The packed encodings: a small collection as one string.
//!
//! Each is read from its first byte to its last with every length checked against the bytes that
//! are there, as the peers' deep sanitization does. Listpacks are written too; the others are what
//! older servers wrote.

pub(super) mod intset;
pub(super) mod listpack;
pub(super) mod ziplist;
pub(super) mod zipmap;

use super::elements::Elements;

/// What is wrong with a packed collection.
pub(super) type Fault = &'static str;

/// An element of a packed collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item<'a> {
    /// An integer, which stands for its decimal text.
    Int(i64),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Item<'_> {
    /// Adds the element's text to `elements`.
    pub(super) fn push_to(self, elements: &mut Elements) {
        match self {
            Self::Int(value) => elements.push_int(value),
            Self::Bytes(bytes) => elements.push(bytes),
        }
    }

    /// The integer; `None` for bytes, whatever they are.
    pub(super) fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            Self::Bytes(_) => None,
        }
    }

    /// The element as a double.
    pub(super) fn as_f64(self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(value as f64),
            Self::Bytes(bytes) => kvasir_proto::number::parse_f64(bytes),
        }
    }
}

/// The first `len` bytes of `bytes`, and the others.
pub(super) fn split(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), Fault> {
    bytes.split_at_checked(len).ok_or("an element goes beyond its packed collection")
}

/// The first `N` bytes of `bytes`, and the others.
pub(super) fn split_array<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Fault> {
    let (array, rest) = bytes.split_first_chunk().ok_or("a packed collection ends too early")?;
    Ok((*array, rest))
}

/// A signed integer of 24 bits, the lowest byte first.
pub(super) fn int24(bytes: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]]) >> 8)
}
