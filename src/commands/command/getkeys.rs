//! `COMMAND GETKEYS` and `COMMAND GETKEYSANDFLAGS`: the keys of a whole request.

use kvasir_proto::{Args, Encoder};

use super::info::encode_flags;
use crate::commands::context::LocalContext;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, KeyFlags,
};
use crate::commands::table::table;
use crate::errors::CommandError;

pub(super) const COMMAND_GETKEYS: Command = Command {
    name: "getkeys",
    summary: "Extracts the key names from an arbitrary command.",
    complexity: "O(N) where N is the number of arguments to the command",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::at_least(3),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::CONNECTION,
    args: &[Arg::string("command"), Arg::string("arg").optional().multiple()],
    handler: Handler::Local(getkeys),
    ..Command::BASE
};

fn getkeys(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let keys = keys_of(args.tail(2))?;
    reply.array(keys.len());
    for (key, _) in keys {
        reply.bulk(key);
    }
    Ok(())
}

pub(super) const COMMAND_GETKEYSANDFLAGS: Command = Command {
    name: "getkeysandflags",
    summary: "Extracts the key names and access flags for an arbitrary command.",
    complexity: "O(N) where N is the number of arguments to the command",
    since: "7.0.0",
    group: Group::Server,
    arity: Arity::at_least(3),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::CONNECTION,
    args: &[Arg::string("command"), Arg::string("arg").optional().multiple()],
    handler: Handler::Local(getkeysandflags),
    ..Command::BASE
};

fn getkeysandflags(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let keys = keys_of(args.tail(2))?;
    reply.array(keys.len());
    for (key, flags) in keys {
        reply.array(2);
        reply.bulk(key);
        encode_flags(flags.names(), reply);
    }
    Ok(())
}

/// The keys of a request, and what is done to each.
fn keys_of(request: Args<'_>) -> Result<Vec<(&[u8], KeyFlags)>, CommandError> {
    let entry =
        table().find(request).ok_or(CommandError::Other("ERR Invalid command specified"))?;
    if !entry.has_keys() {
        return Err(CommandError::Other("ERR The command has no key arguments"));
    }
    if !entry.command.arity.accepts(request.len()) {
        return Err(CommandError::Other("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = Vec::new();
    entry.keys_exactly(request, |index, flags| keys.push((request.at(index), flags)))?;
    if keys.is_empty() && !entry.command.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(CommandError::Other("ERR Invalid arguments specified for command"));
    }
    Ok(keys)
}
