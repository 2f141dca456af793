//! Entries that were delivered: XACK, XNACK, XPENDING.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::{Group, Id, Pending};

use super::access::{change, record};
use super::ids::{count, counted_ids, encode_id, id, no_key_or_group, range_end, range_start};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{self, Arg, Arity, Command, Flags, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const XACK: Command = Command {
    name: "xack",
    summary: "Returns the number of messages that were successfully acknowledged by the \
        consumer group member of a stream.",
    complexity: "O(1) for each message ID processed.",
    since: "5.0.0",
    group: definition::Group::Stream,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::string("group"), Arg::string("id").multiple()],
    handler: Handler::Shard(xack),
    ..Command::BASE
};

fn xack(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let is_found =
        context.read_stream(&key)?.is_some_and(|stream| stream.group(args.at(2)).is_some());
    let mut acknowledged = 0;
    if is_found {
        let ids: Vec<Id> = args.iter().skip(3).map(id).collect::<Result<_, _>>()?;
        change(context, &key, |stream| {
            stream.with_group(args.at(2), |_, group| {
                acknowledged = ids.into_iter().filter(|id| group.acknowledge(*id)).count();
            })
        })?;
        record(context, &key, &[], acknowledged as u64);
    }
    reply.integer(acknowledged as i64);
    Ok(())
}

/// How XNACK counts the delivery that it takes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blame {
    /// As if it had not been.
    Silent,
    /// As any other.
    Fail,
    /// As one too many, however many are allowed.
    Fatal,
}

impl Blame {
    fn of_word(word: &[u8]) -> Option<Self> {
        [("SILENT", Self::Silent), ("FAIL", Self::Fail), ("FATAL", Self::Fatal)]
            .into_iter()
            .find_map(|(name, blame)| is_word(word, name).then_some(blame))
    }

    /// The count of deliveries of an entry that was pending with this count, or was not.
    fn deliveries(self, before: Option<u64>) -> u64 {
        let before = before.unwrap_or(0);
        match self {
            Self::Silent => before.saturating_sub(1),
            Self::Fail => before,
            Self::Fatal => i64::MAX as u64,
        }
    }
}

pub(super) const XNACK: Command = Command {
    name: "xnack",
    summary: "Releases pending messages of a consumer group without acknowledging them, so \
        that they can be delivered again at once.",
    complexity: "O(1) for each message ID processed.",
    since: "8.8.0",
    group: definition::Group::Stream,
    arity: Arity::at_least(7),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::string("group"),
        Arg::one_of(
            "mode",
            &[
                Arg::token("silent", "SILENT"),
                Arg::token("fail", "FAIL"),
                Arg::token("fatal", "FATAL"),
            ],
        ),
        Arg::block("ids", &[Arg::integer("numids"), Arg::string("id").multiple()]).after("IDS"),
        Arg::integer("count").after("RETRYCOUNT").optional(),
        Arg::token("force", "FORCE").optional(),
    ],
    handler: Handler::Shard(xnack),
    ..Command::BASE
};

/// What XNACK is asked for.
struct Release {
    blame: Blame,
    ids: Vec<Id>,
    deliveries: Option<u64>,
    force: bool,
}

impl Release {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let blame = Blame::of_word(args.at(3)).ok_or(CommandError::Syntax)?;
        let mut release = Self { blame, ids: Vec::new(), deliveries: None, force: false };
        let mut words = Options::new(args, 4);
        while let Some(word) = words.next() {
            if is_word(word, "IDS") && release.ids.is_empty() {
                release.ids = counted_ids(&mut words)?;
            } else if is_word(word, "RETRYCOUNT") {
                let deliveries = u64::try_from(integer(words.value()?)?);
                release.deliveries = Some(deliveries.map_err(|_| {
                    CommandError::Other("ERR Invalid RETRYCOUNT option argument for XNACK")
                })?);
            } else if is_word(word, "FORCE") {
                release.force = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if release.ids.is_empty() { Err(CommandError::Syntax) } else { Ok(release) }
    }
}

fn xnack(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let release = Release::parse(args)?;
    let key = context.key(args.at(1));
    let released = change(context, &key, |stream| {
        stream.with_group(args.at(2), |log, group| {
            let mut released = 0;
            for id in &release.ids {
                let before = group.pending(*id).map(|pending| pending.deliveries);
                if before.is_some() || (release.force && log.contains(*id)) {
                    let deliveries = release.blame.deliveries(before);
                    group.release(*id, release.deliveries.unwrap_or(deliveries));
                    released += 1;
                }
            }
            released
        })
    })?;
    let released =
        released.flatten().ok_or_else(|| no_key_or_group(args.at(1), args.at(2), "'"))?;
    record(context, &key, &[], released);
    reply.integer(released as i64);
    Ok(())
}

pub(super) const XPENDING: Command = Command {
    name: "xpending",
    summary: "Returns the information and entries from a stream consumer group's pending \
        entries list.",
    complexity: "O(N) with N being the number of elements returned, so asking for a small \
        fixed number of entries per call is O(1). O(M), where M is the total number \
        of entries scanned when used with the IDLE filter. When the command returns \
        just the summary and the list of consumers is small, it runs in O(1) time; \
        otherwise, an additional O(N) time for iterating every consumer.",
    since: "5.0.0",
    group: definition::Group::Stream,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("group"),
        Arg::block(
            "filters",
            &[
                Arg::integer("min-idle-time").after("IDLE").optional().since("6.2.0"),
                Arg::string("start"),
                Arg::string("end"),
                Arg::integer("count"),
                Arg::string("consumer").optional(),
            ],
        )
        .optional(),
    ],
    history: &[("6.2.0", "Added the `IDLE` option and exclusive range intervals.")],
    handler: Handler::Shard(xpending),
    ..Command::BASE
};

/// Which pending entries XPENDING shall list.
struct Listing<'a> {
    idle_min: u64,
    start: Id,
    end: Id,
    count: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Listing<'a> {
    /// `None` for the summary.
    fn parse(args: Args<'a>) -> Result<Option<Self>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(CommandError::Syntax);
        }
        let (mut idle_min, mut first) = (0, 3);
        if is_word(args.at(3), "IDLE") {
            idle_min = count(args.at(4))?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            first = 5;
        }
        let count = count(args.at(first + 2))?;
        let start = range_start(args.at(first))?;
        let end = range_end(args.at(first + 1))?;
        Ok(Some(Self { idle_min, start, end, count, consumer: args.get(first + 3) }))
    }
}

fn xpending(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let listing = Listing::parse(args)?;
    let key = context.key(args.at(1));
    let now_ms = context.shard.now_ms();
    let group = context.read_stream(&key)?.and_then(|stream| stream.group(args.at(2)));
    let group = group.ok_or_else(|| no_key_or_group(args.at(1), args.at(2), "'"))?;
    match listing {
        None => encode_summary(group, reply),
        Some(listing) => encode_listing(group, &listing, now_ms, reply),
    }
    Ok(())
}

fn encode_summary(group: &Group, reply: &mut Encoder<'_>) {
    reply.array(4);
    reply.integer(group.pending_len() as i64);
    let mut pending = group.pending_from(Id::MIN).map(|(id, _)| id);
    let Some(first) = pending.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    encode_id(first, reply);
    encode_id(pending.next_back().unwrap_or(first), reply);
    let array = reply.defer_array();
    let mut len = 0;
    for consumer in group.consumers().filter(|consumer| consumer.pending_len() > 0) {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.pending_len() as i64);
        len += 1;
    }
    reply.finish(array, len);
}

fn encode_listing(group: &Group, listing: &Listing<'_>, now_ms: u64, reply: &mut Encoder<'_>) {
    let array = reply.defer_array();
    let mut len = 0;
    let mut encode = |id: Id, pending: &Pending| {
        if pending.idle_ms(now_ms) >= listing.idle_min {
            encode_pending(group, id, pending, now_ms, reply);
            len += 1;
        }
        (len as u64) < listing.count
    };
    if listing.count > 0 {
        match listing.consumer.map(|name| group.find_consumer(name)) {
            None => {
                let pending = group.pending_from(listing.start);
                let _ = pending
                    .take_while(|(id, _)| *id <= listing.end)
                    .all(|(id, pending)| encode(id, pending));
            }
            Some(None) => {}
            Some(Some(consumer)) => {
                let ids = group.consumer(consumer).pending_from(listing.start);
                let _ = ids
                    .take_while(|id| *id <= listing.end)
                    .filter_map(|id| group.pending(id).map(|pending| (id, pending)))
                    .all(|(id, pending)| encode(id, pending));
            }
        }
    }
    reply.finish(array, len);
}

fn encode_pending(group: &Group, id: Id, pending: &Pending, now_ms: u64, reply: &mut Encoder<'_>) {
    reply.array(4);
    encode_id(id, reply);
    reply.bulk(owner_name(group, pending));
    // What was released is idle for no time that could be told: Redis says -1.
    reply.integer(if pending.consumer().is_some() { pending.idle_ms(now_ms) as i64 } else { -1 });
    reply.integer(pending.deliveries as i64);
}

/// The consumer that has an entry; empty for one that was released.
pub(super) fn owner_name<'g>(group: &'g Group, pending: &Pending) -> &'g [u8] {
    pending.consumer().map_or(b"", |consumer| group.consumer(consumer).name())
}
