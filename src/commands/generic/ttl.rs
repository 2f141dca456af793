//! What is left of a key's time: TTL, PTTL, EXPIRETIME, PEXPIRETIME, and PERSIST.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// The reply for a missing key.
const NO_KEY: i64 = -2;
/// The reply for a key without a deadline.
const NO_DEADLINE: i64 = -1;

/// Replies with what `convert` makes of a key's deadline and the present time, in milliseconds.
fn reply_time(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    convert: fn(u64, u64) -> u64,
) {
    let key = context.key(args.at(1));
    let deadline = context.shard.deadline(context.db, &key);
    context.note_lookup(&key, deadline.is_some());
    reply.integer(match deadline {
        None => NO_KEY,
        Some(None) => NO_DEADLINE,
        Some(Some(deadline)) => convert(deadline, context.shard.now_ms()) as i64,
    });
}

/// Milliseconds as the nearest number of seconds.
fn in_seconds(ms: u64) -> u64 {
    (ms + 500) / 1000
}

pub(super) const TTL: Command = Command {
    name: "ttl",
    summary: "Returns the expiration time in seconds of a key.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    history: &[("2.8.0", "Added the -2 reply.")],
    handler: Handler::Shard(ttl),
    ..Command::BASE
};

fn ttl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply_time(context, args, reply, |deadline, now| in_seconds(deadline.saturating_sub(now)));
    Ok(())
}

pub(super) const PTTL: Command = Command {
    name: "pttl",
    summary: "Returns the expiration time in milliseconds of a key.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    history: &[("2.8.0", "Added the -2 reply.")],
    handler: Handler::Shard(pttl),
    ..Command::BASE
};

fn pttl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply_time(context, args, reply, u64::saturating_sub);
    Ok(())
}

pub(super) const EXPIRETIME: Command = Command {
    name: "expiretime",
    summary: "Returns the expiration time of a key as a Unix timestamp.",
    complexity: "O(1)",
    since: "7.0.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(expiretime),
    ..Command::BASE
};

fn expiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply_time(context, args, reply, |deadline, _| in_seconds(deadline));
    Ok(())
}

pub(super) const PEXPIRETIME: Command = Command {
    name: "pexpiretime",
    summary: "Returns the expiration time of a key as a Unix milliseconds timestamp.",
    complexity: "O(1)",
    since: "7.0.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(pexpiretime),
    ..Command::BASE
};

fn pexpiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply_time(context, args, reply, |deadline, _| deadline);
    Ok(())
}

pub(super) const PERSIST: Command = Command {
    name: "persist",
    summary: "Removes the expiration time of a key.",
    complexity: "O(1)",
    since: "2.2.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(persist),
    ..Command::BASE
};

fn persist(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let persisted = context.shard.persist(context.db, &key)?;
    context.changed(u64::from(persisted));
    reply.integer(i64::from(persisted));
    Ok(())
}
