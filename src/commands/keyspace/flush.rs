//! Emptying databases: FLUSHALL, FLUSHDB.

use kvasir_proto::Args;

use crate::commands::arguments::is_word;
use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};

/// When the reply comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// As soon as the databases are empty.
    Async,
    /// When their memory has been freed as well.
    Sync,
}

impl Mode {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        match (args.get(1), args.len()) {
            (None, _) => Ok(Self::Async),
            (Some(word), 2) if is_word(word, "ASYNC") => Ok(Self::Async),
            (Some(word), 2) if is_word(word, "SYNC") => Ok(Self::Sync),
            _ => Err(CommandError::Syntax),
        }
    }
}

pub(super) const FLUSHALL: Command = Command {
    name: "flushall",
    summary: "Removes all keys from all databases.",
    complexity: "O(N) where N is the total number of keys in all databases",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::at_least(1),
    flags: Flags::WRITE,
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    args: &[Arg::one_of(
        "flush-type",
        &[Arg::token("async", "ASYNC").since("4.0.0"), Arg::token("sync", "SYNC").since("6.2.0")],
    )
    .optional()],
    history: &[
        ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
        ("6.2.0", "Added the `SYNC` flushing mode modifier."),
    ],
    handler: Handler::Global(LockScope::Exclusive, flushall),
    ..Command::BASE
};

fn flushall(transaction: Transaction, request: Request) -> Coordination {
    flush(transaction, request, |state, _| {
        (0..state.shard.databases() as u32).map(|db| state.shard.flush_db(db)).sum()
    })
}

pub(super) const FLUSHDB: Command = Command {
    name: "flushdb",
    summary: "Remove all keys from the current database.",
    complexity: "O(N) where N is the number of keys in the selected database",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::at_least(1),
    flags: Flags::WRITE,
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    args: &[Arg::one_of(
        "flush-type",
        &[Arg::token("async", "ASYNC").since("4.0.0"), Arg::token("sync", "SYNC").since("6.2.0")],
    )
    .optional()],
    history: &[
        ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
        ("6.2.0", "Added the `SYNC` flushing mode modifier."),
    ],
    handler: Handler::Global(LockScope::Exclusive, flushdb),
    ..Command::BASE
};

fn flushdb(transaction: Transaction, request: Request) -> Coordination {
    flush(transaction, request, |state, db| state.shard.flush_db(db))
}

/// Empties databases on all shards at one moment; `empty` does it on one and tells how many keys
/// there were.
fn flush(
    transaction: Transaction,
    request: Request,
    empty: fn(&mut CoreState, u32) -> usize,
) -> Coordination {
    Box::pin(async move {
        Mode::parse(request.args())?;
        let db = request.view.db;
        let tasks = transaction.shards().map(|shard| {
            (shard, move |state: &mut CoreState| {
                let emptied = empty(state, db);
                state.keyspace_figures.changes += emptied as u64;
            })
        });
        transaction.last_hop(tasks).await;
        Ok(request.encode(|reply| reply.ok()))
    })
}
