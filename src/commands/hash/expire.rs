//! Deadlines of fields: HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HPERSIST.

use kvasir_proto::{Args, Encoder};

use super::fields::{self, MISMATCH};
use crate::commands::arguments::{ExpiryUnit, integer};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::generic::expire::Conditions;
use crate::errors::CommandError;

/// Answers for a field that does not exist.
pub(super) const NO_FIELD: i64 = -2;
/// Answers for a field without a deadline.
pub(super) const NO_DEADLINE: i64 = -1;
/// The conditions did not hold.
const UNMET: i64 = 0;
/// The deadline was set or taken away.
const CHANGED: i64 = 1;
/// The moment has passed: the field was removed.
const REMOVED: i64 = 2;

/// The deadline that an argument means, in milliseconds of the Unix epoch. Zero and moments that
/// have passed are allowed, negative numbers are not.
pub(super) fn deadline(
    amount: &[u8],
    unit: ExpiryUnit,
    now_ms: u64,
    command: &'static str,
) -> Result<u64, CommandError> {
    let amount = integer(amount)?;
    let deadline = if amount >= 0 { unit.deadline(amount, now_ms) } else { None };
    deadline
        .and_then(|deadline| u64::try_from(deadline).ok())
        .ok_or(CommandError::InvalidExpire(command))
}

/// Gives fields a deadline; one that has passed removes them at once, whatever the conditions.
fn expire_by(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    unit: ExpiryUnit,
    command: &'static str,
) -> Result<(), CommandError> {
    let at = fields::position(args, 3).ok_or(MISMATCH)?;
    let conditions = Conditions::parse(Args::new(args.buffer(), &args.ranges()[3..at]))?;
    let fields = fields::counted(args, at + 1, 1)?;
    let now_ms = context.shard.now_ms();
    let new = deadline(args.at(2), unit, now_ms, command)?;
    let key = context.key(args.at(1));
    let changes = context.shard.update_hash(context.db, &key, |hash| {
        reply.array(fields.len());
        let mut changes = 0;
        for field in fields.iter() {
            let answer = match hash.view().deadline(field) {
                None => NO_FIELD,
                Some(_) if new <= now_ms => {
                    hash.expire(field);
                    REMOVED
                }
                Some(old) if !conditions.hold(old, new as i64) => UNMET,
                Some(_) => {
                    hash.set_deadline(field, Some(new))?;
                    CHANGED
                }
            };
            changes += u64::from(answer > UNMET);
            reply.integer(answer);
        }
        if changes > 0 {
            hash.event(if new <= now_ms { "hexpired" } else { "hexpire" });
        }
        Ok::<_, CommandError>(changes)
    })??;
    context.changed(changes);
    Ok(())
}

pub(super) const HEXPIRE: Command = Command {
    name: "hexpire",
    summary: "Set expiry for hash field using relative time to expire (seconds)",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("seconds"),
        Arg::one_of(
            "condition",
            &[
                Arg::token("nx", "NX"),
                Arg::token("xx", "XX"),
                Arg::token("gt", "GT"),
                Arg::token("lt", "LT"),
            ],
        )
        .optional(),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hexpire),
    ..Command::BASE
};

fn hexpire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::Seconds, "hexpire")
}

pub(super) const HPEXPIRE: Command = Command {
    name: "hpexpire",
    summary: "Set expiry for hash field using relative time to expire (milliseconds)",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("milliseconds"),
        Arg::one_of(
            "condition",
            &[
                Arg::token("nx", "NX"),
                Arg::token("xx", "XX"),
                Arg::token("gt", "GT"),
                Arg::token("lt", "LT"),
            ],
        )
        .optional(),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hpexpire),
    ..Command::BASE
};

fn hpexpire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::Milliseconds, "hpexpire")
}

pub(super) const HEXPIREAT: Command = Command {
    name: "hexpireat",
    summary: "Set expiry for hash field using an absolute Unix timestamp (seconds)",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::unix_time("unix-time-seconds"),
        Arg::one_of(
            "condition",
            &[
                Arg::token("nx", "NX"),
                Arg::token("xx", "XX"),
                Arg::token("gt", "GT"),
                Arg::token("lt", "LT"),
            ],
        )
        .optional(),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hexpireat),
    ..Command::BASE
};

fn hexpireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::UnixSeconds, "hexpireat")
}

pub(super) const HPEXPIREAT: Command = Command {
    name: "hpexpireat",
    summary: "Set expiry for hash field using an absolute Unix timestamp (milliseconds)",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::unix_time("unix-time-milliseconds"),
        Arg::one_of(
            "condition",
            &[
                Arg::token("nx", "NX"),
                Arg::token("xx", "XX"),
                Arg::token("gt", "GT"),
                Arg::token("lt", "LT"),
            ],
        )
        .optional(),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hpexpireat),
    ..Command::BASE
};

fn hpexpireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::UnixMilliseconds, "hpexpireat")
}

pub(super) const HPERSIST: Command = Command {
    name: "hpersist",
    summary: "Removes the expiration time for each specified field",
    complexity: "O(N) where N is the number of specified fields",
    since: "7.4.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hpersist),
    ..Command::BASE
};

fn hpersist(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let fields = fields::third(args)?;
    let key = context.key(args.at(1));
    let changes = context.shard.update_hash(context.db, &key, |hash| {
        reply.array(fields.len());
        let mut changes = 0;
        for field in fields.iter() {
            let answer = match hash.view().deadline(field) {
                None => NO_FIELD,
                Some(None) => NO_DEADLINE,
                Some(Some(_)) => {
                    hash.set_deadline(field, None)?;
                    changes += 1;
                    CHANGED
                }
            };
            reply.integer(answer);
        }
        if changes > 0 {
            hash.event("hpersist");
        }
        Ok::<_, CommandError>(changes)
    })??;
    context.changed(changes);
    Ok(())
}
