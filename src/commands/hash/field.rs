//! Single fields: HGET, HSET and their kin.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{FieldTtl, NewValue};

use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Command, Deprecation, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::commands::string::encode_string;
use crate::errors::CommandError;

/// Sets the fields and values from the third argument on; how many fields are new.
fn set_fields(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    command: &'static str,
) -> Result<i64, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::WrongArity(command.to_owned()));
    }
    let key = context.key(args.at(1));
    let added = context.shard.update_hash(context.db, &key, |hash| {
        let mut added = 0;
        for at in (2..args.len()).step_by(2) {
            let value = NewValue::Bytes(args.at(at + 1));
            added += i64::from(hash.set(args.at(at), value, FieldTtl::Clear)?);
        }
        hash.event("hset");
        Ok::<_, CommandError>(added)
    })??;
    context.changed((args.len() / 2 - 1) as u64);
    Ok(added)
}

pub(super) const HSET: Command = Command {
    name: "hset",
    summary: "Creates or modifies the value of a field in a hash.",
    complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs \
        when the command is called with multiple field/value pairs.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
    ],
    history: &[("4.0.0", "Accepts multiple `field` and `value` arguments.")],
    element: Some(2),
    handler: Handler::Shard(hset),
    ..Command::BASE
};

fn hset(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let added = set_fields(context, args, "hset")?;
    reply.integer(added);
    Ok(())
}

pub(super) const HMSET: Command = Command {
    name: "hmset",
    summary: "Sets the values of multiple fields.",
    complexity: "O(N) where N is the number of fields being set.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
    ],
    deprecated: Some(Deprecation {
        since: "4.0.0",
        replaced_by: "`HSET` with multiple field-value pairs",
    }),
    element: Some(2),
    handler: Handler::Shard(hmset),
    ..Command::BASE
};

fn hmset(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    set_fields(context, args, "hmset")?;
    reply.ok();
    Ok(())
}

pub(super) const HSETNX: Command = Command {
    name: "hsetnx",
    summary: "Sets the value of a field in a hash only when the field doesn't exist.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("field"), Arg::string("value")],
    element: Some(2),
    handler: Handler::Shard(hsetnx),
    ..Command::BASE
};

fn hsetnx(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let is_new = context.shard.update_hash(context.db, &key, |hash| {
        if hash.view().exists(args.at(2)) {
            return Ok(false);
        }
        hash.set(args.at(2), NewValue::Bytes(args.at(3)), FieldTtl::Clear)?;
        hash.event("hset");
        Ok::<_, CommandError>(true)
    })??;
    context.changed(u64::from(is_new));
    reply.integer(i64::from(is_new));
    Ok(())
}

pub(super) const HGET: Command = Command {
    name: "hget",
    summary: "Returns the value of a field in a hash.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("field")],
    element: Some(2),
    handler: Handler::Shard(hget),
    ..Command::BASE
};

fn hget(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let hash = context.read_hash(&key)?;
    encode_string(hash.and_then(|hash| hash.get(args.at(2))), reply)
}

pub(super) const HMGET: Command = Command {
    name: "hmget",
    summary: "Returns the values of all fields in a hash.",
    complexity: "O(N) where N is the number of fields being requested.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("field").multiple()],
    element: Some(2),
    handler: Handler::Shard(hmget),
    ..Command::BASE
};

fn hmget(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let hash = context.read_hash(&key)?;
    reply.array(args.len() - 2);
    for field in args.tail(2).iter() {
        encode_string(hash.and_then(|hash| hash.get(field)), reply)?;
    }
    Ok(())
}

pub(super) const HEXISTS: Command = Command {
    name: "hexists",
    summary: "Determines whether a field exists in a hash.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0), Arg::string("field")],
    element: Some(2),
    handler: Handler::Shard(hexists),
    ..Command::BASE
};

fn hexists(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let exists = context.read_hash(&key)?.is_some_and(|hash| hash.exists(args.at(2)));
    reply.integer(i64::from(exists));
    Ok(())
}

pub(super) const HSTRLEN: Command = Command {
    name: "hstrlen",
    summary: "Returns the length of the value of a field.",
    complexity: "O(1)",
    since: "3.2.0",
    group: Group::Hash,
    arity: Arity::exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0), Arg::string("field")],
    element: Some(2),
    handler: Handler::Shard(hstrlen),
    ..Command::BASE
};

fn hstrlen(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let value = context.read_hash(&key)?.and_then(|hash| hash.get(args.at(2)));
    let length = value.and_then(|value| value.string_len()).unwrap_or(0);
    reply.integer(length as i64);
    Ok(())
}

pub(super) const HLEN: Command = Command {
    name: "hlen",
    summary: "Returns the number of fields in a hash.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(hlen),
    ..Command::BASE
};

fn hlen(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let length = context.read_hash(&key)?.map_or(0, |hash| hash.len());
    reply.integer(length as i64);
    Ok(())
}

pub(super) const HDEL: Command = Command {
    name: "hdel",
    summary: "Deletes one or more fields and their values from a hash. Deletes the hash if \
        no fields remain.",
    complexity: "O(N) where N is the number of fields to be removed.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("field").multiple()],
    history: &[("2.4.0", "Accepts multiple `field` arguments.")],
    element: Some(2),
    handler: Handler::Shard(hdel),
    ..Command::BASE
};

fn hdel(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let removed = context.shard.update_hash(context.db, &key, |hash| {
        let removed = args.tail(2).iter().filter(|field| hash.remove(field)).count();
        if removed > 0 {
            hash.event("hdel");
        }
        removed
    })?;
    context.changed(removed as u64);
    reply.integer(removed as i64);
    Ok(())
}
