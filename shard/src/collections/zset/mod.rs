//! Sorted sets: members in the order of their scores, those of one score in the order of their
//! bytes.
//!
//! A small one is a packed block in order; a large one a table and a tree of the same entries. As
//! long as a look at a sorted set lasts, members that are due are still there: they are removed
//! when it is opened, so that ranks and counts agree with what is seen.

pub(crate) mod scores;
mod small;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use super::Collection;
use super::members::Found;
use crate::arena::Handle;
use crate::entry::PackKind;
use crate::external::External;
use crate::hash::Key;
use crate::keyspace::Shard;
use crate::keyspace::open::{AccessError, Content, ContentRef, Open};
use crate::list::{Direction, End};
use crate::prefetch::prefetch;
use crate::store::{OutOfMemory, Store};
use crate::table::KeySource;
use crate::value::{Payload, ValueRef};
use scores::{PREFETCH_AHEAD, Scores, score_of};

/// A look at a sorted set.
#[derive(Clone, Copy)]
pub struct ZsetRef<'a> {
    form: Form<'a>,
    store: &'a Store,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Pack(&'a [u8]),
    Large(&'a Scores),
}

impl<'a> ZsetRef<'a> {
    /// Number of members. O(1) for large sets.
    pub fn len(&self) -> usize {
        match self.form {
            Form::Pack(block) => small::len(block),
            Form::Large(scores) => scores.len(),
        }
    }

    /// Number of members; `None` when it takes O(members) to tell.
    pub fn known_len(&self) -> Option<usize> {
        match self.form {
            Form::Pack(_) => None,
            Form::Large(scores) => Some(scores.len()),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is in the form of small sets, in which passing through all members is cheap.
    pub fn is_packed(&self) -> bool {
        matches!(self.form, Form::Pack(_))
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, name: &[u8]) -> Option<f64> {
        match self.form {
            Form::Pack(block) => small::find(block, name).map(|(_, score)| score),
            Form::Large(scores) => {
                let found = scores.members.find(self.store, name)?;
                Some(score_of(self.store, found.handle))
            }
        }
    }

    /// The rank of a member, counted from 0 at the smallest score, and its score.
    pub fn rank(&self, name: &[u8]) -> Option<(usize, f64)> {
        match self.form {
            Form::Pack(block) => {
                let (range, score) = small::find(block, name)?;
                Some((small::len(&block[..range.start]), score))
            }
            Form::Large(scores) => {
                let found = scores.members.find(self.store, name)?;
                Some((scores.rank(self.store, found), score_of(self.store, found.handle)))
            }
        }
    }

    /// How many members have a smaller score than this, or one that is not greater.
    pub fn before_score(&self, score: f64, or_equal: bool) -> usize {
        match self.form {
            Form::Pack(block) => small::pairs(block)
                .take_while(|pair| pair.score < score || or_equal && pair.score <= score)
                .count(),
            Form::Large(scores) => scores.before_score(self.store, score, or_equal),
        }
    }

    /// How many members come before the place of this score and name in the order, or have just
    /// these. O(log n).
    pub fn before_member(&self, score: f64, name: &[u8], or_equal: bool) -> usize {
        match self.form {
            Form::Pack(block) => small::pairs(block)
                .take_while(|pair| {
                    let by_name = small::compare_name(pair.name, name);
                    let is_before = by_name.is_lt() || or_equal && by_name.is_eq();
                    pair.score < score || pair.score <= score && is_before
                })
                .count(),
            Form::Large(scores) => scores.before_member(self.store, score, name, or_equal),
        }
    }

    /// How many members have a smaller name than this, or one that is not greater, where all have
    /// the same score. Where they have not, any number of them.
    pub fn before_name(&self, name: &[u8], or_equal: bool) -> usize {
        match self.form {
            Form::Pack(block) => small::pairs(block)
                .take_while(|pair| {
                    let order = small::compare_name(pair.name, name);
                    order.is_lt() || or_equal && order.is_eq()
                })
                .count(),
            Form::Large(scores) => scores.before_name(self.store, name, or_equal),
        }
    }

    /// The member at a rank.
    pub fn at(&self, rank: usize) -> Option<(ValueRef<'a>, f64)> {
        match self.form {
            Form::Pack(block) => {
                let pair = small::pairs(block).nth(rank)?;
                Some((small::name_of(pair.name), pair.score))
            }
            Form::Large(scores) => scores.tree().get(rank).map(|handle| self.member(handle)),
        }
    }

    /// Calls `visit` with the members of ranks `start..end`, in either direction. O(log n) and the
    /// members visited; a small set is read from its beginning.
    pub fn visit_range(
        &self,
        start: usize,
        end: usize,
        direction: Direction,
        mut visit: impl FnMut(ValueRef<'a>, f64),
    ) {
        match (self.form, direction) {
            (Form::Pack(block), Direction::Forward) => {
                for pair in small::pairs(block).take(end).skip(start) {
                    visit(small::name_of(pair.name), pair.score);
                }
            }
            (Form::Pack(block), Direction::Backward) => {
                let pairs: Vec<_> = small::pairs(block).take(end).skip(start).collect();
                for pair in pairs.into_iter().rev() {
                    visit(small::name_of(pair.name), pair.score);
                }
            }
            (Form::Large(scores), Direction::Forward) => {
                self.visit_handles(scores.tree().range(start, end), visit);
            }
            (Form::Large(scores), Direction::Backward) => {
                self.visit_handles(scores.tree().range(start, end).rev(), visit);
            }
        }
    }

    /// Visits members whose entries are fetched some steps ahead.
    fn visit_handles(
        &self,
        handles: impl Iterator<Item = Handle> + Clone,
        mut visit: impl FnMut(ValueRef<'a>, f64),
    ) {
        let mut ahead = handles.clone();
        for handle in ahead.by_ref().take(PREFETCH_AHEAD) {
            prefetch(self.store.address(handle));
        }
        for handle in handles {
            if let Some(next) = ahead.next() {
                prefetch(self.store.address(next));
            }
            let (name, score) = self.member(handle);
            visit(name, score);
        }
    }

    /// Calls `visit` with each member in order; O(n).
    pub fn for_each(&self, visit: impl FnMut(ValueRef<'a>, f64)) {
        self.visit_range(0, self.len(), Direction::Forward, visit);
    }

    /// Calls `visit` with members and scores from `cursor` (0: the start) on, about `count` of them
    /// or all of a small set; the cursor to go on from, 0 at the end. The guarantee is SCAN's.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(ValueRef<'a>, f64)) -> u64 {
        match self.form {
            Form::Pack(_) => {
                self.for_each(visit);
                0
            }
            Form::Large(scores) => {
                // Members that are due are gone, so any time will do.
                scores.members.scan(self.store, 0, cursor, count, |handle| {
                    let (name, score) = self.member(handle);
                    visit(name, score);
                })
            }
        }
    }

    /// A member's deadline: `None` for a missing member, `Some(None)` for one without.
    pub fn deadline(&self, name: &[u8]) -> Option<Option<u64>> {
        match self.form {
            Form::Pack(block) => small::find(block, name).map(|_| None),
            Form::Large(scores) => {
                let found = scores.members.find(self.store, name)?;
                Some(self.store.deadline(found.handle))
            }
        }
    }

    fn member(&self, handle: Handle) -> (ValueRef<'a>, f64) {
        (ValueRef::Bytes(self.store.key(handle)), score_of(self.store, handle))
    }
}

/// A sorted set that is being changed.
pub struct ZsetMut<'o, 'a> {
    open: &'o mut Open<'a>,
}

impl ZsetMut<'_, '_> {
    /// A look at it.
    pub fn view(&self) -> ZsetRef<'_> {
        let form = match &self.open.content {
            Content::Pack(_, block) => Form::Pack(block),
            Content::Large(collection) => Form::Large(scores_of(collection)),
        };
        ZsetRef { form, store: self.open.store }
    }

    /// Records an event of this name, after the key's coming and before its going.
    pub fn event(&mut self, name: &'static str) {
        self.open.event(name);
    }

    /// Says how many members and what longest name are coming, so that the set gets large at once
    /// where a small one could not hold them.
    pub fn expect(&mut self, members: usize, name_len_max: usize) -> Result<(), OutOfMemory> {
        let limits = self.open.limits;
        let is_too_much = members > limits.zset_max_listpack_entries
            || name_len_max > limits.zset_max_listpack_value;
        if is_too_much { self.enlarge() } else { Ok(()) }
    }

    /// Sets the score of a member to what `decide` makes of the present one (`None`: the member is
    /// not there), or leaves it when that is `None`. A score is never NaN. A member keeps its
    /// deadline.
    pub fn set(
        &mut self,
        name: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Result<(), OutOfMemory> {
        if let Content::Pack(_, block) = &mut self.open.content {
            let found = small::find(block, name);
            let old = found.as_ref().map(|(_, score)| *score);
            let Some(score) = decide(old).filter(|score| old != Some(*score)) else {
                return Ok(());
            };
            let limits = self.open.limits;
            let fits = found.is_some()
                || name.len() <= limits.zset_max_listpack_value
                    && small::len(block) < limits.zset_max_listpack_entries;
            if fits {
                if let Some((range, _)) = found {
                    block.drain(range);
                }
                small::insert(block, name, score);
                self.open.changed = true;
                return Ok(());
            }
            self.enlarge()?;
            return self.set_large(name, |_| Some(score));
        }
        self.set_large(name, decide)
    }

    fn set_large(
        &mut self,
        name: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Result<(), OutOfMemory> {
        let Open { content, store, now_ms, freed, changed, .. } = &mut *self.open;
        let scores = large(content);
        let found = scores.members.find(store, name);
        let old = found.map(|found| score_of(store, found.handle));
        let Some(score) = decide(old).filter(|score| old != Some(*score)) else {
            return Ok(());
        };
        assert!(!score.is_nan(), "the caller refuses what is not a number");
        match found {
            None => scores.insert(store, *now_ms, name, score, None)?,
            Some(found) => scores.rescore(store, *now_ms, found, score, freed)?,
        }
        *changed = true;
        Ok(())
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Open { content, store, freed, .. } = &mut *self.open;
        let removed = match content {
            Content::Pack(_, block) => match small::find(block, name) {
                None => false,
                Some((range, _)) => {
                    block.drain(range);
                    true
                }
            },
            Content::Large(collection) => {
                let scores = scores_of_mut(collection);
                match scores.members.find(store, name) {
                    None => false,
                    Some(found) => {
                        scores.remove(store, found, freed);
                        true
                    }
                }
            }
        };
        self.open.changed |= removed;
        removed
    }

    /// Removes a member because its moment has passed; whether it existed.
    pub fn expire(&mut self, name: &[u8]) -> bool {
        let removed = self.remove(name);
        self.open.expired += usize::from(removed);
        removed
    }

    /// Removes the members of ranks `start..end`, after showing each to `sink` in order.
    pub fn pop_range(&mut self, start: usize, end: usize, mut sink: impl FnMut(ValueRef<'_>, f64)) {
        let Open { content, store, freed, changed, .. } = &mut *self.open;
        *changed |= start < end;
        match content {
            Content::Pack(_, block) => {
                let range = small::bytes_of(block, start, end);
                for pair in small::pairs(&block[range.clone()]) {
                    sink(small::name_of(pair.name), pair.score);
                }
                block.drain(range);
            }
            Content::Large(collection) => {
                let scores = scores_of_mut(collection);
                let len = scores.len();
                let from = if start > 0 && end >= len { End::Back } else { End::Front };
                let mut left = end.min(len).saturating_sub(start);
                while left > 0 {
                    left -= scores.remove_run(store, start, left, freed, |name, score| {
                        sink(ValueRef::Bytes(name), score);
                    });
                }
                if start == 0 || end >= len {
                    scores.prefetch_ends(store, from);
                }
            }
        }
    }

    /// Gives a member another deadline or none; whether the member exists.
    pub fn set_deadline(
        &mut self,
        name: &[u8],
        deadline_ms: Option<u64>,
    ) -> Result<bool, OutOfMemory> {
        let Some(old) = self.view().deadline(name) else {
            return Ok(false);
        };
        if old == deadline_ms {
            return Ok(true);
        }
        self.enlarge()?;
        let Open { content, store, now_ms, changed, .. } = &mut *self.open;
        let scores = large(content);
        let found: Option<Found> = scores.members.find(store, name);
        let found = found.expect("invariant: it was seen just now");
        scores.set_deadline(store, *now_ms, found, deadline_ms)?;
        *changed = true;
        Ok(true)
    }

    /// Makes it a large set, if it is not. Nothing changes on failure.
    fn enlarge(&mut self) -> Result<(), OutOfMemory> {
        let Open { content, store, now_ms, freed, .. } = &mut *self.open;
        let Content::Pack(_, block) = content else { return Ok(()) };
        let mut scores = Scores::new();
        for pair in small::pairs(block) {
            let name = small::name_of(pair.name).to_vec();
            let name = name.expect("invariant: a name is a string");
            if let Err(error) = scores.push_back(store, *now_ms, &name, pair.score, None) {
                let payload = Payload::Collection(Box::new(Collection::SortedSet(scores)));
                freed.push(External { key: None, payload });
                return Err(error);
            }
        }
        *content = Content::Large(Box::new(Collection::SortedSet(scores)));
        Ok(())
    }
}

fn large(content: &mut Content) -> &mut Scores {
    match content {
        Content::Large(collection) => scores_of_mut(collection),
        Content::Pack(..) => unreachable!("it was made large"),
    }
}

fn scores_of(collection: &Collection) -> &Scores {
    match collection {
        Collection::SortedSet(scores) => scores,
        _ => unreachable!("a sorted set was opened"),
    }
}

fn scores_of_mut(collection: &mut Collection) -> &mut Scores {
    match collection {
        Collection::SortedSet(scores) => scores,
        _ => unreachable!("a sorted set was opened"),
    }
}

impl Shard {
    /// A look at the sorted set at a key, `None` for a missing key. `touch` notes the access and
    /// removes the key when it is due, and members that are.
    pub fn zset_at(
        &mut self,
        db: u32,
        key: &Key<'_>,
        touch: bool,
    ) -> Result<Option<ZsetRef<'_>>, AccessError> {
        if touch {
            self.expire_members_of(db, key);
        }
        let Some((content, store)) = self.content(db, key, touch) else { return Ok(None) };
        let form = match content {
            ContentRef::Pack(PackKind::SortedSet, block) => Form::Pack(block),
            ContentRef::Collection(Collection::SortedSet(scores)) => Form::Large(scores),
            _ => return Err(AccessError::WrongType),
        };
        Ok(Some(ZsetRef { form, store }))
    }

    /// Changes the sorted set at a key, which is made with its first member and removed with its
    /// last. Records `New`, `Modified` and `Deleted`; events are the caller's to record.
    pub fn update_zset<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        change: impl FnOnce(&mut ZsetMut<'_, '_>) -> R,
    ) -> Result<R, AccessError> {
        self.expire_members_of(db, key);
        self.update(db, key, PackKind::SortedSet, |open| change(&mut ZsetMut { open }))
    }
}
