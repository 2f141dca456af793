//! The tree against a sorted vector, and what it costs.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::{Order, Tree};
use crate::arena::Handle;

/// Entries are their handles' numbers: the high part is the prefix, so that many share one.
struct Numbers {
    prefix_shift: u32,
}

impl Order for Numbers {
    fn prefix(&self, handle: Handle) -> u64 {
        handle.raw() >> self.prefix_shift
    }

    fn compare(&self, a: Handle, b: Handle) -> Ordering {
        a.raw().cmp(&b.raw())
    }

    fn address(&self, _: Handle) -> *const u8 {
        std::ptr::null()
    }
}

fn handle(raw: u64) -> Handle {
    Handle::from_raw(raw).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    /// As many numbers, some distance apart, upwards.
    InsertRun {
        start: u64,
        count: u64,
        gap: u64,
    },
    RemoveRun {
        rank: prop::sample::Index,
        limit: usize,
    },
    RemoveSome {
        rank: prop::sample::Index,
        count: usize,
        gap: usize,
    },
    Replace {
        rank: prop::sample::Index,
    },
    Drain {
        limit: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let insert = (1..60_000u64, 1..900u64, 1..90u64)
        .prop_map(|(start, count, gap)| Step::InsertRun { start, count, gap });
    let step = prop_oneof![
        4 => insert,
        2 => (any::<prop::sample::Index>(), 1..2000usize)
            .prop_map(|(rank, limit)| Step::RemoveRun { rank, limit }),
        2 => (any::<prop::sample::Index>(), 1..700usize, 1..9usize)
            .prop_map(|(rank, count, gap)| Step::RemoveSome { rank, count, gap }),
        1 => any::<prop::sample::Index>().prop_map(|rank| Step::Replace { rank }),
        1 => (1..500usize).prop_map(|limit| Step::Drain { limit }),
    ];
    prop::collection::vec(step, 1..24)
}

/// Numbers are inserted in steps of two, so that a replacement has a place of its own.
fn apply(tree: &mut Tree, model: &mut Vec<u64>, order: &Numbers, step: &Step) {
    match step {
        Step::InsertRun { start, count, gap } => {
            for raw in (0..*count).map(|index| (start + index * gap) * 2) {
                if let Err(at) = model.binary_search(&raw)
                    && model.binary_search(&(raw + 1)).is_err()
                {
                    model.insert(at, raw);
                    tree.insert(handle(raw), order);
                }
            }
        }
        Step::RemoveRun { rank, limit } if !model.is_empty() => {
            let rank = rank.index(model.len());
            let end = (rank + limit).min(model.len());
            let mut seen = Vec::new();
            while seen.len() < end - rank {
                let left = end - rank - seen.len();
                let taken = tree.remove_run(rank, left, order, |handle| seen.push(handle.raw()));
                assert!(taken > 0 && taken <= left);
            }
            assert_eq!(seen, model.drain(rank..end).collect::<Vec<_>>());
        }
        Step::RemoveSome { rank, count, gap } if !model.is_empty() => {
            let first = rank.index(model.len());
            let gone: Vec<u64> =
                model[first..].iter().step_by(*gap).take(*count).copied().collect();
            for raw in gone {
                model.remove(model.binary_search(&raw).unwrap());
                assert!(tree.remove(handle(raw), order));
            }
        }
        Step::Replace { rank } if !model.is_empty() => {
            let rank = rank.index(model.len());
            let (old, new) = (model[rank], model[rank] ^ 1);
            if order.prefix(handle(old)) == order.prefix(handle(new)) {
                assert!(tree.replace(handle(old), handle(new), order));
                model[rank] = new;
            }
        }
        Step::Drain { limit } => {
            let taken = tree.drain(*limit, |_| ());
            assert!(taken <= *limit && (taken > 0 || model.is_empty()));
            model.truncate(model.len() - taken);
        }
        _ => (),
    }
}

fn compare(tree: &Tree, model: &[u64], order: &Numbers) {
    tree.verify(order);
    let raws = |range: super::Range<'_>| range.map(Handle::raw).collect::<Vec<_>>();
    assert_eq!(raws(tree.range(0, usize::MAX)), model);
    let backwards: Vec<u64> = tree.range(0, tree.len()).rev().map(Handle::raw).collect();
    assert!(backwards.iter().eq(model.iter().rev()));
    for rank in (0..=model.len()).step_by(model.len() / 13 + 1) {
        assert_eq!(tree.get(rank).map(Handle::raw), model.get(rank).copied());
        let end = (rank + 150).min(model.len());
        let inside = &model[rank..end];
        assert_eq!(raws(tree.range(rank, rank + 150)), inside);
        assert_eq!(tree.range(rank, end).nth(70).map(Handle::raw), inside.get(70).copied());
        if let Some(raw) = model.get(rank) {
            assert_eq!(tree.rank_of(handle(*raw), order), Some(rank));
            for target in [raw - 1, *raw, raw + 1] {
                let prefix = target >> order.prefix_shift;
                let sought = tree.seek(prefix, order, |other| other.raw() < target);
                assert_eq!(sought, model.partition_point(|other| *other < target));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_is_a_sorted_vector(steps in steps(), prefix_shift in prop_oneof![
        Just(1u32), Just(5), Just(12), Just(40)
    ]) {
        let order = Numbers { prefix_shift };
        let mut tree = Tree::new();
        let mut model = Vec::new();
        for step in &steps {
            apply(&mut tree, &mut model, &order, step);
            compare(&tree, &model, &order);
        }
        while tree.drain(1000, |_| ()) > 0 {}
        compare(&tree, &[], &order);
        prop_assert_eq!(tree.memory(), 0);
    }

    #[test]
    fn a_bulk_built_tree_can_be_changed(count in 0..30_000u64, steps in steps()) {
        let order = Numbers { prefix_shift: 8 };
        let mut model: Vec<u64> = (1..=count).map(|index| index * 6).collect();
        let mut tree = Tree::new();
        for raw in &model {
            tree.push_back(handle(*raw), &order);
        }
        compare(&tree, &model, &order);
        for step in &steps {
            apply(&mut tree, &mut model, &order, step);
        }
        compare(&tree, &model, &order);
    }
}

/// Bytes a handle after inserting these numbers.
fn cost(numbers: impl Iterator<Item = u64>) -> f64 {
    let order = Numbers { prefix_shift: 4 };
    let mut tree = Tree::new();
    numbers.for_each(|raw| tree.insert(handle(raw), &order));
    tree.verify(&order);
    tree.memory() as f64 / tree.len() as f64
}

#[test]
fn a_handle_costs_about_six_bytes() {
    const COUNT: u64 = 300_000;
    let ascending = cost(1..=COUNT);
    assert!(ascending < 5.5, "{ascending}");
    let descending = cost((1..=COUNT).rev());
    assert!(descending < 5.5, "{descending}");
    // A number coprime to a power of two goes through all residues in scattered order.
    let scattered = cost((0..COUNT).map(|index| ((index * 0x9E37_79B1) & 0xF_FFFF) + 1));
    assert!(scattered < 6.2, "{scattered}");
}
