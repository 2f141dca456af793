//! Hidden parameters that only tests set; most exist so that the peers' own tests run unchanged.

use super::{CLUSTER, I32_MAX, I32_MIN, I64_MAX, PERSISTENCE};
use crate::config::parameter::Parameter;

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::flag("enable-debug-assert", "no", "extra assertions, for tests")
        .immutable()
        .hidden(),
    Parameter::flag("use-exit-on-panic", "no", "exits instead of aborting, for tests").hidden(),
    Parameter::plain_text("debug-context", "", "free text for tests").hidden(),
    Parameter::number(
        "watchdog-period",
        (0, I32_MAX),
        "0",
        "milliseconds before a stalled loop is reported",
    )
    .hidden(),
    Parameter::number(
        "rdb-key-save-delay",
        (I32_MIN, I32_MAX),
        "0",
        "microseconds a key while saving, for tests",
    )
    .hidden()
    .works(|c, v| c.persistence.save_delay_us = v.number::<i64>().try_into().unwrap_or(0)),
    Parameter::number(
        "key-load-delay",
        (I32_MIN, I32_MAX),
        "0",
        "microseconds a key while loading, for tests",
    )
    .hidden()
    .works(|c, v| c.persistence.load_delay_us = v.number::<i64>().try_into().unwrap_or(0)),
    Parameter::number(
        "loading-process-events-interval-bytes",
        (1_024, I32_MAX),
        "2097152",
        "bytes loaded between two looks at clients",
    )
    .hidden()
    .later(PERSISTENCE),
    Parameter::flag("aof-disable-auto-gc", "no", "keeps old AOF parts, for tests")
        .hidden()
        .works(|c, v| c.persistence.log.keeps_history = v.flag()),
    Parameter::number(
        "cluster-ping-interval",
        (0, I64_MAX),
        "0",
        "milliseconds between cluster pings, for tests",
    )
    .hidden()
    .later(CLUSTER),
];
