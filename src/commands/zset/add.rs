//! Members in: ZADD, ZINCRBY.

use kvasir_proto::{Args, Encoder};
use smallvec::SmallVec;

use super::bounds::score;
use crate::commands::arguments::is_word;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const ZADD: Command = Command {
    name: "zadd",
    summary: "Adds one or more members to a sorted set, or updates their scores. Creates the \
        key if it doesn't exist.",
    complexity: "O(log(N)) for each item added, where N is the number of elements in the \
        sorted set.",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of("condition", &[Arg::token("nx", "NX"), Arg::token("xx", "XX")])
            .optional()
            .since("3.0.2"),
        Arg::one_of("comparison", &[Arg::token("gt", "GT"), Arg::token("lt", "LT")])
            .optional()
            .since("6.2.0"),
        Arg::token("change", "CH").optional().since("3.0.2"),
        Arg::token("increment", "INCR").optional().since("3.0.2"),
        Arg::block("data", &[Arg::double("score"), Arg::string("member")]).multiple(),
    ],
    history: &[
        ("2.4.0", "Accepts multiple elements."),
        ("3.0.2", "Added the `XX`, `NX`, `CH` and `INCR` options."),
        ("6.2.0", "Added the `GT` and `LT` options."),
    ],
    handler: Handler::Shard(zadd),
    ..Command::BASE
};

/// Which members are changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::commands) enum Presence {
    #[default]
    Any,
    /// Those that are new.
    New,
    /// Those that are there.
    Existing,
}

/// To which scores members that are there are changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Comparison {
    #[default]
    Any,
    Greater,
    Less,
}

impl Comparison {
    fn allows(self, old: f64, new: f64) -> bool {
        match self {
            Self::Any => true,
            Self::Greater => new > old,
            Self::Less => new < old,
        }
    }
}

/// What an addition does, as ZADD's words or GEOADD say.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::commands) struct Addition {
    pub(in crate::commands) presence: Presence,
    comparison: Comparison,
    /// The score is added to the present one.
    increment: bool,
    /// Changed members are counted, not only new ones.
    pub(in crate::commands) count_changed: bool,
}

/// What came of it.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::commands) struct Added {
    new: u64,
    changed: u64,
    /// The score of the last member, unless it was left alone.
    last: Option<f64>,
}

impl Addition {
    /// Adds pairs of score and name to the set at a key, or changes nothing on an error.
    pub(in crate::commands) fn apply<'a>(
        self,
        context: &mut ShardContext<'_>,
        key: &[u8],
        pairs: impl Iterator<Item = (f64, &'a [u8])> + Clone,
    ) -> Result<Added, CommandError> {
        let key = context.key(key);
        let added = context.shard.update_zset(context.db, &key, |zset| {
            let mut added = Added::default();
            if self.presence == Presence::Existing && zset.view().is_empty() {
                return Ok(added);
            }
            let longest = pairs.clone().map(|(_, name)| name.len()).max();
            zset.expect(pairs.clone().count(), longest.unwrap_or(0))?;
            for (score, name) in pairs {
                let mut not_a_number = false;
                zset.set(name, |old| {
                    // A new member gets the increment itself, which may be a negative zero.
                    let base = old.filter(|_| self.increment);
                    let new = base.map_or(score, |base| base + score);
                    not_a_number = new.is_nan();
                    added.last = None;
                    if not_a_number || !self.allows(old, new) {
                        return None;
                    }
                    added.last = Some(new);
                    added.new += u64::from(old.is_none());
                    added.changed += u64::from(old.is_some() && old != Some(new));
                    Some(new)
                })?;
                if not_a_number {
                    let text = "ERR resulting score is not a number (NaN)";
                    return Err(CommandError::Other(text));
                }
            }
            if added.new + added.changed > 0 {
                zset.event(if self.increment { "zincr" } else { "zadd" });
            }
            Ok(added)
        })??;
        context.changed(added.new + added.changed);
        Ok(added)
    }

    /// Whether a member may get this score.
    fn allows(self, old: Option<f64>, new: f64) -> bool {
        match old {
            None => self.presence != Presence::Existing,
            Some(old) => self.presence != Presence::New && self.comparison.allows(old, new),
        }
    }

    /// What is replied of an addition that is no increment.
    pub(in crate::commands) fn count(self, added: Added) -> i64 {
        let changed = if self.count_changed { added.changed } else { 0 };
        (added.new + changed) as i64
    }
}

/// Reads ZADD's words; what they say, and where the pairs begin.
fn parse(args: Args<'_>) -> Result<(Addition, usize), CommandError> {
    let mut addition = Addition::default();
    let (mut presences_clash, mut comparisons_clash) = (false, false);
    let mut at = 2;
    while let Some(word) = args.get(at) {
        if let Some(presence) = presence(word) {
            presences_clash |= ![Presence::Any, presence].contains(&addition.presence);
            addition.presence = presence;
        } else if let Some(comparison) = comparison(word) {
            comparisons_clash |= ![Comparison::Any, comparison].contains(&addition.comparison);
            addition.comparison = comparison;
        } else if is_word(word, "CH") {
            addition.count_changed = true;
        } else if is_word(word, "INCR") {
            addition.increment = true;
        } else {
            break;
        }
        at += 1;
    }
    let rest = args.len() - at;
    if rest == 0 || rest % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    if presences_clash {
        let text = "ERR XX and NX options at the same time are not compatible";
        return Err(CommandError::Other(text));
    }
    let compares = addition.comparison != Comparison::Any;
    if comparisons_clash || compares && addition.presence == Presence::New {
        let text = "ERR GT, LT, and/or NX options at the same time are not compatible";
        return Err(CommandError::Other(text));
    }
    if addition.increment && rest > 2 {
        let text = "ERR INCR option supports a single increment-element pair";
        return Err(CommandError::Other(text));
    }
    Ok((addition, at))
}

/// The members that a word limits an addition to.
pub(in crate::commands) fn presence(word: &[u8]) -> Option<Presence> {
    if is_word(word, "NX") {
        Some(Presence::New)
    } else if is_word(word, "XX") {
        Some(Presence::Existing)
    } else {
        None
    }
}

fn comparison(word: &[u8]) -> Option<Comparison> {
    if is_word(word, "GT") {
        Some(Comparison::Greater)
    } else if is_word(word, "LT") {
        Some(Comparison::Less)
    } else {
        None
    }
}

fn zadd(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (addition, first) = parse(args)?;
    let pairs = args.tail(first);
    let scores: Result<SmallVec<[f64; 8]>, _> = pairs.iter().step_by(2).map(score).collect();
    let scores = scores?;
    let pairs = (0..scores.len()).map(|at| (scores[at], pairs.at(2 * at + 1)));
    let added = addition.apply(context, args.at(1), pairs)?;
    match (addition.increment, added.last) {
        (false, _) => reply.integer(addition.count(added)),
        (true, Some(score)) => reply.double(score),
        (true, None) => reply.null(),
    }
    Ok(())
}

pub(super) const ZINCRBY: Command = Command {
    name: "zincrby",
    summary: "Increments the score of a member in a sorted set.",
    complexity: "O(log(N)) where N is the number of elements in the sorted set.",
    since: "1.2.0",
    group: Group::SortedSet,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("increment"), Arg::string("member")],
    handler: Handler::Shard(zincrby),
    ..Command::BASE
};

fn zincrby(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let addition = Addition { increment: true, ..Addition::default() };
    let pair = (score(args.at(2))?, args.at(3));
    let added = addition.apply(context, args.at(1), std::iter::once(pair))?;
    reply.double(added.last.expect("invariant: without conditions every score is taken"));
    Ok(())
}
