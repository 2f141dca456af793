//! Writing a large hash, set or sorted set element by element, and a list block by block.

use std::io;

use kvasir_shard::{Element, List, ValueRef, ValueType};

use super::file::Needs;
use super::{PLAIN_ABOVE_BYTES, WriteOptions, Writer, write_string};
use crate::persist::rdb::code;
use crate::persist::rdb::packed::listpack::Builder;

/// So much of a list is collected before it is passed on.
const LIST_PART_BYTES: usize = 128 * 1024;

/// Passes `out` on with a list under a key at its end, and then the parts that follow, so that
/// there is never more than a part of it in memory. Each block is a node.
pub fn write_list(
    out: &mut Vec<u8>,
    key: &[u8],
    list: &List,
    options: WriteOptions,
    pass_on: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    out.push(code::LIST_QUICKLIST_2);
    write_string(out, key, options);
    Writer { out, options }.length(list.blocks() as u64);
    list.try_for_each_block(|block| {
        if out.len() >= LIST_PART_BYTES {
            pass_on(out)?;
            out.clear();
        }
        Writer { out, options }.list_node(block);
        Ok::<(), io::Error>(())
    })?;
    pass_on(out)?;
    out.clear();
    Ok(())
}

/// The form in which a collection is written by elements.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    value_type: u8,
    options: WriteOptions,
}

impl Form {
    /// The form of a hash, set or sorted set, with deadlines for a hash where a field has one.
    pub fn new(value_type: ValueType, has_deadlines: bool, options: WriteOptions) -> Self {
        let value_type = match value_type {
            ValueType::Hash if has_deadlines => code::HASH_DEADLINES,
            ValueType::Hash => code::HASH,
            ValueType::Set => code::SET,
            ValueType::SortedSet => code::ZSET_2,
            ValueType::String | ValueType::List | ValueType::Stream => {
                unreachable!("these are not written by elements")
            }
        };
        Self { value_type, options }
    }

    /// What a file with it needs.
    pub fn needs(self) -> Needs {
        if self.value_type == code::HASH_DEADLINES { Needs::Valkey } else { Needs::Nothing }
    }

    /// Appends a key, and that so many elements follow.
    pub fn write_key(self, out: &mut Vec<u8>, key: &[u8], elements: u64) {
        out.push(self.value_type);
        write_string(out, key, self.options);
        Writer { out, options: self.options }.length(elements);
    }

    /// Appends an element.
    pub fn write_element(self, out: &mut Vec<u8>, element: &Element<'_>) {
        let mut writer = Writer { out, options: self.options };
        writer.text(element.name);
        match self.value_type {
            code::SET => {}
            code::ZSET_2 => writer.out.extend_from_slice(&element.score.to_le_bytes()),
            code::HASH => writer.text(element.value),
            _ => {
                writer.text(element.value);
                writer.deadline(element.deadline_ms);
            }
        }
    }
}

impl Writer<'_> {
    /// Elements, at least one, as a node of a list.
    fn list_node(&mut self, elements: &mut dyn Iterator<Item = &[u8]>) {
        let mut elements = elements.peekable();
        let first = elements.next().expect("invariant: no block is empty");
        if first.len() > PLAIN_ABOVE_BYTES && elements.peek().is_none() {
            self.length(code::NODE_PLAIN);
            return self.string(first);
        }
        let mut node = Builder::new();
        node.push(first);
        elements.for_each(|element| node.push(element));
        self.packed_node(node);
    }

    fn text(&mut self, text: ValueRef<'_>) {
        let written = text.with_bytes(|text| self.string(text));
        written.expect("invariant: names and values are strings");
    }
}

#[cfg(test)]
mod tests {
    use kvasir_shard::{End, ListLimits};

    use super::*;
    use crate::persist::rdb::value::Value;
    use crate::persist::rdb::{Hash, Input, SortedSet, VERSION_FIELD_DEADLINES, read_value};

    fn element<'a>(name: &'a [u8], value: &'a [u8], score: f64) -> Element<'a> {
        let (name, value) = (ValueRef::Bytes(name), ValueRef::Bytes(value));
        Element { name, value, score, deadline_ms: None }
    }

    fn read(value_type: ValueType, elements: &[Element<'_>]) -> Value {
        let expires = elements.iter().any(|element| element.deadline_ms.is_some());
        let form = Form::new(value_type, expires, WriteOptions { compress: true });
        let mut out = Vec::new();
        form.write_key(&mut out, b"key", elements.len() as u64);
        for element in elements {
            form.write_element(&mut out, element);
        }
        let mut input = Input::new(&out[1..]);
        assert_eq!(input.string_owned().unwrap(), b"key");
        read_value(&mut input, out[0], VERSION_FIELD_DEADLINES).unwrap()
    }

    #[test]
    fn a_list_is_passed_on_in_parts() {
        let mut list = List::new();
        let large = vec![b'x'; 100_000];
        for at in 0..20_000_u32 {
            let text = format!("{at} {}", "element".repeat(at as usize % 7));
            let text = if at % 5000 == 1 { &large } else { text.as_bytes() };
            list.push(End::Back, text, ListLimits::default());
        }
        let (mut whole, mut parts, mut out) = (Vec::new(), 0, b"head".to_vec());
        let mut pass_on = |part: &[u8]| {
            assert!(part.len() < LIST_PART_BYTES + large.len() + 100, "{} bytes", part.len());
            whole.extend_from_slice(part);
            parts += 1;
            Ok(())
        };
        let options = WriteOptions { compress: false };
        write_list(&mut out, b"key", &list, options, &mut pass_on).unwrap();
        assert!(parts > 5, "{parts} parts");
        assert_eq!(&whole[..4], b"head");
        let mut input = Input::new(&whole[5..]);
        assert_eq!(input.string_owned().unwrap(), b"key");
        let value = read_value(&mut input, whole[4], VERSION_FIELD_DEADLINES).unwrap();
        let mut expected = crate::persist::rdb::Elements::default();
        list.range(0, list.len(), |text| expected.push(text));
        assert_eq!(value, Value::List(expected));
    }

    #[test]
    fn what_is_written_reads_back() {
        let fields = [element(b"f", b"1", 0.0), element(b"2", b"value", 0.0)];
        let entries = [&b"f"[..], b"1", b"2", b"value"].into_iter().collect();
        let hash = Hash { entries, deadlines: Vec::new() };
        assert_eq!(read(ValueType::Hash, &fields), Value::Hash(hash.clone()));
        let expiring = [fields[0], Element { deadline_ms: Some(4_000_000_000_000), ..fields[1] }];
        let hash = Hash { deadlines: vec![None, Some(4_000_000_000_000)], ..hash };
        assert_eq!(read(ValueType::Hash, &expiring), Value::Hash(hash));
        let members = [&b"f"[..], b"2"];
        let set = Value::Set(members.into_iter().collect());
        assert_eq!(read(ValueType::Set, &fields), set);
        let scored = [element(b"f", b"", -0.5), element(b"2", b"", f64::INFINITY)];
        let scores = vec![-0.5, f64::INFINITY];
        let zset = SortedSet { members: members.into_iter().collect(), scores };
        assert_eq!(read(ValueType::SortedSet, &scored), Value::SortedSet(zset));
    }
}
