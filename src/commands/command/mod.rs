//! `COMMAND`: what the commands are, for clients.

mod docs;
mod getkeys;
mod info;
mod list;

use crate::commands::definition::Command;

pub(super) const COMMANDS: &[&Command] = &[&info::COMMAND];
