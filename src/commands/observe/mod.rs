//! Commands that observe the server: `INFO` and its relatives.

mod command_log;
mod info;
mod latency;
mod memory;
mod monitor;

use crate::commands::definition::Command;

/// The commands of this family.
pub(super) const COMMANDS: &[&Command] = &[
    &command_log::COMMANDLOG,
    &info::INFO,
    &latency::LATENCY,
    &memory::MEMORY,
    &monitor::MONITOR,
    &command_log::SLOWLOG,
];
