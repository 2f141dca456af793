//! Lists at keys. A large one is changed in its place: it needs nothing of the store, so that a
//! push or a pop does not pay for taking it out.

use super::open::{AccessError, Content, ContentRef};
use super::{Found, Shard};
use crate::collections::{Collection, change_large, change_small};
use crate::collections::{ListMut, ListRef};
use crate::entry::PackKind;
use crate::external::External;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::list::List;
use crate::owned::{OwnedData, OwnedValue};
use crate::value::Payload;

impl Shard {
    /// A look at the list at a key, `None` for a missing key. `touch` notes the access and removes
    /// the key when it is due.
    pub fn list_at(
        &mut self,
        db: u32,
        key: &Key<'_>,
        touch: bool,
    ) -> Result<Option<ListRef<'_>>, AccessError> {
        let list = match self.content(db, key, touch) {
            None => return Ok(None),
            Some((ContentRef::Pack(PackKind::List, text), _)) => ListRef::small(text),
            Some((ContentRef::Collection(Collection::List(list)), _)) => ListRef::large(list),
            Some(_) => return Err(AccessError::WrongType),
        };
        Ok(Some(list))
    }

    /// Changes the list at a key, which is made with its first element and removed with its last.
    /// Records `New`, the events that `change` names, `Modified` and `Deleted`.
    pub fn update_list<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        change: impl FnOnce(&mut ListMut<'_>) -> R,
    ) -> Result<R, AccessError> {
        let found = self.locate(db, key);
        if let Some(found) = found {
            self.save_before_change(db, found.handle);
        }
        let (result, cut) = match found.and_then(|found| self.list_cell(found)) {
            Some(cell) => {
                let found = found.expect("invariant: it has a cell");
                self.update_large_list(db, key, found, cell, change)
            }
            None => self.update_small_list(db, key, found, change)?,
        };
        for list in cut {
            let payload = Payload::Collection(Box::new(Collection::List(list)));
            self.discard(Some(External { key: None, payload }));
        }
        Ok(result)
    }

    /// The cell of an entry whose value is a large list.
    fn list_cell(&self, found: Found) -> Option<u32> {
        let cell = self.store.external_of(found.handle)?;
        match &self.store.externals.get(cell).payload {
            Payload::Collection(collection) => {
                matches!(**collection, Collection::List(_)).then_some(cell)
            }
            _ => None,
        }
    }

    /// The large list of an entry that is about to be removed, with its deadline.
    pub(super) fn take_list(&mut self, found: Found) -> Option<OwnedValue> {
        let cell = self.list_cell(found)?;
        let list = self.store.externals.update(cell, |external| match &mut external.payload {
            Payload::Collection(collection) => match &mut **collection {
                Collection::List(list) => std::mem::take(list),
                _ => unreachable!("it was looked at just now"),
            },
            _ => unreachable!("it was looked at just now"),
        });
        let deadline_ms = self.store.entry(found.handle).deadline();
        Some(OwnedValue::new(OwnedData::List(list), deadline_ms))
    }

    /// Changes a large list where it is: nothing of it is in the store, so that it need not be
    /// taken out.
    fn update_large_list<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Found,
        cell: u32,
        change: impl FnOnce(&mut ListMut<'_>) -> R,
    ) -> (R, Vec<List>) {
        self.note_access(found.handle);
        let limits = self.limits.list;
        let (result, done) = self.store.externals.update(cell, |external| {
            let Payload::Collection(collection) = &mut external.payload else {
                unreachable!("it was looked at just now")
            };
            let Collection::List(list) = &mut **collection else {
                unreachable!("it was looked at just now")
            };
            change_large(list, limits, change)
        });
        for event in done.events.into_iter().flatten() {
            self.journal.record(ChangeKind::Event(event), db, key.bytes);
        }
        if done.is_empty {
            self.remove_found(db, key, found, ChangeKind::Deleted);
        } else if done.changed {
            self.journal.record(ChangeKind::Modified, db, key.bytes);
        }
        (result, done.cut)
    }

    /// Changes a small list, or one that does not exist yet.
    fn update_small_list<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        found: Option<Found>,
        change: impl FnOnce(&mut ListMut<'_>) -> R,
    ) -> Result<(R, Vec<List>), AccessError> {
        self.update_found(db, key, found, PackKind::List, |open| {
            let limits = open.limits.list;
            let Content::Pack(_, text) = &mut open.content else {
                unreachable!("a large list is changed in its place")
            };
            let (result, done, grown) = change_small(text, limits, change);
            if let Some(list) = grown {
                open.content = Content::Large(Box::new(Collection::List(list)));
            }
            open.changed |= done.changed;
            done.events.into_iter().flatten().for_each(|name| open.event(name));
            (result, done.cut)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::ops::ControlFlow;

    use proptest::prelude::*;

    use super::*;
    use crate::collections::EncodingLimits;
    use crate::keyspace::ShardConfig;
    use crate::list::{Direction, End, ListLimits};
    use crate::value::NewValue;
    use crate::{ChangeMask, Ttl};

    fn shard(limits: ListLimits) -> Shard {
        let config =
            ShardConfig { databases: 2, hash_seeds: [1; 4], slot_mode: false, rng_seed: 1 };
        let mut shard = Shard::new(config);
        shard.set_encoding_limits(EncodingLimits { list: limits, ..EncodingLimits::default() });
        shard
    }

    fn key<'k>(shard: &Shard, bytes: &'k [u8]) -> Key<'k> {
        Key { bytes, hash: shard.hash(bytes), slot: 0 }
    }

    fn elements(shard: &mut Shard, name: &[u8]) -> Vec<Vec<u8>> {
        let key = key(shard, name);
        let mut elements = Vec::new();
        if let Some(list) = shard.list_at(0, &key, true).unwrap() {
            list.range(0, usize::MAX, |element| elements.push(element.to_vec()));
            assert_eq!(list.len(), elements.len());
        }
        elements
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push(End, Vec<u8>),
        Pop(End),
        Set(usize, Vec<u8>),
        Insert(usize, Vec<u8>),
        Remove(Vec<u8>, usize),
        Cut(End, usize),
        Relocate,
    }

    fn ops() -> impl Strategy<Value = Op> {
        let element = || {
            let len = prop_oneof![20 => 0..12_usize, 2 => 100..400_usize, 1 => 9000..9001_usize];
            (0..3_u8, len).prop_map(|(letter, len)| vec![b'a' + letter; len])
        };
        let end = || prop_oneof![Just(End::Front), Just(End::Back)];
        prop_oneof![
            10 => (end(), element()).prop_map(|(end, element)| Op::Push(end, element)),
            3 => end().prop_map(Op::Pop),
            2 => (0..40_usize, element()).prop_map(|(at, element)| Op::Set(at, element)),
            2 => (0..40_usize, element()).prop_map(|(at, element)| Op::Insert(at, element)),
            1 => (element(), 0..5_usize).prop_map(|(element, count)| Op::Remove(element, count)),
            1 => (end(), 0..20_usize).prop_map(|(end, count)| Op::Cut(end, count)),
            1 => Just(Op::Relocate),
        ]
    }

    fn change(list: &mut ListMut<'_>, model: &mut VecDeque<Vec<u8>>, op: Op) {
        match op {
            Op::Push(end, element) => {
                list.push(end, &element);
                let at = if end == End::Front { 0 } else { model.len() };
                model.insert(at, element);
            }
            Op::Pop(end) => {
                let expected = if end == End::Front { model.pop_front() } else { model.pop_back() };
                assert_eq!(list.pop(end, <[u8]>::to_vec), expected);
            }
            Op::Set(at, element) => {
                assert_eq!(list.set(at, &element), at < model.len());
                if let Some(place) = model.get_mut(at) {
                    *place = element;
                }
            }
            Op::Insert(at, element) => {
                let at = at.min(model.len());
                list.insert(at, &element);
                model.insert(at, element);
            }
            Op::Remove(value, count) => {
                let mut left = count;
                model.retain(|element| {
                    let goes = *element == value && left > 0;
                    left -= usize::from(goes);
                    !goes
                });
                assert_eq!(list.remove(&value, count, Direction::Forward), count - left);
            }
            Op::Cut(end, count) => {
                list.cut(end, count);
                let count = count.min(model.len());
                match end {
                    End::Front => drop(model.drain(..count)),
                    End::Back => model.truncate(model.len() - count),
                }
            }
            Op::Relocate => {}
        }
        assert_eq!(list.is_empty(), model.is_empty());
        let mut last = None;
        list.view().visit(model.len().saturating_sub(1), Direction::Backward, |element| {
            last = Some(element.to_vec());
            ControlFlow::Break(())
        });
        assert_eq!(last.as_ref(), model.back());
    }

    proptest! {
        #[test]
        fn a_list_at_a_key_behaves_as_a_deque(
            size in prop_oneof![Just(-2_i64), Just(3), Just(30)],
            ops in proptest::collection::vec(ops(), 1..120),
        ) {
            let mut shard = shard(ListLimits::new(size, 1));
            let mut model = VecDeque::new();
            for op in ops {
                let name = key(&shard, b"list");
                if let Op::Relocate = op {
                    if let Some(value) = shard.take(0, &name, ChangeKind::RenamedFrom) {
                        shard.put(1, &name, value, ChangeKind::MovedTo).unwrap();
                        let value = shard.copy(1, &name).unwrap();
                        shard.remove(1, &name);
                        shard.put(0, &name, value, ChangeKind::MovedTo).unwrap();
                    }
                } else {
                    shard.update_list(0, &name, |list| change(list, &mut model, op)).unwrap();
                }
                shard.verify();
                prop_assert!(model.iter().eq(&elements(&mut shard, b"list")));
                prop_assert_eq!(shard.exists(0, &name), !model.is_empty());
            }
            while shard.collect_garbage(10) {}
            prop_assert_eq!(shard.memory_use().garbage, 0);
        }
    }

    #[test]
    fn events_come_between_new_and_deleted() {
        let mut shard = shard(ListLimits::default());
        shard.journal.set_mask(ChangeMask::ALL);
        let name = key(&shard, b"list");
        for _ in 0..2 {
            shard
                .update_list(0, &name, |list| {
                    list.pop(End::Back, |_| ());
                    list.event("rpop");
                    list.push(End::Front, b"a");
                    list.event("lpush");
                })
                .unwrap();
        }
        shard.update_list(0, &name, |list| list.cut(End::Front, 1)).unwrap();
        let kinds: Vec<ChangeKind> = shard.journal.changes().map(|change| change.kind).collect();
        let (pop, push) = (ChangeKind::Event("rpop"), ChangeKind::Event("lpush"));
        let modified = ChangeKind::Modified;
        assert_eq!(
            kinds,
            [ChangeKind::New, pop, push, modified, pop, push, modified, ChangeKind::Deleted]
        );
    }

    #[test]
    fn other_types_are_refused_and_left_alone() {
        let mut shard = shard(ListLimits::default());
        let name = key(&shard, b"text");
        shard.set(0, &name, NewValue::Bytes(b"x"), Ttl::Clear).unwrap();
        let refused = shard.update_list(0, &name, |list| list.push(End::Back, b"y"));
        assert_eq!(refused, Err(AccessError::WrongType));
        assert!(shard.list_at(0, &name, true).is_err());
        assert_eq!(shard.encoding_name(0, &name), Some("embstr"));
    }

    #[test]
    fn a_long_list_is_freed_in_steps() {
        let mut shard = shard(ListLimits::default());
        let name = key(&shard, b"list");
        shard
            .update_list(0, &name, |list| {
                (0..200_000).for_each(|_| list.push(End::Back, &[b'x'; 20]));
            })
            .unwrap();
        let full = shard.memory_use().external;
        shard.update_list(0, &name, |list| list.cut(End::Front, 100_000)).unwrap();
        assert!(shard.memory_use().garbage > full / 3);
        shard.remove(0, &name);
        let mut steps = 0;
        while shard.collect_garbage(16) {
            steps += 1;
        }
        assert!(steps > 10, "{steps} steps");
        assert_eq!(shard.memory_use().garbage, 0);
    }
}
