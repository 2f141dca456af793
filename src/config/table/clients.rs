//! What one client may cost, and what it may hold up.

use super::I64_MAX;
use crate::config::kind::{Kind, Notation};
use crate::config::parameter::{Effect, Parameter};

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::memory(
        "proto-max-bulk-len",
        (1_048_576, I64_MAX),
        "536870912",
        "largest single argument",
    )
    .works(|c, v| c.clients.bulk_bytes_max = v.number()),
    Parameter::memory(
        "client-query-buffer-limit",
        (1_048_576, I64_MAX),
        "1073741824",
        "largest per-client input buffer",
    )
    .works(|c, v| c.clients.query_buffer_bytes_max = v.number()),
    Parameter::of(
        Kind::OutputLimits,
        "client-output-buffer-limit",
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        "per-class hard and soft output limits",
    )
    .works(|c, v| c.clients.output_limits = v.output_limits()),
    Parameter::of(
        Kind::Number { lower: 0, upper: I64_MAX, notation: Notation::MemoryOrPercent },
        "maxmemory-clients",
        "0",
        "memory limit for all client buffers",
    )
    .effect(Effect::ClientMemory)
    .works(|c, v| c.clients.memory_limit = v.memory_limit()),
    Parameter::number(
        "tracking-table-max-keys",
        (0, I64_MAX),
        "1000000",
        "keys remembered for client caching",
    )
    .works(|c, v| c.clients.tracking_keys_max = v.number()),
    Parameter::number(
        "client-default-resp",
        (2, 3),
        "2",
        "protocol version before HELLO, for tests",
    )
    .immutable()
    .hidden()
    .works(|c, v| c.clients.default_resp = v.number()),
    Parameter::number(
        "busy-reply-threshold",
        (0, I64_MAX),
        "5000",
        "script milliseconds before BUSY replies",
    )
    .alias("lua-time-limit")
    .works(|c, v| c.clients.busy_reply_ms = v.number()),
];
