//! GET and what reads, replaces or removes one string: GETDEL, GETEX, GETSET, STRLEN.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{NewValue, Ttl, ValueRef};

use crate::commands::arguments::{ExpiryUnit, Options, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Command, Deprecation, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::errors::CommandError;

/// Encodes a string value, or null for a missing key.
pub(in crate::commands) fn encode_string(
    value: Option<ValueRef<'_>>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    match value {
        None => reply.null(),
        Some(ValueRef::Int(value)) => reply.bulk_integer(value),
        Some(ValueRef::Bytes(bytes)) => reply.bulk(bytes),
        Some(value) => {
            value.with_bytes(|bytes| reply.bulk(bytes)).ok_or(CommandError::WrongType)?;
        }
    }
    Ok(())
}

pub(super) const GET: Command = Command {
    name: "get",
    summary: "Returns the string value of a key.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(get),
    ..Command::BASE
};

fn get(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    encode_string(context.read(&key), reply)
}

pub(super) const GETDEL: Command = Command {
    name: "getdel",
    summary: "Returns the string value of a key after deleting the key.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::String,
    arity: Arity::exactly(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(getdel),
    ..Command::BASE
};

fn getdel(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let value = context.read(&key);
    let found = value.is_some();
    encode_string(value, reply)?;
    if found {
        context.shard.remove(context.db, &key);
        context.changed(1);
        context.log_as(&[b"DEL", key.bytes]);
    }
    Ok(())
}

pub(super) const GETSET: Command = Command {
    name: "getset",
    summary: "Returns the previous string value of a key after setting it to a new value.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::string("value")],
    deprecated: Some(Deprecation { since: "6.2.0", replaced_by: "`SET` with the `!GET` argument" }),
    handler: Handler::Shard(getset),
    ..Command::BASE
};

fn getset(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    encode_string(context.read(&key), reply)?;
    let value = NewValue::Bytes(args.at(2));
    context.shard.set(context.db, &key, value, Ttl::Clear)?;
    context.changed(1);
    context.log_set(key.bytes, value, Ttl::Clear);
    Ok(())
}

pub(super) const STRLEN: Command = Command {
    name: "strlen",
    summary: "Returns the length of a string value.",
    complexity: "O(1)",
    since: "2.2.0",
    group: Group::String,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(strlen),
    ..Command::BASE
};

fn strlen(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let len = match context.read(&key) {
        None => 0,
        Some(value) => value.string_len().ok_or(CommandError::WrongType)?,
    };
    reply.integer(len as i64);
    Ok(())
}

pub(super) const GETEX: Command = Command {
    name: "getex",
    summary: "Returns the string value of a key after setting its expiration time.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::String,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))
        .notes("RW and UPDATE because it changes the TTL")],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "expiration",
            &[
                Arg::integer("seconds").after("EX"),
                Arg::integer("milliseconds").after("PX"),
                Arg::unix_time("unix-time-seconds").after("EXAT"),
                Arg::unix_time("unix-time-milliseconds").after("PXAT"),
                Arg::token("persist", "PERSIST"),
            ],
        )
        .optional(),
    ],
    handler: Handler::Shard(getex),
    ..Command::BASE
};

/// What GETEX does to the deadline. The amount is looked at only when there is a key.
enum GetexOption<'a> {
    Leave,
    Persist,
    Expire(ExpiryUnit, &'a [u8]),
}

fn getex_option(args: Args<'_>) -> Result<GetexOption<'_>, CommandError> {
    let mut options = Options::new(args, 2);
    let mut option = GetexOption::Leave;
    while let Some(word) = options.next() {
        // An option may be repeated; the last amount counts. Two different ones may not meet.
        option = match (ExpiryUnit::of_word(word), option) {
            (Some(unit), GetexOption::Leave) => GetexOption::Expire(unit, options.value()?),
            (Some(unit), GetexOption::Expire(same, _)) if unit == same => {
                GetexOption::Expire(unit, options.value()?)
            }
            (None, GetexOption::Leave | GetexOption::Persist) if is_word(word, "PERSIST") => {
                GetexOption::Persist
            }
            _ => return Err(CommandError::Syntax),
        };
    }
    Ok(option)
}

fn getex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let option = getex_option(args)?;
    let key = context.key(args.at(1));
    let value = context.read(&key);
    let found = value.is_some();
    encode_string(value, reply)?;
    if !found {
        return Ok(());
    }
    match option {
        GetexOption::Leave => {}
        GetexOption::Persist => {
            if context.shard.persist(context.db, &key)? {
                context.changed(1);
                context.log_as(&[b"PERSIST", key.bytes]);
            }
        }
        GetexOption::Expire(unit, amount) => {
            let now_ms = context.shard.now_ms();
            let deadline = unit.positive_deadline(amount, now_ms, "getex")?;
            // A moment that has passed is the key's end at once.
            if deadline <= context.shard.due_ms() {
                context.end(&key);
            } else {
                context.shard.set_deadline(context.db, &key, deadline)?;
                context.log_deadline(key.bytes, deadline, []);
            }
            context.changed(1);
        }
    }
    Ok(())
}
