//! Is anybody there: `PING` and `ECHO`.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;

pub(super) const PING: Command = Command {
    name: "ping",
    summary: "Returns the server's liveliness response.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Connection,
    arity: Arity::at_least(1),
    flags: Flags::FAST,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    args: &[Arg::string("message").optional()],
    handler: Handler::Local(ping),
    ..Command::BASE
};

fn ping(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    match args.len() {
        1 | 2 if context.client().is_confined() => {
            // In the form of a message, which is all that such a client expects.
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(args.get(1).unwrap_or_default());
        }
        1 => reply.simple("PONG"),
        2 => reply.bulk(args.at(1)),
        _ => return Err(CommandError::WrongArity("ping".to_owned())),
    }
    Ok(())
}

pub(super) const ECHO: Command = Command {
    name: "echo",
    summary: "Returns the given string.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    args: &[Arg::string("message")],
    handler: Handler::Local(echo),
    ..Command::BASE
};

fn echo(
    _: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.bulk(args.at(1));
    Ok(())
}
