//! Times the workloads of `kvasir_micro::table`.

use criterion::{Criterion, Throughput};
use kvasir_micro::table::WORKLOADS;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for workload in WORKLOADS {
        let mut group = criterion.benchmark_group(workload.name);
        group.throughput(Throughput::Elements(workload.commands));
        let mut call = (workload.prepare)();
        group.bench_function("time", |bencher| bencher.iter(&mut call));
        group.finish();
    }
    criterion.final_summary();
}
