//! Members out: ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{Direction, ZsetRef};

use super::bounds::{IndexRange, NameRange, Ranks, ScoreRange};
use crate::commands::arguments::integer;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::long::{LongWork, STEPS_MAX};

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

/// A member's place in the order.
struct Place {
    score: f64,
    name: Box<[u8]>,
}

impl Place {
    fn of(zset: &ZsetRef<'_>, rank: usize) -> Option<Self> {
        let (name, score) = zset.at(rank)?;
        Some(Self { score, name: name.to_vec()?.into() })
    }
}

/// The removal of many members, in parts: those between two places, whatever else is removed
/// meanwhile because it is due.
struct RangeRemoval {
    first: Place,
    last: Place,
    event: Option<&'static str>,
    removed: usize,
}

impl LongWork for RangeRemoval {
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool {
        let key = context.key(args.at(1));
        let (first, last) = (&self.first, &self.last);
        let event = self.event.take();
        let done = context.shard.update_zset(context.db, &key, |zset| {
            let view = zset.view();
            let start = view.before_member(first.score, &first.name, false);
            let end = view.before_member(last.score, &last.name, true);
            let stop = end.min(start + STEPS_MAX);
            zset.pop_range(start, stop, |_, _| ());
            if let Some(event) = event {
                zset.event(event);
            }
            (stop.saturating_sub(start), stop < end)
        });
        let (removed, goes_on) = done.unwrap_or((0, false));
        self.removed += removed;
        context.changed(removed as u64);
        if !goes_on {
            reply.integer(self.removed as i64);
        }
        goes_on
    }
}

/// Removes what `choose` picks. Where that is everything, the key goes as if it were deleted, and
/// where it is much, in parts, so that no size of set holds up the core.
fn remove_range(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    event: &'static str,
    choose: impl FnOnce(&ZsetRef<'_>) -> Ranks,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let chosen = context.shard.zset_at(context.db, &key, true)?.map(|zset| {
        let ranks = choose(&zset);
        let is_all = ranks.count() == zset.len();
        let is_much = ranks.count() > STEPS_MAX && !is_all;
        let places =
            is_much.then(|| Place::of(&zset, ranks.start).zip(Place::of(&zset, ranks.end - 1)));
        (ranks, is_all, places.flatten())
    });
    let removed = match chosen {
        None => 0,
        Some((ranks, ..)) if ranks.count() == 0 => 0,
        Some((_, _, Some((first, last)))) => {
            let removal = RangeRemoval { first, last, event: Some(event), removed: 0 };
            context.run_long(removal, args, reply);
            return Ok(());
        }
        Some((ranks, true, _)) => {
            context.shard.journal.record(
                kvasir_shard::ChangeKind::Event(event),
                context.db,
                key.bytes,
            );
            context.shard.remove(context.db, &key);
            ranks.count()
        }
        Some((ranks, false, None)) => {
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
    remove_range(context, args, reply, "zremrangebyrank", |zset| range.ranks(zset.len()))
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
    remove_range(context, args, reply, "zremrangebyscore", |zset| range.ranks(zset))
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
    remove_range(context, args, reply, "zremrangebylex", |zset| {
        range.ranks(zset, Direction::Forward)
    })
}
