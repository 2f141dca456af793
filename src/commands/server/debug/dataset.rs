//! `DEBUG POPULATE` and `HTSTATS`: a database as a whole.

use std::ops::Range;

use kvasir_proto::number;
use kvasir_shard::{NewValue, TableStats, Ttl};

use crate::commands::arguments::integer;
use crate::commands::context::{Coordination, ShardContext};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::transaction::{Request, Transaction, shard_context};

/// Keys that are made before others have their turn.
const STEP_KEYS: u64 = 1000;

/// Makes keys that do not exist: `prefix:number` with the value `value:number`, cut or filled up
/// with zero bytes to the size.
pub(super) fn populate(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let positive = |bytes: &[u8]| {
            number::parse_i64(bytes)
                .and_then(|value| u64::try_from(value).ok())
                .ok_or(CommandError::Other("ERR value is out of range, must be positive"))
        };
        let count = positive(args.at(2))?;
        let prefix = args.get(3).unwrap_or(b"key");
        let size = args.get(4).map(positive).transpose()?.filter(|size| *size > 0);
        let view = request.view;
        let mut from = 0;
        while from < count {
            let to = count.min(from + STEP_KEYS);
            let hops = transaction.shards().map(|shard| {
                let prefix = prefix.to_vec();
                let task = move |state: &mut CoreState| {
                    let own = state.id;
                    populate_shard(&mut shard_context(state, view), own, &prefix, from..to, size)
                };
                (shard, task)
            });
            transaction.hop(hops).await.into_iter().collect::<Result<(), CommandError>>()?;
            from = to;
        }
        Ok(request.ok())
    })
}

/// Makes those of the keys that belong to this shard.
fn populate_shard(
    context: &mut ShardContext<'_>,
    own: ShardId,
    prefix: &[u8],
    numbers: Range<u64>,
    size: Option<u64>,
) -> Result<(), CommandError> {
    for index in numbers {
        let bytes = [prefix, b":", index.to_string().as_bytes()].concat();
        if context.map.owner(&bytes) != own {
            continue;
        }
        let key = context.key(&bytes);
        if context.shard.exists(context.db, &key) {
            continue;
        }
        let mut value = format!("value:{index}").into_bytes();
        if let Some(size) = size {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            value.resize(context.check_string_len(0, size)?, 0);
        }
        context.set(&key, NewValue::Bytes(&value), Ttl::Clear)?;
    }
    Ok(())
}

/// Answers with figures on the tables of a database, over all shards.
pub(super) fn table_stats(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let db = integer(args.at(2))?;
        let databases = transaction.on(request.home, |state| state.shard.databases()).await;
        let db = u32::try_from(db)
            .ok()
            .filter(|db| (*db as usize) < databases)
            .ok_or(CommandError::Other("ERR Out of range database"))?;
        let full = args.len() > 3;
        let stats =
            transaction.on_all(move |s| (s.shard.table_stats(db), s.shard.expires(db))).await;
        let expires: usize = stats.iter().map(|(_, expires)| expires).sum();
        let tables: Vec<TableStats> = stats.into_iter().map(|(tables, _)| tables).collect();
        let text = describe(&tables, expires, full);
        Ok(request.encode(|reply| reply.verbatim(*b"txt", text.as_bytes())))
    })
}

/// Lines about tables taken as one; none when they are empty.
pub(super) fn describe_table(tables: &[TableStats], full: bool) -> Vec<String> {
    let sum = |part: fn(&TableStats) -> usize| tables.iter().map(part).sum::<usize>();
    let keys = sum(|table| table.keys);
    let mut lines = Vec::new();
    if keys > 0 {
        lines.push("Hash table 0 stats (main hash table):".to_owned());
        lines.push(format!(" table size: {}", sum(|table| table.slots)));
        lines.push(format!(" number of entries: {keys}"));
    }
    if full && keys > 0 {
        let fullest = tables.iter().map(|table| table.segment_keys_max).max().unwrap_or(0);
        lines.push(format!(" segments: {}", sum(|table| table.segments)));
        lines.push(format!(" directory entries: {}", sum(|table| table.directory)));
        lines.push(format!(" entries in the fullest segment: {fullest}"));
        lines.push(format!(" bytes: {}", sum(|table| table.bytes)));
    }
    lines
}

fn describe(tables: &[TableStats], expires: usize, full: bool) -> String {
    let mut lines = vec!["[Dictionary HT]".to_owned()];
    lines.extend(describe_table(tables, full));
    lines.push("[Expires HT]".to_owned());
    if expires > 0 {
        lines.push("Hash table 0 stats (main hash table):".to_owned());
        lines.push(format!(" number of entries: {expires}"));
        let bytes: usize = tables.iter().map(|table| table.ttl_bytes).sum();
        lines.push(format!(" bytes: {bytes}"));
    }
    lines.join("\n") + "\n"
}
