//! What dump files cost: a snapshot in the background while clients write as fast as they can, and
//! the start from a file.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cli::Options;
use crate::load::{Load, Until};
use crate::machine::{Placement, pinned};
use crate::measure::{Pair, load};
use crate::programs::Program;
use crate::server::{Server, pause};
use crate::workload::{
    Batch, LOADED_KEYS, SNAPSHOT_KEYS, SNAPSHOT_READS, SNAPSHOT_WRITES, Workload,
};

/// Bytes of a value that is saved. It does not compress.
pub(crate) const SNAPSHOT_VALUE_BYTES: usize = 1024;
/// Bytes of a value that is loaded.
pub(crate) const LOADED_VALUE_BYTES: usize = 64;
/// Requests that are written together.
const PIPELINE: u32 = 16;
/// Connections that write.
const WRITERS: u32 = 8;
/// How long it is measured without a snapshot: the first seconds are slower than what follows.
const BEFORE: Duration = Duration::from_secs(16);
/// How often it is looked how far a snapshot is, and how much memory is in use.
const LOOK: Duration = Duration::from_millis(50);
/// A slice of load, between two looks at whether to end.
const SLICE: Duration = Duration::from_millis(100);
/// No snapshot takes longer.
const SNAPSHOT_MAX: Duration = Duration::from_secs(1800);

/// A snapshot under a full write load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    /// How long it took, seconds.
    pub(crate) seconds: f64,
    /// Growth of the memory of the process and its children, as a share of what it was.
    pub(crate) growth: f64,
    /// Writes a second before it.
    pub(crate) writes_before: f64,
    /// Writes a second during it.
    pub(crate) writes_during: f64,
    /// The longest read of one key before it, milliseconds.
    pub(crate) stall_before_ms: f64,
    /// The longest read of one key during it, milliseconds.
    pub(crate) stall_during_ms: f64,
}

impl Snapshot {
    /// The share of the throughput that is left.
    pub(crate) fn left(&self) -> f64 {
        self.writes_during / self.writes_before
    }
}

/// What clients see, since it was last asked for.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    writes: AtomicU64,
    stall_ns: AtomicU64,
}

impl Seen {
    fn take(&self) -> (u64, f64) {
        let stall_ns = self.stall_ns.swap(0, Ordering::Relaxed);
        (self.writes.swap(0, Ordering::Relaxed), stall_ns as f64 / 1e6)
    }

    /// Keeps one load up until the end; every slice goes to `note`.
    fn keep_up(
        &self,
        server: &Server,
        connections: u32,
        mut batch: Batch,
        note: impl Fn(&Self, u64, u64),
    ) -> Result<()> {
        let mut load = Load::connect(server.address, connections)?;
        while !self.stop.load(Ordering::Relaxed) {
            let run = load.run(&mut batch, Until::Elapsed(SLICE))?;
            note(self, run.commands, run.latency.max());
        }
        Ok(())
    }
}

/// Measures snapshots of both programs in turns; who is first alternates.
pub(crate) fn snapshots(
    pair: &Pair,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<(Snapshot, Snapshot)>> {
    let mut one = |program: &Program| {
        progress(&format!("{}: snapshot of {} keys", program.name, options.snapshot_keys()));
        snapshot(program, options)
    };
    in_turns(options.dump_rounds(), pair, &mut one)
}

fn in_turns<T>(
    rounds: u32,
    pair: &Pair,
    one: &mut dyn FnMut(&Program) -> Result<T>,
) -> Result<Vec<(T, T)>> {
    (0..rounds)
        .map(|round| {
            if round % 2 == 0 {
                let ours = one(&pair.ours)?;
                Ok((ours, one(&pair.peer)?))
            } else {
                let peer = one(&pair.peer)?;
                Ok((one(&pair.ours)?, peer))
            }
        })
        .collect()
}

/// Cores for the whole server: that which writes the file runs beside what serves clients.
fn placement() -> Result<Placement> {
    Placement::for_server_cores(2)
}

fn snapshot(program: &Program, options: &Options) -> Result<Snapshot> {
    let placement = placement()?;
    let server = Server::start(program, 1, &placement.server)?;
    pinned(&placement.load, || load(&server, options, SNAPSHOT_VALUE_BYTES, &SNAPSHOT_KEYS))??;
    let seen = Seen::default();
    let batch = |workload: &Workload, pipeline| {
        workload.batch(pipeline, SNAPSHOT_VALUE_BYTES, options.range(workload.span))
    };
    let writes = batch(&SNAPSHOT_WRITES, PIPELINE);
    let reads = batch(&SNAPSHOT_READS, 1);
    thread::scope(|scope| {
        let count = |seen: &Seen, commands, _| {
            seen.writes.fetch_add(commands, Ordering::Relaxed);
        };
        let watch = |seen: &Seen, _, stall_ns| {
            seen.stall_ns.fetch_max(stall_ns, Ordering::Relaxed);
        };
        let (server, seen, cores) = (&server, &seen, &placement.load);
        let writer =
            scope.spawn(move || pinned(cores, || seen.keep_up(server, WRITERS, writes, count))?);
        let reader = scope.spawn(move || pinned(cores, || seen.keep_up(server, 1, reads, watch))?);
        let measured = watch_snapshot(server, seen);
        seen.stop.store(true, Ordering::Relaxed);
        for load in [writer, reader] {
            load.join().expect("invariant: a panic of the load is this program's")?;
        }
        measured
    })
}

/// Measures without a snapshot, and then takes one.
fn watch_snapshot(server: &Server, seen: &Seen) -> Result<Snapshot> {
    pause(BEFORE / 4);
    seen.take();
    pause(BEFORE);
    let (writes_before, stall_before_ms) = seen.take();
    let before = server.resident_bytes()?;
    let began = Instant::now();
    server.call("BGSAVE")?;
    let mut most = before;
    loop {
        pause(LOOK);
        most = most.max(server.resident_with_children()?);
        if server.call("INFO persistence")?.contains("rdb_bgsave_in_progress:0") {
            break;
        }
        if began.elapsed() > SNAPSHOT_MAX {
            bail!("the snapshot takes longer than {SNAPSHOT_MAX:?}");
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let (writes_during, stall_during_ms) = seen.take();
    Ok(Snapshot {
        seconds,
        growth: most as f64 / before as f64 - 1.0,
        writes_before: writes_before as f64 / BEFORE.as_secs_f64(),
        writes_during: writes_during as f64 / seconds,
        stall_before_ms,
        stall_during_ms,
    })
}

/// Measures the start of both programs from the same file, which the peer has written, in turns:
/// seconds until the first PONG.
pub(crate) fn loading(
    pair: &Pair,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<(f64, f64)>> {
    const SHARDS: u32 = 2;
    let placement = placement()?;
    let keys = options.loaded_keys();
    progress(&format!("{}: a file of {keys} keys", pair.peer.name));
    let origin = Server::start(&pair.peer, 1, &placement.server)?;
    pinned(&placement.load, || load(&origin, options, LOADED_VALUE_BYTES, &LOADED_KEYS))??;
    origin.call("SAVE")?;
    let file = origin.directory().join("dump.rdb");
    fs::metadata(&file).with_context(|| format!("{} has not been written", file.display()))?;
    let directory = origin.stop_and_keep_directory()?;
    let from = ["--dir".to_owned(), directory.path().display().to_string()];
    let mut one = |program: &Program| {
        progress(&format!("{}: loads {keys} keys", program.name));
        let began = Instant::now();
        let server = Server::start_with(program, SHARDS, &placement.server, &from)?;
        let seconds = began.elapsed().as_secs_f64();
        let size = server.call("DBSIZE")?;
        if size.trim() != format!(":{keys}") {
            bail!("{} has loaded {size} keys of {keys}", program.name);
        }
        Ok(seconds)
    };
    in_turns(options.dump_rounds(), pair, &mut one)
}
