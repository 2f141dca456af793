//! Parts of strings: GETRANGE, SUBSTR, SETRANGE, APPEND.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, NewValue, Ttl};

use crate::commands::arguments::integer;
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Command, Deprecation, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::errors::CommandError;

/// The part of `0..len` that inclusive bounds name, negative ones counted from the end.
fn part(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_end = |bound: i64| if bound < 0 { (len + bound).max(0) } else { bound };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

pub(super) const GETRANGE: Command = Command {
    name: "getrange",
    summary: "Returns a substring of the string stored at a key.",
    complexity: "O(N) where N is the length of the returned string. The complexity is \
        ultimately determined by the returned length, but because creating a \
        substring from an existing string is very cheap, it can be considered O(1) \
        for small strings.",
    since: "2.4.0",
    group: Group::String,
    arity: Arity::exactly(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::integer("start"), Arg::integer("end")],
    handler: Handler::Shard(getrange),
    ..Command::BASE
};

pub(super) const SUBSTR: Command = Command {
    name: "substr",
    summary: "Returns a substring from a string value.",
    complexity: "O(N) where N is the length of the returned string. The complexity is \
        ultimately determined by the returned length, but because creating a \
        substring from an existing string is very cheap, it can be considered O(1) \
        for small strings.",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::integer("start"), Arg::integer("end")],
    deprecated: Some(Deprecation { since: "2.0.0", replaced_by: "`GETRANGE`" }),
    handler: Handler::Shard(getrange),
    ..Command::BASE
};

fn getrange(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let key = context.key(args.at(1));
    let Some(value) = context.read(&key) else {
        reply.bulk(b"");
        return Ok(());
    };
    value
        .with_bytes(|bytes| reply.bulk(&bytes[part(start, end, bytes.len())]))
        .ok_or(CommandError::WrongType)
}

pub(super) const SETRANGE: Command = Command {
    name: "setrange",
    summary: "Overwrites a part of a string value with another by an offset. Creates the key \
        if it doesn't exist.",
    complexity: "O(1), not counting the time taken to copy the new string in place. Usually, \
        this string is very small so the amortized complexity is O(1). Otherwise, \
        complexity is O(M) with M being the length of the value argument.",
    since: "2.2.0",
    group: Group::String,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("offset"), Arg::string("value")],
    handler: Handler::Shard(setrange),
    ..Command::BASE
};

fn setrange(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let offset = usize::try_from(integer(args.at(2))?)
        .map_err(|_| CommandError::Other("ERR offset is out of range"))?;
    let part = args.at(3);
    let key = context.key(args.at(1));
    let len = context.string_len(&key)?;
    if part.is_empty() {
        reply.integer(len as i64);
        return Ok(());
    }
    let end = context.check_string_len(offset, part.len())?;
    let bytes = context.shard.string_mut(context.db, &key, end)?;
    bytes[offset..end].copy_from_slice(part);
    let len = bytes.len();
    context.event("setrange", &key);
    context.changed(1);
    reply.integer(len as i64);
    Ok(())
}

pub(super) const APPEND: Command = Command {
    name: "append",
    summary: "Appends a string to the value of a key. Creates the key if it doesn't exist.",
    complexity: "O(1). The amortized time complexity is O(1) assuming the appended value is \
        small and the already present value is of any size, since the dynamic \
        string library used by the server will double the free space available on \
        every reallocation.",
    since: "2.0.0",
    group: Group::String,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("value")],
    handler: Handler::Shard(append),
    ..Command::BASE
};

fn append(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let part = args.at(2);
    let key = context.key(args.at(1));
    let len = context.string_len(&key)?;
    let end = context.check_string_len(len, part.len())?;
    if context.shard.exists(context.db, &key) {
        context.shard.string_mut(context.db, &key, end)?[len..].copy_from_slice(part);
        context.event("append", &key);
    } else {
        // A new key holds the part as SET would: as an integer, if it is one.
        let why = ChangeKind::Event("append");
        context.shard.set_as(context.db, &key, NewValue::Bytes(part), Ttl::Clear, why)?;
    }
    context.changed(1);
    reply.integer(end as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_negative_ones_count_from_the_end() {
        assert_eq!(part(0, -1, 5), 0..5);
        assert_eq!(part(0, 4, 5), 0..5);
        assert_eq!(part(1, 3, 5), 1..4);
        assert_eq!(part(-3, -1, 5), 2..5);
        assert_eq!(part(-1, -3, 5), 0..0);
        assert_eq!(part(-100, 1, 5), 0..2);
        assert_eq!(part(5, 9, 5), 0..0);
        assert_eq!(part(3, 1, 5), 0..0);
        assert_eq!(part(0, 0, 0), 0..0);
        assert_eq!(part(i64::MIN, i64::MAX, 5), 0..5);
        assert_eq!(part(-7, -6, 5), 0..1, "the peers clamp both bounds to the first byte");
    }
}
