//! Where a key of a file ends, found without reading its value: so that one thread can give keys to
//! the cores that own them, and these read the values.
//!
//! A key is framed when it lies whole in what the reader has at hand and its value is of a form
//! whose parts tell their lengths. Everything else (rare forms, large values, whatever is damaged)
//! is left to the reader, which reads values and knows what to say about them. So nothing is
//! refused here, and a value that is framed is still read, with every check, where it goes.

use std::ops::Range;

use super::code;
use super::error::RdbError;
use super::input::Input;
use super::read::read_value;
use super::value::Value;

/// The longest record that is framed, bytes.
pub(super) const RECORD_BYTES_MAX: usize = 64 * 1024;

/// A key of a file whose value has not been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framed<'a> {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: FramedValue<'a>,
    /// When it expires, in milliseconds of the Unix epoch.
    pub deadline_ms: Option<u64>,
    /// The seconds since it was last used.
    pub idle_s: Option<u64>,
    /// How often it is used, in the steps of the LFU policies.
    pub frequency: Option<u8>,
}

/// A value as it stands in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FramedValue<'a> {
    /// The number of its type: one that means the same in files of all versions.
    pub value_type: u8,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where they begin in the file.
    pub offset: u64,
}

/// A string that needs no reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Text<'a> {
    /// Its bytes.
    Plain(&'a [u8]),
    /// The integer that it is the decimal text of.
    Int(i64),
}

impl<'a> FramedValue<'a> {
    /// Reads the value. Errors tell the offset in the file.
    pub fn read(&self) -> Result<Value, RdbError> {
        let mut input = Input::within(self.bytes, self.offset);
        let value = read_value(&mut input, self.value_type, super::VERSION)?;
        if input.offset() != self.offset + self.bytes.len() as u64 {
            return Err(input.corrupt("a value that ends elsewhere than its parts"));
        }
        Ok(value)
    }

    /// The value if it is a string that is not compressed.
    #[inline]
    pub fn as_text(&self) -> Option<Text<'a>> {
        if self.value_type != code::STRING {
            return None;
        }
        let mut walk = Walk { bytes: self.bytes, at: 0 };
        match walk.string().ok()? {
            Part::Plain(range) => Some(Text::Plain(&self.bytes[range])),
            Part::Int(value) => Some(Text::Int(value)),
            Part::Packed => None,
        }
    }
}

/// Where the parts of a record lie, counted from its beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) key: FramedKey,
    pub(super) value_type: u8,
    /// To the end of the record.
    pub(super) value: Range<usize>,
    pub(super) deadline_ms: Option<u64>,
    pub(super) idle_s: Option<u64>,
    pub(super) frequency: Option<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FramedKey {
    Plain(Range<usize>),
    Int(i64),
}

/// Why a record is not framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Miss {
    /// It goes on behind what is at hand.
    Short,
    /// It is not of the kind, or is damaged.
    Other,
}

/// Finds the end of the record with which `bytes` begins. O(parts of the value).
#[inline]
pub(super) fn find(bytes: &[u8]) -> Result<Frame, Miss> {
    let mut walk = Walk { bytes, at: 0 };
    let (mut deadline_ms, mut idle_s, mut frequency) = (None, None, None);
    let value_type = loop {
        match walk.byte()? {
            code::OP_EXPIRE_S => {
                let seconds = i64::from(i32::from_le_bytes(walk.array()?));
                deadline_ms = Some(u64::try_from(seconds * 1000).unwrap_or(0));
            }
            code::OP_EXPIRE_MS => {
                deadline_ms = Some(u64::try_from(i64::from_le_bytes(walk.array()?)).unwrap_or(0));
            }
            code::OP_FREQUENCY => frequency = Some(walk.byte()?),
            code::OP_IDLE => idle_s = Some(walk.length()?),
            value_type => break value_type,
        }
    };
    if !is_framed(value_type) {
        return Err(Miss::Other);
    }
    let key = match walk.string()? {
        Part::Plain(range) => FramedKey::Plain(range),
        Part::Int(value) => FramedKey::Int(value),
        Part::Packed => return Err(Miss::Other),
    };
    let start = walk.at;
    walk.value(value_type)?;
    if walk.at > RECORD_BYTES_MAX {
        return Err(Miss::Other);
    }
    Ok(Frame { key, value_type, value: start..walk.at, deadline_ms, idle_s, frequency })
}

/// Whether values of this type can be passed over, and mean the same in every version.
fn is_framed(value_type: u8) -> bool {
    matches!(
        value_type,
        code::STRING
            | code::LIST
            | code::SET
            | code::HASH
            | code::ZSET_2
            | code::HASH_ZIPMAP
            | code::LIST_ZIPLIST
            | code::SET_INTSET
            | code::ZSET_ZIPLIST
            | code::HASH_ZIPLIST
            | code::LIST_QUICKLIST
            | code::HASH_LISTPACK
            | code::ZSET_LISTPACK
            | code::LIST_QUICKLIST_2
            | code::SET_LISTPACK
    )
}

/// A string as a part of a record.
enum Part {
    Plain(Range<usize>),
    Int(i64),
    Packed,
}

/// Passes over the parts of a record.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Miss> {
        let byte = *self.bytes.get(self.at).ok_or(Miss::Short)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Miss> {
        let array = self.bytes[self.at..].first_chunk().ok_or(Miss::Short)?;
        self.at += N;
        Ok(*array)
    }

    #[inline]
    fn skip(&mut self, len: u64) -> Result<Range<usize>, Miss> {
        if len > RECORD_BYTES_MAX as u64 {
            return Err(Miss::Other);
        }
        let range = self.at..self.at + len as usize;
        if range.end > self.bytes.len() {
            return Err(Miss::Short);
        }
        self.at = range.end;
        Ok(range)
    }

    #[inline]
    fn length(&mut self) -> Result<u64, Miss> {
        let first = self.byte()?;
        self.length_after(first)
    }

    #[inline]
    fn length_after(&mut self, first: u8) -> Result<u64, Miss> {
        Ok(match first {
            0..0x40 => u64::from(first),
            0x40..0x80 => u64::from(first & 0x3F) << 8 | u64::from(self.byte()?),
            code::LEN_32 => u64::from(u32::from_be_bytes(self.array()?)),
            code::LEN_64 => u64::from_be_bytes(self.array()?),
            _ => return Err(Miss::Other),
        })
    }

    #[inline]
    fn string(&mut self) -> Result<Part, Miss> {
        let first = self.byte()?;
        if first < code::LEN_SPECIAL {
            let len = self.length_after(first)?;
            return self.skip(len).map(Part::Plain);
        }
        Ok(Part::Int(match first - code::LEN_SPECIAL {
            code::STRING_INT8 => i64::from(i8::from_le_bytes(self.array()?)),
            code::STRING_INT16 => i64::from(i16::from_le_bytes(self.array()?)),
            code::STRING_INT32 => i64::from(i32::from_le_bytes(self.array()?)),
            code::STRING_LZF => {
                let packed = self.length()?;
                self.length()?;
                self.skip(packed)?;
                return Ok(Part::Packed);
            }
            _ => return Err(Miss::Other),
        }))
    }

    #[inline]
    fn value(&mut self, value_type: u8) -> Result<(), Miss> {
        match value_type {
            code::LIST | code::SET | code::LIST_QUICKLIST => self.each(|walk| walk.pass(1)),
            code::HASH => self.each(|walk| walk.pass(2)),
            code::ZSET_2 => self.each(|walk| {
                walk.pass(1)?;
                walk.array::<8>().map(|_| ())
            }),
            code::LIST_QUICKLIST_2 => self.each(|walk| {
                walk.length()?;
                walk.pass(1)
            }),
            _ => self.pass(1),
        }
    }

    /// Passes over strings.
    fn pass(&mut self, strings: usize) -> Result<(), Miss> {
        (0..strings).try_for_each(|_| self.string().map(|_| ()))
    }

    /// Passes over a count, and as many times what `part` does. Each part takes a byte at least, so
    /// that this ends with what is at hand, whatever the count.
    fn each(&mut self, part: impl Fn(&mut Self) -> Result<(), Miss>) -> Result<(), Miss> {
        for _ in 0..self.length()? {
            part(self)?;
            if self.at > RECORD_BYTES_MAX {
                return Err(Miss::Other);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_their_values_do() {
        let cases: [(&[u8], u8); 8] = [
            (b"\0\x01k\x03abc", code::STRING),
            (b"\0\x01k\xc1\x01\x02", code::STRING),
            (b"\0\x01k\xc3\x03\x40\xc8abc", code::STRING),
            (b"\x01\x01k\x02\x01a\x01b", code::LIST),
            (b"\x04\x01k\x01\x01a\x01b", code::HASH),
            (b"\x05\x01k\x01\x01a12345678", code::ZSET_2),
            (b"\x12\x01k\x02\x02\x01a\x01\x01b", code::LIST_QUICKLIST_2),
            (b"\x10\x01k\x04abcd", code::HASH_LISTPACK),
        ];
        for (record, value_type) in cases {
            let longer = [record, b"\x00more"].concat();
            let frame = find(&longer).unwrap();
            assert_eq!((frame.value.end, frame.value_type), (record.len(), value_type));
            assert_eq!(frame.key, FramedKey::Plain(2..3));
            for len in 0..record.len() {
                assert_eq!(find(&record[..len]), Err(Miss::Short), "{len}");
            }
        }
    }

    #[test]
    fn what_is_said_before_a_key_belongs_to_it() {
        let frame = find(b"\xfc\x01\0\0\0\0\0\0\0\xf9\x07\xf8\x05\0\xc0\x11\x01v").unwrap();
        assert_eq!((frame.deadline_ms, frame.frequency, frame.idle_s), (Some(1), Some(7), Some(5)));
        assert_eq!((frame.key, frame.value), (FramedKey::Int(17), 16..18));
        let frame = find(b"\xfd\xff\xff\xff\xff\0\x01k\x01v").unwrap();
        assert_eq!(frame.deadline_ms, Some(0), "before the epoch");
    }

    #[test]
    fn what_is_rare_large_or_damaged_is_left_to_the_reader() {
        let large = [b"\0\x01k\x80\x00\x01\x00\x01".to_vec(), vec![b'v'; 65537]].concat();
        let members = [b"\x02\x01k\x80\x00\x01\x00\x00".to_vec(), b"\x01a".repeat(65536)].concat();
        let cases: [&[u8]; 7] = [
            b"\xfe\0",
            b"\xff",
            b"\x0f\x01k",
            b"\0\xc3\x03\x04abc\x01v",
            b"\0\x01k\xc5",
            &large,
            &members,
        ];
        for bytes in cases {
            assert_eq!(
                find(bytes),
                Err(Miss::Other),
                "{}",
                bytes[..4.min(bytes.len())].escape_ascii()
            );
        }
    }

    #[test]
    fn values_are_read_with_their_offset() {
        let value = FramedValue { value_type: code::LIST, bytes: b"\x02\x01a\x01b", offset: 100 };
        assert!(matches!(value.read(), Ok(Value::List(list)) if list.len() == 2));
        let damaged = FramedValue { bytes: b"\x02\x01a\x05b", ..value };
        assert_eq!(damaged.read().unwrap_err().offset, 104);
        let longer = FramedValue { bytes: b"\x01\x01a\x01b", ..value };
        longer.read().unwrap_err();
        let text = FramedValue { value_type: code::STRING, bytes: b"\x02ab", offset: 0 };
        assert_eq!((text.as_text(), value.as_text()), (Some(Text::Plain(b"ab")), None));
    }
}
