//! Connections come and go; monitors are fed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvasir_proto::Args;

use super::blocking::Ending;
use super::connection::{Blocked, Connection};
use super::core::{Core, CoreState};
use super::engine::{Close, ConnectionKey, ShardId, SocketInfo};
use super::message::{Control, Done, ReplyTo};
use crate::commands::definition::{Flags, Handler};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::metrics::command_log::{Measured, REDACTED, Sender};

/// Output that a client must have taken before its requests go on, in bytes.
pub(super) const OUTPUT_RESUME_BYTES: usize = super::connection::OUTPUT_PAUSE_BYTES / 4;
/// Input that may wait behind a blocked request before the connection is not read any more.
const INPUT_PAUSE_BYTES: usize = 1 << 20;

impl Core {
    /// A socket has been accepted.
    pub(super) fn accept(&mut self, socket: SocketInfo) -> ConnectionKey {
        let shared = Arc::clone(&self.state.shared);
        let config = shared.config.load();
        self.state.metrics.note_event();
        self.state.metrics.counters.connections_received += 1;
        let connected = shared.clients.fetch_add(1, Ordering::Relaxed) + 1;
        let id = shared.next_client.fetch_add(1, Ordering::Relaxed);
        let open = config.security.password.is_empty();
        let protected = config.network.protected_mode && open && !socket.loopback;
        let now_us = self.state.now.monotonic_us;
        let connection = Connection::new(id, socket, now_us, open);
        let key = ConnectionKey(self.state.connections.insert(connection) as u32);
        if connected > config.network.clients_max as usize {
            self.state.metrics.counters.connections_rejected += 1;
            self.refuse(key, b"-ERR max number of clients reached\r\n");
        } else if protected {
            self.state.metrics.counters.connections_rejected += 1;
            self.refuse(key, crate::errors::PROTECTED_MODE.as_bytes());
        }
        key
    }

    fn refuse(&mut self, key: ConnectionKey, reply: &[u8]) {
        self.state.push(key, reply);
        self.state.close(key, Close::AfterOutput);
    }

    /// A connection is gone: nothing of it is in flight any more, here or in the kernel.
    pub(super) fn disconnect(&mut self, key: ConnectionKey) {
        self.state.stop_monitoring(key);
        self.state.unsubscribe_all(key);
        self.state.discard(key);
        self.state.end_tracking(key);
        self.coordinations.forget(key);
        let client = self.state.connections[key.0 as usize].client.id;
        self.state.waits.end(client, Ending::Gone);
        self.finish_ended();
        let connection = self.state.connections.remove(key.0 as usize);
        self.state.forget_client(&connection);
        self.state.shared.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes a connection that has sent more than `client-query-buffer-limit` without end.
    pub(super) fn input_too_large(&mut self, key: ConnectionKey) -> bool {
        let limit = self.state.query_buffer_max;
        let connection = &self.state.connections[key.0 as usize];
        let too_large = connection.input.len() > limit;
        if too_large {
            tracing::warn!(
                "Closing client that reached max query buffer length: id={} addr={}",
                connection.client.id,
                connection.client.socket.peer
            );
            self.state.metrics.counters.query_buffer_limit_disconnections += 1;
            self.state.close(key, Close::Now);
        }
        too_large
    }

    /// Counts a command that has run and enters it into the command log if it is due there.
    pub(crate) fn record(
        &mut self,
        entry: &'static Entry,
        done: Done,
        args: Args<'_>,
        reply: &[u8],
        reply_to: ReplyTo,
    ) {
        self.record_long(entry, done, args, reply, reply.len(), reply_to);
    }

    /// As [`record`](Self::record), with a reply of which only the beginning is at hand.
    pub(super) fn record_long(
        &mut self,
        entry: &'static Entry,
        done: Done,
        args: Args<'_>,
        reply: &[u8],
        reply_bytes: usize,
        reply_to: ReplyTo,
    ) {
        self.state.note_answer(entry, reply_to.connection);
        if self.state.replaying && self.state.is_replay(reply_to.connection) {
            // What a log repeats has been counted when it happened, as with the peers.
            return;
        }
        let metrics = &mut self.state.metrics;
        metrics.record(entry, done, reply);
        let measured = Measured {
            nanoseconds: done.nanoseconds,
            request_bytes: request_bytes(args),
            reply_bytes,
        };
        if metrics.command_log.concerns(measured) {
            self.state.log_command(entry, measured, args, reply_to);
        }
        if done.calls > 0 {
            self.state.count_calls(reply_to, done.calls);
        }
    }

    /// Shows a command to the monitors of every core.
    pub(super) fn feed_all_monitors(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        args: Args<'_>,
    ) {
        if !is_shown(entry) {
            return;
        }
        let client = &self.state.connections[key.0 as usize].client;
        let socket = &client.socket;
        let unix = if socket.unix { "unix:" } else { "" };
        // A unix socket's peer is its path, which the peers show without the number behind it.
        let peer = if socket.unix { socket.peer.trim_end_matches(":0") } else { &socket.peer };
        let sender = format!("{} {unix}{peer}", client.view.db);
        let line = monitor_line(self.state.now.unix_us, &sender, entry, args);
        self.show_everywhere(&line.into());
    }

    /// Sends a line to the monitors of every core.
    pub(super) fn show_everywhere(&mut self, line: &Arc<[u8]>) {
        self.state.feed_monitors(line);
        for shard in (0..self.state.shared.map.shards()).map(ShardId) {
            if shard != self.state.id {
                self.outboxes.control(shard, Control::Monitor(Arc::clone(line)));
            }
        }
    }

    /// A client that monitors has become a reader of the server's stream, as a replica is: it may
    /// not use the keyspace.
    pub(super) fn check_monitor(
        &self,
        key: ConnectionKey,
        entry: &Entry,
    ) -> Result<(), CommandError> {
        let flags = entry.command.flags;
        let uses_keys = [Flags::READONLY, Flags::WRITE, Flags::MAY_REPLICATE];
        if self.state.connections[key.0 as usize].client.monitor
            && uses_keys.iter().any(|flag| flags.has(*flag))
        {
            return Err(CommandError::Other("ERR Replica can't interact with the keyspace"));
        }
        Ok(())
    }
}

/// Whether monitors are shown a command. Scripts are skipped where commands are shown as a matter
/// of course, and shown by the peers when they begin.
pub(super) fn is_shown(entry: &Entry) -> bool {
    let flags = entry.command.flags;
    let skipped =
        flags.has(Flags::SKIP_MONITOR) && !matches!(entry.command.handler, Handler::Script(_));
    !skipped && !flags.has(Flags::ADMIN)
}

/// What monitors are shown of a command. `sender`: the database, and who has sent it.
pub(super) fn monitor_line(us: u64, sender: &str, entry: &Entry, args: Args<'_>) -> Vec<u8> {
    let (seconds, rest) = (us / 1_000_000, us % 1_000_000);
    let mut line = format!("+{seconds}.{rest:06} [{sender}]");
    let secrets = entry.command.secrets(args);
    for (index, arg) in args.iter().enumerate() {
        let arg = if secrets.contains(&index) { REDACTED } else { arg };
        line.push_str(" \"");
        for &byte in arg {
            match byte {
                b'\\' | b'"' => write!(line, "\\{}", byte as char),
                b'\n' => write!(line, "\\n"),
                b'\r' => write!(line, "\\r"),
                b'\t' => write!(line, "\\t"),
                7 => write!(line, "\\a"),
                8 => write!(line, "\\b"),
                b' '..=b'~' => write!(line, "{}", byte as char),
                _ => write!(line, "\\x{byte:02x}"),
            }
            .expect("invariant: writing to a string does not fail");
        }
        line.push('"');
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// The length of a request as it came, without a walk over its arguments: they lie one behind the
/// other, and a line end follows the last.
pub(super) fn request_bytes(args: Args<'_>) -> usize {
    args.ranges().last().map_or(0, |last| last.start as usize + last.len as usize + 2)
}

impl CoreState {
    /// Counts what a script has called as commands of its client.
    pub(super) fn count_calls(&mut self, to: ReplyTo, calls: u32) {
        let connection = self.connection(to.connection);
        if let Some(connection) = connection.filter(|connection| connection.client.id == to.client)
        {
            connection.client.commands += u64::from(calls);
        }
    }

    /// Enters a command of one of this core's clients into the command log.
    pub(super) fn log_command(
        &mut self,
        entry: &'static Entry,
        measured: Measured,
        args: Args<'_>,
        reply_to: ReplyTo,
    ) {
        if entry.command.flags.has(Flags::SKIP_COMMANDLOG) {
            return;
        }
        let unix_us = self.now.unix_us;
        let connection = self.connections.get(reply_to.connection.0 as usize);
        let client = connection
            .map(|connection| &connection.client)
            .filter(|client| client.id == reply_to.client);
        let sender = client.map_or(Sender { peer: b"", name: b"" }, |client| Sender {
            peer: client.socket.peer.as_bytes(),
            name: &client.name,
        });
        let numbers = &self.shared.log_numbers;
        let log = &mut self.metrics.command_log;
        log.add(numbers, unix_us, measured, args, &entry.command.secrets(args), sender);
    }

    /// Ends what `MONITOR` began for this connection, if it did.
    pub fn stop_monitoring(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if std::mem::take(&mut connection.client.monitor) {
            self.shared.monitors.fetch_sub(1, Ordering::Relaxed);
            self.monitors.retain(|monitor| *monitor != key);
        }
    }

    /// Sends a line to this core's monitors.
    pub(super) fn feed_monitors(&mut self, line: &[u8]) {
        for index in 0..self.monitors.len() {
            let key = self.monitors[index];
            self.push(key, line);
        }
    }
}

impl Connection {
    /// Whether the driver shall go on receiving: unless much has come that waits for its turn. An
    /// incomplete request does not wait; it is received whatever its length.
    pub(super) fn wants_input(&self) -> bool {
        let waits = self.blocked != Blocked::No || self.ready;
        !waits || self.input.len() < INPUT_PAUSE_BYTES
    }
}
