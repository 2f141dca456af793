//! The table against a map, and the promise that a scan keeps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Entries that exist only as numbers: a handle's bits name the hash and deadline.
#[derive(Default)]
struct Entries {
    hashes: RefCell<BTreeMap<u64, (u64, Option<u64>)>>,
    /// How often a hash was asked for.
    hashed: Cell<u64>,
}

impl Entries {
    fn add(&self, number: u64, hash: u64, deadline: Option<u64>) -> Handle {
        let handle = Handle::from_raw(number + 1).unwrap();
        self.hashes.borrow_mut().insert(handle.raw(), (hash, deadline));
        handle
    }
}

impl KeySource for Entries {
    fn hash(&self, handle: Handle) -> u64 {
        self.hashed.set(self.hashed.get() + 1);
        self.hashes.borrow()[&handle.raw()].0
    }

    fn deadline(&self, handle: Handle) -> Option<u64> {
        self.hashes.borrow()[&handle.raw()].1
    }

    fn address(&self, _handle: Handle) -> *const u8 {
        std::ptr::null()
    }
}

/// A bijection that spreads numbers over all 64 bits (splitmix64's).
fn spread(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// A table of the numbers it holds.
struct Numbers {
    table: Table,
    entries: Entries,
    hash: fn(u64) -> u64,
}

impl Numbers {
    fn new(hash: fn(u64) -> u64) -> Self {
        Self { table: Table::new(), entries: Entries::default(), hash }
    }

    fn find(&self, number: u64) -> Option<(Position, Handle)> {
        self.table.find((self.hash)(number), |handle| handle.raw() == number + 1)
    }

    fn insert(&mut self, number: u64) {
        let hash = (self.hash)(number);
        let handle = self.entries.add(number, hash, None);
        self.table.insert(hash, handle, &self.entries);
    }

    fn remove(&mut self, number: u64) {
        let (position, _) = self.find(number).unwrap();
        self.table.remove(position, &self.entries);
    }

    fn scan(&self, cursor: u64, count: usize, seen: &mut BTreeSet<u64>) -> (u64, usize) {
        let mut visited = 0;
        let next = self.table.scan(cursor, count, &self.entries, |handle| {
            visited += 1;
            seen.insert(handle.raw() - 1);
        });
        (next, visited)
    }
}

const MANY: u64 = if cfg!(miri) { 700 } else { 60_000 };

#[test]
fn grows_and_shrinks_a_segment_at_a_time() {
    let mut numbers = Numbers::new(spread);
    for number in 0..MANY {
        assert!(numbers.find(number).is_none());
        numbers.insert(number);
        assert!(numbers.find(number).is_some());
        if number.is_power_of_two() {
            numbers.table.verify(&numbers.entries);
        }
    }
    numbers.table.verify(&numbers.entries);
    let full = numbers.table.stats();
    assert!(full.keys as f64 / full.slots as f64 > 0.7, "{full:?}");
    for number in 0..MANY {
        numbers.remove(number);
        assert!(numbers.find(number).is_none());
        if number.is_power_of_two() {
            numbers.table.verify(&numbers.entries);
        }
    }
    numbers.table.verify(&numbers.entries);
    let empty = numbers.table.stats();
    assert_eq!((empty.keys, empty.segments, empty.directory), (0, 1, 1));
    assert!(empty.bytes < 200, "{empty:?}");
}

/// Whatever is expected, the table is a table; and the closer it is, the less is hashed again.
#[test]
fn a_table_may_expect_entries() {
    let in_order: fn(u64) -> u64 = |number| number * (u64::MAX / MANY);
    for hash in [spread, in_order] {
        for (expected, hashed_max) in
            [(MANY, MANY / 4), (MANY / 100, 3 * MANY), (MANY * 100, 2 * MANY)]
        {
            let mut numbers = Numbers::new(hash);
            numbers.table.expect(expected);
            (0..MANY).for_each(|number| numbers.insert(number));
            let hashed = numbers.entries.hashed.get();
            assert!(hashed <= hashed_max, "{hashed} of {MANY}, expecting {expected}");
            numbers.table.verify(&numbers.entries);
            numbers.table.expect(0);
            for number in 0..MANY {
                assert!(numbers.find(number).is_some());
                numbers.remove(number);
            }
            numbers.table.verify(&numbers.entries);
            assert_eq!(numbers.table.stats().segments, 1);
        }
    }
}

#[test]
fn a_small_table_is_small() {
    let mut numbers = Numbers::new(spread);
    assert!(numbers.table.stats().bytes <= 96);
    for number in 0..9 {
        numbers.insert(number);
    }
    assert!(numbers.table.stats().bytes <= 96);
}

#[test]
fn a_hash_that_cannot_be_split_still_works() {
    for hash in [(|_| 0) as fn(u64) -> u64, |_| u64::MAX, |number| number << 40 | 0x3FFF] {
        let mut numbers = Numbers::new(hash);
        let count = if cfg!(miri) { 60 } else { 3000 };
        for number in 0..count {
            numbers.insert(number);
        }
        numbers.table.verify(&numbers.entries);
        for number in (0..count).step_by(3) {
            numbers.remove(number);
        }
        numbers.table.verify(&numbers.entries);
        for number in 0..count {
            assert_eq!(numbers.find(number).is_some(), number % 3 != 0);
        }
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = numbers.scan(cursor, 10, &mut seen).0;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), numbers.table.len());
    }
}

/// As when a file that was written in the table's order is loaded into one with the same hashes.
#[test]
fn keys_may_come_in_the_order_of_their_hashes() {
    let count = if cfg!(miri) { 2_000 } else { 200_000 };
    let ascending: fn(u64) -> u64 = |number| number * (u64::MAX / 200_000);
    let descending: fn(u64) -> u64 = |number| !(number * (u64::MAX / 200_000));
    for hash in [ascending, descending] {
        let mut numbers = Numbers::new(hash);
        for number in 0..count {
            numbers.insert(number);
        }
        numbers.table.verify(&numbers.entries);
        let stats = numbers.table.stats();
        assert!(stats.segment_keys_max <= CAPACITY_MAX, "{stats:?}");
        assert!((0..count).all(|number| numbers.find(number).is_some()));
    }
}

#[test]
fn every_key_can_be_picked_at_random() {
    let mut numbers = Numbers::new(spread);
    for number in 0..50 {
        numbers.insert(number);
    }
    let picked: BTreeSet<_> =
        (0..2000).map(|draw| numbers.table.random(spread(draw + 1_000_000)).unwrap()).collect();
    assert_eq!(picked.len(), 50);
    assert!(Table::new().random(5).is_none());
}

#[test]
fn a_scan_of_a_quiet_table_visits_each_key_once_and_honours_count() {
    let mut numbers = Numbers::new(spread);
    let many = MANY / 4;
    for number in 0..many {
        numbers.insert(number);
    }
    for count in [1, 10, 1000] {
        let mut seen = BTreeSet::new();
        let (mut cursor, mut total) = (0, 0);
        loop {
            let (next, visited) = numbers.scan(cursor, count, &mut seen);
            assert!(visited <= count + 8, "{visited} for {count}");
            assert!(next >> scan::CURSOR_BITS == 0);
            total += visited as u64;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!((total, seen.len() as u64), (many, many));
    }
}

#[test]
fn any_number_is_a_cursor() {
    let mut numbers = Numbers::new(spread);
    for number in 0..2000 {
        numbers.insert(number);
    }
    for draw in 0..2000 {
        let mut seen = BTreeSet::new();
        numbers.scan(spread(draw) >> (draw % 64), 5, &mut seen);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Remove(u64),
    Scan(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Runs of insertions and removals, long enough for splits and merges between two calls.
    let step = prop_oneof![
        2 => (1..900u64).prop_map(Step::Insert),
        2 => (1..900u64).prop_map(Step::Remove),
        5 => (1..60usize).prop_map(Step::Scan),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 150 }))]

    #[test]
    fn a_scan_misses_no_key_that_stays(start in 0..3000u64, stays in 1..20u64, steps in steps()) {
        let mut numbers = Numbers::new(spread);
        let mut next = 0;
        let mut present = BTreeSet::new();
        for _ in 0..start {
            numbers.insert(next);
            present.insert(next);
            next += 1;
        }
        // One key in `stays` is never removed.
        let must_see: BTreeSet<u64> =
            present.iter().copied().filter(|number| number % stays == 0).collect();
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        let mut done = false;
        for step in steps {
            match step {
                Step::Insert(count) => for _ in 0..count {
                    numbers.insert(next);
                    present.insert(next);
                    next += 1;
                },
                Step::Remove(count) => {
                    let gone: Vec<u64> = present
                        .iter()
                        .copied()
                        .filter(|number| !must_see.contains(number))
                        .take(count as usize)
                        .collect();
                    for number in gone {
                        numbers.remove(number);
                        present.remove(&number);
                    }
                }
                Step::Scan(count) if !done => {
                    cursor = numbers.scan(cursor, count, &mut seen).0;
                    done = cursor == 0;
                }
                Step::Scan(_) => {}
            }
            numbers.table.verify(&numbers.entries);
        }
        let mut calls = 0;
        while !done {
            cursor = numbers.scan(cursor, 50, &mut seen).0;
            done = cursor == 0;
            calls += 1;
            prop_assert!(calls < 5000, "a scan ends");
        }
        prop_assert!(must_see.is_subset(&seen));
    }

    #[test]
    fn behaves_like_a_map_with_deadlines(
        steps in proptest::collection::vec(
            (0..1200u64, any::<bool>(), proptest::option::of(0..300u64)), 1..1500),
        far in any::<bool>(),
    ) {
        let unit = if far { 400_000 } else { 1 };
        let mut numbers = Numbers::new(spread);
        let mut model: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        let mut now = 1000;
        for (at, (number, is_removal, ttl)) in steps.into_iter().enumerate() {
            let hash = spread(number);
            if let Some(deadline) = model.remove(&number) {
                if let Some(deadline) = deadline {
                    numbers.table.remove_deadline(hash, deadline);
                }
                numbers.remove(number);
            } else if !is_removal {
                let deadline = ttl.map(|ttl| now + ttl * unit);
                let handle = numbers.entries.add(number, hash, deadline);
                numbers.table.insert(hash, handle, &numbers.entries);
                if let Some(deadline) = deadline {
                    numbers.table.add_deadline(hash, deadline, now);
                }
                model.insert(number, deadline);
            }
            if at % 16 == 0 {
                now += unit;
                expire(&mut numbers, &mut model, now);
                numbers.table.verify(&numbers.entries);
            }
        }
        prop_assert_eq!(numbers.table.len(), model.len());
        for &number in model.keys() {
            prop_assert!(numbers.find(number).is_some());
        }
    }
}

/// Expires what is due, and checks that it is exactly what the model says.
fn expire(numbers: &mut Numbers, model: &mut BTreeMap<u64, Option<u64>>, now: u64) {
    let mut due = Vec::new();
    let mut rounds = 0;
    while let Some(point) = numbers.table.collect_due(now, 3, &numbers.entries, &mut due) {
        for handle in due.drain(..) {
            let number = handle.raw() - 1;
            let deadline = model.remove(&number).flatten().unwrap();
            assert!(deadline <= now, "only due keys are collected");
            numbers.table.remove_deadline((numbers.hash)(number), deadline);
            numbers.remove(number);
        }
        numbers.table.rearm(point, now, &numbers.entries);
        rounds += 1;
        assert!(rounds < 10_000, "expiry ends");
    }
    let earliest = model.values().flatten().min();
    assert!(earliest.is_none_or(|&earliest| earliest > now), "all due keys are collected");
    let next_ms = numbers.table.next_ms();
    assert_eq!(next_ms.is_some(), earliest.is_some());
    assert!(next_ms.is_none_or(|next_ms| next_ms > now), "nothing fires again at once");
}
