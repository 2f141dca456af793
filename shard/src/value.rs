//! Values as they come in, are looked at, and travel between shards.

/// The text of the smallest `i64` has 20 bytes, sign included; no longer value can be an integer.
const INT_TEXT_MAX: usize = 20;
/// Strings up to this length are reported as `embstr`, as the peers do.
const EMBSTR_BYTES_MAX: usize = 44;

/// A value to store.
#[derive(Clone, Copy, Debug)]
pub enum NewValue<'a> {
    /// A string; kept as an integer where it is the canonical text of an `i64`.
    Bytes(&'a [u8]),
    /// An integer.
    Int(i64),
}

/// A look at a stored value.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string that is the canonical text of this integer.
    Int(i64),
    /// Any other string, short or long.
    Bytes(&'a [u8]),
    /// A value that is not a string.
    Object(&'a Object),
}

/// The types that TYPE distinguishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ValueType {
    /// A string, whatever its encoding.
    String,
}

impl ValueType {
    /// The name that TYPE replies with.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
        }
    }
}

impl ValueRef<'_> {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Int(_) | Self::Bytes(_) => ValueType::String,
            Self::Object(object) => object.value_type(),
        }
    }

    /// The length of a string in bytes; `None` for other types.
    pub fn string_len(&self) -> Option<usize> {
        match self {
            Self::Int(value) => Some(itoa::Buffer::new().format(*value).len()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::Object(Object::String(text)) => Some(text.bytes.len()),
        }
    }

    /// Calls `use_bytes` with the bytes of a string, formatting an integer on the stack; `None`
    /// for other types.
    pub fn with_bytes<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match self {
            Self::Int(value) => Some(use_bytes(itoa::Buffer::new().format(*value).as_bytes())),
            Self::Bytes(bytes) => Some(use_bytes(bytes)),
            Self::Object(Object::String(text)) => Some(use_bytes(&text.bytes)),
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

/// A value taken out of a shard, to be put under another key or into another shard.
#[derive(Debug)]
pub struct OwnedValue {
    pub(crate) payload: Payload,
    /// The string was changed in place, so that it is reported as `raw` however short it is.
    pub(crate) raw: bool,
    /// When the value expires, in milliseconds of the Unix epoch.
    pub deadline_ms: Option<u64>,
}

impl OwnedValue {
    /// A string value, kept as an integer where it is the canonical text of one.
    pub fn from_bytes(bytes: Vec<u8>, deadline_ms: Option<u64>) -> Self {
        let payload = match parse_canonical_int(&bytes) {
            Some(value) => Payload::Int(value),
            None => Payload::Object(Object::String(LargeString { bytes })),
        };
        Self { payload, raw: false, deadline_ms }
    }

    /// A look at the value.
    pub fn value(&self) -> ValueRef<'_> {
        self.payload.value()
    }
}

/// A value that has an allocation of its own beside its entry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Object {
    /// A string too long to lie in its entry.
    String(LargeString),
}

impl Object {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::String(_) => ValueType::String,
        }
    }

    /// Bytes of heap memory behind the value.
    pub fn memory(&self) -> usize {
        match self {
            Self::String(text) => text.bytes.capacity(),
        }
    }
}

/// A string in an allocation of its own, with room to grow at the end.
#[derive(Clone, Debug)]
pub struct LargeString {
    pub(crate) bytes: Vec<u8>,
}

/// Growth beyond this reserves at most this much more than is needed, as the peers' strings do.
const SPARE_BYTES_MAX: usize = 1 << 20;

impl LargeString {
    /// Sets the length, filling with zeroes; amortised O(bytes added).
    pub(crate) fn resize(&mut self, len: usize) {
        if len > self.bytes.capacity() {
            let spare = len.min(SPARE_BYTES_MAX);
            self.bytes.reserve_exact(len - self.bytes.len() + spare);
        }
        self.bytes.resize(len, 0);
    }
}

/// What an entry holds outside the arena.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// An integer under a key that is too long to lie in the entry.
    Int(i64),
    /// Anything else.
    Object(Object),
}

impl Payload {
    pub(crate) fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Int(value) => ValueRef::Int(*value),
            Self::Object(Object::String(text)) => ValueRef::Bytes(&text.bytes),
        }
    }

    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Int(_) => 0,
            Self::Object(object) => object.memory(),
        }
    }
}

/// The name that OBJECT ENCODING gives a string; `raw` says that it was changed in place.
pub(crate) fn encoding_name(value: ValueRef<'_>, raw: bool) -> &'static str {
    match value {
        ValueRef::Int(_) => "int",
        ValueRef::Bytes(bytes) if bytes.len() <= EMBSTR_BYTES_MAX && !raw => "embstr",
        ValueRef::Bytes(_) | ValueRef::Object(Object::String(_)) => "raw",
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
        let mut text = LargeString { bytes: Vec::new() };
        text.resize(100);
        assert!(text.bytes.capacity() >= 200);
        text.resize(64 << 20);
        assert!(text.bytes.capacity() <= (66 << 20));
    }
}
