//! Sets in a shard against ordered sets of members with deadlines.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{EncodingLimits, SetRef};
use crate::hash::{Key, KeyHasher};
use crate::journal::ChangeKind;
use crate::keyspace::{Shard, ShardConfig};
use crate::random::Randoms;
use crate::value::ValueRef;

const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn key(bytes: &[u8]) -> Key<'_> {
    Key { bytes, hash: KeyHasher::new(SEEDS).hash(bytes), slot: 0 }
}

fn shard() -> Shard {
    let config = ShardConfig { databases: 1, hash_seeds: SEEDS, slot_mode: false, rng_seed: 7 };
    let mut shard = Shard::new(config);
    shard.set_encoding_limits(EncodingLimits {
        set_max_intset_entries: 12,
        set_max_listpack_entries: 10,
        set_max_listpack_value: 20,
        ..EncodingLimits::default()
    });
    shard
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u16>),
    Remove(u16),
    Pop(u64),
    Deadline(u16, Option<u64>),
    Copy,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..80u16;
    prop_oneof![
        20 => proptest::collection::vec(member.clone(), 1..6).prop_map(Step::Add),
        14 => member.clone().prop_map(Step::Remove),
        5 => any::<u64>().prop_map(Step::Pop),
        2 => (member, proptest::option::of(1..200u64)).prop_map(|(m, ttl)| Step::Deadline(m, ttl)),
        1 => Just(Step::Copy),
        2 => (0..50u64).prop_map(Step::Advance),
    ]
}

/// Integers for the most part, of all widths, so that each encoding is passed through.
fn member(index: u16) -> Vec<u8> {
    match index {
        0..40 => index.to_string().into_bytes(),
        40..50 => (i64::from(index) << 40).to_string().into_bytes(),
        50 => vec![b'x'; 30],
        51 => vec![b'x'; 300],
        52 => Vec::new(),
        _ => format!("member {index}").into_bytes(),
    }
}

type Model = BTreeMap<Vec<u8>, Option<u64>>;

fn check(shard: &mut Shard, name: &[u8], model: &Model) {
    let set = shard.set_at(0, &key(name), true).unwrap();
    assert_eq!(set.is_some(), !model.is_empty());
    let Some(set) = set else { return };
    assert_eq!(set.len(), model.len());
    let mut seen = Model::new();
    set.for_each(|member| {
        let member = member.to_vec().unwrap();
        let deadline = set.deadline(&member).unwrap();
        assert!(set.contains(&member));
        assert!(seen.insert(member, deadline).is_none(), "a member is seen once");
        true
    });
    assert_eq!(&seen, model);
    let mut scanned = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, 3, |member| scanned.extend(member.to_vec()));
        if cursor == 0 {
            break;
        }
    }
    scanned.sort();
    scanned.dedup();
    assert!(scanned.iter().eq(model.keys()));
    for count in [0, 1, 5, model.len(), model.len() + 1] {
        let mut sampled = Vec::new();
        set.sample(count, &mut Randoms::new(count as u64), |member| {
            sampled.extend(member.to_vec());
        });
        sampled.sort();
        sampled.dedup();
        assert_eq!(sampled.len(), count.min(model.len()), "different members, as many as asked");
        assert!(sampled.iter().all(|member| model.contains_key(member)));
    }
}

fn apply(shard: &mut Shard, now: &mut u64, model: &mut Model, step: Step) {
    let key = key(b"set");
    match step {
        Step::Add(members) => {
            let expected = members.len();
            let added = shard.update_set(0, &key, |set| {
                set.expect_members(expected).unwrap();
                members.iter().filter(|&&index| set.add(&member(index), expected).unwrap()).count()
            });
            let before = model.len();
            for index in members {
                model.entry(member(index)).or_insert(None);
            }
            assert_eq!(added, Ok(model.len() - before));
        }
        Step::Remove(index) => {
            let removed = shard.update_set(0, &key, |set| set.remove(&member(index)));
            assert_eq!(removed, Ok(model.remove(&member(index)).is_some()));
        }
        Step::Pop(seed) => {
            let popped = shard.update_set(0, &key, |set| set.pop(&mut Randoms::new(seed))).unwrap();
            assert_eq!(popped.is_some(), !model.is_empty());
            if let Some(popped) = popped {
                assert!(model.remove(&popped).is_some(), "a member is popped");
            }
        }
        Step::Deadline(index, ttl) => {
            let deadline = ttl.map(|ttl| *now + ttl);
            let name = member(index);
            let set = shard.update_set(0, &key, |set| set.set_deadline(&name, deadline).unwrap());
            let found = model.get_mut(&name);
            assert_eq!(set, Ok(found.is_some()));
            if let Some(old) = found {
                *old = deadline;
            }
        }
        Step::Copy => {
            if let Some(value) = shard.copy(0, &key) {
                let copy = self::key(b"copy");
                shard.put(0, &copy, value, ChangeKind::Set).unwrap();
                check(shard, b"copy", model);
                shard.remove(0, &copy);
            }
        }
        Step::Advance(ms) => {
            *now += ms;
            while shard.expire_due(*now, 5).next_deadline_ms.is_some_and(|next| next <= *now) {}
            model.retain(|_, deadline| deadline.is_none_or(|deadline| deadline > *now));
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_a_set_with_deadlines(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut shard, mut now, mut model) = (shard(), 0, Model::new());
        for step in steps {
            apply(&mut shard, &mut now, &mut model, step);
        }
        shard.verify();
        check(&mut shard, b"set", &model);
        shard.remove(0, &key(b"set"));
        while shard.collect_garbage(5) {}
        prop_assert_eq!(shard.arena_bytes(), 0, "nothing is left in the arena");
    }
}

#[test]
fn the_encoding_follows_what_is_added() {
    let mut shard = shard();
    let key = key(b"k");
    let mut add = |members: &[&str]| {
        let expected = members.len();
        let added = shard.update_set(0, &key, |set| {
            set.expect_members(expected).unwrap();
            for member in members {
                set.add(member.as_bytes(), expected).unwrap();
            }
        });
        added.unwrap();
        shard.encoding_name(0, &key).unwrap()
    };
    assert_eq!(add(&["1", "2"]), "intset");
    assert_eq!(add(&["70000", "-9223372036854775808"]), "intset");
    assert_eq!(add(&["one"]), "listpack");
    assert_eq!(add(&["a member of more than twenty bytes"]), "hashtable");
}

#[test]
fn a_scan_of_a_large_set_passes_every_member_that_stays() {
    let mut shard = shard();
    let key = key(b"k");
    let name = |index: u32| format!("member:{index}").into_bytes();
    let change = |shard: &mut Shard, range: std::ops::Range<u32>, is_addition: bool| {
        let changed = shard.update_set(0, &key, |set| {
            for index in range {
                if is_addition {
                    set.add(&name(index), 1).unwrap();
                } else {
                    set.remove(&name(index));
                }
            }
        });
        changed.unwrap();
    };
    change(&mut shard, 0..5_000, true);
    let (mut cursor, mut seen, mut round) = (0, Vec::new(), 0);
    loop {
        let set = shard.set_at(0, &key, true).unwrap().unwrap();
        cursor = set.scan(cursor, 100, |member| seen.extend(member.to_vec()));
        if cursor == 0 {
            break;
        }
        // The table grows and shrinks by others while the scan goes on.
        let range = 10_000 + round % 4 * 10_000..20_000 + round % 4 * 10_000;
        change(&mut shard, range, round % 8 < 4);
        round += 1;
    }
    seen.sort();
    seen.dedup();
    for index in 0..5_000 {
        assert!(seen.binary_search(&name(index)).is_ok(), "member {index} stayed");
    }
    shard.verify();
}

/// Looking for a chunk of members finds what looking for each of them does: in sets of integers,
/// small and large ones, with members that are due, and only where it is asked to.
#[test]
fn members_are_found_together_as_one_by_one() {
    let mut shard = shard();
    shard.set_now(1_000);
    let names = [&b"ints"[..], b"small", b"large"];
    for (name, members) in names.iter().zip([10, 9, 500]) {
        let prefix = if *name == b"ints" { "" } else { "m" };
        let added = shard.update_set(0, &key(name), |set| {
            for member in 0..members {
                set.add(format!("{prefix}{}", member * 2).as_bytes(), members).unwrap();
            }
            if members > 100 {
                assert!(set.set_deadline(b"m4", Some(1_001)).unwrap());
                set.add(b"6", 1).unwrap();
            }
        });
        added.unwrap();
    }
    shard.set_now(2_000);
    let texts: Vec<Vec<u8>> = (0..16).map(|n| format!("m{n}").into_bytes()).collect();
    let wanted: Vec<ValueRef<'_>> =
        texts.iter().map(|text| ValueRef::Bytes(text)).chain((0..16).map(ValueRef::Int)).collect();
    assert_eq!(wanted.len(), SetRef::CHUNK);
    for name in names {
        let set = shard.peek_set(0, &key(name)).unwrap().unwrap();
        let expected = wanted.iter().enumerate().fold(0, |bits, (at, member)| {
            let is_there = member.with_bytes(|bytes| set.contains(bytes)).unwrap();
            bits | u32::from(is_there) << at
        });
        assert!(expected != 0 && expected != u32::MAX, "some are there, some are not");
        for asked in [u32::MAX, 0x5555_5555, 0x00FF_0F0F, 0] {
            assert_eq!(set.contains_each(&wanted, asked), expected & asked, "{name:?}");
        }
        let (mut seen, mut chunks) = (0, 0);
        set.for_each_chunk(|chunk| {
            assert!(!chunk.is_empty() && chunk.len() <= SetRef::CHUNK);
            seen += chunk.len();
            chunks += 1;
            chunks < 3
        });
        let mut all = 0;
        set.for_each(|_| {
            all += 1;
            true
        });
        assert_eq!(seen, all.min(3 * SetRef::CHUNK));
    }
}
