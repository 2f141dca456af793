//! The keyspace: how much it costs to find, replace, add and remove string keys.
//!
//! The hash of each key is part of the cost, as it is when a command arrives. Keys are visited in
//! an order that caches cannot guess.

use std::hint::black_box;

use kvasir_shard::{Key, KeyHasher, NewValue, Shard, ShardConfig, Ttl};

use crate::Workload;

/// Keys in the shard; with their values far more than a core's own caches hold.
const KEYS: u64 = 200_000;
/// Commands of one call.
const COMMANDS: u64 = 160;
/// Commands whose keys are prefetched together.
const BATCH: u64 = 16;
/// Steps through the keys; shares no factor with their number, so that all are visited.
const STRIDE: u64 = 73_453;
/// The time in the shard, and a deadline long after it.
const NOW_MS: u64 = 1_800_000_000_000;
const DEADLINE_MS: u64 = NOW_MS + 86_400_000;
/// A value of the size that the comparison with the peers uses.
const VALUE: &[u8] = &[b'v'; 64];

/// The workloads of this group.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "table/get-hit", commands: COMMANDS, prepare: get_hit },
    Workload { name: "table/get-hit-prefetched", commands: COMMANDS, prepare: get_prefetched },
    Workload { name: "table/get-miss", commands: COMMANDS, prepare: get_miss },
    Workload { name: "table/set-same-size", commands: COMMANDS, prepare: || set(&[VALUE]) },
    Workload {
        name: "table/set-other-size",
        commands: COMMANDS,
        prepare: || set(&[VALUE, &[b'v'; 32], &[b'v'; 100]]),
    },
    Workload { name: "table/set-with-deadline", commands: COMMANDS, prepare: set_with_deadline },
    Workload { name: "table/add-and-remove", commands: COMMANDS, prepare: add_and_remove },
];

/// A shard with `KEYS` keys, and names in the order in which they are visited.
struct Fixture {
    shard: Shard,
    hasher: KeyHasher,
    /// Written down beforehand, so that making names is no part of the cost.
    names: Vec<Name>,
    next: usize,
}

/// 16 bytes, like the comparison's keys.
type Name = [u8; 16];

impl Fixture {
    /// Visits the keys that are in the shard.
    fn new() -> Self {
        let mut shard = Shard::new(ShardConfig {
            databases: 1,
            hash_seeds: [1, 2, 3, 4],
            slot_mode: false,
            rng_seed: 5,
        });
        shard.set_now(NOW_MS);
        let hasher = shard.hasher();
        let mut fixture = Self { shard, hasher, names: names(b'k'), next: 0 };
        for _ in 0..KEYS {
            let name = fixture.next();
            assert!(!fixture.store(&name, VALUE, Ttl::Clear));
        }
        assert_eq!(fixture.shard.len(0), KEYS as usize);
        fixture
    }

    /// Visits as many keys that are not in the shard.
    fn with_absent_names() -> Self {
        Self { names: names(b'a'), ..Self::new() }
    }

    fn next(&mut self) -> Name {
        self.next = if self.next + 1 < self.names.len() { self.next + 1 } else { 0 };
        self.names[self.next]
    }

    /// Says whether the key was there before.
    fn store(&mut self, name: &Name, value: &[u8], ttl: Ttl) -> bool {
        let key = key(self.hasher, name);
        let outcome = self.shard.set(0, &key, NewValue::Bytes(value), ttl);
        outcome.expect("invariant: the arena has no limit").replaced
    }
}

/// The names with the given first letter, in an order that caches cannot guess.
fn names(first: u8) -> Vec<Name> {
    let numbers = (0..KEYS).map(|index| index * STRIDE % KEYS);
    let text = numbers.map(|number| format!("{}ey:{number:012}", char::from(first)));
    text.map(|text| text.as_bytes().try_into().expect("invariant: 16 bytes")).collect()
}

/// The key with its hash; without slots, the slot is not looked at.
fn key(hasher: KeyHasher, name: &Name) -> Key<'_> {
    Key { bytes: name, hash: hasher.hash(name), slot: 0 }
}

fn get_hit() -> Box<dyn FnMut()> {
    let mut fixture = Fixture::new();
    Box::new(move || {
        for _ in 0..COMMANDS {
            let name = fixture.next();
            let found = fixture.shard.get(0, &key(fixture.hasher, &name));
            assert!(black_box(found).is_some());
        }
    })
}

/// As a pipeline is served: what a batch will touch is asked for first.
fn get_prefetched() -> Box<dyn FnMut()> {
    let mut fixture = Fixture::new();
    Box::new(move || {
        for _ in 0..COMMANDS / BATCH {
            let names: [Name; BATCH as usize] = std::array::from_fn(|_| fixture.next());
            let keys = names.each_ref().map(|name| key(fixture.hasher, name));
            fixture.shard.prefetch_keys(keys.iter().map(|key| (0, key.hash)));
            for key in &keys {
                assert!(black_box(fixture.shard.get(0, key)).is_some());
            }
        }
    })
}

fn get_miss() -> Box<dyn FnMut()> {
    let mut fixture = Fixture::with_absent_names();
    Box::new(move || {
        for _ in 0..COMMANDS {
            let name = fixture.next();
            let found = fixture.shard.get(0, &key(fixture.hasher, &name));
            assert!(black_box(found).is_none());
        }
    })
}

/// Replaces values by those of `values` in turn.
fn set(values: &'static [&'static [u8]]) -> Box<dyn FnMut()> {
    let mut fixture = Fixture::new();
    let mut turns = values.iter().cycle();
    Box::new(move || {
        for _ in 0..COMMANDS {
            let value = turns.next().expect("invariant: a cycle does not end");
            let name = fixture.next();
            assert!(fixture.store(&name, value, Ttl::Clear));
        }
    })
}

/// Gives keys that have a deadline another one, as sessions do.
fn set_with_deadline() -> Box<dyn FnMut()> {
    let mut fixture = Fixture::new();
    let mut deadline = DEADLINE_MS;
    let mut store = move || {
        // Neighbours in time are 1 to 7 ms apart.
        deadline += 1 + deadline % 7;
        let name = fixture.next();
        assert!(fixture.store(&name, VALUE, Ttl::At(deadline)));
    };
    (0..KEYS).for_each(|_| store());
    Box::new(move || (0..COMMANDS).for_each(|_| store()))
}

/// Adds a key and removes it again; a command is the pair.
fn add_and_remove() -> Box<dyn FnMut()> {
    let mut fixture = Fixture::with_absent_names();
    Box::new(move || {
        for _ in 0..COMMANDS {
            let name = fixture.next();
            assert!(!fixture.store(&name, VALUE, Ttl::Clear));
            assert!(fixture.shard.remove(0, &key(fixture.hasher, &name)));
        }
    })
}
