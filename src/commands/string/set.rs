//! SET in all its forms, and its older relatives: SETEX, PSETEX, SETNX.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{NewValue, Ttl, ValueRef};

use super::digest::{digest_matches, parse_digest};
use super::get::encode_string;
use crate::commands::arguments::{ExpiryUnit, Options, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Command, Deprecation, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::errors::CommandError;

const SET_NOTE: &str = "RW and ACCESS due to the optional `GET` argument";
const SET_COMPARISON_VALUE: &str = "Sets the key's value only if the current value matches the \
    specified comparison value.";
pub(super) const SET: Command = Command {
    name: "set",
    summary: "Sets the string value of a key, ignoring its type. The key is created if it \
        doesn't exist.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE).or(KeyFlags::VARIABLE_FLAGS))
        .notes(SET_NOTE)],
    find_keys: Some(find_set_key),
    args: &[
        Arg::key("key", 0),
        Arg::string("value"),
        Arg::one_of(
            "condition",
            &[
                Arg::token("nx", "NX").since("2.6.12"),
                Arg::token("xx", "XX").since("2.6.12"),
                Arg::string("comparison-value")
                    .after("IFEQ")
                    .since("8.1.0")
                    .summary(SET_COMPARISON_VALUE),
                Arg::string("ifne-value").after("IFNE").since("8.4.0"),
                Arg::string("ifdeq-digest").after("IFDEQ").since("8.4.0"),
                Arg::string("ifdne-digest").after("IFDNE").since("8.4.0"),
            ],
        )
        .optional(),
        Arg::token("get", "GET").optional().since("6.2.0"),
        Arg::one_of(
            "expiration",
            &[
                Arg::integer("seconds").after("EX").since("2.6.12"),
                Arg::integer("milliseconds").after("PX").since("2.6.12"),
                Arg::unix_time("unix-time-seconds").after("EXAT").since("6.2.0"),
                Arg::unix_time("unix-time-milliseconds").after("PXAT").since("6.2.0"),
                Arg::token("keepttl", "KEEPTTL").since("6.0.0"),
            ],
        )
        .optional(),
    ],
    history: &[
        ("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."),
        ("6.0.0", "Added the `KEEPTTL` option."),
        ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` option."),
        ("7.0.0", "Allowed the `NX` and `GET` options to be used together."),
        ("8.1.0", "Added the `IFEQ` option."),
    ],
    handler: Handler::Shard(set),
    ..Command::BASE
};

/// The key is read only with `GET`, wherever it stands.
fn find_set_key(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    let reads = args.tail(3).iter().any(|word| is_word(word, "GET"));
    let access = if reads { KeyFlags::RW.or(KeyFlags::ACCESS) } else { KeyFlags::OW };
    found(1, access.or(KeyFlags::UPDATE));
}

/// When SET writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition<'a> {
    /// Always.
    Always,
    /// `NX`: the key does not exist.
    Missing,
    /// `XX`: it exists.
    Exists,
    /// `IFEQ`: it holds this value.
    Equals(&'a [u8]),
    /// `IFNE`: it is missing or holds another value.
    Differs(&'a [u8]),
    /// `IFDEQ`: its value has this digest.
    DigestEquals(u64),
    /// `IFDNE`: it is missing or its value has another digest.
    DigestDiffers(u64),
}

impl<'a> Condition<'a> {
    /// The condition that an option word begins, if it does.
    pub(super) fn of_word(
        word: &[u8],
        options: &mut Options<'a>,
    ) -> Result<Option<Self>, CommandError> {
        let condition = if is_word(word, "NX") {
            Self::Missing
        } else if is_word(word, "XX") {
            Self::Exists
        } else if is_word(word, "IFEQ") {
            Self::Equals(options.value()?)
        } else if is_word(word, "IFNE") {
            Self::Differs(options.value()?)
        } else if is_word(word, "IFDEQ") {
            Self::DigestEquals(parse_digest(options.value()?)?)
        } else if is_word(word, "IFDNE") {
            Self::DigestDiffers(parse_digest(options.value()?)?)
        } else {
            return Ok(None);
        };
        Ok(Some(condition))
    }

    /// Whether it holds for the present value. Comparing with a value that is no string fails.
    pub(super) fn holds(self, value: Option<ValueRef<'_>>) -> Result<bool, CommandError> {
        let compare = |equal: &dyn Fn(&[u8]) -> bool| {
            let Some(value) = value else { return Ok(None) };
            value.with_bytes(equal).map(Some).ok_or(CommandError::WrongType)
        };
        Ok(match self {
            Self::Always => true,
            Self::Missing => value.is_none(),
            Self::Exists => value.is_some(),
            Self::Equals(wanted) => compare(&|bytes| bytes == wanted)? == Some(true),
            Self::Differs(wanted) => compare(&|bytes| bytes == wanted)? != Some(true),
            Self::DigestEquals(digest) => {
                compare(&|bytes| digest_matches(bytes, digest))? == Some(true)
            }
            Self::DigestDiffers(digest) => {
                compare(&|bytes| digest_matches(bytes, digest))? != Some(true)
            }
        })
    }
}

/// The options of SET.
struct SetOptions<'a> {
    condition: Condition<'a>,
    ttl: Ttl,
    get: bool,
}

impl SetOptions<'_> {
    /// Whether the value alone is logged, without what it depended on: where that has been replied,
    /// and where the peers do not know the condition. With a deadline, it is logged so anyway.
    fn logs_plainly(&self) -> bool {
        let is_known = matches!(
            self.condition,
            Condition::Always | Condition::Missing | Condition::Exists | Condition::Equals(_)
        );
        (self.get || !is_known) && !matches!(self.ttl, Ttl::At(_))
    }
}

fn set_options(args: Args<'_>, now_ms: u64) -> Result<SetOptions<'_>, CommandError> {
    let mut options = Options::new(args, 3);
    let mut parsed = SetOptions { condition: Condition::Always, ttl: Ttl::Clear, get: false };
    // The amount is checked after the whole syntax, as the peers do.
    let mut expiry: Option<(ExpiryUnit, &[u8])> = None;
    let mut keep = false;
    while let Some(word) = options.next() {
        if let Some(unit) = ExpiryUnit::of_word(word) {
            // The same unit may be repeated; the last amount counts.
            if keep || expiry.is_some_and(|(other, _)| other != unit) {
                return Err(CommandError::Syntax);
            }
            expiry = Some((unit, options.value()?));
        } else if is_word(word, "GET") {
            parsed.get = true;
        } else if is_word(word, "KEEPTTL") {
            if expiry.is_some() {
                return Err(CommandError::Syntax);
            }
            keep = true;
        } else if let Some(condition) = Condition::of_word(word, &mut options)? {
            // NX and XX may be repeated, a comparison may not.
            let repeated = parsed.condition == condition
                && matches!(condition, Condition::Missing | Condition::Exists);
            if parsed.condition != Condition::Always && !repeated {
                return Err(CommandError::Syntax);
            }
            parsed.condition = condition;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if keep {
        parsed.ttl = Ttl::Keep;
    } else if let Some((unit, amount)) = expiry {
        parsed.ttl = Ttl::At(unit.positive_deadline(amount, now_ms, "set")?);
    }
    Ok(parsed)
}

fn set(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let value = NewValue::Bytes(args.at(2));
    if args.len() == 3 {
        context.shard.set(context.db, &key, value, Ttl::Clear)?;
        context.changed(1);
        reply.ok();
        return Ok(());
    }
    let options = set_options(args, context.shard.now_ms())?;
    let writes = if options.condition == Condition::Always && !options.get {
        true
    } else {
        let old = if options.get { context.read(&key) } else { context.look(&key) };
        let writes = options.condition.holds(old)?;
        if options.get {
            encode_string(old, reply)?;
        } else if !writes {
            reply.null();
        }
        writes
    };
    if writes {
        context.set(&key, value, options.ttl)?;
        if options.logs_plainly() {
            context.log_set(key.bytes, value, options.ttl);
        }
        if !options.get {
            reply.ok();
        }
    }
    Ok(())
}

pub(super) const SETNX: Command = Command {
    name: "setnx",
    summary: "Set the string value of a key only when the key doesn't exist.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::string("value")],
    deprecated: Some(Deprecation { since: "2.6.12", replaced_by: "`SET` with the `NX` argument" }),
    handler: Handler::Shard(setnx),
    ..Command::BASE
};

fn setnx(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let missing = !context.shard.exists(context.db, &key);
    if missing {
        context.set(&key, NewValue::Bytes(args.at(2)), Ttl::Clear)?;
    }
    reply.integer(i64::from(missing));
    Ok(())
}

pub(super) const SETEX: Command = Command {
    name: "setex",
    summary: "Sets the string value and expiration time of a key. Creates the key if it \
        doesn't exist.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::String,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("seconds"), Arg::string("value")],
    deprecated: Some(Deprecation { since: "2.6.12", replaced_by: "`SET` with the `EX` argument" }),
    handler: Handler::Shard(setex),
    ..Command::BASE
};

fn setex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    set_expiring(context, args, ExpiryUnit::Seconds, "setex", reply)
}

pub(super) const PSETEX: Command = Command {
    name: "psetex",
    summary: "Sets both string value and expiration time in milliseconds of a key. The key \
        is created if it doesn't exist.",
    complexity: "O(1)",
    since: "2.6.0",
    group: Group::String,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("milliseconds"), Arg::string("value")],
    deprecated: Some(Deprecation { since: "2.6.12", replaced_by: "`SET` with the `PX` argument" }),
    handler: Handler::Shard(psetex),
    ..Command::BASE
};

fn psetex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    set_expiring(context, args, ExpiryUnit::Milliseconds, "psetex", reply)
}

fn set_expiring(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    unit: ExpiryUnit,
    command: &'static str,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let deadline = unit.positive_deadline(args.at(2), context.shard.now_ms(), command)?;
    let key = context.key(args.at(1));
    context.set(&key, NewValue::Bytes(args.at(3)), Ttl::At(deadline))?;
    reply.ok();
    Ok(())
}
