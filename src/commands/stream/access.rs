//! How handlers reach the stream at a key.

use kvasir_shard::stream::{ConsumerId, Group, Stream};
use kvasir_shard::{ChangeKind, Key};

use crate::commands::context::ShardContext;
use crate::errors::CommandError;

/// Lets `change` have the stream at a key; `None` if there is no such key.
pub(super) fn change<R>(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    change: impl FnOnce(&mut Stream) -> R,
) -> Result<Option<R>, CommandError> {
    Ok(context.shard.update_stream(context.db, key, change)?)
}

/// Notes what was done to a stream: its events in order, and how many changes it counts for.
pub(super) fn record(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    events: &[&'static str],
    changes: u64,
) {
    for event in events {
        context.shard.journal.record(ChangeKind::Event(event), context.db, key.bytes);
    }
    if changes > 0 {
        context.shard.journal.record(ChangeKind::Modified, context.db, key.bytes);
        context.changed(changes);
    }
}

/// The event of a consumer that came into being.
pub(super) const CONSUMER_CREATED: &str = "xgroup-createconsumer";

/// The consumer of a name, seen now, and whether it is new.
pub(super) fn seen_consumer(group: &mut Group, name: &[u8], now_ms: u64) -> (ConsumerId, bool) {
    if let Some(consumer) = group.find_consumer(name) {
        group.consumer_mut(consumer).seen_ms = now_ms;
        return (consumer, false);
    }
    let consumer = group.create_consumer(name, now_ms);
    (consumer.expect("invariant: it was not found"), true)
}
