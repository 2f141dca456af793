//! Commands that observe the server: `INFO` and its relatives.

mod info;

use crate::commands::definition::Command;

/// The commands of this family.
pub(super) const COMMANDS: &[&Command] = &[&info::INFO];
