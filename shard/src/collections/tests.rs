//! Hashes in a shard against maps from fields to values with deadlines.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{EncodingLimits, FieldTtl};
use crate::hash::{Key, KeyHasher};
use crate::journal::ChangeKind::{self, Deleted, ElementExpired, Event, Modified, New};
use crate::journal::ChangeMask;
use crate::keyspace::{Shard, ShardConfig};
use crate::value::{NewValue, ValueType};

const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn key(bytes: &[u8]) -> Key<'_> {
    let slot = bytes.first().map_or(0, |&byte| u16::from(byte) % 5 * 4000);
    Key { bytes, hash: KeyHasher::new(SEEDS).hash(bytes), slot }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u16, Vec<u8>, Option<u64>, bool),
    Remove(u8, u16),
    Deadline(u8, u16, Option<u64>),
    KeyDeadline(u8, u64),
    Rename(u8, u8),
    Copy(u8, u8),
    Move(u8),
    Delete(u8),
    Swap,
    Flush,
    /// Lets time pass, and what is due expire in steps of this many keys and fields.
    Advance(u64, usize),
    Collect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..4u8;
    let field = 0..60u16;
    let value = prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..20),
        2 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 900..1100),
    ];
    prop_oneof![
        30 => (key.clone(), field.clone(), value, proptest::option::weighted(0.1, 1..300u64),
            any::<bool>()).prop_map(|(k, f, v, ttl, keep)| Step::Set(k, f, v, ttl, keep)),
        10 => (key.clone(), field.clone()).prop_map(|(key, field)| Step::Remove(key, field)),
        4 => (key.clone(), field, proptest::option::of(1..300u64))
            .prop_map(|(key, field, ttl)| Step::Deadline(key, field, ttl)),
        1 => (key.clone(), 0..300u64).prop_map(|(key, ttl)| Step::KeyDeadline(key, ttl)),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Copy(from, to)),
        1 => key.clone().prop_map(Step::Move),
        1 => key.prop_map(Step::Delete),
        1 => Just(Step::Swap),
        1 => Just(Step::Flush),
        4 => (0..60u64, 1..20usize).prop_map(|(ms, budget)| Step::Advance(ms, budget)),
        4 => (1..20usize).prop_map(Step::Collect),
    ]
}

/// Fields of several lengths, integers among them, some too long to lie in an entry.
fn field(index: u16) -> Vec<u8> {
    match index % 10 {
        0 => format!("{index}").into_bytes(),
        1 => vec![b'a' + (index / 10) as u8; 300],
        _ => format!("field:{index}").into_bytes(),
    }
}

fn name(index: u8) -> Vec<u8> {
    let mut name = vec![b'a' + index];
    if index == 3 {
        name.resize(300, b'x');
    }
    name
}

type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Default, Clone)]
struct Hash {
    fields: Fields,
    deadline: Option<u64>,
}

struct Pair {
    shard: Shard,
    models: [BTreeMap<Vec<u8>, Hash>; 2],
    now: u64,
}

impl Pair {
    fn new(slot_mode: bool) -> Self {
        let config = ShardConfig { databases: 2, hash_seeds: SEEDS, slot_mode, rng_seed: 7 };
        let mut shard = Shard::new(config);
        shard.set_encoding_limits(EncodingLimits {
            hash_max_listpack_entries: 20,
            ..EncodingLimits::default()
        });
        Self { shard, models: Default::default(), now: 0 }
    }

    /// Removes from the models what is due.
    fn settle(&mut self) {
        let now = self.now;
        let is_live = |deadline: Option<u64>| deadline.is_none_or(|deadline| deadline > now);
        for model in &mut self.models {
            for hash in model.values_mut() {
                hash.fields.retain(|_, (_, deadline)| is_live(*deadline));
            }
            model.retain(|_, hash| is_live(hash.deadline) && !hash.fields.is_empty());
        }
    }

    fn apply(&mut self, step: Step) {
        let (shard, now) = (&mut self.shard, self.now);
        let model = &mut self.models[0];
        match step {
            Step::Set(index, at, value, ttl, keep) => {
                let (name, field) = (name(index), field(at));
                let hash = model.entry(name.clone()).or_default();
                let old = hash.fields.get(&field).and_then(|old| old.1);
                let (ttl, deadline) = match (ttl, keep) {
                    (Some(ttl), _) => (FieldTtl::At(now + ttl), Some(now + ttl)),
                    (None, true) => (FieldTtl::Keep, old),
                    (None, false) => (FieldTtl::Clear, None),
                };
                let set = shard.update_hash(0, &key(&name), |hash| {
                    hash.set(&field, NewValue::Bytes(&value), ttl).unwrap()
                });
                let is_new = hash.fields.insert(field, (value, deadline)).is_none();
                assert_eq!(set, Ok(is_new));
            }
            Step::Remove(index, at) => {
                let (name, field) = (name(index), field(at));
                let removed = shard.update_hash(0, &key(&name), |hash| hash.remove(&field));
                let hash = model.get_mut(&name);
                assert_eq!(removed, Ok(hash.is_some_and(|h| h.fields.remove(&field).is_some())));
            }
            Step::Deadline(index, at, ttl) => {
                let (name, field) = (name(index), field(at));
                let deadline = ttl.map(|ttl| now + ttl);
                let set = shard.update_hash(0, &key(&name), |hash| {
                    hash.set_deadline(&field, deadline).unwrap()
                });
                let found = model.get_mut(&name).and_then(|hash| hash.fields.get_mut(&field));
                assert_eq!(set, Ok(found.is_some()));
                if let Some((_, old)) = found {
                    *old = deadline;
                }
            }
            Step::Advance(ms, budget) => {
                self.now += ms;
                let is_due = |next: Option<u64>| next.is_some_and(|next| next <= self.now);
                while is_due(shard.expire_due(self.now, budget).next_deadline_ms) {}
            }
            Step::Collect(budget) => {
                shard.collect_garbage(budget);
            }
            step => self.apply_to_keys(step),
        }
        self.settle();
    }

    fn apply_to_keys(&mut self, step: Step) {
        let (shard, now) = (&mut self.shard, self.now);
        let [model, other] = &mut self.models;
        match step {
            Step::KeyDeadline(index, ttl) => {
                let name = name(index);
                let set = shard.set_deadline(0, &key(&name), now + ttl).unwrap();
                let hash = model.get_mut(&name);
                assert_eq!(set, hash.is_some());
                if let Some(hash) = hash {
                    hash.deadline = Some(now + ttl);
                }
            }
            Step::Rename(from, to) => {
                let (from, to) = (name(from), name(to));
                assert_eq!(
                    shard.rename(0, &key(&from), &key(&to)).unwrap(),
                    model.contains_key(&from)
                );
                if let Some(hash) = model.remove(&from) {
                    model.insert(to, hash);
                }
            }
            Step::Copy(from, to) => {
                let (from, to) = (name(from), name(to));
                if let Some(value) = shard.copy(0, &key(&from)) {
                    shard.put(0, &key(&to), value, ChangeKind::Set).unwrap();
                    model.insert(to, model[&from].clone());
                }
            }
            Step::Move(index) => {
                let name = name(index);
                let why = (ChangeKind::MovedFrom, ChangeKind::MovedTo);
                let moved = shard.relocate((0, &key(&name)), (1, &key(&name)), why).unwrap();
                assert_eq!(moved, model.contains_key(&name));
                if let Some(hash) = model.remove(&name) {
                    other.insert(name, hash);
                }
            }
            Step::Delete(index) => {
                let name = name(index);
                assert_eq!(shard.remove(0, &key(&name)), model.remove(&name).is_some());
            }
            Step::Swap => {
                shard.swap_db(0, 1);
                self.models.swap(0, 1);
            }
            Step::Flush => {
                shard.flush_db(0);
                model.clear();
            }
            step => unreachable!("{step:?} is about fields or time"),
        }
    }

    fn verify(&mut self) {
        self.shard.verify();
        for (db, model) in self.models.iter().enumerate() {
            for index in 0..4 {
                let name = name(index);
                let mut seen = Fields::new();
                let hash = self.shard.hash_at(db as u32, &key(&name), false).unwrap();
                if let Some(hash) = hash {
                    hash.for_each(|field, value, deadline| {
                        let (field, value) = (field.to_vec().unwrap(), value.to_vec().unwrap());
                        assert_eq!(hash.get(&field).unwrap().to_vec().unwrap(), value);
                        assert_eq!(hash.deadline(&field), Some(deadline));
                        assert!(seen.insert(field, (value, deadline)).is_none());
                    });
                }
                let expected = model.get(&name).map(|hash| hash.fields.clone());
                assert_eq!(seen, expected.unwrap_or_default());
            }
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_maps_with_deadlines(
        slot_mode: bool,
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        let mut pair = Pair::new(slot_mode);
        for step in steps {
            pair.apply(step);
        }
        pair.verify();
        pair.now += 1000;
        let now = pair.now;
        while pair.shard.expire_due(now, 10).next_deadline_ms.is_some_and(|next| next <= now) {}
        pair.settle();
        pair.verify();
        pair.shard.flush_db(0);
        pair.shard.flush_db(1);
        while pair.shard.collect_garbage(7) {}
        assert_eq!(pair.shard.arena_bytes(), 0, "nothing is left in the arena");
    }
}

#[test]
fn the_last_field_takes_the_key_with_it_and_changes_are_recorded() {
    let mut shard = Pair::new(false).shard;
    shard.journal.set_mask(ChangeMask::ALL);
    let key = key(b"k");
    let value = NewValue::Bytes(b"v");
    shard.update_hash(0, &key, |hash| hash.set(b"f", value, FieldTtl::At(50)).unwrap()).unwrap();
    shard.expire_due(49, 100);
    assert_eq!(shard.len(0), 1);
    shard.expire_due(50, 100);
    assert_eq!((shard.len(0), shard.expired_members_total()), (0, 1));
    let kinds: Vec<_> = shard.journal.changes().map(|change| change.kind).collect();
    let expired = ElementExpired(ValueType::Hash);
    assert_eq!(kinds, [New, Modified, expired, Event("hexpired"), Modified, Deleted]);
}

/// A shard with a large hash of so many fields, each due at its own number of milliseconds.
fn due_one_by_one(fields: u64) -> Shard {
    let mut shard = Pair::new(false).shard;
    let set = shard.update_hash(0, &key(b"k"), |hash| {
        for field in 1..=fields {
            let name = format!("field:{field}");
            hash.set(name.as_bytes(), NewValue::Int(1), FieldTtl::At(field)).unwrap();
        }
    });
    assert!(set.is_ok());
    shard
}

/// Simulated time: the loop sleeps until the moment that the shard names, and fields are gone at
/// the millisecond at which they are due.
#[test]
fn fields_expire_at_their_millisecond() {
    let mut shard = due_one_by_one(2000);
    let mut now = 0;
    while let Some(next) = shard.next_deadline_ms() {
        assert!(next > now, "the clock goes on");
        now = next;
        while shard.expire_due(now, 100).next_deadline_ms.is_some_and(|next| next <= now) {}
        assert_eq!(shard.expired_members_total(), now, "all that is due at {now} ms, and no more");
    }
    assert_eq!((now, shard.len(0)), (2000, 0));
    shard.verify();
}

/// Where nothing removes what is due in time, a look at the collection does.
#[test]
fn a_look_settles_what_is_due() {
    let mut shard = due_one_by_one(1000);
    shard.set_now(100);
    let hash = shard.hash_at(0, &key(b"k"), true).unwrap().unwrap();
    assert_eq!((hash.len(), hash.exact_len()), (900, Some(900)));
    shard.set_now(1000);
    for _ in 0..100 {
        if shard.hash_at(0, &key(b"k"), true).unwrap().is_none() {
            break;
        }
    }
    assert_eq!((shard.len(0), shard.expired_members_total()), (0, 1000));
    shard.verify();
}

#[test]
fn samples_are_distinct_and_even() {
    for (fields, listpack) in [(30_u64, 512), (30, 0), (400, 0)] {
        let mut shard = Pair::new(false).shard;
        shard.set_encoding_limits(EncodingLimits {
            hash_max_listpack_entries: listpack,
            ..EncodingLimits::default()
        });
        let set = shard.update_hash(0, &key(b"k"), |hash| {
            for field in 0..fields {
                let name = format!("f{field}");
                hash.set(name.as_bytes(), NewValue::Int(field as i64), FieldTtl::Clear).unwrap();
            }
        });
        assert!(set.is_ok());
        let mut randoms = shard.randoms();
        let hash = shard.hash_at(0, &key(b"k"), true).unwrap().unwrap();
        let mut drawn = BTreeMap::new();
        let rounds = 2000;
        for round in 0..rounds {
            let count = [3, 10, 25][round % 3];
            let mut names = std::collections::BTreeSet::new();
            hash.sample(count, &mut randoms, |field, _| {
                let name = field.to_vec().unwrap();
                *drawn.entry(name.clone()).or_insert(0_usize) += 1;
                assert!(names.insert(name), "no field comes twice");
            });
            assert_eq!(names.len(), count);
        }
        let mean = rounds * (3 + 10 + 25) / 3 / fields as usize;
        assert_eq!(drawn.len(), fields as usize);
        let least = drawn.values().min().unwrap();
        assert!(*least > mean / 4, "{least} of {mean}");
        let mut all = 0;
        hash.sample(1000, &mut randoms, |_, _| all += 1);
        assert_eq!(all, fields);
        assert!(hash.random(&mut randoms).is_some());
    }
}

#[test]
fn a_string_is_not_a_hash() {
    let mut shard = Pair::new(false).shard;
    let key = key(b"k");
    shard.set(0, &key, NewValue::Bytes(b"v"), crate::Ttl::Clear).unwrap();
    assert!(shard.hash_at(0, &key, true).is_err());
    assert!(shard.update_hash(0, &key, |_| ()).is_err());
    shard.verify();
}
