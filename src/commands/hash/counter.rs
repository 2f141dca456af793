//! Fields as counters: HINCRBY, HINCRBYFLOAT. A field keeps its deadline.

use kvasir_proto::long_double::{LongDouble, LongDoubleText};
use kvasir_proto::{Args, Encoder, number};
use kvasir_shard::{FieldTtl, NewValue, ValueRef};

use crate::commands::arguments::integer;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::element_expiry::Elements;
use crate::errors::CommandError;

pub(super) const HINCRBY: Command = Command {
    name: "hincrby",
    summary: "Increments the integer value of a field in a hash by a number. Uses 0 as \
        initial value if the field doesn't exist.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::string("field"), Arg::integer("increment")],
    element: Some(2),
    handler: Handler::Shard(hincrby),
    ..Command::BASE
};

fn hincrby(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let amount = integer(args.at(3))?;
    let key = context.key(args.at(1));
    let new = context.shard.update_hash(context.db, &key, |hash| {
        let old = match hash.view().get(args.at(2)) {
            None => 0,
            Some(ValueRef::Int(value)) => value,
            Some(value) => value
                .with_bytes(number::parse_i64)
                .flatten()
                .ok_or(CommandError::Other("ERR hash value is not an integer"))?,
        };
        let new = old
            .checked_add(amount)
            .ok_or(CommandError::Other("ERR increment or decrement would overflow"))?;
        hash.set(args.at(2), NewValue::Int(new), FieldTtl::Keep)?;
        hash.event("hincrby");
        Ok::<_, CommandError>(new)
    })??;
    context.changed(1);
    reply.integer(new);
    Ok(())
}

pub(super) const HINCRBYFLOAT: Command = Command {
    name: "hincrbyfloat",
    summary: "Increments the floating point value of a field by a number. Uses 0 as initial \
        value if the field doesn't exist.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::Hash,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::string("field"), Arg::double("increment")],
    element: Some(2),
    handler: Handler::Shard(hincrbyfloat),
    ..Command::BASE
};

fn hincrbyfloat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let LongDoubleText::Finite(amount) =
        LongDouble::parse(args.at(3)).ok_or(CommandError::NotAFloat)?
    else {
        return Err(CommandError::Other("ERR value is NaN or Infinity"));
    };
    let key = context.key(args.at(1));
    let (text, deadline) = context.shard.update_hash(context.db, &key, |hash| {
        let old = match hash.view().get(args.at(2)) {
            None => LongDoubleText::Finite(LongDouble::ZERO),
            Some(value) => value
                .with_bytes(LongDouble::parse)
                .flatten()
                .ok_or(CommandError::Other("ERR hash value is not a float"))?,
        };
        let sum = match old {
            LongDoubleText::Finite(old) => old.checked_add(amount),
            LongDoubleText::Infinite => None,
        };
        let sum = sum.ok_or(CommandError::Other("ERR increment would produce NaN or Infinity"))?;
        let mut text = Vec::new();
        sum.append_to(&mut text);
        hash.set(args.at(2), NewValue::Bytes(&text), FieldTtl::Keep)?;
        hash.event("hincrbyfloat");
        Ok::<_, CommandError>((text, hash.view().deadline(args.at(2)).flatten()))
    })??;
    context.changed(1);
    // The field keeps its deadline, which HSET takes away.
    context.log_on("HSET", key.bytes, [args.at(2), &text]);
    if let Some(deadline) = deadline {
        Elements::Fields.log_deadline(context, key.bytes, deadline, &[args.at(2)]);
    }
    reply.bulk(&text);
    Ok(())
}
