//! The process: `TIME` and `SHUTDOWN`.

use kvasir_proto::{Args, Encoder, number};

use crate::commands::arguments::is_word;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::errors::CommandError;
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

/// Ends the process without a reply. There is no snapshot to write yet: `SAVE` refuses, unless
/// `FORCE` says that a failure to save shall not keep the server up.
fn shutdown(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let has = parse(request.args())?;
        if has.abort {
            return Err(CommandError::Other("ERR No shutdown in progress."));
        }
        if has.save && !has.force {
            return Err(CommandError::NotYet(
                "SHUTDOWN SAVE cannot save: snapshots come in a later version. Use NOSAVE.",
            ));
        }
        let user = request.client;
        tracing::warn!("User requested shutdown... (client id={user})");
        // Every core is told, so that those that sleep look.
        transaction.on_all(|state| state.shared.stop()).await;
        Ok(Vec::new())
    })
}

/// What a `SHUTDOWN` asks for, as far as it matters without persistence and replicas.
#[derive(Default, Debug, PartialEq, Eq)]
struct Wishes {
    save: bool,
    force: bool,
    abort: bool,
}

fn parse(args: Args<'_>) -> Result<Wishes, CommandError> {
    const WORDS: [&str; 7] = ["SAVE", "NOSAVE", "NOW", "FORCE", "SAFE", "FAILOVER", "ABORT"];
    let words = args.tail(1);
    let has = |wanted: &str| words.iter().any(|word| is_word(word, wanted));
    let known = words.iter().all(|word| WORDS.iter().any(|known| is_word(word, known)));
    let contradicts = has("SAVE") && has("NOSAVE") || has("ABORT") && words.len() > 1;
    if !known || contradicts {
        return Err(CommandError::Syntax);
    }
    Ok(Wishes { save: has("SAVE"), force: has("FORCE"), abort: has("ABORT") })
}
