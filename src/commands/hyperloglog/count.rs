//! Adding and counting: PFADD, PFCOUNT.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::hyperloglog::{self, Encoding, Observation, Registers};
use kvasir_shard::{ChangeKind, Key};
use smallvec::SmallVec;

use super::{all_or_first, checked, in_order, look, read};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

pub(super) const PFADD: Command = Command {
    name: "pfadd",
    summary: "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.",
    complexity: "O(1) to add every element.",
    since: "2.8.9",
    group: Group::HyperLogLog,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("element").optional().multiple()],
    handler: Handler::Shard(pfadd),
    ..Command::BASE
};

fn pfadd(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let observations: SmallVec<[Observation; 4]> =
        args.iter().skip(2).map(Observation::of).collect();
    let changes = match look(context, &key)? {
        Some((bytes, Encoding::Dense)) => {
            let unseen = |seen: &Observation| hyperloglog::dense_would_change(bytes, *seen);
            let changes = observations.iter().any(unseen);
            if changes { observe_dense(context, &key, &observations)? } else { 0 }
        }
        Some((bytes, Encoding::Sparse)) => {
            let bytes = bytes.to_vec();
            observe_sparse(context, &key, bytes, &observations, 0)?
        }
        // Making the key counts as a change, even without any element.
        None => observe_sparse(context, &key, hyperloglog::empty(), &observations, 1)?,
    };
    if changes > 0 {
        context.shard.journal.record(ChangeKind::Event("pfadd"), context.db, key.bytes);
        context.changed(changes);
    }
    reply.integer(i64::from(changes > 0));
    Ok(())
}

/// Observes in a dense value, in its place; how many of them changed it.
fn observe_dense(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    observations: &[Observation],
) -> Result<u64, CommandError> {
    let bytes = context.shard.string_mut(context.db, key, 0)?;
    let changed = |seen: &&Observation| hyperloglog::observe_dense(bytes, **seen);
    let changes = observations.iter().filter(changed).count();
    hyperloglog::invalidate_count(bytes);
    Ok(changes as u64)
}

/// Observes in a copy of a sparse or new value and stores that if it changed; how many changes
/// there are with those that were there before.
fn observe_sparse(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    mut bytes: Vec<u8>,
    observations: &[Observation],
    mut changes: u64,
) -> Result<u64, CommandError> {
    let sparse_max = context.settings.hll_sparse_bytes_max;
    for seen in observations {
        changes += u64::from(hyperloglog::observe(&mut bytes, *seen, sparse_max)?);
    }
    if changes > 0 {
        hyperloglog::invalidate_count(&mut bytes);
        context.shard.rewrite_string(context.db, key, &bytes)?;
    }
    Ok(changes)
}

const PFCOUNT_NOTE: &str = "RW because it may change the internal representation of the key, \
    and propagate to replicas";
pub(super) const PFCOUNT: Command = Command {
    name: "pfcount",
    summary: "Returns the approximated cardinality of the set(s) observed by the HyperLogLog \
        key(s).",
    complexity: "O(1) with a very small average constant time when called with a single key. \
        O(N) with N being the number of keys, and much bigger constant times, when \
        called with multiple keys.",
    since: "2.8.9",
    group: Group::HyperLogLog,
    arity: Arity::at_least(2),
    flags: Flags::READONLY.or(Flags::MAY_REPLICATE),
    keys: &[KeySpec::at(1)
        .range(-1, 1, 0)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS))
        .notes(PFCOUNT_NOTE)],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: pfcount, spread: pfcount_spread },
    ..Command::BASE
};

fn pfcount(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let count = if args.len() == 2 {
        let key = context.key(args.at(1));
        count_one(context, &key)?
    } else {
        let mut registers = Registers::new();
        for key in args.iter().skip(1) {
            merge(context, key, &mut registers)?;
        }
        registers.count()
    };
    reply.integer(count as i64);
    Ok(())
}

/// The count of one value, which is cached in it. Storing it there is a change without an event.
fn count_one(context: &mut ShardContext<'_>, key: &Key<'_>) -> Result<u64, CommandError> {
    let Some((bytes, _)) = read(context, key)? else { return Ok(0) };
    if let Some(count) = hyperloglog::cached_count(bytes) {
        return Ok(count);
    }
    let count = hyperloglog::count(bytes)?;
    let header = hyperloglog::header_with_count(bytes, count);
    let bytes = context.shard.string_mut(context.db, key, 0)?;
    bytes[..header.len()].copy_from_slice(&header);
    context.changed(1);
    // It is no command that writes, and would not be logged by itself.
    context.log_as(&[b"PFCOUNT", key.bytes]);
    Ok(count)
}

/// Takes the value of a key, if there is one, into the registers.
fn merge(
    context: &mut ShardContext<'_>,
    key: &[u8],
    registers: &mut Registers,
) -> Result<(), CommandError> {
    let key = context.key(key);
    if let Some((bytes, _)) = context.read(&key).map(checked).transpose()? {
        registers.merge(bytes)?;
    }
    Ok(())
}

fn pfcount_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let portions = request.by_shard(1..request.args().len(), 1);
        let tasks = portions.into_iter().map(|(shard, portion)| {
            (shard, move |state: &mut CoreState| {
                let mut registers = Registers::new();
                let context = &mut shard_context(state, view);
                in_order(&portion, |key| merge(context, key, &mut registers))?;
                Ok(registers)
            })
        });
        let mut registers = Registers::new();
        for part in all_or_first(transaction.last_hop(tasks).await)? {
            registers.merge_registers(&part);
        }
        Ok(request.encode(|reply| reply.integer(registers.count() as i64)))
    })
}
