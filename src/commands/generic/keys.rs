//! All keys at once: KEYS.

use std::sync::Arc;

use kvasir_proto::Encoder;

use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::glob;
use crate::route::core::CoreState;
use crate::route::message::ClientView;
use crate::route::transaction::{Request, Transaction};

/// Keys that a shard goes through before its core does something else.
const STEP: usize = 4096;

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
    count: usize,
    /// The keys as they stand in the reply.
    encoded: Vec<u8>,
}

fn keys(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let pattern: Arc<[u8]> = request.args().at(1).into();
        let mut unfinished: Vec<_> = transaction.shards().map(|shard| (shard, 0)).collect();
        let mut count = 0;
        let mut encoded = Vec::new();
        loop {
            let tasks = unfinished.iter().map(|&(shard, cursor)| {
                let pattern = Arc::clone(&pattern);
                (shard, move |state: &mut CoreState| matching(state, view, cursor, &pattern))
            });
            let steps = transaction.hop(tasks).await;
            for ((_, cursor), found) in unfinished.iter_mut().zip(steps) {
                *cursor = found.cursor;
                count += found.count;
                encoded.extend_from_slice(&found.encoded);
            }
            unfinished.retain(|(_, cursor)| *cursor != 0);
            if unfinished.is_empty() {
                break;
            }
            transaction.rest().await;
        }
        Ok(request.encode(|reply| {
            reply.array(count);
            reply.raw(&encoded);
        }))
    })
}

fn matching(state: &mut CoreState, view: ClientView, cursor: u64, pattern: &[u8]) -> Found {
    state.show_as_to(view);
    let mut encoded = Vec::new();
    let mut reply = Encoder::new(&mut encoded, view.resp);
    let mut count = 0;
    let cursor = state.shard.scan(view.db, cursor, STEP, &mut |key, _| {
        if glob::matches_key(pattern, key) {
            reply.bulk(key);
            count += 1;
        }
    });
    Found { cursor, count, encoded }
}
