//! A deterministic simulation of the server: the real routing and shard code, no sockets, no clock.
//!
//! One seed draws everything: how many shards and clients, what the clients ask, how their bytes
//! are split, how long messages between cores take (those of one ordered pair of cores stay in
//! order, which is the mailbox's promise), when connections break, and what time it is. See
//! [`world`] for what is checked.
//!
//! `KVASIR_SIM_SEED=N cargo test --test simulation replay -- --nocapture` repeats one run and
//! prints its steps; `KVASIR_SIM_SCENARIO` names the scenario when it is not the common one.
//! `KVASIR_SIM_SEEDS=N` runs more of them, or fewer.

mod expiry;
mod fault;
mod load;
mod log;
mod model;
mod node;
mod socket;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use fault::Fault;
use kvasir_server::route::connection::Blocked;
use load::Scenario;
use node::Reached;
use world::World;

/// Runs of each of the two tests of the common scenario.
const SEEDS: u64 = 1000;

/// How many seeds each of those tests runs.
fn seeds() -> u64 {
    let seeds = std::env::var("KVASIR_SIM_SEEDS").ok();
    seeds.map_or(SEEDS, |seeds| seeds.parse().expect("KVASIR_SIM_SEEDS must be a number"))
}

/// Runs one seed. The error is what is wrong, with the end of the history.
fn simulate(seed: u64, scenario: Scenario, fault: Fault, tracing: bool) -> Result<Reached, String> {
    let mut world = World::new(seed, scenario, fault, tracing);
    catch_unwind(AssertUnwindSafe(|| world.run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        format!("KVASIR_SIM_SEED={seed} {scenario:?}: {text}\n{}", world.describe_history())
    })
}

/// Runs seeds of a scenario; yields what they have come upon.
fn simulate_all(scenario: Scenario, seeds: impl IntoIterator<Item = u64>) -> Reached {
    let mut reached = Reached::default();
    let mut runs = 0;
    for seed in seeds {
        runs += 1;
        match simulate(seed, scenario, Fault::None, false) {
            Ok(one) => reached.add(one),
            Err(problem) => panic!("{problem}"),
        }
    }
    assert!(reached.undecided <= 1 + runs / 500, "most histories can be checked");
    reached
}

/// Two tests, so that they share the processors.
#[test]
fn even_seeds() {
    let reached = simulate_all(Scenario::Meeting, (0..seeds()).map(|number| number * 2));
    assert!(reached.retried > 0, "some transaction is refused a lock");
    assert!(reached.blocked.contains(&Blocked::Paused), "some client is paused");
    assert!(reached.blocked.contains(&Blocked::Waiting), "some client waits for a key");
}

#[test]
fn odd_seeds() {
    let reached = simulate_all(Scenario::Meeting, (0..seeds()).map(|number| number * 2 + 1));
    assert!(reached.retried > 0, "some transaction is refused a lock");
    assert!(reached.blocked.contains(&Blocked::Paused), "some client is paused");
    assert!(reached.blocked.contains(&Blocked::Waiting), "some client waits for a key");
}

#[test]
fn deep_pipelines() {
    let reached = simulate_all(Scenario::Deep, 0..6);
    assert!(reached.blocked.contains(&Blocked::Pending), "too many replies are outstanding");
}

#[test]
fn many_bytes() {
    let reached = simulate_all(Scenario::Bulky, 0..6);
    assert!(reached.blocked.contains(&Blocked::Output), "too much output is waiting");
}

#[test]
fn nobody_starves() {
    let reached = simulate_all(Scenario::Contended, 0..6);
    assert!(reached.retried > 0, "some transaction is refused a lock");
}

#[test]
fn scripts_that_stray() {
    let reached = simulate_all(Scenario::Straying, 0..seeds() / 4);
    assert!(reached.retried > 0, "some transaction gives way");
}

#[test]
fn replay() {
    let Ok(seed) = std::env::var("KVASIR_SIM_SEED") else { return };
    let seed = seed.parse().expect("KVASIR_SIM_SEED must be a decimal number");
    let scenario = match std::env::var("KVASIR_SIM_SCENARIO").as_deref() {
        Ok("Deep") => Scenario::Deep,
        Ok("Bulky") => Scenario::Bulky,
        Ok("Contended") => Scenario::Contended,
        Ok("Straying") => Scenario::Straying,
        _ => Scenario::Meeting,
    };
    if let Err(problem) = simulate(seed, scenario, Fault::None, true) {
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
        let mut problems =
            (0..100).filter_map(|seed| simulate(seed, Scenario::Meeting, fault, false).err());
        assert!(problems.any(|problem| problem.contains(sign)), "{fault:?}: no '{sign}'");
    }
}
