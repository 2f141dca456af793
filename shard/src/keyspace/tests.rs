//! The shard against a map from keys to values with deadlines.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::collections::FieldTtl;
use crate::journal::ChangeMask;
use crate::keyspace::expire::Progress;
use crate::keyspace::iterate::RandomKey;
use crate::keyspace::write::Ttl;
use crate::owned::OwnedValue;
use crate::value::NewValue;

const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn config(slot_mode: bool) -> ShardConfig {
    ShardConfig { databases: 3, hash_seeds: SEEDS, slot_mode, rng_seed: 7 }
}

fn shard(slot_mode: bool) -> Shard {
    Shard::with_arena_limit(config(slot_mode), 64 << 20)
}

fn shard_of(arena_bytes: usize) -> Shard {
    Shard::with_arena_limit(config(false), arena_bytes)
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
    let expected = [
        ChangeKind::New,
        ChangeKind::Set,
        ChangeKind::Expire,
        ChangeKind::Expired,
        ChangeKind::Missed,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(shard.expired_total(), 1);
}

/// Overhead a key: everything that the shard accounts for but key and value bytes.
fn overhead(value_bytes: usize, with_ttl: bool) -> f64 {
    let keys: u64 = 1_000_000;
    let mut shard = shard_of(1 << 30);
    shard.set_now(1_000_000);
    let value = vec![b'x'; value_bytes];
    for index in 0..keys {
        let name = format!("key:{index:012}");
        // Deadlines over twelve days, so that most lie beyond the index's reach.
        let deadline = 1_000_000 + index * 997 % 1_000_000_000;
        let ttl = if with_ttl { Ttl::At(deadline) } else { Ttl::Clear };
        shard.set(0, &key(name.as_bytes()), NewValue::Bytes(&value), ttl).unwrap();
    }
    let payload = keys as usize * (16 + value_bytes);
    // What the index of deadlines takes is an estimate there, and counted here.
    let memory = shard.memory_use();
    let total = memory.total() - memory.ttl_index + shard.table_stats(0).ttl_bytes;
    (total - payload) as f64 / keys as f64
}

#[test]
fn a_string_key_costs_less_than_14_bytes() {
    for value_bytes in [8, 32, 100] {
        let overhead = overhead(value_bytes, false);
        assert!(overhead < 14.0, "{overhead} bytes for values of {value_bytes}");
    }
}

#[test]
fn a_deadline_costs_less_than_14_bytes_more() {
    let overhead = overhead(32, true);
    assert!(overhead < 28.0, "{overhead} bytes");
}

/// Blocks grow in steps of four bytes, so what six more cost depends on the size by chance.
#[test]
fn a_deadline_costs_12_bytes_or_less_over_all_sizes() {
    let sizes = 32..36;
    let cost = |bytes| overhead(bytes, true) - overhead(bytes, false);
    let average = sizes.clone().map(cost).sum::<f64>() / sizes.len() as f64;
    assert!(average <= 12.0, "{average} bytes");
}

#[test]
fn far_deadlines_cost_a_tick_nothing() {
    let mut shard = shard(false);
    shard.set_now(5);
    for index in 0..20_000u64 {
        let name = index.to_string();
        let deadline = 1_000_000 + index;
        shard.set(0, &key(name.as_bytes()), NewValue::Int(1), Ttl::At(deadline)).unwrap();
    }
    shard.set(0, &key(b"near"), NewValue::Int(1), Ttl::At(100)).unwrap();
    assert_eq!(shard.next_deadline_ms(), Some(100));
    // With a budget that would be used up by the first look at anything far.
    assert_eq!(shard.expire_due(99, 1), Progress { expired: 0, next_deadline_ms: Some(100) });
    let progress = shard.expire_due(100, 1);
    assert_eq!(progress, Progress { expired: 1, next_deadline_ms: Some(1_000_000) });
    assert_eq!(shard.len(0), 20_000);
}

#[test]
fn a_mass_expiry_is_spread_over_steps_of_the_budget() {
    let mut shard = shard(false);
    for index in 0..10_000u64 {
        let name = index.to_string();
        shard.set(0, &key(name.as_bytes()), NewValue::Int(1), Ttl::At(50)).unwrap();
    }
    let mut left = 10_000;
    let mut steps = 0;
    while left > 0 {
        let progress = shard.expire_due(50, 100);
        assert!(progress.expired <= 104);
        left -= progress.expired;
        steps += 1;
        assert_eq!(progress.next_deadline_ms, (left > 0).then_some(50));
    }
    assert!((96..300).contains(&steps), "{steps} steps");
    shard.verify();
}

#[test]
fn keys_beyond_the_reach_of_the_index_expire_on_time() {
    const DAY: u64 = 86_400_000;
    let mut shard = shard(false);
    shard.set(0, &key(b"k"), NewValue::Int(1), Ttl::At(9 * DAY)).unwrap();
    let mut wakes = 0;
    while let Some(next_ms) = shard.next_deadline_ms() {
        shard.expire_due(next_ms, 10);
        shard.verify();
        wakes += 1;
    }
    assert_eq!(shard.now_ms(), 9 * DAY);
    assert!(wakes <= 13, "{wakes} wake-ups in nine days");
    assert_eq!(shard.expired_total(), 1);
}

#[test]
fn exhausted_memory_is_an_error_and_changes_nothing() {
    let mut shard = shard_of(2 << 20);
    let mut stored = 0u32;
    let value = [b'v'; 500];
    loop {
        let name = stored.to_string();
        let key = key(name.as_bytes());
        if shard.set(0, &key, NewValue::Bytes(&value), Ttl::Clear).is_err() {
            break;
        }
        stored += 1;
    }
    shard.verify();
    assert_eq!(shard.len(0), stored as usize);
    // Larger: no block of its class can be had. Smaller, in place and away: always possible.
    assert!(shard.set(0, &key(b"0"), NewValue::Bytes(&[b'w'; 900]), Ttl::Clear).is_err());
    assert!(shard.string_mut(0, &key(b"0"), 700).is_err());
    assert!(shard.set_deadline(0, &key(b"0"), 10).is_err());
    assert!(matches!(shard.peek(0, &key(b"0")), Some(ValueRef::Bytes(bytes)) if bytes == value));
    // A longer name needs a larger block: the value stays where it is.
    let long = [b'n'; 100];
    assert!(shard.rename(0, &key(b"0"), &key(&long)).is_err());
    assert!(matches!(shard.peek(0, &key(b"0")), Some(ValueRef::Bytes(bytes)) if bytes == value));
    shard.verify();
    assert!(shard.remove(0, &key(b"0")));
    assert!(shard.set(0, &key(b"0"), NewValue::Bytes(&value), Ttl::Clear).is_ok());
    shard.verify();
}

#[test]
fn encodings_are_named_as_the_peers_do() {
    let mut shard = shard(false);
    let mut check = |value: &[u8], expected| {
        shard.set(0, &key(b"k"), NewValue::Bytes(value), Ttl::Clear).unwrap();
        assert_eq!(shard.encoding_name(0, &key(b"k")), Some(expected));
    };
    check(b"12", "int");
    check(b"-9223372036854775808", "int");
    check(b"012", "embstr");
    check(&[b'x'; 40], "embstr");
    check(&[b'x'; 41], "raw");
    check(&[b'x'; 5000], "raw");
    check(b"short", "embstr");
    shard.string_mut(0, &key(b"k"), 0).unwrap();
    assert_eq!(shard.encoding_name(0, &key(b"k")), Some("raw"));
    let name = |shard: &mut Shard| shard.encoding_name(0, &key(b"k")).unwrap();
    // A deadline takes room, and what it has pushed out stays out.
    shard.set(0, &key(b"k"), NewValue::Bytes(&[b'x'; 33]), Ttl::Clear).unwrap();
    assert_eq!(name(&mut shard), "embstr");
    shard.set_deadline(0, &key(b"k"), 1000).unwrap();
    assert_eq!(name(&mut shard), "raw");
    shard.persist(0, &key(b"k")).unwrap();
    assert_eq!(name(&mut shard), "raw");
    shard.set(0, &key(b"k"), NewValue::Bytes(&[b'x'; 32]), Ttl::At(1000)).unwrap();
    assert_eq!(name(&mut shard), "embstr");
    // So does a longer name.
    let long = [b'n'; 12];
    shard.rename(0, &key(b"k"), &key(&long)).unwrap();
    assert_eq!(shard.encoding_name(0, &key(&long)), Some("raw"));
    shard.rename(0, &key(&long), &key(b"k")).unwrap();
    assert_eq!(name(&mut shard), "raw");
    shard.set(0, &key(b"k"), NewValue::Text(b"12"), Ttl::Clear).unwrap();
    assert_eq!(name(&mut shard), "embstr");
    shard.set(0, &key(b"k"), NewValue::Int(12), Ttl::Clear).unwrap();
    shard.write_out(0, &key(b"k")).unwrap();
    assert_eq!(name(&mut shard), "raw");
    assert_eq!(shard.get(0, &key(b"k")).unwrap().to_vec().unwrap(), b"12");
    let written = OwnedValue::from_written(b"12".to_vec());
    shard.put(0, &key(b"k"), written, ChangeKind::Set).unwrap();
    assert_eq!(name(&mut shard), "raw");
}

#[test]
fn random_keys_are_keys_that_are_not_due() {
    for slot_mode in [false, true] {
        let mut shard = shard(slot_mode);
        assert_eq!(shard.random_key(0), RandomKey::Empty);
        for index in 0..40u64 {
            let name = index.to_string();
            let ttl = if index < 20 { Ttl::At(10) } else { Ttl::Clear };
            shard.set(0, &key(name.as_bytes()), NewValue::Int(1), ttl).unwrap();
        }
        shard.set_now(10);
        let mut pick = || match shard.random_key(0) {
            RandomKey::Key(key) => key.to_vec(),
            other => panic!("{other:?} where there are keys"),
        };
        let picked: BTreeSet<_> = (0..2000).map(|_| pick()).collect();
        assert_eq!(picked.len(), 20);
        shard.verify();
    }
}

#[test]
fn a_search_for_a_random_key_ends_though_all_are_due() {
    let mut shard = shard(false);
    for index in 0..1000u64 {
        shard.set(0, &key(index.to_string().as_bytes()), NewValue::Int(1), Ttl::At(10)).unwrap();
    }
    shard.set_now(10);
    shard.set_overdue(Overdue::Kept);
    assert!(matches!(shard.random_key(0), RandomKey::Key(_)), "one of the keys that stay");
    assert_eq!(shard.len(0), 1000);
    shard.set_overdue(Overdue::Removed);
    assert_eq!(shard.random_key(0), RandomKey::NotFound);
    assert!(shard.len(0) >= 900, "so many were removed, and no more");
    while shard.random_key(0) != RandomKey::Empty {}
    shard.verify();
}

#[test]
fn overdue_keys_are_what_they_are_said_to_be() {
    let mut shard = shard(false);
    shard.set(0, &key(b"k"), NewValue::Bytes(b"old"), Ttl::At(10)).unwrap();
    shard.set_now(10);
    shard.set_overdue(Overdue::Kept);
    assert!(shard.get(0, &key(b"k")).is_none());
    assert_eq!(shard.deadline(0, &key(b"k")), None);
    assert!(!shard.remove(0, &key(b"k")));
    assert_eq!(shard.len(0), 1);
    shard.set_overdue(Overdue::Live);
    assert_eq!(shard.get(0, &key(b"k")).unwrap().to_vec().unwrap(), b"old");
    assert_eq!(shard.random_key(0), RandomKey::Key(b"k"));
    // What takes its place is a new key, without its deadline.
    shard.set_overdue(Overdue::Kept);
    shard.set(0, &key(b"k"), NewValue::Bytes(b"new"), Ttl::Keep).unwrap();
    assert_eq!(shard.deadline(0, &key(b"k")), Some(None));
    assert_eq!((shard.len(0), shard.expired_total()), (1, 1));
    shard.verify();
}

#[test]
fn slots_are_counted_and_listed() {
    let mut shard = shard(true);
    for name in ["a1", "a2", "a3", "b1"] {
        shard.set(0, &key(name.as_bytes()), NewValue::Int(1), Ttl::Clear).unwrap();
    }
    let (of_a, of_b) = (key(b"a").slot, key(b"b").slot);
    assert_eq!((shard.slot_len(0, of_a), shard.slot_len(0, of_b)), (3, 1));
    let mut seen = Vec::new();
    assert_eq!(shard.scan_slot(0, of_a, 0, 100, &mut |key, _| seen.push(key.to_vec())), 0);
    assert_eq!(seen.len(), 3);
    assert_eq!(shard.next_slot(0, 0), Some(of_a.min(of_b)));
    shard.remove(0, &key(b"b1"));
    assert_eq!(shard.slot_len(0, of_b), 0);
    assert_eq!(shard.next_slot(0, 0), Some(of_a));
}

#[test]
fn a_flushed_database_is_freed_in_steps_and_counted_as_memory_until_then() {
    for slot_mode in [false, true] {
        let mut shard = shard(slot_mode);
        let empty = shard.used_memory();
        for index in 0..3000u64 {
            let name = format!("{index}");
            shard.set(0, &key(name.as_bytes()), NewValue::Bytes(&[b'x'; 100]), Ttl::At(9)).unwrap();
        }
        assert_eq!(shard.flush_db(0), 3000);
        assert_eq!((shard.len(0), shard.expires(0), shard.next_deadline_ms()), (0, 0, None));
        let mut steps = 0;
        while shard.memory_use().entries > 0 {
            let before = shard.memory_use().entries;
            shard.collect_garbage(100);
            assert!(before - shard.memory_use().entries <= 100 * 124);
            steps += 1;
        }
        assert!(steps >= 30);
        while shard.collect_garbage(100) {}
        assert_eq!(shard.used_memory(), empty);
    }
}

#[test]
fn nothing_is_due_while_expiry_is_suspended() {
    let mut shard = shard(false);
    shard.set_now(1_000_000_000_000);
    shard.suspend_expiry(true);
    let past = 999_999_999_000;
    for name in [&b"a"[..], b"b"] {
        shard.set(0, &key(name), NewValue::Bytes(b"v"), Ttl::At(past)).unwrap();
    }
    let (outer, field) = (key(b"h"), NewValue::Bytes(b"v"));
    let set = shard.update_hash(0, &outer, |hash| {
        hash.set(b"gone", field, FieldTtl::At(past))?;
        hash.set(b"kept", field, FieldTtl::At(past))?;
        hash.set_deadline(b"kept", None)
    });
    set.unwrap().unwrap();
    shard.set_now(1_000_000_000_500);
    assert_eq!((shard.now_ms(), shard.due_ms()), (1_000_000_000_500, 0));
    assert!(shard.exists(0, &key(b"a")) && shard.exists(0, &key(b"b")));
    assert!(shard.persist(0, &key(b"b")).unwrap(), "what would have expired can be kept");
    shard.verify();
    shard.suspend_expiry(false);
    assert!(!shard.exists(0, &key(b"a")) && shard.exists(0, &key(b"b")));
    while shard.next_deadline_ms().is_some() {
        shard.expire_due(1_000_000_001_000, 64);
    }
    let view = shard.hash_at(0, &outer, false);
    let fields = view.unwrap().map(|hash| (hash.exists(b"gone"), hash.exists(b"kept")));
    assert_eq!(fields, Some((false, true)));
    shard.verify();
}
