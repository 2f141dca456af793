//! The process: `TIME` and `SHUTDOWN`.

use kvasir_proto::{Args, Encoder, number};

use super::snapshot;
use crate::commands::arguments::is_word;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::config::choice::{SHUTDOWN_FORCE, SHUTDOWN_NOSAVE, SHUTDOWN_NOW, SHUTDOWN_SAVE};
use crate::errors::CommandError;
use crate::persist::saving::SaveKind;
use crate::route::core::{Background, CoreState};
use crate::route::engine::ShutdownSignal;
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
    handler: Handler::Global(LockScope::Chosen(shutdown_locks), shutdown),
    ..Command::BASE
};

/// What is saved is what there is when nobody can change it any more.
fn shutdown_locks(args: Args<'_>) -> LockScope {
    match parse(args) {
        Ok(wishes) if !wishes.abort && wishes.saves != Saves::Never => LockScope::Exclusive,
        _ => LockScope::None,
    }
}

/// What the server does on a signal: the command with the words of `shutdown-on-sigterm` or
/// `shutdown-on-sigint`.
pub(crate) fn shut_down_on(signal: ShutdownSignal, state: &CoreState) -> Background {
    let config = state.shared.config.load();
    let flags = match signal {
        ShutdownSignal::Terminate => config.process.shutdown_on_sigterm,
        ShutdownSignal::Interrupt => config.process.shutdown_on_sigint,
    };
    let mut words = vec!["SHUTDOWN"];
    for (flag, word) in [
        (SHUTDOWN_SAVE, "SAVE"),
        (SHUTDOWN_NOSAVE, "NOSAVE"),
        (SHUTDOWN_NOW, "NOW"),
        (SHUTDOWN_FORCE, "FORCE"),
    ] {
        if flags & flag != 0 {
            words.push(word);
        }
    }
    let has_points = !config.persistence.save_points.is_empty();
    let saves = flags & SHUTDOWN_NOSAVE == 0 && (has_points || flags & SHUTDOWN_SAVE != 0);
    Background { words, locks: saves.then_some(Mode::Write), coordinator: shutdown }
}

/// Ends the process without a reply, after a snapshot: if one is asked for, or by default where
/// there are points at which one is taken. When that fails the server goes on, unless `FORCE` says
/// otherwise.
fn shutdown(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let has = parse(request.args())?;
        if has.abort {
            return Err(CommandError::Other("ERR No shutdown in progress."));
        }
        let user = request.client;
        if user != 0 {
            tracing::warn!("User requested shutdown... (client id={user})");
        }
        let has_points = !request.shared.config.load().persistence.save_points.is_empty();
        let saves = match has.saves {
            Saves::Always => true,
            Saves::Never => false,
            Saves::ByPoints => has_points,
        };
        if saves {
            tracing::info!("Saving the final RDB snapshot before exiting.");
            let saved = snapshot::save(&transaction, &request.shared, SaveKind::Foreground).await;
            if saved.is_err() && !has.force {
                tracing::warn!("Error trying to save the DB, can't exit.");
                return Err(CommandError::Other("ERR Errors trying to SHUTDOWN. Check logs."));
            }
        }
        // Every core is told, so that those that sleep look.
        transaction.on_all(|state| state.shared.stop()).await;
        Ok(Vec::new())
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
#[derive(Default, Debug, PartialEq, Eq)]
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
