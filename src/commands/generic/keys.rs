//! Going through the keys: KEYS.

use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::glob;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};

/// Keys that a shard goes through before its core does something else.
const KEYS_STEP: usize = 4096;

pub(super) const KEYS: Command = Command {
    name: "keys",
    summary: "Returns all key names that match a pattern.",
    complexity: "O(N) with N being the number of keys in the database, under the assumption \
        that the key names in the database and the given pattern have limited \
        length.",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::READONLY,
    acl: Categories::DANGEROUS,
    tips: &["request_policy:all_shards", "nondeterministic_output_order"],
    args: &[Arg::pattern("pattern")],
    handler: Handler::Global(LockScope::Shared, keys),
    ..Command::BASE
};

/// The matching keys that one step came upon.
struct Found {
    /// Where the next step goes on; 0 at the end.
    cursor: u64,
    keys: Vec<Box<[u8]>>,
}

fn keys(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let mut unfinished: Vec<_> = transaction.shards().map(|shard| (shard, 0)).collect();
        let mut all: Vec<Box<[u8]>> = Vec::new();
        while !unfinished.is_empty() {
            let tasks = unfinished.iter().map(|&(shard, cursor)| {
                let pattern: Box<[u8]> = request.args().at(1).into();
                (shard, move |state: &mut CoreState| matching(state, db, cursor, &pattern))
            });
            let found = transaction.hop(tasks).await;
            for (place, found) in unfinished.iter_mut().zip(found) {
                place.1 = found.cursor;
                all.extend(found.keys);
            }
            unfinished.retain(|(_, cursor)| *cursor != 0);
        }
        Ok(request.encode(|reply| {
            reply.array(all.len());
            all.iter().for_each(|key| reply.bulk(key));
        }))
    })
}

fn matching(state: &mut CoreState, db: u32, cursor: u64, pattern: &[u8]) -> Found {
    let mut keys = Vec::new();
    let cursor = state.shard.scan(db, cursor, KEYS_STEP, &mut |key, _| {
        if glob::matches(pattern, key) {
            keys.push(key.into());
        }
    });
    Found { cursor, keys }
}
