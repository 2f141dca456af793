//! Slow commands, latencies and keyspace notifications.

use super::I64_MAX;
use crate::config::kind::Kind;
use crate::config::parameter::Parameter;

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::number(
        "commandlog-execution-slower-than",
        (-1, I64_MAX),
        "10000",
        "microseconds that make a command slow",
    )
    .alias("slowlog-log-slower-than")
    .works(|c, v| c.monitoring.slow_us_min = v.number()),
    Parameter::number(
        "commandlog-slow-execution-max-len",
        (0, I64_MAX),
        "128",
        "entries in the slow log",
    )
    .alias("slowlog-max-len")
    .works(|c, v| c.monitoring.slow_len_max = v.number()),
    Parameter::number(
        "commandlog-request-larger-than",
        (-1, I64_MAX),
        "1048576",
        "request bytes that get logged",
    )
    .works(|c, v| c.monitoring.large_request_bytes_min = v.number()),
    Parameter::number(
        "commandlog-large-request-max-len",
        (0, I64_MAX),
        "128",
        "entries in the large-request log",
    )
    .works(|c, v| c.monitoring.large_request_len_max = v.number()),
    Parameter::number(
        "commandlog-reply-larger-than",
        (-1, I64_MAX),
        "1048576",
        "reply bytes that get logged",
    )
    .works(|c, v| c.monitoring.large_reply_bytes_min = v.number()),
    Parameter::number(
        "commandlog-large-reply-max-len",
        (0, I64_MAX),
        "128",
        "entries in the large-reply log",
    )
    .works(|c, v| c.monitoring.large_reply_len_max = v.number()),
    Parameter::number(
        "latency-monitor-threshold",
        (0, I64_MAX),
        "0",
        "milliseconds that make a latency event",
    )
    .works(|c, v| c.monitoring.latency_threshold_ms = v.number()),
    Parameter::flag("latency-tracking", "yes", "keeps per-command histograms")
        .works(|c, v| c.monitoring.latency_tracking = v.flag()),
    Parameter::of(
        Kind::Percentiles,
        "latency-tracking-info-percentiles",
        "50 99 99.9",
        "percentiles printed by INFO",
    )
    .works(|c, v| c.monitoring.latency_percentiles = v.percentiles()),
    Parameter::of(Kind::Events, "notify-keyspace-events", "", "which key events get published")
        .works(|c, v| c.monitoring.keyspace_events = v.events()),
];
