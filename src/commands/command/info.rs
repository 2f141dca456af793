//! `COMMAND`, `COMMAND COUNT`, `COMMAND INFO` and `COMMAND HELP`.

use kvasir_proto::{Args, Encoder};

use super::docs::COMMAND_DOCS;
use super::getkeys::{COMMAND_GETKEYS, COMMAND_GETKEYSANDFLAGS};
use super::list::COMMAND_LIST;
use crate::commands::context::LocalContext;
use crate::commands::definition::{
    Arg, Arity, BeginSearch, Categories, Command, FindKeys, Flags, Group, Handler, KeySpec,
};
use crate::commands::help::help;
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;

pub(super) const COMMAND: Command = Command {
    name: "command",
    summary: "Returns detailed information about all commands.",
    complexity: "O(N) where N is the total number of commands",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::at_least(1),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::CONNECTION,
    tips: &["nondeterministic_output_order"],
    subcommands: &[
        &COMMAND_COUNT,
        &COMMAND_DOCS,
        &COMMAND_GETKEYS,
        &COMMAND_GETKEYSANDFLAGS,
        &COMMAND_HELP,
        &COMMAND_INFO,
        &COMMAND_LIST,
    ],
    handler: Handler::Local(command),
    ..Command::BASE
};

fn command(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    encode_all(reply);
    Ok(())
}

pub(super) const COMMAND_COUNT: Command = Command {
    name: "count",
    summary: "Returns a count of commands.",
    complexity: "O(1)",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::CONNECTION,
    handler: Handler::Local(count),
    ..Command::BASE
};

fn count(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.integer(table().commands().len() as i64);
    Ok(())
}

pub(super) const COMMAND_INFO: Command = Command {
    name: "info",
    summary: "Returns information about one, multiple or all commands.",
    complexity: "O(N) where N is the number of commands to look up",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::at_least(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::CONNECTION,
    tips: &["nondeterministic_output_order"],
    args: &[Arg::string("command-name").optional().multiple()],
    history: &[("7.0.0", "Allowed to be called with no argument to get info on all commands.")],
    handler: Handler::Local(info),
    ..Command::BASE
};

fn info(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let names = args.tail(2);
    if names.is_empty() {
        encode_all(reply);
        return Ok(());
    }
    reply.array(names.len());
    for name in names.iter() {
        match table().by_full_name(name) {
            Some(entry) => encode_entry(entry, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

pub(super) const COMMAND_HELP: Command =
    Command { acl: Categories::CONNECTION, ..help(Group::Server, "5.0.0", COMMAND_HELP_LINES) };

const COMMAND_HELP_LINES: &[&str] = &[
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the total number of commands in this server.",
    "LIST",
    "    Return a list of all commands in this server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full command.",
];

fn encode_all(reply: &mut Encoder<'_>) {
    let commands = table().commands();
    reply.array(commands.len());
    for entry in commands {
        encode_entry(entry, reply);
    }
}

/// The ten fields of `COMMAND INFO`, with the subcommands' inside.
fn encode_entry(entry: &Entry, reply: &mut Encoder<'_>) {
    let command = entry.command;
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.integer(command.arity.wire());
    encode_flags(command.flags.names(), reply);
    reply.integer(entry.key_range.first.into());
    reply.integer(entry.key_range.last.into());
    reply.integer(entry.key_range.step.into());
    let categories = entry.categories.names();
    reply.set(categories.clone().count());
    for name in categories {
        reply.simple(&format!("@{name}"));
    }
    reply.set(command.tips.len());
    for tip in command.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(command.keys.len());
    for spec in command.keys {
        encode_key_spec(spec, reply);
    }
    let subcommands = table().subcommands(entry);
    // The peers send an empty set where there are no subcommands, and otherwise an array.
    if subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(subcommands.len());
    }
    for subcommand in subcommands {
        encode_entry(subcommand, reply);
    }
}

/// A set of flags, as the peers encode all of theirs.
pub(super) fn encode_flags(
    names: impl Iterator<Item = &'static str> + Clone,
    reply: &mut Encoder<'_>,
) {
    reply.set(names.clone().count());
    for name in names {
        reply.simple(name);
    }
}

fn encode_key_spec(spec: &KeySpec, reply: &mut Encoder<'_>) {
    reply.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = spec.notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    encode_flags(spec.flags.names(), reply);
    reply.bulk(b"begin_search");
    match spec.begin {
        BeginSearch::Index(index) => {
            encode_search("index", 1, reply);
            encode_number("index", index, reply);
        }
        BeginSearch::Keyword { keyword, start_from } => {
            encode_search("keyword", 2, reply);
            reply.bulk(b"keyword");
            reply.bulk(keyword.as_bytes());
            encode_number("startfrom", start_from, reply);
        }
        BeginSearch::Unknown => encode_search("unknown", 0, reply),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        FindKeys::Range { last, step, limit } => {
            encode_search("range", 3, reply);
            encode_number("lastkey", last, reply);
            encode_number("keystep", step, reply);
            encode_number("limit", limit, reply);
        }
        FindKeys::KeyNum { key_num, first, step } => {
            encode_search("keynum", 3, reply);
            encode_number("keynumidx", key_num, reply);
            encode_number("firstkey", first, reply);
            encode_number("keystep", step, reply);
        }
        FindKeys::Unknown => encode_search("unknown", 0, reply),
    }
}

/// The type of a search, and the head of the map with its parameters.
fn encode_search(kind: &str, parameters: usize, reply: &mut Encoder<'_>) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(parameters);
}

fn encode_number(name: &str, value: i32, reply: &mut Encoder<'_>) {
    reply.bulk(name.as_bytes());
    reply.integer(value.into());
}
