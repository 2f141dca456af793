//! What is known of members and of the whole set: ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCARD, ZCOUNT,
//! ZLEXCOUNT.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::Direction;

use super::bounds::{NameRange, ScoreRange};
use crate::commands::arguments::is_word;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const ZSCORE: Command = Command {
    name: "zscore",
    summary: "Returns the score of a member in a sorted set.",
    complexity: "O(1)",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("member")],
    handler: Handler::Shard(zscore),
    ..Command::BASE
};

fn zscore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    encode_score(zset.and_then(|zset| zset.score(args.at(2))), reply);
    Ok(())
}

fn encode_score(score: Option<f64>, reply: &mut Encoder<'_>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub(super) const ZMSCORE: Command = Command {
    name: "zmscore",
    summary: "Returns the score of one or more members in a sorted set.",
    complexity: "O(N) where N is the number of members being requested.",
    since: "6.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("member").multiple()],
    handler: Handler::Shard(zmscore),
    ..Command::BASE
};

fn zmscore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    reply.array(args.len() - 2);
    for name in args.iter().skip(2) {
        encode_score(zset.and_then(|zset| zset.score(name)), reply);
    }
    Ok(())
}

pub(super) const ZRANK: Command = Command {
    name: "zrank",
    summary: "Returns the index of a member in a sorted set ordered by ascending scores.",
    complexity: "O(log(N))",
    since: "2.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("member"),
        Arg::token("withscore", "WITHSCORE").optional(),
    ],
    history: &[("7.2.0", "Added the optional `WITHSCORE` argument.")],
    handler: Handler::Shard(zrank),
    ..Command::BASE
};

fn zrank(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    rank(context, args, reply, "zrank", Direction::Forward)
}

pub(super) const ZREVRANK: Command = Command {
    name: "zrevrank",
    summary: "Returns the index of a member in a sorted set ordered by descending scores.",
    complexity: "O(log(N))",
    since: "2.0.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("member"),
        Arg::token("withscore", "WITHSCORE").optional(),
    ],
    history: &[("7.2.0", "Added the optional `WITHSCORE` argument.")],
    handler: Handler::Shard(zrevrank),
    ..Command::BASE
};

fn zrevrank(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    rank(context, args, reply, "zrevrank", Direction::Backward)
}

fn rank(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    command: &str,
    direction: Direction,
) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::WrongArity(command.to_owned()));
    }
    let with_score = match args.get(3) {
        None => false,
        Some(word) if is_word(word, "WITHSCORE") => true,
        Some(_) => return Err(CommandError::Syntax),
    };
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    let found = zset.and_then(|zset| {
        let (rank, score) = zset.rank(args.at(2))?;
        let rank = match direction {
            Direction::Forward => rank,
            Direction::Backward => zset.len() - 1 - rank,
        };
        Some((rank as i64, score))
    });
    match found {
        None if with_score => reply.null_array(),
        None => reply.null(),
        Some((rank, _)) if !with_score => reply.integer(rank),
        Some((rank, score)) => {
            reply.array(2);
            reply.integer(rank);
            reply.double(score);
        }
    }
    Ok(())
}

pub(super) const ZCARD: Command = Command {
    name: "zcard",
    summary: "Returns the number of members in a sorted set.",
    complexity: "O(1)",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(zcard),
    ..Command::BASE
};

fn zcard(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    reply.integer(zset.map_or(0, |zset| zset.len() as i64));
    Ok(())
}

pub(super) const ZCOUNT: Command = Command {
    name: "zcount",
    summary: "Returns the count of members in a sorted set that have scores within a range.",
    complexity: "O(log(N)) with N being the number of elements in the sorted set.",
    since: "2.0.0",
    group: Group::SortedSet,
    arity: Arity::exactly(4),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::double("min"), Arg::double("max")],
    handler: Handler::Shard(zcount),
    ..Command::BASE
};

fn zcount(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let range = ScoreRange::parse(args.at(2), args.at(3))?;
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    reply.integer(zset.map_or(0, |zset| range.ranks(&zset).count() as i64));
    Ok(())
}

pub(super) const ZLEXCOUNT: Command = Command {
    name: "zlexcount",
    summary: "Returns the number of members in a sorted set within a lexicographical range.",
    complexity: "O(log(N)) with N being the number of elements in the sorted set.",
    since: "2.8.9",
    group: Group::SortedSet,
    arity: Arity::exactly(4),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("min"), Arg::string("max")],
    handler: Handler::Shard(zlexcount),
    ..Command::BASE
};

fn zlexcount(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let range = NameRange::parse(args.at(2), args.at(3))?;
    let key = context.key(args.at(1));
    let zset = context.read_zset(&key)?;
    reply.integer(zset.map_or(0, |zset| range.ranks(&zset, Direction::Forward).count() as i64));
    Ok(())
}
