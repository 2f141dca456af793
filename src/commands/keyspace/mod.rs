//! Commands about databases as a whole.

mod flush;
mod size;
mod swap;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] =
    &[&size::DBSIZE, &flush::FLUSHALL, &flush::FLUSHDB, &swap::SWAPDB];
