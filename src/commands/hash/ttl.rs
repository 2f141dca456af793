//! What deadlines fields have: HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME.

use kvasir_proto::{Args, Encoder};

use super::expire::{NO_DEADLINE, NO_FIELD};
use super::fields::{self, MISMATCH};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// From which moment, and in which unit, the answer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl Form {
    /// The answer for a deadline. Seconds are rounded to the nearest, as the peers do.
    fn answer(self, deadline_ms: u64, now_ms: u64) -> i64 {
        let left_ms = deadline_ms.saturating_sub(now_ms);
        let answer = match self {
            Self::Seconds => (left_ms + 500) / 1000,
            Self::Milliseconds => left_ms,
            Self::UnixSeconds => (deadline_ms + 500) / 1000,
            Self::UnixMilliseconds => deadline_ms,
        };
        answer as i64
    }
}

fn tell(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    form: Form,
) -> Result<(), CommandError> {
    let fields = fields::third(args)
        .map_err(|error| if error == MISMATCH { CommandError::Syntax } else { error })?;
    let key = context.key(args.at(1));
    let now_ms = context.shard.now_ms();
    let hash = context.read_hash(&key)?;
    reply.array(fields.len());
    for field in fields.iter() {
        reply.integer(match hash.and_then(|hash| hash.deadline(field)) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(deadline_ms)) => form.answer(deadline_ms, now_ms),
        });
    }
    Ok(())
}

pub(super) const HTTL: Command = Command {
    name: "httl",
    summary: "Returns the TTL in seconds of a hash field.",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(httl),
    ..Command::BASE
};

fn httl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(context, args, reply, Form::Seconds)
}

pub(super) const HPTTL: Command = Command {
    name: "hpttl",
    summary: "Returns the TTL in milliseconds of a hash field.",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::READONLY.or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hpttl),
    ..Command::BASE
};

fn hpttl(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(context, args, reply, Form::Milliseconds)
}

pub(super) const HEXPIRETIME: Command = Command {
    name: "hexpiretime",
    summary: "Returns the expiration time of a hash field as a Unix timestamp, in seconds.",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hexpiretime),
    ..Command::BASE
};

fn hexpiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(context, args, reply, Form::UnixSeconds)
}

pub(super) const HPEXPIRETIME: Command = Command {
    name: "hpexpiretime",
    summary: "Returns the expiration time of a hash field as a Unix timestamp, in msec.",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hpexpiretime),
    ..Command::BASE
};

fn hpexpiretime(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    tell(context, args, reply, Form::UnixMilliseconds)
}
