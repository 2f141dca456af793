//! Several keys at once: MGET, MSET, MSETNX, MSETEX.
//!
//! With keys on several shards, each shard handles its portion under the locks of the whole
//! command.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{NewValue, Ttl};

use super::get::encode_string;
use crate::commands::arguments::{ExpiryUnit, Options, integer, is_word};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::message::ClientView;
use crate::route::transaction::{Portion, PortionGroup, Request, Transaction, shard_context};

pub(super) const MGET: Command = Command {
    name: "mget",
    summary: "Atomically returns the string values of one or more keys.",
    complexity: "O(N) where N is the number of keys to retrieve.",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::at_least(2),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["request_policy:multi_shard"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: mget, spread: mget_spread },
    ..Command::BASE
};

fn mget(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.array(args.len() - 1);
    for key in args.iter().skip(1) {
        encode_string_or_null(context, key, reply);
    }
    Ok(())
}

/// MGET answers null for a value that is no string.
fn encode_string_or_null(context: &mut ShardContext<'_>, key: &[u8], reply: &mut Encoder<'_>) {
    let key = context.key(key);
    if encode_string(context.read(&key), reply).is_err() {
        reply.null();
    }
}

fn mget_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let portions = request.by_shard(1..request.args().len(), 1);
        let tasks = portions.into_iter().map(|(shard, portion)| {
            (shard, move |state: &mut CoreState| -> Vec<(usize, Vec<u8>)> {
                portion.prefetch(state, view.db);
                let mut context = shard_context(state, view);
                let encoded = |group: PortionGroup<'_>| {
                    let mut out = Vec::new();
                    let mut reply = Encoder::new(&mut out, view.resp);
                    encode_string_or_null(&mut context, group.key(), &mut reply);
                    (group.position, out)
                };
                portion.groups().map(encoded).collect()
            })
        });
        let mut values: Vec<_> = transaction.last_hop(tasks).await.into_iter().flatten().collect();
        values.sort_unstable_by_key(|(position, _)| *position);
        Ok(request.encode(|reply| {
            reply.array(values.len());
            for (_, value) in &values {
                reply.raw(value);
            }
        }))
    })
}

pub(super) const MSET: Command = Command {
    name: "mset",
    summary: "Atomically creates or modifies the string values of one or more keys.",
    complexity: "O(N) where N is the number of keys to set.",
    since: "1.0.1",
    group: Group::String,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    keys: &[KeySpec::at(1).range(-1, 2, 0).flags(KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[Arg::block("data", &[Arg::key("key", 0), Arg::string("value")]).multiple()],
    handler: Handler::Multi { whole: mset, spread: mset_spread },
    ..Command::BASE
};

fn mset(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let pairs = pairs(args, all_pairs(args, "mset")?);
    Writing::PLAIN.write(context, pairs)?;
    reply.ok();
    Ok(())
}

/// The keys and values in a range of arguments that has been checked.
fn pairs(args: Args<'_>, range: PairRange) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    (range.first..range.end).step_by(2).map(move |at| (args.at(at), args.at(at + 1)))
}

/// All arguments after the name, as keys and values.
fn all_pairs(args: Args<'_>, command: &'static str) -> Result<PairRange, CommandError> {
    if (args.len() - 1).is_multiple_of(2) {
        Ok(PairRange { first: 1, end: args.len() })
    } else {
        Err(CommandError::WrongArity(command.into()))
    }
}

/// How pairs are written.
#[derive(Clone, Copy)]
struct Writing {
    ttl: Ttl,
    /// They are logged one by one: the peers do not know the command.
    logs_each: bool,
}

impl Writing {
    /// MSET and MSETNX, which are logged as they come.
    const PLAIN: Self = Self { ttl: Ttl::Clear, logs_each: false };

    fn write<'a>(
        self,
        context: &mut ShardContext<'_>,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), CommandError> {
        let Self { ttl, logs_each } = self;
        for (key, value) in pairs {
            let (key, value) = (context.key(key), NewValue::Bytes(value));
            context.set(&key, value, ttl)?;
            if logs_each && !matches!(ttl, Ttl::At(_)) {
                context.log_set(key.bytes, value, ttl);
            }
        }
        Ok(())
    }
}

/// A task that writes a shard's portion of the pairs.
fn write_task(
    view: ClientView,
    portion: Portion,
    writing: Writing,
) -> impl FnOnce(&mut CoreState) -> Result<(), CommandError> + Send {
    move |state| {
        portion.prefetch(state, view.db);
        let pairs = portion.groups().map(|group| (group.key(), group.value()));
        writing.write(&mut shard_context(state, view), pairs)
    }
}

/// A task that tells how many keys of a shard's portion exist.
fn count_task(view: ClientView, portion: Portion) -> impl FnOnce(&mut CoreState) -> usize + Send {
    move |state| {
        let context = shard_context(state, view);
        portion.keys().filter(|key| context.shard.exists(context.db, &context.key(key))).count()
    }
}

fn mset_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let range = all_pairs(request.args(), "mset")?;
        let portions = request.by_shard(range.first..range.end, 2);
        let tasks = portions
            .into_iter()
            .map(|(shard, portion)| (shard, write_task(request.view, portion, Writing::PLAIN)));
        for result in transaction.last_hop(tasks).await {
            result?;
        }
        Ok(request.ok())
    })
}

pub(super) const MSETNX: Command = Command {
    name: "msetnx",
    summary: "Atomically modifies the string values of one or more keys only when all keys \
        don't exist.",
    complexity: "O(N) where N is the number of keys to set.",
    since: "1.0.1",
    group: Group::String,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).range(-1, 2, 0).flags(KeyFlags::OW.or(KeyFlags::INSERT))],
    args: &[Arg::block("data", &[Arg::key("key", 0), Arg::string("value")]).multiple()],
    handler: Handler::Multi { whole: msetnx, spread: msetnx_spread },
    ..Command::BASE
};

fn msetnx(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let pairs = pairs(args, all_pairs(args, "msetnx")?);
    let condition = KeysCondition::AllMissing;
    let writes = condition.holds_here(context, pairs.clone());
    if writes {
        Writing::PLAIN.write(context, pairs)?;
    }
    reply.integer(i64::from(writes));
    Ok(())
}

fn msetnx_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let range = all_pairs(request.args(), "msetnx")?;
        set_if(&transaction, &request, range, KeysCondition::AllMissing, Writing::PLAIN).await
    })
}

/// When MSETNX and MSETEX write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum KeysCondition {
    Always,
    /// No key exists.
    AllMissing,
    /// Every key exists.
    AllExist,
}

impl KeysCondition {
    fn holds(self, existing: usize, keys: usize) -> bool {
        match self {
            Self::Always => true,
            Self::AllMissing => existing == 0,
            Self::AllExist => existing == keys,
        }
    }

    fn holds_here<'a>(
        self,
        context: &mut ShardContext<'_>,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> bool {
        let keys = pairs.clone().count();
        let exists = |(key, _): &(&[u8], &[u8])| {
            let key = context.key(key);
            context.shard.exists(context.db, &key)
        };
        self == Self::Always || self.holds(pairs.filter(exists).count(), keys)
    }
}

/// Which arguments are keys and values.
#[derive(Clone, Copy)]
struct PairRange {
    first: usize,
    end: usize,
}

/// Writes the pairs on every shard if the condition holds for all keys; answers 1 or 0.
async fn set_if(
    transaction: &Transaction,
    request: &Request,
    range: PairRange,
    condition: KeysCondition,
    writing: Writing,
) -> Result<Vec<u8>, CommandError> {
    let portions = request.by_shard(range.first..range.end, 2);
    let view = request.view;
    if condition != KeysCondition::Always {
        let counts = portions.iter().cloned();
        let counts = counts.map(|(shard, portion)| (shard, count_task(view, portion)));
        let existing: usize = transaction.hop(counts).await.into_iter().sum();
        if !condition.holds(existing, (range.end - range.first) / 2) {
            return Ok(request.encode(|reply| reply.integer(0)));
        }
    }
    let tasks =
        portions.into_iter().map(|(shard, portion)| (shard, write_task(view, portion, writing)));
    for result in transaction.last_hop(tasks).await {
        result?;
    }
    Ok(request.encode(|reply| reply.integer(1)))
}

pub(super) const MSETEX: Command = Command {
    name: "msetex",
    summary: "Sets multiple keys with a shared optional condition and expiration.",
    complexity: "O(N) where N is the number of keys to set.",
    since: "8.4.0",
    group: Group::String,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    keys: &[KeySpec::at(1).key_num(0, 1, 2).flags(KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::integer("numkeys"),
        Arg::block("data", &[Arg::key("key", 0), Arg::string("value")]).multiple(),
        Arg::one_of("condition", &[Arg::token("nx", "NX"), Arg::token("xx", "XX")]).optional(),
        Arg::one_of(
            "expiration",
            &[
                Arg::integer("seconds").after("EX"),
                Arg::integer("milliseconds").after("PX"),
                Arg::unix_time("unix-time-seconds").after("EXAT"),
                Arg::unix_time("unix-time-milliseconds").after("PXAT"),
                Arg::token("keepttl", "KEEPTTL"),
            ],
        )
        .optional(),
    ],
    handler: Handler::Multi { whole: msetex, spread: msetex_spread },
    ..Command::BASE
};

/// What MSETEX asks for.
struct Msetex {
    range: PairRange,
    condition: KeysCondition,
    ttl: Ttl,
}

fn parse_msetex(args: Args<'_>, now_ms: u64) -> Result<Msetex, CommandError> {
    let keys = integer(args.at(1)).ok().and_then(|keys| i32::try_from(keys).ok());
    let keys = keys
        .and_then(|keys| usize::try_from(keys).ok())
        .filter(|keys| *keys > 0)
        .ok_or(CommandError::Other("ERR invalid numkeys value"))?;
    let end = 2 + 2 * keys;
    if end > args.len() {
        return Err(CommandError::Other("ERR wrong number of key-value pairs"));
    }
    let mut parsed = Msetex {
        range: PairRange { first: 2, end },
        condition: KeysCondition::Always,
        ttl: Ttl::Clear,
    };
    let mut options = Options::new(args, end);
    while let Some(word) = options.next() {
        if let Some(unit) = ExpiryUnit::of_word(word) {
            if parsed.ttl != Ttl::Clear {
                return Err(CommandError::Syntax);
            }
            parsed.ttl = Ttl::At(unit.positive_deadline(options.value()?, now_ms, "msetex")?);
        } else if is_word(word, "KEEPTTL") && parsed.ttl == Ttl::Clear {
            parsed.ttl = Ttl::Keep;
        } else if is_word(word, "NX") && parsed.condition == KeysCondition::Always {
            parsed.condition = KeysCondition::AllMissing;
        } else if is_word(word, "XX") && parsed.condition == KeysCondition::Always {
            parsed.condition = KeysCondition::AllExist;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(parsed)
}

fn msetex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let Msetex { range, condition, ttl } = parse_msetex(args, context.shard.now_ms())?;
    let pairs = pairs(args, range);
    let writes = condition.holds_here(context, pairs.clone());
    if writes {
        Writing { ttl, logs_each: true }.write(context, pairs)?;
    }
    reply.integer(i64::from(writes));
    Ok(())
}

fn msetex_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let Msetex { range, condition, ttl } = parse_msetex(request.args(), request.now_ms)?;
        let writing = Writing { ttl, logs_each: true };
        set_if(&transaction, &request, range, condition, writing).await
    })
}
