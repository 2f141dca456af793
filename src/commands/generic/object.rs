//! What is known of a value besides the value: OBJECT.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::Key;

use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::help::help;
use crate::errors::CommandError;
use crate::route::core::access_stamp;

pub(super) const OBJECT: Command = Command {
    name: "object",
    summary: "A container for object introspection commands.",
    complexity: "Depends on subcommand.",
    since: "2.2.3",
    group: Group::Generic,
    arity: Arity::at_least(2),
    subcommands: &[
        &OBJECT_ENCODING,
        &OBJECT_FREQ,
        &OBJECT_HELP,
        &OBJECT_IDLETIME,
        &OBJECT_REFCOUNT,
    ],
    ..Command::BASE
};

/// Replies with what `look` finds of the key, or null; counted as a read, but not noted as an
/// access.
fn reply_about<T>(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    look: impl FnOnce(&mut ShardContext<'_>, &Key<'_>) -> Option<T>,
    encode: impl FnOnce(&mut Encoder<'_>, T),
) {
    let key = context.key(args.at(2));
    let found = look(context, &key);
    context.count_read(found.is_some());
    match found {
        None => reply.null(),
        Some(found) => encode(reply, found),
    }
}

pub(super) const OBJECT_ENCODING: Command = Command {
    name: "encoding",
    summary: "Returns the internal encoding of an object.",
    complexity: "O(1)",
    since: "2.2.3",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(2).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(encoding),
    ..Command::BASE
};

fn encoding(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let look = |context: &mut ShardContext<'_>, key: &Key<'_>| {
        context.shard.encoding_name(context.db, key)
    };
    reply_about(context, args, reply, look, |reply, name| reply.bulk(name.as_bytes()));
    Ok(())
}

pub(super) const OBJECT_FREQ: Command = Command {
    name: "freq",
    summary: "Returns the logarithmic access frequency counter of an object.",
    complexity: "O(1)",
    since: "4.0.0",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(2).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(freq),
    ..Command::BASE
};

fn freq(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(2));
    let frequency = context.shard.frequency(context.db, &key);
    context.count_read(frequency.is_some());
    let Some(frequency) = frequency else {
        reply.null();
        return Ok(());
    };
    if !context.shard.counts_use() {
        return Err(CommandError::Other(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
             note that when switching between policies at runtime LRU and LFU data will take some \
             time to adjust.",
        ));
    }
    reply.integer(i64::from(frequency));
    Ok(())
}

pub(super) const OBJECT_HELP: Command = help(Group::Generic, "6.2.0", OBJECT_HELP_LINES);

const OBJECT_HELP_LINES: &[&str] = &[
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
];

pub(super) const OBJECT_IDLETIME: Command = Command {
    name: "idletime",
    summary: "Returns the time since the last access to an object.",
    complexity: "O(1)",
    since: "2.2.3",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(2).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(idletime),
    ..Command::BASE
};

fn idletime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let look = |context: &mut ShardContext<'_>, key: &Key<'_>| {
        let stamp = context.shard.access_stamp(context.db, key)?;
        Some(access_stamp(context.shard.now_ms()).wrapping_sub(stamp))
    };
    if context.shard.counts_use() {
        let key = context.key(args.at(2));
        if context.shard.exists(context.db, &key) {
            return Err(CommandError::Other(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that \
                 when switching between policies at runtime LRU and LFU data will take some time \
                 to adjust.",
            ));
        }
    }
    reply_about(context, args, reply, look, |reply, seconds| reply.integer(i64::from(seconds)));
    Ok(())
}

pub(super) const OBJECT_REFCOUNT: Command = Command {
    name: "refcount",
    summary: "Returns the reference count of a value of a key.",
    complexity: "O(1)",
    since: "2.2.3",
    group: Group::Generic,
    arity: Arity::exactly(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(2).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(refcount),
    ..Command::BASE
};

fn refcount(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let look = |context: &mut ShardContext<'_>, key: &Key<'_>| {
        context.shard.exists(context.db, key).then_some(())
    };
    // Values are never shared between keys.
    reply_about(context, args, reply, look, |reply, ()| reply.integer(1));
    Ok(())
}
