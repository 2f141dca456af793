//! The workloads of the micro benchmarks, shared by what times them (`benches/`, criterion) and
//! what counts their instructions (`src/bin/rounds.rs` under callgrind).
//!
//! A workload is a closure over prepared state; one call does a fixed number of commands, so that
//! both figures are a command's. Each checks what it computed, which also keeps the optimizer from
//! removing the work.

pub mod parser;
pub mod reply;
pub mod table;

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
    [parser::WORKLOADS, reply::WORKLOADS, table::WORKLOADS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_workload_runs_and_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        for workload in workloads() {
            assert!(names.insert(workload.name), "two workloads are named {}", workload.name);
            let mut call = (workload.prepare)();
            call();
            call();
        }
        assert!(!names.is_empty());
    }
}
