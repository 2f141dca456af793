//! The arguments of XREAD and XREADGROUP.

use kvasir_proto::Args;

use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::definition::Patience;
use crate::commands::stream::ids::count;
use crate::errors::CommandError;

/// Which of the two commands it is: what they may be asked for differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// XREAD.
    Plain,
    /// XREADGROUP.
    Group,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "xread",
            Self::Group => "xreadgroup",
        }
    }
}

/// What is asked for, without the streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) kind: Kind,
    /// Entries of each stream, at most.
    pub(super) count: Option<u64>,
    /// Group and consumer; empty for XREAD.
    pub(super) group: (&'a [u8], &'a [u8]),
    pub(super) no_ack: bool,
    /// How long entries must be idle to be claimed too.
    pub(super) claim: Option<u64>,
    /// Whether it waits if there is nothing.
    pub(super) waits: bool,
}

/// What may be replied in all, over all streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Budget {
    /// Entries.
    pub(super) entries: u64,
    /// Bytes of the reply. The first entry is always within.
    pub(super) bytes: u64,
}

impl Budget {
    /// No limit.
    pub(super) const ALL: Self = Self { entries: u64::MAX, bytes: u64::MAX };
}

/// A whole request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadArgs<'a> {
    pub(super) read: Read<'a>,
    pub(super) budget: Budget,
    pub(super) patience: Patience,
    /// The argument of the first key. The first identifier is `streams` arguments further on.
    pub(super) first_key: usize,
    /// How many streams there are.
    pub(super) streams: usize,
}

impl<'a> ReadArgs<'a> {
    pub(super) fn parse(args: Args<'a>, kind: Kind) -> Result<Self, CommandError> {
        let mut group = None;
        let read =
            Read { kind, count: None, group: (b"", b""), no_ack: false, claim: None, waits: false };
        let mut parsed =
            Self { read, budget: Budget::ALL, patience: Patience::None, first_key: 0, streams: 0 };
        let mut words = Options::new(args, 1);
        while let Some(word) = words.next() {
            if is_word(word, "STREAMS") && words.left() > 0 {
                parsed.first_key = args.len() - words.left();
                parsed.streams = streams(words.left(), kind)?;
                break;
            }
            if is_word(word, "GROUP") && words.left() >= 2 {
                only_with_group(kind, "GROUP")?;
                group = Some((words.value()?, words.value()?));
            } else if is_word(word, "NOACK") {
                only_with_group(kind, "NOACK")?;
                parsed.read.no_ack = true;
            } else if words.left() == 0 || !parsed.read_value(word, &mut words)? {
                return Err(CommandError::Syntax);
            }
        }
        if parsed.first_key == 0 {
            return Err(CommandError::Syntax);
        }
        parsed.read.waits = parsed.patience != Patience::None;
        if kind == Kind::Group {
            parsed.read.group =
                group.ok_or(CommandError::Other("ERR Missing GROUP option for XREADGROUP"))?;
        }
        Ok(parsed)
    }

    /// Reads an option that has a value, if this word is one.
    fn read_value(&mut self, word: &[u8], words: &mut Options<'_>) -> Result<bool, CommandError> {
        if is_word(word, "BLOCK") {
            self.patience = Patience::of_milliseconds(words.value()?)?;
        } else if is_word(word, "COUNT") {
            self.read.count = Some(count(words.value()?)?).filter(|count| *count > 0);
        } else if is_word(word, "MAXCOUNT") {
            self.budget.entries = limit(words.value()?, "ERR MAXCOUNT must be > 0")?;
        } else if is_word(word, "MAXSIZE") {
            self.budget.bytes = limit(words.value()?, "ERR MAXSIZE must be > 0")?;
        } else if is_word(word, "CLAIM") {
            only_with_group(self.read.kind, "CLAIM")?;
            self.read.claim = Some(claim_idle(words.value()?)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// How many streams so many arguments after `STREAMS` name.
fn streams(arguments: usize, kind: Kind) -> Result<usize, CommandError> {
    if arguments.is_multiple_of(2) {
        return Ok(arguments / 2);
    }
    let (name, symbol) = (kind.name(), if kind == Kind::Group { '>' } else { '$' });
    Err(CommandError::Custom(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be \
        specified."
    )))
}

fn only_with_group(kind: Kind, option: &str) -> Result<(), CommandError> {
    if kind == Kind::Group {
        return Ok(());
    }
    Err(CommandError::Custom(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    )))
}

fn limit(text: &[u8], error: &'static str) -> Result<u64, CommandError> {
    u64::try_from(integer(text)?).ok().filter(|limit| *limit > 0).ok_or(CommandError::Other(error))
}

fn claim_idle(text: &[u8]) -> Result<u64, CommandError> {
    let idle =
        integer(text).map_err(|_| CommandError::Other("ERR min-idle-time is not an integer"))?;
    u64::try_from(idle)
        .map_err(|_| CommandError::Other("ERR min-idle-time must be a positive integer"))
}
