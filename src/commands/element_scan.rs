//! What SSCAN, HSCAN and ZSCAN have in common: their cursor, options and reply.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::ValueRef;

use super::arguments::{Options, cursor, integer, is_word};
use crate::errors::CommandError;
use crate::glob;

/// Elements visited by a call that does not say how many.
const DEFAULT_COUNT: usize = 10;
/// Elements visited by one call at most, however many it asks for.
const COUNT_MAX: usize = 100_000;

/// Which of the commands it is, for the options that only one takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SSCAN.
    Set,
    /// HSCAN, which takes NOVALUES.
    Hash,
    /// ZSCAN, which takes NOSCORES.
    SortedSet,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct ElementScan<'a> {
    /// About how many elements to visit.
    pub count: usize,
    /// Whether to reply with the names alone.
    pub names_only: bool,
    pattern: Option<&'a [u8]>,
}

impl<'a> ElementScan<'a> {
    /// The cursor, which is checked before the key is looked at.
    pub fn cursor(args: Args<'_>) -> Result<u64, CommandError> {
        cursor(args.at(2))
    }

    /// The options, which are checked only for an existing key, as the peers do.
    pub fn parse(args: Args<'a>, kind: Kind) -> Result<Self, CommandError> {
        let mut scan = Self { count: DEFAULT_COUNT, names_only: false, pattern: None };
        let mut options = Options::new(args, 3);
        while let Some(word) = options.next() {
            if is_word(word, "COUNT") && options.left() > 0 {
                let count = integer(options.value()?)?;
                scan.count = usize::try_from(count).unwrap_or(0).min(COUNT_MAX);
                if scan.count == 0 {
                    return Err(CommandError::Syntax);
                }
            } else if is_word(word, "MATCH") && options.left() > 0 {
                scan.pattern = Some(options.value()?);
            } else if is_word(word, "NOVALUES") {
                if kind != Kind::Hash {
                    return Err(CommandError::Other(
                        "ERR NOVALUES option can only be used in HSCAN",
                    ));
                }
                scan.names_only = true;
            } else if is_word(word, "NOSCORES") {
                if kind != Kind::SortedSet {
                    return Err(CommandError::Other(
                        "ERR NOSCORES option can only be used in ZSCAN",
                    ));
                }
                scan.names_only = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(scan)
    }

    /// Whether an element of this name is asked for.
    pub fn includes(&self, name: ValueRef<'_>) -> bool {
        self.pattern.is_none_or(|pattern| {
            name.with_bytes(|bytes| glob::matches(pattern, bytes)).unwrap_or(false)
        })
    }

    /// Replies with the cursor to go on from and `count` items that are encoded already.
    pub fn reply(next: u64, count: usize, items: &[u8], reply: &mut Encoder<'_>) {
        reply.array(2);
        reply.bulk(next.to_string().as_bytes());
        reply.array(count);
        reply.raw(items);
    }

    /// The reply for a missing key.
    pub fn reply_nothing(reply: &mut Encoder<'_>) {
        Self::reply(0, 0, b"", reply);
    }
}
