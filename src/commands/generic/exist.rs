//! Whether keys exist, and their removal: DEL, UNLINK, EXISTS, TOUCH, TYPE.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::ValueType;

use super::sum;
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::transaction::{Request, Transaction};

pub(super) const DEL: Command = Command {
    name: "del",
    summary: "Deletes one or more keys.",
    complexity: "O(N) where N is the number of keys that will be removed. When a key to \
        remove holds a value other than a string, the individual complexity for \
        this key is O(M) where M is the number of elements in the list, set, sorted \
        set or hash. Removing a single key that holds a string value is O(1).",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::at_least(2),
    flags: Flags::WRITE,
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RM.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: del, spread: del_spread },
    ..Command::BASE
};

fn del(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    sum::whole(context, args, reply, remove_key);
    Ok(())
}

fn del_spread(transaction: Transaction, request: Request) -> Coordination {
    sum::spread(transaction, request, remove_key)
}

pub(super) const UNLINK: Command = Command {
    name: "unlink",
    summary: "Asynchronously deletes one or more keys.",
    complexity: "O(1) for each key removed regardless of its size. Then the command does \
        O(N) work in a different thread in order to reclaim memory, where N is the \
        number of allocations the deleted objects where composed of.",
    since: "4.0.0",
    group: Group::Generic,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RM.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: unlink, spread: unlink_spread },
    ..Command::BASE
};

fn unlink(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    sum::whole(context, args, reply, remove_key);
    Ok(())
}

fn unlink_spread(transaction: Transaction, request: Request) -> Coordination {
    sum::spread(transaction, request, remove_key)
}

pub(super) const EXISTS: Command = Command {
    name: "exists",
    summary: "Determines whether one or more keys exist.",
    complexity: "O(N) where N is the number of keys to check.",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::at_least(2),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0).multiple()],
    history: &[("3.0.3", "Accepts multiple `key` arguments.")],
    handler: Handler::Multi { whole: exists, spread: exists_spread },
    ..Command::BASE
};

fn exists(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    sum::whole(context, args, reply, key_exists);
    Ok(())
}

fn exists_spread(transaction: Transaction, request: Request) -> Coordination {
    sum::spread(transaction, request, key_exists)
}

pub(super) const TOUCH: Command = Command {
    name: "touch",
    summary: "Returns the number of existing keys out of those specified after updating the \
        time they were last accessed.",
    complexity: "O(N) where N is the number of keys that will be touched.",
    since: "3.2.1",
    group: Group::Generic,
    arity: Arity::at_least(2),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: touch, spread: touch_spread },
    ..Command::BASE
};

fn touch(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    sum::whole(context, args, reply, touch_key);
    Ok(())
}

fn touch_spread(transaction: Transaction, request: Request) -> Coordination {
    sum::spread(transaction, request, touch_key)
}

/// Removes a key. What takes long to free is freed later, also for DEL.
fn remove_key(context: &mut ShardContext<'_>, key: &[u8]) -> bool {
    let key = context.key(key);
    let removed = context.shard.remove(context.db, &key);
    context.changed(u64::from(removed));
    removed
}

/// Counted as a read, but not noted as an access.
fn key_exists(context: &mut ShardContext<'_>, key: &[u8]) -> bool {
    let key = context.key(key);
    let exists = context.shard.exists(context.db, &key);
    context.note_lookup(&key, exists);
    exists
}

/// Notes an access, even for a client with `CLIENT NO-TOUCH`.
fn touch_key(context: &mut ShardContext<'_>, key: &[u8]) -> bool {
    let key = context.key(key);
    let exists = context.shard.touch(context.db, &key);
    context.note_lookup(&key, exists);
    exists
}

pub(super) const TYPE: Command = Command {
    name: "type",
    summary: "Determines the type of value stored at a key.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(type_of),
    ..Command::BASE
};

fn type_of(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let value_type = context.shard.value_type(context.db, &key);
    context.note_lookup(&key, value_type.is_some());
    reply.simple(value_type.map_or("none", ValueType::name));
    Ok(())
}
