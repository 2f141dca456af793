//! `CLIENT PAUSE` and `UNPAUSE`: every core holds its own connections back.

use crate::commands::arguments::is_word;
use crate::commands::context::Coordination;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::errors::CommandError;
use crate::route::core::{CoreState, Pause};
use crate::route::transaction::{Request, Transaction};
use kvasir_proto::{Args, number};

pub(super) const CLIENT_PAUSE: Command = Command {
    name: "pause",
    summary: "Suspends commands processing.",
    complexity: "O(1)",
    since: "3.0.0",
    group: Group::Connection,
    arity: Arity::at_least(3),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[
        Arg::integer("timeout"),
        Arg::one_of("mode", &[Arg::token("write", "WRITE"), Arg::token("all", "ALL")])
            .optional()
            .since("6.2.0"),
    ],
    history: &[("6.2.0", "`CLIENT PAUSE WRITE` mode added along with the `mode` option.")],
    handler: Handler::Global(LockScope::None, pause),
    ..Command::BASE
};

fn pause(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (timeout_ms, all) = parse(request.args())?;
        let begin = move |state: &mut CoreState| {
            let until_us = state.now.unix_us.saturating_add(timeout_ms.saturating_mul(1000));
            state.pause = Some(longer(state.pause, Pause { until_us, all }));
        };
        transaction.on_all(begin).await;
        Ok(request.ok())
    })
}

/// The milliseconds, and whether every command is meant.
fn parse(args: Args<'_>) -> Result<(u64, bool), CommandError> {
    let all = match args.get(3) {
        None => true,
        Some(word) if is_word(word, "ALL") => true,
        Some(word) if is_word(word, "WRITE") => false,
        Some(_) => return Err(CommandError::Other("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout = number::parse_i64(args.at(2))
        .ok_or(CommandError::Other("ERR timeout is not an integer or out of range"))?;
    let timeout =
        u64::try_from(timeout).map_err(|_| CommandError::Other("ERR timeout is negative"))?;
    Ok((timeout, all))
}

/// Of two pauses the later end, and both scopes: a new pause never shortens or narrows an old one.
fn longer(old: Option<Pause>, new: Pause) -> Pause {
    old.map_or(new, |old| Pause {
        until_us: old.until_us.max(new.until_us),
        all: old.all || new.all,
    })
}

pub(super) const CLIENT_UNPAUSE: Command = Command {
    name: "unpause",
    summary: "Resumes processing commands from paused clients.",
    complexity: "O(N) Where N is the number of paused clients",
    since: "6.2.0",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    handler: Handler::Global(LockScope::None, unpause),
    ..Command::BASE
};

fn unpause(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        transaction.on_all(|state| state.pause = None).await;
        Ok(request.ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_only_grows() {
        let pause = |until_us, all| Pause { until_us, all };
        assert_eq!(longer(None, pause(5, false)), pause(5, false));
        assert_eq!(longer(Some(pause(9, true)), pause(5, false)), pause(9, true));
        assert_eq!(longer(Some(pause(5, false)), pause(9, true)), pause(9, true));
        assert_eq!(longer(Some(pause(5, false)), pause(9, false)), pause(9, false));
    }
}
