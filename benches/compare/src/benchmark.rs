//! valkey-benchmark as the source of load, to check the own load generator against a known one.
//!
//! Its figures include its own start, and it knows no percentile beyond the 99th.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cli::Options;
use crate::measure::Sample;
use crate::programs;
use crate::server::Server;
use crate::workload::Workload;

/// Requests of the run that finds out how many fill the time of a measurement.
const CALIBRATION_REQUESTS: u64 = 50_000;

/// Measures `server` under one of valkey-benchmark's standard tests.
pub(crate) fn run(
    server: &Server,
    options: &Options,
    workload: &Workload,
    pipeline: u32,
) -> Result<Sample> {
    let test = workload
        .benchmark
        .with_context(|| format!("valkey-benchmark has no test like {}", workload.name))?;
    let program = programs::installed("valkey-benchmark")?;
    let calibration = call(&program, server, options, test, pipeline, CALIBRATION_REQUESTS)?;
    let requests = (calibration.per_second * options.measure_for().as_secs_f64()) as u64;
    let requests = requests.max(CALIBRATION_REQUESTS);
    let cpu_before = server.cpu_time()?;
    let row = call(&program, server, options, test, pipeline, requests)?;
    let cpu = server.cpu_time()?.saturating_sub(cpu_before).as_secs_f64();
    Ok(Sample {
        cpu_us: cpu * 1e6 / requests as f64,
        per_second: row.per_second,
        p50_us: row.p50_ms * 1e3,
        p99_us: row.p99_ms * 1e3,
        p999_us: None,
        server_busy: cpu * row.per_second / requests as f64,
        load_busy: None,
    })
}

/// A line of `--csv` output.
#[derive(Debug, PartialEq)]
struct Row {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn call(
    program: &Path,
    server: &Server,
    options: &Options,
    test: &str,
    pipeline: u32,
    requests: u64,
) -> Result<Row> {
    let number = |n: u64| n.to_string();
    let output = Command::new(program)
        .args(["-p", &number(u64::from(server.address.port())), "--csv"])
        .args(["-c", &number(u64::from(options.connections)), "-n", &number(requests)])
        .args(["-P", &number(u64::from(pipeline)), "-r", &number(options.keys)])
        .args(["-d", &number(u64::from(options.value_size)), "-t", test])
        .output()
        .context("running valkey-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "valkey-benchmark failed: {text}");
    parse(&text).with_context(|| format!("valkey-benchmark printed: {text}"))
}

/// Takes the columns by the names in the header, since versions differ in what they print.
fn parse(csv: &str) -> Option<Row> {
    let mut lines = csv.lines().filter(|line| line.starts_with('"'));
    let fields = |line: &str| -> Vec<String> {
        line.split(',').map(|field| field.trim_matches('"').to_owned()).collect()
    };
    // The name of the MSET test has a comma-free text in every version, so a plain split is enough.
    let (header, row) = (fields(lines.next()?), fields(lines.next()?));
    let column = |name: &str| -> Option<f64> {
        row.get(header.iter().position(|field| field == name)?)?.parse().ok()
    };
    Some(Row {
        per_second: column("rps")?,
        p50_ms: column("p50_latency_ms")?,
        p99_ms: column("p99_latency_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_row_by_its_header() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"p50_latency_ms\",\"p99_latency_ms\"\n\
                   \"SET\",\"1000.50\",\"0.300\",\"0.200\",\"0.900\"\n";
        let row = Row { per_second: 1000.5, p50_ms: 0.2, p99_ms: 0.9 };
        assert_eq!(parse(csv), Some(row));
        assert_eq!(parse("Could not connect"), None);
    }
}
