//! Members out: ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{Direction, ZsetRef};

use super::bounds::{IndexRange, NameRange, Ranks, ScoreRange};
use crate::commands::arguments::integer;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const ZREM: Command = Command {
    name: "zrem",
    summary: "Removes one or more members from a sorted set. Deletes the sorted set if all \
        members were removed.",
    complexity: "O(M*log(N)) with N being the number of elements in the sorted set and M the \
        number of elements to be removed.",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("member").multiple()],
    history: &[("2.4.0", "Accepts multiple elements.")],
    handler: Handler::Shard(zrem),
    ..Command::BASE
};

fn zrem(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let removed = context.shard.update_zset(context.db, &key, |zset| {
        let removed = args.iter().skip(2).filter(|name| zset.remove(name)).count();
        if removed > 0 {
            zset.event("zrem");
        }
        removed as u64
    })?;
    context.changed(removed);
    reply.integer(removed as i64);
    Ok(())
}

/// Removes what `choose` picks. Where that is everything, the key goes as if it were deleted, so
/// that no size of set holds up the core.
fn remove_range(
    context: &mut ShardContext<'_>,
    key: &[u8],
    reply: &mut Encoder<'_>,
    event: &'static str,
    choose: impl FnOnce(&ZsetRef<'_>) -> Ranks,
) -> Result<(), CommandError> {
    let key = context.key(key);
    let chosen = context.shard.zset_at(context.db, &key, true)?.map(|zset| {
        let ranks = choose(&zset);
        (ranks, ranks.count() == zset.len())
    });
    let removed = match chosen {
        None => 0,
        Some((ranks, _)) if ranks.count() == 0 => 0,
        Some((ranks, true)) => {
            context.shard.journal.record(
                kvasir_shard::ChangeKind::Event(event),
                context.db,
                key.bytes,
            );
            context.shard.remove(context.db, &key);
            ranks.count()
        }
        Some((ranks, false)) => {
            context.shard.update_zset(context.db, &key, |zset| {
                zset.pop_range(ranks.start, ranks.end, |_, _| ());
                zset.event(event);
            })?;
            ranks.count()
        }
    };
    context.changed(removed as u64);
    reply.integer(removed as i64);
    Ok(())
}

pub(super) const ZREMRANGEBYRANK: Command = Command {
    name: "zremrangebyrank",
    summary: "Removes members in a sorted set within a range of indexes. Deletes the sorted \
        set if all members were removed.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements removed by the operation.",
    since: "2.0.0",
    group: Group::SortedSet,
    arity: Arity::exactly(4),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("start"), Arg::integer("stop")],
    handler: Handler::Shard(zremrangebyrank),
    ..Command::BASE
};

fn zremrangebyrank(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let range = IndexRange { first: integer(args.at(2))?, last: integer(args.at(3))? };
    remove_range(context, args.at(1), reply, "zremrangebyrank", |zset| range.ranks(zset.len()))
}

pub(super) const ZREMRANGEBYSCORE: Command = Command {
    name: "zremrangebyscore",
    summary: "Removes members in a sorted set within a range of scores. Deletes the sorted \
        set if all members were removed.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements removed by the operation.",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::exactly(4),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::double("min"), Arg::double("max")],
    handler: Handler::Shard(zremrangebyscore),
    ..Command::BASE
};

fn zremrangebyscore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let range = ScoreRange::parse(args.at(2), args.at(3))?;
    remove_range(context, args.at(1), reply, "zremrangebyscore", |zset| range.ranks(zset))
}

pub(super) const ZREMRANGEBYLEX: Command = Command {
    name: "zremrangebylex",
    summary: "Removes members in a sorted set within a lexicographical range. Deletes the \
        sorted set if all members were removed.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements removed by the operation.",
    since: "2.8.9",
    group: Group::SortedSet,
    arity: Arity::exactly(4),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("min"), Arg::string("max")],
    handler: Handler::Shard(zremrangebylex),
    ..Command::BASE
};

fn zremrangebylex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let range = NameRange::parse(args.at(2), args.at(3))?;
    remove_range(context, args.at(1), reply, "zremrangebylex", |zset| {
        range.ranks(zset, Direction::Forward)
    })
}
