//! Reading a dump file: from the signature to the checksum, one item at a time.
//!
//! ```text
//!   "REDIS" and four digits, or "VALKEY" and three: the version
//!   any number of:
//!     an opcode about the file, the database or the next key
//!     a value type, the key, the value
//!   EOF, and from version 5 on the checksum in eight bytes
//! ```
//!
//! Memory is bounded by the largest value: nothing of the file is kept.

use std::io::Read;

use super::dump::{Checksum, VersionCheck};
use super::error::{RdbError, RdbErrorKind};
use super::extras::{self, Extras};
use super::frame::{self, Frame, Framed, FramedKey, FramedValue, Miss, RECORD_BYTES_MAX};
use super::read::module_name;
use super::summed::Summed;
use super::value::Value;
use super::{Input, VALKEY_VERSION_MIN, code, read_value};

/// Versions from this one on end with a checksum.
const CHECKSUM_SINCE: u16 = 5;
/// The signature and the version.
const HEADER_BYTES: usize = 9;
/// How the parts of a module's data are announced.
const MODULE_PART_UINT: u64 = 2;

/// What is accepted.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How many databases there are.
    pub databases: u64,
    /// Which versions are read.
    pub versions: VersionCheck,
    /// Whether the checksum matters (`rdbchecksum`).
    pub checksum: Checksum,
}

/// A key of a file.
#[derive(Clone, PartialEq, Debug)]
pub struct FileEntry {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Value,
    /// When it expires, in milliseconds of the Unix epoch.
    pub deadline_ms: Option<u64>,
    /// The seconds since it was last used.
    pub idle_s: Option<u64>,
    /// How often it is used, in the steps of the LFU policies.
    pub frequency: Option<u8>,
}

/// What a file consists of.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// A key.
    Entry(Box<FileEntry>),
    /// A key whose collection has no elements, which certain bugs of old servers left behind.
    EmptyKey(Vec<u8>),
    /// Something about the file: who wrote it, when.
    Aux {
        /// What it is about.
        name: Vec<u8>,
        /// The text.
        text: Vec<u8>,
    },
    /// What the key before has beyond its value; there may be more of it.
    Extras(Extras),
    /// The code of a library of functions.
    Function(Vec<u8>),
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Next<'a> {
    /// A key whose value has not been read.
    Framed(Framed<'a>),
    /// Anything else, or a key whose value has been read.
    Item(Item),
    /// The end of a whole file.
    End,
}

/// What opcodes have said about the next key.
#[derive(Default)]
struct NextKey {
    deadline_ms: Option<u64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

/// A dump file being read. See the module's head.
pub struct FileReader<R> {
    input: Input<Summed<R>>,
    version: u16,
    db: u32,
    /// What was last said about a database's size.
    announced: Option<(u32, u64)>,
    options: ReadOptions,
    ended: bool,
    checked: bool,
    /// The text of a key that is an integer.
    key_text: itoa::Buffer,
}

impl<R: Read> FileReader<R> {
    /// Reads the signature. With the file's length, no length in it is believed that goes beyond.
    pub fn open(source: R, len: Option<u64>, options: ReadOptions) -> Result<Self, RdbError> {
        let mut input = Input::from_source(Summed::new(source), len);
        let header: [u8; HEADER_BYTES] = input.array()?;
        let wrong = || input.error(RdbErrorKind::Signature);
        let (digits, is_valkey) = match &header {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (&digits[..], false),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => (&digits[..], true),
            _ => return Err(wrong()),
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(wrong());
        }
        let version = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        // What Valkey numbers on its own bears its name; the same numbers of Redis are unknown.
        let foreign = version >= VALKEY_VERSION_MIN && !is_valkey;
        let strict = options.versions == VersionCheck::Strict;
        if version == 0 || !options.versions.accepts(version) || (foreign && strict) {
            return Err(input.error(RdbErrorKind::Version(version)));
        }
        let key_text = itoa::Buffer::new();
        let (db, announced, ended, checked) = (0, None, false, false);
        Ok(Self { input, version, db, announced, options, ended, checked, key_text })
    }

    /// The file's version.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Whether the whole file has been compared with its checksum: it may have none.
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// How many keys a database is said to have, if something was said since this was last asked
    /// for. Whatever the file says: a hint.
    pub fn take_announced(&mut self) -> Option<(u32, u64)> {
        self.announced.take()
    }

    /// An error at the present offset.
    pub fn error(&self, kind: RdbErrorKind) -> RdbError {
        self.input.error(kind)
    }

    /// The next item; `None` at the end of a whole file.
    pub fn next_item(&mut self) -> Result<Option<Item>, RdbError> {
        let mut next = NextKey::default();
        while !self.ended {
            match self.input.byte()? {
                code::OP_EXPIRE_S => {
                    let seconds = i64::from(i32::from_le_bytes(self.input.array()?));
                    next.deadline_ms = Some(u64::try_from(seconds * 1000).unwrap_or(0));
                }
                code::OP_EXPIRE_MS => {
                    let deadline = i64::from_le_bytes(self.input.array()?);
                    // Before the epoch or at it: long ago.
                    next.deadline_ms = Some(u64::try_from(deadline).unwrap_or(0));
                }
                code::OP_FREQUENCY => next.frequency = Some(self.input.byte()?),
                code::OP_IDLE => next.idle_s = Some(self.input.length()?),
                code::OP_SELECT_DB => self.select()?,
                code::OP_RESIZE_DB => {
                    self.announced = Some((self.db, self.input.length()?));
                    self.skip_lengths(1)?;
                }
                code::OP_SLOT_INFO => self.skip_lengths(3)?,
                code::OP_AUX => {
                    let name = self.input.string_owned()?;
                    let text = self.input.string_owned()?;
                    return self.about(name, text).map(Some);
                }
                code::OP_FUNCTION => return Ok(Some(Item::Function(self.input.string_owned()?))),
                code::OP_FUNCTION_PRE_GA => {
                    return Err(self.input.corrupt("functions as a preview of 7.0 wrote them"));
                }
                code::OP_MODULE_AUX => return Err(self.module_data()?),
                code::OP_EOF => self.finish()?,
                value_type => return self.entry(value_type, &next).map(Some),
            }
        }
        Ok(None)
    }

    /// The next item, a key without its value being read where that is possible. O(parts of the
    /// value).
    pub fn next_framed(&mut self) -> Result<Next<'_>, RdbError> {
        if self.ended {
            return Ok(Next::End);
        }
        let frame = loop {
            match frame::find(self.input.at_hand()) {
                Ok(frame) => break frame,
                Err(Miss::Short) if self.input.fetch(RECORD_BYTES_MAX)? => {}
                Err(_) => return Ok(self.next_item()?.map_or(Next::End, Next::Item)),
            }
        };
        let Frame { key, value_type, value, deadline_ms, idle_s, frequency } = frame;
        let offset = self.input.offset() + value.start as u64;
        let record = self.input.pass(value.end);
        let key = match key {
            FramedKey::Plain(range) => &record[range],
            FramedKey::Int(number) => self.key_text.format(number).as_bytes(),
        };
        let value = FramedValue { value_type, bytes: &record[value], offset };
        Ok(Next::Framed(Framed { db: self.db, key, value, deadline_ms, idle_s, frequency }))
    }

    /// A text about the file, or about the key before.
    fn about(&self, name: Vec<u8>, text: Vec<u8>) -> Result<Item, RdbError> {
        let read = match name.as_slice() {
            extras::DEADLINES => extras::read_deadlines(&text),
            extras::STREAM => extras::read_stream_extras(&text),
            _ => return Ok(Item::Aux { name, text }),
        };
        // Its offset is that in the text.
        read.map(Item::Extras).map_err(|error| self.input.error(error.kind))
    }

    fn entry(&mut self, value_type: u8, next: &NextKey) -> Result<Item, RdbError> {
        let key = self.input.string_owned()?;
        let value = match read_value(&mut self.input, value_type, self.version) {
            Ok(value) => value,
            // It has been read to its end.
            Err(RdbError { kind: RdbErrorKind::EmptyCollection, .. }) => {
                return Ok(Item::EmptyKey(key));
            }
            Err(error) => return Err(error),
        };
        let NextKey { deadline_ms, idle_s, frequency } = *next;
        let entry = FileEntry { db: self.db, key, value, deadline_ms, idle_s, frequency };
        Ok(Item::Entry(Box::new(entry)))
    }

    fn select(&mut self) -> Result<(), RdbError> {
        let number = self.input.length()?;
        let db = u32::try_from(number).ok().filter(|_| number < self.options.databases);
        self.db = db.ok_or_else(|| self.input.error(RdbErrorKind::Database(number)))?;
        Ok(())
    }

    /// Hints on how much is to come, which nothing here depends on.
    fn skip_lengths(&mut self, lengths: usize) -> Result<(), RdbError> {
        for _ in 0..lengths {
            self.input.length()?;
        }
        Ok(())
    }

    /// The refusal of a module's data beside the keys.
    fn module_data(&mut self) -> Result<RdbError, RdbError> {
        let id = self.input.length()?;
        if self.input.length()? != MODULE_PART_UINT {
            return Ok(self.input.corrupt("data of a module that does not begin as it must"));
        }
        self.input.length()?;
        Ok(self.input.error(RdbErrorKind::ModuleData(module_name(id))))
    }

    /// Compares the checksum, if there is one. Zero stands for none.
    fn finish(&mut self) -> Result<(), RdbError> {
        self.ended = true;
        if self.version < CHECKSUM_SINCE {
            return Ok(());
        }
        let computed = self.input.source_mut().checksum();
        let stored = u64::from_le_bytes(self.input.array()?);
        let matters = self.options.checksum == Checksum::Verified && stored != 0;
        if matters && stored != computed {
            return Err(self.input.error(RdbErrorKind::Checksum { computed, stored }));
        }
        self.checked = matters;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: ReadOptions =
        ReadOptions { databases: 16, versions: VersionCheck::Strict, checksum: Checksum::Verified };

    fn items(bytes: &[u8], options: ReadOptions) -> Result<Vec<Item>, RdbError> {
        let mut reader = FileReader::open(bytes, Some(bytes.len() as u64), options)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next_item()? {
            items.push(item);
        }
        Ok(items)
    }

    /// The keys with their values, by way of frames.
    fn framed(bytes: &[u8]) -> Result<Vec<(FileEntry, bool)>, RdbError> {
        let mut reader = FileReader::open(bytes, Some(bytes.len() as u64), OPTIONS)?;
        let mut entries = Vec::new();
        loop {
            match reader.next_framed()? {
                Next::Framed(Framed { db, key, value, deadline_ms, idle_s, frequency }) => {
                    let (key, value) = (key.to_vec(), value.read()?);
                    let entry = FileEntry { db, key, value, deadline_ms, idle_s, frequency };
                    entries.push((entry, true));
                }
                Next::Item(Item::Entry(entry)) => entries.push((*entry, false)),
                Next::Item(_) => {}
                Next::End => return Ok(entries),
            }
        }
    }

    #[test]
    fn frames_hold_what_items_do() {
        let large = [b"\0\x01l\x80\x00\x02\x00\x00".to_vec(), vec![b'v'; 2 << 16]].concat();
        let body = [
            b"REDIS0011\xfa\x03who\x02me\xfe\x03\xfb\x02\x01".to_vec(),
            b"\xfc\x01\0\0\0\0\0\0\0\0\xc0\x05\x01v".to_vec(),
            b"\x01\x01k\x02\x01a\x01b\xfe\x04".to_vec(),
            large,
            b"\0\x01k\xc0\x0c".repeat(100_000),
        ];
        let file = sealed(&body.concat());
        let entries = framed(&file).unwrap();
        assert_eq!(entries.len(), 100_003);
        assert!(entries[1].1 && !entries[2].1, "a large value is read at once");
        let items = items(&file, OPTIONS).unwrap().into_iter();
        let read = items.filter_map(|item| match item {
            Item::Entry(entry) => Some(*entry),
            _ => None,
        });
        assert!(read.eq(entries.into_iter().map(|(entry, _)| entry)));
        let mut damaged = file;
        *damaged.last_mut().unwrap() ^= 1;
        framed(&damaged).unwrap_err();
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut file = body.to_vec();
        file.push(code::OP_EOF);
        let checksum = super::super::crc64::update(0, &file);
        file.extend_from_slice(&checksum.to_le_bytes());
        file
    }

    #[test]
    fn opcodes_are_about_the_next_key_only() {
        let body =
            b"REDIS0011\xfa\x03who\x02me\xfe\x03\xfb\x02\x01\xf9\x07\xf8\x05\xfc\x01\0\0\0\0\0\0\0\
            \0\x01k\x01v\0\x01l\xc0\x0c\x02\x01s\0";
        let items = items(&sealed(body), OPTIONS).unwrap();
        let entry = |key: &[u8], value: &[u8]| FileEntry {
            db: 3,
            key: key.to_vec(),
            value: Value::String(value.to_vec()),
            deadline_ms: None,
            idle_s: None,
            frequency: None,
        };
        let first = FileEntry {
            deadline_ms: Some(1),
            idle_s: Some(5),
            frequency: Some(7),
            ..entry(b"k", b"v")
        };
        let expected = [
            Item::Aux { name: b"who".to_vec(), text: b"me".to_vec() },
            Item::Entry(Box::new(first)),
            Item::Entry(Box::new(entry(b"l", b"12"))),
            Item::EmptyKey(b"s".to_vec()),
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn damage_is_told_with_its_offset() {
        let error = |bytes: &[u8]| items(bytes, OPTIONS).unwrap_err().to_string();
        assert_eq!(error(b"REDIX0011"), "wrong signature: this is no dump file (at byte 9)");
        assert_eq!(error(b"REDIS0013"), "can't handle RDB format version 13 (at byte 9)");
        assert_eq!(error(b"REDIS0080"), "can't handle RDB format version 80 (at byte 9)");
        assert_eq!(error(b"REDIS0011"), "the data ends too early (at byte 9)");
        let high = error(b"REDIS0011\xfe\x10");
        assert_eq!(high, "database 16 is beyond the configured number of databases (at byte 11)");
        let module = error(b"REDIS0011\xf7\x81\0\0\0\0\0\0\x04\0\x02\x01");
        assert!(module.starts_with("data of the module \"AAAAAAAAB\""), "{module}");
        let mut file = sealed(b"VALKEY080\0\x01k\x01v");
        assert_eq!(items(&file, OPTIONS).unwrap().len(), 1);
        *file.last_mut().unwrap() ^= 1;
        let wrong = error(&file);
        assert!(wrong.starts_with("RDB CRC error"), "{wrong}");
        let ignored = ReadOptions { checksum: Checksum::Ignored, ..OPTIONS };
        assert_eq!(items(&file, ignored).unwrap().len(), 1);
    }

    #[test]
    fn every_truncation_is_noticed() {
        let file = sealed(b"REDIS0011\xfa\x03who\x02me\xfe\x03\xfc\x01\0\0\0\0\0\0\0\0\x01k\x01v");
        assert!(items(&file, OPTIONS).is_ok());
        for len in 0..file.len() {
            items(&file[..len], OPTIONS).unwrap_err();
        }
    }

    #[test]
    fn old_versions_have_no_checksum() {
        let file = b"REDIS0003\xfd\x01\0\0\0\0\x01k\x01v\xff";
        let items = items(file, OPTIONS).unwrap();
        let Item::Entry(entry) = &items[0] else { panic!("an entry") };
        assert_eq!(entry.deadline_ms, Some(1000));
    }
}
