//! `SAVE`, `BGSAVE`, `LASTSAVE`, and `BGREWRITEAOF`, which says that there is no such file yet.

use kvasir_proto::{Args, Encoder};

use super::snapshot::{self, After, SaveError};
use crate::commands::arguments::is_word;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::errors::CommandError;
use crate::persist::saving::SaveKind;
use crate::route::transaction::{Request, Transaction};

const NO_LOG: CommandError = CommandError::NotYet("the append-only file comes in a later version");
const IN_PROGRESS: CommandError = CommandError::Other("ERR Background save already in progress");

pub(super) const SAVE: Command = Command {
    name: "save",
    summary: "Synchronously saves the database(s) to disk.",
    complexity: "O(N) where N is the total number of keys in all databases",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING).or(Flags::NO_MULTI),
    handler: Handler::Global(LockScope::Shared, save),
    ..Command::BASE
};

/// The client waits for the file; others go on after the cut, unlike with the peers.
fn save(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        match snapshot::save(&transaction, &request.shared, After::Release).await {
            Ok(()) => Ok(request.ok()),
            Err(SaveError::InProgress) => Err(IN_PROGRESS),
            Err(SaveError::Cancelled | SaveError::Failed(_)) => Err(CommandError::Other("ERR")),
        }
    })
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

/// The reply comes before the locks: who writes in between is part of the snapshot.
fn bg_save(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let saving = &context.state.shared.persistence.saving;
    match (args.get(1), args.len()) {
        (Some(word), 2) if is_word(word, "CANCEL") => {
            if !saving.cancel() {
                return Err(CommandError::Other(
                    "ERR Background saving is currently not in progress or scheduled",
                ));
            }
            reply.simple("Background saving cancelled");
            return Ok(());
        }
        // Nothing else runs in the background that it would have to wait for.
        (Some(word), 2) if is_word(word, "SCHEDULE") => {}
        (None, _) => {}
        _ => return Err(CommandError::Syntax),
    }
    if !saving.claim(SaveKind::Background, context.state.unix_ms() / 1000) {
        return Err(IN_PROGRESS);
    }
    tracing::info!("Background saving started");
    context.state.background.push_back(snapshot::background_save());
    reply.simple("Background saving started");
    Ok(())
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

/// Before the first save it is the start of the process, as with the peers.
fn last_save(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.integer(context.state.shared.persistence.saving.figures().last_unix_s as i64);
    Ok(())
}
