//! Scripts of clients.

mod eval;
mod script;

use super::definition::Command;

/// The family's commands, sorted by name.
pub(super) const COMMANDS: &[&Command] =
    &[&eval::EVAL, &eval::EVAL_RO, &eval::EVALSHA, &eval::EVALSHA_RO, &script::SCRIPT];
