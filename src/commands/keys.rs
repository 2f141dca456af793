//! Finding a request's keys.

use kvasir_proto::{Args, number};
use smallvec::SmallVec;

use super::definition::{BeginSearch, Command, FindKeys, Flags, KeyFlags, KeySpec};
use super::table::Entry;
use crate::errors::CommandError;

/// Finds keys that key specifications cannot tell, or what is done to them where that depends on
/// the arguments. It is given a whole request with an acceptable number of arguments, and calls
/// back for each key.
pub type KeyFinder = fn(Args<'_>, &mut dyn FnMut(usize, KeyFlags));

/// The keys of a request that tells their number, for a number that the specifications refuse and
/// the peers' own search takes nevertheless (`01`): as many as the argument at `count_at` says,
/// right after it, and then the one at `store_at`. None where there are not as many.
pub fn counted_keys(
    args: Args<'_>,
    count_at: usize,
    store_at: Option<usize>,
    found: &mut dyn FnMut(usize, KeyFlags),
) {
    let text = args.at(count_at);
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let count = std::str::from_utf8(&text[..digits]).ok().and_then(|digits| digits.parse().ok());
    let first = count_at + 1;
    let count: usize = count.unwrap_or(0);
    if count > 0 && count <= args.len() - first {
        (first..first + count).chain(store_at).for_each(|index| found(index, KeyFlags::NONE));
    }
}

/// The common forms of key specifications, recognized once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// No key.
    Keyless,
    /// One key, always at the same place.
    One(usize, KeyFlags),
    /// Anything else; the first key's place, if that is fixed.
    Specs(Option<usize>),
}

impl Layout {
    pub(super) fn of(command: &Command) -> Self {
        let mut real = command.keys.iter().filter(|spec| !spec.flags.has(KeyFlags::NOT_KEY));
        let Some(first) = real.next() else { return Self::Keyless };
        let BeginSearch::Index(index) = first.begin else { return Self::Specs(None) };
        let index = index as usize;
        match first.find {
            FindKeys::Range { last: 0, .. } if real.next().is_none() => {
                Self::One(index, first.flags)
            }
            FindKeys::Range { .. } => Self::Specs(Some(index)),
            FindKeys::KeyNum { first, .. } => Self::Specs(Some(index + first as usize)),
            FindKeys::Unknown => Self::Specs(None),
        }
    }

    pub(super) fn first_key(self) -> Option<usize> {
        match self {
            Self::Keyless => None,
            Self::One(index, _) => Some(index),
            Self::Specs(index) => index,
        }
    }
}

/// The keys of one specification in one request.
struct Run {
    first: usize,
    last: usize,
    step: usize,
    flags: KeyFlags,
}

/// The arguments do not fit the specifications.
struct Unfit;

impl Entry {
    /// Whether it can have keys.
    pub fn has_keys(&self) -> bool {
        !matches!(self.layout, Layout::Keyless)
    }

    /// Calls back with the place of each key and what the specification says is done to it.
    ///
    /// The request has an acceptable number of arguments. An error (the keys cannot be told, for
    /// example because their number is not a number) comes before the first call; the command, when
    /// executed, will answer with an error of its own. A command that may be called without keys
    /// has none then.
    #[inline]
    pub fn keys(
        &self,
        args: Args<'_>,
        mut found: impl FnMut(usize, KeyFlags),
    ) -> Result<(), CommandError> {
        match self.layout {
            Layout::Keyless => Ok(()),
            Layout::One(index, flags) if index < args.len() => {
                found(index, flags);
                Ok(())
            }
            _ => self.keys_by_specs(args, &mut found),
        }
    }

    /// Like [`Entry::keys`], with what is really done to each key where that depends on the
    /// arguments: for ACL rules and `COMMAND GETKEYSANDFLAGS`.
    pub fn keys_exactly(
        &self,
        args: Args<'_>,
        mut found: impl FnMut(usize, KeyFlags),
    ) -> Result<(), CommandError> {
        let varies = |spec: &KeySpec| spec.flags.has(KeyFlags::VARIABLE_FLAGS);
        match self.command.find_keys {
            Some(find) if self.command.keys.iter().any(varies) => {
                find(args, &mut found);
                Ok(())
            }
            _ => self.keys(args, found),
        }
    }

    #[cold]
    #[inline(never)]
    fn keys_by_specs(
        &self,
        args: Args<'_>,
        found: &mut dyn FnMut(usize, KeyFlags),
    ) -> Result<(), CommandError> {
        match (runs(self.command.keys, args), self.command.find_keys) {
            (Ok(runs), _) => {
                for run in runs {
                    let places = (run.first..=run.last).step_by(run.step);
                    places.for_each(|index| found(index, run.flags));
                }
                Ok(())
            }
            (Err(Unfit), Some(find)) => {
                find(args, found);
                Ok(())
            }
            (Err(Unfit), None) if self.command.flags.has(Flags::NO_MANDATORY_KEYS) => Ok(()),
            (Err(Unfit), None) => {
                Err(CommandError::Other("ERR Invalid arguments specified for command"))
            }
        }
    }
}

/// The keys of every specification, or nothing if one does not fit.
fn runs(specs: &[KeySpec], args: Args<'_>) -> Result<SmallVec<[Run; 3]>, Unfit> {
    let mut runs = SmallVec::new();
    for spec in specs.iter().filter(|spec| !spec.flags.has(KeyFlags::NOT_KEY)) {
        let first = match spec.begin {
            BeginSearch::Index(index) => i64::from(index),
            BeginSearch::Keyword { keyword, start_from } => {
                let Some(at) = find_keyword(keyword, start_from, args) else { continue };
                at as i64 + 1
            }
            BeginSearch::Unknown => return Err(Unfit),
        };
        runs.push(run(spec, first, args)?);
        if spec.flags.has(KeyFlags::INCOMPLETE) {
            return Err(Unfit);
        }
    }
    Ok(runs)
}

/// Where a word is, searched as the peers do: not in the last argument, which leaves no place for a
/// key, and backwards not in the first two.
fn find_keyword(keyword: &str, start_from: i32, args: Args<'_>) -> Option<usize> {
    let is_keyword = |&index: &usize| args.at(index).eq_ignore_ascii_case(keyword.as_bytes());
    let distance = start_from.unsigned_abs() as usize;
    let last = args.len().checked_sub(1)?;
    if start_from > 0 {
        (distance..last).find(is_keyword)
    } else {
        (2..=args.len().checked_sub(distance)?).rev().find(is_keyword)
    }
}

/// The keys that a specification tells, beginning at `first`.
fn run(spec: &KeySpec, first: i64, args: Args<'_>) -> Result<Run, Unfit> {
    let count = args.len() as i64;
    let (first, last, step) = match spec.find {
        FindKeys::Range { last, step, .. } if last >= 0 => (first, first + i64::from(last), step),
        FindKeys::Range { last, step, limit: 0 } => (first, count + i64::from(last), step),
        FindKeys::Range { last, step, limit } => {
            (first, first + (count - first) / i64::from(limit) + i64::from(last), step)
        }
        FindKeys::KeyNum { key_num, first: offset, step } => {
            let text = args.get((first + i64::from(key_num)) as usize).ok_or(Unfit)?;
            let keys = number::parse_i64(text).filter(|keys| *keys >= 0).ok_or(Unfit)?;
            let first = first + i64::from(offset);
            let distance = (keys - 1).saturating_mul(i64::from(step));
            (first, first.saturating_add(distance), step)
        }
        FindKeys::Unknown => return Err(Unfit),
    };
    if last >= count || last < first {
        return Err(Unfit);
    }
    Ok(Run { first: first as usize, last: last as usize, step: step as usize, flags: spec.flags })
}

#[cfg(test)]
mod tests {
    use kvasir_proto::{ArgRange, Args};

    use super::*;

    const RO: KeyFlags = KeyFlags::RO;

    fn places(specs: &[KeySpec], words: &[&str]) -> Option<Vec<usize>> {
        let text = words.concat();
        let mut ranges = Vec::new();
        let mut start = 0;
        for word in words {
            ranges.push(ArgRange { start, len: word.len() as u32 });
            start += word.len() as u32;
        }
        let runs = runs(specs, Args::new(text.as_bytes(), &ranges)).ok()?;
        Some(runs.into_iter().flat_map(|run| (run.first..=run.last).step_by(run.step)).collect())
    }

    #[test]
    fn ranges() {
        let one = [KeySpec::at(1).flags(RO)];
        assert_eq!(places(&one, &["get", "a"]), Some(vec![1]));
        let rest = [KeySpec::at(1).range(-1, 1, 0)];
        assert_eq!(places(&rest, &["del", "a", "b"]), Some(vec![1, 2]));
        let pairs = [KeySpec::at(1).range(-1, 2, 0)];
        assert_eq!(places(&pairs, &["mset", "a", "1", "b", "2"]), Some(vec![1, 3]));
        let but_last = [KeySpec::at(1).range(-2, 1, 0)];
        assert_eq!(places(&but_last, &["blpop", "a", "b", "0"]), Some(vec![1, 2]));
        assert_eq!(places(&but_last, &["blpop", "0"]), None);
        let two = [KeySpec::at(2), KeySpec::at(3).range(-1, 1, 0)];
        assert_eq!(places(&two, &["bitop", "and", "d", "a", "b"]), Some(vec![2, 3, 4]));
    }

    #[test]
    fn half_of_the_rest() {
        let streams = [KeySpec::after("STREAMS", 1).range(-1, 1, 2)];
        let words = ["xread", "count", "1", "streams", "a", "b", "0", "0"];
        assert_eq!(places(&streams, &words), Some(vec![4, 5]));
        assert_eq!(places(&streams, &["xread", "count", "1", "x"]), Some(vec![]));
        assert_eq!(places(&streams, &["xread", "count", "1", "streams"]), Some(vec![]));
    }

    #[test]
    fn counted() {
        let counted = [KeySpec::at(2).key_num(0, 1, 1)];
        assert_eq!(places(&counted, &["eval", "s", "2", "a", "b", "c"]), Some(vec![3, 4]));
        let pairs = [KeySpec::at(1).key_num(0, 1, 2)];
        assert_eq!(places(&pairs, &["msetex", "1", "a", "x"]), Some(vec![2]));
        let words = ["msetex", "2", "a", "x", "b", "y", "nx"];
        assert_eq!(places(&pairs, &words), Some(vec![2, 4]), "every key, not every argument");
        for count in ["0", "-1", "4", "x", "", "01", "9223372036854775807"] {
            assert_eq!(places(&counted, &["eval", "s", count, "a", "b", "c"]), None, "{count}");
        }
        assert_eq!(places(&counted, &["eval", "s"]), None);
    }

    #[test]
    fn after_a_word_searched_backwards() {
        let specs = [
            KeySpec::at(3),
            KeySpec::after("KEYS", -2).range(-1, 1, 0).flags(KeyFlags::INCOMPLETE),
        ];
        assert_eq!(places(&specs, &["migrate", "h", "1", "a", "0", "9"]), Some(vec![3]));
        let with = ["migrate", "h", "1", "", "0", "9", "keys", "a", "b"];
        assert_eq!(places(&specs, &with), None, "it has to be found otherwise");
        assert_eq!(places(&specs[1..], &["migrate", "KEYS", "1", "", "0", "9"]), Some(vec![]));
        assert_eq!(places(&specs, &["migrate", "h", "1", "a", "0", "KEYS"]), Some(vec![3]));
    }

    #[test]
    fn what_cannot_be_told() {
        assert_eq!(places(&[KeySpec::at(1), KeySpec::UNKNOWN], &["sort", "a"]), None);
        let channel = [KeySpec::at(1).flags(KeyFlags::NOT_KEY)];
        assert_eq!(places(&channel, &["spublish", "c", "m"]), Some(vec![]));
    }
}
