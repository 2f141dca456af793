//! Counters: INCR, DECR, INCRBY, DECRBY and INCRBYFLOAT.

use kvasir_proto::long_double::{LongDouble, LongDoubleText};
use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, Key, NewValue, Ttl, ValueRef};

use crate::commands::arguments::integer;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// The integer that a key holds; 0 for a missing one.
pub(super) fn stored_integer(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
) -> Result<i64, CommandError> {
    match context.look(key) {
        None => Ok(0),
        Some(ValueRef::Int(value)) => Ok(value),
        Some(value) => value.with_bytes(integer).ok_or(CommandError::WrongType)?,
    }
}

fn add(
    context: &mut ShardContext<'_>,
    key: &[u8],
    amount: i64,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(key);
    let old = stored_integer(context, &key)?;
    let new = old
        .checked_add(amount)
        .ok_or(CommandError::Other("ERR increment or decrement would overflow"))?;
    context.shard.set_int(context.db, &key, new)?;
    context.event("incrby", &key);
    context.changed(1);
    reply.integer(new);
    Ok(())
}

pub(super) const INCR: Command = Command {
    name: "incr",
    summary: "Increments the integer value of a key by one. Uses 0 as initial value if the \
        key doesn't exist.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(2),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(incr),
    ..Command::BASE
};

fn incr(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    add(context, args.at(1), 1, reply)
}

pub(super) const DECR: Command = Command {
    name: "decr",
    summary: "Decrements the integer value of a key by one. Uses 0 as initial value if the \
        key doesn't exist.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(2),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(decr),
    ..Command::BASE
};

fn decr(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    add(context, args.at(1), -1, reply)
}

pub(super) const INCRBY: Command = Command {
    name: "incrby",
    summary: "Increments the integer value of a key by a number. Uses 0 as initial value if \
        the key doesn't exist.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("increment")],
    handler: Handler::Shard(incrby),
    ..Command::BASE
};

fn incrby(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    add(context, args.at(1), integer(args.at(2))?, reply)
}

pub(super) const DECRBY: Command = Command {
    name: "decrby",
    summary: "Decrements a number from the integer value of a key. Uses 0 as initial value \
        if the key doesn't exist.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("decrement")],
    handler: Handler::Shard(decrby),
    ..Command::BASE
};

fn decrby(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let amount = integer(args.at(2))?
        .checked_neg()
        .ok_or(CommandError::Other("ERR decrement would overflow"))?;
    add(context, args.at(1), amount, reply)
}

pub(super) const INCRBYFLOAT: Command = Command {
    name: "incrbyfloat",
    summary: "Increment the floating point value of a key by a number. Uses 0 as initial \
        value if the key doesn't exist.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::String,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::double("increment")],
    handler: Handler::Shard(incrbyfloat),
    ..Command::BASE
};

/// The error of a sum that is no number.
const NO_NUMBER: CommandError = CommandError::Other("ERR increment would produce NaN or Infinity");

/// Reads a number with the precision of the peers' `long double`.
fn float(text: &[u8]) -> Result<LongDoubleText, CommandError> {
    LongDouble::parse(text).ok_or(CommandError::NotAFloat)
}

fn incrbyfloat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let old = match context.look(&key) {
        None => LongDoubleText::Finite(LongDouble::ZERO),
        Some(value) => value.with_bytes(float).ok_or(CommandError::WrongType)??,
    };
    let sum = match (old, float(args.at(2))?) {
        (LongDoubleText::Finite(old), LongDoubleText::Finite(amount)) => old.checked_add(amount),
        _ => None,
    };
    let sum = sum.ok_or(NO_NUMBER)?;
    let mut text = Vec::new();
    sum.append_to(&mut text);
    let (value, why) = (NewValue::Text(&text), ChangeKind::Event("incrbyfloat"));
    context.shard.set_as(context.db, &key, value, Ttl::Keep, why)?;
    context.changed(1);
    context.log_set(key.bytes, value, Ttl::Keep);
    reply.bulk(&text);
    Ok(())
}
