//! `MONITOR`: a client sees every command of every client.

use std::sync::atomic::Ordering;

use kvasir_proto::{Args, Encoder};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;

pub(super) const MONITOR: Command = Command {
    name: "monitor",
    summary: "Listens for all requests received by the server in real-time.",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    handler: Handler::Local(monitor),
    ..Command::BASE
};

/// The connection's core feeds it from now on; all other cores learn that there is a monitor from
/// the count that they look at for each command.
fn monitor(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if context.client().in_part {
        return Err(CommandError::Other("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    reply.ok();
    if !std::mem::replace(&mut context.client().monitor, true) {
        context.state.monitors.push(context.connection);
        context.state.shared.monitors.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
