//! One stream of XREAD or XREADGROUP: whether it can be read, and reading it.

use kvasir_proto::{Encoder, Resp};
use kvasir_shard::stream::{ConsumerId, Entry, Group, Id, Log};

use super::options::{Budget, Kind, Read};
use crate::commands::context::ShardContext;
use crate::commands::stream::access::{CONSUMER_CREATED, change, record, seen_consumer};
use crate::commands::stream::ids::{encode_id, encode_pairs, id, no_key_or_group};
use crate::commands::stream::logged::GroupChanges;
use crate::errors::CommandError;

/// From where on a stream is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    /// After this identifier: entries of the stream, or what the consumer has pending.
    After(Id),
    /// What the group has not delivered.
    New,
}

impl Read<'_> {
    /// From where on a stream is to be read, as the identifier says; fails where that makes no
    /// sense. Changes nothing.
    pub(super) fn check(
        &self,
        context: &mut ShardContext<'_>,
        key_bytes: &[u8],
        text: &[u8],
    ) -> Result<From, CommandError> {
        let key = context.key(key_bytes);
        let stream = context.read_stream(&key)?;
        if self.kind == Kind::Group {
            let is_found = stream.is_some_and(|stream| stream.group(self.group.0).is_some());
            if !is_found {
                let after = "' in XREADGROUP with GROUP option";
                return Err(no_key_or_group(key_bytes, self.group.0, after));
            }
        }
        let last_id = stream.map_or(Id::MIN, |stream| stream.log().last_id());
        match (text, self.kind) {
            (b"$", Kind::Plain) => Ok(From::After(last_id)),
            (b"+", Kind::Plain) => Ok(From::After(last_id.previous().unwrap_or(Id::MIN))),
            (b"$" | b"+", Kind::Group) => Err(meaningless(text[0] as char)),
            (b">", Kind::Group) => Ok(From::New),
            (b">", Kind::Plain) => Err(CommandError::Other(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                <group> <consumer> option.",
            )),
            _ => id(text).map(From::After),
        }
    }

    /// Reads a stream that [`Read::check`] has found good, within the budget, and encodes its key
    /// and entries; false, and nothing encoded, where there is nothing to wait for any more.
    pub(super) fn serve(
        &self,
        context: &mut ShardContext<'_>,
        key_bytes: &[u8],
        from: From,
        budget: &mut Budget,
        reply: &mut Encoder<'_>,
    ) -> Result<bool, CommandError> {
        if budget.entries == 0 || budget.bytes == 0 {
            return Ok(false);
        }
        let (mark, now_ms) = (reply.mark(), context.shard.now_ms());
        let key = context.key(key_bytes);
        if reply.resp() == Resp::V2 {
            reply.array(2);
        }
        reply.bulk(key_bytes);
        let mut output = Output::new(self, budget, reply);
        let is_served = if let (Kind::Plain, From::After(after)) = (self.kind, from) {
            // It was counted as read when it was checked.
            let stream = context.shard.stream_at(context.db, &key, !context.no_touch)?;
            stream.is_some_and(|stream| output.plain(stream.log(), after))
        } else {
            let mut delivery = Delivery::default();
            output.changes = GroupChanges::new(context);
            change(context, &key, |stream| {
                stream.with_group(self.group.0, |log, group| {
                    delivery = output.of_group(log, group, from, now_ms);
                })
            })?;
            let events: &[&str] = if delivery.is_new_consumer { &[CONSUMER_CREATED] } else { &[] };
            let changes = u64::from(delivery.is_served) + events.len() as u64;
            record(context, &key, events, changes);
            output.changes.log(context, key_bytes, self.group);
            if let Some(at_ms) = delivery.next_claim_ms.filter(|_| self.waits) {
                context.alarms.set(context.db, key_bytes, at_ms);
            }
            delivery.is_served
        };
        output.finish();
        if !is_served {
            reply.rollback(mark);
        }
        Ok(is_served)
    }
}

fn meaningless(symbol: char) -> CommandError {
    CommandError::Custom(format!(
        "ERR The {symbol} ID is meaningless in the context of XREADGROUP: you want to read the \
        history of this consumer by specifying a proper ID, or use the > ID to get new messages. \
        The {symbol} ID would just return an empty result set."
    ))
}

/// What was done for a consumer.
#[derive(Default)]
struct Delivery {
    is_new_consumer: bool,
    is_served: bool,
    /// When there will be something to claim, where nothing was served.
    next_claim_ms: Option<u64>,
}

/// The array of a stream's entries while it grows.
struct Output<'o, 'r> {
    read: &'o Read<'o>,
    budget: &'o mut Budget,
    reply: &'o mut Encoder<'r>,
    array: Option<kvasir_proto::Deferred>,
    len: u64,
    changes: GroupChanges,
}

impl<'o, 'r> Output<'o, 'r> {
    fn new(read: &'o Read<'o>, budget: &'o mut Budget, reply: &'o mut Encoder<'r>) -> Self {
        let array = Some(reply.defer_array());
        Self { read, budget, reply, array, len: 0, changes: GroupChanges::default() }
    }

    fn finish(mut self) {
        let array = self.array.take().expect("invariant: an array is finished once");
        self.reply.finish(array, self.len as usize);
    }

    /// Whether another entry may follow.
    fn has_room(&self) -> bool {
        self.budget.entries > 0
            && self.budget.bytes > 0
            && self.read.count.is_none_or(|count| self.len < count)
    }

    /// How many entries may follow at most.
    fn room(&self) -> usize {
        let count = self.read.count.map_or(u64::MAX, |count| count - self.len.min(count));
        usize::try_from(count.min(self.budget.entries)).unwrap_or(usize::MAX)
    }

    /// Encodes one entry.
    fn entry(&mut self, id: Id, entry: Option<Entry<'_>>, delivered: Option<(u64, u64)>) {
        let before = self.reply.len();
        self.reply.array(if delivered.is_some() { 4 } else { 2 });
        encode_id(id, self.reply);
        match entry {
            Some(entry) => encode_pairs(entry, self.reply),
            None => self.reply.null_array(),
        }
        if let Some((idle_ms, deliveries)) = delivered {
            self.reply.integer(i64::try_from(idle_ms).unwrap_or(-1));
            self.reply.integer(deliveries as i64);
        }
        self.len += 1;
        self.budget.entries -= 1;
        let bytes = (self.reply.len() - before) as u64;
        self.budget.bytes = self.budget.bytes.saturating_sub(bytes);
    }

    /// The entries after an identifier, if there are any.
    fn plain(&mut self, log: &Log, after: Id) -> bool {
        let Some(start) = after.next().filter(|_| log.last_entry_id() > after) else {
            return false;
        };
        for entry in log.range(start, Id::MAX) {
            if !self.has_room() {
                break;
            }
            self.entry(entry.id, Some(entry), None);
        }
        true
    }

    fn of_group(&mut self, log: &Log, group: &mut Group, from: From, now_ms: u64) -> Delivery {
        let (consumer, is_new_consumer) = seen_consumer(group, self.read.group.1, now_ms);
        let before = group.last_delivered;
        let is_served = match from {
            From::After(after) => {
                self.history(log, group, consumer, after, now_ms);
                true
            }
            From::New => {
                if let Some(idle_min) = self.read.claim {
                    self.claimed(log, group, consumer, idle_min, now_ms);
                }
                self.fresh(log, group, consumer, now_ms);
                self.len > 0
            }
        };
        self.changes.end(group, is_new_consumer, group.last_delivered != before);
        let idle_min = self.read.claim.filter(|_| !is_served);
        let next_claim_ms = idle_min
            .and_then(|idle_min| Some(group.first_delivered_ms()?.saturating_add(idle_min)));
        Delivery { is_new_consumer, is_served, next_claim_ms }
    }

    /// What the consumer has pending after an identifier. Each counts as delivered again.
    fn history(
        &mut self,
        log: &Log,
        group: &mut Group,
        consumer: ConsumerId,
        after: Id,
        now_ms: u64,
    ) {
        let mut next = after.next();
        while self.has_room()
            && let Some(id) =
                next.and_then(|from| group.consumer(consumer).pending_from(from).next())
        {
            let entry = log.get(id);
            if entry.is_some() {
                let deliveries = group.pending(id).map_or(0, |pending| pending.deliveries);
                let deliveries = deliveries.saturating_add(1);
                group.assign(id, consumer, now_ms, deliveries);
                self.changes.claim(id, now_ms, deliveries);
            }
            self.entry(id, entry, None);
            next = id.next();
        }
    }

    /// Pending entries that were released or are idle for long enough, whoever has them. What is
    /// no more in the stream is forgotten.
    fn claimed(
        &mut self,
        log: &Log,
        group: &mut Group,
        consumer: ConsumerId,
        idle_min: u64,
        now_ms: u64,
    ) {
        let idle = group.pending_by_idle();
        let idle = idle.take_while(|(_, pending)| pending.idle_ms(now_ms) >= idle_min);
        let idle: Vec<_> = idle.take(self.room()).map(|(id, pending)| (id, *pending)).collect();
        for (id, pending) in idle {
            let Some(entry) = log.get(id) else {
                group.acknowledge(id);
                self.changes.acknowledge(id);
                continue;
            };
            if !self.has_room() {
                break;
            }
            let deliveries = pending.deliveries;
            group.assign(id, consumer, now_ms, deliveries.saturating_add(1));
            self.changes.claim(id, now_ms, deliveries.saturating_add(1));
            group.consumer_mut(consumer).active_ms = Some(now_ms);
            self.entry(id, Some(entry), Some((pending.idle_ms(now_ms), deliveries)));
        }
    }

    /// Entries that the group has not delivered.
    fn fresh(&mut self, log: &Log, group: &mut Group, consumer: ConsumerId, now_ms: u64) {
        let Some(start) = group.last_delivered.next() else { return };
        let delivered = self.read.claim.map(|_| (0, 0));
        for entry in log.range(start, Id::MAX) {
            if !self.has_room() {
                break;
            }
            group.advance(log, entry.id);
            if !self.read.no_ack {
                group.assign(entry.id, consumer, now_ms, 1);
                self.changes.claim(entry.id, now_ms, 1);
                group.consumer_mut(consumer).active_ms = Some(now_ms);
            }
            self.entry(entry.id, Some(entry), delivered);
        }
    }
}
