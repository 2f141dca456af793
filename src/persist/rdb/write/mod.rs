//! Writing values, in forms that both peers read.
//!
//! Small collections are written as listpacks, so that the peers have them small again.

pub mod file;
pub mod portion;
mod stream;

use kvasir_proto::number::{append_f64, as_exact_i64};
use kvasir_shard::lzf;

use super::code;
use super::packed::listpack::Builder;
use super::value::{Hash, SortedSet, Value};

/// Strings above this many bytes are worth compressing, as the peers see it.
const COMPRESS_ABOVE_BYTES: usize = 20;
/// The most that comes before a compressed string: its form and two lengths.
const LZF_HEAD_MAX: usize = 1 + 9 + 9;
/// The longest text of an integer of 32 bits.
const INT32_TEXT_MAX: usize = 11;
/// A list's nodes have about this many bytes, the peers' default.
const LIST_NODE_BYTES: usize = 8192;
/// An element of a list above this size is a node of its own.
const PLAIN_ABOVE_BYTES: usize = LIST_NODE_BYTES;
/// Listpacks of collections up to so many elements of so many bytes: the peers' default limits.
const SMALL_ENTRIES: usize = 128;
const SMALL_BYTES: usize = 64;

/// What the configuration says about writing.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Whether strings are compressed (`rdbcompression`).
    pub compress: bool,
}

/// The number of the type that [`write_value`] writes the value as.
pub fn write_type(value: &Value) -> u8 {
    match value {
        Value::String(_) => code::STRING,
        Value::List(_) => code::LIST_QUICKLIST_2,
        Value::Set(members) => {
            let is_small = is_small(members.len(), members.iter());
            if is_small { code::SET_LISTPACK } else { code::SET }
        }
        Value::SortedSet(set) => {
            let is_small = is_small(set.members.len(), set.members.iter());
            if is_small { code::ZSET_LISTPACK } else { code::ZSET_2 }
        }
        Value::Hash(hash) if !hash.deadlines.is_empty() => code::HASH_DEADLINES,
        Value::Hash(hash) => {
            let is_small = is_small(hash.len(), hash.entries.iter());
            if is_small { code::HASH_LISTPACK } else { code::HASH }
        }
        Value::Stream(_) => code::STREAM_3,
    }
}

/// Whether a collection is written as one listpack.
fn is_small<'a>(len: usize, mut elements: impl Iterator<Item = &'a [u8]>) -> bool {
    len <= SMALL_ENTRIES && elements.all(|element| element.len() <= SMALL_BYTES)
}

/// Appends a string in the form of a value, without its type's number, to `out`: for strings that
/// need not be copied first.
pub fn write_string(out: &mut Vec<u8>, text: &[u8], options: WriteOptions) {
    Writer { out, options }.string(text);
}

/// Appends a length, in the shortest form.
pub fn write_length(out: &mut Vec<u8>, length: u64) {
    Writer { out, options: WriteOptions { compress: false } }.length(length);
}

/// Bytes of the length before a string of so many that is written as it is.
pub fn length_bytes(len: usize) -> usize {
    match len {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        _ if u32::try_from(len).is_ok() => 5,
        _ => 9,
    }
}

/// Whether a string of so many bytes is worth compressing, and no integer.
pub fn is_compressible(len: usize) -> bool {
    len > COMPRESS_ABOVE_BYTES
}

/// Appends the value, without its type's number, to `out`.
pub fn write_value(out: &mut Vec<u8>, value: &Value, options: WriteOptions) {
    let mut writer = Writer { out, options };
    match (write_type(value), value) {
        (_, Value::String(text)) => writer.string(text),
        (_, Value::List(elements)) => writer.list(elements.iter()),
        (code::SET_LISTPACK, Value::Set(members)) => writer.listpack(members.iter()),
        (_, Value::Set(members)) => {
            writer.length(members.len() as u64);
            members.iter().for_each(|member| writer.string(member));
        }
        (code::ZSET_LISTPACK, Value::SortedSet(set)) => writer.sorted_listpack(set),
        (_, Value::SortedSet(set)) => {
            writer.length(set.members.len() as u64);
            for (member, score) in set.members.iter().zip(&set.scores) {
                writer.string(member);
                writer.out.extend_from_slice(&score.to_le_bytes());
            }
        }
        (code::HASH_LISTPACK, Value::Hash(hash)) => writer.listpack(hash.entries.iter()),
        (_, Value::Hash(hash)) => writer.hash(hash),
        (_, Value::Stream(stream)) => writer.stream(stream),
    }
}

/// Appends to a buffer.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    options: WriteOptions,
}

impl Writer<'_> {
    /// A length, in the shortest form.
    fn length(&mut self, length: u64) {
        if length < 1 << 6 {
            self.out.push(length as u8);
        } else if length < 1 << 14 {
            self.out.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes());
        } else if let Ok(short) = u32::try_from(length) {
            self.out.push(code::LEN_32);
            self.out.extend_from_slice(&short.to_be_bytes());
        } else {
            self.out.push(code::LEN_64);
            self.out.extend_from_slice(&length.to_be_bytes());
        }
    }

    /// A string: as an integer, compressed, or as it is.
    fn string(&mut self, text: &[u8]) {
        if text.len() <= INT32_TEXT_MAX
            && let Some(value) = kvasir_shard::parse_canonical_int(text)
            && let Ok(value) = i32::try_from(value)
        {
            return self.integer(value);
        }
        if self.options.compress && is_compressible(text.len()) && self.compressed(text).is_some() {
            return;
        }
        self.length(text.len() as u64);
        self.out.extend_from_slice(text);
    }

    /// A string compressed; `None` when that saves nothing.
    fn compressed(&mut self, text: &[u8]) -> Option<()> {
        // Both lengths come first; that of what is compressed is known when it is.
        let start = self.out.len();
        self.out.resize(start + LZF_HEAD_MAX, 0);
        let packed_from = self.out.len();
        if lzf::compress_into(text, self.out).is_none() {
            self.out.truncate(start);
            return None;
        }
        let mut head = Vec::with_capacity(LZF_HEAD_MAX);
        head.push(code::LEN_SPECIAL | code::STRING_LZF);
        let mut writer = Writer { out: &mut head, options: self.options };
        writer.length((self.out.len() - packed_from) as u64);
        writer.length(text.len() as u64);
        self.out[packed_from - head.len()..packed_from].copy_from_slice(&head);
        self.out.drain(start..packed_from - head.len());
        Some(())
    }

    fn integer(&mut self, value: i32) {
        if let Ok(value) = i8::try_from(value) {
            self.out.push(code::LEN_SPECIAL | code::STRING_INT8);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.out.push(code::LEN_SPECIAL | code::STRING_INT16);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else {
            self.out.push(code::LEN_SPECIAL | code::STRING_INT32);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// All elements as one listpack.
    fn listpack<'e>(&mut self, elements: impl Iterator<Item = &'e [u8]>) {
        let mut builder = Builder::new();
        elements.for_each(|element| builder.push(element));
        self.string(&builder.finish());
    }

    /// Members and scores by ascending score, and among equals by member, as the peers require.
    fn sorted_listpack(&mut self, set: &SortedSet) {
        let mut members: Vec<(f64, &[u8])> =
            set.scores.iter().copied().zip(set.members.iter()).collect();
        // Zeros of either sign are equal.
        members.sort_unstable_by(|a, b| (a.0 + 0.0).total_cmp(&(b.0 + 0.0)).then(a.1.cmp(b.1)));
        let mut builder = Builder::new();
        let mut text = Vec::new();
        for (score, member) in members {
            builder.push(member);
            // A negative zero would lose its sign as an integer.
            let integer = as_exact_i64(score).filter(|_| score.to_bits() != (-0.0_f64).to_bits());
            if let Some(score) = integer {
                builder.push_int(score);
            } else {
                text.clear();
                append_f64(&mut text, score);
                builder.push(&text);
            }
        }
        self.string(&builder.finish());
    }

    /// A list as nodes: listpacks of some kilobytes, and large elements by themselves.
    fn list<'e>(&mut self, elements: impl Iterator<Item = &'e [u8]>) {
        // The number of nodes comes first and is known last.
        let mut nodes = 0;
        let mut body = Vec::new();
        let mut writer = Writer { out: &mut body, options: self.options };
        let mut builder = Builder::new();
        for element in elements {
            let is_plain = element.len() > PLAIN_ABOVE_BYTES;
            let is_full = builder.len() + element.len() > LIST_NODE_BYTES;
            if (is_plain || is_full) && !builder.is_empty() {
                let full = std::mem::replace(&mut builder, Builder::new());
                writer.packed_node(full);
                nodes += 1;
            }
            if is_plain {
                writer.length(code::NODE_PLAIN);
                writer.string(element);
                nodes += 1;
            } else {
                builder.push(element);
            }
        }
        if !builder.is_empty() {
            writer.packed_node(builder);
            nodes += 1;
        }
        self.length(nodes);
        self.out.append(&mut body);
    }

    fn packed_node(&mut self, node: Builder) {
        self.length(code::NODE_PACKED);
        self.string(&node.finish());
    }

    /// A hash field by field, with deadlines where it has any.
    fn hash(&mut self, hash: &Hash) {
        self.length(hash.len() as u64);
        for (field, value, deadline) in hash.iter() {
            self.string(field);
            self.string(value);
            if !hash.deadlines.is_empty() {
                self.deadline(deadline);
            }
        }
    }

    /// When a field expires, or that it does not.
    fn deadline(&mut self, deadline_ms: Option<u64>) {
        let deadline = deadline_ms.map_or(-1, |deadline| deadline as i64);
        self.out.extend_from_slice(&deadline.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::Input;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer { out: &mut out, options: WriteOptions { compress: true } });
        out
    }

    #[test]
    fn lengths_take_as_little_as_they_can() {
        let cases = [(0, 1), (63, 1), (64, 2), (16383, 2), (16384, 5), (u64::from(u32::MAX), 5)];
        for (length, bytes) in cases.into_iter().chain([(1 << 32, 9), (u64::MAX, 9)]) {
            let out = written(|writer| writer.length(length));
            assert_eq!(out.len(), bytes);
            assert_eq!(Input::new(&out).length().unwrap(), length);
            assert_eq!(length_bytes(length as usize), bytes);
        }
    }

    #[test]
    fn strings_take_as_little_as_they_can() {
        let cases: [(&[u8], usize); 10] = [
            (b"", 1),
            (b"-1", 2),
            (b"-129", 3),
            (b"32768", 5),
            (b"2147483647", 5),
            (b"2147483648", 11),
            (b"007", 4),
            (b"abc", 4),
            (&[b'a'; 20], 21),
            (&[b'a'; 1000], 24),
        ];
        for (text, bytes) in cases {
            let out = written(|writer| writer.string(text));
            assert!(out.len() <= bytes, "{} bytes of {}", out.len(), text.escape_ascii());
            assert_eq!(Input::new(&out).string_owned().unwrap(), text);
        }
    }
}
