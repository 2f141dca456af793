//! Commands that reply with how many of their keys something was true of: one or more keys, on one
//! shard or on several.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::{Coordination, ShardContext};
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

/// What is done with each key; whether it counts.
pub(super) type KeyOperation = fn(&mut ShardContext<'_>, &[u8]) -> bool;

/// Applies the operation to every key on the one shard that owns them.
pub(super) fn whole(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    operation: KeyOperation,
) {
    let count = args.iter().skip(1).filter(|key| operation(context, key)).count();
    reply.integer(count as i64);
}

/// Applies the operation to each shard's keys there, all at one moment, and adds up.
pub(super) fn spread(
    transaction: Transaction,
    request: Request,
    operation: KeyOperation,
) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let portions = request.by_shard(1..request.args().len(), 1);
        let tasks = portions.into_iter().map(|(shard, portion)| {
            (shard, move |state: &mut CoreState| -> usize {
                portion.prefetch(state, view.db);
                let mut context = shard_context(state, view);
                portion.keys().filter(|key| operation(&mut context, key)).count()
            })
        });
        let count: usize = transaction.last_hop(tasks).await.into_iter().sum();
        Ok(request.encode(|reply| reply.integer(count as i64)))
    })
}
