//! Writing the parts of a dump file: see [`super::super::file`] for how they make one.

use kvasir_shard::ValueRef;

use super::{WriteOptions, Writer, write_string, write_type, write_value};
use crate::persist::rdb::{VERSION, VERSION_FIELD_DEADLINES, Value, code};

/// Bytes of a file's signature and version.
pub const HEADER_BYTES: usize = 9;

/// What a file holds that decides its version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Needs {
    /// Nothing that a peer of version 11 does not read.
    #[default]
    Nothing,
    /// Field deadlines in Valkey's form.
    Valkey,
}

impl Needs {
    /// The one that is this number.
    pub fn from_level(level: u8) -> Self {
        if level == Self::Valkey as u8 { Self::Valkey } else { Self::Nothing }
    }

    /// The signature and version of a file that holds this.
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let (text, version) = match self {
            Self::Nothing => (*b"REDIS0000", VERSION),
            Self::Valkey => (*b"VALKEY000", VERSION_FIELD_DEADLINES),
        };
        let mut header = text;
        for (at, digit) in header[HEADER_BYTES - 3..].iter_mut().zip([100, 10, 1]) {
            *at = b'0' + (version / digit % 10) as u8;
        }
        header
    }
}

/// How the peers keep track of when a key was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usage {
    /// The seconds since it was last used.
    Idle(u64),
    /// How often it is used.
    Frequency(u8),
}

/// Without compression: for the short texts that are not values.
const PLAIN: WriteOptions = WriteOptions { compress: false };

/// Appends something about the file.
pub fn write_aux(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    out.push(code::OP_AUX);
    write_string(out, name, PLAIN);
    write_string(out, text, PLAIN);
}

/// Appends the code of a library of functions.
pub fn write_function(out: &mut Vec<u8>, library: &[u8], options: WriteOptions) {
    out.push(code::OP_FUNCTION);
    write_string(out, library, options);
}

/// Appends that keys of this database follow.
pub fn write_select(out: &mut Vec<u8>, db: u32) {
    out.push(code::OP_SELECT_DB);
    Writer { out, options: PLAIN }.length(db.into());
}

/// Appends how many keys the database has, and how many with a deadline: a hint for who reads.
pub fn write_size(out: &mut Vec<u8>, keys: u64, expires: u64) {
    out.push(code::OP_RESIZE_DB);
    let mut writer = Writer { out, options: PLAIN };
    writer.length(keys);
    writer.length(expires);
}

/// Appends what comes before a key: its deadline, in milliseconds of the Unix epoch, and its use.
pub fn write_attributes(out: &mut Vec<u8>, deadline_ms: Option<u64>, usage: Option<Usage>) {
    if let Some(deadline) = deadline_ms {
        out.push(code::OP_EXPIRE_MS);
        out.extend_from_slice(&(deadline as i64).to_le_bytes());
    }
    match usage {
        Some(Usage::Idle(seconds)) => {
            out.push(code::OP_IDLE);
            Writer { out, options: PLAIN }.length(seconds);
        }
        Some(Usage::Frequency(frequency)) => out.extend([code::OP_FREQUENCY, frequency]),
        None => {}
    }
}

/// Appends a key with a string as its value. The value is one.
pub fn write_text(out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, options: WriteOptions) {
    out.push(code::STRING);
    write_string(out, key, options);
    let written = value.with_bytes(|text| write_string(out, text, options));
    written.expect("invariant: the value is a string");
}

/// Appends a key and its value; what the file then needs.
pub fn write_key(out: &mut Vec<u8>, key: &[u8], value: &Value, options: WriteOptions) -> Needs {
    let value_type = write_type(value);
    out.push(value_type);
    write_string(out, key, options);
    write_value(out, value, options);
    if value_type == code::HASH_DEADLINES { Needs::Valkey } else { Needs::Nothing }
}

/// Appends the end, which the checksum of everything before follows.
pub fn write_end(out: &mut Vec<u8>) {
    out.push(code::OP_EOF);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::dump::{Checksum, VersionCheck};
    use crate::persist::rdb::file::{FileReader, Item, ReadOptions};
    use crate::persist::rdb::{Hash, crc64};

    /// The items, and what is said last about the size of a database.
    fn read(needs: Needs, body: &[u8]) -> (Vec<Item>, Option<(u32, u64)>) {
        let mut file = needs.header().to_vec();
        file.extend_from_slice(body);
        write_end(&mut file);
        let checksum = crc64::update(0, &file);
        file.extend_from_slice(&checksum.to_le_bytes());
        let options = ReadOptions {
            databases: 16,
            versions: VersionCheck::Strict,
            checksum: Checksum::Verified,
        };
        let mut reader = FileReader::open(&file[..], Some(file.len() as u64), options).unwrap();
        let items = std::iter::from_fn(|| reader.next_item().unwrap()).collect();
        (items, reader.take_announced())
    }

    #[test]
    fn versions_are_in_the_header() {
        assert_eq!(&Needs::Nothing.header(), b"REDIS0011");
        assert_eq!(&Needs::Valkey.header(), b"VALKEY080");
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut body = Vec::new();
        write_aux(&mut body, b"who", b"we");
        write_function(&mut body, b"#!lua name=l\n", WriteOptions { compress: true });
        write_select(&mut body, 15);
        write_size(&mut body, 2, 1);
        write_attributes(&mut body, Some(77), Some(Usage::Idle(1000)));
        write_text(&mut body, b"k", ValueRef::Int(-7), WriteOptions { compress: true });
        write_attributes(&mut body, None, Some(Usage::Frequency(9)));
        let hash = Hash {
            entries: [&b"f"[..], b"v"].into_iter().collect(),
            deadlines: vec![Some(5_000_000_000_000)],
        };
        let hash = Value::Hash(hash);
        let needs = write_key(&mut body, b"h", &hash, WriteOptions { compress: false });
        assert_eq!(needs, Needs::Valkey);
        let (items, announced) = read(needs, &body);
        assert_eq!((items.len(), announced), (4, Some((15, 2))));
        assert_eq!(items[0], Item::Aux { name: b"who".to_vec(), text: b"we".to_vec() });
        assert_eq!(items[1], Item::Function(b"#!lua name=l\n".to_vec()));
        let [Item::Entry(text), Item::Entry(fields)] = &items[2..] else { panic!("two keys") };
        assert_eq!((text.db, text.deadline_ms, text.idle_s), (15, Some(77), Some(1000)));
        assert_eq!(text.value, Value::String(b"-7".to_vec()));
        assert_eq!((fields.db, fields.deadline_ms, fields.frequency), (15, None, Some(9)));
        assert_eq!(fields.value, hash);
    }
}
