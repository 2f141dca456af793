//! Commands about the connection itself.

mod client;
mod handshake;
mod liveness;
mod session;

use crate::commands::definition::Command;

/// The family's commands.
pub(super) const COMMANDS: &[&Command] = &[
    &handshake::AUTH,
    &client::CLIENT,
    &liveness::ECHO,
    &handshake::HELLO,
    &liveness::PING,
    &session::QUIT,
    &session::RESET,
    &session::SELECT,
];
