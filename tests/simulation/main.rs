//! A deterministic simulation of the server: the real routing and shard code, no sockets, no clock.
//!
//! One seed draws everything: how many shards and clients, what the clients ask, how their bytes
//! are split, how long messages between cores take (those of one ordered pair of cores stay in
//! order, which is the mailbox's promise), when connections break, and what time it is. See
//! [`world`] for what is checked.
//!
//! `KVASIR_SIM_SEED=N cargo test --test simulation replay -- --nocapture` repeats one run and
//! prints its steps.

mod fault;
mod load;
mod model;
mod node;
mod socket;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use fault::Fault;
use world::World;

/// Runs of one test.
const SEEDS: u64 = 150;

/// Seeds of runs that have found something.
const FOUND: &[u64] = &[];

/// Runs one seed. The error is what is wrong, with the end of the history.
fn simulate(seed: u64, fault: Fault, tracing: bool) -> Result<(), String> {
    let mut world = World::new(seed, fault, tracing);
    catch_unwind(AssertUnwindSafe(|| world.run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        format!("KVASIR_SIM_SEED={seed}: {text}\n{}", world.describe_history())
    })
}

fn simulate_all(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(problem) = simulate(seed, Fault::None, false) {
            panic!("{problem}");
        }
    }
}

/// Two tests, so that they share the processors.
#[test]
fn even_seeds() {
    simulate_all((0..SEEDS).map(|number| number * 2));
}

#[test]
fn odd_seeds() {
    simulate_all((0..SEEDS).map(|number| number * 2 + 1));
}

#[test]
fn seeds_that_found_something_once() {
    simulate_all(FOUND.iter().copied());
}

#[test]
fn replay() {
    let Ok(seed) = std::env::var("KVASIR_SIM_SEED") else { return };
    let seed = seed.parse().expect("KVASIR_SIM_SEED must be a decimal number");
    if let Err(problem) = simulate(seed, Fault::None, true) {
        panic!("{problem}");
    }
}

/// A simulation that cannot fail shows nothing: a broken mailbox must be noticed, by the check
/// that is there for it.
#[test]
fn a_broken_mailbox_is_noticed() {
    let faults = [
        (Fault::Duplicate, "a reply has one place"),
        (Fault::Swap, "not linearizable"),
        (Fault::ExchangeReplies, "not linearizable"),
        (Fault::LoseLocks, "not linearizable"),
        (Fault::LoseLocks, "never answered"),
    ];
    for (fault, sign) in faults {
        let mut problems = (0..100).filter_map(|seed| simulate(seed, fault, false).err());
        assert!(problems.any(|problem| problem.contains(sign)), "{fault:?}: no '{sign}'");
    }
}
