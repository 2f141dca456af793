//! Members: SADD, SREM, SCARD, SMEMBERS, SISMEMBER, SMISMEMBER.

use kvasir_proto::{Args, Encoder};

use super::encode_member;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const SADD: Command = Command {
    name: "sadd",
    summary: "Adds one or more members to a set. Creates the key if it doesn't exist.",
    complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
        called with multiple arguments.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("member").multiple()],
    history: &[("2.4.0", "Accepts multiple `member` arguments.")],
    element: Some(2),
    handler: Handler::Shard(sadd),
    ..Command::BASE
};

fn sadd(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let expected = args.len() - 2;
    let added = context.shard.update_set(context.db, &key, |set| {
        set.expect_members(expected)?;
        let mut added = 0;
        for member in args.iter().skip(2) {
            added += u64::from(set.add(member, expected)?);
        }
        if added > 0 {
            set.event("sadd");
        }
        Ok::<_, CommandError>(added)
    })??;
    context.changed(added);
    reply.integer(added as i64);
    Ok(())
}

pub(super) const SREM: Command = Command {
    name: "srem",
    summary: "Removes one or more members from a set. Deletes the set if the last member was \
        removed.",
    complexity: "O(N) where N is the number of members to be removed.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("member").multiple()],
    history: &[("2.4.0", "Accepts multiple `member` arguments.")],
    element: Some(2),
    handler: Handler::Shard(srem),
    ..Command::BASE
};

fn srem(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let removed = context.shard.update_set(context.db, &key, |set| {
        let removed = args.iter().skip(2).filter(|member| set.remove(member)).count();
        if removed > 0 {
            set.event("srem");
        }
        removed
    })?;
    context.changed(removed as u64);
    reply.integer(removed as i64);
    Ok(())
}

pub(super) const SCARD: Command = Command {
    name: "scard",
    summary: "Returns the number of members in a set.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(scard),
    ..Command::BASE
};

fn scard(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let members = context.read_set(&key)?.map_or(0, |set| set.len());
    reply.integer(members as i64);
    Ok(())
}

pub(super) const SMEMBERS: Command = Command {
    name: "smembers",
    summary: "Returns all members of a set.",
    complexity: "O(N) where N is the set cardinality.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::exactly(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(smembers),
    ..Command::BASE
};

fn smembers(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let members = reply.defer_set();
    let mut count = 0;
    if let Some(set) = context.read_set(&key)? {
        set.for_each(|member| {
            encode_member(member, reply);
            count += 1;
            true
        });
    }
    reply.finish(members, count);
    Ok(())
}

pub(super) const SISMEMBER: Command = Command {
    name: "sismember",
    summary: "Determines whether a member belongs to a set.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0), Arg::string("member")],
    element: Some(2),
    handler: Handler::Shard(sismember),
    ..Command::BASE
};

fn sismember(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let is_member = context.read_set(&key)?.is_some_and(|set| set.contains(args.at(2)));
    reply.integer(i64::from(is_member));
    Ok(())
}

pub(super) const SMISMEMBER: Command = Command {
    name: "smismember",
    summary: "Determines whether multiple members belong to a set.",
    complexity: "O(N) where N is the number of elements being checked for membership",
    since: "6.2.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("member").multiple()],
    element: Some(2),
    handler: Handler::Shard(smismember),
    ..Command::BASE
};

fn smismember(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let set = context.read_set(&key)?;
    reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        let is_member = set.is_some_and(|set| set.contains(member));
        reply.integer(i64::from(is_member));
    }
    Ok(())
}
