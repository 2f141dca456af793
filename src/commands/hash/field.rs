//! Single fields: HGET, HSET.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{FieldTtl, NewValue};

use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::string::encode_string;
use crate::errors::CommandError;

pub(super) const HSET: Command = Command {
    name: "hset",
    summary: "Creates or modifies the value of a field in a hash.",
    complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs \
        when the command is called with multiple field/value pairs.",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
    ],
    history: &[("4.0.0", "Accepts multiple `field` and `value` arguments.")],
    handler: Handler::Shard(hset),
    ..Command::BASE
};

fn hset(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::WrongArity("hset".to_owned()));
    }
    let key = context.key(args.at(1));
    let added = context.shard.update_hash(context.db, &key, |hash| {
        let mut added = 0;
        for at in (2..args.len()).step_by(2) {
            let value = NewValue::Bytes(args.at(at + 1));
            added += i64::from(hash.set(args.at(at), value, FieldTtl::Clear)?);
        }
        hash.event("hset");
        Ok::<_, CommandError>(added)
    })??;
    context.changed((args.len() / 2 - 1) as u64);
    reply.integer(added);
    Ok(())
}

pub(super) const HGET: Command = Command {
    name: "hget",
    summary: "Returns the value of a field in a hash.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("field")],
    handler: Handler::Shard(hget),
    ..Command::BASE
};

fn hget(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let hash = context.read_hash(&key)?;
    encode_string(hash.and_then(|hash| hash.get(args.at(2))), reply)
}
