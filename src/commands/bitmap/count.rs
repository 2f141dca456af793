//! Counting and finding bits: BITCOUNT, BITPOS.

use kvasir_proto::{Args, Encoder};

use super::bits::{self, Unit};
use crate::commands::arguments::{integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// The part of a string that a command looks at.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: i64,
    /// The last bound, which is within the part; the end of the string if there is none.
    end: Option<i64>,
    unit: Unit,
}

impl Part {
    const ALL: Self = Self { start: 0, end: None, unit: Unit::Byte };

    /// Reads the words `start [end [BYTE | BIT]]`.
    fn parse(words: Args<'_>) -> Result<Self, CommandError> {
        if words.len() > 3 {
            return Err(CommandError::Syntax);
        }
        let Some(start) = words.get(0) else { return Ok(Self::ALL) };
        let start = integer(start)?;
        let unit = match words.get(2) {
            None => Unit::Byte,
            Some(word) if is_word(word, "BYTE") => Unit::Byte,
            Some(word) if is_word(word, "BIT") => Unit::Bit,
            Some(_) => return Err(CommandError::Syntax),
        };
        let end = words.get(1).map(integer).transpose()?;
        Ok(Self { start, end, unit })
    }

    /// The bits of a string of `len` bytes.
    fn bits(self, len: usize) -> std::ops::Range<u64> {
        bits::bit_range(self.start, self.end.unwrap_or(-1), self.unit, len)
    }
}

pub(super) const BITCOUNT: Command = Command {
    name: "bitcount",
    summary: "Counts the number of set bits (population counting) in a string.",
    complexity: "O(N)",
    since: "2.6.0",
    group: Group::Bitmap,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "range",
            &[
                Arg::integer("start"),
                Arg::block(
                    "end-unit-block",
                    &[
                        Arg::integer("end"),
                        Arg::one_of(
                            "unit",
                            &[Arg::token("byte", "BYTE"), Arg::token("bit", "BIT")],
                        )
                        .optional()
                        .since("7.0.0"),
                    ],
                )
                .optional(),
            ],
        )
        .optional(),
    ],
    history: &[
        ("7.0.0", "Added the `BYTE|BIT` option."),
        (
            "8.0.0",
            "`end` made optional; when called without argument the command reports \
            the last BYTE.",
        ),
    ],
    handler: Handler::Shard(bitcount),
    ..Command::BASE
};

fn bitcount(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let part = Part::parse(args.tail(2))?;
    let key = context.key(args.at(1));
    let Some(value) = context.read(&key) else {
        reply.integer(0);
        return Ok(());
    };
    // Bounds that are both counted from the end name nothing in the wrong order, even where both
    // lie before the beginning.
    let reversed = part.end.is_some_and(|end| part.start < 0 && end < 0 && part.start > end);
    let count = value
        .with_bytes(|bytes| if reversed { 0 } else { bits::count(bytes, part.bits(bytes.len())) })
        .ok_or(CommandError::WrongType)?;
    reply.integer(count as i64);
    Ok(())
}

pub(super) const BITPOS: Command = Command {
    name: "bitpos",
    summary: "Finds the first set (1) or clear (0) bit in a string.",
    complexity: "O(N)",
    since: "2.8.7",
    group: Group::Bitmap,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("bit"),
        Arg::block(
            "range",
            &[
                Arg::integer("start"),
                Arg::block(
                    "end-unit-block",
                    &[
                        Arg::integer("end"),
                        Arg::one_of(
                            "unit",
                            &[Arg::token("byte", "BYTE"), Arg::token("bit", "BIT")],
                        )
                        .optional()
                        .since("7.0.0"),
                    ],
                )
                .optional(),
            ],
        )
        .optional(),
    ],
    history: &[("7.0.0", "Added the `BYTE|BIT` option.")],
    handler: Handler::Shard(bitpos),
    ..Command::BASE
};

fn bitpos(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let bit = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::Other("ERR The bit argument must be 1 or 0.")),
    };
    let part = Part::parse(args.tail(3))?;
    let key = context.key(args.at(1));
    let place = match context.read(&key) {
        // A missing key is an endless string of zeroes.
        None => (!bit).then_some(0),
        Some(value) => value
            .with_bytes(|bytes| find_in_part(bytes, bit, part))
            .ok_or(CommandError::WrongType)?,
    };
    reply.integer(place.map_or(-1, |place| place as i64));
    Ok(())
}

/// The first such bit of the part. Zeroes follow a string whose part has no end.
fn find_in_part(bytes: &[u8], bit: bool, part: Part) -> Option<u64> {
    let range = part.bits(bytes.len());
    if range.is_empty() {
        return None;
    }
    let beyond = range.end;
    bits::find(bytes, bit, range).or_else(|| (!bit && part.end.is_none()).then_some(beyond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_follow_a_string_only_where_no_end_is_given() {
        let from = |start, end| Part { start, end, unit: Unit::Byte };
        assert_eq!(find_in_part(b"\xff\xff", false, Part::ALL), Some(16));
        assert_eq!(find_in_part(b"\xff\xff", false, from(1, None)), Some(16));
        assert_eq!(find_in_part(b"\xff\xff", false, from(0, Some(-1))), None);
        assert_eq!(find_in_part(b"\xff\xff", false, from(2, None)), None);
        assert_eq!(find_in_part(b"", false, Part::ALL), None);
        assert_eq!(find_in_part(b"\x00\x00", true, Part::ALL), None);
        assert_eq!(find_in_part(b"\xff\xf0\x00", false, Part::ALL), Some(12));
    }
}
