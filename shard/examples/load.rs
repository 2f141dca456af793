//! Loads a shard with string keys and prints what they cost: bytes of overhead a key, by resident
//! memory and by the shard's own accounting, and nanoseconds an operation.
//!
//! `cargo run --release -p kvasir-shard --example load -- KEYS VALUE_BYTES [ttl]`
//!
//! Keys have 16 bytes. With `ttl` every key gets a deadline. The allocator is the server's.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use kvasir_shard::{Key, NewValue, Shard, ShardConfig, Ttl};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KEY_BYTES: usize = 16;
const LOOKUPS: u64 = 5_000_000;
const BATCH: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let keys: u64 = args.next().map_or(Ok(5_000_000), |text| text.parse())?;
    let value_bytes: usize = args.next().map_or(Ok(32), |text| text.parse())?;
    let with_ttl = args.next().is_some_and(|text| text == "ttl");
    let out = &mut std::io::stdout().lock();

    let config =
        ShardConfig { databases: 16, hash_seeds: [11, 12, 13, 14], slot_mode: false, rng_seed: 1 };
    let mut shard = Shard::new(config);
    shard.set_now(1_000_000);
    let value = vec![b'x'; value_bytes];
    let before = resident_bytes()?;
    let start = Instant::now();
    for index in 0..keys {
        // Deadlines spread over a day.
        let ttl = if with_ttl { Ttl::At(2_000_000 + mix(index) % 86_400_000) } else { Ttl::Clear };
        let name = key_bytes(index);
        shard.set(0, &key(&shard, &name), NewValue::Bytes(&value), ttl)?;
    }
    let load_ns = per(start, keys);
    let resident = resident_bytes()?.saturating_sub(before);
    let payload = keys as usize * (KEY_BYTES + value_bytes);
    let used = shard.memory_use();
    let over = |bytes: usize| (bytes as f64 - payload as f64) / keys as f64;
    writeln!(out, "{keys} keys, {value_bytes}-byte values, ttl {with_ttl}:")?;
    writeln!(out, "  overhead a key: {:.2} bytes resident", over(resident))?;
    writeln!(out, "  accounted {:.2}: {used:?}", over(used.total()))?;
    writeln!(out, "  {:?}", shard.table_stats(0))?;
    writeln!(out, "  insert {load_ns:.0} ns")?;
    measure(&mut shard, keys, &value, out)?;
    Ok(())
}

fn measure(
    shard: &mut Shard,
    keys: u64,
    value: &[u8],
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    for step in 0..LOOKUPS {
        let name = key_bytes(mix(step) % keys);
        black_box(shard.get(0, &key(shard, &name)));
    }
    writeln!(out, "  get {:.0} ns", per(start, LOOKUPS))?;
    let start = Instant::now();
    for batch in 0..LOOKUPS / BATCH as u64 {
        let names: [_; BATCH] =
            std::array::from_fn(|at| key_bytes(mix(batch * BATCH as u64 + at as u64) % keys));
        let hashes = names.map(|name| shard.hash(&name));
        shard.prefetch_keys(hashes.iter().map(|hash| (0, *hash)));
        for (name, hash) in names.iter().zip(hashes) {
            black_box(shard.get(0, &Key { bytes: name, hash, slot: 0 }));
        }
    }
    writeln!(out, "  get, prefetched in batches of {BATCH}: {:.0} ns", per(start, LOOKUPS))?;
    let start = Instant::now();
    for step in 0..LOOKUPS {
        let name = key_bytes(keys + mix(step) % keys);
        black_box(shard.get(0, &key(shard, &name)));
    }
    writeln!(out, "  get of a missing key {:.0} ns", per(start, LOOKUPS))?;
    let start = Instant::now();
    for step in 0..LOOKUPS {
        let name = key_bytes(mix(step) % keys);
        shard.set(0, &key(shard, &name), NewValue::Bytes(value), Ttl::Keep)?;
    }
    writeln!(out, "  set in place {:.0} ns", per(start, LOOKUPS))?;
    let start = Instant::now();
    for index in 0..keys {
        shard.remove(0, &key(shard, &key_bytes(mix(index) % keys)));
    }
    writeln!(out, "  remove {:.0} ns, {} keys left", per(start, keys), shard.len(0))?;
    Ok(())
}

fn key<'a>(shard: &Shard, bytes: &'a [u8]) -> Key<'a> {
    Key { bytes, hash: shard.hash(bytes), slot: 0 }
}

/// A key that is cheap to make: 12 letters that count in base 16.
fn key_bytes(index: u64) -> [u8; KEY_BYTES] {
    let mut bytes = *b"key:aaaaaaaaaaaa";
    for (place, digit) in bytes[4..].iter_mut().rev().enumerate() {
        *digit = b'a' + (index >> (4 * place) & 15) as u8;
    }
    bytes
}

fn mix(index: u64) -> u64 {
    let mixed = (index ^ index >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

fn per(start: Instant, count: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

fn resident_bytes() -> Result<usize, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split_whitespace().nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}
