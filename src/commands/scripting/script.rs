//! The scripts that the server knows: SCRIPT and its subcommands.

use kvasir_proto::{Args, Encoder};

use super::kill;
use crate::commands::arguments::is_word;
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::errors::CommandError;
use crate::script::cache::digest_of;
use crate::sha1;

pub(super) const SCRIPT: Command = Command {
    name: "script",
    summary: "A container for Lua scripts management commands.",
    complexity: "Depends on subcommand.",
    since: "2.6.0",
    group: Group::Scripting,
    arity: Arity::at_least(2),
    subcommands: &[
        &SCRIPT_DEBUG,
        &SCRIPT_EXISTS,
        &SCRIPT_FLUSH,
        &SCRIPT_HELP,
        &SCRIPT_KILL,
        &SCRIPT_LOAD,
        &SCRIPT_SHOW,
    ],
    ..Command::BASE
};

const SCRIPT_DEBUG: Command = Command {
    name: "debug",
    summary: "Sets the debug mode of server-side Lua scripts.",
    complexity: "O(1)",
    since: "3.2.0",
    group: Group::Scripting,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT,
    args: &[Arg::one_of(
        "mode",
        &[Arg::token("yes", "YES"), Arg::token("sync", "SYNC"), Arg::token("no", "NO")],
    )],
    handler: Handler::Local(debug),
    ..Command::BASE
};

const SCRIPT_EXISTS: Command = Command {
    name: "exists",
    summary: "Determines whether server-side Lua scripts exist in the script cache.",
    complexity: "O(N) with N being the number of scripts to check (so checking a single \
        script is an O(1) operation).",
    since: "2.6.0",
    group: Group::Scripting,
    arity: Arity::at_least(3),
    flags: Flags::NOSCRIPT,
    tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
    args: &[Arg::string("sha1").multiple()],
    handler: Handler::Local(exists),
    ..Command::BASE
};

const SCRIPT_FLUSH: Command = Command {
    name: "flush",
    summary: "Removes all server-side Lua scripts from the script cache.",
    complexity: "O(N) with N being the number of scripts in cache",
    since: "2.6.0",
    group: Group::Scripting,
    arity: Arity::at_least(2),
    flags: Flags::NOSCRIPT,
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    args: &[Arg::one_of("flush-type", &[Arg::token("async", "ASYNC"), Arg::token("sync", "SYNC")])
        .optional()
        .since("6.2.0")],
    history: &[("6.2.0", "Added the `ASYNC` and `SYNC` flushing mode modifiers.")],
    handler: Handler::Local(flush),
    ..Command::BASE
};

const SCRIPT_HELP: Command = Command {
    name: "help",
    summary: "Returns helpful text about the different subcommands.",
    complexity: "O(1)",
    since: "5.0.0",
    group: Group::Scripting,
    arity: Arity::exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    handler: Handler::Help(LINES),
    ..Command::BASE
};

const SCRIPT_KILL: Command = Command {
    name: "kill",
    summary: "Terminates a server-side Lua script during execution.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::Scripting,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
    tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
    handler: Handler::Global(LockScope::None, |transaction, request| {
        kill(transaction, request, false)
    }),
    ..Command::BASE
};

const SCRIPT_LOAD: Command = Command {
    name: "load",
    summary: "Loads a server-side Lua script to the script cache.",
    complexity: "O(N) with N being the length in bytes of the script body.",
    since: "2.6.0",
    group: Group::Scripting,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    args: &[Arg::string("script")],
    handler: Handler::Local(load),
    ..Command::BASE
};

const SCRIPT_SHOW: Command = Command {
    name: "show",
    summary: "Show server-side Lua script in the script cache.",
    complexity: "O(1).",
    since: "8.0.0",
    group: Group::Scripting,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT,
    args: &[Arg::string("sha1")],
    handler: Handler::Local(show),
    ..Command::BASE
};

/// What `SCRIPT HELP` answers.
const LINES: &[&str] = &[
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined",
    "     by the lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
    "SHOW <sha1>",
    "    Show a script from the scripts cache.",
];
/// There is no debugger: a client is told so when it wants one, and that it is off when it is.
fn debug(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mode = args.at(2);
    if is_word(mode, "NO") {
        reply.ok();
        return Ok(());
    }
    if is_word(mode, "YES") || is_word(mode, "SYNC") {
        return Err(CommandError::Other("ERR The debugger of scripts is not available"));
    }
    Err(CommandError::Other("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

fn exists(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let scripts = &context.state.shared.scripts;
    reply.array(args.len() - 2);
    for hex in args.iter().skip(2) {
        let exists = digest_of(hex).is_some_and(|digest| scripts.contains(&digest));
        reply.integer(i64::from(exists));
    }
    Ok(())
}

/// Both modes are the same: interpreters are given back by their cores when they next want one.
fn flush(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let known = match (args.get(2), args.len()) {
        (None, _) => true,
        (Some(mode), 3) => is_word(mode, "ASYNC") || is_word(mode, "SYNC"),
        _ => false,
    };
    if !known {
        return Err(CommandError::Other("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    context.state.shared.scripts.flush();
    reply.ok();
    Ok(())
}

fn load(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let digest = context.state.load_script(args.at(2))?;
    reply.bulk(sha1::to_hex(&digest).as_bytes());
    Ok(())
}

fn show(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let now_us = context.state.now.monotonic_us;
    let scripts = &context.state.shared.scripts;
    let script = digest_of(args.at(2)).and_then(|digest| scripts.find(&digest, now_us));
    let script = script.ok_or(CommandError::Other("NOSCRIPT No matching script."))?;
    reply.bulk(&script.body);
    Ok(())
}
