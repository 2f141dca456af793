//! Hashes.

mod field;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[&field::HGET, &field::HSET];
