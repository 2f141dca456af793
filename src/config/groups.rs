//! The typed view of the configuration: what cores read, grouped by what it is about.
//!
//! Units stand last in a field's name. A field exists for every parameter that something acts on;
//! the others are reached through [`super::Config::value`].

use std::path::PathBuf;

use super::choice::{
    FlushPolicy, LogFormat, LogLevel, MaxmemoryPolicy, OomScoreAdj, ProtectedAction, Supervised,
    TimestampFormat, VersionCheck,
};
use super::notify::KeyspaceEvents;
use super::value::{ClientClass, MemoryLimit, OutputLimit, SavePoint};

/// Listeners and connections.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// TCP port; 0 means that the server does not listen on TCP.
    pub port: u16,
    /// Addresses to listen on: `*` for any IPv4, `::*` for any IPv6; a leading `-` allows failure.
    pub bind: Vec<String>,
    /// Path of the unix socket.
    pub unix_socket: Option<PathBuf>,
    /// Group that owns the unix socket.
    pub unix_socket_group: Option<String>,
    /// Mode bits of the unix socket; 0 leaves them to the umask.
    pub unix_socket_mode: u32,
    /// Length of the queue of connections that wait to be accepted.
    pub backlog: i32,
    /// Seconds between keepalive probes; 0 turns them off.
    pub tcp_keepalive_s: u32,
    /// Seconds after which an idle client is closed; 0 means never.
    pub idle_timeout_s: u32,
    /// Refuse other clients than loopback while there is no password.
    pub protected_mode: bool,
    /// Connections at a time, over all cores.
    pub clients_max: u32,
    /// Firewall mark of sockets; 0 means none.
    pub socket_mark: u32,
}

/// What one client may cost.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// The largest single argument.
    pub bulk_bytes_max: u64,
    /// Input that one client may have buffered.
    pub query_buffer_bytes_max: u64,
    /// Output that may wait, by [`ClientClass`].
    pub output_limits: [OutputLimit; 3],
    /// Memory of all clients together.
    pub memory_limit: MemoryLimit,
    /// Protocol version before HELLO: 2, or 3 for tests.
    pub default_resp: u8,
    /// How long a script runs before others are told that the server is busy, milliseconds.
    pub busy_reply_ms: u64,
    /// Keys remembered for clients that track; 0 for any number.
    pub tracking_keys_max: u64,
}

impl Clients {
    /// The output limit of a class.
    pub fn output_limit(&self, class: ClientClass) -> OutputLimit {
        self.output_limits[class as usize]
    }
}

/// The process and its cores.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes/no parameter of its own")]
pub struct Process {
    /// Shards, each with a core of its own; 0 means one for each core this process may use.
    pub shards: u16,
    /// The peers' number of I/O threads; above 1 it is taken as `shards` when that is 0.
    pub io_threads: u16,
    /// Databases that SELECT can choose from.
    pub databases: u32,
    /// Working directory, absolute.
    pub directory: PathBuf,
    /// Detach from the terminal at start.
    pub daemonize: bool,
    /// Path of the pid file.
    pub pid_file: Option<PathBuf>,
    /// The init system to notify.
    pub supervised: Supervised,
    /// Whether `title_template` is written to the process title.
    pub set_title: bool,
    /// Template of the process title.
    pub title_template: String,
    /// Runs of periodic work a second.
    pub hz: u32,
    /// Seconds that a shutdown waits for replicas.
    pub shutdown_timeout_s: u32,
    /// SHUTDOWN flags for SIGINT: bits such as [`super::choice::SHUTDOWN_NOSAVE`].
    pub shutdown_on_sigint: u32,
    /// SHUTDOWN flags for SIGTERM.
    pub shutdown_on_sigterm: u32,
    /// How `oom_scores` are applied.
    pub oom_score_adj: OomScoreAdj,
    /// Kernel out-of-memory scores of a primary, a replica and a child.
    pub oom_scores: [i16; 3],
    /// Ask the kernel not to give this process transparent huge pages.
    pub disable_thp: bool,
    /// Write the banner even when the output is no terminal.
    pub always_show_logo: bool,
    /// Call the server Redis in INFO, HELLO and LOLWUT.
    pub redis_compatibility: bool,
    /// Zone that HELLO and CLUSTER SHARDS tell clients.
    pub availability_zone: String,
}

impl Process {
    /// How many shards to run when the process may use `cores` cores. At least 1.
    pub fn shard_count(&self, cores: usize) -> usize {
        match (self.shards, self.io_threads) {
            (0, 0 | 1) => cores.max(1),
            (0, threads) => threads.into(),
            (shards, _) => shards.into(),
        }
    }
}

/// What is logged, how and where.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The least severe message that is logged.
    pub level: LogLevel,
    /// How a line is written.
    pub format: LogFormat,
    /// How its moment is written.
    pub timestamp: TimestampFormat,
    /// The file; `None` is standard output.
    pub file: Option<PathBuf>,
    /// Whether lines also go to syslog.
    pub syslog: bool,
    /// The name of this program in syslog.
    pub syslog_ident: String,
    /// The facility code of syslog, such as 1 for user and 16 for local0.
    pub syslog_facility: u32,
    /// Leave keys and values out of messages.
    pub hide_user_data: bool,
    /// Report a crash.
    pub crash_report: bool,
}

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Password of the default user; empty means none.
    pub password: Box<[u8]>,
    /// Who may use DEBUG.
    pub debug_command: ProtectedAction,
    /// Who may set protected parameters.
    pub protected_configs: ProtectedAction,
    /// Entries that ACL LOG keeps.
    pub acl_log_len_max: u64,
}

/// Memory, eviction, expiry and freeing.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes/no parameter of its own")]
pub struct Memory {
    /// Limit of all data; 0 means none.
    pub bytes_max: u64,
    /// What goes when the limit is reached.
    pub policy: MaxmemoryPolicy,
    /// Candidates looked at for an eviction.
    pub samples: u32,
    /// Damping of the frequency counter.
    pub lfu_log_factor: u32,
    /// Minutes after which the frequency counter falls by one.
    pub lfu_decay_min: u32,
    /// Effort for expiry, 1 to 10.
    pub expire_effort: u32,
    /// Evicted values are dropped in the background.
    pub lazy_eviction: bool,
    /// Keys stay when their deadline passes, while another server's data comes in.
    pub import_mode: bool,
    /// Expired values are dropped in the background.
    pub lazy_expire: bool,
    /// Values that a command replaces are dropped in the background.
    pub lazy_server_del: bool,
    /// DEL is UNLINK.
    pub lazy_user_del: bool,
    /// FLUSHALL and FLUSHDB without an option are ASYNC.
    pub lazy_user_flush: bool,
}

/// Limits up to which values have their compact encodings.
#[derive(Clone, Debug, Default)]
pub struct Encodings {
    /// Fields of a packed hash.
    pub hash_entries_max: u64,
    /// Bytes of a field or value in a packed hash.
    pub hash_value_bytes_max: u64,
    /// Entries (positive) or size class (-1 to -5) of a list node.
    pub list_node_size: i32,
    /// Nodes at either end of a list that stay uncompressed; 0 compresses none.
    pub list_compress_depth: u32,
    /// Members of an integer set.
    pub intset_entries_max: u64,
    /// Members of a packed set.
    pub set_entries_max: u64,
    /// Bytes of a member of a packed set.
    pub set_value_bytes_max: u64,
    /// Members of a packed sorted set.
    pub zset_entries_max: u64,
    /// Bytes of a member of a packed sorted set.
    pub zset_value_bytes_max: u64,
    /// Bytes of a node of a stream.
    pub stream_node_bytes_max: u64,
    /// Entries of a node of a stream.
    pub stream_node_entries_max: u64,
    /// Bytes of a sparse `HyperLogLog`.
    pub hll_sparse_bytes_max: u64,
}

/// What the server remembers and publishes about its own work.
#[derive(Clone, Debug, Default)]
pub struct Monitoring {
    /// Microseconds from which a command is slow; -1 logs none.
    pub slow_us_min: i64,
    /// Slow commands kept.
    pub slow_len_max: u64,
    /// Request bytes above which a command is logged; -1 logs none.
    pub large_request_bytes_min: i64,
    /// Large requests kept.
    pub large_request_len_max: u64,
    /// Reply bytes above which a command is logged; -1 logs none.
    pub large_reply_bytes_min: i64,
    /// Large replies kept.
    pub large_reply_len_max: u64,
    /// Milliseconds from which LATENCY records an event; 0 records none.
    pub latency_threshold_ms: u64,
    /// Keep a histogram of every command.
    pub latency_tracking: bool,
    /// Percentiles that INFO shows.
    pub latency_percentiles: Box<[f64]>,
    /// Classes of keyspace notifications that are published.
    pub keyspace_events: KeyspaceEvents,
}

/// The append-only log: its files, and what is written to them.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a parameter of its own")]
pub struct AppendLog {
    /// Changes are logged.
    pub enabled: bool,
    /// Name of the directory of its files, in the working directory.
    pub directory: PathBuf,
    /// What the names of its files begin with.
    pub file_name: PathBuf,
    /// When it is flushed.
    pub flush: FlushPolicy,
    /// The time is annotated.
    pub timestamps: bool,
    /// What a log begins with is a dump file.
    pub preamble: bool,
    /// A last file that ends within a record is read up to there.
    pub load_truncated: bool,
    /// It is not rewritten by itself below this length, bytes.
    pub rewrite_bytes_min: u64,
    /// It is rewritten by itself when it has grown by so much since the last time; 0: never.
    pub rewrite_percentage: u32,
    /// Files that are not used any more are removed only when somebody asks.
    pub keeps_history: bool,
}

/// How values are written to dumps and files, and what is read from there.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a parameter of its own")]
pub struct Persistence {
    /// Strings are compressed.
    pub compress: bool,
    /// Which versions are read.
    pub versions: VersionCheck,
    /// Files end with a checksum, and it matters.
    pub checksum: bool,
    /// Files are brought to the disk bit by bit while they are written.
    pub incremental_sync: bool,
    /// Name of the dump file, in the working directory.
    pub file_name: PathBuf,
    /// Writing commands are refused while snapshots fail.
    pub stops_writes: bool,
    /// Points at which a snapshot is taken.
    pub save_points: Box<[SavePoint]>,
    /// The append-only log.
    pub log: AppendLog,
    /// Microseconds a key while saving, for tests.
    pub save_delay_us: u64,
    /// Microseconds a key while loading, for tests.
    pub load_delay_us: u64,
}
