//! Listeners and connections.

use super::{I32_MAX, MPTCP, REPLICATION, U32_MAX};
use crate::config::kind::{Kind, Notation};
use crate::config::parameter::{Effect, Parameter};

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::number("port", (0, 65_535), "6379", "plain TCP port")
        .effect(Effect::Listeners)
        .works(|c, v| c.network.port = v.number()),
    Parameter::of(Kind::Addresses, "bind", "* -::*", "listening addresses")
        .effect(Effect::Listeners)
        .works(|c, v| c.network.bind = v.strings()),
    Parameter::text("bind-source-addr", "", "source address for outgoing connections")
        .later(REPLICATION),
    Parameter::text("unixsocket", "", "path of the Unix socket")
        .immutable()
        .works(|c, v| c.network.unix_socket = v.path()),
    Parameter::text("unixsocketgroup", "", "group owner of the Unix socket").immutable().works(
        |c, v| c.network.unix_socket_group = Some(v.string()).filter(|name| !name.is_empty()),
    ),
    Parameter::of(
        Kind::Number { lower: 0, upper: 0o777, notation: Notation::Octal },
        "unixsocketperm",
        "0",
        "mode bits of the Unix socket",
    )
    .immutable()
    .works(|c, v| c.network.unix_socket_mode = v.number()),
    Parameter::number("tcp-backlog", (0, I32_MAX), "511", "listen queue length")
        .immutable()
        .works(|c, v| c.network.backlog = v.number()),
    Parameter::number("tcp-keepalive", (0, I32_MAX), "300", "keepalive seconds on client sockets")
        .works(|c, v| c.network.tcp_keepalive_s = v.number()),
    Parameter::number("timeout", (0, I32_MAX), "0", "idle seconds before disconnect")
        .works(|c, v| c.network.idle_timeout_s = v.number()),
    Parameter::flag("protected-mode", "yes", "loopback only while no password")
        .works(|c, v| c.network.protected_mode = v.flag()),
    Parameter::number("maxclients", (1, U32_MAX), "10000", "connection limit")
        .effect(Effect::MaxClients)
        .works(|c, v| c.network.clients_max = v.number()),
    Parameter::number("socket-mark-id", (0, U32_MAX), "0", "firewall mark on sockets")
        .immutable()
        .works(|c, v| c.network.socket_mark = v.number()),
    Parameter::flag("mptcp", "no", "multipath TCP on listeners").immutable().later(MPTCP),
    Parameter::of(Kind::Addresses, "rdma-bind", "", "RDMA listening addresses"),
    Parameter::number("rdma-port", (0, 65_535), "0", "RDMA port"),
    Parameter::number("rdma-rx-size", (65_536, 16_777_216), "1048576", "RDMA receive buffer bytes")
        .immutable(),
    Parameter::number("rdma-completion-vector", (-1, 1_024), "-1", "RDMA completion queue vector")
        .immutable(),
    Parameter::number(
        "max-new-connections-per-cycle",
        (1, 1_000),
        "10",
        "accepts per event loop turn",
    ),
];
