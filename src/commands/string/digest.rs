//! Digests of strings, and deletion under a condition: DIGEST, DELEX, DELIFEQ.

use kvasir_proto::{Args, Encoder};
use xxhash_rust::xxh3::xxh3_64;

use super::set::Condition;
use crate::commands::arguments::Options;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 16;

/// A digest as it is written: sixteen hexadecimal digits of any case.
pub(super) fn parse_digest(text: &[u8]) -> Result<u64, CommandError> {
    let digits = || std::str::from_utf8(text).ok().filter(|t| t.len() == DIGEST_DIGITS);
    digits()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(CommandError::Other("ERR must be exactly 16 hexadecimal characters"))
}

/// Whether a string has this digest: XXH3 of 64 bits, as Redis 8.4 defines it.
pub(super) fn digest_matches(bytes: &[u8], digest: u64) -> bool {
    xxh3_64(bytes) == digest
}

pub(super) const DIGEST: Command = Command {
    name: "digest",
    summary: "Returns the hash digest of a string value as a hexadecimal string.",
    complexity: "O(N) where N is the length of the string value.",
    since: "8.4.0",
    group: Group::String,
    arity: Arity::exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(digest),
    ..Command::BASE
};

fn digest(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let Some(value) = context.read(&key) else {
        reply.null();
        return Ok(());
    };
    let digest = value.with_bytes(xxh3_64).ok_or(CommandError::WrongType)?;
    reply.bulk(format!("{digest:016x}").as_bytes());
    Ok(())
}

pub(super) const DELEX: Command = Command {
    name: "delex",
    summary: "Conditionally removes the specified key based on value or digest comparison.",
    complexity: "O(1) for IFEQ/IFNE, O(N) for IFDEQ/IFDNE where N is the length of the string.",
    since: "8.4.0",
    group: Group::String,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RM.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "condition",
            &[
                Arg::string("ifeq-value").after("IFEQ"),
                Arg::string("ifne-value").after("IFNE"),
                Arg::string("ifdeq-digest").after("IFDEQ"),
                Arg::string("ifdne-digest").after("IFDNE"),
            ],
        )
        .optional(),
    ],
    handler: Handler::Shard(delex),
    ..Command::BASE
};

fn delex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mut options = Options::new(args, 2);
    let condition = match options.next() {
        None => Condition::Exists,
        Some(word) => match Condition::of_word(word, &mut options)? {
            None | Some(Condition::Missing | Condition::Exists) => {
                return Err(CommandError::Other(
                    "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE",
                ));
            }
            Some(condition) => condition,
        },
    };
    if options.left() > 0 {
        return Err(CommandError::WrongArity("delex".into()));
    }
    delete_if(context, args.at(1), condition, reply)
}

pub(super) const DELIFEQ: Command = Command {
    name: "delifeq",
    summary: "Delete key if value matches string.",
    complexity: "O(1)",
    since: "9.0.0",
    group: Group::String,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RM.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::string("value")],
    handler: Handler::Shard(delifeq),
    ..Command::BASE
};

fn delifeq(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    delete_if(context, args.at(1), Condition::Equals(args.at(2)), reply)
}

fn delete_if(
    context: &mut ShardContext<'_>,
    key: &[u8],
    condition: Condition<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(key);
    let value = context.look(&key);
    let deletes = value.is_some() && condition.holds(value)?;
    if deletes {
        context.shard.remove(context.db, &key);
        context.changed(1);
        context.log_as(&[b"DEL", key.bytes]);
    }
    reply.integer(i64::from(deletes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sixteen_hexadecimal_digits() {
        assert_eq!(parse_digest(b"00000000000000ff"), Ok(255));
        assert_eq!(parse_digest(b"00000000000000FF"), Ok(255));
        for bad in [&b"ff"[..], b"", b"+0000000000000ff", b"0000000000000zff", b"00000000000000ff0"]
        {
            assert!(parse_digest(bad).is_err(), "{bad:?}");
        }
    }
}
