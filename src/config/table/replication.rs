//! Replication.

use super::{I32_MAX, I64_MAX, REPLICATION};
use crate::config::choice::Choice;
use crate::config::kind::Kind;
use crate::config::parameter::Parameter;

/// How a replica loads what it is sent.
const DISKLESS_LOAD: &[Choice] =
    &[("disabled", 0), ("on-empty-db", 1), ("swapdb", 2), ("flush-before-load", 3)];

/// What follows an error in a replicated command.
const PROPAGATION_ERRORS: &[Choice] = &[("ignore", 0), ("panic", 1), ("panic-on-replicas", 2)];

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::flag(
        "dual-channel-replication-enabled",
        "no",
        "snapshot and backlog on separate connections",
    )
    .later(REPLICATION),
    Parameter::number(
        "min-replicas-max-lag",
        (0, I32_MAX),
        "10",
        "seconds a replica may lag and count",
    )
    .alias("min-slaves-max-lag")
    .later(REPLICATION),
    Parameter::number(
        "min-replicas-to-write",
        (0, I32_MAX),
        "0",
        "replicas required to accept writes",
    )
    .alias("min-slaves-to-write")
    .later(REPLICATION),
    Parameter::text("primaryauth", "", "password used towards the primary")
        .alias("masterauth")
        .sensitive()
        .later(REPLICATION),
    Parameter::text("primaryuser", "", "user used towards the primary")
        .alias("masteruser")
        .sensitive()
        .later(REPLICATION),
    Parameter::choice(
        "propagation-error-behavior",
        PROPAGATION_ERRORS,
        "ignore",
        "ignore or panic on replication apply errors",
    )
    .later(REPLICATION),
    Parameter::memory(
        "repl-backlog-size",
        (1, I64_MAX),
        "10485760",
        "bytes of replication history kept",
    )
    .clamp(16_384, I64_MAX)
    .later(REPLICATION),
    Parameter::number(
        "repl-backlog-ttl",
        (0, I64_MAX),
        "3600",
        "seconds history outlives the last replica",
    )
    .later(REPLICATION),
    Parameter::flag("repl-disable-tcp-nodelay", "no", "batches replication packets")
        .later(REPLICATION),
    Parameter::choice(
        "repl-diskless-load",
        DISKLESS_LOAD,
        "disabled",
        "how a replica loads socket snapshots",
    )
    .deny_loading()
    .later(REPLICATION),
    Parameter::flag("repl-diskless-sync", "yes", "streams full sync without a file")
        .later(REPLICATION),
    Parameter::number(
        "repl-diskless-sync-delay",
        (0, I32_MAX),
        "5",
        "seconds to gather replicas first",
    )
    .later(REPLICATION),
    Parameter::number(
        "repl-diskless-sync-max-replicas",
        (0, I32_MAX),
        "0",
        "replica count that cancels the delay",
    )
    .later(REPLICATION),
    Parameter::flag("repl-mptcp", "no", "multipath TCP towards the primary")
        .immutable()
        .later(REPLICATION),
    Parameter::number(
        "repl-ping-replica-period",
        (1, I32_MAX),
        "10",
        "seconds between pings to replicas",
    )
    .alias("repl-ping-slave-period")
    .later(REPLICATION),
    Parameter::number(
        "repl-timeout",
        (1, I32_MAX),
        "60",
        "seconds before replication link times out",
    )
    .later(REPLICATION),
    Parameter::text("replica-announce-ip", "", "address a replica advertises")
        .alias("slave-announce-ip")
        .later(REPLICATION),
    Parameter::number("replica-announce-port", (0, 65_535), "0", "port a replica advertises")
        .alias("slave-announce-port")
        .later(REPLICATION),
    Parameter::flag("replica-announced", "yes", "lets Sentinel list this replica")
        .later(REPLICATION),
    Parameter::memory(
        "replica-full-sync-buffer-limit",
        (0, I64_MAX),
        "0",
        "replica-side buffer cap during full sync",
    )
    .later(REPLICATION),
    Parameter::flag(
        "replica-ignore-disk-write-errors",
        "no",
        "replica carries on when AOF write fails",
    )
    .later(REPLICATION),
    Parameter::flag("replica-ignore-maxmemory", "yes", "replica leaves eviction to its primary")
        .alias("slave-ignore-maxmemory")
        .later(REPLICATION),
    Parameter::flag("replica-lazy-flush", "yes", "full sync flush runs off-path")
        .alias("slave-lazy-flush")
        .later(REPLICATION),
    Parameter::number("replica-priority", (0, I32_MAX), "100", "Sentinel promotion preference")
        .alias("slave-priority")
        .later(REPLICATION),
    Parameter::flag("replica-read-only", "yes", "replica refuses client writes")
        .alias("slave-read-only")
        .later(REPLICATION),
    Parameter::flag("replica-serve-stale-data", "yes", "answers while link is down")
        .alias("slave-serve-stale-data")
        .later(REPLICATION),
    Parameter::of(Kind::Primary, "replicaof", "", "primary to follow")
        .alias("slaveof")
        .immutable()
        .later(REPLICATION),
];
