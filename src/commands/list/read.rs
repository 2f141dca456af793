//! Looking at elements: LLEN, LINDEX, LRANGE, LPOS.

use std::ops::ControlFlow;

use kvasir_proto::{Args, Encoder, number};
use kvasir_shard::{Direction, ListRef};

use super::arguments::{Span, place, symmetric_integer};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const LLEN: Command = Command {
    name: "llen",
    summary: "Returns the length of a list.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(llen),
    ..Command::BASE
};

fn llen(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let list = context.read_list(&key)?;
    reply.integer(list.map_or(0, |list| list.len()) as i64);
    Ok(())
}

pub(super) const LINDEX: Command = Command {
    name: "lindex",
    summary: "Returns an element from a list by its index.",
    complexity: "O(N) where N is the number of elements to traverse to get to the element at \
        index. This makes asking for the first or the last element of the list \
        O(1).",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::exactly(3),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::integer("index")],
    handler: Handler::Shard(lindex),
    ..Command::BASE
};

fn lindex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    // A missing key is answered before the index is looked at.
    let Some(list) = context.read_list(&key)? else {
        reply.null();
        return Ok(());
    };
    let index = integer(args.at(2))?;
    let shown = match index {
        0.. => usize::try_from(index).ok().and_then(|at| list.get(at, |bytes| reply.bulk(bytes))),
        _ => place(index, list.len()).and_then(|at| list.get(at, |bytes| reply.bulk(bytes))),
    };
    if shown.is_none() {
        reply.null();
    }
    Ok(())
}

pub(super) const LRANGE: Command = Command {
    name: "lrange",
    summary: "Returns a range of elements from a list.",
    complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, \
        from nearest end (HEAD or TAIL) for large lists; and N is the number of \
        elements in the specified range.",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::exactly(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::integer("start"), Arg::integer("stop")],
    handler: Handler::Shard(lrange),
    ..Command::BASE
};

fn lrange(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (start, stop) = (integer(args.at(2))?, integer(args.at(3))?);
    let key = context.key(args.at(1));
    let Some(list) = context.read_list(&key)? else {
        reply.array(0);
        return Ok(());
    };
    let Span { first, count } = Span::new(start, stop, list.len());
    reply.array(count);
    list.range(first, count, |element| reply.bulk(element));
    Ok(())
}

pub(super) const LPOS: Command = Command {
    name: "lpos",
    summary: "Returns the index of matching elements in a list.",
    complexity: "O(N) where N is the number of elements in the list, for the average case. \
        When searching for elements near the head or the tail of the list, or when \
        the MAXLEN option is provided, the command may run in constant time.",
    since: "6.0.6",
    group: Group::List,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("element"),
        Arg::integer("rank").after("RANK").optional(),
        Arg::integer("num-matches").after("COUNT").optional(),
        Arg::integer("len").after("MAXLEN").optional(),
    ],
    handler: Handler::Shard(lpos),
    ..Command::BASE
};

/// What LPOS looks for.
struct Search<'a> {
    element: &'a [u8],
    direction: Direction,
    /// Matches passed over.
    skip: u64,
    /// How many matches to reply with, 0 for all; `None` for a reply that is no array.
    count: Option<usize>,
    /// How many elements to compare; 0 for all.
    compare_max: usize,
}

impl<'a> Search<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut search = Self {
            element: args.at(2),
            direction: Direction::Forward,
            skip: 0,
            count: None,
            compare_max: 0,
        };
        let mut options = Options::new(args, 3);
        while let Some(word) = options.next() {
            if is_word(word, "RANK") {
                let rank = symmetric_integer(options.value()?)?;
                search.direction = if rank < 0 { Direction::Backward } else { Direction::Forward };
                search.skip = rank.unsigned_abs().checked_sub(1).ok_or(CommandError::Other(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
                     second ... or use negative to start from the end of the list",
                ))?;
            } else if is_word(word, "COUNT") {
                search.count = Some(not_negative(options.value()?, "ERR COUNT can't be negative")?);
            } else if is_word(word, "MAXLEN") {
                search.compare_max =
                    not_negative(options.value()?, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }

    /// Calls `found` with the index of each match, as many as were asked for; how many.
    fn run(&self, list: ListRef<'_>, mut found: impl FnMut(usize)) -> usize {
        let wanted = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        let last = list.len() - 1;
        let first = if self.direction == Direction::Forward { 0 } else { last };
        let (mut matches, mut compared, mut shown) = (0, 0, 0);
        list.visit(first, self.direction, |element| {
            if element == self.element {
                matches += 1;
                if matches > self.skip {
                    let backwards = self.direction == Direction::Backward;
                    found(if backwards { last - compared } else { compared });
                    shown += 1;
                }
            }
            compared += 1;
            if shown == wanted || compared == self.compare_max {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        shown
    }
}

fn not_negative(argument: &[u8], error: &'static str) -> Result<usize, CommandError> {
    number::parse_i64(argument)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or(CommandError::Other(error))
}

fn lpos(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let search = Search::parse(args)?;
    let key = context.key(args.at(1));
    let list = context.read_list(&key)?;
    if search.count.is_none() {
        let found = list.map_or(0, |list| search.run(list, |index| reply.integer(index as i64)));
        if found == 0 {
            reply.null();
        }
        return Ok(());
    }
    let array = reply.defer_array();
    let found = list.map_or(0, |list| search.run(list, |index| reply.integer(index as i64)));
    reply.finish(array, found);
    Ok(())
}
