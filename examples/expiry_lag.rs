//! How late keys expire on a running server, beside a million others whose deadlines are far away.
//!
//! `cargo run --release --example expiry_lag -- [FAR_KEYS [NEAR_KEYS]]` starts the server of the
//! same build with one shard, sets the keys and asks for DBSIZE, which counts a key until it is
//! removed, as often as it can. The nth key that goes is taken to be the nth that was due.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvasir_proto::Value;
use kvasir_testing::{Client, Rng, Server, words};

/// The time over which the near keys are due, milliseconds.
const SPAN_MS: usize = 10_000;
/// The time until the first is due, in which the keys are set.
const START_MS: u64 = 5_000;

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.as_micros() as u64
}

fn fill(client: &mut Client, name: &str, deadlines_ms: impl Iterator<Item = u64>) {
    let requests: Vec<_> = deadlines_ms
        .enumerate()
        .map(|(number, at_ms)| words(&format!("SET {name}:{number} v PXAT {at_ms}")))
        .collect();
    for chunk in requests.chunks(1000) {
        client.pipeline(chunk);
    }
}

fn keys(client: &mut Client) -> usize {
    match client.run("DBSIZE") {
        Value::Integer(keys) => keys as usize,
        other => panic!("DBSIZE answered {other:?}"),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let far_keys: usize = arguments.next().unwrap_or(1_000_000);
    let near_keys: usize = arguments.next().unwrap_or(20_000);
    let server = Server::kvasir(1);
    let mut client = server.client();
    let tomorrow_ms = now_us() / 1000 + 86_400_000;
    fill(&mut client, "far", (0..far_keys as u64).map(|number| tomorrow_ms + number * 997));
    let start_ms = now_us() / 1000 + START_MS;
    let mut rng = Rng::new(1);
    let mut deadlines: Vec<u64> =
        (0..near_keys).map(|_| start_ms + rng.below(SPAN_MS) as u64).collect();
    fill(&mut client, "near", deadlines.iter().copied());
    assert!(now_us() / 1000 < start_ms, "the keys were not set before the first was due");
    deadlines.sort_unstable();
    let mut lags = Vec::with_capacity(near_keys);
    while lags.len() < near_keys {
        let gone = far_keys + near_keys - keys(&mut client);
        let now_us = now_us();
        for deadline_ms in &deadlines[lags.len()..gone] {
            lags.push(now_us.saturating_sub(deadline_ms * 1000));
        }
    }
    lags.sort_unstable();
    let at = |permille: usize| lags[(lags.len() - 1) * permille / 1000] as f64 / 1000.0;
    let line = format!(
        "{near_keys} keys expired beside {far_keys} others: late by {:.1} ms (median), \
         {:.1} ms (p99), {:.1} ms (p99.9), {:.1} ms (most)",
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    writeln!(std::io::stdout(), "{line}").expect("standard output takes a line");
}
