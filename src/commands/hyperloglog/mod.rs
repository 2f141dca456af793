//! `HyperLogLog`: strings that estimate how many different elements they have seen.

mod count;
mod debug;
mod merge;

use kvasir_shard::hyperloglog::{Corrupt, Encoding, encoding};
use kvasir_shard::{Key, ValueRef};

use super::context::ShardContext;
use super::definition::Command;
use crate::errors::CommandError;
use crate::route::transaction::Portion;

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
    context.look(key).map(checked).transpose()
}

/// The value of a key for a command that reads it; `None` if there is none.
fn read<'a>(
    context: &'a mut ShardContext<'_>,
    key: &Key<'_>,
) -> Result<Option<(&'a [u8], Encoding)>, CommandError> {
    context.read(key).map(checked).transpose()
}

/// What went wrong with one of several keys, and the key's position in the request.
type Misread = (usize, CommandError);

/// Reads the keys of one shard in their order, until one fails.
fn in_order(
    portion: &Portion,
    mut read: impl FnMut(&[u8]) -> Result<(), CommandError>,
) -> Result<(), Misread> {
    for group in portion.groups() {
        read(group.key()).map_err(|error| (group.position, error))?;
    }
    Ok(())
}

/// What all shards found, or the error that a single server, reading the keys in their order,
/// would meet first.
fn all_or_first<T>(parts: Vec<Result<T, Misread>>) -> Result<Vec<T>, CommandError> {
    let (mut found, mut first) = (Vec::new(), None::<Misread>);
    for part in parts {
        match part {
            Ok(part) => found.push(part),
            Err(misread) if first.as_ref().is_none_or(|first| misread.0 < first.0) => {
                first = Some(misread);
            }
            Err(_) => {}
        }
    }
    first.map_or(Ok(found), |(_, error)| Err(error))
}
