//! Cluster mode.

use super::{CLUSTER, I32_MAX, I64_MAX, U64_MAX, check};
use crate::config::choice::Choice;
use crate::config::parameter::Parameter;

/// How redirections name a node.
const ENDPOINT_TYPE: &[Choice] = &[("ip", 0), ("hostname", 1), ("unknown-endpoint", 2)];

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::flag(
        "cluster-allow-pubsubshard-when-down",
        "yes",
        "shard pubsub while cluster is down",
    )
    .later(CLUSTER),
    Parameter::flag("cluster-allow-reads-when-down", "no", "reads while cluster is down")
        .later(CLUSTER),
    Parameter::flag(
        "cluster-allow-replica-migration",
        "yes",
        "lets replicas move to orphaned primaries",
    )
    .later(CLUSTER),
    Parameter::number("cluster-announce-bus-port", (0, 65_535), "0", "advertised bus port")
        .later(CLUSTER),
    Parameter::text("cluster-announce-client-ipv4", "", "IPv4 address told to IPv4 clients")
        .check(check::ipv4)
        .later(CLUSTER),
    Parameter::text("cluster-announce-client-ipv6", "", "IPv6 address told to IPv6 clients")
        .check(check::ipv6)
        .later(CLUSTER),
    Parameter::number(
        "cluster-announce-client-port",
        (0, 65_535),
        "0",
        "port told to clients only",
    )
    .later(CLUSTER),
    Parameter::number(
        "cluster-announce-client-tls-port",
        (0, 65_535),
        "0",
        "TLS port told to clients only",
    )
    .later(CLUSTER),
    Parameter::text("cluster-announce-hostname", "", "advertised host name")
        .check(check::hostname)
        .later(CLUSTER),
    Parameter::text("cluster-announce-human-nodename", "", "readable node label for logs")
        .check(check::node_name)
        .later(CLUSTER),
    Parameter::text("cluster-announce-ip", "", "advertised address").later(CLUSTER),
    Parameter::number("cluster-announce-port", (0, 65_535), "0", "advertised client port")
        .later(CLUSTER),
    Parameter::number("cluster-announce-tls-port", (0, 65_535), "0", "advertised TLS port")
        .later(CLUSTER),
    Parameter::number(
        "cluster-blacklist-ttl",
        (0, U64_MAX),
        "60",
        "seconds a forgotten node stays banned",
    )
    .later(CLUSTER),
    Parameter::number(
        "cluster-compatibility-sample-ratio",
        (0, 100),
        "0",
        "percent of commands checked for cluster compatibility",
    ),
    Parameter::plain_text("cluster-config-file", "nodes.conf", "node table file name")
        .immutable()
        .check(check::cluster_config_file)
        .later(CLUSTER),
    Parameter::choice(
        "cluster-config-save-behavior",
        &[("sync", 0), ("best-effort", 1)],
        "sync",
        "sync or best-effort node table writes",
    )
    .later(CLUSTER),
    Parameter::number("cluster-databases", (1, I32_MAX), "1", "database count in cluster mode")
        .immutable()
        .later(CLUSTER),
    Parameter::flag("cluster-enabled", "no", "runs in cluster mode").immutable().later(CLUSTER),
    Parameter::memory(
        "cluster-link-sendbuf-limit",
        (0, U64_MAX),
        "0",
        "largest bus link send buffer",
    )
    .later(CLUSTER),
    Parameter::number(
        "cluster-manual-failover-timeout",
        (1, I32_MAX),
        "5000",
        "milliseconds allowed for manual failover",
    )
    .later(CLUSTER),
    Parameter::number(
        "cluster-migration-barrier",
        (0, I32_MAX),
        "1",
        "replicas a primary keeps before donating",
    )
    .later(CLUSTER),
    Parameter::number(
        "cluster-node-timeout",
        (0, I64_MAX),
        "15000",
        "milliseconds before a node seems failed",
    )
    .later(CLUSTER),
    Parameter::number("cluster-port", (0, 65_535), "0", "bus port, zero means port+10000")
        .immutable()
        .later(CLUSTER),
    Parameter::choice(
        "cluster-preferred-endpoint-type",
        ENDPOINT_TYPE,
        "ip",
        "ip, hostname or unknown in redirects",
    )
    .later(CLUSTER),
    Parameter::flag("cluster-replica-no-failover", "no", "replica never starts automatic failover")
        .alias("cluster-slave-no-failover")
        .later(CLUSTER),
    Parameter::number(
        "cluster-replica-validity-factor",
        (0, I32_MAX),
        "10",
        "staleness bound for failover eligibility",
    )
    .alias("cluster-slave-validity-factor")
    .later(CLUSTER),
    Parameter::flag(
        "cluster-require-full-coverage",
        "yes",
        "refuses queries unless all slots served",
    )
    .later(CLUSTER),
    Parameter::number(
        "cluster-slot-migration-log-max-len",
        (0, I64_MAX),
        "1000",
        "finished migrations remembered",
    )
    .later(CLUSTER),
    Parameter::flag("cluster-slot-stats-enabled", "no", "collects per-slot CPU, network, memory")
        .later(CLUSTER),
    Parameter::memory(
        "slot-migration-max-failover-repl-bytes",
        (0, I64_MAX),
        "0",
        "remaining bytes allowed at migration hand-over",
    )
    .later(CLUSTER),
];
