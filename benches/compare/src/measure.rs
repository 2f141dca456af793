//! The measurements: each brings up the servers it needs, loads them and reads their figures.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::benchmark;
use crate::cli::{LoadKind, Options};
use crate::load::{Load, Until};
use crate::machine::{Placement, pinned};
use crate::programs::Program;
use crate::server::{Server, pause};
use crate::workload::{KEY_SIZE, Keys, Verb, Workload};

/// The two programs.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// Ours.
    pub(crate) ours: Program,
    /// The peer.
    pub(crate) peer: Program,
}

/// One measurement of one server under load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU microseconds of the server process a command.
    pub(crate) cpu_us: f64,
    /// Commands a second.
    pub(crate) per_second: f64,
    /// Median latency of a batch in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
    /// 99.9th percentile; valkey-benchmark does not give it.
    pub(crate) p999_us: Option<f64>,
    /// CPU of the server process in cores.
    pub(crate) server_busy: f64,
    /// CPU of the load generator in cores; valkey-benchmark's is unknown.
    pub(crate) load_busy: Option<f64>,
}

/// The samples of one command at one pipeline depth, in pairs measured one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Shards of ours.
    pub(crate) shards: u32,
    /// The command.
    pub(crate) verb: Verb,
    /// Commands in flight a connection.
    pub(crate) pipeline: u32,
    /// Ours and the peer's, one pair a round.
    pub(crate) samples: Vec<(Sample, Sample)>,
}

/// Runs all pairs of `verbs` and `pipelines`: each round starts both servers afresh, and for each
/// scenario measures one while the other is frozen, then the other; who is first alternates.
pub(crate) fn throughput(
    pair: &Pair,
    options: &Options,
    shards: u32,
    (verbs, pipelines): (&[Verb], &[u32]),
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Scenario>> {
    let mut scenarios: Vec<Scenario> = verbs
        .iter()
        .flat_map(|&verb| pipelines.iter().map(move |&pipeline| (verb, pipeline)))
        .map(|(verb, pipeline)| Scenario { shards, verb, pipeline, samples: Vec::new() })
        .collect();
    let placement = Placement::for_server_cores(shards as usize)?;
    for round in 0..options.rounds() as usize {
        let ours = Subject::start(&pair.ours, options, shards, &placement, verbs)?;
        let peer = Subject::start(&pair.peer, options, shards, &placement, verbs)?;
        for (index, scenario) in scenarios.iter_mut().enumerate() {
            let (verb, pipeline) = (scenario.verb, scenario.pipeline);
            progress(&format!("round {}: {} x {pipeline}", round + 1, verb.name()));
            let measure = |subject: &Subject| {
                subject.server.thaw()?;
                let sample = subject.measure(options, &placement, verb, pipeline);
                subject.server.freeze()?;
                sample
            };
            scenario.samples.push(if (round + index) % 2 == 0 {
                let first = measure(&ours)?;
                (first, measure(&peer)?)
            } else {
                let first = measure(&peer)?;
                (measure(&ours)?, first)
            });
        }
    }
    Ok(scenarios)
}

/// A server with its keys loaded, frozen.
struct Subject {
    server: Server,
}

impl Subject {
    fn start(
        program: &Program,
        options: &Options,
        shards: u32,
        placement: &Placement,
        verbs: &[Verb],
    ) -> Result<Self> {
        let server = Server::start(program, shards, &placement.server)?;
        // valkey-benchmark names its keys alike, except the counters, which it makes itself.
        let ranks = verbs.contains(&Verb::Zadd) || verbs.contains(&Verb::Zrank);
        let preload: &[Verb] = match options.load {
            LoadKind::Own if ranks => &[Verb::Set, Verb::SetCounter, Verb::Zadd],
            LoadKind::Own if verbs.contains(&Verb::Incr) => &[Verb::Set, Verb::SetCounter],
            LoadKind::Own | LoadKind::ValkeyBenchmark => &[Verb::Set],
        };
        for &verb in preload {
            let size = options.value_size as usize;
            pinned(&placement.load, || load_keys(&server, verb, size, options.keys))??;
        }
        server.freeze()?;
        Ok(Self { server })
    }

    fn measure(
        &self,
        options: &Options,
        placement: &Placement,
        verb: Verb,
        pipeline: u32,
    ) -> Result<Sample> {
        let sample = || match options.load {
            LoadKind::Own => own_load(&self.server, options, verb, pipeline),
            LoadKind::ValkeyBenchmark => benchmark::run(&self.server, options, verb, pipeline),
        };
        pinned(&placement.load, sample)?
    }
}

/// Sets keys `0..keys` with deep pipelines.
fn load_keys(server: &Server, verb: Verb, value_size: usize, keys: u64) -> Result<()> {
    const CONNECTIONS: u32 = 8;
    const PIPELINE: u32 = 100;
    let mut workload = Workload::new(verb, PIPELINE, value_size, Keys::sequential(keys));
    Load::connect(server.address, CONNECTIONS)?.run(&mut workload, Until::Commands(keys))?;
    Ok(())
}

fn own_load(server: &Server, options: &Options, verb: Verb, pipeline: u32) -> Result<Sample> {
    let size = options.value_size as usize;
    let mut workload = Workload::new(verb, pipeline, size, Keys::uniform(options.keys));
    let mut load = Load::connect(server.address, options.connections)?;
    load.run(&mut workload, Until::Elapsed(options.measure_for() / 4))?;
    let cpu_before = server.cpu_time()?;
    let run = load.run(&mut workload, Until::Elapsed(options.measure_for()))?;
    let cpu = server.cpu_time()?.saturating_sub(cpu_before).as_secs_f64();
    let seconds = run.elapsed.as_secs_f64();
    let percentile_us = |q| run.latency.value_at_quantile(q) as f64 / 1e3;
    Ok(Sample {
        cpu_us: cpu * 1e6 / run.commands as f64,
        per_second: run.commands as f64 / seconds,
        p50_us: percentile_us(0.5),
        p99_us: percentile_us(0.99),
        p999_us: Some(percentile_us(0.999)),
        server_busy: cpu / seconds,
        load_busy: Some(run.load_cpu.as_secs_f64() / seconds),
    })
}

/// Memory of one kind of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Bytes of a value.
    pub(crate) value_size: usize,
    /// Whether every key has a deadline.
    pub(crate) ttl: bool,
    /// Resident bytes a key beyond key and value, ours.
    pub(crate) ours: f64,
    /// The same of the peer.
    pub(crate) peer: f64,
}

/// Measures the memory overhead a key for each kind of value.
pub(crate) fn memory(
    pair: &Pair,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Memory>> {
    let placement = Placement::for_server_cores(1)?;
    let mut overhead = |program: &Program, value_size: usize, ttl: bool| {
        let keys = options.memory_keys();
        let suffix = if ttl { " with TTL" } else { "" };
        progress(&format!("{}: {keys} keys, {value_size}-byte values{suffix}", program.name));
        let server = Server::start(program, 1, &placement.server)?;
        pause(Duration::from_secs(1));
        let empty = server.resident_bytes()?;
        let verb = if ttl { Verb::SetWithTtl } else { Verb::Set };
        pinned(&placement.load, || load_keys(&server, verb, value_size, keys))??;
        let used = server.settled_resident_bytes()?.saturating_sub(empty);
        Ok::<f64, anyhow::Error>(used as f64 / keys as f64 - (KEY_SIZE + value_size) as f64)
    };
    [(8, false), (32, false), (100, false), (32, true)]
        .into_iter()
        .map(|(value_size, ttl)| {
            let ours = overhead(&pair.ours, value_size, ttl)?;
            let peer = overhead(&pair.peer, value_size, ttl)?;
            Ok(Memory { value_size, ttl, ours, peer })
        })
        .collect()
}

/// Measures the resident bytes an element of one large value, which `verb` adds to: ours and the
/// peer's. The entries of a stream have one field and a value of 32 bytes; the members of a sorted
/// set have 16 bytes.
pub(crate) fn element_memory(
    pair: &Pair,
    options: &Options,
    verb: Verb,
    progress: &mut dyn FnMut(&str),
) -> Result<(f64, f64)> {
    let placement = Placement::for_server_cores(1)?;
    let mut bytes = |program: &Program| {
        let entries = options.stream_entries();
        progress(&format!("{}: {entries} elements by {}", program.name, verb.name()));
        let server = Server::start(program, 1, &placement.server)?;
        pause(Duration::from_secs(1));
        let empty = server.resident_bytes()?;
        pinned(&placement.load, || load_keys(&server, verb, 32, entries))??;
        let used = server.settled_resident_bytes()?.saturating_sub(empty);
        Ok::<f64, anyhow::Error>(used as f64 / entries as f64)
    };
    Ok((bytes(&pair.ours)?, bytes(&pair.peer)?))
}

/// Share of a core that a server uses while 100 clients are connected and silent.
pub(crate) fn idle(program: &Program, options: &Options) -> Result<f64> {
    const CLIENTS: u32 = 100;
    let placement = Placement::for_server_cores(1)?;
    let server = Server::start(program, 1, &placement.server)?;
    let mut clients = Load::connect(server.address, CLIENTS)?;
    // Every client has been served once, so that none is still being accepted.
    let mut hello = Workload::new(Verb::Set, 1, 8, Keys::sequential(1));
    clients.run(&mut hello, Until::Commands(u64::from(CLIENTS)))?;
    pause(Duration::from_secs(1));
    let (cpu_before, started) = (server.cpu_time()?, Instant::now());
    pause(options.idle_for());
    let cpu = server.cpu_time()?.saturating_sub(cpu_before);
    Ok(cpu.as_secs_f64() / started.elapsed().as_secs_f64())
}
