//! Members off the ends, waited for where there are none: BZPOPMIN, BZPOPMAX, BZMPOP.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::ValueType;

use super::pop::{MultiPop, Shape, Side, pop};
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Attempt, Blocking, Command, Flags, Group, Handler, KeyFlags, KeySpec, Patience,
    SpreadAttempt,
};
use crate::commands::keys::counted_keys;
use crate::errors::CommandError;

/// What these commands have in common.
const WAITS: Blocking = Blocking {
    patience: |args| Patience::of_seconds(args.at(args.len() - 1)),
    awaits: ValueType::SortedSet,
    shares: false,
    notices_loss: false,
    whole: bzpopmin,
    spread: SpreadAttempt::FirstKey,
    nothing: |reply| reply.null_array(),
    not_waiting: |reply| reply.null_array(),
};

pub(super) const BZPOPMIN: Command = Command {
    name: "bzpopmin",
    summary: "Removes and returns the member with the lowest score from one or more sorted \
        sets. Blocks until a member is available otherwise. Deletes the sorted set if \
        the last element was popped.",
    complexity: "O(log(N)) with N being the number of elements in the sorted set.",
    since: "5.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::FAST),
    keys: &[KeySpec::at(1)
        .range(-2, 1, 0)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple(), Arg::double("timeout")],
    history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
    handler: Handler::Blocking(&Blocking { whole: bzpopmin, ..WAITS }),
    ..Command::BASE
};

fn bzpopmin(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    pop_first(context, args, 1..args.len() - 1, (Side::Min, 1, Shape::Keyed), reply)
}

pub(super) const BZPOPMAX: Command = Command {
    name: "bzpopmax",
    summary: "Removes and returns the member with the highest score from one or more sorted \
        sets. Blocks until a member available otherwise.  Deletes the sorted set if \
        the last element was popped.",
    complexity: "O(log(N)) with N being the number of elements in the sorted set.",
    since: "5.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::FAST),
    keys: &[KeySpec::at(1)
        .range(-2, 1, 0)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple(), Arg::double("timeout")],
    history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
    handler: Handler::Blocking(&Blocking { whole: bzpopmax, ..WAITS }),
    ..Command::BASE
};

fn bzpopmax(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    pop_first(context, args, 1..args.len() - 1, (Side::Max, 1, Shape::Keyed), reply)
}

/// Pops from the first of some keys that exists.
fn pop_first(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    keys: std::ops::Range<usize>,
    (side, count, shape): (Side, usize, Shape),
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    for at in keys {
        if pop(context, (args, at), side, count, shape, reply)? {
            return Ok(Attempt::Done);
        }
    }
    Ok(Attempt::Wait)
}

pub(super) const BZMPOP: Command = Command {
    name: "bzmpop",
    summary: "Removes and returns a member by score from one or more sorted sets. Blocks \
        until a member is available otherwise. Deletes the sorted set if the last \
        element was popped.",
    complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the \
        number of elements in the sorted set, and M being the number of elements \
        popped.",
    since: "7.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(2)
        .key_num(0, 1, 1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    find_keys: Some(find_awaited),
    args: &[
        Arg::double("timeout"),
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::one_of("where", &[Arg::token("min", "MIN"), Arg::token("max", "MAX")]),
        Arg::integer("count").after("COUNT").optional(),
    ],
    handler: Handler::Blocking(&Blocking { patience: bzmpop_patience, whole: bzmpop, ..WAITS }),
    ..Command::BASE
};

fn find_awaited(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    counted_keys(args, 2, None, found);
}

/// What is wrong with the other arguments is told first.
fn bzmpop_patience(args: Args<'_>) -> Result<Patience, CommandError> {
    MultiPop::parse(args, 2)?;
    Patience::of_seconds(args.at(1))
}

fn bzmpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    let asked = MultiPop::parse(args, 2)?;
    let what = (asked.side, asked.count, Shape::KeyedPairs);
    pop_first(context, args, asked.range(), what, reply)
}
