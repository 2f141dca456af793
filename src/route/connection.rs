//! One client's connection: what it sent, what it is owed, and its state.

use std::collections::VecDeque;

use kvasir_proto::{RequestParser, Resp};

use super::cork::Cork;
use super::engine::{Close, SocketInfo};
use super::fieldsets::Fieldsets;
use super::input::Input;
use super::message::ClientView;
use super::multi::{Queue, Watching};
use super::patrol::Watched;
use crate::config::value::ClientClass;
use crate::pubsub::Subscriptions;
use crate::tracking::client::ClientTracking;

/// Output that a client has not taken, above which its requests wait. High enough for a client that
/// sends a whole pipeline before it reads the first reply, which the peers serve too.
pub const OUTPUT_PAUSE_BYTES: usize = 64 << 20;
/// Replies that may be outstanding from other cores before a connection's requests wait.
pub const PENDING_MAX: usize = 4096;
/// Held replies that lie before the first live one, above which they are moved together.
const HELD_SLACK_BYTES: usize = 1 << 20;

/// Why a connection's requests are not being executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blocked {
    /// They are.
    No,
    /// A coordinated command of this connection is under way.
    Coordinating,
    /// A shard does all of a command of this connection.
    Errand,
    /// A script of this connection is under way, and may need keys that it has not declared: what
    /// comes after it must not get to those first.
    Script,
    /// A blocking command waits for a key.
    Waiting,
    /// `CLIENT PAUSE`, until it ends.
    Paused,
    /// Too many replies are outstanding.
    Pending,
    /// Too much output is waiting for the client.
    Output,
}

/// What `CLIENT REPLY` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyMode {
    /// Every reply.
    On,
    /// None until it is switched on again.
    Off,
    /// None for the next command; `CLIENT REPLY SKIP` itself has none either.
    SkipNext,
    /// None for the command that is running.
    SkipThis,
}

/// The place of a reply among the connection's replies.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// It has not come.
    Waiting {
        /// It is discarded when it comes.
        suppressed: bool,
    },
    /// It has come before an earlier one: a range of the held bytes.
    Held { start: usize, len: usize },
}

/// What `CLIENT` subcommands set and show.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that a client sets by itself")]
pub struct ClientState {
    /// The id, unique in the process.
    pub id: u64,
    /// The socket.
    pub socket: SocketInfo,
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_ver: Vec<u8>,
    /// Whether it may run commands.
    pub authenticated: bool,
    /// The user's name.
    pub user: Vec<u8>,
    /// Database, protocol, access times.
    pub view: ClientView,
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `CLIENT CAPA redirect`.
    pub redirect: bool,
    /// `CLIENT REPLY`.
    pub reply_mode: ReplyMode,
    /// How many subscriptions it has.
    pub subscriptions: Subscriptions,
    /// `HIMPORT PREPARE`.
    pub fieldsets: Fieldsets,
    /// `CLIENT TRACKING`.
    pub tracking: Option<Box<ClientTracking>>,
    /// Whether it receives `MONITOR`'s lines.
    pub monitor: bool,
    /// Whether the command that runs is a part of another one.
    pub in_part: bool,
    /// Monotonic microseconds at which it connected.
    pub connected_us: u64,
    /// Monotonic microseconds of its last request.
    pub active_us: u64,
    /// The last command, as `CLIENT LIST` shows it (`client|list`), or "NULL".
    pub last_command: Option<&'static crate::commands::table::Entry>,
    /// Bytes received.
    pub net_in: u64,
    /// Bytes sent.
    pub net_out: u64,
    /// Commands run.
    pub commands: u64,
}

impl ClientState {
    /// Whether it may only use commands about subscriptions: a RESP2 client could not tell other
    /// replies from messages.
    pub fn is_confined(&self) -> bool {
        self.subscriptions.any() && self.view.resp == Resp::V2
    }

    /// The class whose output limits hold for it.
    pub fn class(&self) -> ClientClass {
        if self.subscriptions.any() { ClientClass::PubSub } else { ClientClass::Normal }
    }
}

/// What the buffers of a connection hold, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffers {
    /// Input that has not been executed.
    pub input: usize,
    /// Room for more of it.
    pub input_free: usize,
    /// What the parser keeps of a request that is not complete.
    pub parsed: usize,
    /// What it has queued for a transaction, and watches.
    pub transaction: usize,
    /// Replies that the driver has not taken.
    pub output: usize,
    /// What they could grow to without allocation.
    pub output_capacity: usize,
    /// Replies that the driver has taken and the kernel not.
    pub in_flight: usize,
    /// What the client has the server remember.
    pub session: usize,
}

impl Buffers {
    /// What the connection occupies in all.
    pub fn total(self) -> usize {
        let input = self.input + self.input_free + self.parsed + self.transaction;
        size_of::<Connection>() + input + self.output_capacity + self.in_flight + self.session
    }
}

/// A connection of this core.
pub struct Connection {
    /// What `CLIENT` shows and sets.
    pub client: ClientState,
    /// Parses the requests.
    pub(super) parser: RequestParser,
    /// Bytes that are not executed yet: an incomplete request, or whatever came while blocked.
    pub(super) input: Input,
    /// Input that the parser wants before it can go on, counted from the start of the request.
    pub(super) needed: usize,
    /// Replies that are ready to be sent.
    pub(super) output: Vec<u8>,
    /// Output that the driver has taken and the kernel not.
    pub(super) in_flight: usize,
    /// Whether that waits for more.
    pub(super) cork: Cork,
    /// Its output waits until the log has reached this position; 0 when it waits for nothing.
    pub(super) logged_at: u64,
    /// Since when that has been beyond the soft limit, monotonic microseconds.
    pub(super) beyond_soft_us: Option<u64>,
    /// Why its requests wait.
    pub(super) blocked: Blocked,
    /// How it ends, if it does.
    pub(super) close: Close,
    /// Whether the peer has shut down its side.
    pub(super) hung_up: bool,
    /// What the patrol remembers.
    pub(super) watched: Watched,
    /// What `MULTI` has begun.
    pub(super) queue: Option<Box<Queue>>,
    /// What `WATCH` has begun.
    pub(super) watching: Option<Box<Watching>>,
    /// It stands in the queue of dirty connections.
    pub(super) dirty: bool,
    /// It stands in the queue of connections with input to go on with.
    pub(super) ready: bool,
    places: VecDeque<Place>,
    held: Vec<u8>,
    /// What is to be sent before the last outstanding reply, and behind all others.
    before_last: Vec<u8>,
    first_sequence: u32,
}

impl Connection {
    /// A connection that has just been accepted.
    pub(super) fn new(id: u64, socket: SocketInfo, now_us: u64, authenticated: bool) -> Self {
        let client = ClientState {
            id,
            socket,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            authenticated,
            user: b"default".to_vec(),
            view: ClientView {
                db: 0,
                resp: Resp::V2,
                no_touch: false,
                import_source: false,
                tracks: false,
                client: id,
                scripted: false,
            },
            no_evict: false,
            redirect: false,
            reply_mode: ReplyMode::On,
            subscriptions: Subscriptions::default(),
            fieldsets: Fieldsets::default(),
            tracking: None,
            monitor: false,
            in_part: false,
            connected_us: now_us,
            active_us: now_us,
            last_command: None,
            net_in: 0,
            net_out: 0,
            commands: 0,
        };
        Self {
            client,
            parser: RequestParser::default(),
            input: Input::default(),
            needed: 0,
            output: Vec::new(),
            in_flight: 0,
            cork: Cork::Out,
            logged_at: 0,
            beyond_soft_us: None,
            blocked: Blocked::No,
            close: Close::No,
            hung_up: false,
            watched: Watched::default(),
            queue: None,
            watching: None,
            dirty: false,
            ready: false,
            places: VecDeque::new(),
            held: Vec::new(),
            before_last: Vec::new(),
            first_sequence: 0,
        }
    }

    /// Remembers how much input has waited at most.
    pub(super) fn note_input(&mut self) {
        self.watched.input_peak = self.watched.input_peak.max(self.input.len());
    }

    /// Whether no earlier reply is outstanding, so that a reply may go straight to the output.
    pub(super) fn in_order(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether the peer sends nothing more and everything that it sent has been answered.
    pub(super) fn is_finished(&self) -> bool {
        self.hung_up && self.blocked == Blocked::No && !self.ready && self.in_order()
    }

    /// How many replies are outstanding or held behind one that is.
    pub(super) fn pending(&self) -> usize {
        self.places.len()
    }

    /// Why its requests wait.
    pub fn blocked(&self) -> Blocked {
        self.blocked
    }

    /// How it ends, if it does.
    pub fn closing(&self) -> Close {
        self.close
    }

    /// What its buffers hold and could hold.
    pub fn buffers(&self) -> Buffers {
        Buffers {
            input: self.input.len(),
            input_free: self.input.capacity() - self.input.len(),
            parsed: self.parser.allocated_bytes(),
            transaction: self.transaction().bytes,
            output: self.output.len() + self.held.len(),
            output_capacity: self.output.capacity() + self.held.capacity(),
            in_flight: self.in_flight,
            session: self.client.fieldsets.bytes()
                + self.client.tracking.as_ref().map_or(0, |tracking| tracking.bytes()),
        }
    }

    /// Output that the client has not taken.
    pub fn output_bytes(&self) -> usize {
        self.output.len() + self.held.len() + self.in_flight
    }

    /// Bytes that wait to be executed.
    pub fn input_bytes(&self) -> usize {
        self.input.len()
    }

    /// Takes the buffer to which the next reply is to be appended: the output, or, behind an
    /// outstanding reply, the held bytes. To be given back to [`reply_end`](Self::reply_end).
    pub(crate) fn reply_start(&mut self) -> Vec<u8> {
        std::mem::take(if self.places.is_empty() { &mut self.output } else { &mut self.held })
    }

    /// Gives the buffer back without a reply, which comes later.
    pub(super) fn reply_cancel(&mut self, buffer: Vec<u8>) {
        *(if self.places.is_empty() { &mut self.output } else { &mut self.held }) = buffer;
    }

    /// Gives the buffer back; what was appended from `start` on is one reply.
    pub(super) fn reply_end(&mut self, buffer: Vec<u8>, start: usize) {
        if self.places.is_empty() {
            self.output = buffer;
            return;
        }
        let len = buffer.len() - start;
        self.held = buffer;
        match self.places.back_mut() {
            Some(Place::Held { start: s, len: l }) if *s + *l == start => *l += len,
            _ => self.places.push_back(Place::Held { start, len }),
        }
    }

    /// Reserves the place of a reply that comes later, and returns its sequence number.
    pub(crate) fn reserve(&mut self) -> u32 {
        let suppressed = self.takes_no_reply();
        self.places.push_back(Place::Waiting { suppressed });
        self.first_sequence.wrapping_add(self.places.len() as u32 - 1)
    }

    /// A reply has come: it goes to its place, and everything that was held behind it follows.
    pub(super) fn fill(&mut self, sequence: u32, reply: &[u8]) {
        let index = sequence.wrapping_sub(self.first_sequence) as usize;
        let place = self.places.get(index).copied();
        let Some(Place::Waiting { suppressed }) = place else {
            panic!("invariant: a reply has one place, and comes once");
        };
        let reply = if suppressed { &[] } else { reply };
        if index > 0 {
            let start = self.held.len();
            self.held.extend_from_slice(reply);
            self.places[index] = Place::Held { start, len: reply.len() };
            return;
        }
        self.send_before_last();
        self.output.extend_from_slice(reply);
        self.pop_place();
        self.send_before_last();
        while let Some(Place::Held { start, len }) = self.places.front().copied() {
            self.output.extend_from_slice(&self.held[start..start + len]);
            self.pop_place();
            self.send_before_last();
        }
        if self.places.is_empty() {
            self.held.clear();
        } else if self.held.len() > HELD_SLACK_BYTES {
            self.compact_held();
        }
    }

    /// Adds something that is no reply behind all replies that are outstanding; before the last of
    /// them if its command `waits` for somebody else.
    pub(super) fn push_behind(&mut self, bytes: &[u8], waits: bool) {
        let outstanding = self.places.len() - usize::from(waits && !self.places.is_empty());
        if outstanding == 0 {
            self.output.extend_from_slice(bytes);
        } else if waits {
            self.before_last.extend_from_slice(bytes);
        } else {
            let mut buffer = self.reply_start();
            let start = buffer.len();
            buffer.extend_from_slice(bytes);
            self.reply_end(buffer, start);
        }
    }

    fn send_before_last(&mut self) {
        if self.places.len() == 1 && !self.before_last.is_empty() {
            self.output.append(&mut self.before_last);
        }
    }

    /// Whether the replies of its commands are suppressed at the moment.
    pub(super) fn takes_no_reply(&self) -> bool {
        matches!(self.client.reply_mode, ReplyMode::Off | ReplyMode::SkipThis)
    }

    fn pop_place(&mut self) {
        self.places.pop_front();
        self.first_sequence = self.first_sequence.wrapping_add(1);
    }

    /// Drops what has already been moved to the output, so that a connection that always has
    /// something outstanding does not hold its past.
    fn compact_held(&mut self) {
        let mut compact = Vec::new();
        for place in &mut self.places {
            if let Place::Held { start, len } = place {
                let from = std::mem::replace(start, compact.len());
                compact.extend_from_slice(&self.held[from..from + *len]);
            }
        }
        self.held = compact;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new(1, SocketInfo::none(), 0, true)
    }

    fn local(connection: &mut Connection, reply: &[u8]) {
        let mut buffer = connection.reply_start();
        let start = buffer.len();
        buffer.extend_from_slice(reply);
        connection.reply_end(buffer, start);
    }

    #[test]
    fn replies_leave_in_request_order() {
        let mut c = connection();
        local(&mut c, b"0");
        let one = c.reserve();
        local(&mut c, b"2");
        local(&mut c, b"3");
        let four = c.reserve();
        local(&mut c, b"5");
        assert_eq!(c.output, b"0");
        c.fill(four, b"4");
        assert_eq!(c.output, b"0");
        c.fill(one, b"1");
        assert_eq!(c.output, b"012345");
        assert!(c.in_order());
        local(&mut c, b"6");
        assert_eq!(c.output, b"0123456");
    }

    #[test]
    fn a_suppressed_reply_keeps_its_place_empty() {
        let mut c = connection();
        let one = c.reserve();
        c.client.reply_mode = ReplyMode::Off;
        let two = c.reserve();
        c.client.reply_mode = ReplyMode::On;
        local(&mut c, b"3");
        c.fill(two, b"2");
        c.fill(one, b"1");
        assert_eq!(c.output, b"13");
    }

    #[test]
    fn what_is_no_reply_stays_behind_those_that_are_outstanding() {
        let mut c = connection();
        c.push_behind(b"a", false);
        let one = c.reserve();
        c.push_behind(b"b", false);
        let two = c.reserve();
        let last = c.reserve();
        c.push_behind(b"c", true);
        c.fill(two, b"2");
        assert_eq!(c.output, b"a");
        c.fill(one, b"1");
        assert_eq!(c.output, b"a1b2c");
        c.push_behind(b"d", true);
        c.push_behind(b"e", false);
        assert_eq!(c.output, b"a1b2cd");
        c.fill(last, b"3");
        assert_eq!(c.output, b"a1b2cd3e");
        let one = c.reserve();
        let last = c.reserve();
        c.push_behind(b"f", true);
        c.fill(last, b"5");
        c.fill(one, b"4");
        assert_eq!(c.output, b"a1b2cd3e4f5");
    }

    #[test]
    fn held_replies_do_not_pile_up() {
        let mut c = connection();
        let mut oldest = c.reserve();
        for _ in 0..4096 {
            local(&mut c, &[b'x'; 4096]);
            let next = c.reserve();
            c.fill(oldest, b"");
            oldest = next;
            c.output.clear();
            assert!(c.held.len() <= HELD_SLACK_BYTES + 4096);
        }
    }
}
