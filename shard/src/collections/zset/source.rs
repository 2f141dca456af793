//! What a union, intersection or difference of sorted sets reads: a sorted set, or a set whose
//! members all have the score 1.

use super::{Form, ZsetRef};
use crate::collections::Collection;
use crate::collections::members::Members;
use crate::entry::PackKind;
use crate::hash::Key;
use crate::intset;
use crate::keyspace::Shard;
use crate::keyspace::open::{AccessError, ContentRef};
use crate::pack;
use crate::store::Store;
use crate::value::{ValueRef, parse_canonical_int};

/// The score of a member of a set.
const SET_SCORE: f64 = 1.0;

/// A look at a sorted set or a set.
#[derive(Clone, Copy)]
pub struct SourceRef<'a> {
    members: Kind<'a>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Sorted(ZsetRef<'a>),
    Pack(&'a [u8]),
    Ints(&'a [u8]),
    Table { members: &'a Members, store: &'a Store, now_ms: u64 },
}

impl<'a> SourceRef<'a> {
    /// Number of members.
    pub fn len(&self) -> usize {
        match self.members {
            Kind::Sorted(zset) => zset.len(),
            Kind::Pack(block) => pack::count(block),
            Kind::Ints(block) => intset::len(block),
            Kind::Table { members, .. } => members.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    pub fn score(&self, name: &[u8]) -> Option<f64> {
        let is_member = match self.members {
            Kind::Sorted(zset) => return zset.score(name),
            Kind::Pack(block) => pack::find(block, name, 1).is_some(),
            Kind::Ints(block) => {
                parse_canonical_int(name).is_some_and(|value| intset::search(block, value).is_ok())
            }
            Kind::Table { members, store, now_ms } => members.look(store, now_ms, name).is_some(),
        };
        is_member.then_some(SET_SCORE)
    }

    /// Calls `visit` with each member: of a sorted set in order, of a set in any. O(members).
    pub fn for_each(&self, mut visit: impl FnMut(ValueRef<'a>, f64)) {
        match self.members {
            Kind::Sorted(zset) => zset.for_each(visit),
            Kind::Pack(block) => {
                pack::Items::new(block).for_each(|item| visit(item.value(), SET_SCORE));
            }
            Kind::Ints(block) => {
                intset::iter(block).for_each(|value| visit(ValueRef::Int(value), SET_SCORE));
            }
            Kind::Table { members, store, now_ms } => {
                members.for_each(store, now_ms, |handle| {
                    visit(ValueRef::Bytes(store.key(handle)), SET_SCORE);
                });
            }
        }
    }
}

impl Shard {
    /// A look at the sorted set or set at a key, `None` for a missing key; see [`Shard::zset_at`].
    pub fn source_at(
        &mut self,
        db: u32,
        key: &Key<'_>,
        touch: bool,
    ) -> Result<Option<SourceRef<'_>>, AccessError> {
        if touch {
            self.expire_members_of(db, key);
        }
        let now_ms = self.due_ms();
        let Some((content, store)) = self.content(db, key, touch) else { return Ok(None) };
        let sorted = |form| Kind::Sorted(ZsetRef { form, store });
        let members = match content {
            ContentRef::Pack(PackKind::SortedSet, block) => sorted(Form::Pack(block)),
            ContentRef::Collection(Collection::SortedSet(scores)) => sorted(Form::Large(scores)),
            ContentRef::Pack(PackKind::Set, block) => Kind::Pack(block),
            ContentRef::Pack(PackKind::IntSet, block) => Kind::Ints(block),
            ContentRef::Collection(Collection::Set(members)) => {
                Kind::Table { members, store, now_ms }
            }
            _ => return Err(AccessError::WrongType),
        };
        Ok(Some(SourceRef { members }))
    }
}
