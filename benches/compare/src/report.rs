//! The results as a Markdown report and as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{LoadKind, Options, Section};
use crate::dump::{LOADED_VALUE_BYTES, SNAPSHOT_VALUE_BYTES, Snapshot};
use crate::log::{LogCost, Policy, SlowFlush, WRITERS};
use crate::machine::{Description, Placement};
use crate::measure::{Elements, Memory, Pair, Sample, Scenario};

/// A load generator busier than this limited the throughput, not the server.
const LOAD_BOUND: f64 = 0.95;

/// Everything a run measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Throughput scenarios of all sections.
    pub(crate) scenarios: Vec<Scenario>,
    /// Memory overheads.
    pub(crate) memory: Vec<Memory>,
    /// Memory of elements of collections.
    pub(crate) elements: Vec<Elements>,
    /// Cores that ours and the peer use while idle.
    pub(crate) idle: Option<(f64, f64)>,
    /// Snapshots under a full write load, ours and the peer's, one pair a round.
    pub(crate) snapshots: Vec<(Snapshot, Snapshot)>,
    /// Seconds of a start from a dump file, ours and the peer's, one pair a round.
    pub(crate) loading: Vec<(f64, f64)>,
    /// Writes without a log and with one, each at each pipeline depth.
    pub(crate) log_costs: Vec<LogCost>,
    /// Reads while the disk is slow, ours and the peer's, one pair a round.
    pub(crate) slow_flushes: Vec<(SlowFlush, SlowFlush)>,
    /// Time of a clean release build.
    pub(crate) build: Option<Duration>,
}

/// The middle of `values`; of an even number, the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "every scenario has at least one round");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// Medians of one figure of a scenario.
#[derive(Clone, Copy, Debug)]
struct Figure {
    ours: f64,
    peer: f64,
    /// Median, least and greatest ratio of ours to the peer's over the rounds.
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
}

impl Figure {
    fn of(scenario: &Scenario, field: impl Fn(&Sample) -> Option<f64>) -> Option<Self> {
        Self::of_samples(&scenario.samples, field)
    }

    fn of_samples(
        samples: &[(Sample, Sample)],
        field: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Self> {
        let pairs: Option<Vec<(f64, f64)>> =
            samples.iter().map(|(a, b)| Some((field(a)?, field(b)?))).collect();
        let pairs = pairs?;
        let ratios: Vec<f64> = pairs.iter().map(|(ours, peer)| ours / peer).collect();
        Some(Self {
            ours: median(pairs.iter().map(|pair| pair.0).collect()),
            peer: median(pairs.iter().map(|pair| pair.1).collect()),
            ratio_min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratio_max: ratios.iter().copied().fold(0.0, f64::max),
            ratio: median(ratios),
        })
    }

    fn cell(figure: Option<Self>) -> String {
        figure.map_or("-".to_owned(), |f| format!("{:.2} ({:.0}/{:.0})", f.ratio, f.ours, f.peer))
    }
}

/// The report for people.
pub(crate) fn markdown(
    results: &Results,
    pair: &Pair,
    options: &Options,
    about: &Description,
) -> String {
    let mut out = String::new();
    let peer = pair.peer.name.as_str();
    line(&mut out, &format!("# {} beside {peer}\n", pair.ours.name));
    line(&mut out, &format!("- {}, commit {}", about.date, about.commit));
    line(&mut out, &format!("- {}, Linux {}", about.processor, about.kernel));
    line(&mut out, &format!("- {}: {}", pair.ours.name, pair.ours.version));
    line(&mut out, &format!("- {peer}: {}", pair.peer.version));
    line(
        &mut out,
        &format!(
            "- {} connections, {}-byte values, {} keys, {} rounds of {:?}, load by {}; persistence off \
             but where it is measured\n",
            options.connections,
            options.value_size,
            options.keys,
            options.rounds(),
            options.measure_for(),
            match options.load {
                LoadKind::Own => "kvasir-compare",
                LoadKind::ValkeyBenchmark => "valkey-benchmark",
            },
        ),
    );
    for section in [Section::Core, Section::Shards, Section::Collections] {
        throughput_table(&mut out, results, peer, section);
    }
    memory_table(&mut out, results, peer, options);
    elements_table(&mut out, results, peer, options);
    if let Some((ours, theirs)) = results.idle {
        line(&mut out, "## Idle with 100 connections, share of a core\n");
        line(&mut out, &format!("| Kvasir | {peer} |\n|---|---|"));
        line(&mut out, &format!("| {:.2} % | {:.2} % |\n", ours * 100.0, theirs * 100.0));
    }
    snapshot_table(&mut out, results, peer, options);
    loading_table(&mut out, results, peer, options);
    log_table(&mut out, results, peer);
    slow_flush_table(&mut out, results, peer);
    if let Some(time) = results.build {
        line(&mut out, &format!("Clean release build: {:.0} s\n", time.as_secs_f64()));
    }
    out
}

fn throughput_table(out: &mut String, results: &Results, peer: &str, section: Section) {
    let mut scenarios = results.scenarios.iter().filter(|s| s.section == section).peekable();
    if scenarios.peek().is_none() {
        return;
    }
    let shards = section.shards();
    let what = if section == Section::Collections { "Collections, " } else { "" };
    let placement = Placement::for_server_cores(shards as usize)
        .map_or_else(|error| error.to_string(), |placement| placement.description);
    line(
        out,
        &format!("## {what}{shards} shard{}: {placement}\n", if shards == 1 { "" } else { "s" }),
    );
    line(
        out,
        &format!(
            "Ratios are Kvasir/{peer}, medians of the rounds (least-greatest). CPU is the whole server \
             process's, latency is of a batch.\n"
        ),
    );
    line(
        out,
        &format!(
            "| command | pipeline | CPU ratio | CPU us a command, Kvasir | {peer} | throughput (k/s) | \
             p50 (us) | p99 (us) | p99.9 (us) |\n|---|---|---|---|---|---|---|---|---|"
        ),
    );
    let mut any_bound = false;
    for scenario in scenarios {
        let cpu = Figure::of(scenario, |s| Some(s.cpu_us)).expect("invariant: always measured");
        let bound = Figure::of(scenario, |s| s.load_busy).is_some_and(|f| f.ours > LOAD_BOUND);
        any_bound |= bound;
        line(
            out,
            &format!(
                "| {} | {} | **{:.2}** ({:.2}-{:.2}) | {:.2} | {:.2} | {}{} | {} | {} | {} |",
                scenario.workload.title,
                scenario.pipeline,
                cpu.ratio,
                cpu.ratio_min,
                cpu.ratio_max,
                cpu.ours,
                cpu.peer,
                Figure::cell(Figure::of(scenario, |s| Some(s.per_second / 1e3))),
                if bound { " *" } else { "" },
                Figure::cell(Figure::of(scenario, |s| Some(s.p50_us))),
                Figure::cell(Figure::of(scenario, |s| Some(s.p99_us))),
                Figure::cell(Figure::of(scenario, |s| s.p999_us)),
            ),
        );
    }
    out.push('\n');
    if any_bound {
        line(out, "\\* the load generator's core was full: this is its limit, not the server's.\n");
    }
}

fn memory_table(out: &mut String, results: &Results, peer: &str, options: &Options) {
    if results.memory.is_empty() {
        return;
    }
    let keys = options.memory_keys();
    line(out, &format!("## Memory a key beyond key and value (RSS; {keys} keys of 16 bytes)\n"));
    line(out, &format!("| value | Kvasir | {peer} | ratio |\n|---|---|---|---|"));
    for memory in &results.memory {
        let ttl = if memory.ttl { ", TTL on every key" } else { "" };
        line(
            out,
            &format!(
                "| {} bytes{ttl} | {:.1} B | {:.1} B | **{:.2}** |",
                memory.value_size,
                memory.ours,
                memory.peer,
                memory.ours / memory.peer
            ),
        );
    }
    out.push('\n');
}

fn elements_table(out: &mut String, results: &Results, peer: &str, options: &Options) {
    if results.elements.is_empty() {
        return;
    }
    let count = options.elements();
    line(out, &format!("## Memory an element (RSS; {count} elements)\n"));
    line(out, &format!("| collection | Kvasir | {peer} | ratio |\n|---|---|---|---|"));
    for Elements { footprint, ours, peer } in &results.elements {
        let (theirs, ratio) = peer.map_or(("-".to_owned(), "-".to_owned()), |peer| {
            (format!("{peer:.1} B"), format!("**{:.2}**", ours / peer))
        });
        line(out, &format!("| {} | {ours:.1} B | {theirs} | {ratio} |", footprint.title));
    }
    out.push('\n');
}

/// Medians of a figure of both sides, and of its ratio within a round.
fn medians<T>(pairs: &[(T, T)], figure: impl Fn(&T) -> f64) -> (f64, f64, f64) {
    let of = |pick: &dyn Fn(&(T, T)) -> f64| median(pairs.iter().map(pick).collect());
    (
        of(&|pair| figure(&pair.0)),
        of(&|pair| figure(&pair.1)),
        of(&|pair| figure(&pair.0) / figure(&pair.1)),
    )
}

fn snapshot_table(out: &mut String, results: &Results, peer: &str, options: &Options) {
    let pairs = &results.snapshots;
    if pairs.is_empty() {
        return;
    }
    let keys = options.snapshot_keys();
    let what = format!("{keys} keys of {SNAPSHOT_VALUE_BYTES} bytes");
    line(out, &format!("## BGSAVE under a full write load ({what}, {} rounds)\n", pairs.len()));
    line(out, &format!("| | Kvasir | {peer} | ratio |\n|---|---|---|---|"));
    let mut row = |name: &str, unit: &str, figure: fn(&Snapshot) -> f64| {
        let (ours, theirs, ratio) = medians(pairs, figure);
        line(out, &format!("| {name} | {ours:.2}{unit} | {theirs:.2}{unit} | **{ratio:.2}** |"));
    };
    row("growth of memory", " %", |s| s.growth * 100.0);
    row("throughput left, of that before", "", Snapshot::left);
    row("longest read during it", " ms", |s| s.stall_during_ms);
    row("longest read before it", " ms", |s| s.stall_before_ms);
    row("writes a second before it", "", |s| s.writes_before);
    row("duration", " s", |s| s.seconds);
    out.push('\n');
}

fn loading_table(out: &mut String, results: &Results, peer: &str, options: &Options) {
    if results.loading.is_empty() {
        return;
    }
    let (ours, theirs, ratio) = medians(&results.loading, |seconds| *seconds);
    let what = format!("{} keys of {LOADED_VALUE_BYTES} bytes", options.loaded_keys());
    line(out, &format!("## Start from a dump file ({what}, two shards)\n"));
    line(out, &format!("| Kvasir | {peer} | ratio |\n|---|---|---|"));
    line(out, &format!("| {ours:.2} s | {theirs:.2} s | **{ratio:.2}** |\n"));
}

/// Throughput with a log over that without one in the same round, medians: ours and the peer's.
fn rate_left(results: &Results, cost: &LogCost) -> Option<(f64, f64)> {
    let is_without =
        |other: &&LogCost| other.policy == Policy::Off && other.pipeline == cost.pipeline;
    let without = results.log_costs.iter().find(is_without)?;
    let rounds = || cost.samples.iter().zip(&without.samples);
    let ours = rounds().map(|(with, without)| with.0.per_second / without.0.per_second);
    let peer = rounds().map(|(with, without)| with.1.per_second / without.1.per_second);
    Some((median(ours.collect()), median(peer.collect())))
}

fn log_table(out: &mut String, results: &Results, peer: &str) {
    if results.log_costs.is_empty() {
        return;
    }
    line(out, &format!("## Append-only log: SET, {WRITERS} connections, 1 shard\n"));
    line(
        out,
        &format!(
            "\"Of none\" is throughput over that without a log, in the same round.\n\n\
             | log | pipeline | CPU ratio | CPU us a command, Kvasir | {peer} | throughput (k/s) | \
             of none, Kvasir | {peer} | p99 (us) |\n|---|---|---|---|---|---|---|---|---|"
        ),
    );
    for cost in &results.log_costs {
        let figure = |field: fn(&Sample) -> f64| {
            let figure = Figure::of_samples(&cost.samples, |sample| Some(field(sample)));
            figure.expect("invariant: always measured")
        };
        let cpu = figure(|s| s.cpu_us);
        let (ours, theirs) = rate_left(results, cost).expect("invariant: it is measured too");
        line(
            out,
            &format!(
                "| {} | {} | **{:.2}** ({:.2}-{:.2}) | {:.2} | {:.2} | {} | **{ours:.2}** | {theirs:.2} | {} |",
                cost.policy.name(),
                cost.pipeline,
                cpu.ratio,
                cpu.ratio_min,
                cpu.ratio_max,
                cpu.ours,
                cpu.peer,
                Figure::cell(Some(figure(|s| s.per_second / 1e3))),
                Figure::cell(Some(figure(|s| s.p99_us))),
            ),
        );
    }
    out.push('\n');
}

fn slow_flush_table(out: &mut String, results: &Results, peer: &str) {
    let pairs = &results.slow_flushes;
    if pairs.is_empty() {
        return;
    }
    line(out, "## p99 of GET beside SET, each flush taking 50 ms longer, `always`\n");
    line(out, &format!("| | Kvasir | {peer} |\n|---|---|---|"));
    let mut row = |name: &str, figure: fn(&SlowFlush) -> f64| {
        let (ours, theirs, _) = medians(pairs, figure);
        line(out, &format!("| {name} | {ours:.2} ms | {theirs:.2} ms |"));
    };
    row("without a log", |s| s.without_us / 1e3);
    row("with slow flushes", |s| s.with_us / 1e3);
    row("**difference**", |s| (s.with_us - s.without_us) / 1e3);
    out.push('\n');
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("invariant: a string takes all that is written");
}

/// Every sample, for programs.
pub(crate) fn samples_json(results: &Results, pair: &Pair, about: &Description) -> Value {
    let scenarios: Vec<Value> = results
        .scenarios
        .iter()
        .map(|scenario| {
            let side = |pick: fn(&(Sample, Sample)) -> Sample| -> Vec<Value> {
                scenario.samples.iter().map(|samples| sample_json(&pick(samples))).collect()
            };
            json!({
                "command": scenario.workload.name, "pipeline": scenario.pipeline,
                "shards": scenario.section.shards(), "ours": side(|s| s.0), "peer": side(|s| s.1),
            })
        })
        .collect();
    let mut value = header_json(results, pair, about);
    value["scenarios"] = scenarios.into();
    let logged = results.log_costs.iter().map(|cost| {
        let side = |pick: fn(&(Sample, Sample)) -> Sample| -> Vec<Value> {
            cost.samples.iter().map(|samples| sample_json(&pick(samples))).collect()
        };
        json!({
            "policy": cost.policy.name(), "pipeline": cost.pipeline,
            "ours": side(|s| s.0), "peer": side(|s| s.1),
        })
    });
    value["log_samples"] = logged.collect();
    value
}

/// The medians only: one line of the history.
pub(crate) fn summary_json(results: &Results, pair: &Pair, about: &Description) -> Value {
    let scenarios: Vec<Value> = results
        .scenarios
        .iter()
        .map(|scenario| {
            let cpu = Figure::of(scenario, |s| Some(s.cpu_us)).expect("invariant: always measured");
            let rate = Figure::of(scenario, |s| Some(s.per_second)).map(|f| f.ours.round());
            let p99 = Figure::of(scenario, |s| Some(s.p99_us)).map(|f| f.ours.round());
            json!({
                "command": scenario.workload.name, "pipeline": scenario.pipeline,
                "shards": scenario.section.shards(), "cpu_us": rounded(cpu.ours),
                "peer_cpu_us": rounded(cpu.peer), "cpu_ratio": rounded(cpu.ratio),
                "per_second": rate, "p99_us": p99,
            })
        })
        .collect();
    let mut value = header_json(results, pair, about);
    value["scenarios"] = scenarios.into();
    value
}

fn header_json(results: &Results, pair: &Pair, about: &Description) -> Value {
    let memory: Vec<Value> = results
        .memory
        .iter()
        .map(|m| {
            json!({
                "value_size": m.value_size, "ttl": m.ttl,
                "overhead_bytes": rounded(m.ours), "peer_overhead_bytes": rounded(m.peer),
            })
        })
        .collect();
    let elements: Vec<Value> = results
        .elements
        .iter()
        .map(|e| {
            json!({
                "collection": e.footprint.name, "bytes": rounded(e.ours),
                "peer_bytes": e.peer.map(rounded),
            })
        })
        .collect();
    let snapshots: Vec<Value> = results
        .snapshots
        .iter()
        .map(|(ours, peer)| json!({ "ours": snapshot_json(ours), "peer": snapshot_json(peer) }))
        .collect();
    json!({
        "date": about.date, "commit": about.commit, "processor": about.processor,
        "kernel": about.kernel, "ours": pair.ours.version, "peer": pair.peer.version,
        "memory": memory,
        "elements": elements,
        "snapshots": snapshots,
        "loading_seconds": results.loading.iter().map(|(a, b)| [rounded(*a), rounded(*b)]).collect::<Vec<_>>(),
        "log": log_json(results),
        "slow_flush_p99_us": results.slow_flushes.iter()
            .map(|(a, b)| [a, b].map(|s| [rounded(s.without_us), rounded(s.with_us)]))
            .collect::<Vec<_>>(),
        "idle_cores": results.idle.map(|(ours, peer)| [rounded(ours), rounded(peer)]),
        "build_seconds": results.build.map(|time| time.as_secs()),
    })
}

fn log_json(results: &Results) -> Vec<Value> {
    let one = |cost: &LogCost| {
        let figure = |field: fn(&Sample) -> f64| {
            let figure = Figure::of_samples(&cost.samples, |sample| Some(field(sample)));
            figure.expect("invariant: always measured")
        };
        let cpu = figure(|s| s.cpu_us);
        let left = rate_left(results, cost);
        json!({
            "policy": cost.policy.name(), "pipeline": cost.pipeline,
            "cpu_us": rounded(cpu.ours), "peer_cpu_us": rounded(cpu.peer),
            "cpu_ratio": rounded(cpu.ratio), "per_second": figure(|s| s.per_second).ours.round(),
            "rate_left": left.map(|(ours, peer)| [rounded(ours), rounded(peer)]),
        })
    };
    results.log_costs.iter().map(one).collect()
}

fn snapshot_json(snapshot: &Snapshot) -> Value {
    json!({
        "seconds": rounded(snapshot.seconds), "growth": rounded(snapshot.growth),
        "throughput_left": rounded(snapshot.left()),
        "stall_ms": rounded(snapshot.stall_during_ms),
        "stall_before_ms": rounded(snapshot.stall_before_ms),
    })
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "cpu_us": sample.cpu_us, "per_second": sample.per_second, "p50_us": sample.p50_us,
        "p99_us": sample.p99_us, "p999_us": sample.p999_us,
        "server_busy": sample.server_busy, "load_busy": sample.load_busy,
    })
}

/// Four decimals are more than the measurement's precision.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    fn sample(cpu_us: f64) -> Sample {
        Sample {
            cpu_us,
            per_second: 1e6 / cpu_us,
            p50_us: 10.0,
            p99_us: 20.0,
            p999_us: None,
            server_busy: 1.0,
            load_busy: Some(0.5),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds() {
        let samples = [(1.0, 2.0), (9.0, 10.0), (4.0, 5.0)];
        let samples = samples.map(|(ours, peer)| (sample(ours), sample(peer))).to_vec();
        let workload = Workload::named("get").unwrap();
        let scenario = Scenario { section: Section::Core, workload, pipeline: 16, samples };
        let cpu = Figure::of(&scenario, |s| Some(s.cpu_us)).unwrap();
        let seen = [cpu.ours, cpu.peer, cpu.ratio, cpu.ratio_min, cpu.ratio_max];
        for (seen, expected) in seen.into_iter().zip([4.0, 5.0, 0.8, 0.5, 0.9]) {
            assert!((seen - expected).abs() < 1e-9, "{seen} is not {expected}");
        }
        assert!(Figure::of(&scenario, |s| s.p999_us).is_none());
    }

    #[test]
    fn the_median_of_an_even_number_is_between() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }
}
