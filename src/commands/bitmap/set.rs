//! Single bits: SETBIT, GETBIT.

use kvasir_proto::{Args, Encoder, number};
use kvasir_shard::ValueRef;

use super::bits;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// The error of an offset that is none, or too large.
pub(super) const BAD_OFFSET: CommandError =
    CommandError::Other("ERR bit offset is not an integer or out of range");

const BAD_BIT: CommandError = CommandError::Other("ERR bit is not an integer or out of range");

/// An offset in bits, if a string may have a byte there.
pub(super) fn check_offset(offset: Option<i64>, string_max: usize) -> Result<u64, CommandError> {
    offset
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < string_max as u64)
        .ok_or(BAD_OFFSET)
}

pub(super) const SETBIT: Command = Command {
    name: "setbit",
    summary: "Sets or clears the bit at offset of the string value. Creates the key if it \
        doesn't exist.",
    complexity: "O(1)",
    since: "2.2.0",
    group: Group::Bitmap,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("offset"), Arg::integer("value")],
    handler: Handler::Shard(setbit),
    ..Command::BASE
};

fn setbit(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let offset = check_offset(number::parse_i64(args.at(2)), context.string_max)?;
    let bit = match number::parse_i64(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(BAD_BIT),
    };
    let key = context.key(args.at(1));
    let len_needed = (offset / 8) as usize + 1;
    let (old, fits) = match context.shard.peek(context.db, &key) {
        None => (false, false),
        Some(value) => value
            .with_bytes(|bytes| (bits::get(bytes, offset), bytes.len() >= len_needed))
            .ok_or(CommandError::WrongType)?,
    };
    // Nothing changes when the bit is what it was; growing is a change.
    if old != bit || !fits {
        let bytes = context.shard.string_mut(context.db, &key, len_needed)?;
        bits::set(bytes, offset, bit);
        context.event("setbit", &key);
        context.changed(1);
    } else {
        context.shard.write_out(context.db, &key)?;
    }
    reply.integer(i64::from(old));
    Ok(())
}

pub(super) const GETBIT: Command = Command {
    name: "getbit",
    summary: "Returns a bit value by offset.",
    complexity: "O(1)",
    since: "2.2.0",
    group: Group::Bitmap,
    arity: Arity::exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::integer("offset")],
    handler: Handler::Shard(getbit),
    ..Command::BASE
};

fn getbit(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let offset = check_offset(number::parse_i64(args.at(2)), context.string_max)?;
    let key = context.key(args.at(1));
    let get = |value: ValueRef<'_>| {
        value.with_bytes(|bytes| bits::get(bytes, offset)).ok_or(CommandError::WrongType)
    };
    let bit = context.read(&key).map_or(Ok(false), get)?;
    reply.integer(i64::from(bit));
    Ok(())
}
