//! The command line: what to measure, on which servers, for how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::workload::Verb;

/// Runs Kvasir and a peer alternately on the same cores under the same load and prints the ratios.
#[derive(Debug, Parser)]
#[command(name = "kvasir-compare", version)]
pub(crate) struct Options {
    /// Fewer rounds, shorter measurements, fewer keys: for a look while working, not for
    /// publishing.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measure only these sections.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) only: Vec<Section>,

    /// Commands of the throughput sections.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) commands: Vec<Verb>,

    /// Pipeline depths of the throughput sections [default: 1,16,100; two shards: 1,16,50].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) pipelines: Vec<u32>,

    /// Client connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: u32,

    /// Bytes of a value in the throughput sections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) value_size: u32,

    /// Keys that the throughput sections spread their commands over, uniformly.
    #[arg(long, default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..100_000_000))]
    pub(crate) keys: u64,

    /// Keys that the memory section loads [default: 5 million, 1 million with --quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..100_000_000))]
    pub(crate) memory_keys: Option<u64>,

    /// Rounds; each starts both servers afresh [default: 5, 3 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: Option<u32>,

    /// Seconds of one measurement [default: 2, 0.5 with --quick].
    #[arg(long)]
    pub(crate) seconds: Option<f64>,

    /// The peer to compare with.
    #[arg(long, value_enum, default_value = "valkey")]
    pub(crate) peer: Peer,

    /// Another program to use as the peer.
    #[arg(long, value_name = "PATH")]
    pub(crate) peer_bin: Option<PathBuf>,

    /// More arguments for the peer, separated by spaces; `{shards}` as for ours.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub(crate) peer_args: String,

    /// A program to use as ours, instead of building this checkout.
    #[arg(long, value_name = "PATH")]
    pub(crate) ours: Option<PathBuf>,

    /// Arguments that only ours gets; `{shards}` stands for the number of shards.
    #[arg(long, default_value = "--shards {shards}", allow_hyphen_values = true)]
    pub(crate) ours_args: String,

    /// What sends the commands.
    #[arg(long, value_enum, default_value = "own")]
    pub(crate) load: LoadKind,

    /// Also time a clean release build.
    #[arg(long)]
    pub(crate) build: bool,

    /// Write every sample to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Append the medians as one line to benches/history.jsonl.
    #[arg(long)]
    pub(crate) record: bool,
}

impl Options {
    /// Whether `section` was asked for; without `--only` all are.
    pub(crate) fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    /// The commands to measure, or `default` when none were named.
    pub(crate) fn commands_or(&self, default: &[Verb]) -> Vec<Verb> {
        if self.commands.is_empty() { default.to_vec() } else { self.commands.clone() }
    }

    /// The pipeline depths to measure, or `default` when none were named.
    pub(crate) fn pipelines_or(&self, default: &[u32]) -> Vec<u32> {
        if self.pipelines.is_empty() { default.to_vec() } else { self.pipelines.clone() }
    }

    /// Number of rounds.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// Length of one measurement.
    pub(crate) fn measure_for(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.5 } else { 2.0 });
        Duration::from_secs_f64(seconds.clamp(0.05, 3600.0))
    }

    /// Number of keys that the memory section loads.
    pub(crate) fn memory_keys(&self) -> u64 {
        self.memory_keys.unwrap_or(if self.quick { 1_000_000 } else { 5_000_000 })
    }

    /// Number of entries of the stream that the memory section adds.
    pub(crate) fn stream_entries(&self) -> u64 {
        if self.quick { 500_000 } else { 2_000_000 }
    }

    /// How long the idle section watches a server.
    pub(crate) fn idle_for(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 10 })
    }
}

/// A part of the report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Section {
    /// One shard on one core: CPU a command, throughput, latency.
    Core,
    /// Two shards on two cores.
    Shards,
    /// Bytes of memory a key beyond key and value.
    Memory,
    /// CPU of a server whose connections are idle.
    Idle,
}

/// The servers that ours is measured against.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Peer {
    /// valkey-server.
    Valkey,
    /// redis-server.
    Redis,
}

/// The programs that can send the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LoadKind {
    /// The load generator of this package.
    Own,
    /// valkey-benchmark, to check the own load generator against a known one.
    ValkeyBenchmark,
}
