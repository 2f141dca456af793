//! What sorted-set commands read and write alike: scores, bounds of ranges, pairs in replies.

use kvasir_proto::{Deferred, Encoder, Resp, number};
use kvasir_shard::{Direction, ValueRef, ZsetRef};

use crate::errors::CommandError;

/// A score or an increment: a number, infinities included.
pub(super) fn score(bytes: &[u8]) -> Result<f64, CommandError> {
    number::parse_f64(bytes).ok_or(CommandError::NotAFloat)
}

/// Members of a sorted set by rank: `start..end`, counted from the smallest score.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ranks {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Ranks {
    pub(super) fn count(self) -> usize {
        self.end.saturating_sub(self.start)
    }
}

/// An interval of indices, negative ones counted from the end, both inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexRange {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl IndexRange {
    /// The ranks in a set of `len` members.
    pub(super) fn ranks(self, len: usize) -> Ranks {
        let len = len as i64;
        let from_start = |index: i64| if index < 0 { len.saturating_add(index) } else { index };
        let start = from_start(self.first).max(0);
        let end = from_start(self.last).min(len - 1) + 1;
        if start >= end {
            return Ranks { start: 0, end: 0 };
        }
        Ranks { start: start as usize, end: end as usize }
    }
}

/// One end of an interval of scores.
#[derive(Clone, Copy, Debug)]
struct ScoreBound {
    value: f64,
    exclusive: bool,
}

impl ScoreBound {
    /// Reads a bound as the peers do, with C's rules: blanks may come first, what overflows is
    /// infinite, and nothing at all is zero.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (exclusive, text) = match bytes {
            [b'(', rest @ ..] => (true, rest),
            _ => (false, bytes),
        };
        if text.is_empty() {
            return Some(Self { value: 0.0, exclusive });
        }
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0B;
        let start = text.iter().position(|byte| !is_blank(byte))?;
        let text = &text[start..];
        let lenient = || std::str::from_utf8(text).ok()?.parse::<f64>().ok();
        let value = number::parse_f64(text).or_else(lenient).filter(|value| !value.is_nan())?;
        Some(Self { value, exclusive })
    }
}

/// An interval of scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoreRange {
    min: ScoreBound,
    max: ScoreBound,
}

impl ScoreRange {
    pub(super) fn parse(min: &[u8], max: &[u8]) -> Result<Self, CommandError> {
        let parsed = ScoreBound::parse(min).zip(ScoreBound::parse(max));
        let (min, max) = parsed.ok_or(CommandError::Other("ERR min or max is not a float"))?;
        Ok(Self { min, max })
    }

    /// The members with scores in it.
    pub(super) fn ranks(&self, zset: &ZsetRef<'_>) -> Ranks {
        let start = zset.before_score(self.min.value, self.min.exclusive);
        let end = zset.before_score(self.max.value, !self.max.exclusive);
        Ranks { start, end }
    }
}

/// One end of an interval of names.
#[derive(Clone, Copy, Debug)]
enum NameBound<'a> {
    Least,
    Greatest,
    Name { name: &'a [u8], exclusive: bool },
}

impl<'a> NameBound<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            // The peers look no further than a zero byte.
            [b'-'] | [b'-', 0, ..] => Some(Self::Least),
            [b'+'] | [b'+', 0, ..] => Some(Self::Greatest),
            [b'(', name @ ..] => Some(Self::Name { name, exclusive: true }),
            [b'[', name @ ..] => Some(Self::Name { name, exclusive: false }),
            _ => None,
        }
    }

    /// Whether a name is not below it.
    fn is_reached_by(&self, name: &[u8]) -> bool {
        match self {
            Self::Least => true,
            Self::Greatest => false,
            Self::Name { name: bound, exclusive: true } => name > *bound,
            Self::Name { name: bound, exclusive: false } => name >= *bound,
        }
    }

    /// Whether a name is not above it.
    fn reaches(&self, name: &[u8]) -> bool {
        match self {
            Self::Least => false,
            Self::Greatest => true,
            Self::Name { name: bound, exclusive: true } => name < *bound,
            Self::Name { name: bound, exclusive: false } => name <= *bound,
        }
    }

    /// How many members come before it; `exclude` says whether a member of the name does if the
    /// bound is exclusive, or if it is not.
    fn rank(&self, zset: &ZsetRef<'_>, counted_if_exclusive: bool) -> usize {
        match self {
            Self::Least => 0,
            Self::Greatest => zset.len(),
            Self::Name { name, exclusive } => {
                zset.before_name(name, *exclusive == counted_if_exclusive)
            }
        }
    }
}

/// So many members are passed through one by one; as many as small sets have by default.
const FEW_MEMBERS: usize = 128;

/// An interval of names, for sets whose members all have one score.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameRange<'a> {
    min: NameBound<'a>,
    max: NameBound<'a>,
}

impl<'a> NameRange<'a> {
    pub(super) fn parse(min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        let parsed = NameBound::parse(min).zip(NameBound::parse(max));
        let (min, max) =
            parsed.ok_or(CommandError::Other("ERR min or max not valid string range item"))?;
        Ok(Self { min, max })
    }

    /// The members with names in it, if all have one score. Where they have not, the peers promise
    /// nothing; of few members they take the first run of names in it, in the direction of the
    /// command, but for what chance has made of a skip list, and so does this.
    pub(super) fn ranks(&self, zset: &ZsetRef<'_>, direction: Direction) -> Ranks {
        let name_at = |rank| zset.at(rank).and_then(|(name, _)| name.to_vec()).unwrap_or_default();
        let may_meet = !zset.is_empty()
            && self.min.is_reached_by(&name_at(zset.len() - 1))
            && self.max.reaches(&name_at(0));
        if !may_meet {
            return Ranks { start: 0, end: 0 };
        }
        if zset.is_packed() || zset.len() <= FEW_MEMBERS {
            return self.first_run(zset, direction);
        }
        let start = self.min.rank(zset, true);
        Ranks { start, end: self.max.rank(zset, false).max(start) }
    }

    /// The members from the first beyond the nearer bound up to the first beyond the farther one.
    fn first_run(&self, zset: &ZsetRef<'_>, direction: Direction) -> Ranks {
        let within = |name: &[u8]| (self.min.is_reached_by(name), self.max.reaches(name));
        let (mut before, mut inside, mut over) = (0, 0, false);
        zset.visit_range(0, zset.len(), direction, |name, _| {
            let (above, below) = name.with_bytes(within).expect("invariant: a name is a string");
            let (begun, going_on) = match direction {
                Direction::Forward => (above, below),
                Direction::Backward => (below, above),
            };
            match (over, inside > 0 || begun) {
                (true, _) => {}
                (false, false) => before += 1,
                (false, true) if going_on => inside += 1,
                (false, true) => over = true,
            }
        });
        match direction {
            Direction::Forward => Ranks { start: before, end: before + inside },
            Direction::Backward => {
                let end = zset.len() - before;
                Ranks { start: end - inside, end }
            }
        }
    }
}

/// Writes a member's name.
#[inline]
pub(super) fn encode_name(name: ValueRef<'_>, reply: &mut Encoder<'_>) {
    match name {
        ValueRef::Int(value) => reply.bulk_integer(value),
        ValueRef::Bytes(bytes) => reply.bulk(bytes),
        ValueRef::Collection(_) => unreachable!("a name is a string"),
    }
}

/// How scores stand beside members in a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pairing {
    /// There are none.
    Names,
    /// Members and scores by turns, or in RESP3 an array of pairs.
    Scores,
}

impl Pairing {
    /// Begins the array for `count` members.
    pub(super) fn begin(self, count: usize, reply: &mut Encoder<'_>) {
        let is_flat = self == Self::Scores && reply.resp() == Resp::V2;
        reply.array(if is_flat { 2 * count } else { count });
    }

    /// Begins the array for members whose number [`Pairing::finish`] gives.
    pub(super) fn defer(self, reply: &mut Encoder<'_>) -> Deferred {
        // In RESP2 a map is an array of twice its length.
        let is_flat = self == Self::Scores && reply.resp() == Resp::V2;
        if is_flat { reply.defer_map() } else { reply.defer_array() }
    }

    /// Writes a member.
    #[inline]
    pub(super) fn encode(self, name: ValueRef<'_>, score: f64, reply: &mut Encoder<'_>) {
        if self == Self::Names {
            encode_name(name, reply);
            return;
        }
        if reply.resp() == Resp::V3 {
            reply.array(2);
        }
        encode_name(name, reply);
        reply.double(score);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_with_the_rules_of_c() {
        let value = |text: &str| {
            ScoreBound::parse(text.as_bytes()).map(|bound| (bound.value, bound.exclusive))
        };
        for (text, expected) in [
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            (" 1", Some((1.0, false))),
            ("1 ", None),
            ("(1.5", Some((1.5, true))),
            ("1e400", Some((f64::INFINITY, false))),
            ("-1e400", Some((f64::NEG_INFINITY, false))),
            ("1e-400", Some((0.0, false))),
            ("0x10", Some((16.0, false))),
            ("+inf", Some((f64::INFINITY, false))),
            ("nan", None),
            ("x", None),
            (" ", None),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn indices_count_from_both_ends() {
        let ranks = |first, last, len| {
            let Ranks { start, end } = IndexRange { first, last }.ranks(len);
            start..end
        };
        assert_eq!(ranks(0, -1, 5), 0..5);
        assert_eq!(ranks(-3, -2, 5), 2..4);
        assert_eq!(ranks(-100, 100, 5), 0..5);
        assert_eq!(ranks(3, 1, 5), 0..0);
        assert_eq!(ranks(5, 9, 5), 0..0);
        assert_eq!(ranks(i64::MIN, i64::MAX, 5), 0..5);
        assert_eq!(ranks(i64::MAX, i64::MIN, 5), 0..0);
        assert_eq!(ranks(0, -1, 0), 0..0);
    }
}
