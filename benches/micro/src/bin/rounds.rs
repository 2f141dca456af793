//! Runs one workload a given number of times, or lists them all: what `benches/instructions`
//! counts.
//!
//! `rounds` prints a line `NAME COMMANDS` for each workload; `rounds NAME N` calls NAME's closure N
//! times. The difference between two counts of instructions at different N has neither the start of
//! the process nor the preparation in it.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use kvasir_micro::workloads;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match &arguments[..] {
        [] => list().is_ok(),
        [name, rounds] => rounds.parse().is_ok_and(|rounds| run(name, rounds)),
        _ => false,
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for workload in workloads() {
        writeln!(out, "{} {}", workload.name, workload.commands)?;
    }
    Ok(())
}

/// Says whether there is such a workload.
fn run(name: &str, rounds: u64) -> bool {
    let Some(workload) = workloads().find(|workload| workload.name == name) else { return false };
    let mut call = (workload.prepare)();
    for _ in 0..rounds {
        call();
    }
    true
}
