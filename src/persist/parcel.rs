//! Keys on their way from the thread that reads a file to the core that owns them.
//!
//! The bytes of many keys lie behind each other, so that neither side allocates anything for a key:
//! each as it stands in the file, its value still to be read by the core; but for what the thread
//! had to read itself.

use kvasir_shard::{EncodingLimits, NewValue, OwnedValue};

use super::owned;
use super::rdb::frame::{Framed, FramedValue, Text};
use super::rdb::{RdbError, RdbErrorKind};

/// Keys in a parcel, at most.
const KEYS_MAX: usize = 512;
/// Bytes in a parcel, unless one key takes more.
const BYTES_MAX: u64 = 64 * 1024;
/// Larger buffers are not used again.
const KEEP_BYTES_MAX: usize = 256 * 1024;

/// Keys for one shard.
#[derive(Default, Debug)]
pub struct Parcel {
    /// Keys, each with its value behind it if that has not been read.
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// Bytes that the keys take in the file.
    file_bytes: u64,
}

/// A key of a parcel.
#[derive(Debug)]
pub struct Record {
    /// The database.
    pub db: u32,
    /// The key's slot.
    pub slot: u16,
    /// How often it is used.
    pub frequency: Option<u8>,
    /// The seconds since it was last used.
    pub idle_s: Option<u64>,
    /// When it expires, in milliseconds of the Unix epoch.
    pub deadline_ms: Option<u64>,
    start: u32,
    key_len: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// So many bytes behind the key, of the type with this number, that stand here in the file.
    Framed { value_type: u8, len: u32, offset: u64 },
    /// What the thread has read. Taken when it is opened.
    Read(Option<Box<OwnedValue>>),
}

/// A value that is ready for the shard.
#[derive(Debug)]
pub enum Opened<'a> {
    /// A string, with the deadline of its record.
    String(NewValue<'a>),
    /// Any value, with its deadline.
    Value(OwnedValue),
    /// A collection without elements, which is no key.
    Empty,
}

impl Parcel {
    /// Whether nothing more is to be added.
    pub fn is_full(&self) -> bool {
        self.records.len() >= KEYS_MAX || self.file_bytes >= BYTES_MAX
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes that they take in the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Empties it, to be filled again.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES_MAX);
        self.file_bytes = 0;
    }

    /// Adds a key as it stands in the file.
    #[inline]
    pub fn push_framed(&mut self, framed: &Framed<'_>, slot: u16) {
        let Framed { db, key, value, deadline_ms, idle_s, frequency } = *framed;
        let FramedValue { value_type, bytes, offset } = value;
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(bytes);
        let key_len = key.len() as u32;
        let content = Content::Framed { value_type, len: bytes.len() as u32, offset };
        let record = Record { db, slot, frequency, idle_s, deadline_ms, start, key_len, content };
        self.records.push(record);
        self.file_bytes += (key.len() + bytes.len()) as u64;
    }

    /// Adds a key that takes so many bytes of the file, whose value has been read. The key must be
    /// shorter than 4 GiB.
    pub fn push_read(&mut self, read: ReadKey<'_>, slot: u16, file_bytes: u64) {
        let ReadKey { db, key, value, idle_s, frequency } = read;
        let deadline_ms = value.deadline_ms;
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(key);
        let key_len = u32::try_from(key.len()).expect("invariant: keys are shorter than 4 GiB");
        let content = Content::Read(Some(Box::new(value)));
        let record = Record { db, slot, frequency, idle_s, deadline_ms, start, key_len, content };
        self.records.push(record);
        self.file_bytes += file_bytes;
    }

    /// Takes back the key that was added last, if its value has not been read.
    pub fn take_back(&mut self, take: impl FnOnce(Framed<'_>)) {
        let Some(record) =
            self.records.pop_if(|record| matches!(record.content, Content::Framed { .. }))
        else {
            return;
        };
        let Content::Framed { value_type, len, offset } = record.content else {
            unreachable!("it was looked at above");
        };
        let key_end = record.key_end();
        take(Framed {
            db: record.db,
            key: &self.bytes[record.start as usize..key_end],
            value: FramedValue {
                value_type,
                bytes: &self.bytes[key_end..key_end + len as usize],
                offset,
            },
            deadline_ms: record.deadline_ms,
            idle_s: record.idle_s,
            frequency: record.frequency,
        });
        self.bytes.truncate(record.start as usize);
    }

    /// The keys, and the text that they and their values lie in.
    pub fn parts_mut(&mut self) -> (&mut [Record], &[u8]) {
        (&mut self.records, &self.bytes)
    }
}

/// A key whose value has been read.
#[derive(Debug)]
pub struct ReadKey<'a> {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: &'a [u8],
    /// Its value and deadline.
    pub value: OwnedValue,
    /// The seconds since it was last used.
    pub idle_s: Option<u64>,
    /// How often it is used.
    pub frequency: Option<u8>,
}

impl Record {
    /// The key, in the text of its parcel.
    #[inline]
    pub fn key<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..self.key_end()]
    }

    fn key_end(&self) -> usize {
        self.start as usize + self.key_len as usize
    }

    /// The value, read if it has not been. To be called once.
    #[inline]
    pub fn open<'a>(
        &mut self,
        text: &'a [u8],
        limits: EncodingLimits,
    ) -> Result<Opened<'a>, RdbError> {
        let (value_type, len, offset) = match &mut self.content {
            Content::Framed { value_type, len, offset } => (*value_type, *len as usize, *offset),
            Content::Read(value) => {
                let value = value.take().expect("invariant: a value is opened once");
                return Ok(Opened::Value(*value));
            }
        };
        let start = self.key_end();
        let value = FramedValue { value_type, bytes: &text[start..start + len], offset };
        match value.as_text() {
            Some(Text::Plain(text)) => Ok(Opened::String(NewValue::Bytes(text))),
            Some(Text::Int(number)) => Ok(Opened::String(NewValue::Int(number))),
            None => open_value(value, self.deadline_ms, limits),
        }
    }
}

fn open_value(
    value: FramedValue<'_>,
    deadline_ms: Option<u64>,
    limits: EncodingLimits,
) -> Result<Opened<'static>, RdbError> {
    let read = match value.read() {
        Ok(read) => read,
        Err(RdbError { kind: RdbErrorKind::EmptyCollection, .. }) => return Ok(Opened::Empty),
        Err(error) => return Err(error),
    };
    let value = owned::from_dump(read, deadline_ms, limits);
    Ok(Opened::Value(value.expect("invariant: no stream is framed")))
}

#[cfg(test)]
mod tests {
    use kvasir_shard::OwnedData;

    use super::*;

    const STRING: u8 = 0;
    const LIST: u8 = 1;

    fn framed<'a>(key: &'a [u8], value_type: u8, bytes: &'a [u8]) -> Framed<'a> {
        let value = FramedValue { value_type, bytes, offset: 100 };
        Framed { db: 3, key, value, deadline_ms: Some(9), idle_s: None, frequency: Some(4) }
    }

    #[test]
    fn keys_come_out_as_they_went_in() {
        let mut parcel = Parcel::default();
        parcel.push_framed(&framed(b"text", STRING, b"\x02ab"), 7);
        let value = OwnedValue::new(OwnedData::Int(12), None);
        let read = ReadKey { db: 1, key: b"read", value, idle_s: Some(2), frequency: None };
        parcel.push_read(read, 8, 50);
        parcel.push_framed(&framed(b"list", LIST, b"\x01\x01a"), 9);
        parcel.push_framed(&framed(b"empty", LIST, b"\x00"), 9);
        parcel.push_framed(&framed(b"bad", LIST, b"\x01\x05a"), 9);
        assert_eq!((parcel.len(), parcel.is_full()), (5, false));
        let limits = EncodingLimits::default();
        let (records, text) = parcel.parts_mut();
        let keys: Vec<_> = records.iter().map(|record| record.key(text)).collect();
        assert_eq!(keys, [&b"text"[..], b"read", b"list", b"empty", b"bad"]);
        let opened: Vec<_> = records.iter_mut().map(|record| record.open(text, limits)).collect();
        assert!(matches!(opened[0], Ok(Opened::String(NewValue::Bytes(b"ab")))));
        assert!(matches!(&opened[1], Ok(Opened::Value(value)) if value.deadline_ms.is_none()));
        assert!(matches!(&opened[2], Ok(Opened::Value(value)) if value.deadline_ms == Some(9)));
        assert!(matches!(opened[3], Ok(Opened::Empty)));
        assert_eq!(opened[4].as_ref().unwrap_err().offset, 102);
        assert_eq!(
            (records[0].slot, records[1].idle_s, records[2].frequency),
            (7, Some(2), Some(4))
        );
        parcel.clear();
        assert!(parcel.is_empty());
    }

    #[test]
    fn only_what_has_not_been_read_is_taken_back() {
        let mut parcel = Parcel::default();
        parcel.push_framed(&framed(b"one", STRING, b"\x02ab"), 7);
        parcel.push_framed(&framed(b"two", STRING, b"\x02cd"), 7);
        let mut taken = Vec::new();
        parcel.take_back(|framed| taken.push((framed.key.to_vec(), framed.value.bytes.to_vec())));
        assert_eq!(taken, [(b"two".to_vec(), b"\x02cd".to_vec())]);
        let value = OwnedValue::new(OwnedData::Int(12), None);
        let read = ReadKey { db: 1, key: b"read", value, idle_s: None, frequency: None };
        parcel.push_read(read, 8, 1 << 20);
        assert!(parcel.is_full());
        parcel.take_back(|_| unreachable!("it has been read"));
        let (records, text) = parcel.parts_mut();
        assert_eq!(records[1].key(text), b"read");
    }
}
