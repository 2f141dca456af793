//! The number of keys: DBSIZE.

use crate::commands::context::Coordination;
use crate::commands::definition::{Arity, Categories, Command, Flags, Group, Handler, LockScope};
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};

pub(super) const DBSIZE: Command = Command {
    name: "dbsize",
    summary: "Returns the number of keys in the database.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::exactly(1),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    tips: &["request_policy:all_shards", "response_policy:agg_sum"],
    handler: Handler::Global(LockScope::Shared, dbsize),
    ..Command::BASE
};

fn dbsize(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let len = |shard| (shard, move |state: &mut CoreState| state.shard.len(db));
        let lens = transaction.last_hop(transaction.shards().map(len)).await;
        let len: usize = lens.into_iter().sum();
        Ok(request.encode(|reply| reply.integer(len as i64)))
    })
}
