//! What the arguments of list commands say: ends, indexes, spans and counts.

use kvasir_proto::number;
use kvasir_shard::End;

use crate::commands::arguments::{integer, is_word};
use crate::errors::CommandError;

/// The end that LEFT or RIGHT stands for.
pub(super) fn end_of_word(word: &[u8]) -> Result<End, CommandError> {
    if is_word(word, "LEFT") {
        Ok(End::Front)
    } else if is_word(word, "RIGHT") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

/// The event of popping at an end.
pub(super) fn pop_event(end: End) -> &'static str {
    match end {
        End::Front => "lpop",
        End::Back => "rpop",
    }
}

/// The command that pops at an end.
pub(super) fn pop_command(end: End) -> &'static str {
    match end {
        End::Front => "LPOP",
        End::Back => "RPOP",
    }
}

/// The event of pushing at an end.
pub(super) fn push_event(end: End) -> &'static str {
    match end {
        End::Front => "lpush",
        End::Back => "rpush",
    }
}

/// The place of an index, negative ones counted from the end; `None` outside the list.
pub(super) fn place(index: i64, len: usize) -> Option<usize> {
    let place = if index < 0 {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
    } else {
        usize::try_from(index).ok()?
    };
    (place < len).then_some(place)
}

/// Some elements in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Span {
    /// From `start` to `stop`, both included and negative ones counted from the end, as far as the
    /// list goes.
    pub(super) fn new(start: i64, stop: i64, len: usize) -> Self {
        let len = len as i64;
        let from_start = |index: i64| if index < 0 { len.saturating_add(index) } else { index };
        let first = from_start(start).max(0);
        let last = from_start(stop).min(len - 1);
        if first > last {
            return Self { first: 0, count: 0 };
        }
        Self { first: first as usize, count: (last - first + 1) as usize }
    }
}

/// A number of elements to pop, which may be zero.
pub(super) fn pop_count(argument: &[u8]) -> Result<usize, CommandError> {
    number::parse_i64(argument)
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(CommandError::Other("ERR value is out of range, must be positive"))
}

/// A number that must be positive; anything else is answered with `error`.
pub(super) fn positive(argument: &[u8], error: &'static str) -> Result<usize, CommandError> {
    number::parse_i64(argument)
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or(CommandError::Other(error))
}

/// An integer that has an opposite.
pub(super) fn symmetric_integer(argument: &[u8]) -> Result<i64, CommandError> {
    match integer(argument)? {
        i64::MIN => Err(CommandError::Other(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        )),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_count_from_either_end() {
        assert_eq!(place(0, 3), Some(0));
        assert_eq!(place(-1, 3), Some(2));
        assert_eq!(place(-3, 3), Some(0));
        for outside in [3, -4, i64::MIN, i64::MAX] {
            assert_eq!(place(outside, 3), None, "{outside}");
        }
        assert_eq!(place(0, 0), None);
        assert_eq!(place(-1, 0), None);
    }

    #[test]
    fn spans_are_cut_to_the_list() {
        let span = |start, stop, len| {
            let Span { first, count } = Span::new(start, stop, len);
            (first, count)
        };
        assert_eq!(span(0, -1, 5), (0, 5));
        assert_eq!(span(1, 2, 5), (1, 2));
        assert_eq!(span(-3, -2, 5), (2, 2));
        assert_eq!(span(-100, 100, 5), (0, 5));
        assert_eq!(span(i64::MIN, i64::MAX, 5), (0, 5));
        for nothing in [(3, 1), (5, 9), (0, -6), (-1, -2)] {
            assert_eq!(span(nothing.0, nothing.1, 5).1, 0, "{nothing:?}");
        }
        assert_eq!(span(0, -1, 0).1, 0);
    }
}
