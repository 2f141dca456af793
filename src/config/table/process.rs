//! The process, its cores and its environment.

use super::{I32_MAX, PINNING, SEED, SORTING, check};
use crate::config::choice::{ChoiceEnum, OomScoreAdj, SHUTDOWN, Supervised};
use crate::config::kind::Kind;
use crate::config::parameter::{Effect, Parameter};

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::number(
        "shards",
        (0, 1_024),
        "0",
        "shards, each with a core of its own; 0: one for each core this process may use",
    )
    .immutable()
    .works(|c, v| c.process.shards = v.number()),
    Parameter::number("io-threads", (1, 256), "1", "network thread count; map to shard threads")
        .immutable()
        .works(|c, v| c.process.io_threads = v.number()),
    Parameter::number(
        "events-per-io-thread",
        (0, I32_MAX),
        "2",
        "events before another I/O thread wakes",
    )
    .hidden(),
    Parameter::flag("io-threads-always-active", "no", "keeps I/O threads busy, for tests").hidden(),
    Parameter::number(
        "min-io-threads-avoid-copy-reply",
        (0, I32_MAX),
        "7",
        "I/O threads before replies are not copied",
    )
    .hidden(),
    Parameter::number("prefetch-batch-max-size", (0, 128), "16", "keys prefetched per batch"),
    Parameter::number("databases", (1, I32_MAX), "16", "logical database count")
        .immutable()
        .works(|c, v| c.process.databases = v.number()),
    Parameter::of(Kind::Directory, "dir", ".", "working directory for data files")
        .protected()
        .deny_loading()
        .effect(Effect::Directory)
        .works(|c, v| c.process.directory = v.path().unwrap_or_default()),
    Parameter::flag("daemonize", "no", "detaches into background (needs one startup fork)")
        .immutable()
        .works(|c, v| c.process.daemonize = v.flag()),
    Parameter::text("pidfile", "", "path of the pid file")
        .immutable()
        .works(|c, v| c.process.pid_file = v.path()),
    Parameter::choice("supervised", Supervised::CHOICES, "no", "systemd or upstart notification")
        .immutable()
        .works(|c, v| c.process.supervised = v.choice()),
    Parameter::flag("set-proc-title", "yes", "rewrites the process title")
        .immutable()
        .works(|c, v| c.process.set_title = v.flag()),
    Parameter::plain_text(
        "proc-title-template",
        "{title} {listen-addr} {server-mode}",
        "process title pattern",
    )
    .check(check::title_template)
    .effect(Effect::ProcessTitle)
    .works(|c, v| c.process.title_template = v.string()),
    Parameter::text("server-cpulist", "", "CPU pinning of server threads")
        .alias("server_cpulist")
        .immutable()
        .later(PINNING),
    Parameter::text("bio-cpulist", "", "CPU pinning of background threads")
        .alias("bio_cpulist")
        .immutable(),
    Parameter::number("hz", (0, I32_MAX), "10", "periodic task frequency")
        .clamp(1, 500)
        .works(|c, v| c.process.hz = v.number()),
    Parameter::flag("dynamic-hz", "yes", "scales timer rate with clients"),
    Parameter::number("shutdown-timeout", (0, I32_MAX), "10", "seconds to await lagging replicas")
        .works(|c, v| c.process.shutdown_timeout_s = v.number()),
    Parameter::of(
        Kind::ChoiceSet(SHUTDOWN),
        "shutdown-on-sigint",
        "default",
        "SHUTDOWN flags applied on SIGINT",
    )
    .check(check::shutdown_flags)
    .works(|c, v| c.process.shutdown_on_sigint = v.code()),
    Parameter::of(
        Kind::ChoiceSet(SHUTDOWN),
        "shutdown-on-sigterm",
        "default",
        "SHUTDOWN flags applied on SIGTERM",
    )
    .check(check::shutdown_flags)
    .works(|c, v| c.process.shutdown_on_sigterm = v.code()),
    Parameter::choice("oom-score-adj", OomScoreAdj::CHOICES, "no", "sets the kernel OOM score")
        .effect(Effect::OomScore)
        .works(|c, v| c.process.oom_score_adj = v.choice()),
    Parameter::of(
        Kind::OomScores,
        "oom-score-adj-values",
        "0 200 800",
        "OOM scores: primary, replica, child",
    )
    .effect(Effect::OomScore)
    .works(|c, v| c.process.oom_scores = v.oom_scores()),
    Parameter::flag("disable-thp", "yes", "switches off transparent huge pages")
        .immutable()
        .works(|c, v| c.process.disable_thp = v.flag()),
    Parameter::flag("always-show-logo", "no", "prints startup banner without a tty")
        .immutable()
        .works(|c, v| c.process.always_show_logo = v.flag()),
    Parameter::flag("extended-redis-compatibility", "no", "reports itself as Redis in INFO, HELLO")
        .effect(Effect::Compatibility)
        .works(|c, v| c.process.redis_compatibility = v.flag()),
    Parameter::plain_text("availability-zone", "", "zone label shown to clients")
        .works(|c, v| c.process.availability_zone = v.string()),
    Parameter::plain_text("ignore-warnings", "", "startup warnings to ignore"),
    Parameter::plain_text("locale-collate", "", "collation used by SORT ALPHA").later(SORTING),
    Parameter::text("hash-seed", "", "fixed hash seed for stable SCAN order")
        .immutable()
        .later(SEED),
    Parameter::flag("activerehashing", "yes", "spends idle CPU on table rehash"),
    Parameter::flag("jemalloc-bg-thread", "yes", "allocator background purge thread")
        .effect(Effect::AllocatorThreads),
];
