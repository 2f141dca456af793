//! Taking pending entries over: XCLAIM, XAUTOCLAIM.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::{Group, Id, Log};

use super::access::{CONSUMER_CREATED, change, record, seen_consumer};
use super::ids::{encode_entry, encode_id, id, no_key_or_group, range_start};
use super::logged::GroupChanges;
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{self, Arg, Arity, Command, Flags, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// Pending entries that XAUTOCLAIM looks at for each that it may claim.
const ATTEMPTS_FACTOR: u64 = 10;
/// Entries that XAUTOCLAIM claims if no count is given.
const COUNT_DEFAULT: u64 = 100;
/// The greatest count that the peers take.
const COUNT_MAX: i64 = i64::MAX / 16;

/// An integer, or this error.
fn integer_or(text: &[u8], error: &'static str) -> Result<i64, CommandError> {
    integer(text).map_err(|_| CommandError::Other(error))
}

/// A number of milliseconds; a negative one is the same as 0.
fn idle_min(text: &[u8], error: &'static str) -> Result<u64, CommandError> {
    Ok(u64::try_from(integer_or(text, error)?).unwrap_or(0))
}

/// What was done to a group.
struct Outcome {
    is_new_consumer: bool,
    changes: u64,
    logged: GroupChanges,
}

impl Outcome {
    fn new(context: &ShardContext<'_>) -> Self {
        Self { is_new_consumer: false, changes: 0, logged: GroupChanges::new(context) }
    }

    /// Takes note of it in behalf of the key, the group and the consumer that the request names.
    fn record(&self, context: &mut ShardContext<'_>, args: Args<'_>) {
        let key = context.key(args.at(1));
        let events: &[&str] = if self.is_new_consumer { &[CONSUMER_CREATED] } else { &[] };
        record(context, &key, events, self.changes + u64::from(self.is_new_consumer));
        self.logged.log(context, key.bytes, (args.at(2), args.at(3)));
    }
}

pub(super) const XCLAIM: Command = Command {
    name: "xclaim",
    summary: "Changes, or acquires, ownership of a message in a consumer group, as if the \
        message was delivered a consumer group member.",
    complexity: "O(log N) with N being the number of messages in the PEL of the consumer \
        group.",
    since: "5.0.0",
    group: definition::Group::Stream,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::string("group"),
        Arg::string("consumer"),
        Arg::string("min-idle-time"),
        Arg::string("id").multiple(),
        Arg::integer("ms").after("IDLE").optional(),
        Arg::unix_time("unix-time-milliseconds").after("TIME").optional(),
        Arg::integer("count").after("RETRYCOUNT").optional(),
        Arg::token("force", "FORCE").optional(),
        Arg::token("justid", "JUSTID").optional(),
        Arg::string("lastid").after("LASTID").optional(),
    ],
    handler: Handler::Shard(xclaim),
    ..Command::BASE
};

/// What XCLAIM is asked for.
struct Claim {
    idle_min: u64,
    ids: Vec<Id>,
    delivered_ms: u64,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Id,
}

impl Claim {
    fn parse(args: Args<'_>, now_ms: u64) -> Result<Self, CommandError> {
        let mut claim = Self {
            idle_min: idle_min(args.at(4), "ERR Invalid min-idle-time argument for XCLAIM")?,
            ids: args.iter().skip(5).map_while(|text| id(text).ok()).collect(),
            delivered_ms: now_ms,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: Id::MIN,
        };
        let mut words = Options::new(args, 5 + claim.ids.len());
        while let Some(word) = words.next() {
            if is_word(word, "FORCE") {
                claim.force = true;
            } else if is_word(word, "JUSTID") {
                claim.just_id = true;
            } else if words.left() == 0 || !claim.read_value(word, &mut words, now_ms)? {
                return Err(CommandError::quoting("ERR Unrecognized XCLAIM option '", word, "'"));
            }
        }
        Ok(claim)
    }

    /// Reads an option that has a value, if this word is one.
    fn read_value(
        &mut self,
        word: &[u8],
        words: &mut Options<'_>,
        now_ms: u64,
    ) -> Result<bool, CommandError> {
        // A time that makes no sense is taken for now: clients reckon with their own clocks.
        let sensible =
            |ms: i64| u64::try_from(ms).ok().filter(|ms| *ms <= now_ms).unwrap_or(now_ms);
        if is_word(word, "IDLE") {
            const INVALID: &str = "ERR Invalid IDLE option argument for XCLAIM";
            let idle = integer_or(words.value()?, INVALID)?;
            self.delivered_ms = sensible((now_ms as i64).wrapping_sub(idle));
        } else if is_word(word, "TIME") {
            const INVALID: &str = "ERR Invalid TIME option argument for XCLAIM";
            self.delivered_ms = sensible(integer_or(words.value()?, INVALID)?);
        } else if is_word(word, "RETRYCOUNT") {
            const INVALID: &str = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
            self.deliveries = u64::try_from(integer_or(words.value()?, INVALID)?).ok();
        } else if is_word(word, "LASTID") {
            self.last_id = id(words.value()?)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn apply(
        &self,
        log: &Log,
        group: &mut Group,
        name: &[u8],
        now_ms: u64,
        (outcome, reply): (&mut Outcome, &mut Encoder<'_>),
    ) {
        let has_advanced = self.last_id > group.last_delivered;
        if has_advanced {
            group.last_delivered = self.last_id;
        }
        let (consumer, is_new_consumer) = seen_consumer(group, name, now_ms);
        outcome.is_new_consumer = is_new_consumer;
        let array = reply.defer_array();
        let mut len = 0;
        for id in &self.ids {
            let Some(entry) = log.get(*id) else {
                if group.acknowledge(*id) {
                    outcome.changes += 1;
                    outcome.logged.acknowledge(*id);
                }
                continue;
            };
            let before = match group.pending(*id) {
                Some(pending) if pending.idle_ms(now_ms) < self.idle_min => continue,
                Some(pending) => pending.deliveries,
                // As the peers, an entry that is pending by force counts as delivered once.
                None if self.force => 1,
                None => continue,
            };
            let deliveries = before.saturating_add(u64::from(!self.just_id));
            let deliveries = self.deliveries.unwrap_or(deliveries);
            group.assign(*id, consumer, self.delivered_ms, deliveries);
            outcome.logged.claim(*id, self.delivered_ms, deliveries);
            group.consumer_mut(consumer).active_ms = Some(now_ms);
            if self.just_id {
                encode_id(*id, reply);
            } else {
                encode_entry(entry, reply);
            }
            len += 1;
            outcome.changes += 1;
        }
        reply.finish(array, len);
        // As with the peers, the position is no change of its own beside those of entries.
        if has_advanced && outcome.changes == 0 {
            outcome.changes = 1;
        }
        // A claim tells the position as well.
        let has_advanced = has_advanced && !outcome.logged.has_claimed();
        outcome.logged.end(group, is_new_consumer, has_advanced);
    }
}

/// Fails if there is no such key or group.
fn check_group(context: &mut ShardContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let is_found =
        context.read_stream(&key)?.is_some_and(|stream| stream.group(args.at(2)).is_some());
    if is_found { Ok(()) } else { Err(no_key_or_group(args.at(1), args.at(2), "'")) }
}

fn xclaim(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    check_group(context, args)?;
    let now_ms = context.shard.now_ms();
    let claim = Claim::parse(args, now_ms)?;
    let key = context.key(args.at(1));
    let mut outcome = Outcome::new(context);
    let done = change(context, &key, |stream| {
        stream.with_group(args.at(2), |log, group| {
            claim.apply(log, group, args.at(3), now_ms, (&mut outcome, reply));
        })
    })?;
    done.flatten().expect("invariant: the group was found");
    outcome.record(context, args);
    Ok(())
}

pub(super) const XAUTOCLAIM: Command = Command {
    name: "xautoclaim",
    summary: "Changes, or acquires, ownership of messages in a consumer group, as if the \
        messages were delivered to as consumer group member.",
    complexity: "O(1) if COUNT is small.",
    since: "6.2.0",
    group: definition::Group::Stream,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::string("group"),
        Arg::string("consumer"),
        Arg::string("min-idle-time"),
        Arg::string("start"),
        Arg::integer("count").after("COUNT").optional(),
        Arg::token("justid", "JUSTID").optional(),
    ],
    history: &[(
        "7.0.0",
        "Added an element to the reply array, containing deleted entries the \
            command cleared from the PEL",
    )],
    handler: Handler::Shard(xautoclaim),
    ..Command::BASE
};

/// What XAUTOCLAIM is asked for.
struct AutoClaim {
    idle_min: u64,
    start: Id,
    count: u64,
    just_id: bool,
}

impl AutoClaim {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        const INVALID_IDLE: &str = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
        let mut claim = Self {
            idle_min: idle_min(args.at(4), INVALID_IDLE)?,
            start: range_start(args.at(5))?,
            count: COUNT_DEFAULT,
            just_id: false,
        };
        let mut words = Options::new(args, 6);
        while let Some(word) = words.next() {
            if is_word(word, "COUNT") && words.left() > 0 {
                let count = integer(words.value()?).ok();
                let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
                let count = count.ok_or(CommandError::Other("ERR COUNT must be > 0"))?;
                claim.count = count as u64;
            } else if is_word(word, "JUSTID") {
                claim.just_id = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(claim)
    }

    fn apply(
        &self,
        log: &Log,
        group: &mut Group,
        name: &[u8],
        now_ms: u64,
        (outcome, reply): (&mut Outcome, &mut Encoder<'_>),
    ) {
        let (consumer, is_new_consumer) = seen_consumer(group, name, now_ms);
        outcome.is_new_consumer = is_new_consumer;
        let mut claimed = Vec::new();
        let mut deleted = Vec::new();
        let mut next = Some(self.start);
        let mut attempts = self.count.saturating_mul(ATTEMPTS_FACTOR);
        while attempts > 0
            && ((claimed.len() + deleted.len()) as u64) < self.count
            && let Some((id, pending)) = next.and_then(|from| group.pending_from(from).next())
        {
            attempts -= 1;
            next = id.next();
            if pending.idle_ms(now_ms) < self.idle_min && log.contains(id) {
                continue;
            }
            let deliveries = pending.deliveries.saturating_add(u64::from(!self.just_id));
            if log.contains(id) {
                group.assign(id, consumer, now_ms, deliveries);
                group.consumer_mut(consumer).active_ms = Some(now_ms);
                outcome.logged.claim(id, now_ms, deliveries);
                claimed.push(id);
            } else {
                group.acknowledge(id);
                outcome.logged.acknowledge(id);
                deleted.push(id);
            }
            outcome.changes += 1;
        }
        let end = next.and_then(|from| group.pending_from(from).next());
        reply.array(3);
        encode_id(end.map_or(Id::MIN, |(id, _)| id), reply);
        reply.array(claimed.len());
        for id in claimed {
            match log.get(id) {
                Some(entry) if !self.just_id => encode_entry(entry, reply),
                _ => encode_id(id, reply),
            }
        }
        reply.array(deleted.len());
        for id in deleted {
            encode_id(id, reply);
        }
        outcome.logged.end(group, is_new_consumer, false);
    }
}

fn xautoclaim(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    // As the peers do it: the key is read before the arguments, and what is wrong with those is
    // told first.
    let checked = check_group(context, args);
    let claim = AutoClaim::parse(args)?;
    checked?;
    let now_ms = context.shard.now_ms();
    let key = context.key(args.at(1));
    let mut outcome = Outcome::new(context);
    let done = change(context, &key, |stream| {
        stream.with_group(args.at(2), |log, group| {
            claim.apply(log, group, args.at(3), now_ms, (&mut outcome, reply));
        })
    })?;
    done.flatten().expect("invariant: the group was found");
    outcome.record(context, args);
    Ok(())
}
