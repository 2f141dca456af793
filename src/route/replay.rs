//! The core's part of loading a log: its commands run as those of a connection of their own.
//!
//! The connection belongs to no socket and is not shown to clients. What its requests wait for
//! holds them back as it would a client's, so that a log runs on all shards at once and in order.
//! Its replies are looked through for errors, and thrown away: a log has only what has succeeded
//! before.

use super::connection::{Blocked, Connection};
use super::core::{Core, CoreState};
use super::engine::{Close, ConnectionKey, SocketInfo, Wake};
use crate::persist::aof::replay::{ReplayEnd, ReplayPort, Replayed};
use crate::persist::load::Port;

/// How soon the core looks again whether something has been read, microseconds.
const POLL_US: u64 = 200;
/// Errors that are told one by one.
const ERRORS_TOLD: u64 = 10;
/// The client that a log is; no other gets this number.
const CLIENT: u64 = u64::MAX;

/// A log that is being replayed.
#[derive(Debug)]
pub struct Replay {
    port: ReplayPort,
    connection: Option<ConnectionKey>,
    /// All commands have been taken; to be dropped when all have been done.
    end: Option<ReplayEnd>,
    errors: u64,
}

impl Replay {
    /// What comes through this port.
    pub fn new(port: ReplayPort) -> Self {
        Self { port, connection: None, end: None, errors: 0 }
    }
}

/// Whether this is the client that a log is.
pub(super) fn is_replay(client: u64) -> bool {
    client == CLIENT
}

impl Connection {
    /// Whether this is the connection of a log.
    pub fn is_replay(&self) -> bool {
        is_replay(self.client.id)
    }
}

impl CoreState {
    /// Gets ready for a log: nothing expires from now on, and nobody else is served.
    pub fn expect_replay(&mut self) {
        self.loading = true;
        self.replaying = true;
        self.shard.suspend_expiry(true);
    }

    /// Begins with a log, of which the first core runs the commands. Nothing is logged again.
    pub fn begin_replay(&mut self, port: Port, replay: Option<Replay>) {
        self.load_port = Some(port);
        self.replay = replay;
        self.follow_log();
    }

    /// Whether this is the connection of the log that is being replayed.
    pub(super) fn is_replay(&self, key: ConnectionKey) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.connection == Some(key))
    }

    fn open_replay(&mut self) -> ConnectionKey {
        let mut connection =
            Connection::new(CLIENT, SocketInfo::none(), self.now.monotonic_us, true);
        connection.client.no_evict = true;
        ConnectionKey(self.connections.insert(connection) as u32)
    }

    fn close_replay(&mut self, key: ConnectionKey) {
        self.discard(key);
        let connection = self.connections.remove(key.0 as usize);
        self.forget_client(&connection);
    }

    /// Looks through the replies of a log's commands.
    pub(super) fn take_replay_replies(&mut self, key: ConnectionKey) {
        let connection = &mut self.connections[key.0 as usize];
        if connection.close != Close::No {
            let reason = "a command of the log has closed its connection";
            self.shared.persistence.loading.fail(reason.to_owned());
        }
        let connection = &mut self.connections[key.0 as usize];
        let mut output = std::mem::take(&mut connection.output);
        let Some(replay) = &mut self.replay else { return };
        for error in errors(&output) {
            replay.errors += 1;
            if replay.errors <= ERRORS_TOLD {
                tracing::warn!("A command of the append-only log failed: {}", error.escape_ascii());
            }
        }
        output.clear();
        self.connections[key.0 as usize].output = output;
    }
}

impl Core {
    /// Runs commands of the log that is being loaded, if there are some; when to look again, while
    /// there may be more.
    pub(super) fn take_replayed(&mut self) -> Option<Wake> {
        let replay = self.state.replay.as_mut()?;
        let later = Some(Wake::At(self.state.now.monotonic_us + POLL_US));
        let key = match replay.connection {
            Some(key) => key,
            None => self.state.open_replay(),
        };
        let replay = self.state.replay.as_mut()?;
        replay.connection = Some(key);
        let connection = &mut self.state.connections[key.0 as usize];
        let is_idle = connection.blocked == Blocked::No && connection.input.is_empty();
        if !is_idle && connection.close == Close::No {
            return later;
        }
        let is_done = connection.in_order();
        if replay.end.is_none() {
            match replay.port.take() {
                Replayed::Nothing => return later,
                Replayed::File => {
                    connection.client.view.db = 0;
                    self.state.discard(key);
                    return Some(Wake::Now);
                }
                Replayed::Commands(text) => {
                    connection.input = text.into();
                    self.take_turn(key);
                    return Some(Wake::Now);
                }
                Replayed::End(end) => replay.end = Some(end),
            }
        }
        if !is_done {
            return later;
        }
        self.state.take_replay_replies(key);
        let errors = self.state.replay.take().map_or(0, |replay| replay.errors);
        if errors > ERRORS_TOLD {
            tracing::warn!("{errors} commands of the append-only log failed");
        }
        self.state.close_replay(key);
        None
    }
}

/// The errors among whole replies, those within others as well. O(n).
fn errors(replies: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = replies;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = rest.windows(2).position(|two| two == b"\r\n")?;
            let line = &rest[..end];
            rest = &rest[end + 2..];
            match line.first() {
                Some(b'-') => return Some(&line[1..]),
                Some(b'$') => {
                    let len = std::str::from_utf8(&line[1..]).ok()?.parse::<i64>().ok()?;
                    // A null has no text.
                    let text = usize::try_from(len).map_or(0, |len| len + 2);
                    rest = rest.get(text..)?;
                }
                _ => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_among_replies() {
        let replies = b"+OK\r\n-ERR one\r\n:5\r\n$-1\r\n$6\r\n-no\r\nx\r\n*2\r\n$0\r\n\r\n-WRONG two\r\n+x\r\n";
        let found: Vec<_> = errors(replies).collect();
        assert_eq!(found, [&b"ERR one"[..], b"WRONG two"]);
        assert_eq!(errors(b"").count() + errors(b"$9\r\nx").count() + errors(b"x").count(), 0);
    }
}
