//! Deadlines of members: SEXPIRE and its kin, in the form of the hash commands.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::ExpiryUnit;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::element_expiry::{Elements, Form, expire, persist, tell};
use crate::errors::CommandError;

/// `MEMBERS count member ...`.
const NAMES: Arg =
    Arg::block("members", &[Arg::integer("nummembers"), Arg::string("member").multiple()])
        .after("MEMBERS");
/// What the old deadline must be for the new one to be set.
const CONDITION: Arg = Arg::one_of(
    "condition",
    &[
        Arg::token("nx", "NX"),
        Arg::token("xx", "XX"),
        Arg::token("gt", "GT"),
        Arg::token("lt", "LT"),
    ],
)
.optional();

/// What the definitions have in common.
const BASE: Command = Command {
    complexity: "O(N) where N is the number of specified members",
    since: "0.1.0",
    group: Group::Set,
    ..Command::BASE
};
/// Of those that change a deadline.
const CHANGE: Command = Command {
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ..BASE
};
/// Of those that tell one.
const TELL: Command = Command {
    arity: Arity::at_least(5),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), NAMES],
    ..BASE
};

pub(super) const SEXPIRE: Command = Command {
    name: "sexpire",
    summary: "Sets the expiry of set members by a relative time (seconds).",
    args: &[Arg::key("key", 0), Arg::integer("seconds"), CONDITION, NAMES],
    handler: Handler::Shard(sexpire),
    ..CHANGE
};

fn sexpire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Members, context, args, reply, ExpiryUnit::Seconds, "sexpire")
}

pub(super) const SPEXPIRE: Command = Command {
    name: "spexpire",
    summary: "Sets the expiry of set members by a relative time (milliseconds).",
    args: &[Arg::key("key", 0), Arg::integer("milliseconds"), CONDITION, NAMES],
    handler: Handler::Shard(spexpire),
    ..CHANGE
};

fn spexpire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Members, context, args, reply, ExpiryUnit::Milliseconds, "spexpire")
}

pub(super) const SEXPIREAT: Command = Command {
    name: "sexpireat",
    summary: "Sets the expiry of set members by an absolute Unix timestamp (seconds).",
    args: &[Arg::key("key", 0), Arg::unix_time("unix-time-seconds"), CONDITION, NAMES],
    handler: Handler::Shard(sexpireat),
    ..CHANGE
};

fn sexpireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Members, context, args, reply, ExpiryUnit::UnixSeconds, "sexpireat")
}

pub(super) const SPEXPIREAT: Command = Command {
    name: "spexpireat",
    summary: "Sets the expiry of set members by an absolute Unix timestamp (milliseconds).",
    args: &[Arg::key("key", 0), Arg::unix_time("unix-time-milliseconds"), CONDITION, NAMES],
    handler: Handler::Shard(spexpireat),
    ..CHANGE
};

fn spexpireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Members, context, args, reply, ExpiryUnit::UnixMilliseconds, "spexpireat")
}

pub(super) const SPERSIST: Command = Command {
    name: "spersist",
    summary: "Removes the expiry of set members.",
    arity: Arity::at_least(5),
    args: &[Arg::key("key", 0), NAMES],
    handler: Handler::Shard(spersist),
    ..CHANGE
};

fn spersist(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    persist(Elements::Members, context, args, reply)
}

pub(super) const STTL: Command = Command {
    name: "sttl",
    summary: "Returns the time to live of set members in seconds.",
    handler: Handler::Shard(sttl),
    ..TELL
};

fn sttl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Members, context, args, reply, Form::Seconds)
}

pub(super) const SPTTL: Command = Command {
    name: "spttl",
    summary: "Returns the time to live of set members in milliseconds.",
    handler: Handler::Shard(spttl),
    ..TELL
};

fn spttl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Members, context, args, reply, Form::Milliseconds)
}

pub(super) const SEXPIRETIME: Command = Command {
    name: "sexpiretime",
    summary: "Returns the expiry of set members as a Unix timestamp in seconds.",
    handler: Handler::Shard(sexpiretime),
    ..TELL
};

fn sexpiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Members, context, args, reply, Form::UnixSeconds)
}

pub(super) const SPEXPIRETIME: Command = Command {
    name: "spexpiretime",
    summary: "Returns the expiry of set members as a Unix timestamp in milliseconds.",
    handler: Handler::Shard(spexpiretime),
    ..TELL
};

fn spexpiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Members, context, args, reply, Form::UnixMilliseconds)
}
