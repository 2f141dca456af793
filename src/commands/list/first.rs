//! Taking from the first of several lists that has an element: LMPOP, and BLPOP, BRPOP and BLMPOP,
//! which wait for one.

use std::ops::Range;

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{End, ValueType};

use super::arguments::{end_of_word, pop_command, pop_event, positive};
use super::pop::pop_many;
use crate::commands::arguments::{Options, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Attempt, Blocking, Command, Flags, Group, Handler, KeyFlags, KeySpec, Patience,
    SpreadAttempt,
};
use crate::commands::keys::counted_keys;
use crate::errors::CommandError;

pub(super) const BLPOP: Command = Command {
    name: "blpop",
    summary: "Removes and returns the first element in a list. Blocks until an element is \
        available otherwise. Deletes the list if the last element was popped.",
    complexity: "O(N) where N is the number of provided keys.",
    since: "2.0.0",
    group: Group::List,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::BLOCKING),
    keys: &[KeySpec::at(1)
        .range(-2, 1, 0)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple(), Arg::double("timeout")],
    history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
    handler: Handler::Blocking(&Blocking {
        patience: of_last,
        awaits: ValueType::List,
        shares: false,
        notices_loss: false,
        whole: blpop,
        spread: SpreadAttempt::FirstKey,
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null_array(),
    }),
    ..Command::BASE
};

fn blpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    pop_first(context, args, &(1..args.len() - 1), End::Front, None, reply)
}

pub(super) const BRPOP: Command = Command {
    name: "brpop",
    summary: "Removes and returns the last element in a list. Blocks until an element is \
        available otherwise. Deletes the list if the last element was popped.",
    complexity: "O(N) where N is the number of provided keys.",
    since: "2.0.0",
    group: Group::List,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::BLOCKING),
    keys: &[KeySpec::at(1)
        .range(-2, 1, 0)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple(), Arg::double("timeout")],
    history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
    handler: Handler::Blocking(&Blocking {
        patience: of_last,
        awaits: ValueType::List,
        shares: false,
        notices_loss: false,
        whole: brpop,
        spread: SpreadAttempt::FirstKey,
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null_array(),
    }),
    ..Command::BASE
};

fn brpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    pop_first(context, args, &(1..args.len() - 1), End::Back, None, reply)
}

/// The timeout after the keys.
fn of_last(args: Args<'_>) -> Result<Patience, CommandError> {
    Patience::of_seconds(args.at(args.len() - 1))
}

/// What LMPOP and BLMPOP ask for.
struct FirstPop {
    keys: Range<usize>,
    end: End,
    count: usize,
}

impl FirstPop {
    /// Reads the arguments from the number of keys on.
    fn parse(args: Args<'_>, number_at: usize) -> Result<Self, CommandError> {
        let keys = positive(args.at(number_at), "ERR numkeys should be greater than 0")?;
        let first = number_at + 1;
        let after = first.checked_add(keys).filter(|after| *after < args.len());
        let after = after.ok_or(CommandError::Syntax)?;
        let mut pop = Self { keys: first..after, end: end_of_word(args.at(after))?, count: 1 };
        let mut options = Options::new(args, after + 1);
        let mut has_count = false;
        while let Some(word) = options.next() {
            if has_count || !is_word(word, "COUNT") {
                return Err(CommandError::Syntax);
            }
            has_count = true;
            pop.count = positive(options.value()?, "ERR count should be greater than 0")?;
        }
        Ok(pop)
    }
}

pub(super) const LMPOP: Command = Command {
    name: "lmpop",
    summary: "Returns multiple elements from a list after removing them. Deletes the list if \
        the last element was popped.",
    complexity: "O(N+M) where N is the number of provided keys and M is the number of \
        elements returned.",
    since: "7.0.0",
    group: Group::List,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1)
        .key_num(0, 1, 1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    find_keys: Some(|args, found| counted_keys(args, 1, None, found)),
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::one_of("where", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::integer("count").after("COUNT").optional(),
    ],
    handler: Handler::Blocking(&Blocking {
        patience: lmpop_patience,
        awaits: ValueType::List,
        shares: false,
        notices_loss: false,
        whole: lmpop,
        spread: SpreadAttempt::FirstKey,
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null_array(),
    }),
    ..Command::BASE
};

/// It does not wait; but it is tried as those that do.
fn lmpop_patience(args: Args<'_>) -> Result<Patience, CommandError> {
    FirstPop::parse(args, 1).map(|_| Patience::None)
}

fn lmpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    let pop = FirstPop::parse(args, 1)?;
    pop_first(context, args, &pop.keys, pop.end, Some(pop.count), reply)
}

pub(super) const BLMPOP: Command = Command {
    name: "blmpop",
    summary: "Pops the first element from one of multiple lists. Blocks until an element is \
        available otherwise. Deletes the list if the last element was popped.",
    complexity: "O(N+M) where N is the number of provided keys and M is the number of \
        elements returned.",
    since: "7.0.0",
    group: Group::List,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(2)
        .key_num(0, 1, 1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    find_keys: Some(|args, found| counted_keys(args, 2, None, found)),
    args: &[
        Arg::double("timeout"),
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::one_of("where", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::integer("count").after("COUNT").optional(),
    ],
    handler: Handler::Blocking(&Blocking {
        patience: blmpop_patience,
        awaits: ValueType::List,
        shares: false,
        notices_loss: false,
        whole: blmpop,
        spread: SpreadAttempt::FirstKey,
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null_array(),
    }),
    ..Command::BASE
};

fn blmpop_patience(args: Args<'_>) -> Result<Patience, CommandError> {
    FirstPop::parse(args, 2)?;
    Patience::of_seconds(args.at(1))
}

fn blmpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    let pop = FirstPop::parse(args, 2)?;
    pop_first(context, args, &pop.keys, pop.end, Some(pop.count), reply)
}

/// Replies with the first key that has a list and what was popped of that: an element, or with
/// `count` an array of up to so many.
fn pop_first(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    keys: &Range<usize>,
    end: End,
    count: Option<usize>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    for at in keys.clone() {
        let key = context.key(args.at(at));
        let popped = context.shard.update_list(context.db, &key, |list| {
            if list.is_empty() {
                return 0;
            }
            reply.array(2);
            reply.bulk(key.bytes);
            if let Some(count) = count {
                return pop_many(list, end, count, reply);
            }
            list.pop(end, |element| reply.bulk(element)).expect("invariant: it is not empty");
            list.event(pop_event(end));
            1
        })?;
        if popped > 0 {
            context.changed(popped as u64);
            let command = pop_command(end);
            match count {
                None => context.log_as(&[command.as_bytes(), key.bytes]),
                Some(_) => context.log_popped(command, key.bytes, popped),
            }
            return Ok(Attempt::Done);
        }
    }
    Ok(Attempt::Wait)
}
