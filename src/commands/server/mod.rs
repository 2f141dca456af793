//! Commands about the server: its configuration, its process, its place among others.

mod config;
mod debug;
mod lolwut;
mod module;
mod persistence;
mod process;
mod replication;
pub(crate) mod rewrite;
pub(crate) mod snapshot;

pub(crate) use self::process::shut_down_on;
use crate::commands::definition::Command;

/// The family's commands.
pub(super) const COMMANDS: &[&Command] = &[
    &persistence::BGREWRITEAOF,
    &persistence::BGSAVE,
    &config::CONFIG,
    &debug::DEBUG,
    &persistence::LASTSAVE,
    &lolwut::LOLWUT,
    &module::MODULE,
    &super::generic::RESTORE_ASKING,
    &replication::ROLE,
    &persistence::SAVE,
    &process::SHUTDOWN,
    &process::TIME,
    &replication::WAIT,
    &replication::WAITAOF,
];
