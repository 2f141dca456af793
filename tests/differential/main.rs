//! The differential test: random command streams, ours and the real Valkey, reply by reply.
//!
//! Streams of requests are generated from the argument trees of the commands that both servers
//! have, on a few keys, with edge values and wrong requests among them. Each goes to both servers,
//! in RESP2 and in RESP3, to one shard and to two; the replies must be equal byte for byte, except
//! where `rules.rs` says otherwise and why. A difference is reported as the shortest stream found
//! that shows it.
//!
//! - Other streams: `KVASIR_SEED=N`, or `random`. More of them: `KVASIR_STREAMS=N`.
//! - One command's requests only: `KVASIR_COMMANDS=set,getex`.

mod compare;
mod events;
mod generate;
mod grammar;
mod minimise;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use compare::{Pair, Protocol};
use generate::{Generator, KEYS, Request};
use grammar::Syntax;
use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Rng, Server, check, seed_from_environment, words};
use rules::{Rule, rule_for};

/// How many streams a test runs, and how many requests each has.
const STREAMS: usize = 1500;
const REQUESTS: usize = 300;
/// Values beyond this are refused by both servers, so that SETBIT at a far offset costs little.
const LIMITS: &[&str] = &["--proto-max-bulk-len", "1048576"];
/// After so many different findings a run stops.
const MOST_FINDINGS: usize = 12;

#[test]
fn resp2_at_one_shard() {
    run(Protocol::Resp2, 1);
}

#[test]
fn resp2_at_two_shards() {
    run(Protocol::Resp2, 2);
}

#[test]
fn resp3_at_one_shard() {
    run(Protocol::Resp3, 1);
}

#[test]
fn resp3_at_two_shards() {
    run(Protocol::Resp3, 2);
}

fn run(protocol: Protocol, shards: usize) {
    let ours = Server::builder(Program::Kvasir).shards(shards).args(LIMITS).start();
    let peer = Server::builder(Program::Valkey).args(LIMITS).start();
    let commands = commands_to_compare(&ours, &peer);
    let pair = Pair { ours: &ours, peer: &peer, protocol };
    let seed = seed_from_environment();
    let mut seeds = Rng::new(seed);
    let mut coverage = Coverage::default();
    let mut findings: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..streams() {
        let (names, stream) = stream(&commands, seeds.bits());
        let batch = 1 + seeds.below(40);
        let difference = pair.run(&stream, batch, |at, reply| coverage.note(&names[at], reply));
        let Some(difference) = difference else { continue };
        let name = names[difference.at].clone();
        findings.entry(name).or_insert_with(|| report(&pair, &stream, batch, &difference));
        if findings.len() >= MOST_FINDINGS {
            break;
        }
    }
    eprintln!("differential {protocol:?} at {shards} shards: {}", coverage.summary(&commands));
    if !findings.is_empty() {
        let all: Vec<String> = findings.into_values().collect();
        panic!("KVASIR_SEED={seed} {protocol:?} {shards} shards\n{}", all.join("\n\n"));
    }
    coverage.assert_not_vacuous(&commands);
}

/// A stream with the names of its commands: random requests, then reads of all that they may have
/// left behind.
fn stream(commands: &[Syntax], seed: u64) -> (Vec<String>, Vec<Request>) {
    let mut generator = Generator::new(commands, seed);
    let mut named: Vec<(String, Request)> = (0..REQUESTS).map(|_| generator.request()).collect();
    let mut probe = |line: &str| {
        let name = line.split(' ').next().unwrap_or_default().to_lowercase();
        named.push((name, words(line)));
    };
    for database in 0..3 {
        probe(&format!("SELECT {database}"));
        probe("DBSIZE");
        for key in KEYS {
            probe(&format!("TYPE {key}"));
            probe(&format!("GET {key}"));
            probe(&format!("HGETALL {key}"));
            probe(&format!("PTTL {key}"));
        }
    }
    named.into_iter().unzip()
}

/// The commands that both servers have and that the rules let through.
fn commands_to_compare(ours: &Server, peer: &Server) -> Vec<Syntax> {
    let mut commands = grammar::shared(&mut ours.client(), &mut peer.client());
    commands.retain(|command| rule_for(&command.name) != Rule::Skip);
    if let Ok(only) = std::env::var("KVASIR_COMMANDS") {
        let only: Vec<&str> = only.split(',').collect();
        commands.retain(|command| only.contains(&command.name.as_str()));
    }
    assert!(!commands.is_empty(), "no command to compare");
    commands
}

fn streams() -> usize {
    match std::env::var("KVASIR_STREAMS") {
        Ok(text) => text.parse().expect("KVASIR_STREAMS must be a number"),
        Err(_) => STREAMS,
    }
}

fn report(
    pair: &Pair<'_>,
    stream: &[Request],
    batch: usize,
    first: &compare::Difference,
) -> String {
    let run_again = |stream: &[Request]| pair.run(stream, 1, |_, _| {});
    let Some((shortest, difference)) = minimise::minimise(stream, run_again) else {
        let end = (first.at / batch + 1) * batch;
        let before = minimise::as_lines(&stream[..end.min(stream.len())]);
        // What differs comes first: the stream may be long.
        let differing = replies(&stream[first.at], first);
        return format!("{differing}  only {batch} requests at a time, or only once:\n{before}");
    };
    replies(&shortest[difference.at], &difference) + &minimise::as_lines(&shortest)
}

/// A request with the replies that differ.
fn replies(request: &Request, difference: &compare::Difference) -> String {
    let request = minimise::as_lines(std::slice::from_ref(request));
    format!("{request}\n  ours: {}\n  peer: {}\n", difference.ours, difference.peer)
}

/// Which commands were sent, and which ever succeeded.
#[derive(Default)]
struct Coverage {
    sent: BTreeMap<String, usize>,
    succeeded: BTreeSet<String>,
}

impl Coverage {
    fn note(&mut self, name: &str, reply: &Value) {
        *self.sent.entry(name.to_owned()).or_default() += 1;
        if !matches!(reply, Value::Error(_)) {
            self.succeeded.insert(name.to_owned());
        }
    }

    fn summary(&self, commands: &[Syntax]) -> String {
        let requests: usize = self.sent.values().sum();
        format!("{requests} requests of {} commands", commands.len())
    }

    /// Every command was sent, and was accepted at least once.
    fn assert_not_vacuous(&self, commands: &[Syntax]) {
        let names = commands.iter().map(|command| &command.name);
        let unmet: Vec<&String> = names.filter(|name| !self.succeeded.contains(*name)).collect();
        assert!(unmet.is_empty(), "no request of these was ever accepted: {unmet:?}");
    }
}

/// Cursors are opaque, so what is compared is the outcome of whole scans.
#[test]
fn whole_scans_yield_the_same_elements() {
    const SCANS: &[&str] = &[
        "SCAN 0",
        "SCAN 0 COUNT 1000",
        "SCAN 0 MATCH key:1*",
        "SCAN 0 MATCH key:?? COUNT 7",
        "SCAN 0 TYPE string",
        "SCAN 0 TYPE list",
        "SCAN 0 TYPE hash",
        "HSCAN large:hash 0",
        "HSCAN large:hash 0 MATCH *1? COUNT 100",
        "HSCAN large:hash 0 NOVALUES",
        "HSCAN small:hash 0",
        "SSCAN large:set 0 COUNT 7",
        "SSCAN large:set 0 MATCH *99",
        "SSCAN small:set 0",
        "SSCAN integers 0",
        "ZSCAN large:zset 0",
        "ZSCAN large:zset 0 MATCH m1* COUNT 1000",
        "ZSCAN small:zset 0",
    ];
    let peer = Server::valkey();
    for shards in [1, 2] {
        let ours = Server::kvasir(shards);
        for server in [&ours, &peer] {
            fill_for_scans(&mut server.client());
        }
        for scan in SCANS {
            let [mine, theirs] =
                [&ours, &peer].map(|server| whole_scan(&mut server.client(), scan));
            assert!(mine == theirs, "{scan} differs at {shards} shards: {mine:?}\n{theirs:?}");
        }
        let errors = ["SCAN", "SCAN x", "SCAN 0 COUNT 0", "SCAN 0 MATCH", "SCAN 0 NONSENSE 1"];
        for line in errors {
            let (mine, theirs) = (ours.client().run(line), peer.client().run(line));
            assert_eq!(mine, theirs, "{line} at {shards} shards");
        }
    }
    check(&peer, &[("DBSIZE", "3007")]);
}

/// Keys and collections, of both kinds of encodings.
fn fill_for_scans(client: &mut Client) {
    client.run("FLUSHALL");
    let mut fill: Vec<_> = (0..3_000).map(|n| words(&format!("SET key:{n} v"))).collect();
    for (size, count) in [("large", 3_000), ("small", 20)] {
        for n in 0..count {
            fill.push(words(&format!("HSET {size}:hash field{n} value{n}")));
            fill.push(words(&format!("SADD {size}:set member{n}")));
            fill.push(words(&format!("ZADD {size}:zset {n} m{n}")));
        }
    }
    fill.extend((0..100).map(|n| words(&format!("SADD integers {n}"))));
    client.pipeline(&fill);
}

/// What a scan finds until its cursor is 0 again. A field and its value, or a member and its score,
/// make one element.
fn whole_scan(client: &mut Client, line: &str) -> BTreeSet<Vec<Vec<u8>>> {
    let mut request = words(line);
    let at = if request[0] == b"SCAN" { 1 } else { 2 };
    let alone = at == 1 || request[0] == b"SSCAN" || line.ends_with("NOVALUES");
    let mut found = BTreeSet::new();
    loop {
        let reply = client.call(&request);
        let Value::Array(parts) = &reply else { panic!("{line} answered {reply:?}") };
        let [next, Value::Array(names)] = &parts[..] else { panic!("{line} answered {reply:?}") };
        let names: Vec<Vec<u8>> =
            names.iter().map(|name| name.as_bytes().unwrap_or_default().to_vec()).collect();
        found.extend(names.chunks(if alone { 1 } else { 2 }).map(<[_]>::to_vec));
        request[at] = next.as_bytes().unwrap_or_default().to_vec();
        if request[at] == b"0" {
            return found;
        }
    }
}
