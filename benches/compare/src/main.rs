//! Compares Kvasir with a peer: the same load on the same cores, taken in turns, as ratios.
//!
//! `cargo run --release -p kvasir-compare` does everything: installs the peers if need be, builds
//! the server, measures and prints a Markdown report. `--help` lists the ways to measure less.
//!
//! What makes the figures comparable: both servers run in the same minutes on the same pinned cores
//! with persistence off, unless that is what is measured; a round measures each scenario on one
//! server and at once on the other, alternating who is first, while the one that is not measured is
//! frozen by SIGSTOP; ratios are taken within a round and their median is reported with the
//! extremes. CPU is the scheduler's count for all threads of the server process, so it does not
//! depend on how fast the load is.

mod benchmark;
mod cli;
mod dump;
mod load;
mod log;
mod machine;
mod measure;
mod numbers;
mod programs;
mod replies;
mod report;
mod server;
mod template;
mod workload;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Parser;

use crate::cli::{Options, Section};
use crate::machine::Description;
use crate::measure::Pair;
use crate::report::Results;
use crate::workload::Group;

fn main() -> Result<()> {
    let options = Options::parse();
    let pair = Pair { ours: programs::ours(&options)?, peer: programs::peer(&options)? };
    let about = Description::new();
    let results = measure_all(&pair, &options)?;
    let markdown = report::markdown(&results, &pair, &options, &about);
    io::stdout().write_all(markdown.as_bytes())?;
    if let Some(path) = &options.json {
        let json = report::samples_json(&results, &pair, &about);
        fs::write(path, format!("{json:#}\n")).with_context(|| path.display().to_string())?;
    }
    if options.record {
        let path = programs::root().join("benches/history.jsonl");
        let mut history = OpenOptions::new().create(true).append(true).open(&path)?;
        writeln!(history, "{}", report::summary_json(&results, &pair, &about))?;
    }
    Ok(())
}

/// Measures the sections that were asked for.
fn measure_all(pair: &Pair, options: &Options) -> Result<Results> {
    let mut results = Results::default();
    if options.wants(Section::Core) {
        let what = (options.workloads_of(Group::Strings), options.pipelines_or(&[1, 16, 100]));
        let core = measure::throughput(pair, options, Section::Core, what, &mut note)?;
        results.scenarios.extend(core);
    }
    if options.wants(Section::Shards) {
        let what = (options.workloads_of_shards(), options.pipelines_or(&[1, 16, 50]));
        let shards = measure::throughput(pair, options, Section::Shards, what, &mut note)?;
        results.scenarios.extend(shards);
    }
    if options.wants(Section::Collections) {
        let what = (options.workloads_of(Group::Collections), options.pipelines_or(&[16]));
        let collections =
            measure::throughput(pair, options, Section::Collections, what, &mut note)?;
        results.scenarios.extend(collections);
    }
    if options.wants(Section::Memory) {
        results.memory = measure::memory(pair, options, &mut note)?;
    }
    if options.wants(Section::Elements) {
        results.elements = measure::elements(pair, options, &mut note)?;
    }
    if options.wants(Section::Idle) {
        note("idle");
        let ours = measure::idle(&pair.ours, options)?;
        results.idle = Some((ours, measure::idle(&pair.peer, options)?));
    }
    if options.wants(Section::Snapshot) {
        results.snapshots = dump::snapshots(pair, options, &mut note)?;
    }
    if options.wants(Section::Loading) {
        results.loading = dump::loading(pair, options, &mut note)?;
    }
    if options.wants(Section::Log) {
        results.log_costs = log::costs(pair, options, &mut note)?;
        results.slow_flushes = log::slow_flushes(pair, options, &mut note)?;
    }
    if options.build {
        note("clean release build");
        results.build = Some(programs::time_clean_build()?);
    }
    Ok(results)
}

/// Tells on standard error what is being measured; standard output holds only the report.
fn note(text: &str) {
    // A closed standard error is no reason to stop measuring.
    let _ = writeln!(io::stderr(), "{text}");
}
