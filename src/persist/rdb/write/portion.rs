//! Writing a large hash, set or sorted set element by element.

use kvasir_shard::{Element, ValueRef, ValueType};

use super::file::Needs;
use super::{WriteOptions, Writer, write_string};
use crate::persist::rdb::code;

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
    fn text(&mut self, text: ValueRef<'_>) {
        let written = text.with_bytes(|text| self.string(text));
        written.expect("invariant: names and values are strings");
    }
}

#[cfg(test)]
mod tests {
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
