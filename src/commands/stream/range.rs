//! Reading entries of one stream: XLEN, XRANGE, XREVRANGE.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::Entry;

use super::ids::{encode_entry, range_count, range_end, range_start};
use crate::commands::arguments::Options;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const XLEN: Command = Command {
    name: "xlen",
    summary: "Return the number of messages in a stream.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(xlen),
    ..Command::BASE
};

fn xlen(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let len = context.read_stream(&key)?.map_or(0, |stream| stream.log().len());
    reply.integer(len as i64);
    Ok(())
}

pub(super) const XRANGE: Command = Command {
    name: "xrange",
    summary: "Returns the messages from a stream within a range of IDs.",
    complexity: "O(N) with N being the number of elements being returned. If N is constant \
        (e.g. always asking for the first 10 elements with COUNT), you can consider \
        it O(1).",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("start"),
        Arg::string("end"),
        Arg::integer("count").after("COUNT").optional(),
    ],
    history: &[("6.2.0", "Added exclusive ranges.")],
    handler: Handler::Shard(xrange),
    ..Command::BASE
};

fn xrange(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let start = range_start(args.at(2))?;
    let end = range_end(args.at(3))?;
    let count = range_count(&mut Options::new(args, 4))?;
    let key = context.key(args.at(1));
    match context.read_stream(&key)? {
        None => reply.array(0),
        Some(stream) => encode_range(stream.log().range(start, end), count, reply),
    }
    Ok(())
}

pub(super) const XREVRANGE: Command = Command {
    name: "xrevrange",
    summary: "Returns the messages from a stream within a range of IDs in reverse order.",
    complexity: "O(N) with N being the number of elements returned. If N is constant (e.g. \
        always asking for the first 10 elements with COUNT), you can consider it \
        O(1).",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(4),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("end"),
        Arg::string("start"),
        Arg::integer("count").after("COUNT").optional(),
    ],
    history: &[("6.2.0", "Added exclusive ranges.")],
    handler: Handler::Shard(xrevrange),
    ..Command::BASE
};

fn xrevrange(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let start = range_start(args.at(3))?;
    let end = range_end(args.at(2))?;
    let count = range_count(&mut Options::new(args, 4))?;
    let key = context.key(args.at(1));
    match context.read_stream(&key)? {
        None => reply.array(0),
        Some(stream) => encode_range(stream.log().range_back(start, end), count, reply),
    }
    Ok(())
}

/// As the peers, a count of 0 gives the null array, and none all entries.
fn encode_range<'a>(
    entries: impl Iterator<Item = Entry<'a>>,
    count: Option<u64>,
    reply: &mut Encoder<'_>,
) {
    if count == Some(0) {
        reply.null_array();
        return;
    }
    encode_entries(entries.take(count.map_or(usize::MAX, |count| count as usize)), reply);
}

/// Encodes entries as an array.
pub(super) fn encode_entries<'a>(
    entries: impl Iterator<Item = Entry<'a>>,
    reply: &mut Encoder<'_>,
) {
    let array = reply.defer_array();
    let mut len = 0;
    for entry in entries {
        encode_entry(entry, reply);
        len += 1;
    }
    reply.finish(array, len);
}
