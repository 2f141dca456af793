//! Members in order: ZRANGE and the commands that it replaces.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{Direction, ZsetRef};

use super::bounds::{IndexRange, NameRange, Pairing, Ranks, ScoreRange};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Command, Deprecation, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::errors::CommandError;

/// By what a range is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Index,
    Score,
    Name,
}

/// What the command's name leaves to its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    by: Option<By>,
    direction: Option<Direction>,
    /// Where the bounds are among the arguments; the words follow.
    first: usize,
    /// Whether scores may be asked for.
    scores: bool,
}

impl Form {
    const ZRANGE: Self = Self { by: None, direction: None, first: 2, scores: true };
    pub(super) const ZRANGESTORE: Self = Self { first: 3, scores: false, ..Self::ZRANGE };

    const fn older(by: By, direction: Direction) -> Self {
        Self { by: Some(by), direction: Some(direction), ..Self::ZRANGE }
    }
}

/// The bounds.
#[derive(Clone, Copy, Debug)]
enum Bounds<'a> {
    Index(IndexRange),
    Score(ScoreRange),
    Name(NameRange<'a>),
}

/// A range that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    bounds: Bounds<'a>,
    pub(super) direction: Direction,
    pairing: Pairing,
    /// Members of the range that are passed over, and how many follow at most; negative: none, and
    /// all.
    limit: Option<(i64, i64)>,
}

impl<'a> Query<'a> {
    pub(super) fn parse(args: Args<'a>, form: Form) -> Result<Self, CommandError> {
        let Form { mut by, mut direction, first, scores } = form;
        let mut pairing = Pairing::Names;
        let mut limit = None;
        let mut words = Options::new(args, first + 2);
        while let Some(word) = words.next() {
            if scores && is_word(word, "WITHSCORES") {
                pairing = Pairing::Scores;
            } else if is_word(word, "LIMIT") && words.left() >= 2 {
                limit = Some((integer(words.value()?)?, integer(words.value()?)?));
            } else if is_word(word, "REV") && direction.is_none() {
                direction = Some(Direction::Backward);
            } else if is_word(word, "BYLEX") && by.is_none() {
                by = Some(By::Name);
            } else if is_word(word, "BYSCORE") && by.is_none() {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let by = by.unwrap_or(By::Index);
        let direction = direction.unwrap_or(Direction::Forward);
        let limits_something = limit.is_some_and(|(_, count)| count != -1);
        if limits_something && by == By::Index {
            let text = "ERR syntax error, LIMIT is only supported in combination with either \
                BYSCORE or BYLEX";
            return Err(CommandError::Other(text));
        }
        if pairing == Pairing::Scores && by == By::Name {
            let text = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
            return Err(CommandError::Other(text));
        }
        let (min, max) = match (by, direction) {
            (By::Score | By::Name, Direction::Backward) => (args.at(first + 1), args.at(first)),
            _ => (args.at(first), args.at(first + 1)),
        };
        let bounds = match by {
            By::Index => Bounds::Index(IndexRange { first: integer(min)?, last: integer(max)? }),
            By::Score => Bounds::Score(ScoreRange::parse(min, max)?),
            By::Name => Bounds::Name(NameRange::parse(min, max)?),
        };
        Ok(Self { bounds, direction, pairing, limit })
    }

    /// The ranks that are asked for, counted from the smallest score.
    pub(super) fn ranks(&self, zset: &ZsetRef<'_>) -> Ranks {
        let ranks = match &self.bounds {
            Bounds::Index(range) => return self.by_index(*range, zset.len()),
            Bounds::Score(range) => range.ranks(zset),
            Bounds::Name(range) => range.ranks(zset, self.direction),
        };
        let Some((skip, count)) = self.limit else { return ranks };
        let present = ranks.count();
        let skip = usize::try_from(skip).unwrap_or(present).min(present);
        let count = usize::try_from(count).unwrap_or(present).min(present - skip);
        match self.direction {
            Direction::Forward => {
                let start = ranks.start + skip;
                Ranks { start, end: start + count }
            }
            Direction::Backward => {
                let end = ranks.end - skip;
                Ranks { start: end - count, end }
            }
        }
    }

    /// The ranks that are asked for, where they are the same whatever the set's length: those of
    /// ranges of indices that are counted from the start, or that end with the last member. The
    /// end may lie beyond the set's.
    fn ranks_of_any(&self) -> Option<Ranks> {
        let Bounds::Index(IndexRange { first, last }) = self.bounds else { return None };
        let start = usize::try_from(first).ok()?;
        let end = if last == -1 { usize::MAX } else { usize::try_from(last).ok()? + 1 };
        (self.direction == Direction::Forward).then_some(Ranks { start, end })
    }

    /// Indices count in the direction of the range.
    fn by_index(&self, range: IndexRange, len: usize) -> Ranks {
        let ranks = range.ranks(len);
        match self.direction {
            Direction::Forward => ranks,
            Direction::Backward => Ranks { start: len - ranks.end, end: len - ranks.start },
        }
    }
}

fn range(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    form: Form,
) -> Result<(), CommandError> {
    let query = Query::parse(args, form)?;
    let key = context.key(args.at(1));
    let Some(zset) = context.read_zset(&key)? else {
        reply.array(0);
        return Ok(());
    };
    if zset.known_len().is_none()
        && let Some(ranks) = query.ranks_of_any()
    {
        // Counting the members first would take as long as visiting them.
        let deferred = query.pairing.defer(reply);
        let mut count = 0;
        zset.visit_range(ranks.start, ranks.end, query.direction, |name, score| {
            query.pairing.encode(name, score, reply);
            count += 1;
        });
        reply.finish(deferred, count);
        return Ok(());
    }
    let ranks = query.ranks(&zset);
    query.pairing.begin(ranks.count(), reply);
    zset.visit_range(ranks.start, ranks.end, query.direction, |name, score| {
        query.pairing.encode(name, score, reply);
    });
    Ok(())
}

pub(super) const ZRANGE: Command = Command {
    name: "zrange",
    summary: "Returns members in a sorted set within a range of indexes.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements returned.",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("start"),
        Arg::string("stop"),
        Arg::one_of("sortby", &[Arg::token("byscore", "BYSCORE"), Arg::token("bylex", "BYLEX")])
            .optional()
            .since("6.2.0"),
        Arg::token("rev", "REV").optional().since("6.2.0"),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional()
            .since("6.2.0"),
        Arg::token("withscores", "WITHSCORES").optional(),
    ],
    history: &[("6.2.0", "Added the `REV`, `BYSCORE`, `BYLEX` and `LIMIT` options.")],
    handler: Handler::Shard(zrange),
    ..Command::BASE
};

fn zrange(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    range(context, args, reply, Form::ZRANGE)
}

pub(super) const ZREVRANGE: Command = Command {
    name: "zrevrange",
    summary: "Returns members in a sorted set within a range of indexes in reverse order.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements returned.",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("start"),
        Arg::integer("stop"),
        Arg::token("withscores", "WITHSCORES").optional(),
    ],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`ZRANGE` with the `REV` argument",
    }),
    handler: Handler::Shard(zrevrange),
    ..Command::BASE
};

fn zrevrange(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    range(context, args, reply, Form::older(By::Index, Direction::Backward))
}

pub(super) const ZRANGEBYSCORE: Command = Command {
    name: "zrangebyscore",
    summary: "Returns members in a sorted set within a range of scores.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements being returned. If M is constant (e.g. always asking for \
        the first 10 elements with LIMIT), you can consider it O(log(N)).",
    since: "1.0.5",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::double("min"),
        Arg::double("max"),
        Arg::token("withscores", "WITHSCORES").optional().since("2.0.0"),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional(),
    ],
    history: &[("2.0.0", "Added the `WITHSCORES` modifier.")],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`ZRANGE` with the `BYSCORE` argument",
    }),
    handler: Handler::Shard(zrangebyscore),
    ..Command::BASE
};

fn zrangebyscore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    range(context, args, reply, Form::older(By::Score, Direction::Forward))
}

pub(super) const ZREVRANGEBYSCORE: Command = Command {
    name: "zrevrangebyscore",
    summary: "Returns members in a sorted set within a range of scores in reverse order.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements being returned. If M is constant (e.g. always asking for \
        the first 10 elements with LIMIT), you can consider it O(log(N)).",
    since: "2.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::double("max"),
        Arg::double("min"),
        Arg::token("withscores", "WITHSCORES").optional(),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional(),
    ],
    history: &[("2.1.6", "`min` and `max` can be exclusive.")],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
    }),
    handler: Handler::Shard(zrevrangebyscore),
    ..Command::BASE
};

fn zrevrangebyscore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    range(context, args, reply, Form::older(By::Score, Direction::Backward))
}

pub(super) const ZRANGEBYLEX: Command = Command {
    name: "zrangebylex",
    summary: "Returns members in a sorted set within a lexicographical range.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements being returned. If M is constant (e.g. always asking for \
        the first 10 elements with LIMIT), you can consider it O(log(N)).",
    since: "2.8.9",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("min"),
        Arg::string("max"),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional(),
    ],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`ZRANGE` with the `BYLEX` argument",
    }),
    handler: Handler::Shard(zrangebylex),
    ..Command::BASE
};

fn zrangebylex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    range(context, args, reply, Form::older(By::Name, Direction::Forward))
}

pub(super) const ZREVRANGEBYLEX: Command = Command {
    name: "zrevrangebylex",
    summary: "Returns members in a sorted set within a lexicographical range in reverse \
        order.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements being returned. If M is constant (e.g. always asking for \
        the first 10 elements with LIMIT), you can consider it O(log(N)).",
    since: "2.8.9",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("max"),
        Arg::string("min"),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional(),
    ],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
    }),
    handler: Handler::Shard(zrevrangebylex),
    ..Command::BASE
};

fn zrevrangebylex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    range(context, args, reply, Form::older(By::Name, Direction::Backward))
}
