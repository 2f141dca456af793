//! Switches of a connection: `CLIENT REPLY`, `NO-EVICT`, `NO-TOUCH`, `IMPORT-SOURCE`.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::is_word;
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler};
use crate::config::value::Value;
use crate::errors::CommandError;
use crate::route::connection::ReplyMode;

/// The argument as a switch.
fn is_on(word: &[u8]) -> Result<bool, CommandError> {
    match word {
        word if is_word(word, "ON") => Ok(true),
        word if is_word(word, "OFF") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

pub(super) const CLIENT_REPLY: Command = Command {
    name: "reply",
    summary: "Instructs the server whether to reply to commands.",
    complexity: "O(1)",
    since: "3.2.0",
    group: Group::Connection,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::one_of(
        "action",
        &[Arg::token("on", "ON"), Arg::token("off", "OFF"), Arg::token("skip", "SKIP")],
    )],
    handler: Handler::Local(reply_mode),
    ..Command::BASE
};

/// Only `ON` is answered. `SKIP` concerns the next command, unless replies are off anyway.
fn reply_mode(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let client = context.client();
    let word = args.at(2);
    if is_word(word, "ON") {
        client.reply_mode = ReplyMode::On;
        reply.ok();
    } else if is_word(word, "OFF") {
        client.reply_mode = ReplyMode::Off;
    } else if !is_word(word, "SKIP") {
        return Err(CommandError::Syntax);
    } else if client.reply_mode != ReplyMode::Off {
        client.reply_mode = ReplyMode::SkipNext;
    }
    Ok(())
}

pub(super) const CLIENT_NO_EVICT: Command = Command {
    name: "no-evict",
    summary: "Sets the client eviction mode of the connection.",
    complexity: "O(1)",
    since: "7.0.0",
    group: Group::Connection,
    arity: Arity::exactly(3),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::one_of("enabled", &[Arg::token("on", "ON"), Arg::token("off", "OFF")])],
    handler: Handler::Local(no_evict),
    ..Command::BASE
};

fn no_evict(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    context.client().no_evict = is_on(args.at(2))?;
    reply.ok();
    Ok(())
}

pub(super) const CLIENT_NO_TOUCH: Command = Command {
    name: "no-touch",
    summary: "Controls whether commands sent by the client affect the LRU/LFU of accessed \
        keys.",
    complexity: "O(1)",
    since: "7.2.0",
    group: Group::Connection,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::one_of("enabled", &[Arg::token("on", "ON"), Arg::token("off", "OFF")])],
    handler: Handler::Local(no_touch),
    ..Command::BASE
};

fn no_touch(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    context.client().view.no_touch = is_on(args.at(2))?;
    reply.ok();
    Ok(())
}

pub(super) const CLIENT_IMPORT_SOURCE: Command = Command {
    name: "import-source",
    summary: "Mark this client as an import source when server is in import mode.",
    complexity: "O(1)",
    since: "8.1.0",
    group: Group::Connection,
    arity: Arity::exactly(3),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::one_of("enabled", &[Arg::token("on", "ON"), Arg::token("off", "OFF")])],
    handler: Handler::Local(import_source),
    ..Command::BASE
};

fn import_source(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let config = context.state.shared.config.load();
    let import_mode = config.value("import-mode").is_some_and(Value::flag);
    if !import_mode && !is_word(args.at(2), "OFF") {
        return Err(CommandError::Other("ERR Server is not in import mode"));
    }
    context.client().view.import_source = is_on(args.at(2))?;
    reply.ok();
    Ok(())
}
