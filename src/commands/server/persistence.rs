//! `SAVE`, `BGSAVE`, `BGREWRITEAOF`, `LASTSAVE`: they say that nothing is saved yet.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Categories, Command, Flags, Group, Handler};
use crate::errors::CommandError;

const NO_SNAPSHOTS: CommandError =
    CommandError::NotYet("snapshots come in a later version: nothing is saved to disk yet");
const NO_LOG: CommandError = CommandError::NotYet(
    "the append-only file comes in a later version: nothing is saved to disk yet",
);

pub(super) const SAVE: Command = Command {
    name: "save",
    summary: "Synchronously saves the database(s) to disk.",
    complexity: "O(N) where N is the total number of keys in all databases",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING).or(Flags::NO_MULTI),
    handler: Handler::Local(save),
    ..Command::BASE
};

fn save(_: &mut LocalContext<'_>, _: Args<'_>, _: &mut Encoder<'_>) -> Result<(), CommandError> {
    Err(NO_SNAPSHOTS)
}

pub(super) const BGSAVE: Command = Command {
    name: "bgsave",
    summary: "Asynchronously saves the database(s) to disk.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::at_least(1),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING),
    args: &[Arg::one_of(
        "operation",
        &[
            Arg::token("schedule", "SCHEDULE").since("3.2.2"),
            Arg::token("cancel", "CANCEL").since("8.1.0"),
        ],
    )
    .optional()],
    history: &[("3.2.2", "Added the `SCHEDULE` option."), ("8.1.0", "Added the `CANCEL` option.")],
    handler: Handler::Local(bg_save),
    ..Command::BASE
};

fn bg_save(_: &mut LocalContext<'_>, _: Args<'_>, _: &mut Encoder<'_>) -> Result<(), CommandError> {
    Err(NO_SNAPSHOTS)
}

pub(super) const BGREWRITEAOF: Command = Command {
    name: "bgrewriteaof",
    summary: "Asynchronously rewrites the append-only file to disk.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING),
    handler: Handler::Local(bg_rewrite_aof),
    ..Command::BASE
};

fn bg_rewrite_aof(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    _: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    Err(NO_LOG)
}

pub(super) const LASTSAVE: Command = Command {
    name: "lastsave",
    summary: "Returns the Unix timestamp of the last successful save to disk.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Categories::ADMIN.or(Categories::DANGEROUS),
    tips: &["nondeterministic_output"],
    handler: Handler::Local(last_save),
    ..Command::BASE
};

/// Before the first save the peers tell when they started.
fn last_save(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.integer((context.state.shared.process.started_unix_us / 1_000_000) as i64);
    Ok(())
}
