//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`: what they do is in
//! [`route::multi`](crate::route::multi).

use super::definition::{
    Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec, TransactionStep,
};

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[&DISCARD, &EXEC, &MULTI, &UNWATCH, &WATCH];

const DISCARD: Command = Command {
    name: "discard",
    summary: "Discards a transaction.",
    complexity: "O(N), when N is the number of queued commands",
    since: "2.0.0",
    group: Group::Transactions,
    arity: Arity::exactly(1),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::ALLOW_BUSY),
    handler: Handler::Transaction(TransactionStep::Discard),
    ..Command::BASE
};

const EXEC: Command = Command {
    name: "exec",
    summary: "Executes all commands in a transaction.",
    complexity: "Depends on commands in the transaction",
    since: "1.2.0",
    group: Group::Transactions,
    arity: Arity::exactly(1),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::SKIP_COMMANDLOG),
    handler: Handler::Transaction(TransactionStep::Execute),
    ..Command::BASE
};

const MULTI: Command = Command {
    name: "multi",
    summary: "Starts a transaction.",
    complexity: "O(1)",
    since: "1.2.0",
    group: Group::Transactions,
    arity: Arity::exactly(1),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::NO_MULTI)
        .or(Flags::ALLOW_BUSY),
    handler: Handler::Transaction(TransactionStep::Begin),
    ..Command::BASE
};

const UNWATCH: Command = Command {
    name: "unwatch",
    summary: "Forgets about watched keys of a transaction.",
    complexity: "O(1)",
    since: "2.2.0",
    group: Group::Transactions,
    arity: Arity::exactly(1),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::ALLOW_BUSY),
    handler: Handler::Transaction(TransactionStep::Unwatch),
    ..Command::BASE
};

const WATCH: Command = Command {
    name: "watch",
    summary: "Monitors changes to keys to determine the execution of a transaction.",
    complexity: "O(1) for every key.",
    since: "2.2.0",
    group: Group::Transactions,
    arity: Arity::at_least(2),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::NO_MULTI)
        .or(Flags::ALLOW_BUSY),
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Transaction(TransactionStep::Watch),
    ..Command::BASE
};
