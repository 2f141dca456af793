//! What a snapshot costs while clients write all over the keyspace: the growth of the server's
//! memory over the data set, the longest stall that a client sees, and the throughput left.
//!
//! `cargo run --release --example snapshot_cost -- [KEYS [VALUE_BYTES [SHARDS]]]` starts the server
//! of the same build; `KVASIR_SERVER` names another one, such as valkey-server. One client
//! overwrites keys at random, 16 at a time; another one reads a key at a time and notes how long
//! each takes.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvasir_testing::{Client, Program, Rng, Server, poll_every};

/// Requests that are sent together.
const PIPELINE: usize = 16;
/// How long it is measured without a snapshot.
const BEFORE: Duration = Duration::from_secs(3);

fn request(key: usize, value: &[u8]) -> Vec<Vec<u8>> {
    vec![b"SET".to_vec(), format!("key:{key}").into_bytes(), value.to_vec()]
}

/// Values that do not compress.
fn value(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rng.bits() as u8).collect()
}

/// What clients see of a server.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    writes: AtomicU64,
    /// The longest time that a read has taken, since it was last asked for.
    stall_us: AtomicU64,
}

fn write_all_over(mut client: Client, seen: &Seen, keys: usize, bytes: usize) {
    let mut rng = Rng::new(2);
    let value = value(&mut rng, bytes);
    while !seen.stop.load(Ordering::Relaxed) {
        let requests: Vec<_> = (0..PIPELINE).map(|_| request(rng.below(keys), &value)).collect();
        client.pipeline(&requests);
        seen.writes.fetch_add(PIPELINE as u64, Ordering::Relaxed);
    }
}

fn read_all_over(mut client: Client, seen: &Seen, keys: usize) {
    let mut rng = Rng::new(3);
    while !seen.stop.load(Ordering::Relaxed) {
        let key = format!("key:{}", rng.below(keys));
        let began = Instant::now();
        client.call(&["GET", &key]);
        seen.stall_us.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
}

/// Resident bytes of the server and of its children, which share what they have not changed. Where
/// there are children, asking for that stalls them for some milliseconds.
fn resident(pid: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    if children.is_empty() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        return kib.unwrap_or(0) * 1024;
    }
    let pids = children.split_whitespace().map(str::to_owned).chain([pid.to_string()]);
    let private = |pid: String| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    pids.map(private).sum()
}

fn is_saving(client: &mut Client) -> bool {
    let info = client.run("INFO persistence");
    let info = String::from_utf8_lossy(info.as_bytes().expect("INFO replies with text"));
    info.contains("rdb_bgsave_in_progress:1")
}

fn measure(server: &Server, seen: &Seen) -> String {
    let mut client = server.client();
    let mebibytes = |bytes: u64| bytes >> 20;
    poll_every(BEFORE, BEFORE, || None::<()>);
    let rate = |writes: u64, time: Duration| writes as f64 / time.as_secs_f64();
    let rate_before = rate(seen.writes.swap(0, Ordering::Relaxed), BEFORE);
    let stall_before = seen.stall_us.swap(0, Ordering::Relaxed);
    let before = resident(server.pid());
    let began = Instant::now();
    client.run("BGSAVE");
    let mut most = 0;
    let ended = poll_every(Duration::from_millis(50), Duration::from_secs(600), || {
        most = most.max(resident(server.pid()));
        (!is_saving(&mut client)).then_some(())
    });
    assert!(ended.is_some(), "the snapshot ends");
    let took = began.elapsed();
    let rate_during = rate(seen.writes.load(Ordering::Relaxed), took);
    let stall_during = seen.stall_us.load(Ordering::Relaxed);
    format!(
        "took {:.1} s; memory {} MiB, at most {} MiB (+{:.1} %); longest read {:.1} ms, before \
         {:.1} ms; writes/s {:.0}, before {:.0} ({:.2})",
        took.as_secs_f64(),
        mebibytes(before),
        mebibytes(most),
        100.0 * (most as f64 / before as f64 - 1.0),
        stall_during as f64 / 1000.0,
        stall_before as f64 / 1000.0,
        rate_during,
        rate_before,
        rate_during / rate_before
    )
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let keys: usize = arguments.next().unwrap_or(1_000_000);
    let bytes: usize = arguments.next().unwrap_or(1024);
    let shards: usize = arguments.next().unwrap_or(1);
    let server = Server::builder(Program::Kvasir).shards(shards).start();
    let mut client = server.client();
    let value = value(&mut Rng::new(1), bytes);
    for first in (0..keys).step_by(1000) {
        let requests: Vec<_> =
            (first..keys.min(first + 1000)).map(|key| request(key, &value)).collect();
        client.pipeline(&requests);
    }
    let seen = Seen::default();
    let line = thread::scope(|scope| {
        let (writer, reader) = (server.client(), server.client());
        scope.spawn(|| write_all_over(writer, &seen, keys, bytes));
        scope.spawn(|| read_all_over(reader, &seen, keys));
        let line = measure(&server, &seen);
        seen.stop.store(true, Ordering::Relaxed);
        line
    });
    writeln!(std::io::stdout(), "{keys} keys of {bytes} bytes: {line}").expect("it takes a line");
}
