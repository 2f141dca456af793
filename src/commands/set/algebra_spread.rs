//! Several sets on several shards: each shard puts its own together as far as it can, the
//! connection's core the parts.

use std::collections::HashSet;

use kvasir_shard::Elements;

use super::algebra::{Operation, Sources, read_sets, store};
use crate::commands::context::{Coordination, ShardContext};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Portion, Request, Transaction, shard_context};

type Members = HashSet<Vec<u8>, ahash::RandomState>;

/// What a shard makes of its sets.
struct Part {
    members: Elements,
    /// Whether the command's first set is among them.
    has_first: bool,
}

fn part(
    context: &mut ShardContext<'_>,
    operation: Operation,
    portion: &Portion,
) -> Result<Part, CommandError> {
    let keys: Vec<_> = portion.keys().map(|key| context.key(key)).collect();
    let has_first = portion.groups().any(|group| group.position == 0);
    let sets = read_sets(context, &keys)?;
    // Without the first set, all that others have is to be taken from it.
    let operation = match operation {
        Operation::Difference if !has_first => Operation::Union,
        operation => operation,
    };
    let mut members = Elements::default();
    operation.combine(&sets, &mut |member| {
        members.push_member(member, None);
        true
    });
    Ok(Part { members, has_first })
}

fn names(part: &Part) -> impl Iterator<Item = Vec<u8>> + '_ {
    part.members.iter().filter_map(|member| member.name.to_vec())
}

/// The members of the result of a command whose keys are the arguments of `sources`.
async fn combine(
    transaction: &Transaction,
    request: &Request,
    operation: Operation,
    sources: Sources,
) -> Result<Members, CommandError> {
    let view = request.view;
    let shards = request.by_shard(sources.first..sources.end, 1);
    let tasks = shards.into_iter().map(|(shard, portion)| {
        (shard, move |state: &mut CoreState| {
            part(&mut shard_context(state, view), operation, &portion)
        })
    });
    let parts = transaction.hop(tasks).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(join(operation, &parts))
}

fn join(operation: Operation, parts: &[Part]) -> Members {
    match operation {
        Operation::Union => parts.iter().flat_map(names).collect(),
        Operation::Intersection => {
            let least = parts.iter().min_by_key(|part| part.members.len());
            let mut result: Members = least.into_iter().flat_map(names).collect();
            for part in parts {
                let others: Members = names(part).collect();
                result.retain(|member| others.contains(member));
            }
            result
        }
        Operation::Difference => {
            let (first, others): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.has_first);
            let mut result: Members = first.into_iter().flat_map(names).collect();
            for member in others.into_iter().flat_map(names) {
                result.remove(&member);
            }
            result
        }
    }
}

pub(super) fn reply_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let operation = Operation::of(request.entry.command.name);
        let sources = Sources { first: 1, end: request.args().len(), limit: usize::MAX };
        let members = combine(&transaction, &request, operation, sources).await?;
        Ok(request.encode(|reply| {
            reply.set(members.len());
            for member in &members {
                reply.bulk(member);
            }
        }))
    })
}

pub(super) fn card_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let operation = Operation::of(request.entry.command.name);
        let sources = Sources::counted(request.args(), operation)?;
        let members = combine(&transaction, &request, operation, sources).await?;
        let count = members.len().min(sources.limit);
        Ok(request.encode(|reply| reply.integer(count as i64)))
    })
}

pub(super) fn store_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (args, view) = (request.args(), request.view);
        let operation = Operation::of(request.entry.command.name);
        let sources = Sources { first: 2, end: args.len(), limit: usize::MAX };
        let members = combine(&transaction, &request, operation, sources).await?;
        let mut result = Elements::default();
        for member in &members {
            let value = kvasir_shard::OwnedValue::from_bytes(member.clone(), None);
            result.push_member(value.value(), None);
        }
        let target: Box<[u8]> = args.at(1).into();
        let write = move |state: &mut CoreState| {
            store(&mut shard_context(state, view), operation, &target, result)
        };
        let stored = transaction.last_hop([(request.owner(args.at(1)), write)]).await;
        let count = stored.into_iter().next().expect("invariant: one task, one result")?;
        Ok(request.encode(|reply| reply.integer(count as i64)))
    })
}
