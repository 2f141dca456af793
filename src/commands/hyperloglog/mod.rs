//! `HyperLogLog`: strings that estimate how many different elements they have seen.

mod count;
mod debug;
mod merge;

use kvasir_shard::hyperloglog::{Corrupt, Encoding, encoding};
use kvasir_shard::{Key, ValueRef};

use super::context::ShardContext;
use super::definition::Command;
use crate::errors::CommandError;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] =
    &[&count::PFADD, &count::PFCOUNT, &debug::PFDEBUG, &merge::PFMERGE, &debug::PFSELFTEST];

const NOT_OURS: CommandError =
    CommandError::Other("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPT: CommandError = CommandError::Other("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> Self {
        CORRUPT
    }
}

/// The bytes and the encoding of a value, which must be one of ours.
fn checked(value: ValueRef<'_>) -> Result<(&[u8], Encoding), CommandError> {
    match value {
        ValueRef::Collection(_) => Err(CommandError::WrongType),
        ValueRef::Int(_) => Err(NOT_OURS),
        ValueRef::Bytes(bytes) => Ok((bytes, encoding(bytes).ok_or(NOT_OURS)?)),
    }
}

/// The value of a key for a command that changes it; `None` if there is none.
fn look<'a>(
    context: &'a mut ShardContext<'_>,
    key: &Key<'_>,
) -> Result<Option<(&'a [u8], Encoding)>, CommandError> {
    context.shard.get(context.db, key).map(checked).transpose()
}

/// The value of a key for a command that reads it; `None` if there is none.
fn read<'a>(
    context: &'a mut ShardContext<'_>,
    key: &Key<'_>,
) -> Result<Option<(&'a [u8], Encoding)>, CommandError> {
    context.read(key).map(checked).transpose()
}
