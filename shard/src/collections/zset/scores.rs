//! A large sorted set: members with scores in a table, and a tree of the same entries in order.
//!
//! An entry's key is the member and its value the score, in 1, 2 or 4 bytes where that is exact and
//! in 8 otherwise. Both the table and the tree name the entry, neither copies it.
//!
//! | operation | cost |
//! |---|---|
//! | score of a member | that of [`crate::table`] |
//! | add, rescore, remove, rank | the same, and O(log n) in [`crate::tree`] |
//! | memory a member | its entry (4 bytes, member, score, rounded up to 4) |
//! | | about 7 in the table, about 6 in the tree |
//!
//! Invariant: an entry is in the table exactly when it is in the tree.

use std::cmp::Ordering;
use std::ops::Range;

use crate::arena::Handle;
use crate::collections::members::{Found, Members};
use crate::entry::Kind;
use crate::external::External;
use crate::list::End;
use crate::prefetch::prefetch;
use crate::store::{Incoming, OutOfMemory, Store};
use crate::table::KeySource;
use crate::tree::{Order, Tree};
use crate::value::ValueRef;

/// Entries that are fetched ahead while members are visited in order.
pub(super) const PREFETCH_AHEAD: usize = 12;

/// The members. See the module's head.
pub(crate) struct Scores {
    pub(crate) members: Members,
    tree: Tree,
}

/// A score as it lies in an entry.
struct Encoded {
    bytes: [u8; 8],
    form: Form,
}

enum Form {
    Int(i32),
    Bytes(usize),
}

impl Encoded {
    #[expect(clippy::float_cmp, reason = "exactness is the question")]
    fn new(score: f64) -> Self {
        let int = score as i32;
        let short = score as f32;
        let is_negative_zero = score == 0.0 && score.is_sign_negative();
        if f64::from(int) == score && !is_negative_zero {
            return Self { bytes: [0; 8], form: Form::Int(int) };
        }
        let mut bytes = score.to_le_bytes();
        let mut len = 8;
        if f64::from(short) == score {
            bytes[..4].copy_from_slice(&short.to_le_bytes());
            len = 4;
        }
        Self { bytes, form: Form::Bytes(len) }
    }

    fn incoming(&self) -> Incoming<'_> {
        match self.form {
            Form::Int(value) => Incoming::Int(i64::from(value)),
            Form::Bytes(len) => Incoming::Bytes { bytes: &self.bytes[..len], raw: false },
        }
    }
}

/// The score of an entry.
#[inline]
pub(crate) fn score_of(store: &Store, handle: Handle) -> f64 {
    let entry = store.entry(handle);
    match entry.kind() {
        Kind::Int => entry.int() as f64,
        Kind::String => float(entry.value()),
        _ => match store.value(handle) {
            ValueRef::Int(value) => value as f64,
            ValueRef::Bytes(bytes) => float(bytes),
            ValueRef::Collection(_) => unreachable!("a score is a number"),
        },
    }
}

#[inline]
fn float(bytes: &[u8]) -> f64 {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return f64::from(f32::from_le_bytes(bytes));
    }
    f64::from_le_bytes(bytes.try_into().expect("invariant: a score has 4 or 8 bytes"))
}

/// A number that is ordered as the score is; both zeros are one.
#[inline]
fn prefix_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The order of sorted sets: by score, then by the bytes of the member.
pub(super) struct ByScore<'a>(pub(super) &'a Store);

impl Order for ByScore<'_> {
    #[inline]
    fn prefix(&self, handle: Handle) -> u64 {
        prefix_of(score_of(self.0, handle))
    }

    fn compare(&self, a: Handle, b: Handle) -> Ordering {
        let by_score = self.prefix(a).cmp(&self.prefix(b));
        by_score.then_with(|| self.0.key(a).cmp(self.0.key(b)))
    }

    #[inline]
    fn address(&self, handle: Handle) -> *const u8 {
        self.0.address(handle)
    }
}

impl Scores {
    pub(crate) fn new() -> Self {
        Self { members: Members::new(), tree: Tree::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    /// The members in order.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.members.heap_bytes() + self.tree.memory()
    }

    /// Calls `visit` with each member in order, due or not; O(n).
    pub(crate) fn for_each(&self, store: &Store, visit: impl FnMut(Handle)) {
        self.for_each_of(store, 0..self.len(), visit);
    }

    /// Calls `visit` with the members of these ranks in order, due or not; O(log n + ranks).
    pub(crate) fn for_each_of(
        &self,
        store: &Store,
        ranks: Range<usize>,
        mut visit: impl FnMut(Handle),
    ) {
        let handles = self.tree.range(ranks.start, ranks.end);
        let mut ahead = handles.clone().skip(PREFETCH_AHEAD);
        for handle in handles {
            if let Some(next) = ahead.next() {
                prefetch(store.address(next));
            }
            visit(handle);
        }
    }

    /// Adds a member that is not there. Nothing changes on failure.
    pub(crate) fn insert(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        name: &[u8],
        score: f64,
        deadline_ms: Option<u64>,
    ) -> Result<(), OutOfMemory> {
        let score = Encoded::new(score);
        let handle = self.members.insert(store, now_ms, name, score.incoming(), deadline_ms)?;
        self.tree.insert(handle, &ByScore(store));
        Ok(())
    }

    /// Adds a member that comes after all others in the order. Nothing changes on failure.
    pub(crate) fn push_back(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        name: &[u8],
        score: f64,
        deadline_ms: Option<u64>,
    ) -> Result<(), OutOfMemory> {
        let score = Encoded::new(score);
        let handle = self.members.insert(store, now_ms, name, score.incoming(), deadline_ms)?;
        self.tree.push_back(handle, &ByScore(store));
        Ok(())
    }

    /// Gives a member another score; its deadline stays. Nothing changes on failure.
    pub(super) fn rescore(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        found: Found,
        score: f64,
        freed: &mut Vec<External>,
    ) -> Result<(), OutOfMemory> {
        let deadline_ms = store.deadline(found.handle);
        let was_there = self.tree.remove(found.handle, &ByScore(store));
        assert!(was_there, "a member of the table is in the tree");
        let score = Encoded::new(score);
        let replaced =
            self.members.replace(store, now_ms, found, score.incoming(), deadline_ms, freed);
        let handle = *replaced.as_ref().unwrap_or(&found.handle);
        self.tree.insert(handle, &ByScore(store));
        replaced.map(|_| ())
    }

    /// Gives a member another deadline or none. Nothing changes on failure.
    pub(super) fn set_deadline(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        found: Found,
        deadline_ms: Option<u64>,
    ) -> Result<(), OutOfMemory> {
        let handle = self.members.set_deadline(store, now_ms, found, deadline_ms)?;
        if handle != found.handle {
            let was_there = self.tree.replace(found.handle, handle, &ByScore(store));
            assert!(was_there, "a member of the table is in the tree");
        }
        Ok(())
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, store: &mut Store, found: Found, freed: &mut Vec<External>) {
        let was_there = self.tree.remove(found.handle, &ByScore(store));
        assert!(was_there, "a member of the table is in the tree");
        self.members.remove(store, found, freed);
    }

    /// Removes at most `limit` members from `rank` on, all from one leaf of the tree, after showing
    /// each to `sink`; how many.
    pub(super) fn remove_run(
        &mut self,
        store: &mut Store,
        rank: usize,
        limit: usize,
        freed: &mut Vec<External>,
        mut sink: impl FnMut(&[u8], f64),
    ) -> usize {
        let mut first = None;
        // Usually it is one, and no memory is asked for.
        let mut others = Vec::new();
        let order = ByScore(store);
        let taken = self.tree.remove_run(rank, limit, &order, |handle| match first {
            None => first = Some(handle),
            Some(_) => others.push(handle),
        });
        for handle in first.into_iter().chain(others) {
            sink(store.key(handle), score_of(store, handle));
            let found = self.members.of_handle(store, handle);
            self.members.remove(store, found, freed);
        }
        taken
    }

    /// Asks for what removing the members near an end takes, for those who take one after the
    /// other: the entry of one that is still some steps away, and the slot of one that is nearer
    /// and whose entry has been asked for before.
    pub(super) fn prefetch_ends(&self, store: &Store, end: End) {
        let at = |distance: usize| match end {
            End::Front => self.tree.get(distance),
            End::Back => self.tree.get(self.tree.len().checked_sub(distance + 1)?),
        };
        if let Some(handle) = at(2 * PREFETCH_AHEAD) {
            prefetch(store.address(handle));
        }
        if let Some(handle) = at(PREFETCH_AHEAD) {
            self.members.prefetch_change(store.hash(handle));
        }
    }

    /// How many members have a smaller score, or one that is not greater.
    pub(super) fn before_score(&self, store: &Store, score: f64, or_equal: bool) -> usize {
        self.tree.seek(prefix_of(score), &ByScore(store), |_| or_equal)
    }

    /// How many members come before a name where all have one score, the member of that name
    /// counted or not.
    pub(super) fn before_name(&self, store: &Store, name: &[u8], or_equal: bool) -> usize {
        let Some(first) = self.tree.get(0) else { return 0 };
        self.before_member(store, score_of(store, first), name, or_equal)
    }

    /// How many members come before a score and name in the order, the one that has them counted
    /// or not.
    pub(super) fn before_member(
        &self,
        store: &Store,
        score: f64,
        name: &[u8],
        or_equal: bool,
    ) -> usize {
        let is_before = |handle| match store.key(handle).cmp(name) {
            Ordering::Less => true,
            Ordering::Equal => or_equal,
            Ordering::Greater => false,
        };
        self.tree.seek(prefix_of(score), &ByScore(store), is_before)
    }

    /// The rank of a member.
    pub(super) fn rank(&self, store: &Store, found: Found) -> usize {
        let rank = self.tree.rank_of(found.handle, &ByScore(store));
        rank.expect("invariant: a member of the table is in the tree")
    }

    /// See [`crate::collections::Collection::expire`].
    pub(crate) fn expire(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        limit: usize,
        freed: &mut Vec<External>,
        mut gone: impl FnMut(&[u8]),
    ) -> usize {
        let tree = &mut self.tree;
        self.members.expire(store, now_ms, limit, freed, |store, handle| {
            gone(store.key(handle));
            let was_there = tree.remove(handle, &ByScore(store));
            assert!(was_there, "a member of the table is in the tree");
        })
    }

    /// See [`crate::collections::Collection::drain`].
    pub(crate) fn drain(
        &mut self,
        store: &mut Store,
        skip: &mut usize,
        budget: usize,
        freed: &mut Vec<External>,
    ) -> bool {
        // The tree goes a leaf at a time, without a look at the entries, and so goes first.
        let mut left = budget;
        while left > 0 && self.tree.drain(usize::MAX, |_| ()) > 0 {
            left -= 1;
        }
        if self.tree.len() > 0 {
            return true;
        }
        self.members.drain(store, skip, budget, freed)
    }

    /// Checks every invariant; O(n).
    pub(crate) fn verify(&self, store: &Store) {
        self.members.verify(store);
        self.tree.verify(&ByScore(store));
        assert_eq!(self.members.len(), self.tree.len(), "the table and the tree have one length");
        for handle in self.tree.range(0, self.tree.len()) {
            let found = self.members.find(store, store.key(handle));
            assert_eq!(found.map(|found| found.handle), Some(handle), "both name one entry");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scores_come_back_in_few_bytes(value in any::<f64>().prop_filter("", |v| !v.is_nan())) {
            let single = f64::from(value as f32);
            for score in [value, single, value.trunc(), -0.0, 0.0, f64::NEG_INFINITY] {
                let encoded = Encoded::new(score);
                let back = match encoded.incoming() {
                    Incoming::Int(value) => value as f64,
                    Incoming::Bytes { bytes, .. } => float(bytes),
                    _ => unreachable!(),
                };
                prop_assert_eq!(back.to_bits(), score.to_bits());
                if score.to_bits() == single.to_bits() {
                    prop_assert!(!matches!(encoded.form, Form::Bytes(8)));
                }
            }
        }

        #[test]
        fn prefixes_are_ordered_as_scores(a: f64, b: f64) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(prefix_of(a).partial_cmp(&prefix_of(b)), a.partial_cmp(&b));
        }
    }

    #[test]
    fn zeros_are_equal_and_infinities_at_the_ends() {
        assert_eq!(prefix_of(0.0), prefix_of(-0.0));
        assert!(prefix_of(f64::NEG_INFINITY) < prefix_of(f64::MIN));
        assert!(prefix_of(f64::INFINITY) > prefix_of(f64::MAX));
    }
}
