//! The union of several values, stored: PFMERGE.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::ChangeKind;
use kvasir_shard::hyperloglog::{self, Encoding, Registers};

use super::{all_or_first, in_order, look, read};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

pub(super) const PFMERGE: Command = Command {
    name: "pfmerge",
    summary: "Merges one or more HyperLogLog values into a single key.",
    complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
    since: "2.8.9",
    group: Group::HyperLogLog,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::INSERT)),
        KeySpec::at(2).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[Arg::key("destkey", 0), Arg::key("sourcekey", 1).optional().multiple()],
    find_keys: Some(only_target),
    handler: Handler::Multi { whole: pfmerge, spread: pfmerge_spread },
    ..Command::BASE
};

/// Without sources, the target is the only key, which the specifications cannot say.
fn only_target(_: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    found(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::INSERT));
}

fn pfmerge(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mut union = Union::default();
    for key in args.iter().skip(1) {
        union.read(context, key)?;
    }
    union.store(context, args.at(1))?;
    reply.ok();
    Ok(())
}

fn pfmerge_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let portions = request.by_shard(1..request.args().len(), 1);
        let reads = portions.into_iter().map(|(shard, portion)| {
            (shard, move |state: &mut CoreState| {
                let mut union = Union::default();
                let context = &mut shard_context(state, view);
                in_order(&portion, |key| union.read(context, key))?;
                Ok(union)
            })
        });
        let mut union = Union::default();
        for part in all_or_first(transaction.hop(reads).await)? {
            union.add(&part);
        }
        let target: Box<[u8]> = request.args().at(1).into();
        let owner = request.owner(&target);
        let store =
            move |state: &mut CoreState| union.store(&mut shard_context(state, view), &target);
        for stored in transaction.last_hop([(owner, store)]).await {
            stored?;
        }
        Ok(request.ok())
    })
}

/// The union of some values.
#[derive(Default)]
struct Union {
    registers: Registers,
    /// One of them is dense, so the target becomes dense.
    is_dense: bool,
}

impl Union {
    /// Takes the value of a key, if there is one, into the union.
    fn read(&mut self, context: &mut ShardContext<'_>, key: &[u8]) -> Result<(), CommandError> {
        let key = context.key(key);
        if let Some((bytes, encoding)) = read(context, &key)? {
            self.registers.merge(bytes)?;
            self.is_dense |= encoding == Encoding::Dense;
        }
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        self.registers.merge_registers(&other.registers);
        self.is_dense |= other.is_dense;
    }

    /// Stores the union in the target, whose own registers are part of it.
    fn store(&self, context: &mut ShardContext<'_>, target: &[u8]) -> Result<(), CommandError> {
        let key = context.key(target);
        let found = look(context, &key)?;
        let mut bytes = found.map_or_else(hyperloglog::empty, |(bytes, _)| bytes.to_vec());
        if self.is_dense {
            hyperloglog::make_dense(&mut bytes)?;
        }
        self.registers.store(&mut bytes, context.settings.hll_sparse_bytes_max)?;
        context.shard.rewrite_string(context.db, &key, &bytes)?;
        context.shard.journal.record(ChangeKind::Event("pfadd"), context.db, key.bytes);
        context.changed(1);
        Ok(())
    }
}
