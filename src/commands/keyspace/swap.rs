//! Exchanging databases: SWAPDB.

use crate::commands::arguments::integer;
use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};

pub(super) const SWAPDB: Command = Command {
    name: "swapdb",
    summary: "Swaps two databases.",
    complexity: "O(N) where N is the count of clients watching or blocking on keys from both \
        databases.",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    args: &[Arg::integer("index1"), Arg::integer("index2")],
    handler: Handler::Global(LockScope::Exclusive, swapdb),
    ..Command::BASE
};

fn swapdb(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let one = index(args.at(1), "ERR invalid first DB index")?;
        let other = index(args.at(2), "ERR invalid second DB index")?;
        let databases = request.shared.config.load().process.databases;
        let in_range = |index: i32| {
            u32::try_from(index)
                .ok()
                .filter(|index| *index < databases)
                .ok_or(CommandError::DatabaseOutOfRange)
        };
        let (one, other) = (in_range(one)?, in_range(other)?);
        let home = request.home;
        let swap = |shard| {
            let task = move |state: &mut CoreState| {
                if one != other {
                    state.touch_exchanged(one, other);
                    state.shard.swap_db(one, other);
                }
                // One change for the whole server, not one for each shard.
                state.keyspace_figures.changes += u64::from(shard == home);
            };
            (shard, task)
        };
        transaction.last_hop(transaction.shards().map(swap)).await;
        Ok(request.encode(|reply| reply.simple("OK")))
    })
}

/// A number that may be the index of a database; otherwise the error that tells which argument is
/// wrong.
fn index(bytes: &[u8], error: &'static str) -> Result<i32, CommandError> {
    let index = integer(bytes).ok().and_then(|index| i32::try_from(index).ok());
    index.ok_or(CommandError::Other(error))
}
