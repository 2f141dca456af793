//! The libraries of functions that the server has: FUNCTION and its subcommands.

mod change;
mod look;

use crate::commands::definition::{Arity, Command, Flags, Group, Handler};

pub(in crate::commands) const FUNCTION: Command = Command {
    name: "function",
    summary: "A container for function commands.",
    complexity: "Depends on subcommand.",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::at_least(2),
    subcommands: &[
        &change::FUNCTION_DELETE,
        &look::FUNCTION_DUMP,
        &change::FUNCTION_FLUSH,
        &FUNCTION_HELP,
        &look::FUNCTION_KILL,
        &look::FUNCTION_LIST,
        &change::FUNCTION_LOAD,
        &change::FUNCTION_RESTORE,
        &look::FUNCTION_STATS,
    ],
    ..Command::BASE
};

const FUNCTION_HELP: Command = Command {
    name: "help",
    summary: "Returns helpful text about the different subcommands.",
    complexity: "O(1)",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    handler: Handler::Help(LINES),
    ..Command::BASE
};

/// What `FUNCTION HELP` answers.
const LINES: &[&str] = &[
    "DELETE <library>",
    "    Remove a library and its functions.",
    "DUMP",
    "    Serialize all libraries, for FUNCTION RESTORE.",
    "FLUSH [ASYNC|SYNC]",
    "    Remove all libraries. Both modes do the same.",
    "KILL",
    "    End the functions that are running and have not written.",
    "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
    "    Describe the libraries, or those whose names match: name, engine, functions,",
    "    and with WITHCODE their code.",
    "LOAD [REPLACE] <code>",
    "    Create a library, or with REPLACE put it in the place of the one of its name.",
    "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
    "    Create the libraries of a payload of FUNCTION DUMP:",
    "    * FLUSH: in place of all that are there.",
    "    * APPEND: beside those that are there, which is the default.",
    "    * REPLACE: as APPEND, and in place of those with the same names.",
    "STATS",
    "    Describe the function that is running, and the engines.",
];
