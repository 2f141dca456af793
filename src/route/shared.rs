//! What all cores share: written rarely, read without locks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::carrier::Carrier;
use super::settings::Host;
use super::shard_map::ShardMap;
use crate::config::Config;
use crate::metrics::command_log::EntryNumbers;
use crate::metrics::memory::ProcessMemory;
use crate::persist::disk::Disk;
use crate::persist::state::Persistence;
use crate::pubsub::directory::Directory;
use crate::script::cache::Cache;
use crate::script::commitment::Commitment;
use crate::script::functions::Functions;
use crate::server::clock::Stopwatch;

/// State of the process that every core reads.
pub struct Shared {
    /// Where keys live.
    pub map: ShardMap,
    /// The configuration; replaced as a whole.
    pub config: ArcSwap<Config>,
    /// The id of the next client.
    pub next_client: AtomicU64,
    /// The count in the next transaction's identifier.
    pub next_transaction: AtomicU64,
    /// Clients connected to any core.
    pub clients: AtomicUsize,
    /// Clients of any core that monitor.
    pub monitors: AtomicUsize,
    /// What the process is and runs on.
    pub process: Process,
    /// Which cores have subscribers.
    pub pubsub: Directory,
    /// Keys that all cores remember for clients that track.
    pub tracked_keys: AtomicUsize,
    /// The numbers of the next entries of the command logs.
    pub log_numbers: EntryNumbers,
    /// The memory of the process.
    pub memory: ProcessMemory,
    /// Measures commands.
    pub stopwatch: Stopwatch,
    /// The scripts that clients have sent.
    pub scripts: Cache,
    /// The script that has done what cannot be taken back.
    pub commitment: Commitment,
    /// Scripts that hold all shards and have run for longer than `busy-reply-threshold`.
    pub busy_scripts: AtomicUsize,
    /// Those of them that are functions.
    pub busy_functions: AtomicUsize,
    /// The libraries of functions.
    pub functions: Functions,
    /// Scripts that hold all shards: time stands still for the keyspace while there is one.
    pub wide_scripts: AtomicUsize,
    /// Scripts may call what is not for scripts (`DEBUG SET-DISABLE-DENY-SCRIPTS`).
    pub scripts_unrestricted: AtomicBool,
    /// What carries out changes of the configuration that concern the process, once it is there.
    pub host: OnceLock<Box<dyn Host>>,
    /// What reads and writes files, once it is there.
    pub disk: OnceLock<Box<dyn Disk>>,
    /// What carries requests to other servers, once it is there.
    pub carrier: OnceLock<Box<dyn Carrier>>,
    /// Loading and saving.
    pub persistence: Persistence,
    /// Shutdowns that came to nothing, since the data could not be saved.
    pub failed_shutdowns: AtomicUsize,
    stopping: AtomicBool,
    failed: AtomicBool,
}

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Process {
    /// Forty hexadecimal digits, new at each start.
    pub run_id: String,
    /// Wall clock at the start, microseconds.
    pub started_unix_us: u64,
    /// The process id.
    pub pid: u32,
    /// The program's absolute path.
    pub executable: String,
    /// The configuration file's absolute path, or empty.
    pub config_file: String,
}

impl Shared {
    /// The state at the start of the process.
    pub fn new(map: ShardMap, config: Config, process: Process, stopwatch: Stopwatch) -> Self {
        let logs = config.persistence.log.enabled;
        let persistence = Persistence::new(process.started_unix_us / 1_000_000, map.shards(), logs);
        Self {
            map,
            config: ArcSwap::from_pointee(config),
            next_client: AtomicU64::new(1),
            next_transaction: AtomicU64::new(1),
            clients: AtomicUsize::new(0),
            monitors: AtomicUsize::new(0),
            process,
            pubsub: Directory::default(),
            tracked_keys: AtomicUsize::new(0),
            log_numbers: EntryNumbers::default(),
            memory: ProcessMemory::new(map.shards()),
            stopwatch,
            scripts: Cache::default(),
            commitment: Commitment::default(),
            busy_scripts: AtomicUsize::new(0),
            busy_functions: AtomicUsize::new(0),
            functions: Functions::default(),
            wide_scripts: AtomicUsize::new(0),
            scripts_unrestricted: AtomicBool::new(false),
            host: OnceLock::new(),
            disk: OnceLock::new(),
            carrier: OnceLock::new(),
            persistence,
            failed_shutdowns: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// Whether some client monitors.
    pub fn monitored(&self) -> bool {
        self.monitors.load(Ordering::Relaxed) > 0
    }

    /// Has every core leave its loop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// As [`stop`](Self::stop), since the process cannot go on. What waits for the disk is never
    /// answered.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether the process ends since it cannot go on.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether the process is to end.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
