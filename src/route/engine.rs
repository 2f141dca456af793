//! The border between a core's logic and what drives it.
//!
//! [`Engine`] is a state machine without I/O: the socket driver of `server` feeds it on a real
//! machine, and the simulation feeds several of them on one thread. Nothing here blocks, reads a
//! clock or touches a descriptor.

use std::io;

use super::message::Batch;
use crate::persist::log::Append;

/// The index of a shard, and of the core that owns it, in `0..shards`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard as an index into a table of shards.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A connection of this core. Keys are reused after [`Engine::closed`], never before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionKey(pub u32);

/// The time of one round: read once by the driver, then the same for everything in the round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Wall clock, microseconds since the Unix epoch.
    pub unix_us: u64,
    /// A clock that never goes back, microseconds from an arbitrary start.
    pub monotonic_us: u64,
}

/// What is known of a socket when it is accepted.
#[derive(Clone, Debug)]
pub struct SocketInfo {
    /// The peer as `CLIENT LIST` shows it: `ip:port`, `[ip6]:port`, or `path:0` for a unix socket.
    pub peer: String,
    /// Our end, in the same form.
    pub local: String,
    /// The descriptor's number, for `CLIENT LIST` only.
    pub descriptor: i32,
    /// Whether it came over the unix socket.
    pub unix: bool,
    /// Whether the peer is on this machine (loopback or unix): protected mode asks.
    pub loopback: bool,
}

impl SocketInfo {
    /// That of a connection without a socket, which the server has with itself.
    pub fn none() -> Self {
        Self {
            peer: String::new(),
            local: String::new(),
            descriptor: -1,
            unix: false,
            loopback: true,
        }
    }
}

/// What the driver shall do with a connection after it has been told that it is dirty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disposition {
    /// Go on receiving. When false the driver stops taking bytes, so that TCP slows the peer.
    pub read: bool,
    /// How the connection ends, if it does.
    pub close: Close,
}

/// Whether and how a connection is to be closed by our side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// It stays open.
    No,
    /// Send what is pending, then close.
    AfterOutput,
    /// Close at once and drop what is pending.
    Now,
}

/// When the engine wants to be called again although nothing arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// There is more work now: call [`Engine::work`] again in this or the next round.
    Now,
    /// At this moment of the monotonic clock (microseconds), or earlier when something arrives.
    At(u64),
    /// Only when something arrives.
    Never,
}

impl Wake {
    /// The earlier of both.
    #[must_use]
    pub fn or_sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::At(one), Self::At(two)) => Self::At(one.min(two)),
            (wake, Self::Never) | (Self::Never, wake) => wake,
        }
    }
}

/// A request from outside of the protocol that the process shall end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShutdownSignal {
    /// SIGTERM, as a service manager sends it.
    Terminate,
    /// SIGINT, as a terminal sends it.
    Interrupt,
}

/// One core's logic. See the module's head.
///
/// A round is: [`tick`](Engine::tick), then any number of socket and mail events, then one
/// [`work`](Engine::work), then the outputs are drained: [`next_dirty`](Engine::next_dirty) until
/// it is empty and [`next_outgoing`](Engine::next_outgoing) until it is empty.
pub trait Engine {
    /// Starts a round.
    fn tick(&mut self, now: Now);

    /// A socket was accepted. The connection may be dirty at once (an error to send, then close).
    fn opened(&mut self, info: SocketInfo) -> ConnectionKey;

    /// Bytes arrived. They are parsed in place; what is incomplete is copied.
    fn received(&mut self, connection: ConnectionKey, bytes: &[u8]);

    /// The socket is closed and everything of it is done: no operation on it is in flight. The key
    /// is free for reuse afterwards.
    fn closed(&mut self, connection: ConnectionKey);

    /// The peer shut down its sending side, or the connection failed. The engine answers with a
    /// disposition to close (at once, or after pending replies have been sent).
    fn hangup(&mut self, connection: ConnectionKey, failed: bool);

    /// `bytes` of what [`take_output`](Engine::take_output) gave have reached the kernel, and
    /// `in_flight` more are still with the driver.
    fn sent(&mut self, connection: ConnectionKey, bytes: usize, in_flight: usize);

    /// A message from another core.
    fn deliver(&mut self, batch: Box<Batch>);

    /// The process was asked to end. Every core is told, so that one of them can lead the shutdown;
    /// the process ends when all of them are [`stopping`](Engine::stopping).
    fn signal(&mut self, signal: ShutdownSignal);

    /// Does a bounded piece of pending work (postponed requests, due expiry, background freeing).
    fn work(&mut self) -> Wake;

    /// Whether a script holds all shards, whose calls keep every core waiting for the next one.
    fn serves_script(&self) -> bool;

    /// A connection that has output, or whose disposition changed, since it was last returned.
    fn next_dirty(&mut self) -> Option<ConnectionKey>;

    /// The pending output, swapped for `spare` (empty, its capacity is reused). Empty if none, or
    /// if it has to wait: the connection will be dirty again.
    fn take_output(&mut self, connection: ConnectionKey, spare: Vec<u8>) -> Vec<u8>;

    /// What to do with the connection now.
    fn disposition(&self, connection: ConnectionKey) -> Disposition;

    /// The next message for another core, with its target. Messages for one target stay in order.
    fn next_outgoing(&mut self) -> Option<(ShardId, Box<Batch>)>;

    /// What is to be written to the log, by this core and now. Asked for once a round, before the
    /// outputs, until [`appended`](Engine::appended) has told how it went.
    fn next_append(&mut self) -> Option<Append> {
        None
    }

    /// What was to be written [at once](Append::at_once) is in the file; now it is flushed.
    fn written(&mut self, _append: &mut Append) {}

    /// What has become of it. As many bytes are in the file as it tells.
    fn appended(&mut self, _append: Append, _outcome: io::Result<()>) {
        unreachable!("an engine without a log appends nothing")
    }

    /// Whether the process shall end: the driver leaves its loop once its output is flushed.
    fn stopping(&self) -> bool;
}
