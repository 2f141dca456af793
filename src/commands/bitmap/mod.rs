//! Strings as arrays of bits.

mod bits;
mod count;
mod field;
mod integer;
mod operation;
mod set;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &count::BITCOUNT,
    &field::BITFIELD,
    &field::BITFIELD_RO,
    &operation::BITOP,
    &count::BITPOS,
    &set::GETBIT,
    &set::SETBIT,
];
