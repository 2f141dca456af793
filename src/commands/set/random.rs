//! Members at random: SPOP, SRANDMEMBER.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, Key};

use super::encode_member;
use crate::commands::arguments::integer;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::long::{LongWork, Popping, STEPS_MAX};

/// Members that SRANDMEMBER replies with at most when they may repeat: a core does nothing else
/// meanwhile.
const REPEATED_MAX: u64 = 1 << 24;

pub(super) const SPOP: Command = Command {
    name: "spop",
    summary: "Returns one or more random members from a set after removing them. Deletes the \
        set if the last member was popped.",
    complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the \
        passed count.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("count").optional().since("3.2.0")],
    history: &[("3.2.0", "Added the `count` argument.")],
    handler: Handler::Shard(spop),
    ..Command::BASE
};

fn spop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    match args.len() {
        2 => pop_one(context, &key, reply),
        3 => {
            let count = usize::try_from(integer(args.at(2))?)
                .map_err(|_| CommandError::Other("ERR value is out of range, must be positive"))?;
            pop_many(context, args, &key, count, reply)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn pop_one(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mut randoms = context.shard.randoms();
    let popped = context.shard.update_set(context.db, key, |set| {
        let member = set.pop(&mut randoms)?;
        set.event("spop");
        Some(member)
    })?;
    match popped {
        None => reply.null(),
        Some(member) => {
            reply.bulk(&member);
            context.changed(1);
            context.log_on("SREM", key.bytes, [&*member]);
        }
    }
    Ok(())
}

/// Many members on their way out, in parts, so that no number of them holds up the core.
struct SetPopping(Popping);

impl LongWork for SetPopping {
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool {
        let Self(popping) = self;
        let key = context.key(args.at(1));
        let mut randoms = context.shard.randoms();
        let popped = context.shard.update_set(context.db, &key, |set| {
            if popping.is_first() {
                set.event("spop");
            }
            let members = std::iter::from_fn(|| set.pop(&mut randoms));
            members.take(popping.part()).collect::<Vec<_>>()
        });
        let popped = popped.unwrap_or_default();
        for member in &popped {
            reply.bulk(member);
        }
        log_popped(context, &key, &popped);
        let goes_on = popping.note(popped.len(), context);
        if !goes_on {
            popping.finish(1, reply);
        }
        goes_on
    }
}

/// Logs which members were chosen.
fn log_popped(context: &mut ShardContext<'_>, key: &Key<'_>, members: &[Vec<u8>]) {
    if !members.is_empty() {
        context.log_on("SREM", key.bytes, members.iter().map(|member| &**member));
    }
}

fn pop_many(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    key: &Key<'_>,
    count: usize,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let members = context.shard.set_at(context.db, key, true)?.map_or(0, |set| set.len());
    if count.min(members) > STEPS_MAX {
        let popping = Popping::new(count, reply.defer_set());
        context.run_long(SetPopping(popping), args, reply);
        return Ok(());
    }
    let replied = reply.defer_set();
    let mut popped = 0;
    if count >= members {
        // The whole set goes as a key does: its members are freed by and by.
        if let Some(set) = context.shard.set_at(context.db, key, false)? {
            set.for_each(|member| {
                encode_member(member, reply);
                popped += 1;
                true
            });
            context.shard.journal.record(ChangeKind::Event("spop"), context.db, key.bytes);
            context.shard.remove(context.db, key);
            context.log_removed(key.bytes);
        }
    } else if count > 0 {
        let mut randoms = context.shard.randoms();
        let members = context.shard.update_set(context.db, key, |set| {
            let members = std::iter::from_fn(|| set.pop(&mut randoms));
            let members: Vec<_> = members.take(count).collect();
            set.event("spop");
            members
        })?;
        for member in &members {
            reply.bulk(member);
        }
        popped = members.len();
        log_popped(context, key, &members);
    }
    reply.finish(replied, popped);
    context.changed(popped as u64);
    Ok(())
}

pub(super) const SRANDMEMBER: Command = Command {
    name: "srandmember",
    summary: "Get one or multiple random members from a set",
    complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute \
        value of the passed count.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::integer("count").optional().since("2.6.0")],
    history: &[("2.6.0", "Added the optional `count` argument.")],
    handler: Handler::Shard(srandmember),
    ..Command::BASE
};

fn srandmember(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let mut randoms = context.shard.randoms();
    if args.len() == 2 {
        let member = context.read_set(&key)?.and_then(|set| set.random(&mut randoms));
        match member {
            None => reply.null(),
            Some(member) => encode_member(member, reply),
        }
        return Ok(());
    }
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = integer(args.at(2))?;
    let wanted = count.unsigned_abs();
    if count < 0 && wanted > REPEATED_MAX || count == i64::MIN {
        return Err(CommandError::Other(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    let Some(set) = context.read_set(&key)? else {
        reply.array(0);
        return Ok(());
    };
    let replied = reply.defer_array();
    let mut picked = 0;
    if count < 0 {
        while picked < wanted as usize
            && let Some(member) = set.random(&mut randoms)
        {
            encode_member(member, reply);
            picked += 1;
        }
    } else {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        set.sample(wanted, &mut randoms, |member| {
            encode_member(member, reply);
            picked += 1;
        });
    }
    reply.finish(replied, picked);
    Ok(())
}
