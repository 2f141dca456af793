//! Looking at and ending the connections of every core: `CLIENT LIST`, `KILL`, `UNBLOCK`.

use std::sync::Arc;

use super::describe::append_line;
use super::filter::Filter;
use crate::commands::arguments::{integer, is_word};
use crate::commands::context::Coordination;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::errors::CommandError;
use crate::route::blocking::Ending;
use crate::route::core::CoreState;
use crate::route::engine::{Close, ConnectionKey};
use crate::route::transaction::{Request, Transaction};

pub(super) const CLIENT_LIST: Command = Command {
    name: "list",
    summary: "Lists open connections.",
    complexity: "O(N) where N is the number of client connections",
    since: "2.4.0",
    group: Group::Connection,
    arity: Arity::at_least(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["nondeterministic_output"],
    args: &[
        Arg::one_of(
            "client-type",
            &[
                Arg::token("normal", "NORMAL"),
                Arg::token("master", "MASTER"),
                Arg::token("replica", "REPLICA"),
                Arg::token("pubsub", "PUBSUB"),
            ],
        )
        .after("TYPE")
        .optional()
        .since("5.0.0"),
        Arg::integer("client-id").after("ID").optional().multiple().since("6.2.0"),
        Arg::string("username").after("USER").optional().since("8.1.0"),
        Arg::string("addr").after("ADDR").optional().since("8.1.0").display("ip:port"),
        Arg::string("laddr").after("LADDR").optional().since("8.1.0").display("ip:port"),
        Arg::one_of("skipme", &[Arg::token("yes", "YES"), Arg::token("no", "NO")])
            .after("SKIPME")
            .optional()
            .since("8.1.0"),
        Arg::integer("maxage").after("MAXAGE").optional().since("8.1.0"),
        Arg::string("name").after("NAME").optional().since("9.0.0"),
        Arg::integer("idle").after("IDLE").optional().since("9.0.0"),
        Arg::string("flags").after("FLAGS").optional().since("9.0.0"),
        Arg::string("lib-name").after("LIB-NAME").optional().since("9.0.0"),
        Arg::string("lib-ver").after("LIB-VER").optional().since("9.0.0"),
        Arg::integer("db").after("DB").optional().since("9.0.0"),
        Arg::string("capa").after("CAPA").optional().since("9.0.0"),
        Arg::string("ip").after("IP").optional().since("9.0.0"),
        Arg::one_of(
            "not-client-type",
            &[
                Arg::token("normal", "NORMAL"),
                Arg::token("master", "MASTER"),
                Arg::token("replica", "REPLICA"),
                Arg::token("pubsub", "PUBSUB"),
            ],
        )
        .after("NOT-TYPE")
        .optional()
        .since("9.0.0"),
        Arg::integer("not-client-id").after("NOT-ID").optional().multiple().since("9.0.0"),
        Arg::string("not-username").after("NOT-USER").optional().since("9.0.0"),
        Arg::string("not-addr").after("NOT-ADDR").optional().since("9.0.0").display("ip:port"),
        Arg::string("not-laddr").after("NOT-LADDR").optional().since("9.0.0").display("ip:port"),
        Arg::string("not-name").after("NOT-NAME").optional().since("9.0.0"),
        Arg::string("not-flags").after("NOT-FLAGS").optional().since("9.0.0"),
        Arg::string("not-lib-name").after("NOT-LIB-NAME").optional().since("9.0.0"),
        Arg::string("not-lib-ver").after("NOT-LIB-VER").optional().since("9.0.0"),
        Arg::integer("not-db").after("NOT-DB").optional().since("9.0.0"),
        Arg::string("not-capa").after("NOT-CAPA").optional().since("9.0.0"),
        Arg::string("not-ip").after("NOT-IP").optional().since("9.0.0"),
    ],
    history: &[
        ("2.8.12", "Added unique client `id` field."),
        ("5.0.0", "Added optional `TYPE` filter."),
        ("6.0.0", "Added `user` field."),
        (
            "6.2.0",
            "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the \
            optional `ID` filter.",
        ),
        ("7.0.0", "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."),
        ("7.0.3", "Added `ssub` field."),
        (
            "8.0.0",
            "Replaced `master` `TYPE` with `primary`. `master` still supported for \
            backward compatibility.",
        ),
        ("8.1.0", "Added filters USER, ADDR, LADDR, SKIPME, and MAXAGE"),
    ],
    handler: Handler::Global(LockScope::None, list),
    ..Command::BASE
};

/// Clients by id, that is in the order in which they came, from whichever core.
fn list(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        if request.args().len() == 3 {
            return Err(CommandError::Syntax);
        }
        let filter = Arc::new(Filter::parse(request.args().tail(2), false)?);
        let asking = request.client;
        let describe = move |state: &mut CoreState| {
            let connections = state.connections.iter().map(|(_, connection)| connection);
            let passing = connections.filter(|c| filter.passes(state, c, asking));
            let line = |connection| {
                let mut line = Vec::new();
                append_line(&mut line, state, connection);
                line
            };
            passing.map(|connection| (connection.client.id, line(connection))).collect::<Vec<_>>()
        };
        let mut lines: Vec<_> = transaction.on_all(describe).await.into_iter().flatten().collect();
        lines.sort_unstable_by_key(|(id, _)| *id);
        let text: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).collect();
        Ok(request.encode(|reply| reply.verbatim(*b"txt", &text)))
    })
}

pub(super) const CLIENT_KILL: Command = Command {
    name: "kill",
    summary: "Terminates open connections.",
    complexity: "O(N) where N is the number of client connections",
    since: "2.4.0",
    group: Group::Connection,
    arity: Arity::at_least(3),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::one_of(
        "filter",
        &[
            Arg::string("old-format").deprecated_since("2.8.12").display("ip:port"),
            Arg::one_of(
                "new-format",
                &[
                    Arg::integer("client-id").after("ID").optional().multiple().since("2.8.12"),
                    Arg::one_of(
                        "client-type",
                        &[
                            Arg::token("normal", "NORMAL"),
                            Arg::token("master", "MASTER").since("3.2.0"),
                            Arg::token("primary", "PRIMARY").since("8.0.0"),
                            Arg::token("slave", "SLAVE"),
                            Arg::token("replica", "REPLICA").since("5.0.0"),
                            Arg::token("pubsub", "PUBSUB"),
                        ],
                    )
                    .after("TYPE")
                    .optional()
                    .since("2.8.12"),
                    Arg::string("username").after("USER").optional(),
                    Arg::string("addr").after("ADDR").optional().display("ip:port"),
                    Arg::string("laddr")
                        .after("LADDR")
                        .optional()
                        .since("6.2.0")
                        .display("ip:port"),
                    Arg::one_of("skipme", &[Arg::token("yes", "YES"), Arg::token("no", "NO")])
                        .after("SKIPME")
                        .optional(),
                    Arg::integer("maxage").after("MAXAGE").optional().since("8.0.0"),
                    Arg::string("name").after("NAME").optional().since("9.0.0"),
                    Arg::integer("idle").after("IDLE").optional().since("9.0.0"),
                    Arg::string("flags").after("FLAGS").optional().since("9.0.0"),
                    Arg::string("lib-name").after("LIB-NAME").optional().since("9.0.0"),
                    Arg::string("lib-ver").after("LIB-VER").optional().since("9.0.0"),
                    Arg::integer("db").after("DB").optional().since("9.0.0"),
                    Arg::string("capa").after("CAPA").optional().since("9.0.0"),
                    Arg::string("ip").after("IP").optional().since("9.0.0"),
                    Arg::one_of(
                        "not-client-type",
                        &[
                            Arg::token("normal", "NORMAL"),
                            Arg::token("master", "MASTER"),
                            Arg::token("replica", "REPLICA"),
                            Arg::token("pubsub", "PUBSUB"),
                        ],
                    )
                    .after("NOT-TYPE")
                    .optional()
                    .since("9.0.0"),
                    Arg::integer("not-client-id")
                        .after("NOT-ID")
                        .optional()
                        .multiple()
                        .since("9.0.0"),
                    Arg::string("not-username").after("NOT-USER").optional().since("9.0.0"),
                    Arg::string("not-addr")
                        .after("NOT-ADDR")
                        .optional()
                        .since("9.0.0")
                        .display("ip:port"),
                    Arg::string("not-laddr")
                        .after("NOT-LADDR")
                        .optional()
                        .since("9.0.0")
                        .display("ip:port"),
                    Arg::string("not-name").after("NOT-NAME").optional().since("9.0.0"),
                    Arg::string("not-flags").after("NOT-FLAGS").optional().since("9.0.0"),
                    Arg::string("not-lib-name").after("NOT-LIB-NAME").optional().since("9.0.0"),
                    Arg::string("not-lib-ver").after("NOT-LIB-VER").optional().since("9.0.0"),
                    Arg::integer("not-db").after("NOT-DB").optional().since("9.0.0"),
                    Arg::string("not-capa").after("NOT-CAPA").optional().since("9.0.0"),
                    Arg::string("not-ip").after("NOT-IP").optional().since("9.0.0"),
                ],
            )
            .multiple(),
        ],
    )],
    history: &[
        ("2.8.12", "Added new filter format."),
        ("2.8.12", "`ID` option."),
        ("3.2.0", "Added `master` type in for `TYPE` option."),
        (
            "5.0.0",
            "Replaced `slave` `TYPE` with `replica`. `slave` still supported for \
            backward compatibility.",
        ),
        ("6.2.0", "`LADDR` option."),
        ("8.0.0", "`MAXAGE` option."),
        (
            "8.0.0",
            "Replaced `master` `TYPE` with `primary`. `master` still supported for \
            backward compatibility.",
        ),
        ("8.1.0", "`ID` option accepts multiple IDs."),
    ],
    handler: Handler::Global(LockScope::None, kill),
    ..Command::BASE
};

/// The old form names one address and may mean the client itself; the new one has filters.
fn kill(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let old_form = args.len() == 3;
        let filter = if old_form {
            Filter::of_address(args.at(2))
        } else {
            Filter::parse(args.tail(2), true)?
        };
        let (filter, asking) = (Arc::new(filter), request.client);
        let killed = transaction.on_all(move |state| kill_on_core(state, &filter, asking)).await;
        let count: usize = killed.iter().map(|killed| killed.count).sum();
        if killed.iter().any(|killed| killed.asking) {
            // It still gets its reply, which comes with the end of this coordination.
            let (key, client) = (request.connection, request.client);
            let close = move |state: &mut CoreState| {
                // The client may have gone meanwhile, and its key be another's.
                if state.connection(key).is_some_and(|connection| connection.client.id == client) {
                    state.close(key, Close::AfterOutput);
                }
            };
            transaction.on(request.home, close).await;
        }
        if old_form && count == 0 {
            return Err(CommandError::Other("ERR No such client"));
        }
        Ok(request.encode(|reply| if old_form { reply.ok() } else { reply.integer(count as i64) }))
    })
}

/// What a core has done for a `CLIENT KILL`.
struct Killed {
    /// Clients that were meant.
    count: usize,
    /// Whether the client that asks is one of them; it is still open.
    asking: bool,
}

fn kill_on_core(state: &mut CoreState, filter: &Filter, asking: u64) -> Killed {
    let mut killed = Killed { count: 0, asking: false };
    let connections = state.connections.iter();
    let meant: Vec<_> = connections
        .filter(|(_, c)| c.closing() == Close::No && filter.passes(state, c, asking))
        .map(|(key, connection)| (ConnectionKey(key as u32), connection.client.id))
        .collect();
    for (key, id) in meant {
        killed.count += 1;
        if id == asking {
            killed.asking = true;
        } else {
            state.close(key, Close::Now);
        }
    }
    killed
}

pub(super) const CLIENT_UNBLOCK: Command = Command {
    name: "unblock",
    summary: "Unblocks a client blocked by a blocking command from a different connection.",
    complexity: "O(log N) where N is the number of client connections",
    since: "5.0.0",
    group: Group::Connection,
    arity: Arity::at_least(3),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[
        Arg::integer("client-id"),
        Arg::one_of(
            "unblock-type",
            &[Arg::token("timeout", "TIMEOUT"), Arg::token("error", "ERROR")],
        )
        .optional(),
    ],
    handler: Handler::Global(LockScope::None, unblock),
    ..Command::BASE
};

/// Whether the client waited for a key, and does so no more.
fn unblock(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let ending = match args.get(3) {
            None => Ending::Timeout,
            Some(reason) if is_word(reason, "TIMEOUT") => Ending::Timeout,
            Some(reason) if is_word(reason, "ERROR") => Ending::Unblocked,
            Some(_) => {
                let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
                return Err(CommandError::Other(text));
            }
        };
        let client = integer(args.at(2))? as u64;
        let end = move |state: &mut CoreState| {
            state.waits.is_waiting(client) && state.waits.end(client, ending)
        };
        let ended = transaction.on_all(end).await;
        let count = ended.into_iter().filter(|ended| *ended).count();
        Ok(request.encode(|reply| reply.integer(count as i64)))
    })
}
