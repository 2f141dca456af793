//! Valkey 8.1's own Tcl suite, unmodified, against our server at one shard and at two.
//!
//! Every unit is a test here. It passes when each of the unit's tests passes that
//! `tests/suite/exceptions.txt` does not name, and when every name there is one that the unit has.
//!
//! - One unit: `cargo test --test tcl_suite -- shards_2::bitops --nocapture`
//! - What could leave the list: `KVASIR_SUITE_ALL=1` runs the listed tests too and names those that
//!   pass, for all shard counts that it is run at.
//! - Another server: `KVASIR_SERVER=/path/to/valkey-server`.

mod exceptions;
mod report;
mod tree;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use exceptions::{Exception, Subject};
use kvasir_testing::{Program, ReservedRange, poll_every};
use report::Report;
use tree::Tree;

/// How long a unit may take in all; the slowest takes 20 s on an idle machine.
const UNIT_PATIENCE: Duration = Duration::from_secs(600);
/// How long the suite's own harness waits for a test that makes no progress.
const STALL_SECONDS: &str = "120";

macro_rules! units {
    ($($name:ident: $unit:literal,)*) => {
        /// The units that run, by the suite's names.
        const UNITS: &[&str] = &[$($unit),*];
        mod shards_1 { $(#[test] fn $name() { super::run_unit($unit, 1); })* }
        mod shards_2 { $(#[test] fn $name() { super::run_unit($unit, 2); })* }
    };
}

/// Units that test without naming tests: an error ends them.
const UNNAMED: &[&str] = &["integration/aof-race"];

units! {
    aof: "integration/aof",
    aof_multi_part: "integration/aof-multi-part",
    aof_race: "integration/aof-race",
    aofrw: "unit/aofrw",
    bitfield: "unit/bitfield",
    bitops: "unit/bitops",
    commandlog: "unit/commandlog",
    convert_ziplist_hash: "integration/convert-ziplist-hash-on-load",
    convert_ziplist_zset: "integration/convert-ziplist-zset-on-load",
    convert_zipmap_hash: "integration/convert-zipmap-hash-on-load",
    corrupt_dump: "integration/corrupt-dump",
    corrupt_dump_fuzzer: "integration/corrupt-dump-fuzzer",
    dump: "unit/dump",
    expire: "unit/expire",
    functions: "unit/functions",
    geo: "unit/geo",
    hash: "unit/type/hash",
    hyperloglog: "unit/hyperloglog",
    incr: "unit/type/incr",
    info: "unit/info",
    info_command: "unit/info-command",
    introspection: "unit/introspection",
    introspection_2: "unit/introspection-2",
    keyspace: "unit/keyspace",
    latency_monitor: "unit/latency-monitor",
    list: "unit/type/list",
    list_2: "unit/type/list-2",
    list_3: "unit/type/list-3",
    logging: "integration/logging",
    multi: "unit/multi",
    networking: "unit/networking",
    other: "unit/other",
    pause: "unit/pause",
    protocol: "unit/protocol",
    pubsub: "unit/pubsub",
    pubsubshard: "unit/pubsubshard",
    querybuf: "unit/querybuf",
    quit: "unit/quit",
    rdb: "integration/rdb",
    scan: "unit/scan",
    scripting: "unit/scripting",
    set: "unit/type/set",
    shutdown: "integration/shutdown",
    skip_rdb_checksum: "integration/skip-rdb-checksum",
    slowlog: "unit/slowlog",
    sort: "unit/sort",
    stream: "unit/type/stream",
    stream_cgroups: "unit/type/stream-cgroups",
    string: "unit/type/string",
    tracking: "unit/tracking",
    zset: "unit/type/zset",
}

#[test]
fn every_exception_names_a_unit_that_runs_and_is_listed_once() {
    let all = exceptions::load();
    for exception in &all {
        let unit = exception.unit.as_str();
        assert!(UNITS.contains(&unit), "line {}: {unit} does not run", exception.line);
    }
    for (index, one) in all.iter().enumerate() {
        let again = all[..index].iter().find(|other| {
            let overlap = other.shards.iter().any(|count| one.shards.contains(count));
            other.unit == one.unit && other.subject == one.subject && overlap
        });
        assert!(again.is_none(), "line {} repeats line {}", one.line, again.map_or(0, |e| e.line));
    }
}

/// Runs one unit and panics with everything that is not as it should be.
fn run_unit(unit: &str, shards: usize) {
    let listed: Vec<Exception> = exceptions::load()
        .into_iter()
        .filter(|exception| exception.unit == unit && exception.shards.contains(&shards))
        .collect();
    let run_listed = std::env::var_os("KVASIR_SUITE_ALL").is_some();
    let tree = Tree::build(&Program::Kvasir.path());
    let output = execute(&tree, unit, shards, if run_listed { &[] } else { &listed });
    let report = Report::parse(&output);
    let has_names = !UNNAMED.contains(&unit);

    eprintln!("tcl {unit} at {shards} shards: {}", report.summary());
    if run_listed {
        report.print_listed_that_pass(&listed);
    }
    let mut faults = report.unexpected(&listed, has_names);
    if !run_listed {
        faults.extend(report.stale(&listed));
    }
    if !faults.is_empty() {
        let log = tree::keep_output(&format!("{}-{shards}", unit.replace('/', "-")), &output);
        panic!(
            "{unit} at {shards} shards:\n{}\nwhole output: {}",
            faults.join("\n"),
            log.display()
        );
    }
}

/// Lets the suite's own runner run one unit and returns what it printed.
fn execute(tree: &Tree, unit: &str, shards: usize, skipped: &[Exception]) -> String {
    let ports = ReservedRange::reserve();
    let skip_file = tree.root().join("skip");
    std::fs::write(&skip_file, exceptions::skip_file(skipped)).expect("write the skip file");
    let output = tree.root().join("output");
    let log = File::create(&output).expect("create the output file");
    let errors = log.try_clone().expect("share the output file");

    // The suite takes 32 ports below the base port for its own use.
    let (base, count) = (ports.first() + 32, ports.count() - 32);
    let mut command = Command::new("./runtest");
    command.args(["--single", unit, "--clients", "1", "--durable", "--timeout", STALL_SECONDS]);
    command.args(["--baseport", &base.to_string(), "--portcount", &count.to_string()]);
    command.arg("--skipfile").arg(&skip_file);
    for tag in skipped.iter().filter_map(Exception::tag) {
        command.args(["--tags", &format!("-{tag}")]);
    }
    if Program::Kvasir.has_shards() {
        command.args(["--config", "shards", &shards.to_string()]);
    }
    command.current_dir(tree.root()).env_remove("TERM").env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    await_exit(&mut command, &output)
}

/// Waits for the suite's runner; ends it and all it started when it takes far too long.
fn await_exit(command: &mut Command, output: &Path) -> String {
    use std::os::unix::process::CommandExt;

    let mut runner = command.process_group(0).spawn().expect("start the suite's runner");
    let pause = Duration::from_millis(50);
    let ended = poll_every(pause, UNIT_PATIENCE, || runner.try_wait().expect("await the runner"));
    if ended.is_none() {
        let group = format!("-{}", runner.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
        let _ = runner.wait();
    }
    let bytes = std::fs::read(output).expect("read what the suite's runner printed");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(ended.is_some(), "the unit took over {UNIT_PATIENCE:?}:\n{text}");
    text
}

impl Exception {
    /// The tag whose blocks are left out, if that is what this exception is about.
    fn tag(&self) -> Option<&str> {
        match &self.subject {
            Subject::Tag(tag) => Some(tag),
            Subject::Test(_) => None,
        }
    }
}
