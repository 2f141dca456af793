//! The line that describes a client, and `CLIENT INFO`.

use kvasir_proto::{Args, Encoder, Resp, number};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;
use crate::route::connection::{Blocked, Connection};
use crate::route::core::CoreState;
use crate::route::engine::Close;
use crate::tracking::client::Choice;

pub(super) const CLIENT_INFO: Command = Command {
    name: "info",
    summary: "Returns information about the connection.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::Connection,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE),
    tips: &["nondeterministic_output"],
    handler: Handler::Local(info),
    ..Command::BASE
};

fn info(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let state = &*context.state;
    let mut line = Vec::new();
    append_line(&mut line, state, &state.connections[context.connection.0 as usize]);
    reply.verbatim(*b"txt", &line);
    Ok(())
}

/// The letters that stand for a client's state, in the peers' order; `N` if there is none.
pub(super) fn flags(state: &CoreState, connection: &Connection) -> String {
    let client = &connection.client;
    let blocked = connection.blocked() == Blocked::Paused || state.waits.is_waiting(client.id);
    let transaction = connection.transaction();
    let tracking = client.tracking.as_deref();
    let letters = [
        (client.monitor, 'O'),
        (client.subscriptions.any(), 'P'),
        (transaction.queued.is_some(), 'x'),
        (blocked, 'b'),
        (tracking.is_some(), 't'),
        (tracking.is_some_and(|tracking| tracking.broken), 'R'),
        (tracking.is_some_and(|tracking| tracking.choice == Choice::Broadcast), 'B'),
        (transaction.touched, 'd'),
        (connection.closing() == Close::AfterOutput, 'c'),
        (connection.closing() == Close::Now, 'A'),
        (client.socket.unix, 'U'),
        (client.no_evict, 'e'),
        (client.view.no_touch, 'T'),
        (client.view.import_source, 'I'),
    ];
    let shown: String = letters.iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
    if shown.is_empty() { "N".to_owned() } else { shown }
}

/// The letters of a client's capabilities.
pub(super) fn capabilities(connection: &Connection) -> &'static str {
    if connection.client.redirect { "r" } else { "" }
}

/// Seconds since the client connected.
pub(super) fn age_s(state: &CoreState, connection: &Connection) -> u64 {
    state.now.monotonic_us.saturating_sub(connection.client.connected_us) / 1_000_000
}

/// Seconds since the client last sent something.
pub(super) fn idle_s(state: &CoreState, connection: &Connection) -> u64 {
    state.now.monotonic_us.saturating_sub(connection.client.active_us) / 1_000_000
}

/// Appends the line, with its line end: Valkey's fields in its order, and Redis's `io-thread`.
pub(super) fn append_line(out: &mut Vec<u8>, state: &CoreState, connection: &Connection) {
    let client = &connection.client;
    let buffers = connection.buffers();
    let transaction = connection.transaction();
    let mut line = Line { out };
    line.out.extend_from_slice(b"id=");
    number::append_u64(line.out, client.id);
    line.text("addr", &client.socket.peer);
    line.text("laddr", &client.socket.local);
    line.number("fd", i64::from(client.socket.descriptor));
    line.bytes("name", &client.name);
    line.number("age", age_s(state, connection) as i64);
    line.number("idle", idle_s(state, connection) as i64);
    line.text("flags", &flags(state, connection));
    line.text("capa", capabilities(connection));
    line.number("db", client.view.db.into());
    line.number("sub", client.subscriptions.channels.into());
    line.number("psub", client.subscriptions.patterns.into());
    line.number("ssub", client.subscriptions.shard_channels.into());
    line.number("multi", transaction.queued.map_or(-1, |queued| queued as i64));
    line.size("watch", transaction.watched);
    line.size("qbuf", buffers.input);
    line.size("qbuf-free", buffers.input_free);
    line.size("argv-mem", buffers.parsed);
    line.size("multi-mem", buffers.transaction);
    line.size("rbs", buffers.output_capacity);
    line.size("rbp", buffers.output);
    line.size("obl", buffers.output);
    line.size("oll", usize::from(buffers.in_flight > 0));
    line.size("omem", buffers.in_flight);
    line.size("tot-mem", buffers.total());
    line.text("events", if buffers.in_flight > 0 { "rw" } else { "r" });
    line.text("cmd", client.last_command.map_or("NULL", |entry| entry.full_name));
    line.bytes("user", &client.user);
    line.number("redir", client.tracking.as_ref().map_or(-1, |t| t.redirect as i64));
    line.text("resp", if client.view.resp == Resp::V3 { "3" } else { "2" });
    line.bytes("lib-name", &client.lib_name);
    line.bytes("lib-ver", &client.lib_ver);
    line.number("io-thread", state.id.0.into());
    line.number("tot-net-in", client.net_in as i64);
    line.number("tot-net-out", client.net_out as i64);
    line.number("tot-cmds", client.commands as i64);
    line.out.push(b'\n');
}

/// Appends fields, each after a blank. Values hold no blanks: names that clients chose are checked.
struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl Line<'_> {
    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.out.push(b' ');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'=');
        self.out.extend_from_slice(value);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    fn number(&mut self, name: &str, value: i64) {
        self.bytes(name, b"");
        number::append_i64(self.out, value);
    }

    fn size(&mut self, name: &str, value: usize) {
        self.number(name, value as i64);
    }
}
