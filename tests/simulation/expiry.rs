//! Expiry is on time: a core on a virtual clock, with a million keys whose deadlines are far away.
//!
//! What is measured is simulated time: from a key's deadline to the round of the core that removes
//! it. A round takes a while and a wake-up comes a little late, as on a machine, and nothing else
//! does: so the figures are the algorithm's and the same in every run. What a real server shows is
//! printed by `cargo run --release --example expiry_lag`.

use kvasir_server::config::Config;
use kvasir_server::route::core::{Core, access_stamp};
use kvasir_server::route::engine::{ConnectionKey, Engine, Now, SocketInfo, Wake};
use kvasir_shard::{NewValue, Ttl};
use kvasir_testing::Rng;

use crate::node::EPOCH_US;
use crate::world::cores;

/// Keys that are due long after the run.
const FAR_KEYS: usize = 1_000_000;
/// Keys that are due during the run.
const NEAR_KEYS: usize = 20_000;
/// The time over which those are due, microseconds.
const SPAN_US: u64 = 20_000_000;
/// What a round takes at least.
const ROUND_US: u64 = 100;
/// How much later than asked for a sleeping core is woken, and how much longer a round with a
/// request takes, at most.
const WAKE_LATE_US: u64 = 1_000;
/// What 99 of 100 keys may be late by.
const LATE_P99_US: u64 = 10_000;
/// Keys that one round may remove: the budget, and the rest of a table segment.
const ROUND_KEYS_MAX: usize = 64 + 8;

/// A core, its time, and when it wants to run again.
struct Clocked {
    core: Core,
    now_us: u64,
    rng: Rng,
}

impl Clocked {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let core = cores(1, &mut rng, Config::default()).next().expect("there is a core");
        let mut clocked = Self { core, now_us: 0, rng };
        clocked.core.tick(clocked.now());
        clocked
    }

    fn now(&self) -> Now {
        Now { unix_us: EPOCH_US + self.now_us, monotonic_us: self.now_us }
    }

    /// Gives a key a deadline, microseconds from the beginning.
    fn set(&mut self, name: &str, deadline_us: u64) {
        let shard = &mut self.core.state.shard;
        shard.set_access_stamp(access_stamp(EPOCH_US / 1000));
        let key = self.core.state.shared.map.key(name.as_bytes());
        let ttl = Ttl::At((EPOCH_US + deadline_us) / 1000);
        shard.set(0, &key, NewValue::Bytes(b"v"), ttl).expect("memory suffices");
    }

    fn keys(&self) -> usize {
        self.core.state.shard.len(0)
    }

    /// One round at the present moment, with what a client sends in it; then the next moment.
    fn round(&mut self, request: Option<(ConnectionKey, &[u8])>) {
        self.core.tick(self.now());
        if let Some((connection, bytes)) = request {
            self.core.received(connection, bytes);
        }
        let wake = self.core.work();
        while let Some(key) = self.core.next_dirty() {
            let output = self.core.take_output(key, Vec::new());
            self.core.sent(key, output.len(), 0);
            assert_eq!(output, b"+PONG\r\n", "a request is answered in its round");
        }
        assert!(self.core.next_outgoing().is_none(), "there is no other core");
        let least = self.now_us + ROUND_US;
        let late = self.rng.below(WAKE_LATE_US as usize) as u64;
        self.now_us = match (wake, request) {
            (_, Some(_)) => least + late,
            (Wake::Now, None) => least,
            (Wake::At(at_us), None) => at_us.max(least) + late,
            (Wake::Never, None) => panic!("keys have deadlines"),
        };
    }

    /// A client.
    fn connect(&mut self) -> ConnectionKey {
        let info = SocketInfo {
            peer: "127.0.0.1:10000".to_owned(),
            local: "127.0.0.1:6379".to_owned(),
            descriptor: 8,
            unix: false,
            loopback: true,
        };
        self.core.opened(info)
    }
}

/// The lag of every near key, sorted. Keys are told apart by their order: the nth to go is taken to
/// be the nth that was due.
fn lags_us(seed: u64, busy: bool) -> Vec<u64> {
    let mut clocked = Clocked::new(seed);
    for number in 0..FAR_KEYS {
        let deadline_us = SPAN_US * 10 + number as u64 * 1_000_000;
        clocked.set(&format!("far:{number}"), deadline_us);
    }
    // A deadline is a whole number of milliseconds.
    let mut deadlines: Vec<u64> = (0..NEAR_KEYS)
        .map(|_| (1 + clocked.rng.below(SPAN_US as usize / 1000) as u64) * 1000)
        .collect();
    for (number, deadline_us) in deadlines.iter().enumerate() {
        clocked.set(&format!("near:{number}"), *deadline_us);
    }
    deadlines.sort_unstable();
    let client = clocked.connect();
    let mut lags = Vec::with_capacity(NEAR_KEYS);
    while lags.len() < NEAR_KEYS {
        let at_us = clocked.now_us;
        assert!(at_us < SPAN_US * 2, "{} keys are never removed", NEAR_KEYS - lags.len());
        clocked.round(busy.then_some((client, b"PING\r\n")));
        let gone = FAR_KEYS + NEAR_KEYS - clocked.keys();
        for deadline_us in &deadlines[lags.len()..gone] {
            let lag_us = at_us.checked_sub(*deadline_us);
            lags.push(lag_us.expect("no key goes before its time"));
        }
    }
    lags.sort_unstable();
    lags
}

fn check_lags(name: &str, lags: &[u64]) {
    let at = |percent: usize| lags[(lags.len() - 1) * percent / 100];
    eprintln!(
        "expiry, {name}: p50 {} us, p99 {} us, max {} us, of {} keys beside {FAR_KEYS}",
        at(50),
        at(99),
        at(100),
        lags.len()
    );
    assert!(at(99) <= LATE_P99_US, "{name}: p99 of {} us", at(99));
}

#[test]
fn keys_expire_on_time_beside_a_million_others() {
    check_lags("an idle core", &lags_us(1, false));
    check_lags("a busy core", &lags_us(2, true));
}

#[test]
fn a_mass_expiry_is_spread_out_and_requests_go_on() {
    const KEYS: usize = 200_000;
    let mut clocked = Clocked::new(3);
    for number in 0..KEYS {
        clocked.set(&format!("key:{number}"), 1_000_000);
    }
    let client = clocked.connect();
    clocked.now_us = 1_000_000;
    let mut rounds = 0;
    while clocked.keys() > 0 {
        let before = clocked.keys();
        // Every round answers its request, whatever there is to remove: see `round`.
        clocked.round(Some((client, b"PING\r\n")));
        let removed = before - clocked.keys();
        assert!(removed <= ROUND_KEYS_MAX, "a round removes {removed} keys");
        assert!(removed > 0, "a round in which keys are due removes some");
        rounds += 1;
    }
    assert!(rounds >= KEYS / ROUND_KEYS_MAX, "{rounds} rounds");
}
