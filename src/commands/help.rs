//! The `HELP` subcommands of containers.

use kvasir_proto::{Args, Encoder};

use super::context::LocalContext;
use super::definition::{Arity, Command, Flags, Group, Handler};
use super::table::resolve;
use crate::errors::CommandError;

/// The definition of a container's `HELP`, which answers with these lines.
pub const fn help(group: Group, since: &'static str, lines: &'static [&'static str]) -> Command {
    Command {
        name: "help",
        summary: "Returns helpful text about the different subcommands.",
        complexity: "O(1)",
        since,
        group,
        arity: Arity::exactly(2),
        flags: Flags::LOADING.or(Flags::STALE),
        handler: Handler::Help(lines),
        ..Command::BASE
    }
}

/// Answers a request for help.
pub fn answer_help(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let Handler::Help(lines) = resolve(args)?.command.handler else {
        unreachable!("only a request for help gets here")
    };
    let container = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    encode_help(&container, lines, reply);
    Ok(())
}

/// Encodes the help of a container: a head, the lines given, and how to get this help.
pub fn encode_help(container: &str, lines: &[&str], reply: &mut Encoder<'_>) {
    reply.array(lines.len() + 3);
    let head = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    reply.simple(&head);
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}
