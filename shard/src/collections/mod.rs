//! Values of several elements: hashes, sets and sorted sets; how they are opened, changed and put
//! back.
//!
//! A small collection is a block of packed items ([`crate::pack`], [`crate::intset`]) that lies in
//! its entry, or outside where it is too long. A large one is a [`Collection`] in a cell outside,
//! whose elements are entries of the arena in a table of its own ([`members`]): the keyspace's own
//! structures, so that members have deadlines, cursors and random choice as keys have, and grow a
//! segment at a time. Small ones become large at the thresholds of [`EncodingLimits`] and never
//! go back, as in the peers.
//!
//! A command looks at a collection through a view (`HashRef`, ...) and changes it inside a closure
//! (`Shard::update_hash`, ...): the collection is taken out of its place, so that it and the store
//! of its elements can be changed side by side, and put back afterwards. A key comes into being
//! with its first element and goes with its last.

mod hash;
mod list;
pub(crate) mod members;
mod pass;
mod set;
#[cfg(test)]
mod set_tests;
#[cfg(test)]
mod tests;
pub(crate) mod zset;

pub use hash::{FieldTtl, HashMut, HashRef};
pub use list::{ListMut, ListRef};
pub(crate) use list::{change_large, change_small};
pub use pass::ElementSaver;
pub use set::{SetMut, SetRef};
pub use zset::source::SourceRef;
pub use zset::{ZsetMut, ZsetRef};

use crate::external::External;
use crate::list::{List, ListLimits};
use crate::store::Store;
use crate::stream::Stream;
use crate::value::ValueType;
use members::Members;
use zset::scores::Scores;

/// When a small collection becomes a large one. The names are the configuration's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "they are the configuration parameters of these names")]
pub struct EncodingLimits {
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    pub stream_node_max_bytes: usize,
    pub stream_node_max_entries: usize,
    /// `list-max-listpack-size` and `list-compress-depth`.
    pub list: ListLimits,
}

impl Default for EncodingLimits {
    /// The peers' defaults.
    fn default() -> Self {
        Self {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            list: ListLimits::default(),
        }
    }
}

/// A large collection.
pub(crate) enum Collection {
    Hash(Members),
    Set(Members),
    Stream(Box<Stream>),
    List(List),
    SortedSet(Scores),
}

impl Collection {
    pub(crate) fn value_type(&self) -> ValueType {
        match self {
            Self::Hash(_) => ValueType::Hash,
            Self::Set(_) => ValueType::Set,
            Self::Stream(_) => ValueType::Stream,
            Self::List(_) => ValueType::List,
            Self::SortedSet(_) => ValueType::SortedSet,
        }
    }

    pub(crate) fn encoding_name(&self) -> &'static str {
        match self {
            Self::Hash(_) | Self::Set(_) => "hashtable",
            Self::Stream(_) => "stream",
            Self::List(list) => list.encoding_name(),
            Self::SortedSet(_) => "skiplist",
        }
    }

    /// How many elements there are, with those that are due and not removed yet.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Hash(members) | Self::Set(members) => members.len(),
            Self::Stream(stream) => stream.log().len() as usize,
            Self::List(list) => list.len(),
            Self::SortedSet(scores) => scores.len(),
        }
    }

    /// Whether its key goes when it has no element. A stream stays, for what it remembers.
    pub(crate) fn is_gone(&self) -> bool {
        self.len() == 0 && !matches!(self, Self::Stream(_))
    }

    /// About how many pieces there are to free.
    pub(crate) fn pieces(&self) -> usize {
        match self {
            Self::Hash(_) | Self::Set(_) | Self::SortedSet(_) => self.len(),
            Self::Stream(stream) => stream.pieces(),
            Self::List(list) => list.blocks(),
        }
    }

    /// The table of the elements, of those that have one.
    pub(crate) fn members(&self) -> Option<&Members> {
        match self {
            Self::Hash(members) | Self::Set(members) => Some(members),
            Self::Stream(_) | Self::List(_) => None,
            Self::SortedSet(scores) => Some(&scores.members),
        }
    }

    pub(crate) fn members_mut(&mut self) -> Option<&mut Members> {
        match self {
            Self::Hash(members) | Self::Set(members) => Some(members),
            Self::Stream(_) | Self::List(_) => None,
            Self::SortedSet(scores) => Some(&mut scores.members),
        }
    }

    /// Bytes on the heap; O(1).
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Hash(members) | Self::Set(members) => members.heap_bytes(),
                Self::Stream(stream) => size_of::<Stream>() + stream.memory(),
                Self::List(list) => list.memory(),
                Self::SortedSet(scores) => scores.heap_bytes(),
            }
    }

    /// Bytes of the elements that are entries of their own; O(1).
    pub(crate) fn element_bytes(&self) -> usize {
        self.members().map_or(0, Members::bytes)
    }

    /// Removes what is due at `now_ms`, about `limit` elements of it; how many. `freed` gets what
    /// lay outside their entries, `gone` is shown their names.
    pub(crate) fn expire(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        limit: usize,
        freed: &mut Vec<External>,
        mut gone: impl FnMut(&[u8]),
    ) -> usize {
        match self {
            Self::Stream(_) | Self::List(_) => 0,
            Self::Hash(members) | Self::Set(members) => {
                let gone = |store: &Store, handle| gone(store.key(handle));
                members.expire(store, now_ms, limit, freed, gone)
            }
            Self::SortedSet(scores) => scores.expire(store, now_ms, limit, freed, gone),
        }
    }

    /// The event of elements that expired.
    pub(crate) fn expired_event(&self) -> &'static str {
        match self {
            Self::Hash(_) => "hexpired",
            Self::Set(_) => "sexpired",
            Self::Stream(_) => unreachable!("the entries of a stream have no deadlines"),
            Self::List(_) => unreachable!("the elements of a list have no deadlines"),
            Self::SortedSet(_) => "zexpired",
        }
    }

    /// Frees about `budget` elements; false when none is left. Only good for throwing the
    /// collection away. `skip` is 0 at first and the collection's to change.
    pub(crate) fn drain(
        &mut self,
        store: &mut Store,
        skip: &mut usize,
        budget: usize,
        freed: &mut Vec<External>,
    ) -> bool {
        match self {
            Self::Hash(members) | Self::Set(members) => members.drain(store, skip, budget, freed),
            Self::Stream(stream) => stream.drain(budget),
            // Freeing a block costs about as much as freeing an element that is an entry.
            Self::List(list) => list.drain(budget),
            Self::SortedSet(scores) => scores.drain(store, skip, budget, freed),
        }
    }

    /// Checks every invariant; O(elements).
    pub(crate) fn verify(&self, store: &Store) {
        assert!(!self.is_gone(), "an empty collection has no key");
        match self {
            Self::Hash(members) | Self::Set(members) => members.verify(store),
            Self::Stream(stream) => stream.verify(),
            Self::List(list) => list.verify(),
            Self::SortedSet(scores) => scores.verify(store),
        }
    }
}
