//! The memory limit, eviction, expiry and freeing.

use super::{I32_MAX, I64_MAX, U64_MAX};
use crate::config::choice::{ChoiceEnum, MaxmemoryPolicy};
use crate::config::parameter::Parameter;

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::memory("maxmemory", (0, U64_MAX), "0", "memory limit before eviction")
        .works(|c, v| c.memory.bytes_max = v.number()),
    Parameter::choice(
        "maxmemory-policy",
        MaxmemoryPolicy::CHOICES,
        "noeviction",
        "which keys get evicted",
    )
    .works(|c, v| c.memory.policy = v.choice()),
    Parameter::number("maxmemory-samples", (1, 64), "5", "candidates sampled per eviction")
        .works(|c, v| c.memory.samples = v.number()),
    Parameter::number(
        "maxmemory-eviction-tenacity",
        (0, 100),
        "10",
        "effort spent evicting per call",
    ),
    Parameter::number("lfu-log-factor", (0, I32_MAX), "10", "LFU counter growth damping")
        .works(|c, v| c.memory.lfu_log_factor = v.number()),
    Parameter::number("lfu-decay-time", (0, I32_MAX), "1", "minutes per LFU counter decay")
        .works(|c, v| c.memory.lfu_decay_min = v.number()),
    Parameter::number(
        "active-expire-effort",
        (1, 10),
        "1",
        "how hard background expiry works, 1-10",
    )
    .works(|c, v| c.memory.expire_effort = v.number()),
    Parameter::flag("import-mode", "no", "primary skips expiry while importing data")
        .works(|c, v| c.memory.import_mode = v.flag()),
    Parameter::flag("lazyfree-lazy-eviction", "yes", "evicted values freed off-path")
        .works(|c, v| c.memory.lazy_eviction = v.flag()),
    Parameter::flag("lazyfree-lazy-expire", "yes", "expired values freed off-path")
        .works(|c, v| c.memory.lazy_expire = v.flag()),
    Parameter::flag("lazyfree-lazy-server-del", "yes", "implicitly deleted values freed off-path")
        .works(|c, v| c.memory.lazy_server_del = v.flag()),
    Parameter::flag("lazyfree-lazy-user-del", "yes", "DEL acts as UNLINK")
        .works(|c, v| c.memory.lazy_user_del = v.flag()),
    Parameter::flag("lazyfree-lazy-user-flush", "yes", "FLUSH defaults to ASYNC")
        .works(|c, v| c.memory.lazy_user_flush = v.flag()),
    Parameter::flag("activedefrag", "no", "enables online memory defragmentation"),
    Parameter::number("active-defrag-cycle-max", (1, 99), "25", "most CPU percent defrag may use"),
    Parameter::number("active-defrag-cycle-min", (1, 99), "1", "least CPU percent defrag uses"),
    Parameter::number(
        "active-defrag-cycle-us",
        (0, 100_000),
        "500",
        "defrag slice length, microseconds",
    ),
    Parameter::memory(
        "active-defrag-ignore-bytes",
        (1, I64_MAX),
        "104857600",
        "fragmentation bytes before defrag starts",
    ),
    Parameter::number(
        "active-defrag-max-scan-fields",
        (1, I64_MAX),
        "1000",
        "collection size deferred to later defrag step",
    ),
    Parameter::number(
        "active-defrag-threshold-lower",
        (0, 1_000),
        "10",
        "fragmentation percent where defrag starts",
    ),
    Parameter::number(
        "active-defrag-threshold-upper",
        (0, 1_000),
        "100",
        "fragmentation percent for maximum effort",
    ),
];
