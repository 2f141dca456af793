//! The process: `TIME` and `SHUTDOWN`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kvasir_proto::{Args, Encoder, number};

use super::rewrite;
use super::snapshot::{self, After};
use crate::commands::arguments::is_word;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::config::choice::{SHUTDOWN_FORCE, SHUTDOWN_NOSAVE, SHUTDOWN_SAVE};
use crate::errors::CommandError;
use crate::route::core::{Background, CoreState};
use crate::route::engine::{ShardId, ShutdownSignal};
use crate::route::locks::Mode;
use crate::route::transaction::{Request, Transaction};

pub(super) const TIME: Command = Command {
    name: "time",
    summary: "Returns the server time.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    tips: &["nondeterministic_output"],
    handler: Handler::Local(time),
    ..Command::BASE
};

fn time(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let us = context.state.now.unix_us;
    let mut text = Vec::new();
    reply.array(2);
    for part in [us / 1_000_000, us % 1_000_000] {
        text.clear();
        number::append_u64(&mut text, part);
        reply.bulk(&text);
    }
    Ok(())
}

pub(super) const SHUTDOWN: Command = Command {
    name: "shutdown",
    summary: "Synchronously saves the database(s) to disk and shuts down the server.",
    complexity: "O(N) when saving, where N is the total number of keys in all databases when \
        saving data, otherwise O(1)",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::at_least(1),
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::NO_MULTI)
        .or(Flags::ALLOW_BUSY),
    args: &[Arg::one_of(
        "abort-selector",
        &[
            Arg::block(
                "save-selector-block",
                &[
                    Arg::one_of(
                        "save-selector",
                        &[Arg::token("nosave", "NOSAVE"), Arg::token("save", "SAVE")],
                    )
                    .optional(),
                    Arg::token("now", "NOW").optional().since("7.0.0"),
                    Arg::token("force", "FORCE").optional().since("7.0.0"),
                ],
            ),
            Arg::token("abort", "ABORT").since("7.0.0"),
        ],
    )
    .optional()],
    history: &[("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers.")],
    handler: Handler::Global(LockScope::None, shutdown),
    ..Command::BASE
};

/// How often a client's `SHUTDOWN` looks what became of it.
const LOOK: Duration = Duration::from_millis(1);

/// Has the server end, and waits for it: there is no reply, unless the data cannot be saved.
fn shutdown(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let wishes = parse(request.args())?;
        if wishes.abort {
            return Err(CommandError::Other("ERR No shutdown in progress."));
        }
        tracing::warn!("User requested shutdown... (client id={})", request.client);
        let failed = |state: &mut CoreState| state.shared.failed_shutdowns.load(Ordering::Acquire);
        let failed_before = transaction.on(ShardId(0), failed).await;
        let begin = move |state: &mut CoreState| {
            let shutdown = shut_down(wishes, state);
            state.background.push_back(shutdown);
        };
        transaction.on(ShardId(0), begin).await;
        while !request.shared.stopping() {
            if transaction.on(ShardId(0), failed).await != failed_before {
                return Err(CommandError::Other("ERR Errors trying to SHUTDOWN. Check logs."));
            }
            transaction.sleep(LOOK).await;
        }
        Ok(Vec::new())
    })
}

/// What the server does on a signal, by `shutdown-on-sigterm` or `shutdown-on-sigint`.
pub(crate) fn shut_down_on(signal: ShutdownSignal, state: &CoreState) -> Background {
    let config = state.shared.config.load();
    let flags = match signal {
        ShutdownSignal::Terminate => config.process.shutdown_on_sigterm,
        ShutdownSignal::Interrupt => config.process.shutdown_on_sigint,
    };
    let saves = match (flags & SHUTDOWN_SAVE != 0, flags & SHUTDOWN_NOSAVE != 0) {
        (_, true) => Saves::Never,
        (true, false) => Saves::Always,
        (false, false) => Saves::ByPoints,
    };
    shut_down(Wishes { saves, force: flags & SHUTDOWN_FORCE != 0, abort: false }, state)
}

/// What the first core has to do to end the process. A snapshot in the background ends early; what
/// is saved is what there is when nobody can change it any more.
fn shut_down(wishes: Wishes, state: &CoreState) -> Background {
    let persistence = &state.shared.persistence;
    if persistence.rewriting.is_first() {
        if !wishes.force {
            return Background { words: vec!["SHUTDOWN"], locks: None, coordinator: refuse };
        }
        tracing::warn!("Writing initial AOF. Exit anyway.");
    }
    persistence.saving.cancel();
    let saves = match wishes.saves {
        Saves::Always => true,
        Saves::Never => false,
        Saves::ByPoints => !state.shared.config.load().persistence.save_points.is_empty(),
    };
    let coordinator = match (saves, wishes.force) {
        (false, _) => end,
        (true, false) => save_and_end,
        (true, true) => save_if_possible_and_end,
    };
    Background { words: vec!["SHUTDOWN"], locks: saves.then_some(Mode::Write), coordinator }
}

/// The log has no base yet: what it holds would be lost. The server goes on.
fn refuse(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        tracing::warn!("Writing initial AOF, can't exit.");
        fail(&request);
        Ok(Vec::new())
    })
}

/// Tells everybody who waits for the end that it does not come.
fn fail(request: &Request) {
    tracing::warn!("Errors trying to shut down the server. Check the logs for more information.");
    request.shared.failed_shutdowns.fetch_add(1, Ordering::Release);
}

fn end(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        if request.shared.persistence.log.is_on() {
            tracing::info!("Calling fsync() on the AOF file.");
            if !rewrite::flush(&transaction, &request.shared).await {
                tracing::warn!("Fail to fsync the AOF file");
            }
        }
        // Every core is told, so that those that sleep look.
        transaction.on_all(|state| state.shared.stop()).await;
        Ok(Vec::new())
    })
}

/// When the data cannot be saved the server goes on.
fn save_and_end(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        if snapshot::save(&transaction, &request.shared, After::Hold).await.is_err() {
            tracing::warn!("Error trying to save the DB, can't exit.");
            fail(&request);
            return Ok(Vec::new());
        }
        end(transaction, request).await
    })
}

/// With `FORCE` the server ends although the data cannot be saved.
fn save_if_possible_and_end(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        if snapshot::save(&transaction, &request.shared, After::Hold).await.is_err() {
            tracing::warn!("Error trying to save the DB, but exiting anyway.");
        }
        end(transaction, request).await
    })
}

/// Whether a `SHUTDOWN` saves.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
enum Saves {
    /// If there are points at which a snapshot is taken.
    #[default]
    ByPoints,
    Always,
    Never,
}

/// What a `SHUTDOWN` asks for, as far as it matters without replicas.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Wishes {
    saves: Saves,
    force: bool,
    abort: bool,
}

fn parse(args: Args<'_>) -> Result<Wishes, CommandError> {
    const WORDS: [&str; 7] = ["SAVE", "NOSAVE", "NOW", "FORCE", "SAFE", "FAILOVER", "ABORT"];
    let words = args.tail(1);
    let has = |wanted: &str| words.iter().any(|word| is_word(word, wanted));
    let known = words.iter().all(|word| WORDS.iter().any(|known| is_word(word, known)));
    let saves = match (has("SAVE"), has("NOSAVE")) {
        (true, true) => return Err(CommandError::Syntax),
        (true, false) => Saves::Always,
        (false, true) => Saves::Never,
        (false, false) => Saves::ByPoints,
    };
    if !known || has("ABORT") && words.len() > 1 {
        return Err(CommandError::Syntax);
    }
    Ok(Wishes { saves, force: has("FORCE"), abort: has("ABORT") })
}
