//! Running scripts: EVAL, EVALSHA, and their read-only forms.
//!
//! What they do is in [`crate::route::script`].

use kvasir_proto::Args;

use crate::commands::definition::{
    Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec, LockScope, ScriptKind,
    ScriptSource,
};
use crate::commands::keys::counted_keys;

/// A script may use any key: as a part of a transaction it needs all of them.
pub(super) fn writes_everything(_: Args<'_>) -> LockScope {
    LockScope::Exclusive
}

/// As [`writes_everything`], for reading.
pub(super) fn reads_everything(_: Args<'_>) -> LockScope {
    LockScope::Shared
}

const EVAL_NOTE: &str = "We cannot tell how the keys will be used so we assume the worst, \
    RW and UPDATE";
pub(super) const EVAL: Command = Command {
    name: "eval",
    summary: "Executes a server-side Lua script.",
    complexity: "Depends on the script that is executed.",
    since: "2.6.0",
    group: Group::Scripting,
    arity: Arity::at_least(3),
    flags: Flags::NOSCRIPT
        .or(Flags::STALE)
        .or(Flags::SKIP_MONITOR)
        .or(Flags::NO_MANDATORY_KEYS)
        .or(Flags::MOVABLEKEYS)
        .or(Flags::MAY_REPLICATE),
    keys: &[KeySpec::at(2)
        .key_num(0, 1, 1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))
        .notes(EVAL_NOTE)],
    find_keys: Some(|args, found| counted_keys(args, 2, None, found)),
    args: &[
        Arg::string("script"),
        Arg::integer("numkeys"),
        Arg::key("key", 0).optional().multiple(),
        Arg::string("arg").optional().multiple(),
    ],
    beyond: Some(writes_everything),
    handler: Handler::Script(ScriptKind { source: ScriptSource::Text, read_only: false }),
    ..Command::BASE
};

/// A script by its digest takes the arguments of one by its text, but for the first.
const DIGEST_ARGS: &[Arg] = &[
    Arg::string("sha1"),
    Arg::integer("numkeys"),
    Arg::key("key", 0).optional().multiple(),
    Arg::string("arg").optional().multiple(),
];

pub(super) const EVALSHA: Command = Command {
    name: "evalsha",
    summary: "Executes a server-side Lua script by SHA1 digest.",
    keys: &[KeySpec::at(2)
        .key_num(0, 1, 1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: DIGEST_ARGS,
    handler: Handler::Script(ScriptKind { source: ScriptSource::Digest, read_only: false }),
    ..EVAL
};

const EVAL_RO_NOTE: &str = "We cannot tell how the keys will be used so we assume the worst, \
    RO and ACCESS";
pub(super) const EVAL_RO: Command = Command {
    name: "eval_ro",
    summary: "Executes a read-only server-side Lua script.",
    since: "7.0.0",
    flags: Flags::READONLY
        .or(Flags::NOSCRIPT)
        .or(Flags::STALE)
        .or(Flags::SKIP_MONITOR)
        .or(Flags::NO_MANDATORY_KEYS)
        .or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(2)
        .key_num(0, 1, 1)
        .flags(KeyFlags::RO.or(KeyFlags::ACCESS))
        .notes(EVAL_RO_NOTE)],
    beyond: Some(reads_everything),
    handler: Handler::Script(ScriptKind { source: ScriptSource::Text, read_only: true }),
    ..EVAL
};

pub(super) const EVALSHA_RO: Command = Command {
    name: "evalsha_ro",
    summary: "Executes a read-only server-side Lua script by SHA1 digest.",
    keys: &[KeySpec::at(2).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: DIGEST_ARGS,
    handler: Handler::Script(ScriptKind { source: ScriptSource::Digest, read_only: true }),
    ..EVAL_RO
};
