//! `MODULE`: there are none, since their interface is that of another program's internals.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arity, Command, Flags, Group, Handler};
use crate::commands::help::encode_help;
use crate::errors::CommandError;

pub(super) const MODULE: Command = Command {
    name: "module",
    summary: "A container for module commands.",
    complexity: "Depends on subcommand.",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    subcommands: &[&MODULE_HELP, &MODULE_LIST],
    ..Command::BASE
};

pub(super) const MODULE_LIST: Command = Command {
    name: "list",
    summary: "Returns all loaded modules.",
    complexity: "O(N) where N is the number of loaded modules.",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT),
    tips: &["nondeterministic_output_order"],
    handler: Handler::Local(list),
    ..Command::BASE
};

fn list(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.array(0);
    Ok(())
}

pub(super) const MODULE_HELP: Command = Command {
    name: "help",
    summary: "Returns helpful text about the different subcommands.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    handler: Handler::Local(help),
    ..Command::BASE
};

fn help(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    encode_help("MODULE", &["LIST", "    The modules that are loaded: none."], reply);
    Ok(())
}
