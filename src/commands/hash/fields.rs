//! The fields that a command names as `FIELDS count field ...`.

use kvasir_proto::Args;

use crate::commands::arguments::{integer, is_word};
use crate::errors::CommandError;

/// The count and what follows it do not agree.
pub(super) const MISMATCH: CommandError = CommandError::Other(
    "ERR numfields should be greater than 0 and match the provided number of fields",
);

/// Where the word `FIELDS` stands, from argument `first` on. Something must follow it.
pub(super) fn position(args: Args<'_>, first: usize) -> Option<usize> {
    (first..args.len().saturating_sub(1)).find(|at| is_word(args.at(*at), "FIELDS"))
}

/// The arguments after the count at `at`: so many times `stride` of them must follow, and no more.
pub(super) fn counted(args: Args<'_>, at: usize, stride: usize) -> Result<Args<'_>, CommandError> {
    let count = integer(args.at(at))?;
    let given = args.len() - at - 1;
    let wanted = usize::try_from(count).ok().and_then(|count| count.checked_mul(stride));
    if count > 0 && wanted == Some(given) { Ok(args.tail(at + 1)) } else { Err(MISMATCH) }
}

/// The fields of a command whose third argument is `FIELDS`.
pub(super) fn third(args: Args<'_>) -> Result<Args<'_>, CommandError> {
    if !is_word(args.at(2), "FIELDS") {
        return Err(CommandError::Syntax);
    }
    counted(args, 3, 1)
}
