//! Deadlines of members: ZEXPIRE and its kin, in the form of the hash commands.

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
    group: Group::SortedSet,
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

pub(super) const ZEXPIRE: Command = Command {
    name: "zexpire",
    summary: "Sets the expiry of sorted-set members by a relative time (seconds).",
    args: &[Arg::key("key", 0), Arg::integer("seconds"), CONDITION, NAMES],
    handler: Handler::Shard(zexpire),
    ..CHANGE
};

fn zexpire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Scored, context, args, reply, ExpiryUnit::Seconds, "zexpire")
}

pub(super) const ZPEXPIRE: Command = Command {
    name: "zpexpire",
    summary: "Sets the expiry of sorted-set members by a relative time (milliseconds).",
    args: &[Arg::key("key", 0), Arg::integer("milliseconds"), CONDITION, NAMES],
    handler: Handler::Shard(zpexpire),
    ..CHANGE
};

fn zpexpire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Scored, context, args, reply, ExpiryUnit::Milliseconds, "zpexpire")
}

pub(super) const ZEXPIREAT: Command = Command {
    name: "zexpireat",
    summary: "Sets the expiry of sorted-set members by an absolute Unix timestamp (seconds).",
    args: &[Arg::key("key", 0), Arg::unix_time("unix-time-seconds"), CONDITION, NAMES],
    handler: Handler::Shard(zexpireat),
    ..CHANGE
};

fn zexpireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Scored, context, args, reply, ExpiryUnit::UnixSeconds, "zexpireat")
}

pub(super) const ZPEXPIREAT: Command = Command {
    name: "zpexpireat",
    summary: "Sets the expiry of sorted-set members by an absolute Unix timestamp (milliseconds).",
    args: &[Arg::key("key", 0), Arg::unix_time("unix-time-milliseconds"), CONDITION, NAMES],
    handler: Handler::Shard(zpexpireat),
    ..CHANGE
};

fn zpexpireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire(Elements::Scored, context, args, reply, ExpiryUnit::UnixMilliseconds, "zpexpireat")
}

pub(super) const ZPERSIST: Command = Command {
    name: "zpersist",
    summary: "Removes the expiry of sorted-set members.",
    arity: Arity::at_least(5),
    args: &[Arg::key("key", 0), NAMES],
    handler: Handler::Shard(zpersist),
    ..CHANGE
};

fn zpersist(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    persist(Elements::Scored, context, args, reply)
}

pub(super) const ZTTL: Command = Command {
    name: "zttl",
    summary: "Returns the time to live of sorted-set members in seconds.",
    handler: Handler::Shard(zttl),
    ..TELL
};

fn zttl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Scored, context, args, reply, Form::Seconds)
}

pub(super) const ZPTTL: Command = Command {
    name: "zpttl",
    summary: "Returns the time to live of sorted-set members in milliseconds.",
    handler: Handler::Shard(zpttl),
    ..TELL
};

fn zpttl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Scored, context, args, reply, Form::Milliseconds)
}

pub(super) const ZEXPIRETIME: Command = Command {
    name: "zexpiretime",
    summary: "Returns the expiry of sorted-set members as a Unix timestamp in seconds.",
    handler: Handler::Shard(zexpiretime),
    ..TELL
};

fn zexpiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Scored, context, args, reply, Form::UnixSeconds)
}

pub(super) const ZPEXPIRETIME: Command = Command {
    name: "zpexpiretime",
    summary: "Returns the expiry of sorted-set members as a Unix timestamp in milliseconds.",
    handler: Handler::Shard(zpexpiretime),
    ..TELL
};

fn zpexpiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(Elements::Scored, context, args, reply, Form::UnixMilliseconds)
}
