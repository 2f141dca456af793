//! Large hashes, sets and sorted sets on their way to another shard, in portions: a whole one would
//! take a core for half a second a million elements.
//!
//! Whoever copies one sees to it that nobody changes it meanwhile.

use super::Shard;
use super::relocate::{Form, Moving};
use crate::arena::Handle;
use crate::collections::Collection;
use crate::collections::members::Members;
use crate::collections::zset::scores::Scores;
use crate::external::External;
use crate::hash::Key;
use crate::journal::ChangeKind;
use crate::owned::{Element, Elements};
use crate::store::OutOfMemory;
use crate::value::{Payload, ValueType};

/// Values with no more elements are copied whole; portions of others have about as many. Copying
/// them takes about half a millisecond.
const PORTION_LEN: usize = 1024;

/// Some elements of a large value.
#[derive(Debug)]
pub struct Portion {
    value_type: ValueType,
    elements: Elements,
    /// Where the next one begins; none when this is the last.
    pub next: Option<u64>,
    /// The deadline of the value.
    pub deadline_ms: Option<u64>,
}

/// Names a value of a shard that is being put together and is under no key yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assembly {
    cell: u32,
}

impl Shard {
    /// A copy of some elements of a large value, from the beginning (0) or where the portion before
    /// has said; `None` if there is no value, or one that is to be copied whole. O(elements of a
    /// portion).
    pub fn copy_portion(&mut self, db: u32, key: &Key<'_>, from: u64) -> Option<Portion> {
        let found = self.locate(db, key)?;
        let cell = self.store.external_of(found.handle)?;
        let Payload::Collection(collection) = &self.store.externals.get(cell).payload else {
            return None;
        };
        if collection.members()?.len() <= PORTION_LEN {
            return None;
        }
        let deadline_ms = self.store.entry(found.handle).deadline();
        let (elements, next) = self.elements_from(collection, from);
        let value_type = collection.value_type();
        Some(Portion { value_type, elements, next, deadline_ms })
    }

    fn elements_from(&self, collection: &Collection, from: u64) -> (Elements, Option<u64>) {
        let store = &self.store;
        let mut elements = Elements::default();
        let scan = |members: &Members, visit: &mut dyn FnMut(Handle)| {
            let next = members.scan(store, self.due_ms, from, PORTION_LEN, visit);
            (next != 0).then_some(next)
        };
        let next = match collection {
            Collection::Hash(members) => {
                scan(members, &mut |handle| store.push_field(&mut elements, handle))
            }
            Collection::Set(members) => {
                scan(members, &mut |handle| store.push_member(&mut elements, handle))
            }
            Collection::SortedSet(scores) => {
                // In their order, so that they need not be sorted again.
                let end = (from as usize + PORTION_LEN).min(scores.len());
                scores.for_each_of(store, from as usize..end, |handle| {
                    store.push_scored(&mut elements, handle);
                });
                (end < scores.len()).then_some(end as u64)
            }
            Collection::Stream(_) | Collection::List(_) => unreachable!("they have no such table"),
        };
        (elements, next)
    }

    /// Adds a portion to a value that is being put together, or begins one with it. If memory does
    /// not suffice, what was there is freed. O(elements of the portion), of a sorted set too if its
    /// portions come in their order.
    pub fn assemble(
        &mut self,
        assembly: Option<Assembly>,
        portion: &Portion,
    ) -> Result<Assembly, OutOfMemory> {
        let cell = match assembly {
            Some(Assembly { cell }) => cell,
            None => self.begin_assembly(portion.value_type)?,
        };
        let payload = self.exchange_payload(cell, Payload::Taken);
        let Payload::Collection(mut collection) = payload else {
            unreachable!("what is put together is a collection");
        };
        let mut elements = portion.elements.iter();
        let added = elements.try_for_each(|element| self.add_element(&mut collection, &element));
        self.exchange_payload(cell, Payload::Collection(collection));
        if let Err(out_of_memory) = added {
            let external = self.store.externals.remove(cell);
            self.discard(Some(external));
            return Err(out_of_memory);
        }
        Ok(Assembly { cell })
    }

    fn exchange_payload(&mut self, cell: u32, payload: Payload) -> Payload {
        let exchange = |external: &mut External| std::mem::replace(&mut external.payload, payload);
        self.store.externals.update(cell, exchange)
    }

    fn begin_assembly(&mut self, value_type: ValueType) -> Result<u32, OutOfMemory> {
        let collection = match value_type {
            ValueType::Hash => Collection::Hash(Members::new()),
            ValueType::Set => Collection::Set(Members::new()),
            _ => Collection::SortedSet(Scores::new()),
        };
        let payload = Payload::Collection(Box::new(collection));
        self.store.externals.insert(External { key: None, payload }).ok_or(OutOfMemory)
    }

    fn add_element(
        &mut self,
        collection: &mut Collection,
        element: &Element<'_>,
    ) -> Result<(), OutOfMemory> {
        match collection {
            Collection::Hash(members) | Collection::Set(members) => {
                self.insert_element(members, element)
            }
            Collection::SortedSet(scores) => {
                let name = element.name.to_vec().expect("invariant: names are strings");
                let (score, deadline_ms) = (element.score, element.deadline_ms);
                scores.push_back(&mut self.store, self.now_ms, &name, score, deadline_ms)
            }
            Collection::Stream(_) | Collection::List(_) => unreachable!("they have no such table"),
        }
    }

    /// Puts what has been put together under a key, as [`Shard::put_anew`] does it.
    pub fn put_assembled(
        &mut self,
        (db, key): (u32, &Key<'_>),
        assembly: Assembly,
        deadline: Option<u64>,
        why: ChangeKind,
    ) -> Result<(), OutOfMemory> {
        let External { payload, .. } = self.store.externals.remove(assembly.cell);
        let moving = Moving { form: Form::Outside(payload), raw: false, deadline };
        self.put_moving(db, key, moving, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeyHasher;
    use crate::keyspace::ShardConfig;
    use crate::owned::OwnedData::{Hash, Set, SortedSet};
    use crate::owned::{OwnedData, OwnedValue};
    use crate::value::ValueRef;

    const SEEDS: [u64; 4] = [1, 2, 3, 4];
    const DEADLINE_MS: u64 = 1 << 40;

    fn shard_of(arena_bytes: usize) -> Shard {
        let config = ShardConfig { databases: 1, hash_seeds: SEEDS, slot_mode: false, rng_seed: 7 };
        Shard::with_arena_limit(config, arena_bytes)
    }

    fn key() -> Key<'static> {
        Key { bytes: b"key", hash: KeyHasher::new(SEEDS).hash(b"key"), slot: 0 }
    }

    /// Values of each type with so many elements, some of which have a deadline.
    fn values(len: usize) -> [OwnedData; 3] {
        let mut elements = [const { None }; 3].map(|_: Option<()>| Elements::default());
        let [hash, set, scores] = &mut elements;
        for number in 0..len {
            let name = format!("element:{number}");
            let name = ValueRef::Bytes(name.as_bytes());
            let deadline = number.is_multiple_of(7).then_some(DEADLINE_MS + number as u64);
            let value = if number % 2 == 0 { ValueRef::Int(5) } else { ValueRef::Bytes(b"five") };
            hash.push_field(name, value, deadline);
            set.push_member(name, deadline);
            scores.push_scored(name, (number * 7919 % 1000) as f64, deadline);
        }
        let [hash, set, scores] = elements;
        [Hash(hash), Set(set), SortedSet(scores)]
    }

    /// The elements as text, in order.
    fn sorted(shard: &mut Shard) -> Vec<String> {
        let value = shard.copy(0, &key()).expect("a value");
        let (Hash(elements) | Set(elements) | SortedSet(elements)) = value.data else {
            panic!("a value of elements");
        };
        let mut texts: Vec<String> =
            elements.iter().map(|element| format!("{element:?}")).collect();
        texts.sort_unstable();
        texts
    }

    fn transfer(from: &mut Shard, to: &mut Shard) -> Result<usize, OutOfMemory> {
        let (mut next, mut portions, mut assembly) = (Some(0), 0, None);
        while let Some(at) = next {
            let portion = from.copy_portion(0, &key(), at).expect("a large value");
            next = portion.next;
            portions += 1;
            assembly = Some(to.assemble(assembly, &portion)?);
        }
        let assembly = assembly.expect("a portion");
        to.put_assembled((0, &key()), assembly, Some(DEADLINE_MS), ChangeKind::Modified)?;
        Ok(portions)
    }

    #[test]
    fn a_value_comes_over_whole() {
        let len = 5 * PORTION_LEN;
        for data in values(len) {
            let (mut from, mut to) = (shard_of(usize::MAX), shard_of(usize::MAX));
            from.put(0, &key(), OwnedValue::new(data, None), ChangeKind::Modified).unwrap();
            let old = OwnedValue::new(OwnedData::Int(1), None);
            to.put(0, &key(), old, ChangeKind::Modified).unwrap();
            let portions = transfer(&mut from, &mut to).unwrap();
            assert!((3..=5).contains(&portions), "{portions} portions");
            assert_eq!(sorted(&mut to), sorted(&mut from));
            assert_eq!((to.len(0), to.deadline(0, &key())), (1, Some(Some(DEADLINE_MS))));
            from.verify();
            to.verify();
        }
    }

    #[test]
    fn what_is_small_or_not_there_is_not_parted() {
        let mut shard = shard_of(usize::MAX);
        assert!(shard.copy_portion(0, &key(), 0).is_none());
        for data in values(PORTION_LEN) {
            shard.put(0, &key(), OwnedValue::new(data, None), ChangeKind::Modified).unwrap();
            assert!(shard.copy_portion(0, &key(), 0).is_none());
        }
        let text = OwnedValue::from_bytes(vec![b'x'; 1 << 20], None);
        shard.put(0, &key(), text, ChangeKind::Modified).unwrap();
        assert!(shard.copy_portion(0, &key(), 0).is_none());
    }

    #[test]
    fn a_lack_of_memory_leaves_nothing() {
        for data in values(120 * PORTION_LEN) {
            let (mut from, mut to) = (shard_of(usize::MAX), shard_of(1 << 20));
            from.put(0, &key(), OwnedValue::new(data, None), ChangeKind::Modified).unwrap();
            assert_eq!(transfer(&mut from, &mut to), Err(OutOfMemory));
            while to.collect_garbage(usize::MAX) {}
            assert_eq!((to.len(0), to.arena_bytes()), (0, 0));
            to.verify();
        }
    }
}
