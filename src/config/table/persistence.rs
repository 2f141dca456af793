//! Snapshots and the append-only file.

use super::{I32_MAX, I64_MAX, PERSISTENCE, check};
use crate::config::choice::{ChoiceEnum, FlushPolicy, VersionCheck};
use crate::config::kind::Kind;
use crate::config::parameter::Parameter;

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::flag("aof-load-truncated", "yes", "accepts an AOF with a cut tail")
        .works(|c, v| c.persistence.log.load_truncated = v.flag()),
    Parameter::text("aof-rewrite-cpulist", "", "CPU pinning of the rewrite child")
        .alias("aof_rewrite_cpulist")
        .immutable(),
    Parameter::flag("aof-rewrite-incremental-fsync", "yes", "fsyncs rewrite output in chunks")
        .later(PERSISTENCE),
    Parameter::flag("aof-timestamp-enabled", "no", "writes time annotations into the AOF")
        .works(|c, v| c.persistence.log.timestamps = v.flag()),
    Parameter::flag("aof-use-rdb-preamble", "yes", "rewrite output begins with a snapshot")
        .works(|c, v| c.persistence.log.preamble = v.flag()),
    Parameter::plain_text("appenddirname", "appendonlydir", "directory holding AOF parts")
        .immutable()
        .check(check::appenddirname)
        .works(|c, v| c.persistence.log.directory = v.path().unwrap_or_default()),
    Parameter::plain_text("appendfilename", "appendonly.aof", "base name of AOF parts")
        .immutable()
        .check(check::appendfilename)
        .works(|c, v| c.persistence.log.file_name = v.path().unwrap_or_default()),
    Parameter::choice("appendfsync", FlushPolicy::CHOICES, "everysec", "when the AOF is fsynced")
        .works(|c, v| c.persistence.log.flush = v.choice()),
    Parameter::flag("appendonly", "no", "turns the AOF on")
        .deny_loading()
        .works(|c, v| c.persistence.log.enabled = v.flag()),
    Parameter::memory(
        "auto-aof-rewrite-min-size",
        (0, I64_MAX),
        "67108864",
        "smallest AOF that triggers automatic rewrite",
    )
    .works(|c, v| c.persistence.log.rewrite_bytes_min = v.number()),
    Parameter::number(
        "auto-aof-rewrite-percentage",
        (0, I32_MAX),
        "100",
        "growth that triggers automatic rewrite",
    )
    .works(|c, v| c.persistence.log.rewrite_percentage = v.number()),
    Parameter::text("bgsave-cpulist", "", "CPU pinning of the save child")
        .alias("bgsave_cpulist")
        .immutable(),
    Parameter::plain_text("dbfilename", "dump.rdb", "snapshot file name")
        .protected()
        .check(check::dbfilename)
        .works(|c, v| c.persistence.file_name = v.path().unwrap_or_default()),
    Parameter::flag(
        "no-appendfsync-on-rewrite",
        "no",
        "skips fsync while rewriting (no child: harmless)",
    ),
    Parameter::flag("rdb-del-sync-files", "no", "removes RDB files made only for sync")
        .later(PERSISTENCE),
    Parameter::flag("rdb-save-incremental-fsync", "yes", "fsyncs snapshot output in chunks")
        .works(|c, v| c.persistence.incremental_sync = v.flag()),
    Parameter::choice(
        "rdb-version-check",
        VersionCheck::CHOICES,
        "strict",
        "strict or relaxed towards unknown RDB versions",
    )
    .works(|c, v| c.persistence.versions = v.choice()),
    Parameter::flag("rdbchecksum", "yes", "CRC64 at the snapshot's end")
        .immutable()
        .works(|c, v| c.persistence.checksum = v.flag()),
    Parameter::flag("rdbcompression", "yes", "LZF strings inside snapshots and dumps")
        .works(|c, v| c.persistence.compress = v.flag()),
    Parameter::of(Kind::Save, "save", "3600 1 300 100 60 10000", "automatic snapshot points")
        .works(|c, v| c.persistence.save_points = v.save_points().into()),
    Parameter::flag("stop-writes-on-bgsave-error", "yes", "refuses writes after a failed snapshot")
        .works(|c, v| c.persistence.stops_writes = v.flag()),
];
