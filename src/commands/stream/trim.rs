//! Cutting streams at their front: the options that XADD and XTRIM share, and XTRIM.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::{Id, NodeLimits, References, Stream, TrimHow, TrimTo, Trimming};

use super::access::{change, record};
use super::ids::id;
use super::logged::log_trimmed;
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::long::{LongWork, STEPS_MAX};

/// Blocks that an approximate trim removes at most, if no limit is given.
const BLOCKS_MAX: u64 = 100;
/// Its entries, where blocks are unlimited, and at most.
const ENTRIES_DEFAULT: u64 = 10_000;
const ENTRIES_MAX: u64 = 1_000_000;
/// Entries of one part of a trim: they go by the block, which is cheap.
pub(super) const ENTRIES_STEP: u64 = 8 * STEPS_MAX as u64;

/// What becomes of what groups refer to, as XADD, XTRIM, XDELEX and XACKDEL name it.
pub(super) fn references(word: &[u8]) -> Option<References> {
    [
        ("KEEPREF", References::Keep),
        ("DELREF", References::Delete),
        ("ACKED", References::Acknowledged),
    ]
    .into_iter()
    .find_map(|(name, references)| is_word(word, name).then_some(references))
}

/// What is to be cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trim {
    pub(super) to: TrimTo,
    pub(super) how: TrimHow,
    pub(super) references: References,
}

impl Trim {
    /// The trim, to be done in parts.
    pub(super) fn begin(self) -> Trimming {
        Trimming::new(self.to, self.how, self.references)
    }
}

/// The options while they are read.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct TrimOptions {
    to: Option<TrimTo>,
    approximate: bool,
    limit: Option<u64>,
    references: References,
}

impl TrimOptions {
    /// Reads an option, if this word is one of trimming.
    pub(super) fn read(
        &mut self,
        word: &[u8],
        words: &mut Options<'_>,
    ) -> Result<bool, CommandError> {
        if let Some(references) = references(word) {
            self.references = references;
            return Ok(true);
        }
        if words.left() == 0 {
            return Ok(false);
        }
        if is_word(word, "MAXLEN") {
            let len = integer(self.threshold(words)?)?;
            let len = u64::try_from(len)
                .map_err(|_| CommandError::Other("ERR The MAXLEN argument must be >= 0."))?;
            self.to = Some(TrimTo::Len(len));
        } else if is_word(word, "MINID") {
            self.to = Some(TrimTo::MinId(id(self.threshold(words)?)?));
        } else if is_word(word, "LIMIT") {
            let limit = u64::try_from(integer(words.value()?)?)
                .map_err(|_| CommandError::Other("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some(limit);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The value after `MAXLEN` or `MINID`, behind `=` or `~`.
    fn threshold<'a>(&mut self, words: &mut Options<'a>) -> Result<&'a [u8], CommandError> {
        if self.to.is_some() {
            return Err(CommandError::Other(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let value = words.value()?;
        self.approximate = value == b"~" && words.left() > 0;
        if self.approximate || (value == b"=" && words.left() > 0) {
            return words.value();
        }
        Ok(value)
    }

    /// What the options ask for, once all are read. The peers log an approximate trim as an exact
    /// one and leave its limit there, so that in a log a limit may be where it has no meaning.
    pub(super) fn finish(
        self,
        limits: NodeLimits,
        is_replayed: bool,
    ) -> Result<Option<Trim>, CommandError> {
        if self.to.is_none() && self.limit.is_some_and(|limit| limit > 0) {
            return Err(CommandError::Other(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if self.limit.is_some() && !self.approximate && !is_replayed {
            return Err(CommandError::Other(
                "ERR syntax error, LIMIT cannot be used without the special ~ option",
            ));
        }
        let Some(to) = self.to else { return Ok(None) };
        let how = if self.approximate {
            TrimHow::Blocks { entries_max: self.limit.unwrap_or_else(|| default_limit(limits)) }
        } else {
            TrimHow::Exact
        };
        Ok(Some(Trim { to, how, references: self.references }))
    }

    /// Whether anything is to be cut off.
    fn has_strategy(&self) -> bool {
        self.to.is_some()
    }
}

fn default_limit(limits: NodeLimits) -> u64 {
    match (limits.entries as u64).saturating_mul(BLOCKS_MAX) {
        0 => ENTRIES_DEFAULT,
        entries => entries.min(ENTRIES_MAX),
    }
}

pub(super) const XTRIM: Command = Command {
    name: "xtrim",
    summary: "Deletes messages from the beginning of a stream.",
    complexity: "O(N), with N being the number of evicted entries. Constant times are very \
        small however, since entries are organized in macro nodes containing \
        multiple entries that can be released with a single deallocation.",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(4),
    flags: Flags::WRITE,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "trim",
            &[
                Arg::one_of(
                    "strategy",
                    &[Arg::token("maxlen", "MAXLEN"), Arg::token("minid", "MINID").since("6.2.0")],
                ),
                Arg::one_of(
                    "operator",
                    &[Arg::token("equal", "="), Arg::token("approximately", "~")],
                )
                .optional(),
                Arg::string("threshold"),
                Arg::integer("count").after("LIMIT").optional().since("6.2.0"),
            ],
        ),
        REFERENCES,
    ],
    history: &[("6.2.0", "Added the `MINID` trimming strategy and the `LIMIT` option.")],
    handler: Handler::Shard(xtrim),
    ..Command::BASE
};

/// The argument that [`references`] reads.
pub(super) const REFERENCES: Arg = Arg::one_of(
    "condition",
    &[
        Arg::token("keepref", "KEEPREF"),
        Arg::token("delref", "DELREF"),
        Arg::token("acked", "ACKED"),
    ],
)
.optional()
.since("8.2.0");

fn xtrim(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mut options = TrimOptions::default();
    let mut words = Options::new(args, 2);
    while let Some(word) = words.next() {
        if !options.read(word, &mut words)? {
            return Err(CommandError::Syntax);
        }
    }
    if !options.has_strategy() && options.limit.unwrap_or(0) == 0 {
        return Err(CommandError::Other(
            "ERR syntax error, XTRIM must be called with a trimming strategy",
        ));
    }
    let trim = options.finish(context.shard.node_limits(), context.shard.is_replaying())?;
    let key = context.key(args.at(1));
    let exists = context.shard.stream_at(context.db, &key, false)?.is_some();
    match trim.filter(|_| exists) {
        Some(trim) => context.run_long(Cutting::new(trim), args, reply),
        None => reply.integer(0),
    }
    Ok(())
}

/// A trim in parts, so that no number of entries holds up the core.
pub(super) struct Cutting {
    trimming: Trimming,
    /// The entry behind whose addition it comes, which has been replied; without one, the number
    /// of entries removed is the reply.
    added: Option<Id>,
}

impl Cutting {
    /// A trim whose reply is the number of entries removed.
    fn new(trim: Trim) -> Self {
        Self { trimming: trim.begin(), added: None }
    }

    /// The rest of a trim behind the addition of an entry, which is logged with it.
    pub(super) fn after(trimming: Trimming, added: Id) -> Self {
        Self { trimming, added: Some(added) }
    }
}

impl LongWork for Cutting {
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool {
        let key = context.key(args.at(1));
        let before = self.trimming.removed();
        let part = |stream: &mut Stream| stream.trim_part(&mut self.trimming, ENTRIES_STEP);
        let goes_on = change(context, &key, part).ok().flatten().unwrap_or(false);
        let removed = self.trimming.removed();
        if removed > before {
            // One event, whatever the number of parts.
            let events: &[&str] = if before == 0 { &["xtrim"] } else { &[] };
            let changes = if self.added.is_none() { removed - before } else { 0 };
            record(context, &key, events, changes);
        }
        // Only at the end it is known what it has come to.
        context.log_nothing();
        if goes_on {
            return true;
        }
        if removed > 0 || self.added.is_some() {
            log_trimmed(context, args, self.added);
        }
        if self.added.is_none() {
            reply.integer(removed as i64);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limit_is_a_hundred_blocks_within_bounds() {
        for (entries, expected) in [(100, 10_000), (0, 10_000), (1, 100), (1 << 40, 1_000_000)] {
            assert_eq!(default_limit(NodeLimits { bytes: 0, entries }), expected);
        }
    }
}
