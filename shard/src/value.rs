//! Values as they come in, are looked at, and lie outside their entries.

use crate::collections::Collection;
use crate::entry::PackKind;
use crate::held::Held;

/// The text of the smallest `i64` has 20 bytes, sign included; no longer value can be an integer.
const INT_TEXT_MAX: usize = 20;
/// Strings are reported as `embstr` while they and their key have so many bytes together, as with
/// Valkey, which packs a short value with its key into a block of 64 bytes.
const EMBSTR_BYTES_MAX: usize = 41;
/// What a deadline takes of that.
const EMBSTR_DEADLINE_BYTES: usize = 8;

/// A value to store.
#[derive(Clone, Copy, Debug)]
pub enum NewValue<'a> {
    /// A string; kept as an integer where it is the canonical text of an `i64`.
    Bytes(&'a [u8]),
    /// A string that is never kept as an integer: a number with a fraction, even without one.
    Text(&'a [u8]),
    /// An integer.
    Int(i64),
}

/// A look at a stored value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ValueRef<'a> {
    /// A string that is the canonical text of this integer.
    Int(i64),
    /// Any other string, short or long.
    Bytes(&'a [u8]),
    /// A value of another type, which its own view shows.
    Collection(ValueType),
}

/// The types that TYPE distinguishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueType {
    /// A string, whatever its encoding.
    String,
    /// A sequence of strings.
    List,
    /// Distinct strings.
    Set,
    /// Distinct strings in the order of their scores.
    SortedSet,
    /// Fields with values.
    Hash,
    /// Entries in the order of their identifiers.
    Stream,
}

impl ValueType {
    /// The name that TYPE replies with.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }
}

impl ValueRef<'_> {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Int(_) | Self::Bytes(_) => ValueType::String,
            Self::Collection(value_type) => *value_type,
        }
    }

    /// The length of a string in bytes; `None` for other types.
    pub fn string_len(&self) -> Option<usize> {
        match self {
            Self::Int(value) => Some(itoa::Buffer::new().format(*value).len()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::Collection(_) => None,
        }
    }

    /// Calls `use_bytes` with the bytes of a string, formatting an integer on the stack; `None`
    /// for other types.
    pub fn with_bytes<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match self {
            Self::Int(value) => Some(use_bytes(itoa::Buffer::new().format(*value).as_bytes())),
            Self::Bytes(bytes) => Some(use_bytes(bytes)),
            Self::Collection(_) => None,
        }
    }

    /// Appends the bytes of a string to `out`; false, and nothing appended, for other types.
    pub fn write_to(&self, out: &mut Vec<u8>) -> bool {
        self.with_bytes(|bytes| out.extend_from_slice(bytes)).is_some()
    }

    /// A string as an owned byte vector; `None` for other types.
    pub fn to_vec(&self) -> Option<Vec<u8>> {
        self.with_bytes(<[u8]>::to_vec)
    }
}

/// A string in an allocation of its own, with room to grow at the end. While a snapshot has it as
/// well it is copied before it is changed.
#[derive(Clone, Debug)]
pub(crate) struct LargeString {
    pub(crate) bytes: Held<Vec<u8>>,
}

/// Growth beyond this reserves at most this much more than is needed, as the peers' strings do.
const SPARE_BYTES_MAX: usize = 1 << 20;

impl LargeString {
    /// Of these bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Held::Own(bytes) }
    }

    /// Makes it ready to be written to with at least `len` bytes, filling with zeroes; amortised
    /// O(bytes added).
    pub(crate) fn grow(&mut self, len: usize) {
        let bytes = self.bytes.to_mut();
        if len <= bytes.len() {
            return;
        }
        if len > bytes.capacity() {
            let spare = len.min(SPARE_BYTES_MAX);
            bytes.reserve_exact(len - bytes.len() + spare);
        }
        bytes.resize(len, 0);
    }
}

/// What an entry holds outside the arena.
pub(crate) enum Payload {
    /// An integer under a key that is too long to lie in the entry.
    Int(i64),
    /// A string that does not fit.
    String(LargeString),
    /// A small collection that does not fit.
    Pack(PackKind, Vec<u8>),
    /// A large collection.
    Collection(Box<Collection>),
    /// A collection that is being changed at this moment.
    Taken,
}

impl Payload {
    pub(crate) fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Int(value) => ValueRef::Int(*value),
            Self::String(text) => ValueRef::Bytes(&text.bytes),
            Self::Pack(kind, _) => ValueRef::Collection(kind.value_type()),
            Self::Collection(collection) => ValueRef::Collection(collection.value_type()),
            Self::Taken => unreachable!("a collection is put back before anything else is done"),
        }
    }

    /// Bytes of heap memory behind it, without those in the arena; O(1).
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Int(_) | Self::Taken => 0,
            Self::String(text) => text.bytes.capacity(),
            Self::Pack(_, bytes) => bytes.capacity(),
            Self::Collection(collection) => collection.heap_bytes(),
        }
    }
}

/// Whether a string that is stored under a key is reported as `raw` for its length. Once it is, it
/// stays so until it is set anew, whatever becomes of the deadline or the key's name.
pub(crate) fn is_too_long_for_embstr(key: &[u8], value: &[u8], has_deadline: bool) -> bool {
    let deadline = if has_deadline { EMBSTR_DEADLINE_BYTES } else { 0 };
    key.len() + value.len() + deadline > EMBSTR_BYTES_MAX
}

/// The name that OBJECT ENCODING gives a string; `raw` says that it was changed in place, or was
/// too long for the other when it was stored.
pub(crate) fn encoding_name(value: ValueRef<'_>, raw: bool) -> &'static str {
    match value {
        ValueRef::Int(_) => "int",
        ValueRef::Bytes(_) if !raw => "embstr",
        ValueRef::Bytes(_) => "raw",
        ValueRef::Collection(_) => unreachable!("a string has a string's encoding"),
    }
}

/// The integer whose canonical text `text` is: no plus sign, no leading zero, no "-0".
pub fn parse_canonical_int(text: &[u8]) -> Option<i64> {
    let first = *text.first()?;
    if text.len() > INT_TEXT_MAX || !(first == b'-' || first.is_ascii_digit()) {
        return None;
    }
    let (negative, digits) = if first == b'-' { (true, &text[1..]) } else { (false, text) };
    if digits.first()? == &b'0' {
        return (text == b"0").then_some(0);
    }
    let mut magnitude: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_text_is_an_integer() {
        for value in [0, 1, -1, 10, i64::MAX, i64::MIN, i64::MIN + 1, 1 << 40] {
            assert_eq!(parse_canonical_int(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "100000000000000000000",
            "1.0",
        ] {
            assert_eq!(parse_canonical_int(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_large_string_reserves_in_proportion_then_in_steps() {
        let mut text = LargeString::new(Vec::new());
        text.grow(100);
        assert!(text.bytes.capacity() >= 200);
        text.grow(64 << 20);
        assert!(text.bytes.capacity() <= (66 << 20));
    }
}
