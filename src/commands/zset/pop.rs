//! Members off the ends: ZPOPMIN, ZPOPMAX, ZMPOP.

use kvasir_proto::{Args, Encoder, Resp, number};
use kvasir_shard::{Direction, ValueRef, ZsetMut};

use super::bounds::{Pairing, Ranks, encode_name};
use crate::commands::arguments::{Options, is_word};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::keys::counted_keys;
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::long::{LongWork, Popping, STEPS_MAX};
use crate::route::transaction::{Request, Transaction, shard_context};

/// At which end members are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// The smallest scores.
    Min,
    /// The greatest scores.
    Max,
}

impl Side {
    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }

    fn of_word(word: &[u8]) -> Option<Self> {
        if is_word(word, "MIN") {
            Some(Self::Min)
        } else if is_word(word, "MAX") {
            Some(Self::Max)
        } else {
            None
        }
    }
}

/// How what was popped is replied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// The name and the score of one member.
    One,
    /// The key, the name and the score of one member.
    Keyed,
    /// Names and scores by turns, or pairs in RESP3.
    Many,
    /// The key, and an array of pairs.
    KeyedPairs,
}

impl Shape {
    /// Writes a member popped.
    fn encode(self, name: ValueRef<'_>, score: f64, reply: &mut Encoder<'_>) {
        match self {
            Self::Many => Pairing::Scores.encode(name, score, reply),
            Self::One | Self::Keyed | Self::KeyedPairs => {
                if self == Self::KeyedPairs {
                    reply.array(2);
                }
                encode_name(name, reply);
                reply.double(score);
            }
        }
    }
}

/// Pops up to `count` members, at least one where the set exists; whether it does. Of what is
/// asked for with a count, many are popped in parts, so that no number of them holds up the core.
pub(super) fn pop(
    context: &mut ShardContext<'_>,
    (args, at): (Args<'_>, usize),
    side: Side,
    count: usize,
    shape: Shape,
    reply: &mut Encoder<'_>,
) -> Result<bool, CommandError> {
    let name = args.at(at);
    let key = context.key(name);
    if count > STEPS_MAX {
        let len = context.shard.zset_at(context.db, &key, true)?.map_or(0, |zset| zset.len());
        if len > STEPS_MAX {
            let popping = ZsetPopping::begin((name, at), side, count, shape, reply);
            context.run_long(popping, args, reply);
            return Ok(true);
        }
    }
    let popped = context.shard.update_zset(context.db, &key, |zset| {
        let len = zset.view().len();
        let count = count.min(len);
        if count == 0 {
            return (len > 0, 0);
        }
        match shape {
            Shape::One => reply.array(2),
            Shape::Keyed => {
                reply.array(3);
                reply.bulk(name);
            }
            Shape::Many => Pairing::Scores.begin(count, reply),
            Shape::KeyedPairs => {
                reply.array(2);
                reply.bulk(name);
                reply.array(count);
            }
        }
        take(zset, side, count, shape, reply);
        zset.event(side.event());
        (true, count)
    })?;
    context.changed(popped.1 as u64);
    if popped.1 > 0 {
        log(context, name, side, popped.1, shape);
    }
    Ok(popped.0)
}

/// Logs what a command with several keys, or one that waits, has popped.
fn log(context: &mut ShardContext<'_>, key: &[u8], side: Side, count: usize, shape: Shape) {
    let command = match side {
        Side::Min => "ZPOPMIN",
        Side::Max => "ZPOPMAX",
    };
    match shape {
        Shape::Keyed => context.log_as(&[command.as_bytes(), key]),
        Shape::KeyedPairs => context.log_popped(command, key, count),
        Shape::One | Shape::Many => {}
    }
}

/// Removes members from an end and writes them to the reply; how many.
fn take(
    zset: &mut ZsetMut<'_, '_>,
    side: Side,
    count: usize,
    shape: Shape,
    reply: &mut Encoder<'_>,
) -> usize {
    let view = zset.view();
    let len = view.len();
    let count = count.min(len);
    let (ranks, direction) = match side {
        Side::Min => (Ranks { start: 0, end: count }, Direction::Forward),
        Side::Max => (Ranks { start: len - count, end: len }, Direction::Backward),
    };
    view.visit_range(ranks.start, ranks.end, direction, |name, score| {
        shape.encode(name, score, reply);
    });
    zset.pop_range(ranks.start, ranks.end, |_, _| ());
    count
}

/// Many members on their way out, in parts.
struct ZsetPopping {
    /// The index of the key among the arguments.
    at: usize,
    side: Side,
    shape: Shape,
    popping: Popping,
}

impl ZsetPopping {
    /// Begins the reply.
    fn begin(
        (name, at): (&[u8], usize),
        side: Side,
        count: usize,
        shape: Shape,
        reply: &mut Encoder<'_>,
    ) -> Self {
        if shape == Shape::KeyedPairs {
            reply.array(2);
            reply.bulk(name);
        }
        Self { at, side, shape, popping: Popping::new(count, reply.defer_array()) }
    }
}

impl LongWork for ZsetPopping {
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool {
        let key = context.key(args.at(self.at));
        let popped = context.shard.update_zset(context.db, &key, |zset| {
            let popped = take(zset, self.side, self.popping.part(), self.shape, reply);
            if self.popping.is_first() {
                zset.event(self.side.event());
            }
            popped
        });
        let popped = popped.unwrap_or(0);
        if popped > 0 {
            log(context, key.bytes, self.side, popped, self.shape);
        }
        let goes_on = self.popping.note(popped, context);
        if !goes_on {
            let is_flat = self.shape == Shape::Many && reply.resp() == Resp::V2;
            self.popping.finish(if is_flat { 2 } else { 1 }, reply);
        }
        goes_on
    }
}

pub(super) const ZPOPMIN: Command = Command {
    name: "zpopmin",
    summary: "Returns the lowest-scoring members from a sorted set after removing them. \
        Deletes the sorted set if the last member was popped.",
    complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M \
        being the number of elements popped.",
    since: "5.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("count").optional()],
    handler: Handler::Shard(zpopmin),
    ..Command::BASE
};

fn zpopmin(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    pop_end(context, args, reply, Side::Min)
}

pub(super) const ZPOPMAX: Command = Command {
    name: "zpopmax",
    summary: "Returns the highest-scoring members from a sorted set after removing them. \
        Deletes the sorted set if the last member was popped.",
    complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M \
        being the number of elements popped.",
    since: "5.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("count").optional()],
    handler: Handler::Shard(zpopmax),
    ..Command::BASE
};

fn zpopmax(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    pop_end(context, args, reply, Side::Max)
}

fn pop_end(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    side: Side,
) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let (count, shape) = match args.get(2) {
        None => (1, Shape::One),
        Some(count) => {
            let count = number::parse_i64(count).and_then(|count| usize::try_from(count).ok());
            let text = "ERR value is out of range, must be positive";
            (count.ok_or(CommandError::Other(text))?, Shape::Many)
        }
    };
    let existed = pop(context, (args, 1), side, count, shape, reply)?;
    if !existed || count == 0 {
        reply.array(0);
    }
    Ok(())
}

pub(super) const ZMPOP: Command = Command {
    name: "zmpop",
    summary: "Returns the highest- or lowest-scoring members from one or more sorted sets \
        after removing them. Deletes the sorted set if the last member was popped.",
    complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the \
        number of elements in the sorted set, and M being the number of elements \
        popped.",
    since: "7.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1)
        .key_num(0, 1, 1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    find_keys: Some(find_popped),
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::one_of("where", &[Arg::token("min", "MIN"), Arg::token("max", "MAX")]),
        Arg::integer("count").after("COUNT").optional(),
    ],
    handler: Handler::Multi { whole: zmpop, spread: zmpop_spread },
    ..Command::BASE
};

fn find_popped(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    counted_keys(args, 1, None, found);
}

/// What ZMPOP asks for, and its blocking form after its timeout.
#[derive(Clone, Copy, Debug)]
pub(super) struct MultiPop {
    /// The index of the first key.
    pub(super) first: usize,
    /// How many keys there are.
    pub(super) keys: usize,
    pub(super) side: Side,
    pub(super) count: usize,
}

impl MultiPop {
    /// Reads the number of keys at index `at` and what follows.
    pub(super) fn parse(args: Args<'_>, at: usize) -> Result<Self, CommandError> {
        let positive = |bytes: &[u8], error| {
            let number = number::parse_i64(bytes).filter(|number| *number > 0);
            number.map(|number| number as usize).ok_or(CommandError::Other(error))
        };
        let keys = positive(args.at(at), "ERR numkeys should be greater than 0")?;
        let end = keys.checked_add(at + 1).filter(|end| *end < args.len());
        let end = end.ok_or(CommandError::Syntax)?;
        let side = Side::of_word(args.at(end)).ok_or(CommandError::Syntax)?;
        let mut words = Options::new(args, end + 1);
        let mut count = None;
        while let Some(word) = words.next() {
            if count.is_none() && is_word(word, "COUNT") && words.left() > 0 {
                let error = "ERR count should be greater than 0";
                count = Some(positive(words.value()?, error)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(Self { first: at + 1, keys, side, count: count.unwrap_or(1) })
    }

    /// The indices of the keys.
    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.first..self.first + self.keys
    }
}

fn zmpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let asked = MultiPop::parse(args, 1)?;
    for at in asked.range() {
        if pop(context, (args, at), asked.side, asked.count, Shape::KeyedPairs, reply)? {
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

fn zmpop_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let asked = MultiPop::parse(request.args(), 1)?;
        let view = request.view;
        // The first key that exists decides, also when it holds another type.
        let lookups = request.by_shard(asked.range(), 1).into_iter().map(|(shard, portion)| {
            let look = move |state: &mut CoreState| {
                let context = shard_context(state, view);
                let exists = |name: &[u8]| context.shard.exists(context.db, &context.map.key(name));
                let mut exists = exists;
                portion.groups().find(|group| exists(group.key())).map(|group| group.position)
            };
            (shard, look)
        });
        let first = transaction.hop(lookups).await.into_iter().flatten().min();
        let Some(first) = first else {
            return Ok(request.encode(|reply| {
                reply.null_array();
            }));
        };
        let at = asked.first + first;
        let (key, args) = (request.args().at(at), request.owned_args());
        let take = move |state: &mut CoreState| {
            let mut out = Vec::new();
            let mut reply = Encoder::new(&mut out, view.resp);
            let mut context = shard_context(state, view);
            let from = (args.view(), at);
            pop(&mut context, from, asked.side, asked.count, Shape::KeyedPairs, &mut reply)?;
            Ok(out)
        };
        let mut results = transaction.last_hop([(request.owner(key), take)]).await;
        results.pop().expect("invariant: one task, one result")
    })
}
