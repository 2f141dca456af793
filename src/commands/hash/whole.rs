//! All fields, all values, or both: HGETALL, HKEYS, HVALS.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::ValueRef;

use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// Writes a field or a value.
#[inline]
pub(super) fn encode(value: ValueRef<'_>, reply: &mut Encoder<'_>) {
    match value {
        ValueRef::Bytes(bytes) => reply.bulk(bytes),
        ValueRef::Int(value) => reply.bulk_integer(value),
        ValueRef::Collection(_) => unreachable!("fields and values are strings"),
    }
}

pub(super) const HGETALL: Command = Command {
    name: "hgetall",
    summary: "Returns all fields and values in a hash.",
    complexity: "O(N) where N is the size of the hash.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(hgetall),
    ..Command::BASE
};

fn hgetall(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let Some(hash) = context.read_hash(&key)? else {
        reply.map(0);
        return Ok(());
    };
    if let Some(length) = hash.exact_len() {
        reply.map(length);
        hash.for_each(|field, value, _| {
            encode(field, reply);
            encode(value, reply);
        });
        return Ok(());
    }
    let (deferred, mut length) = (reply.defer_map(), 0);
    hash.for_each(|field, value, _| {
        encode(field, reply);
        encode(value, reply);
        length += 1;
    });
    reply.finish(deferred, length);
    Ok(())
}

/// Which half of a field is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    Name,
    Value,
}

/// Writes one half of every field as an array.
fn write_halves(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    half: Half,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let Some(hash) = context.read_hash(&key)? else {
        reply.array(0);
        return Ok(());
    };
    let (deferred, mut length) = (reply.defer_array(), 0);
    hash.for_each(|field, value, _| {
        encode(if half == Half::Name { field } else { value }, reply);
        length += 1;
    });
    reply.finish(deferred, length);
    Ok(())
}

pub(super) const HKEYS: Command = Command {
    name: "hkeys",
    summary: "Returns all fields in a hash.",
    complexity: "O(N) where N is the size of the hash.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(hkeys),
    ..Command::BASE
};

fn hkeys(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    write_halves(context, args, reply, Half::Name)
}

pub(super) const HVALS: Command = Command {
    name: "hvals",
    summary: "Returns all values in a hash.",
    complexity: "O(N) where N is the size of the hash.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(hvals),
    ..Command::BASE
};

fn hvals(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    write_halves(context, args, reply, Half::Value)
}
