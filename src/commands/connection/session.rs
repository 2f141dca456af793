//! The state of a connection, and its end: `SELECT`, `RESET`, `QUIT`.

use kvasir_proto::{Args, Encoder, Resp};

use crate::commands::arguments::database;
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Deprecation, Flags, Group, Handler};
use crate::errors::CommandError;
use crate::route::connection::ReplyMode;
use crate::route::engine::Close;

pub(super) const SELECT: Command = Command {
    name: "select",
    summary: "Changes the selected database.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    args: &[Arg::integer("index")],
    handler: Handler::Local(select),
    ..Command::BASE
};

fn select(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let databases = context.state.shared.config.load().process.databases;
    context.client().view.db = database(args.at(1), databases)?;
    reply.ok();
    Ok(())
}

pub(super) const RESET: Command = Command {
    name: "reset",
    summary: "Resets the connection.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::Connection,
    arity: Arity::exactly(1),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::NO_AUTH)
        .or(Flags::ALLOW_BUSY),
    handler: Handler::Local(reset),
    ..Command::BASE
};

/// What identifies the program (its library, its capabilities) survives, as with the peers.
fn reset(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let open = context.state.shared.config.load().security.password.is_empty();
    context.state.stop_monitoring(context.connection);
    context.state.unsubscribe_all(context.connection);
    context.state.discard(context.connection);
    context.state.end_tracking(context.connection);
    let client = context.client();
    client.view.db = 0;
    client.view.resp = Resp::V2;
    client.view.no_touch = false;
    client.no_evict = false;
    client.fieldsets.clear();
    if client.reply_mode == ReplyMode::Off {
        client.reply_mode = ReplyMode::On;
    }
    client.name.clear();
    client.user = b"default".to_vec();
    client.authenticated = open;
    reply.set_resp(Resp::V2);
    reply.simple("RESET");
    Ok(())
}

pub(super) const QUIT: Command = Command {
    name: "quit",
    summary: "Closes the connection.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Connection,
    arity: Arity::at_least(1),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::NO_AUTH)
        .or(Flags::ALLOW_BUSY),
    deprecated: Some(Deprecation { since: "7.2.0", replaced_by: "just closing the connection" }),
    handler: Handler::Local(quit),
    ..Command::BASE
};

fn quit(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.ok();
    context.state.close(context.connection, Close::AfterOutput);
    Ok(())
}
