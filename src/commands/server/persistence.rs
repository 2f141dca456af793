//! `SAVE`, `BGSAVE`, `LASTSAVE`, `BGREWRITEAOF`.

use kvasir_proto::{Args, Encoder};

use super::snapshot::{self, After, SaveError};
use crate::commands::arguments::is_word;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::errors::CommandError;
use crate::persist::saving::{SaveKind, Saving};
use crate::route::transaction::{Request, Transaction};

/// A snapshot is being taken.
pub(super) const IN_PROGRESS: CommandError =
    CommandError::Other("ERR Background save already in progress");

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

/// The reply comes before the locks: who writes in between is part of the snapshot. Behind a
/// rewrite of the log it waits only with `SCHEDULE`, as with the peers.
fn bg_save(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let saving = &context.state.shared.persistence.saving;
    let waits = match (args.get(1), args.len()) {
        (Some(word), 2) if is_word(word, "CANCEL") => return cancel(saving, reply),
        (Some(word), 2) if is_word(word, "SCHEDULE") => true,
        (None, _) => false,
        _ => return Err(CommandError::Syntax),
    };
    if saving.figures().kind == Some(SaveKind::LogBase) {
        if !waits {
            return Err(CommandError::Other(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE \
                 SCHEDULE in order to schedule a BGSAVE whenever possible.",
            ));
        }
        saving.schedule();
        reply.simple("Background saving scheduled");
    } else if context.state.begin_background_save() {
        reply.simple("Background saving started");
    } else {
        return Err(IN_PROGRESS);
    }
    Ok(())
}

fn cancel(saving: &Saving, reply: &mut Encoder<'_>) -> Result<(), CommandError> {
    if saving.cancel_background() {
        reply.simple("Background saving cancelled");
    } else if saving.unschedule() {
        reply.simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::Other(
            "ERR Background saving is currently not in progress or scheduled",
        ));
    }
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

/// One snapshot at a time, as with the peers: it waits for a save that is under way.
fn bg_rewrite_aof(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if context.state.shared.persistence.rewriting.figures().running {
        return Err(CommandError::Other(
            "ERR Background append only file rewriting already in progress",
        ));
    }
    if context.state.begin_rewrite() {
        reply.simple("Background append only file rewriting started");
    } else {
        context.state.shared.persistence.rewriting.schedule();
        reply.simple("Background append only file rewriting scheduled");
    }
    Ok(())
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
