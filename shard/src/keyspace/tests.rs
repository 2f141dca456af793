//! The shard against a map from keys to values with deadlines.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::journal::ChangeMask;
use crate::keyspace::write::Ttl;
use crate::value::NewValue;

const SEEDS: [u64; 4] = [1, 2, 3, 4];

pub(super) fn shard(slot_mode: bool) -> Shard {
    let config = ShardConfig { databases: 3, hash_seeds: SEEDS, slot_mode, rng_seed: 7 };
    Shard::with_arena_limit(config, 64 << 20)
}

/// A key as routing would make it; the slot stands in for CRC16.
fn key(bytes: &[u8]) -> Key<'_> {
    let slot = bytes.first().map_or(0, |&byte| u16::from(byte) % 5 * 4000);
    Key { bytes, hash: KeyHasher::new(SEEDS).hash(bytes), slot }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u16, Vec<u8>, Option<u64>, bool),
    SetInt(u16, i64),
    Grow(u16, usize, u8),
    Remove(u16),
    Deadline(u16, Option<u64>),
    Rename(u16, u16),
    Move(u16, u32),
    Copy(u16, u16),
    Advance(u64),
    ExpireDue(usize),
    Collect(usize),
    Flush,
    Swap,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..60),
        2 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        2 => (900..1200usize, any::<u8>()).prop_map(|(len, fill)| vec![fill; len]),
        1 => (64_000..80_000usize, any::<u8>()).prop_map(|(len, fill)| vec![fill; len]),
    ]
}

fn step(keys: u16) -> impl Strategy<Value = Step> {
    let key = 0..keys;
    prop_oneof![
        12 => (key.clone(), value(), proptest::option::of(0..400u64), any::<bool>())
            .prop_map(|(key, value, ttl, keep)| Step::Set(key, value, ttl, keep)),
        3 => (key.clone(), any::<i64>(), 0..64u32)
            .prop_map(|(key, value, shift)| Step::SetInt(key, value >> shift)),
        4 => (key.clone(), 0..1500usize, any::<u8>())
            .prop_map(|(key, len, fill)| Step::Grow(key, len, fill)),
        6 => key.clone().prop_map(Step::Remove),
        6 => (key.clone(), proptest::option::of(0..400u64))
            .prop_map(|(key, ttl)| Step::Deadline(key, ttl)),
        3 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (key.clone(), 0..3u32).prop_map(|(key, db)| Step::Move(key, db)),
        2 => (key.clone(), key).prop_map(|(from, to)| Step::Copy(from, to)),
        4 => (0..100u64).prop_map(Step::Advance),
        4 => (1..20usize).prop_map(Step::ExpireDue),
        4 => (1..20usize).prop_map(Step::Collect),
        1 => Just(Step::Flush),
        1 => Just(Step::Swap),
    ]
}

/// Keys of several lengths, some too long to lie in an entry.
fn name(index: u16) -> Vec<u8> {
    let mut name = format!("{}:{index}", (b'a' + (index % 7) as u8) as char).into_bytes();
    match index % 11 {
        0 => name.resize(254, b'x'),
        1 => name.resize(255, b'x'),
        2 => name.resize(1000, b'x'),
        _ => {}
    }
    name
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn live(model: &mut Model, now: u64, name: &[u8]) -> Option<(Vec<u8>, Option<u64>)> {
    if model.get(name).is_some_and(|(_, deadline)| deadline.is_some_and(|due| due <= now)) {
        model.remove(name);
    }
    model.get(name).cloned()
}

struct Pair {
    shard: Shard,
    models: Vec<Model>,
    now: u64,
}

impl Pair {
    fn new(slot_mode: bool) -> Self {
        Self { shard: shard(slot_mode), models: vec![Model::new(); 3], now: 0 }
    }

    fn apply(&mut self, step: Step) {
        let (shard, now) = (&mut self.shard, self.now);
        let model = &mut self.models[0];
        match step {
            Step::Set(index, value, ttl, keep) => {
                let name = name(index);
                let old = live(model, now, &name);
                let (ttl, deadline) = match (ttl, keep) {
                    (Some(ttl), _) => (Ttl::At(now + ttl), Some(now + ttl)),
                    (None, true) => (Ttl::Keep, old.as_ref().and_then(|old| old.1)),
                    (None, false) => (Ttl::Clear, None),
                };
                let outcome = shard.set(0, &key(&name), NewValue::Bytes(&value), ttl).unwrap();
                assert_eq!(outcome.replaced, old.is_some());
                model.insert(name, (value, deadline));
            }
            Step::SetInt(index, value) => {
                let name = name(index);
                let deadline = live(model, now, &name).and_then(|old| old.1);
                shard.set_int(0, &key(&name), value).unwrap();
                model.insert(name, (value.to_string().into_bytes(), deadline));
            }
            Step::Grow(index, len, fill) => {
                let name = name(index);
                let (mut value, deadline) = live(model, now, &name).unwrap_or_default();
                value.resize(len.max(value.len()), 0);
                let bytes = shard.string_mut(0, &key(&name), len).unwrap();
                assert_eq!(bytes, value);
                for bytes in [bytes, &mut value] {
                    if let Some(last) = bytes.last_mut() {
                        *last = fill;
                    }
                }
                assert_ne!(shard.encoding_name(0, &key(&name)), Some("embstr"));
                model.insert(name, (value, deadline));
            }
            Step::Remove(index) => {
                let name = name(index);
                let existed = live(model, now, &name).is_some();
                model.remove(&name);
                assert_eq!(shard.remove(0, &key(&name)), existed);
            }
            Step::Deadline(index, ttl) => {
                let name = name(index);
                let old = live(model, now, &name);
                let deadline = ttl.map(|ttl| now + ttl);
                let did = match deadline {
                    Some(deadline) => shard.set_deadline(0, &key(&name), deadline).unwrap(),
                    None => shard.persist(0, &key(&name)).unwrap(),
                };
                let had_deadline = old.as_ref().is_some_and(|old| old.1.is_some());
                assert_eq!(did, if ttl.is_some() { old.is_some() } else { had_deadline });
                if let Some((value, _)) = old {
                    model.insert(name, (value, deadline));
                }
            }
            other => self.apply_relocation(&other),
        }
    }

    fn apply_relocation(&mut self, step: &Step) {
        let (shard, now) = (&mut self.shard, self.now);
        match *step {
            Step::Rename(from, to) => {
                let (from, to) = (name(from), name(to));
                let model = &mut self.models[0];
                let value = live(model, now, &from);
                assert_eq!(shard.rename(0, &key(&from), &key(&to)).unwrap(), value.is_some());
                if let Some(value) = value {
                    model.remove(&from);
                    model.insert(to, value);
                }
            }
            Step::Move(index, db) => {
                let name = name(index);
                let value = live(&mut self.models[0], now, &name);
                let taken = shard.take(0, &key(&name), ChangeKind::MovedFrom);
                assert_eq!(taken.is_some(), value.is_some());
                if let (Some(taken), Some(value)) = (taken, value) {
                    self.models[0].remove(&name);
                    shard.put(db, &key(&name), taken, ChangeKind::MovedTo).unwrap();
                    self.models[db as usize].insert(name, value);
                }
            }
            Step::Copy(from, to) => {
                let (from, to) = (name(from), name(to));
                let model = &mut self.models[0];
                let value = live(model, now, &from);
                let copy = shard.copy(0, &key(&from));
                assert_eq!(copy.is_some(), value.is_some());
                if let (Some(copy), Some(value)) = (copy, value) {
                    shard.put(0, &key(&to), copy, ChangeKind::Set).unwrap();
                    model.insert(to, value);
                }
            }
            Step::Advance(ms) => {
                self.now += ms;
                shard.set_now(self.now);
            }
            Step::ExpireDue(budget) => {
                let progress = shard.expire_due(now, budget);
                assert!(progress.expired <= budget + 8);
            }
            Step::Collect(budget) => {
                shard.collect_garbage(budget);
            }
            Step::Flush => {
                shard.flush_db(0);
                self.models[0].clear();
            }
            _ => {
                shard.swap_db(0, 1);
                self.models.swap(0, 1);
            }
        }
    }

    fn check(&mut self) {
        self.shard.verify();
        for (db, model) in (0..).zip(&self.models) {
            let live: BTreeSet<_> = model
                .iter()
                .filter(|(_, value)| value.1.is_none_or(|deadline| deadline > self.now))
                .map(|(name, _)| name.clone())
                .collect();
            for name in &live {
                let (value, deadline) = &model[name];
                let key = key(name);
                let stored = self.shard.peek(db, &key).and_then(|value| value.to_vec());
                assert_eq!(stored.as_ref(), Some(value));
                assert_eq!(self.shard.deadline(db, &key), Some(*deadline));
            }
            let mut seen = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = self.shard.scan(db, cursor, 3, &mut |key, _| {
                    seen.insert(key.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, live);
        }
    }
}

fn run(slot_mode: bool, steps: Vec<Step>) {
    let mut pair = Pair::new(slot_mode);
    for step in steps {
        pair.apply(step);
        pair.check();
    }
    // In the end everything that has a deadline expires and all memory comes back.
    pair.now += 1_000_000;
    pair.shard.set_now(pair.now);
    while pair.shard.expire_due(pair.now, 10).next_deadline_ms.is_some() {}
    pair.check();
    for db in 0..3 {
        assert_eq!(pair.shard.expires(db), 0);
        pair.shard.flush_db(db);
    }
    while pair.shard.collect_garbage(5) {}
    pair.shard.verify();
    assert_eq!(pair.shard.memory_use().entries, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 60 }))]

    #[test]
    fn behaves_like_a_map(steps in proptest::collection::vec(step(60), 1..120)) {
        run(false, steps);
    }

    #[test]
    fn behaves_like_a_map_in_slot_mode(steps in proptest::collection::vec(step(60), 1..120)) {
        run(true, steps);
    }
}

#[test]
fn lazily_expired_keys_are_recorded() {
    let mut shard = shard(false);
    shard.journal.set_mask(ChangeMask::ALL);
    shard.set_now(1000);
    shard.set(0, &key(b"k"), NewValue::Bytes(b"v"), Ttl::At(1010)).unwrap();
    shard.set_now(1009);
    assert!(shard.exists(0, &key(b"k")));
    shard.set_now(1010);
    assert!(shard.peek(0, &key(b"k")).is_none());
    assert!(shard.get(0, &key(b"k")).is_none());
    let kinds: Vec<_> = shard.journal.changes().map(|change| change.kind).collect();
    let expected = [ChangeKind::New, ChangeKind::Set, ChangeKind::Expire, ChangeKind::Expired];
    assert_eq!(kinds, expected);
    assert_eq!(shard.expired_total(), 1);
}
