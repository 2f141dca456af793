//! Deadlines: EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::DEADLINE_MAX;

use crate::commands::arguments::{ExpiryUnit, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// Which deadline a key (or a field of a hash) must have now for it to be changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::commands) struct Conditions {
    presence: Option<Presence>,
    order: Option<Order>,
}

/// Whether the key must have a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// `NX`.
    Absent,
    /// `XX`.
    Present,
}

/// How the new deadline must compare with the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// `GT`.
    Later,
    /// `LT`.
    Earlier,
}

impl Conditions {
    /// Reads the words after the expiry.
    pub(in crate::commands) fn parse(words: Args<'_>) -> Result<Self, CommandError> {
        let known = |word: &&[u8]| ["NX", "XX", "GT", "LT"].iter().any(|name| is_word(word, name));
        if let Some(word) = words.iter().find(|word| !known(word)) {
            return Err(CommandError::quoting("ERR Unsupported option ", word, ""));
        }
        let has = |name| words.iter().any(|word| is_word(word, name));
        if has("NX") && (has("XX") || has("GT") || has("LT")) {
            return Err(CommandError::Other(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if has("GT") && has("LT") {
            return Err(CommandError::Other(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        let absent = has("NX").then_some(Presence::Absent);
        let later = has("GT").then_some(Order::Later);
        Ok(Self {
            presence: absent.or(has("XX").then_some(Presence::Present)),
            order: later.or(has("LT").then_some(Order::Earlier)),
        })
    }

    /// Whether a key with the deadline `old` may get the deadline `new`. No deadline is later than
    /// any.
    pub(in crate::commands) fn hold(self, old: Option<u64>, new: i64) -> bool {
        let old = old.map(|old| i64::try_from(old).unwrap_or(i64::MAX));
        let presence = self.presence.is_none_or(|presence| match presence {
            Presence::Absent => old.is_none(),
            Presence::Present => old.is_some(),
        });
        let order = self.order.is_none_or(|order| match order {
            Order::Later => old.is_some_and(|old| new > old),
            Order::Earlier => old.is_none_or(|old| new < old),
        });
        presence && order
    }
}

/// Gives a key a deadline; one that has passed removes the key at once.
fn expire_by(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    unit: ExpiryUnit,
    command: &'static str,
) -> Result<(), CommandError> {
    let conditions = Conditions::parse(args.tail(3))?;
    let now_ms = context.shard.now_ms();
    let new =
        unit.deadline(integer(args.at(2))?, now_ms).ok_or(CommandError::InvalidExpire(command))?;
    // Compared as it would be stored.
    let new = new.min(DEADLINE_MAX as i64);
    let key = context.key(args.at(1));
    let changes =
        context.shard.deadline(context.db, &key).is_some_and(|old| conditions.hold(old, new));
    if changes {
        match u64::try_from(new) {
            Ok(new) if new > context.shard.due_ms() => {
                context.shard.set_deadline(context.db, &key, new)?;
                context.log_deadline(key.bytes, new, args.tail(3).iter());
            }
            _ => {
                context.end(&key);
            }
        }
        context.changed(1);
    }
    reply.integer(i64::from(changes));
    Ok(())
}

pub(super) const EXPIRE: Command = Command {
    name: "expire",
    summary: "Sets the expiration time of a key in seconds.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::at_least(3),
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
        .optional()
        .since("7.0.0"),
    ],
    history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
    handler: Handler::Shard(expire),
    ..Command::BASE
};

fn expire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::Seconds, "expire")
}

pub(super) const PEXPIRE: Command = Command {
    name: "pexpire",
    summary: "Sets the expiration time of a key in milliseconds.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::Generic,
    arity: Arity::at_least(3),
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
        .optional()
        .since("7.0.0"),
    ],
    history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
    handler: Handler::Shard(pexpire),
    ..Command::BASE
};

fn pexpire(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::Milliseconds, "pexpire")
}

pub(super) const EXPIREAT: Command = Command {
    name: "expireat",
    summary: "Sets the expiration time of a key to a Unix timestamp.",
    complexity: "O(1)",
    since: "1.2.0",
    group: Group::Generic,
    arity: Arity::at_least(3),
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
        .optional()
        .since("7.0.0"),
    ],
    history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
    handler: Handler::Shard(expireat),
    ..Command::BASE
};

fn expireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::UnixSeconds, "expireat")
}

pub(super) const PEXPIREAT: Command = Command {
    name: "pexpireat",
    summary: "Sets the expiration time of a key to a Unix milliseconds timestamp.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::Generic,
    arity: Arity::at_least(3),
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
        .optional()
        .since("7.0.0"),
    ],
    history: &[("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`.")],
    handler: Handler::Shard(pexpireat),
    ..Command::BASE
};

fn pexpireat(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    expire_by(context, args, reply, ExpiryUnit::UnixMilliseconds, "pexpireat")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_deadline_lasts_longer_than_any() {
        let gt = Conditions { order: Some(Order::Later), ..Conditions::default() };
        let lt = Conditions { order: Some(Order::Earlier), ..Conditions::default() };
        assert!(!gt.hold(None, i64::MAX));
        assert!(lt.hold(None, i64::MAX));
        assert!(gt.hold(Some(5), 6) && !gt.hold(Some(5), 5));
        assert!(lt.hold(Some(5), 4) && !lt.hold(Some(5), 5));
        assert!(lt.hold(Some(5), -1));
    }

    #[test]
    fn presence_of_a_deadline_is_asked_with_the_rest() {
        let nx = Conditions { presence: Some(Presence::Absent), order: None };
        let xx_gt = Conditions { presence: Some(Presence::Present), order: Some(Order::Later) };
        assert!(nx.hold(None, 1) && !nx.hold(Some(1), 2));
        assert!(xx_gt.hold(Some(1), 2) && !xx_gt.hold(None, 2) && !xx_gt.hold(Some(2), 1));
    }
}
