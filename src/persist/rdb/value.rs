//! Values as they are in a dump: complete, owned, and of no encoding.

use super::elements::Elements;

/// A value of any type.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A string.
    String(Vec<u8>),
    /// A list, from head to tail.
    List(Elements),
    /// The members of a set, each once.
    Set(Elements),
    /// A sorted set.
    SortedSet(SortedSet),
    /// A hash.
    Hash(Hash),
    /// A stream.
    Stream(Box<Stream>),
}

impl Value {
    /// Whether it is a collection without elements, which no key can hold. A stream may be empty.
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Self::String(_) | Self::Stream(_) => false,
            Self::List(elements) | Self::Set(elements) => elements.is_empty(),
            Self::SortedSet(set) => set.members.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
        }
    }
}

/// The members of a sorted set, each once, in any order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SortedSet {
    /// The members.
    pub members: Elements,
    /// The score of each member; never NaN.
    pub scores: Vec<f64>,
}

/// The fields of a hash, each once, in any order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hash {
    /// Fields and their values, alternately.
    pub entries: Elements,
    /// When each field expires, in milliseconds of the Unix epoch; empty when none does.
    pub deadlines: Vec<Option<u64>>,
}

impl Hash {
    /// Field, value and deadline of each entry.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<u64>)> {
        let fields = self.entries.iter().step_by(2);
        let values = self.entries.iter().skip(1).step_by(2);
        let deadlines = self.deadlines.iter().copied().chain(std::iter::repeat(None));
        fields.zip(values).zip(deadlines).map(|((field, value), deadline)| (field, value, deadline))
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len() / 2
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The id of a stream entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamId {
    /// Milliseconds.
    pub ms: u64,
    /// A number within the millisecond.
    pub seq: u64,
}

/// A stream, perhaps without entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stream {
    /// The ids of the entries, ascending.
    pub ids: Vec<StreamId>,
    /// How many fields each entry has.
    pub field_counts: Vec<u32>,
    /// Fields and values of all entries, alternately.
    pub items: Elements,
    /// The largest id that the stream ever gave out; no entry's is larger.
    pub last_id: StreamId,
    /// The largest id of an entry that was deleted.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
    /// Consumer groups, each name once.
    pub groups: Vec<Group>,
}

/// A consumer group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its name.
    pub name: Vec<u8>,
    /// The last id that was delivered.
    pub last_id: StreamId,
    /// How many entries the group has read; `None` when that cannot be known.
    pub entries_read: Option<u64>,
    /// What was delivered and not acknowledged, by ascending id.
    pub pending: Vec<Pending>,
    /// The consumers, each name once.
    pub consumers: Vec<Consumer>,
}

/// An entry that was delivered to a consumer and not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The entry's id; the entry itself may be gone.
    pub id: StreamId,
    /// When it was last delivered, in milliseconds of the Unix epoch.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// Whose it is: the index in the group's consumers.
    pub consumer: usize,
}

/// A consumer of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consumer {
    /// Its name.
    pub name: Vec<u8>,
    /// When it last tried anything, in milliseconds of the Unix epoch.
    pub seen_ms: i64,
    /// When it last got or claimed an entry; -1 for never.
    pub active_ms: i64,
}
