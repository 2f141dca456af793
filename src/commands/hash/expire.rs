//! Deadlines of fields: HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HPERSIST.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::ExpiryUnit;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::element_expiry::{Elements, expire, persist};
use crate::errors::CommandError;

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
    expire(Elements::Fields, context, args, reply, ExpiryUnit::Seconds, "hexpire")
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
    expire(Elements::Fields, context, args, reply, ExpiryUnit::Milliseconds, "hpexpire")
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
    expire(Elements::Fields, context, args, reply, ExpiryUnit::UnixSeconds, "hexpireat")
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
    expire(Elements::Fields, context, args, reply, ExpiryUnit::UnixMilliseconds, "hpexpireat")
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
    persist(Elements::Fields, context, args, reply)
}
