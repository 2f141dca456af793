//! Emptying databases: FLUSHALL, FLUSHDB.

use kvasir_proto::Args;

use crate::commands::arguments::is_word;
use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::commands::server::snapshot::{After, save};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::transaction::{Request, Transaction};

/// Values freed by one step of a flush that waits for its memory.
const FREE_STEP: usize = 4096;

/// When the reply comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// As soon as the databases are empty.
    Async,
    /// When their memory has been freed as well.
    Sync,
}

/// What follows when the databases are empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Nothing,
    /// The empty data set is saved, so that a restart does not bring back what was removed.
    Save,
}

impl Mode {
    fn parse(args: Args<'_>, default: Self) -> Result<Self, CommandError> {
        match (args.get(1), args.len()) {
            (None, _) => Ok(default),
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
    // As with the peers, a snapshot of what is thrown away is not worth its time; a new base of the
    // log is, for all that it replaces.
    request.shared.persistence.saving.cancel_background();
    let has_points = !request.shared.config.load().persistence.save_points.is_empty();
    flush(transaction, request, empty_all, if has_points { Then::Save } else { Then::Nothing })
}

/// Empties every database.
fn empty_all(state: &mut CoreState, _: u32) {
    for db in 0..state.shard.databases() as u32 {
        empty_one(state, db);
    }
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
    flush(transaction, request, empty_one, Then::Nothing)
}

/// Empties one database.
fn empty_one(state: &mut CoreState, db: u32) {
    state.touch_emptied(db);
    state.keyspace_figures.changes += state.shard.flush_db(db) as u64;
}

/// Empties databases on all shards at one moment.
fn flush(
    transaction: Transaction,
    request: Request,
    empty: fn(&mut CoreState, u32),
    then: Then,
) -> Coordination {
    Box::pin(async move {
        let lazy = request.shared.config.load().memory.lazy_user_flush;
        let default = if lazy { Mode::Async } else { Mode::Sync };
        let mode = Mode::parse(request.args(), default)?;
        let db = request.view.db;
        // As by the peers, also when there was nothing.
        transaction.log_request();
        let empty_db = |shard| {
            let task = move |state: &mut CoreState| {
                empty(state, db);
                state.note_flush();
            };
            (shard, task)
        };
        match then {
            Then::Nothing => {
                transaction.last_hop(transaction.shards().map(empty_db)).await;
            }
            Then::Save => {
                transaction.hop(transaction.shards().map(empty_db)).await;
                // When that fails the log says so, and the keys are gone all the same.
                let _ = save(&transaction, &request.shared, After::Hold).await;
            }
        }
        if mode == Mode::Sync {
            free_all(&transaction).await;
        }
        Ok(request.encode(|reply| reply.simple("OK")))
    })
}

/// Frees what was thrown away on every shard, in steps between which other commands run.
async fn free_all(transaction: &Transaction) {
    let mut unfinished: Vec<_> = transaction.shards().collect();
    while !unfinished.is_empty() {
        transaction.rest().await;
        let free = |shard: &ShardId| {
            (*shard, |state: &mut CoreState| state.shard.collect_garbage(FREE_STEP))
        };
        let has_more = transaction.hop(unfinished.iter().map(free)).await;
        let mut has_more = has_more.into_iter();
        unfinished.retain(|_| has_more.next().expect("invariant: one result a shard"));
    }
}
