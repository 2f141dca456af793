//! What is remembered of producers: XCFGSET, XIDMPRECORD.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::IdempotenceLimits;

use super::access::{change, record};
use super::ids::id;
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

const DURATION_RANGE: CommandError =
    CommandError::Other("ERR IDMP-DURATION must be between 1 and 86400 seconds");
const SIZE_RANGE: CommandError =
    CommandError::Other("ERR IDMP-MAXSIZE must be between 1 and 10000 entries");

pub(super) const XCFGSET: Command = Command {
    name: "xcfgset",
    summary: "Sets how long and how many additions of a producer a stream remembers.",
    complexity: "O(1)",
    since: "8.6.0",
    group: Group::Stream,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("idmp-duration").after("IDMP-DURATION").optional(),
        Arg::integer("idmp-maxsize").after("IDMP-MAXSIZE").optional(),
    ],
    handler: Handler::Shard(xcfgset),
    ..Command::BASE
};

fn within(text: &[u8], most: u32, error: CommandError) -> Result<u32, CommandError> {
    u32::try_from(integer(text)?).ok().filter(|value| (1..=most).contains(value)).ok_or(error)
}

fn xcfgset(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (mut duration_s, mut additions_max) = (None, None);
    let mut words = Options::new(args, 2);
    if words.left() == 0 {
        return Err(CommandError::Other("ERR At least one parameter must be specified"));
    }
    while let Some(word) = words.next() {
        if is_word(word, "IDMP-DURATION") {
            duration_s = Some(within(words.value()?, 86_400, DURATION_RANGE)?);
        } else if is_word(word, "IDMP-MAXSIZE") {
            additions_max = Some(within(words.value()?, 10_000, SIZE_RANGE)?);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let key = context.key(args.at(1));
    let changed = change(context, &key, |stream| {
        let table = stream.idempotence_mut();
        let old = table.limits();
        let duration_s = duration_s.unwrap_or(old.duration_s);
        let additions_max = additions_max.unwrap_or(old.additions_max);
        table.set_limits(IdempotenceLimits { duration_s, additions_max });
    })?;
    changed.ok_or(CommandError::NoSuchKey)?;
    record(context, &key, &[], 1);
    reply.ok();
    Ok(())
}

pub(super) const XIDMPRECORD: Command = Command {
    name: "xidmprecord",
    summary: "An internal command for restoring what a stream remembers of its producers.",
    complexity: "O(1)",
    since: "8.6.2",
    group: Group::Stream,
    arity: Arity::exactly(5),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::string("pid"), Arg::string("iid"), Arg::string("stream-id")],
    handler: Handler::Shard(xidmprecord),
    ..Command::BASE
};

fn xidmprecord(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (producer, addition, id) = (args.at(2), args.at(3), id(args.at(4))?);
    if producer.is_empty() || addition.is_empty() {
        return Err(CommandError::Syntax);
    }
    let now_ms = context.shard.now_ms();
    let key = context.key(args.at(1));
    let changed = change(context, &key, |stream| {
        stream.idempotence_mut().add(producer, addition, id, now_ms);
    })?;
    changed.ok_or(CommandError::NoSuchKey)?;
    record(context, &key, &[], 1);
    reply.ok();
    Ok(())
}
