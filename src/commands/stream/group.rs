//! Consumer groups and their consumers: XGROUP.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::{Group as GroupState, Log, Stream};

use super::access::{CONSUMER_CREATED, change, record};
use super::ids::{id, id_or_end, no_group};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::help::help;
use crate::errors::CommandError;
use crate::route::long::{LongWork, STEPS_MAX};

const NO_KEY: CommandError = CommandError::Other(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to \
    use the MKSTREAM option to create an empty stream automatically.",
);
const BUSY_GROUP: CommandError =
    CommandError::Other("BUSYGROUP Consumer Group name already exists");

pub(super) const XGROUP: Command = Command {
    name: "xgroup",
    summary: "A container for consumer groups commands.",
    complexity: "Depends on subcommand.",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(2),
    subcommands: &[
        &XGROUP_CREATE,
        &XGROUP_CREATECONSUMER,
        &XGROUP_DELCONSUMER,
        &XGROUP_DESTROY,
        &XGROUP_HELP,
        &XGROUP_SETID,
    ],
    ..Command::BASE
};

pub(super) const XGROUP_CREATE: Command = Command {
    name: "create",
    summary: "Creates a consumer group.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[
        Arg::key("key", 0),
        Arg::string("group"),
        Arg::one_of("id-selector", &[Arg::string("id"), Arg::token("new-id", "$")]),
        Arg::token("mkstream", "MKSTREAM").optional(),
        Arg::integer("entriesread").after("ENTRIESREAD").optional().display("entries-read"),
    ],
    history: &[("7.0.0", "Added the `entries_read` named argument.")],
    handler: Handler::Shard(create),
    ..Command::BASE
};

pub(super) const XGROUP_CREATECONSUMER: Command = Command {
    name: "createconsumer",
    summary: "Creates a consumer in a consumer group.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::Stream,
    arity: Arity::exactly(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("group"), Arg::string("consumer")],
    handler: Handler::Shard(create_consumer),
    ..Command::BASE
};

pub(super) const XGROUP_DELCONSUMER: Command = Command {
    name: "delconsumer",
    summary: "Deletes a consumer from a consumer group.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::exactly(5),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("group"), Arg::string("consumer")],
    handler: Handler::Shard(delete_consumer),
    ..Command::BASE
};

pub(super) const XGROUP_DESTROY: Command = Command {
    name: "destroy",
    summary: "Destroys a consumer group.",
    complexity: "O(N) where N is the number of entries in the group's pending entries list \
        (PEL).",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::exactly(4),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("group")],
    handler: Handler::Shard(destroy),
    ..Command::BASE
};

pub(super) const XGROUP_HELP: Command = help(Group::Stream, "5.0.0", XGROUP_HELP_LINES);

const XGROUP_HELP_LINES: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
];

pub(super) const XGROUP_SETID: Command = Command {
    name: "setid",
    summary: "Sets the last-delivered ID of a consumer group.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(5),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::string("group"),
        Arg::one_of("id-selector", &[Arg::string("id"), Arg::token("new-id", "$")]),
        Arg::integer("entriesread").after("ENTRIESREAD").optional().display("entries-read"),
    ],
    history: &[("7.0.0", "Added the optional `entries_read` argument.")],
    handler: Handler::Shard(set_id),
    ..Command::BASE
};

/// The options of CREATE and SETID.
#[derive(Default)]
struct GroupOptions {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl GroupOptions {
    fn parse(args: Args<'_>, is_create: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = Options::new(args, 5);
        while let Some(word) = words.next() {
            if is_create && is_word(word, "MKSTREAM") {
                options.make_stream = true;
            } else if is_word(word, "ENTRIESREAD") && words.left() > 0 {
                options.entries_read = match integer(words.value()?)? {
                    -1 => None,
                    count => Some(u64::try_from(count).map_err(|_| {
                        CommandError::Other("ERR value for ENTRIESREAD must be positive or -1")
                    })?),
                };
            } else {
                return Err(subcommand_syntax(args.at(1), TRY_HELP));
            }
        }
        Ok(options)
    }
}

/// What the peers say of a subcommand's arguments that they do not understand; `after` ends the
/// text, with the quote.
pub(super) fn subcommand_syntax(subcommand: &[u8], after: &'static str) -> CommandError {
    const BEFORE: &str = "ERR unknown subcommand or wrong number of arguments for '";
    CommandError::quoting(BEFORE, &subcommand[..subcommand.len().min(128)], after)
}

/// The end of that text.
const TRY_HELP: &str = "'. Try XGROUP HELP.";

fn create(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let options = GroupOptions::parse(args, true)?;
    let key = context.key(args.at(2));
    let add = |stream: &mut Stream| {
        // Options may be repeated only as long as the peers' count of arguments allows it, which
        // they look at after the key.
        if args.len() > 8 {
            return Err(subcommand_syntax(args.at(1), TRY_HELP));
        }
        let last = match args.at(4) {
            b"$" => stream.log().last_id(),
            text => id(text)?,
        };
        let is_new = stream.create_group(args.at(3), last, options.entries_read);
        if is_new { Ok(()) } else { Err(BUSY_GROUP) }
    };
    match change(context, &key, add)? {
        Some(created) => created?,
        None if options.make_stream => {
            let mut stream = Stream::new();
            add(&mut stream)?;
            context.shard.insert_stream(context.db, &key, stream)?;
        }
        None => return Err(NO_KEY),
    }
    record(context, &key, &["xgroup-create"], 1);
    reply.ok();
    Ok(())
}

fn set_id(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let options = GroupOptions::parse(args, false)?;
    let key = context.key(args.at(2));
    let set = |stream: &mut Stream| {
        stream.with_group(args.at(3), |log, group| {
            if args.len() > 7 {
                return Err(subcommand_syntax(args.at(1), TRY_HELP));
            }
            group.last_delivered = match args.at(4) {
                b"$" => log.last_id(),
                text => id_or_end(text, 0)?,
            };
            group.entries_read = options.entries_read;
            Ok(())
        })
    };
    let done = change(context, &key, set)?.ok_or(NO_KEY)?;
    done.ok_or_else(|| no_group(args.at(2), args.at(3)))??;
    record(context, &key, &["xgroup-setid"], 1);
    reply.ok();
    Ok(())
}

fn destroy(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(2));
    let destroyed = change(context, &key, |stream| stream.take_group(args.at(3)))?.ok_or(NO_KEY)?;
    let existed = destroyed.is_some();
    if let Some(group) = destroyed {
        context.shard.discard_group(group);
        record(context, &key, &["xgroup-destroy"], 1);
    }
    reply.integer(i64::from(existed));
    Ok(())
}

fn create_consumer(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(2));
    let now_ms = context.shard.now_ms();
    let created = change(context, &key, |stream| {
        stream.with_group(args.at(3), |_, group| group.create_consumer(args.at(4), now_ms))
    })?;
    let created = created.ok_or(NO_KEY)?.ok_or_else(|| no_group(args.at(2), args.at(3)))?;
    if created.is_some() {
        record(context, &key, &[CONSUMER_CREATED], 1);
    }
    reply.integer(i64::from(created.is_some()));
    Ok(())
}

fn delete_consumer(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(2));
    let found = change(context, &key, |stream| {
        let group = stream.group(args.at(3))?;
        Some(group.find_consumer(args.at(4)).is_some())
    })?;
    let exists = found.ok_or(NO_KEY)?.ok_or_else(|| no_group(args.at(2), args.at(3)))?;
    if exists {
        context.run_long(ConsumerRemoval { pending: 0 }, args, reply);
    } else {
        reply.integer(0);
    }
    Ok(())
}

/// A consumer on its way out, in parts, so that nothing that is pending for it holds up the core.
struct ConsumerRemoval {
    /// What was pending for it, and is not any more.
    pending: usize,
}

impl LongWork for ConsumerRemoval {
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool {
        let key = context.key(args.at(2));
        let part = |_: &Log, group: &mut GroupState| {
            let consumer = group.find_consumer(args.at(4))?;
            let acknowledged = group.acknowledge_of(consumer, STEPS_MAX);
            let goes_on = acknowledged == STEPS_MAX;
            if !goes_on {
                group.delete_consumer(args.at(4));
            }
            Some((acknowledged, goes_on))
        };
        let done = change(context, &key, |stream| stream.with_group(args.at(3), part).flatten());
        let (acknowledged, goes_on) = done.ok().flatten().flatten().unwrap_or((0, false));
        self.pending += acknowledged;
        if !goes_on {
            record(context, &key, &["xgroup-delconsumer"], 1);
            reply.integer(self.pending as i64);
        }
        goes_on
    }
}
