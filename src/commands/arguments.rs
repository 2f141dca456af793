//! Reading arguments: numbers, option words, and expiries, with the peers' errors.

use kvasir_proto::{Args, number};

use crate::errors::CommandError;

/// An argument as an integer.
pub fn integer(bytes: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(bytes).ok_or(CommandError::NotAnInteger)
}

/// An argument as the index of one of so many databases.
pub fn database(bytes: &[u8], databases: u32) -> Result<u32, CommandError> {
    let index = i32::try_from(integer(bytes)?).map_err(|_| {
        CommandError::Other(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )
    })?;
    u32::try_from(index)
        .ok()
        .filter(|index| *index < databases)
        .ok_or(CommandError::DatabaseOutOfRange)
}

/// An argument as a cursor: what C's `strtoull` reads to the end, but for plain negative numbers,
/// as in the peers.
pub fn cursor(bytes: &[u8]) -> Result<u64, CommandError> {
    const INVALID: CommandError = CommandError::Other("ERR invalid cursor");
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if let Some(number) = number::parse_i64(text) {
        return u64::try_from(number).map_err(|_| INVALID);
    }
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return Err(INVALID);
    }
    let magnitude = digits.iter().try_fold(0_u64, |magnitude, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        magnitude.checked_mul(10)?.checked_add(u64::from(digit))
    });
    let magnitude = magnitude.ok_or(INVALID)?;
    Ok(if is_negative { magnitude.wrapping_neg() } else { magnitude })
}

/// Whether an argument is this word, whatever its case.
pub fn is_word(bytes: &[u8], word: &str) -> bool {
    bytes.eq_ignore_ascii_case(word.as_bytes())
}

/// The optional words after a command's fixed arguments, read one after the other.
pub struct Options<'a> {
    args: Args<'a>,
    at: usize,
}

impl<'a> Options<'a> {
    /// The arguments from `first` on.
    pub fn new(args: Args<'a>, first: usize) -> Self {
        Self { args, at: first }
    }

    /// The next argument, if there is one.
    #[expect(clippy::should_implement_trait, reason = "it is read with values in between")]
    pub fn next(&mut self) -> Option<&'a [u8]> {
        let argument = self.args.get(self.at)?;
        self.at += 1;
        Some(argument)
    }

    /// The value that must follow an option word.
    pub fn value(&mut self) -> Result<&'a [u8], CommandError> {
        self.next().ok_or(CommandError::Syntax)
    }

    /// Passes over arguments, of which as many must be left.
    pub fn skip(&mut self, count: usize) {
        assert!(count <= self.left(), "only arguments that are left can be passed over");
        self.at += count;
    }

    /// How many arguments are left.
    pub fn left(&self) -> usize {
        self.args.len() - self.at
    }
}

/// The unit and the origin of an expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpiryUnit {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Milliseconds,
    /// `EXAT`: seconds of the Unix epoch.
    UnixSeconds,
    /// `PXAT`: milliseconds of the Unix epoch.
    UnixMilliseconds,
}

impl ExpiryUnit {
    /// The unit that an option word stands for.
    pub fn of_word(word: &[u8]) -> Option<Self> {
        [
            ("EX", Self::Seconds),
            ("PX", Self::Milliseconds),
            ("EXAT", Self::UnixSeconds),
            ("PXAT", Self::UnixMilliseconds),
        ]
        .into_iter()
        .find_map(|(name, unit)| is_word(word, name).then_some(unit))
    }

    /// The deadline in milliseconds of the Unix epoch; `None` when it overflows.
    pub fn deadline(self, amount: i64, now_ms: u64) -> Option<i64> {
        let ms = match self {
            Self::Seconds | Self::UnixSeconds => amount.checked_mul(1000)?,
            Self::Milliseconds | Self::UnixMilliseconds => amount,
        };
        match self {
            Self::Seconds | Self::Milliseconds => ms.checked_add(i64::try_from(now_ms).ok()?),
            Self::UnixSeconds | Self::UnixMilliseconds => Some(ms),
        }
    }

    /// The deadline of an option such as SET's `EX`: the amount must be positive.
    pub fn positive_deadline(
        self,
        amount: &[u8],
        now_ms: u64,
        command: &'static str,
    ) -> Result<u64, CommandError> {
        let amount = integer(amount)?;
        let deadline = if amount > 0 { self.deadline(amount, now_ms) } else { None };
        deadline
            .and_then(|deadline| u64::try_from(deadline).ok())
            .ok_or(CommandError::InvalidExpire(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_the_peers_read_them() {
        for (text, expected) in [
            (&b"0"[..], Some(0)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"-0", Some(0)),
            (b"+7", Some(7)),
            (b" 7", Some(7)),
            (b"007", Some(7)),
            (b"7\0x", Some(7)),
            (b"-7", None),
            (b"7 ", None),
            (b"", None),
            (b"+", None),
            (b"18446744073709551616", None),
        ] {
            assert_eq!(cursor(text).ok(), expected, "{text:?}");
        }
    }
}
