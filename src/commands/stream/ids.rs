//! Identifiers of entries as arguments and in replies, and entries in replies.

use kvasir_proto::Encoder;
use kvasir_shard::stream::{Entry, Id};

use crate::commands::arguments::{Options, integer, is_word};
use crate::errors::CommandError;

const INVALID: CommandError =
    CommandError::Other("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: CommandError = CommandError::Other("ERR invalid start ID for the interval");
const INVALID_END: CommandError = CommandError::Other("ERR invalid end ID for the interval");
/// The peers read an identifier into a buffer that holds so many bytes.
const ID_BYTES_MAX: usize = 127;

/// The identifier of an entry that is to be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NewId {
    /// `*`: by the clock.
    Auto,
    /// `ms-*`: the next one of this millisecond.
    AutoSeq(u64),
    /// As given.
    Given(Id),
}

/// A number as `strtoull` reads it: white space, a plus sign and leading zeroes may come before.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The parts of an identifier: milliseconds, and the text of the sequence number if there is one.
fn parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), CommandError> {
    if text.len() > ID_BYTES_MAX {
        return Err(INVALID);
    }
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    Ok((number(ms).ok_or(INVALID)?, seq))
}

fn full_id(text: &[u8], missing_seq: u64) -> Result<Id, CommandError> {
    let (ms, seq) = parts(text)?;
    let seq = seq.map_or(Some(missing_seq), number).ok_or(INVALID)?;
    Ok(Id::new(ms, seq))
}

/// An identifier; a missing sequence number is 0.
pub(super) fn id(text: &[u8]) -> Result<Id, CommandError> {
    full_id(text, 0)
}

/// An identifier, or `-` and `+` for the least and the greatest one.
pub(super) fn id_or_end(text: &[u8], missing_seq: u64) -> Result<Id, CommandError> {
    match text {
        b"-" => Ok(Id::MIN),
        b"+" => Ok(Id::MAX),
        _ => full_id(text, missing_seq),
    }
}

/// The identifier of an entry that is to be added.
pub(super) fn new_id(text: &[u8]) -> Result<NewId, CommandError> {
    if text == b"*" {
        return Ok(NewId::Auto);
    }
    match parts(text)? {
        (ms, Some(b"*")) => Ok(NewId::AutoSeq(ms)),
        _ => id(text).map(NewId::Given),
    }
}

/// The first identifier of a range; one after `(` is left out.
pub(super) fn range_start(text: &[u8]) -> Result<Id, CommandError> {
    match text.strip_prefix(b"(").filter(|rest| !rest.is_empty()) {
        Some(rest) => full_id(rest, 0)?.next().ok_or(INVALID_START),
        None => id_or_end(text, 0),
    }
}

/// The last identifier of a range; one after `(` is left out.
pub(super) fn range_end(text: &[u8]) -> Result<Id, CommandError> {
    match text.strip_prefix(b"(").filter(|rest| !rest.is_empty()) {
        Some(rest) => full_id(rest, u64::MAX)?.previous().ok_or(INVALID_END),
        None => id_or_end(text, u64::MAX),
    }
}

/// The identifiers of `IDS numids id [id ...]`, whose first word has been read.
pub(super) fn counted_ids(words: &mut Options<'_>) -> Result<Vec<Id>, CommandError> {
    let count = integer(words.value()?)?;
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or(CommandError::Other("ERR Number of IDs must be a positive integer"))?;
    if count > words.left() {
        return Err(CommandError::Other(
            "ERR The `numids` parameter must match the number of arguments",
        ));
    }
    (0..count).map(|_| id(words.value()?)).collect()
}

/// A count that may be negative, which is the same as 0.
pub(super) fn count(text: &[u8]) -> Result<u64, CommandError> {
    integer(text).map(|count| u64::try_from(count).unwrap_or(0))
}

/// `COUNT n`, the only option of a range.
pub(super) fn range_count(words: &mut Options<'_>) -> Result<Option<u64>, CommandError> {
    let mut found = None;
    while let Some(word) = words.next() {
        if !is_word(word, "COUNT") {
            return Err(CommandError::Syntax);
        }
        found = Some(count(words.value()?)?);
    }
    Ok(found)
}

/// An argument as the peers' texts quote it: up to its first zero byte.
fn quoted(argument: &[u8]) -> &[u8] {
    argument.split(|byte| *byte == 0).next().unwrap_or(argument)
}

/// What the peers say of a group that is not there, where the key need not be either; `after` ends
/// the text, with the quote.
pub(super) fn no_key_or_group(key: &[u8], group: &[u8], after: &'static str) -> CommandError {
    CommandError::Quoting {
        before: "NOGROUP No such key '",
        argument: [quoted(key), b"' or consumer group '", quoted(group)].concat(),
        after,
    }
}

/// What they say where the key is there.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::Quoting {
        before: "NOGROUP No such consumer group '",
        argument: [quoted(group), b"' for key name '", quoted(key)].concat(),
        after: "'",
    }
}

/// Encodes an identifier.
pub(super) fn encode_id(id: Id, reply: &mut Encoder<'_>) {
    let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
    reply.bulk_parts(&[ms.format(id.ms).as_bytes(), b"-", seq.format(id.seq).as_bytes()]);
}

/// Encodes the fields and values of an entry.
pub(super) fn encode_pairs(entry: Entry<'_>, reply: &mut Encoder<'_>) {
    reply.array(2 * entry.pairs.len());
    for (field, value) in entry.pairs {
        reply.bulk(field);
        reply.bulk(value);
    }
}

/// Encodes an entry: its identifier, its fields and values.
pub(super) fn encode_entry(entry: Entry<'_>, reply: &mut Encoder<'_>) {
    reply.array(2);
    encode_id(entry.id, reply);
    encode_pairs(entry, reply);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_as_the_peers_read_them() {
        for (text, expected) in [
            ("1-2", Some(Id::new(1, 2))),
            ("7", Some(Id::new(7, 0))),
            ("007-01", Some(Id::new(7, 1))),
            ("+7-+1", Some(Id::new(7, 1))),
            ("18446744073709551615-18446744073709551615", Some(Id::MAX)),
            ("18446744073709551616-0", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("-1", None),
            ("1-", None),
            ("1--2", None),
            ("1-2-3", None),
            ("1-*", None),
            ("a-1", None),
        ] {
            assert_eq!(id(text.as_bytes()).ok(), expected, "{text}");
        }
        assert!(id(&[b'1'; 128]).is_err());
        assert_eq!(new_id(b"5-*"), Ok(NewId::AutoSeq(5)));
        assert_eq!(new_id(b"*"), Ok(NewId::Auto));
    }

    #[test]
    fn ranges_may_leave_their_ends_out() {
        assert_eq!(range_start(b"-"), Ok(Id::MIN));
        assert_eq!(range_start(b"(1-1"), Ok(Id::new(1, 2)));
        assert_eq!(range_start(b"(18446744073709551615-18446744073709551615"), Err(INVALID_START));
        assert_eq!(range_end(b"2"), Ok(Id::new(2, u64::MAX)));
        assert_eq!(range_end(b"(2"), Ok(Id::new(2, u64::MAX - 1)));
        assert_eq!(range_end(b"(0-0"), Err(INVALID_END));
        assert_eq!(range_start(b"("), Err(INVALID));
        assert_eq!(range_start(b"(-"), Err(INVALID));
    }
}
