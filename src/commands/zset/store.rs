//! Results that become a sorted set of their own, and ZRANGESTORE.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, Elements, OwnedData, OwnedValue};

use super::range::{Form, Query};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

/// Stores members as the value of a key, whatever was there, or deletes the key when there is none;
/// how many. Records `event`.
pub(in crate::commands) fn store(
    context: &mut ShardContext<'_>,
    key: &[u8],
    elements: Elements,
    event: &'static str,
) -> Result<usize, CommandError> {
    let key = context.key(key);
    let count = elements.len();
    let db = context.db;
    if count == 0 {
        let existed = context.shard.remove(db, &key);
        context.changed(u64::from(existed));
        return Ok(0);
    }
    let value = OwnedValue::new(OwnedData::SortedSet(elements), None);
    context.shard.put(db, &key, value, ChangeKind::Event(event))?;
    context.shard.journal.record(ChangeKind::Modified, db, key.bytes);
    context.changed(1);
    Ok(count)
}

/// As [`store`], as the last step of a transaction.
pub(in crate::commands) async fn store_last(
    transaction: &Transaction,
    request: &Request,
    key: &[u8],
    elements: Elements,
    event: &'static str,
) -> Result<usize, CommandError> {
    let view = request.view;
    let name: Box<[u8]> = key.into();
    let task =
        move |state: &mut CoreState| store(&mut shard_context(state, view), &name, elements, event);
    let mut results = transaction.last_hop([(request.owner(key), task)]).await;
    results.pop().expect("invariant: one task, one result")
}

pub(super) const ZRANGESTORE: Command = Command {
    name: "zrangestore",
    summary: "Stores a range of members from sorted set in a key.",
    complexity: "O(log(N)+M) with N being the number of elements in the sorted set and M the \
        number of elements stored into the destination key.",
    since: "6.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[
        Arg::key("dst", 0),
        Arg::key("src", 1),
        Arg::string("min"),
        Arg::string("max"),
        Arg::one_of("sortby", &[Arg::token("byscore", "BYSCORE"), Arg::token("bylex", "BYLEX")])
            .optional(),
        Arg::token("rev", "REV").optional(),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional(),
    ],
    handler: Handler::Multi { whole: zrangestore, spread: zrangestore_spread },
    ..Command::BASE
};

/// The members that ZRANGESTORE's arguments ask for, with their scores.
fn collect(context: &mut ShardContext<'_>, args: Args<'_>) -> Result<Elements, CommandError> {
    let query = Query::parse(args, Form::ZRANGESTORE)?;
    let key = context.key(args.at(2));
    let mut elements = Elements::default();
    if let Some(zset) = context.read_zset(&key)? {
        let ranks = query.ranks(&zset);
        zset.visit_range(ranks.start, ranks.end, query.direction, |name, score| {
            elements.push_scored(name, score, None);
        });
    }
    Ok(elements)
}

fn zrangestore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let elements = collect(context, args)?;
    let count = store(context, args.at(1), elements, "zrangestore")?;
    reply.integer(count as i64);
    Ok(())
}

fn zrangestore_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let args = request.owned_args();
        let read =
            move |state: &mut CoreState| collect(&mut shard_context(state, view), args.view());
        let source = request.owner(request.args().at(2));
        let elements = transaction.on(source, read).await?;
        let to = request.args().at(1);
        let count = store_last(&transaction, &request, to, elements, "zrangestore").await?;
        Ok(request.encode(|reply| reply.integer(count as i64)))
    })
}
