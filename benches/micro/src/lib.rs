//! The workloads of the micro benchmarks, shared by what times them (`benches/`, criterion) and
//! what counts their instructions (`src/bin/rounds.rs` under callgrind).
//!
//! A workload is a closure over prepared state; one call does a fixed number of commands, so that
//! both figures are a command's. Each checks what it computed, which also keeps the optimizer from
//! removing the work.

pub mod parser;
pub mod reply;

/// Something to measure.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Group and name, such as `parser/get-64`.
    pub name: &'static str,
    /// Commands that one call of the prepared closure does.
    pub commands: u64,
    /// Sets up the state, unmeasured, and returns what is measured.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All workloads, group by group.
pub fn workloads() -> impl Iterator<Item = &'static Workload> {
    [parser::WORKLOADS, reply::WORKLOADS].into_iter().flatten()
}
