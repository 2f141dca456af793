//! The fields or members that a command names as `FIELDS count field ...`, `MEMBERS count ...`.

use kvasir_proto::Args;

use crate::commands::arguments::{integer, is_word};
use crate::errors::CommandError;

/// How a family names its elements.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// The word before the count.
    pub word: &'static str,
    mismatch: &'static str,
}

/// Fields of hashes.
pub const FIELDS: Naming = Naming {
    word: "FIELDS",
    mismatch: "ERR numfields should be greater than 0 and match the provided number of fields",
};

/// Members of sets and sorted sets.
pub const MEMBERS: Naming = Naming {
    word: "MEMBERS",
    mismatch: "ERR nummembers should be greater than 0 and match the provided number of members",
};

impl Naming {
    /// The count and what follows it do not agree.
    pub const fn mismatch(&self) -> CommandError {
        CommandError::Other(self.mismatch)
    }

    /// Where the word stands, from argument `first` on. Something must follow it.
    pub fn position(&self, args: Args<'_>, first: usize) -> Option<usize> {
        (first..args.len().saturating_sub(1)).find(|at| is_word(args.at(*at), self.word))
    }

    /// The arguments after the count at `at`: so many times `stride` of them must follow, and no
    /// more.
    pub fn counted<'a>(
        &self,
        args: Args<'a>,
        at: usize,
        stride: usize,
    ) -> Result<Args<'a>, CommandError> {
        let count = integer(args.at(at))?;
        let given = args.len() - at - 1;
        let wanted = usize::try_from(count).ok().and_then(|count| count.checked_mul(stride));
        if count > 0 && wanted == Some(given) {
            Ok(args.tail(at + 1))
        } else {
            Err(self.mismatch())
        }
    }

    /// The elements of a command whose third argument is the word.
    pub fn third<'a>(&self, args: Args<'a>) -> Result<Args<'a>, CommandError> {
        if !is_word(args.at(2), self.word) {
            return Err(CommandError::Syntax);
        }
        self.counted(args, 3, 1)
    }
}
