//! What is logged of commands on streams: identifiers that the clock gave, trims that were
//! approximate, and what consumers got.

use itoa::Buffer;
use kvasir_proto::Args;
use kvasir_shard::stream::{Group, Id};

use crate::commands::arguments::{Options, is_word};
use crate::commands::context::ShardContext;
use crate::commands::effect::LoggedWords;

/// Logs an addition with its identifier, or without one a trim, in either case with what the trim
/// came to. The words are else those of the request, as with the peers; but a limit, which has no
/// meaning any more, is left out, and so is a producer.
pub(super) fn log_trimmed(context: &mut ShardContext<'_>, args: Args<'_>, added: Option<Id>) {
    if !context.logs() {
        return;
    }
    let key = context.key(args.at(1));
    let stream = context.shard.stream_at(context.db, &key, false).ok().flatten();
    let (len, first) = stream.map_or((0, None), |stream| {
        let log = stream.log();
        (log.len(), (!log.is_empty()).then(|| log.first_id().to_string()))
    });
    let (mut digits, added) = (Buffer::new(), added.map(|id| id.to_string()));
    let len = digits.format(len).as_bytes();
    let mut logged: LoggedWords<'_> = args.iter().take(2).collect();
    let mut words = Options::new(args, 2);
    while let Some(word) = words.next() {
        let trims_to_len = is_word(word, "MAXLEN");
        if trims_to_len || is_word(word, "MINID") {
            logged.push(word);
            let to = words.next();
            if to == Some(b"~") && words.left() > 0 {
                let asked = words.next();
                let first = first.as_ref().map(String::as_bytes);
                let exact = if trims_to_len { Some(len) } else { first };
                logged.push(b"=");
                logged.extend(exact.or(asked));
            } else {
                logged.extend(to);
                if to == Some(b"=") {
                    logged.extend(words.next());
                }
            }
        } else if is_word(word, "LIMIT") || is_word(word, "IDMPAUTO") {
            words.next();
        } else if is_word(word, "IDMP") {
            words.skip(words.left().min(2));
        } else if is_word(word, "NOMKSTREAM") || super::trim::references(word).is_some() {
            logged.push(word);
        } else {
            // What is no option is the identifier of an addition; its fields follow.
            logged.push(added.as_ref().map_or(word, |id| id.as_bytes()));
            logged.extend(std::iter::from_fn(|| words.next()));
        }
    }
    context.log_as(&logged);
}

/// An entry that a consumer has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Claimed {
    id: Id,
    delivered_ms: u64,
    deliveries: u64,
}

/// What a command does to a group for one of its consumers, while it does it.
#[derive(Default, Debug)]
pub(super) struct GroupChanges {
    /// Whether anybody follows.
    is_on: bool,
    is_new_consumer: bool,
    claimed: Vec<Claimed>,
    /// No more in the stream, and forgotten therefore.
    acknowledged: Vec<Id>,
    /// How far the group has read, where that has changed, and the count of what it has.
    position: Option<(Id, Option<u64>)>,
    last_delivered: Id,
}

impl GroupChanges {
    /// Nothing yet.
    pub(super) fn new(context: &ShardContext<'_>) -> Self {
        Self { is_on: context.logs(), ..Self::default() }
    }

    /// The consumer has got an entry.
    pub(super) fn claim(&mut self, id: Id, delivered_ms: u64, deliveries: u64) {
        if self.is_on {
            self.claimed.push(Claimed { id, delivered_ms, deliveries });
        }
    }

    /// An entry is pending no more.
    pub(super) fn acknowledge(&mut self, id: Id) {
        if self.is_on {
            self.acknowledged.push(id);
        }
    }

    /// Ends with the group as it is then; whether the consumer is new, and whether the group has
    /// read on.
    pub(super) fn end(&mut self, group: &Group, is_new_consumer: bool, has_advanced: bool) {
        self.is_new_consumer = is_new_consumer;
        self.last_delivered = group.last_delivered;
        self.position = has_advanced.then_some((group.last_delivered, group.entries_read));
    }

    /// Whether any entry was claimed, as far as anybody wants to know.
    pub(super) fn has_claimed(&self) -> bool {
        !self.claimed.is_empty()
    }

    /// Logs all of it in place of the request. The peers name every entry in a command of its own;
    /// those that have been delivered alike are one here, to the same effect.
    pub(super) fn log(&self, context: &mut ShardContext<'_>, key: &[u8], names: (&[u8], &[u8])) {
        let (group, consumer) = names;
        context.log_nothing();
        if !self.is_on {
            return;
        }
        if self.is_new_consumer && self.claimed.is_empty() {
            context.log_as(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
        }
        let alike = |one: &Claimed, other: &Claimed| {
            (one.delivered_ms, one.deliveries) == (other.delivered_ms, other.deliveries)
        };
        let last = self.last_delivered.to_string();
        for claimed in self.claimed.chunk_by(alike) {
            let ids: Vec<String> = claimed.iter().map(|entry| entry.id.to_string()).collect();
            let (mut moment, mut count) = (Buffer::new(), Buffer::new());
            let mut words = LoggedWords::from_slice(&[b"XCLAIM", key, group, consumer, b"0"]);
            words.extend(ids.iter().map(String::as_bytes));
            words.extend([
                &b"TIME"[..],
                moment.format(claimed[0].delivered_ms).as_bytes(),
                b"RETRYCOUNT",
                count.format(claimed[0].deliveries).as_bytes(),
                b"FORCE",
                b"JUSTID",
                b"LASTID",
                last.as_bytes(),
            ]);
            context.log_as(&words);
        }
        if !self.acknowledged.is_empty() {
            let ids: Vec<String> = self.acknowledged.iter().map(Id::to_string).collect();
            let ids = ids.iter().map(String::as_bytes);
            context.log_on("XACK", key, std::iter::once(group).chain(ids));
        }
        if let Some((id, read)) = self.position {
            let mut count = Buffer::new();
            let read = read.map_or(&b"-1"[..], |read| count.format(read).as_bytes());
            let id = id.to_string();
            let id = id.as_bytes();
            context.log_as(&[b"XGROUP", b"SETID", key, group, id, b"ENTRIESREAD", read]);
        }
    }
}
