//! What the append-only log costs: writes with it and without it, and reads of others while the
//! disk is slow.
//!
//! The logs are written where the servers work, below `TMPDIR`: that has to be on the disk that is
//! meant, and not in memory.

use std::process::Command;
use std::thread;

use anyhow::{Result, ensure};

use crate::cli::Options;
use crate::load::{Load, Run, Until};
use crate::machine::{Placement, pinned};
use crate::measure::{Pair, Sample, load_all, own_load};
use crate::programs::Program;
use crate::server::Server;
use crate::workload::Workload;

/// Connections that write.
pub(crate) const WRITERS: u32 = 100;
/// By how much each flush is delayed to see what becomes of reads, microseconds.
const SLOW_FLUSH_US: u32 = 50_000;
/// Connections that read, and as many that write, while flushes are slow.
const SLOW_CONNECTIONS: u32 = 10;

/// Whether there is a log, and when it is flushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Policy {
    /// No log.
    Off,
    /// `appendfsync everysec`.
    EverySecond,
    /// `appendfsync always`.
    Always,
}

impl Policy {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::EverySecond, Self::Always];

    /// The name in reports and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::EverySecond => "everysec",
            Self::Always => "always",
        }
    }

    /// Arguments of a server. Nothing rewrites the log meanwhile.
    fn arguments(self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Off => &["--appendonly", "no"],
            Self::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
            Self::Always => &["--appendonly", "yes", "--appendfsync", "always"],
        };
        let others = ["--auto-aof-rewrite-percentage", "0", "--enable-debug-command", "local"];
        words.iter().copied().chain(others).map(str::to_owned).collect()
    }
}

/// Writes under one policy.
#[derive(Clone, Debug)]
pub(crate) struct LogCost {
    /// When the log is flushed.
    pub(crate) policy: Policy,
    /// Commands in flight a connection.
    pub(crate) pipeline: u32,
    /// Ours and the peer's, one pair a round.
    pub(crate) samples: Vec<(Sample, Sample)>,
}

/// The 99th percentile of reads beside writes, microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowFlush {
    /// Without a log.
    pub(crate) without_us: f64,
    /// With each flush taking so long, and each write waiting for it.
    pub(crate) with_us: f64,
}

/// Measures SET under each policy: each round starts all servers afresh and measures them one at a
/// time, the others being frozen. Ours and the peer's under one policy follow each other; who is
/// first alternates.
pub(crate) fn costs(
    pair: &Pair,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<LogCost>> {
    let workload = Workload::named("set").expect("invariant: it is in the table");
    let placement = Placement::for_server_cores(1)?;
    let mut costs = Vec::new();
    for pipeline in options.pipelines_or(&[1, 16]) {
        let cost = |policy| LogCost { policy, pipeline, samples: Vec::new() };
        costs.extend(Policy::ALL.map(cost));
    }
    for round in 0..options.rounds() as usize {
        let start = |program| {
            let start = |policy| subject(program, policy, options, &placement, workload);
            Policy::ALL.into_iter().map(start).collect::<Result<Vec<Server>>>()
        };
        let (ours, peer) = (start(&pair.ours)?, start(&pair.peer)?);
        for cost in &mut costs {
            let (policy, pipeline) = (cost.policy, cost.pipeline);
            progress(&format!("round {}: SET x {pipeline}, log {}", round + 1, policy.name()));
            let measure = |servers: &[Server]| {
                let server = &servers[policy as usize];
                settle_disk()?;
                server.thaw()?;
                let load = || own_load(server, options, (WRITERS, pipeline), workload);
                let sample = pinned(&placement.load, load)?;
                server.freeze()?;
                sample
            };
            cost.samples.push(if (round + policy as usize).is_multiple_of(2) {
                let first = measure(&ours)?;
                (first, measure(&peer)?)
            } else {
                let first = measure(&peer)?;
                (measure(&ours)?, first)
            });
        }
    }
    Ok(costs)
}

/// A frozen server that holds what is written.
fn subject(
    program: &Program,
    policy: Policy,
    options: &Options,
    placement: &Placement,
    workload: &Workload,
) -> Result<Server> {
    let server = Server::start_with(program, 1, &placement.server, &policy.arguments())?;
    let size = options.value_size as usize;
    pinned(&placement.load, || load_all(&server, options, size, workload.loaded))??;
    server.freeze()?;
    Ok(server)
}

/// Waits until what others have written is on the disk: a flush may have to wait for that.
fn settle_disk() -> Result<()> {
    ensure!(Command::new("sync").status()?.success(), "sync failed");
    Ok(())
}

/// Measures reads while each flush is slow, under `always`; who is first alternates.
pub(crate) fn slow_flushes(
    pair: &Pair,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<(SlowFlush, SlowFlush)>> {
    let mut one = |program: &Program, round: u32| {
        progress(&format!("round {}: {}, slow flushes", round + 1, program.name));
        slow_flush(program, options)
    };
    (0..options.rounds())
        .map(|round| {
            if round % 2 == 0 {
                let ours = one(&pair.ours, round)?;
                Ok((ours, one(&pair.peer, round)?))
            } else {
                let peer = one(&pair.peer, round)?;
                Ok((one(&pair.ours, round)?, peer))
            }
        })
        .collect()
}

fn slow_flush(program: &Program, options: &Options) -> Result<SlowFlush> {
    let placement = Placement::for_server_cores(1)?;
    let writes = Workload::named("set").expect("invariant: it is in the table");
    let p99_us = |policy| {
        let server = subject(program, policy, options, &placement, writes)?;
        server.thaw()?;
        if policy == Policy::Always {
            server.call(&format!("DEBUG AOF-FLUSH-SLEEP {SLOW_FLUSH_US}"))?;
        }
        let run = reads_beside_writes(&server, options, &placement)?;
        Ok::<f64, anyhow::Error>(run.latency.value_at_quantile(0.99) as f64 / 1e3)
    };
    Ok(SlowFlush { without_us: p99_us(Policy::Off)?, with_us: p99_us(Policy::Always)? })
}

/// What clients see that read while others write.
fn reads_beside_writes(server: &Server, options: &Options, placement: &Placement) -> Result<Run> {
    let run = |name: &str| {
        let workload = Workload::named(name).expect("invariant: it is in the table");
        let size = options.value_size as usize;
        let mut batch = workload.batch(1, size, options.range(workload.span));
        let run = || {
            let mut load = Load::connect(server.address, SLOW_CONNECTIONS)?;
            load.run(&mut batch, Until::Elapsed(options.measure_for()))
        };
        pinned(&placement.load, run)?
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| run("set"));
        let read = run("get");
        writer.join().expect("invariant: a panic of the load is this program's")?;
        read
    })
}
