//! The measurements: each brings up the servers it needs, loads them and reads their figures.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::benchmark;
use crate::cli::{LoadKind, Options, Section};
use crate::load::{Load, Until};
use crate::machine::{Placement, pinned};
use crate::programs::Program;
use crate::server::{Server, pause};
use crate::workload::{
    FOOTPRINT_VALUE_SIZE, Footprint, KEY_SIZE, Loading, MANY_STRINGS, MANY_STRINGS_WITH_TTL,
    Workload,
};

/// Connections of a workload of long commands: enough that the server never waits.
const LONG_CONNECTIONS: u32 = 4;

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
    /// The section of the report.
    pub(crate) section: Section,
    /// The kind of load.
    pub(crate) workload: &'static Workload,
    /// Commands in flight a connection.
    pub(crate) pipeline: u32,
    /// Ours and the peer's, one pair a round.
    pub(crate) samples: Vec<(Sample, Sample)>,
}

/// Runs all pairs of workloads and pipelines: each round starts both servers afresh, and for each
/// scenario measures one while the other is frozen, then the other; who is first alternates.
pub(crate) fn throughput(
    pair: &Pair,
    options: &Options,
    section: Section,
    (workloads, pipelines): (Vec<&'static Workload>, Vec<u32>),
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for &workload in &workloads {
        let pipelines = if workload.is_long { &[1] } else { &pipelines[..] };
        let scenario = |&pipeline| Scenario { section, workload, pipeline, samples: Vec::new() };
        scenarios.extend(pipelines.iter().map(scenario));
    }
    if scenarios.is_empty() {
        return Ok(scenarios);
    }
    let shards = section.shards();
    let placement = Placement::for_server_cores(shards as usize)?;
    for round in 0..options.rounds() as usize {
        let ours = Subject::start(&pair.ours, options, shards, &placement, &workloads)?;
        let peer = Subject::start(&pair.peer, options, shards, &placement, &workloads)?;
        for (index, scenario) in scenarios.iter_mut().enumerate() {
            let (workload, pipeline) = (scenario.workload, scenario.pipeline);
            progress(&format!("round {}: {} x {pipeline}", round + 1, workload.title));
            let measure = |subject: &Subject| {
                subject.server.thaw()?;
                let sample = subject.measure(options, &placement, workload, pipeline);
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

/// A server that holds what its workloads need, frozen.
struct Subject {
    server: Server,
}

impl Subject {
    fn start(
        program: &Program,
        options: &Options,
        shards: u32,
        placement: &Placement,
        workloads: &[&Workload],
    ) -> Result<Self> {
        let server = Server::start(program, shards, &placement.server)?;
        let mut needed: Vec<Loading> = Vec::new();
        for loading in workloads.iter().flat_map(|workload| workload.loaded) {
            if !needed.contains(loading) {
                needed.push(*loading);
            }
        }
        let size = options.value_size as usize;
        pinned(&placement.load, || load_all(&server, options, size, &needed))??;
        server.freeze()?;
        Ok(Self { server })
    }

    fn measure(
        &self,
        options: &Options,
        placement: &Placement,
        workload: &Workload,
        pipeline: u32,
    ) -> Result<Sample> {
        let sample = || match options.load {
            LoadKind::Own => {
                let connections =
                    if workload.is_long { LONG_CONNECTIONS } else { options.connections };
                own_load(&self.server, options, (connections, pipeline), workload)
            }
            LoadKind::ValkeyBenchmark => benchmark::run(&self.server, options, workload, pipeline),
        };
        pinned(&placement.load, sample)?
    }
}

/// Sends all of `loadings`, one after the other.
pub(crate) fn load_all(
    server: &Server,
    options: &Options,
    value_size: usize,
    loadings: &[Loading],
) -> Result<()> {
    loadings.iter().try_for_each(|loading| load(server, options, value_size, loading))
}

/// Sends one request for each number of `loading`, with deep pipelines.
pub(crate) fn load(
    server: &Server,
    options: &Options,
    value_size: usize,
    loading: &Loading,
) -> Result<()> {
    const CONNECTIONS: u32 = 8;
    const PIPELINE: u32 = 100;
    let Range { start, end } = options.range(loading.span);
    // A last batch that is not full would begin anew with the first number.
    let full = end - (end - start) % u64::from(PIPELINE);
    let mut clients = Load::connect(server.address, CONNECTIONS)?;
    for (range, pipeline) in [(start..full, PIPELINE), (full..end, 1)] {
        if !range.is_empty() {
            let count = range.end - range.start;
            let mut batch = loading.batch(pipeline, value_size, range);
            clients.run(&mut batch, Until::Commands(count))?;
        }
    }
    Ok(())
}

/// Measures a server under a load from this many connections, each with so many commands in flight.
pub(crate) fn own_load(
    server: &Server,
    options: &Options,
    (connections, pipeline): (u32, u32),
    workload: &Workload,
) -> Result<Sample> {
    let size = options.value_size as usize;
    let mut batch = workload.batch(pipeline, size, options.range(workload.span));
    let (warm_up, measured) = if workload.before.is_empty() {
        let time = options.measure_for();
        (Until::Elapsed(time / 4), Until::Elapsed(time))
    } else {
        load_all(server, options, size, workload.before)?;
        server.settle()?;
        (Until::Commands(options.amount() / 4), Until::Commands(options.amount()))
    };
    let mut load = Load::connect(server.address, connections)?;
    load.subscribe(server.address, workload.subscribers)?;
    load.run(&mut batch, warm_up)?;
    let cpu_before = server.cpu_time()?;
    let run = load.run(&mut batch, measured)?;
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

/// Resident bytes that `program` takes for what `loadings` put into it.
fn resident_growth(
    program: &Program,
    options: &Options,
    value_size: usize,
    loadings: &[Loading],
) -> Result<f64> {
    let placement = Placement::for_server_cores(1)?;
    let server = Server::start(program, 1, &placement.server)?;
    pause(Duration::from_secs(1));
    let empty = server.resident_bytes()?;
    pinned(&placement.load, || load_all(&server, options, value_size, loadings))??;
    Ok(server.settled_resident_bytes()?.saturating_sub(empty) as f64)
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
    let mut overhead = |program: &Program, value_size: usize, ttl: bool| {
        let keys = options.memory_keys();
        let suffix = if ttl { " with TTL" } else { "" };
        progress(&format!("{}: {keys} keys, {value_size}-byte values{suffix}", program.name));
        let loading = if ttl { MANY_STRINGS_WITH_TTL } else { MANY_STRINGS };
        let used = resident_growth(program, options, value_size, &[loading])?;
        Ok::<f64, anyhow::Error>(used / keys as f64 - (KEY_SIZE + value_size) as f64)
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

/// Memory of one kind of elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements {
    /// What was loaded.
    pub(crate) footprint: &'static Footprint,
    /// Resident bytes an element, ours.
    pub(crate) ours: f64,
    /// The same of the peer, if it can hold such elements.
    pub(crate) peer: Option<f64>,
}

/// Measures the resident bytes an element of each kind of collection.
pub(crate) fn elements(
    pair: &Pair,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Elements>> {
    let mut bytes = |program: &Program, footprint: &Footprint| {
        let count = options.elements();
        progress(&format!("{}: {count} x {}", program.name, footprint.title));
        let used = resident_growth(program, options, FOOTPRINT_VALUE_SIZE, footprint.loaded)?;
        Ok::<f64, anyhow::Error>(used / count as f64)
    };
    let cores = Placement::for_server_cores(1)?.server;
    let mut all = Vec::new();
    for footprint in options.footprints() {
        let ours = bytes(&pair.ours, footprint)?;
        let is_known = match footprint.needs {
            Some(command) => Server::start(&pair.peer, 1, &cores)?.knows(command)?,
            None => true,
        };
        let peer = if is_known { Some(bytes(&pair.peer, footprint)?) } else { None };
        all.push(Elements { footprint, ours, peer });
    }
    Ok(all)
}

/// Share of a core that a server uses while 100 clients are connected and silent.
pub(crate) fn idle(program: &Program, options: &Options) -> Result<f64> {
    const CLIENTS: u32 = 100;
    let placement = Placement::for_server_cores(1)?;
    let server = Server::start(program, 1, &placement.server)?;
    let mut clients = Load::connect(server.address, CLIENTS)?;
    // Every client has been served once, so that none is still being accepted.
    let mut hello = MANY_STRINGS.batch(1, 8, 0..1);
    clients.run(&mut hello, Until::Commands(u64::from(CLIENTS)))?;
    pause(Duration::from_secs(1));
    let (cpu_before, started) = (server.cpu_time()?, Instant::now());
    pause(options.idle_for());
    let cpu = server.cpu_time()?.saturating_sub(cpu_before);
    Ok(cpu.as_secs_f64() / started.elapsed().as_secs_f64())
}
