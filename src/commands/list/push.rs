//! Adding at the ends: LPUSH, RPUSH, LPUSHX, RPUSHX.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::End;

use super::arguments::push_event;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// What a push does when there is no list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Missing {
    /// It makes one.
    Create,
    /// Nothing.
    Leave,
}

pub(super) const LPUSH: Command = Command {
    name: "lpush",
    summary: "Prepends one or more elements to a list. Creates the key if it doesn't exist.",
    complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
        called with multiple arguments.",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("element").multiple()],
    history: &[("2.4.0", "Accepts multiple `element` arguments.")],
    handler: Handler::Shard(lpush),
    ..Command::BASE
};

fn lpush(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    push(context, args, End::Front, Missing::Create, reply)
}

pub(super) const RPUSH: Command = Command {
    name: "rpush",
    summary: "Appends one or more elements to a list. Creates the key if it doesn't exist.",
    complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
        called with multiple arguments.",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("element").multiple()],
    history: &[("2.4.0", "Accepts multiple `element` arguments.")],
    handler: Handler::Shard(rpush),
    ..Command::BASE
};

fn rpush(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    push(context, args, End::Back, Missing::Create, reply)
}

pub(super) const LPUSHX: Command = Command {
    name: "lpushx",
    summary: "Prepends one or more elements to a list only when the list exists.",
    complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
        called with multiple arguments.",
    since: "2.2.0",
    group: Group::List,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("element").multiple()],
    history: &[("4.0.0", "Accepts multiple `element` arguments.")],
    handler: Handler::Shard(lpushx),
    ..Command::BASE
};

fn lpushx(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    push(context, args, End::Front, Missing::Leave, reply)
}

pub(super) const RPUSHX: Command = Command {
    name: "rpushx",
    summary: "Appends an element to a list only when the list exists.",
    complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
        called with multiple arguments.",
    since: "2.2.0",
    group: Group::List,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("element").multiple()],
    history: &[("4.0.0", "Accepts multiple `element` arguments.")],
    handler: Handler::Shard(rpushx),
    ..Command::BASE
};

fn rpushx(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    push(context, args, End::Back, Missing::Leave, reply)
}

#[inline]
fn push(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    end: End,
    missing: Missing,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let len = context.shard.update_list(context.db, &key, |list| {
        if missing == Missing::Leave && list.is_empty() {
            return 0;
        }
        for element in args.iter().skip(2) {
            list.push(end, element);
        }
        list.event(push_event(end));
        list.len()
    })?;
    if len > 0 {
        context.changed(args.len() as u64 - 2);
    }
    reply.integer(len as i64);
    Ok(())
}
