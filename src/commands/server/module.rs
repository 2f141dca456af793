//! `MODULE`: there are none, since their interface is that of another program's internals.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arity, Command, Flags, Group, Handler};
use crate::commands::help::help;
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

pub(super) const MODULE_HELP: Command = help(Group::Server, "5.0.0", MODULE_HELP_LINES);

const MODULE_HELP_LINES: &[&str] = &["LIST", "    The modules that are loaded: none."];
