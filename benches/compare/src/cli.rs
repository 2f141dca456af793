//! The command line: what to measure, on which servers, for how long.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};

use crate::workload::{FOOTPRINTS, Footprint, Group, Span, WORKLOADS, Workload};

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

    /// Commands of the throughput sections; each section takes those that it has.
    #[arg(long, value_delimiter = ',', value_parser = workloads())]
    pub(crate) commands: Vec<&'static Workload>,

    /// Collections of the elements section [default: all].
    #[arg(long, value_delimiter = ',', value_parser = footprints())]
    pub(crate) footprints: Vec<&'static Footprint>,

    /// Pipeline depths of the throughput sections [default: 1,16,100; two shards: 1,16,50;
    /// collections: 16; log: 1,16].
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

    /// Elements that the elements section puts into a collection [default: 2 million, 500 thousand
    /// with --quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..100_000_000))]
    pub(crate) elements: Option<u64>,

    /// Keys of 1 KB that the snapshot section saves [default: 5 million, 500 thousand with
    /// --quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..100_000_000))]
    pub(crate) snapshot_keys: Option<u64>,

    /// Keys that the loading section loads [default: 10 million, 1 million with --quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..100_000_000))]
    pub(crate) loaded_keys: Option<u64>,

    /// Commands of a measurement that changes its collection's size [default: 1 million, 200
    /// thousand with --quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..100_000_000))]
    pub(crate) amount: Option<u64>,

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

    /// Those of `workloads` that were named, or all when none were.
    pub(crate) fn chosen(&self, mut workloads: Vec<&'static Workload>) -> Vec<&'static Workload> {
        let names: Vec<&str> = self.commands.iter().map(|workload| workload.name).collect();
        workloads.retain(|workload| names.is_empty() || names.contains(&workload.name));
        workloads
    }

    /// The workloads of the section of one shard that measures `group`.
    pub(crate) fn workloads_of(&self, group: Group) -> Vec<&'static Workload> {
        self.chosen(Workload::of(group))
    }

    /// The workloads of the section of two shards: any that were named.
    pub(crate) fn workloads_of_shards(&self) -> Vec<&'static Workload> {
        if self.commands.is_empty() {
            ["get", "set"].into_iter().filter_map(Workload::named).collect()
        } else {
            self.commands.clone()
        }
    }

    /// The collections whose memory to measure.
    pub(crate) fn footprints(&self) -> Vec<&'static Footprint> {
        if self.footprints.is_empty() {
            FOOTPRINTS.iter().collect()
        } else {
            self.footprints.clone()
        }
    }

    /// The numbers of `span`.
    pub(crate) fn range(&self, span: Span) -> Range<u64> {
        match span {
            Span::Keys => 0..self.keys,
            // The warm-up takes a quarter more, and each run ends with whole batches.
            Span::Commands => 0..self.amount() / 4 * 5 + 20_000,
            Span::MemoryKeys => 0..self.memory_keys(),
            Span::Elements => 0..self.elements(),
            Span::SnapshotKeys => 0..self.snapshot_keys(),
            Span::LoadedKeys => 0..self.loaded_keys(),
            Span::Between(start, end) => start..end,
        }
    }

    /// Commands of a measurement that has a number of them.
    pub(crate) fn amount(&self) -> u64 {
        self.amount.unwrap_or(if self.quick { 200_000 } else { 1_000_000 })
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

    /// Number of elements that the elements section puts into a collection.
    pub(crate) fn elements(&self) -> u64 {
        self.elements.unwrap_or(if self.quick { 500_000 } else { 2_000_000 })
    }

    /// Number of keys that the snapshot section saves.
    pub(crate) fn snapshot_keys(&self) -> u64 {
        self.snapshot_keys.unwrap_or(if self.quick { 500_000 } else { 5_000_000 })
    }

    /// Number of keys that the loading section loads.
    pub(crate) fn loaded_keys(&self) -> u64 {
        self.loaded_keys.unwrap_or(if self.quick { 1_000_000 } else { 10_000_000 })
    }

    /// Rounds of the sections about dump files, which take minutes each.
    pub(crate) fn dump_rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 2 })
    }

    /// How long the idle section watches a server.
    pub(crate) fn idle_for(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 10 })
    }
}

fn workloads() -> impl TypedValueParser<Value = &'static Workload> {
    PossibleValuesParser::new(WORKLOADS.iter().map(|workload| workload.name))
        .map(|name| Workload::named(&name).expect("invariant: clap has checked the name"))
}

fn footprints() -> impl TypedValueParser<Value = &'static Footprint> {
    PossibleValuesParser::new(FOOTPRINTS.iter().map(|footprint| footprint.name)).map(|name| {
        let mut all = FOOTPRINTS.iter();
        all.find(|footprint| footprint.name == name).expect("invariant: clap has checked the name")
    })
}

/// A part of the report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Section {
    /// One shard on one core: CPU a command, throughput, latency.
    Core,
    /// Two shards on two cores.
    Shards,
    /// Lists, hashes, sets, sorted sets and streams, and messages, one shard on one core.
    Collections,
    /// Bytes of memory a key beyond key and value.
    Memory,
    /// Bytes of memory an element of a collection.
    Elements,
    /// CPU of a server whose connections are idle.
    Idle,
    /// A snapshot in the background under a full write load.
    Snapshot,
    /// The start from a dump file, two shards.
    Loading,
    /// The append-only log: what writes cost with it, and reads while the disk is slow, one shard.
    Log,
}

impl Section {
    /// Shards of ours in a section of throughput, each on a core.
    pub(crate) fn shards(self) -> u32 {
        if self == Self::Shards { 2 } else { 1 }
    }
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
