//! Loads a list with 20-byte elements and prints what they cost: resident bytes an element, and
//! nanoseconds an operation.
//!
//! `cargo run --release -p kvasir-shard --example list -- ELEMENTS`

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use kvasir_shard::{End, List, ListLimits};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RANGES: usize = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let elements: usize = std::env::args().nth(1).map_or(Ok(2_000_000), |text| text.parse())?;
    let out = &mut std::io::stdout().lock();
    let limits = ListLimits::default();
    for end in [End::Back, End::Front] {
        let mut list = List::new();
        let before = resident_bytes()?;
        let push_ns = per(elements, |index| list.push(end, &element(index), limits));
        let resident = resident_bytes()?.saturating_sub(before) as f64 / elements as f64;
        let accounted = list.memory() as f64 / elements as f64;
        writeln!(
            out,
            "{end:?}: {resident:.2} bytes an element resident, {accounted:.2} accounted"
        )?;
        writeln!(out, "  push {push_ns:.1} ns")?;
        for count in [100, 600] {
            let ns = per(RANGES, |index| {
                list.range(index * 17 % elements, count, |element| {
                    black_box(element);
                });
            });
            writeln!(out, "  range of {count}: {ns:.0} ns")?;
        }
        let ns = per(RANGES, |index| list.get(index * 19 % elements, <[u8]>::len));
        writeln!(out, "  get {ns:.0} ns")?;
        for end in [End::Front, End::Back] {
            let ns = per(elements / 3, |_| list.pop(end, limits, <[u8]>::len));
            writeln!(out, "  pop {end:?} {ns:.1} ns")?;
        }
    }
    Ok(())
}

fn element(index: usize) -> [u8; 20] {
    let mut element = *b"element:aaaaaaaaaaaa";
    for (place, digit) in element[8..].iter_mut().rev().enumerate() {
        *digit = b'a' + (index >> (4 * place) & 15) as u8;
    }
    element
}

fn per<R>(count: usize, mut step: impl FnMut(usize) -> R) -> f64 {
    let start = Instant::now();
    for index in 0..count {
        black_box(step(index));
    }
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

fn resident_bytes() -> Result<usize, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split_whitespace().nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}
