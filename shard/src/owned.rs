//! Values that belong to no shard: on their way from one to another, from and to files.

use crate::list::List;
use crate::pack::{self, Item};
use crate::stream::Stream;
use crate::value::{ValueRef, ValueType, parse_canonical_int};

/// A value by itself, to be put under a key of any shard.
#[derive(Clone, Debug)]
pub struct OwnedValue {
    /// The value.
    pub data: OwnedData,
    /// The string was changed in place, so that it is reported as `raw` however short it is.
    pub(crate) raw: bool,
    /// When the value expires, in milliseconds of the Unix epoch.
    pub deadline_ms: Option<u64>,
}

/// What an [`OwnedValue`] holds.
#[derive(Clone, Debug)]
pub enum OwnedData {
    /// A string that is the canonical text of this integer.
    Int(i64),
    /// Any other string.
    String(Vec<u8>),
    /// Fields and their values.
    Hash(Elements),
    /// Members.
    Set(Elements),
    /// Members and their scores.
    SortedSet(Elements),
    /// Entries, groups and what is remembered beside them.
    Stream(Box<Stream>),
    /// Elements in order.
    List(List),
}

impl OwnedValue {
    /// A value that was not changed in place.
    pub fn new(data: OwnedData, deadline_ms: Option<u64>) -> Self {
        Self { data, raw: false, deadline_ms }
    }

    /// A string that was put together in place, and is reported as `raw` whatever it holds.
    pub fn from_written(bytes: Vec<u8>) -> Self {
        Self { raw: true, ..Self::new(OwnedData::String(bytes), None) }
    }

    /// A string value, kept as an integer where it is the canonical text of one.
    pub fn from_bytes(bytes: Vec<u8>, deadline_ms: Option<u64>) -> Self {
        let data = match parse_canonical_int(&bytes) {
            Some(value) => OwnedData::Int(value),
            None => OwnedData::String(bytes),
        };
        Self::new(data, deadline_ms)
    }

    /// A look at the value.
    pub fn value(&self) -> ValueRef<'_> {
        match &self.data {
            OwnedData::Int(value) => ValueRef::Int(*value),
            OwnedData::String(bytes) => ValueRef::Bytes(bytes),
            OwnedData::Hash(_) => ValueRef::Collection(ValueType::Hash),
            OwnedData::Set(_) => ValueRef::Collection(ValueType::Set),
            OwnedData::SortedSet(_) => ValueRef::Collection(ValueType::SortedSet),
            OwnedData::Stream(_) => ValueRef::Collection(ValueType::Stream),
            OwnedData::List(_) => ValueRef::Collection(ValueType::List),
        }
    }
}

/// The elements of a hash, a set or a sorted set in one buffer, in any order. Names are distinct:
/// who fills it sees to that.
#[derive(Clone, Default, Debug)]
pub struct Elements {
    /// For each element its name, its value or score, and its deadline or 0.
    block: Vec<u8>,
    len: usize,
    expiring: usize,
    /// The longest name or value in bytes.
    longest: usize,
}

/// One of [`Elements`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Element<'a> {
    /// The field or member.
    pub name: ValueRef<'a>,
    /// The field's value; an empty string for members of sets and sorted sets.
    pub value: ValueRef<'a>,
    /// The member's score; 0 for others.
    pub score: f64,
    /// When the element expires, in milliseconds of the Unix epoch.
    pub deadline_ms: Option<u64>,
}

impl Elements {
    /// No element, with room for about `bytes` bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { block: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Adds a field and its value.
    pub fn push_field(
        &mut self,
        name: ValueRef<'_>,
        value: ValueRef<'_>,
        deadline_ms: Option<u64>,
    ) {
        self.push_name(name);
        pack::push_value(&mut self.block, value);
        self.longest = self.longest.max(value.string_len().unwrap_or(0));
        self.push_deadline(deadline_ms);
    }

    /// Adds a member of a set.
    pub fn push_member(&mut self, name: ValueRef<'_>, deadline_ms: Option<u64>) {
        self.push_name(name);
        pack::push(&mut self.block, b"");
        self.push_deadline(deadline_ms);
    }

    /// Adds a member of a sorted set; its score is not NaN.
    pub fn push_scored(&mut self, name: ValueRef<'_>, score: f64, deadline_ms: Option<u64>) {
        self.push_name(name);
        pack::push_number(&mut self.block, score);
        self.push_deadline(deadline_ms);
    }

    fn push_name(&mut self, name: ValueRef<'_>) {
        pack::push_value(&mut self.block, name);
        self.longest = self.longest.max(name.string_len().unwrap_or(0));
        self.len += 1;
    }

    fn push_deadline(&mut self, deadline_ms: Option<u64>) {
        self.expiring += usize::from(deadline_ms.is_some());
        pack::push_int(&mut self.block, deadline_ms.unwrap_or(0) as i64);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }

    /// How many have a deadline.
    pub fn expiring(&self) -> usize {
        self.expiring
    }

    /// The length of the longest name or value in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The elements in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let mut items = pack::Items::new(&self.block);
        std::iter::from_fn(move || {
            let name = items.next()?.value();
            let content = items.next().expect("invariant: a name has a value");
            let deadline = items.next().expect("invariant: a value has a deadline");
            let (value, score) = match content {
                Item::Bytes(bytes) => (ValueRef::Bytes(bytes), 0.0),
                Item::Int(value) => (ValueRef::Int(value), value as f64),
                Item::Float(score) => (ValueRef::Bytes(b""), score),
            };
            let Item::Int(deadline) = deadline else { unreachable!("a deadline is an integer") };
            let deadline_ms = (deadline != 0).then_some(deadline as u64);
            Some(Element { name, value, score, deadline_ms })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_in_order() {
        let mut elements = Elements::default();
        elements.push_field(ValueRef::Bytes(b"name"), ValueRef::Int(-7), None);
        elements.push_field(ValueRef::Int(12), ValueRef::Bytes(b"value"), Some(99));
        let back: Vec<_> = elements.iter().collect();
        assert_eq!(back[0].name.to_vec().unwrap(), b"name");
        assert_eq!(back[0].value.to_vec().unwrap(), b"-7");
        assert_eq!(back[1].name.to_vec().unwrap(), b"12");
        assert_eq!(back[1].deadline_ms, Some(99));
        assert_eq!((elements.len(), elements.expiring(), elements.longest()), (2, 1, 5));
    }

    #[test]
    fn scores_come_back_exactly() {
        let mut elements = Elements::default();
        for score in [1.0, -0.5, f64::INFINITY, 0.1] {
            elements.push_scored(ValueRef::Bytes(b"m"), score, None);
        }
        let scores: Vec<f64> = elements.iter().map(|element| element.score).collect();
        assert_eq!(scores, [1.0, -0.5, f64::INFINITY, 0.1]);
    }
}
