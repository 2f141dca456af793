//! The commands: one definition each, beside its handler, in a family's topic file.
//!
//! | module | what it holds |
//! |---|---|
//! | [`arguments`] | reading numbers, option words and expiries |
//! | [`definition`] | the types of a definition |
//! | [`context`] | what handlers are given |
//! | [`effect`] | what they log in place of requests |
//! | [`table`] | every command by name and by id, with what follows from its definition |
//! | [`keys`] | finding a request's keys |
//! | [`help`] | the replies of the `HELP` subcommands |
//! | [`page`] | the page of commands in `docs/` |
//! | the others | a family of commands each |
//!
//! Invariant: nothing about a command is written twice. Dispatch, arity errors, `COMMAND`, ACL
//! categories, routing, the page of commands and the tests' generators read the definitions.

pub mod arguments;
pub mod context;
pub mod definition;
pub mod effect;
pub mod element_expiry;
pub mod element_names;
pub mod element_scan;
pub mod help;
pub mod keys;
mod names;
pub mod page;
pub mod table;

mod bitmap;
mod command;
mod connection;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod keyspace;
mod list;
mod observe;
mod pubsub;
mod scripting;
pub(crate) mod server;
mod set;
mod stream;
mod string;
mod transactions;
mod zset;

#[cfg(test)]
mod tests;

use definition::Command;

/// Commands that belong together, and a module that holds them.
pub struct Family {
    /// The module's name.
    pub name: &'static str,
    /// The commands, sorted by name. Subcommands are found through their containers.
    pub commands: &'static [&'static Command],
}

/// Every family, sorted by name.
pub const FAMILIES: &[Family] = &[
    Family { name: "bitmap", commands: bitmap::COMMANDS },
    Family { name: "command", commands: command::COMMANDS },
    Family { name: "connection", commands: connection::COMMANDS },
    Family { name: "generic", commands: generic::COMMANDS },
    Family { name: "geo", commands: geo::COMMANDS },
    Family { name: "hash", commands: hash::COMMANDS },
    Family { name: "hyperloglog", commands: hyperloglog::COMMANDS },
    Family { name: "keyspace", commands: keyspace::COMMANDS },
    Family { name: "list", commands: list::COMMANDS },
    Family { name: "observe", commands: observe::COMMANDS },
    Family { name: "pubsub", commands: pubsub::COMMANDS },
    Family { name: "scripting", commands: scripting::COMMANDS },
    Family { name: "server", commands: server::COMMANDS },
    Family { name: "set", commands: set::COMMANDS },
    Family { name: "stream", commands: stream::COMMANDS },
    Family { name: "string", commands: string::COMMANDS },
    Family { name: "transactions", commands: transactions::COMMANDS },
    Family { name: "zset", commands: zset::COMMANDS },
];
