//! What streams, groups and consumers tell of themselves: XINFO.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::{Consumer, Group, Id, Log, Stream};

use super::group::subcommand_syntax;
use super::ids::{encode_entry, encode_id, no_group};
use super::pending::owner_name;
use super::range::encode_entries;
use crate::commands::arguments::{integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{self, Arg, Arity, Command, Flags, Handler, KeyFlags, KeySpec};
use crate::commands::help::help;
use crate::errors::CommandError;

/// What FULL shows of each list if no count is given.
const FULL_COUNT: i64 = 10;

pub(super) const XINFO: Command = Command {
    name: "xinfo",
    summary: "A container for stream introspection commands.",
    complexity: "Depends on subcommand.",
    since: "5.0.0",
    group: definition::Group::Stream,
    arity: Arity::at_least(2),
    subcommands: &[&XINFO_CONSUMERS, &XINFO_GROUPS, &XINFO_HELP, &XINFO_STREAM],
    ..Command::BASE
};

pub(super) const XINFO_CONSUMERS: Command = Command {
    name: "consumers",
    summary: "Returns a list of the consumers in a consumer group.",
    complexity: "O(1)",
    since: "5.0.0",
    group: definition::Group::Stream,
    arity: Arity::exactly(4),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(2).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::string("group")],
    history: &[("7.2.0", "Added the `inactive` field, and changed the meaning of `idle`.")],
    handler: Handler::Shard(consumers),
    ..Command::BASE
};

pub(super) const XINFO_GROUPS: Command = Command {
    name: "groups",
    summary: "Returns a list of the consumer groups of a stream.",
    complexity: "O(1)",
    since: "5.0.0",
    group: definition::Group::Stream,
    arity: Arity::exactly(3),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(2).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    history: &[("7.0.0", "Added the `entries-read` and `lag` fields")],
    handler: Handler::Shard(groups),
    ..Command::BASE
};

pub(super) const XINFO_HELP: Command = help(definition::Group::Stream, "5.0.0", XINFO_HELP_LINES);

const XINFO_HELP_LINES: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
];

pub(super) const XINFO_STREAM: Command = Command {
    name: "stream",
    summary: "Returns information about a stream.",
    complexity: "O(1)",
    since: "5.0.0",
    group: definition::Group::Stream,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(2).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "full-block",
            &[Arg::token("full", "FULL"), Arg::integer("count").after("COUNT").optional()],
        )
        .optional(),
    ],
    history: &[
        ("6.0.0", "Added the `FULL` modifier."),
        (
            "7.0.0",
            "Added the `max-deleted-entry-id`, `entries-added`, \
            `recorded-first-entry-id`, `entries-read` and `lag` fields",
        ),
        ("7.2.0", "Added the `active-time` field, and changed the meaning of `seen-time`."),
    ],
    handler: Handler::Shard(stream),
    ..Command::BASE
};

fn groups(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(2));
    let stream = context.read_stream(&key)?.ok_or(CommandError::NoSuchKey)?;
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.integer(group.consumers_len() as i64);
        reply.bulk(b"pending");
        reply.integer(group.pending_len() as i64);
        encode_progress(stream.log(), group, reply);
    }
    Ok(())
}

/// Three pairs: how far a group has read.
fn encode_progress(log: &Log, group: &Group, reply: &mut Encoder<'_>) {
    reply.bulk(b"last-delivered-id");
    encode_id(group.last_delivered, reply);
    reply.bulk(b"entries-read");
    encode_or_null(group.entries_read.map(|read| read as i64), reply);
    reply.bulk(b"lag");
    encode_or_null(group.lag(log), reply);
}

fn encode_or_null(value: Option<i64>, reply: &mut Encoder<'_>) {
    match value {
        Some(value) => reply.integer(value),
        None => reply.null(),
    }
}

fn consumers(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(2));
    let now_ms = context.shard.now_ms();
    let stream = context.read_stream(&key)?.ok_or(CommandError::NoSuchKey)?;
    let group = stream.group(args.at(3)).ok_or_else(|| no_group(args.at(2), args.at(3)))?;
    reply.array(group.consumers_len());
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        reply.bulk(b"pending");
        reply.integer(consumer.pending_len() as i64);
        reply.bulk(b"idle");
        reply.integer(now_ms.saturating_sub(consumer.seen_ms) as i64);
        reply.bulk(b"inactive");
        let inactive = consumer.active_ms.map(|active| now_ms.wrapping_sub(active) as i64);
        reply.integer(inactive.unwrap_or(-1));
    }
    Ok(())
}

fn stream(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(2));
    let stream = context.read_stream(&key)?.ok_or(CommandError::NoSuchKey)?;
    let full_count = full_count(args)?;
    let extra = if stream.idempotence().is_some() { 6 } else { 0 };
    reply.map(extra + if full_count.is_some() { 9 } else { 10 });
    encode_head(stream, reply);
    match full_count {
        None => encode_ends(stream, reply),
        Some(count) => encode_full(stream, count, reply),
    }
    Ok(())
}

/// How much FULL shows of each list; `None` without FULL.
fn full_count(args: Args<'_>) -> Result<Option<usize>, CommandError> {
    if args.len() == 3 {
        return Ok(None);
    }
    let is_full = is_word(args.at(3), "FULL");
    let count = match args.get(4) {
        None => FULL_COUNT,
        Some(word) if args.len() == 6 && is_full && is_word(word, "COUNT") => integer(args.at(5))?,
        Some(_) => return Err(subcommand_syntax(args.at(1), "'. Try XINFO HELP.")),
    };
    if !is_full {
        return Err(subcommand_syntax(args.at(1), "'. Try XINFO HELP."));
    }
    Ok(Some(match count {
        0 => usize::MAX,
        count => usize::try_from(count).unwrap_or(FULL_COUNT as usize),
    }))
}

/// Seven pairs, and six more where producers have named themselves.
fn encode_head(stream: &Stream, reply: &mut Encoder<'_>) {
    let log = stream.log();
    reply.bulk(b"length");
    reply.integer(log.len() as i64);
    reply.bulk(b"radix-tree-keys");
    reply.integer(log.blocks() as i64);
    reply.bulk(b"radix-tree-nodes");
    reply.integer(log.blocks() as i64 + 1);
    reply.bulk(b"last-generated-id");
    encode_id(log.last_id(), reply);
    reply.bulk(b"max-deleted-entry-id");
    encode_id(log.max_deleted(), reply);
    reply.bulk(b"entries-added");
    reply.integer(log.entries_added() as i64);
    reply.bulk(b"recorded-first-entry-id");
    encode_id(log.first_id(), reply);
    let Some(table) = stream.idempotence() else { return };
    for (name, value) in [
        ("idmp-duration", u64::from(table.limits().duration_s)),
        ("idmp-maxsize", u64::from(table.limits().additions_max)),
        ("pids-tracked", table.producers_len() as u64),
        ("iids-tracked", table.tracked() as u64),
        ("iids-added", table.added()),
        ("iids-duplicates", table.duplicates()),
    ] {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
}

/// Three pairs: the number of groups, the first and the last entry.
fn encode_ends(stream: &Stream, reply: &mut Encoder<'_>) {
    let log = stream.log();
    reply.bulk(b"groups");
    reply.integer(stream.groups().len() as i64);
    for (name, id) in [("first-entry", log.first_id()), ("last-entry", log.last_entry_id())] {
        reply.bulk(name.as_bytes());
        match log.get(id) {
            Some(entry) => encode_entry(entry, reply),
            None => reply.null(),
        }
    }
}

/// Two pairs: entries and groups, about `count` of each list.
fn encode_full(stream: &Stream, count: usize, reply: &mut Encoder<'_>) {
    reply.bulk(b"entries");
    encode_entries(stream.log().range(Id::MIN, Id::MAX).take(count), reply);
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        encode_progress(stream.log(), group, reply);
        reply.bulk(b"pel-count");
        reply.integer(group.pending_len() as i64);
        reply.bulk(b"pending");
        reply.array(count.min(group.pending_len()));
        for (id, pending) in group.pending_from(Id::MIN).take(count) {
            reply.array(4);
            encode_id(id, reply);
            reply.bulk(owner_name(group, pending));
            reply.integer(pending.delivered_ms() as i64);
            reply.integer(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers_len());
        for consumer in group.consumers() {
            encode_consumer(group, consumer, count, reply);
        }
    }
}

fn encode_consumer(group: &Group, consumer: &Consumer, count: usize, reply: &mut Encoder<'_>) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen_ms as i64);
    reply.bulk(b"active-time");
    reply.integer(consumer.active_ms.map_or(-1, |active| active as i64));
    reply.bulk(b"pel-count");
    reply.integer(consumer.pending_len() as i64);
    reply.bulk(b"pending");
    reply.array(count.min(consumer.pending_len()));
    for id in consumer.pending_from(Id::MIN).take(count) {
        let pending = group.pending(id).expect("invariant: what a consumer has is pending");
        reply.array(3);
        encode_id(id, reply);
        reply.integer(pending.delivered_ms() as i64);
        reply.integer(pending.deliveries as i64);
    }
}
