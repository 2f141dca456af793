//! `COMMANDLOG`, and `SLOWLOG`, which shows one of its logs.

use kvasir_proto::Encoder;

use crate::commands::arguments::integer;
use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Command, Deprecation, Flags, Group, Handler, LockScope,
};
use crate::commands::help::help;
use crate::errors::CommandError;
use crate::metrics::command_log::{LogEntry, LogKind, merged};
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};

/// Entries of `SLOWLOG GET` without a count.
const SLOWLOG_COUNT: usize = 10;

const BAD_COUNT: CommandError =
    CommandError::Other("ERR count should be greater than or equal to -1");
const BAD_KIND: CommandError = CommandError::Other(
    "ERR type should be one of the following: slow, large-request, large-reply",
);

pub(super) const COMMANDLOG: Command = Command {
    name: "commandlog",
    summary: "A container for command log commands.",
    complexity: "Depends on subcommand.",
    since: "8.1.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    subcommands: &[&COMMANDLOG_GET, &COMMANDLOG_HELP, &COMMANDLOG_LEN, &COMMANDLOG_RESET],
    ..Command::BASE
};

pub(super) const COMMANDLOG_GET: Command = Command {
    name: "get",
    summary: "Returns the specified command log's entries.",
    complexity: "O(N) where N is the number of entries returned",
    since: "8.1.0",
    group: Group::Server,
    arity: Arity::exactly(4),
    flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "nondeterministic_output"],
    args: &[
        Arg::integer("count"),
        Arg::one_of(
            "type",
            &[Arg::string("slow"), Arg::string("large-request"), Arg::string("large-reply")],
        ),
    ],
    handler: Handler::Global(LockScope::None, get),
    ..Command::BASE
};

fn get(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let count = count(request.args().at(2))?;
        let kind = kind(request.args().at(3))?;
        newest(tx, &request, kind, count).await
    })
}

pub(super) const COMMANDLOG_HELP: Command = Command {
    summary: "Show helpful text about the different subcommands",
    ..help(Group::Server, "8.1.0", COMMANDLOG_HELP_LINES)
};

const COMMANDLOG_HELP_LINES: &[&str] = &[
    "GET <count> <type>",
    "    Return top <count> entries of the specified <type> from the commandlog (-1 mean all).",
    "    Entries are made of:",
    "    id, timestamp,",
    "        time in microseconds for type of slow,",
    "        or size in bytes for type of large-request,",
    "        or size in bytes for type of large-reply",
    "    arguments array, client IP and port,",
    "    client name",
    "LEN <type>",
    "    Return the length of the specified type of commandlog.",
    "RESET <type>",
    "    Reset the specified type of commandlog.",
];

pub(super) const COMMANDLOG_LEN: Command = Command {
    name: "len",
    summary: "Returns the number of entries in the specified type of command log.",
    complexity: "O(1)",
    since: "8.1.0",
    group: Group::Server,
    arity: Arity::exactly(3),
    flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
    args: &[Arg::one_of(
        "type",
        &[Arg::string("slow"), Arg::string("large-request"), Arg::string("large-reply")],
    )],
    handler: Handler::Global(LockScope::None, len),
    ..Command::BASE
};

fn len(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move { length(tx, &request, kind(request.args().at(2))?).await })
}

pub(super) const COMMANDLOG_RESET: Command = Command {
    name: "reset",
    summary: "Clears all entries from the specified type of command log.",
    complexity: "O(N) where N is the number of entries in the commandlog",
    since: "8.1.0",
    group: Group::Server,
    arity: Arity::exactly(3),
    flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    args: &[Arg::one_of(
        "type",
        &[Arg::string("slow"), Arg::string("large-request"), Arg::string("large-reply")],
    )],
    handler: Handler::Global(LockScope::None, reset),
    ..Command::BASE
};

fn reset(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move { empty(tx, &request, kind(request.args().at(2))?).await })
}

pub(super) const SLOWLOG: Command = Command {
    name: "slowlog",
    summary: "A container for slow log commands.",
    complexity: "Depends on subcommand.",
    since: "2.2.12",
    group: Group::Server,
    arity: Arity::at_least(2),
    deprecated: Some(Deprecation { since: "8.1.0", replaced_by: "`COMMANDLOG`" }),
    subcommands: &[&SLOWLOG_GET, &SLOWLOG_HELP, &SLOWLOG_LEN, &SLOWLOG_RESET],
    ..Command::BASE
};

pub(super) const SLOWLOG_GET: Command = Command {
    name: "get",
    summary: "Returns the slow log's entries.",
    complexity: "O(N) where N is the number of entries returned",
    since: "2.2.12",
    group: Group::Server,
    arity: Arity::at_least(2),
    flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "nondeterministic_output"],
    args: &[Arg::integer("count").optional()],
    history: &[("4.0.0", "Added client IP address, port and name to the reply.")],
    deprecated: Some(Deprecation { since: "8.1.0", replaced_by: "`COMMANDLOG GET <count> SLOW`" }),
    handler: Handler::Global(LockScope::None, slowlog_get),
    ..Command::BASE
};

fn slowlog_get(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let count = match args.len() {
            2 => SLOWLOG_COUNT,
            3 => count(args.at(2))?,
            _ => {
                return Err(CommandError::quoting(
                    "ERR unknown subcommand or wrong number of arguments for '",
                    args.at(1),
                    "'. Try SLOWLOG HELP.",
                ));
            }
        };
        newest(tx, &request, LogKind::Slow, count).await
    })
}

pub(super) const SLOWLOG_HELP: Command = Command {
    summary: "Show helpful text about the different subcommands",
    deprecated: Some(Deprecation { since: "8.1.0", replaced_by: "`COMMANDLOG HELP`" }),
    ..help(Group::Server, "6.2.0", SLOWLOG_HELP_LINES)
};

const SLOWLOG_HELP_LINES: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

pub(super) const SLOWLOG_LEN: Command = Command {
    name: "len",
    summary: "Returns the number of entries in the slow log.",
    complexity: "O(1)",
    since: "2.2.12",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
    deprecated: Some(Deprecation { since: "8.1.0", replaced_by: "`COMMANDLOG LEN SLOW`" }),
    handler: Handler::Global(LockScope::None, slowlog_len),
    ..Command::BASE
};

fn slowlog_len(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move { length(tx, &request, LogKind::Slow).await })
}

pub(super) const SLOWLOG_RESET: Command = Command {
    name: "reset",
    summary: "Clears all entries from the slow log.",
    complexity: "O(N) where N is the number of entries in the slowlog",
    since: "2.2.12",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    deprecated: Some(Deprecation { since: "8.1.0", replaced_by: "`COMMANDLOG RESET SLOW`" }),
    handler: Handler::Global(LockScope::None, slowlog_reset),
    ..Command::BASE
};

fn slowlog_reset(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move { empty(tx, &request, LogKind::Slow).await })
}

/// How many entries are wanted: -1 is all.
fn count(argument: &[u8]) -> Result<usize, CommandError> {
    match integer(argument) {
        Ok(-1) => Ok(usize::MAX),
        Ok(count) => usize::try_from(count).map_err(|_| BAD_COUNT),
        Err(_) => Err(BAD_COUNT),
    }
}

fn kind(argument: &[u8]) -> Result<LogKind, CommandError> {
    LogKind::named(argument).ok_or(BAD_KIND)
}

async fn newest(
    tx: Transaction,
    request: &Request,
    kind: LogKind,
    count: usize,
) -> Result<Vec<u8>, CommandError> {
    let of_core = move |state: &mut CoreState| {
        let log = &state.metrics.command_log;
        let (_, len_max) = log.len(kind);
        (log.newest(kind, count.min(len_max)), len_max)
    };
    let (cores, bounds): (Vec<_>, Vec<_>) = tx.on_all(of_core).await.into_iter().unzip();
    // Each core may have as many as all together may: the oldest of them are not there any more.
    let entries = merged(cores, count.min(bounds.into_iter().max().unwrap_or(0)));
    Ok(request.encode(|reply| {
        reply.array(entries.len());
        for entry in &entries {
            encode_entry(entry, reply);
        }
    }))
}

fn encode_entry(entry: &LogEntry, reply: &mut Encoder<'_>) {
    reply.array(6);
    for number in [entry.number, entry.unix_s, entry.figure] {
        reply.integer(number as i64);
    }
    reply.array(entry.arguments.len());
    for argument in &entry.arguments {
        reply.bulk(argument);
    }
    reply.bulk(&entry.peer);
    reply.bulk(&entry.name);
}

async fn length(
    tx: Transaction,
    request: &Request,
    kind: LogKind,
) -> Result<Vec<u8>, CommandError> {
    let cores = tx.on_all(move |state| state.metrics.command_log.len(kind)).await;
    let entries: usize = cores.iter().map(|(len, _)| len).sum();
    let bound = cores.iter().map(|(_, len_max)| *len_max).max().unwrap_or(0);
    Ok(request.encode(|reply| reply.integer(entries.min(bound) as i64)))
}

async fn empty(tx: Transaction, request: &Request, kind: LogKind) -> Result<Vec<u8>, CommandError> {
    tx.on_all(move |state| state.metrics.command_log.reset(kind)).await;
    Ok(request.ok())
}
