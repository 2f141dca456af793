//! A core and a stand-in for its driver: rounds as `server::driver` goes them, without a kernel.
//!
//! After every round the driver's view must be the engine's: no output is left lying, and no
//! change of a disposition has gone unreported. Such a change would be noticed at the next event
//! of that connection only, which may never come.

use std::collections::BTreeMap;

use kvasir_server::persist::log::Append;
use kvasir_server::route::connection::Blocked;
use kvasir_server::route::core::{Core, Residue};
use kvasir_server::route::engine::{
    Close, ConnectionKey, Disposition, Engine, Now, ShardId, SocketInfo, Wake,
};
use kvasir_server::route::message::Batch;
use kvasir_testing::Rng;

use crate::socket::Socket;

/// The wall clock at the beginning of every run, microseconds: a whole number of milliseconds.
pub(crate) const EPOCH_US: u64 = 1_700_000_000_000_000;

/// What is received at once, at most.
const RECEIVE_BYTES_MAX: usize = 64 << 10;
/// What a connection may hold of its input, at most: what may wait, and a request of the greatest
/// length that the simulation sends.
const INPUT_BYTES_MAX: usize = (1 << 20) + RECEIVE_BYTES_MAX + 1_100_000;

/// Output that reached a client.
pub(crate) struct Received {
    pub(crate) client: usize,
    pub(crate) incarnation: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A connection that is no more.
pub(crate) struct Closed {
    pub(crate) client: usize,
    pub(crate) incarnation: u64,
}

/// What a run has come upon, to see that it tries what it is there for.
#[derive(Clone, Default, Debug)]
pub(crate) struct Reached {
    /// Reasons for which requests have waited.
    pub(crate) blocked: Vec<Blocked>,
    /// Attempts of transactions that were refused a lock.
    pub(crate) retried: u64,
    /// Histories that were too hard to check, which show nothing.
    pub(crate) undecided: u64,
}

impl Reached {
    /// Adds what another run, or another core, has come upon.
    pub(crate) fn add(&mut self, other: Self) {
        self.retried += other.retried;
        self.undecided += other.undecided;
        other.blocked.into_iter().for_each(|reason| self.note(reason));
    }

    fn note(&mut self, reason: Blocked) {
        if !self.blocked.contains(&reason) {
            self.blocked.push(reason);
        }
    }
}

/// A core, its sockets, and when it wants to run again.
pub(crate) struct Node {
    core: Core,
    sockets: BTreeMap<u32, Socket>,
    unsettled: Vec<u32>,
    wake: Wake,
    /// A write to the log that is under way.
    append: Option<Append>,
    /// What it writes itself takes some rounds of the others.
    is_kept_waiting: bool,
    reached: Reached,
}

impl Node {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            sockets: BTreeMap::new(),
            unsettled: Vec::new(),
            wake: Wake::Now,
            append: None,
            is_kept_waiting: false,
            reached: Reached::default(),
        }
    }

    /// The socket of one of a client's connections, while it lives.
    pub(crate) fn socket(&mut self, client: usize, incarnation: u64) -> Option<&mut Socket> {
        let mut sockets = self.sockets.values_mut();
        sockets.find(|socket| socket.client == client && socket.incarnation == incarnation)
    }

    /// Every socket.
    pub(crate) fn sockets(&mut self) -> impl Iterator<Item = &mut Socket> {
        self.sockets.values_mut()
    }

    /// Whether it has a reason to run, mail apart.
    pub(crate) fn is_due(&self, now_us: u64) -> bool {
        let wakes = match self.wake {
            Wake::Now => true,
            Wake::At(at_us) => at_us <= now_us,
            Wake::Never => false,
        };
        wakes || self.append.is_some() || self.sockets.values().any(Socket::has_event)
    }

    /// When it wants to run although nothing arrives.
    pub(crate) fn next_wake_us(&self) -> Option<u64> {
        match self.wake {
            Wake::At(at_us) => Some(at_us),
            Wake::Now | Wake::Never => None,
        }
    }

    /// Starts a round.
    pub(crate) fn tick(&mut self, now_us: u64) {
        self.core.tick(Now { unix_us: EPOCH_US + now_us, monotonic_us: now_us });
    }

    /// A client connects. Within a round.
    pub(crate) fn open(&mut self, client: usize, incarnation: u64) {
        let info = SocketInfo {
            peer: format!("127.0.0.1:{}", 10_000 + client),
            local: "127.0.0.1:6379".to_owned(),
            descriptor: 8,
            unix: false,
            loopback: true,
        };
        let key = self.core.opened(info);
        let former = self.sockets.insert(key.0, Socket::new(client, incarnation));
        assert!(former.is_none(), "a key is reused only after its connection was closed");
    }

    /// Lets a random part of what the sockets have to report happen.
    pub(crate) fn sockets_report(
        &mut self,
        rng: &mut Rng,
        received: &mut Vec<Received>,
        closed: &mut Vec<Closed>,
    ) {
        let keys: Vec<u32> = self.sockets.keys().copied().collect();
        for key in keys {
            if self.sockets[&key].has_event() && !rng.one_in(4) {
                self.report(key, rng, received, closed);
            }
        }
    }

    fn report(
        &mut self,
        number: u32,
        rng: &mut Rng,
        received: &mut Vec<Received>,
        closed: &mut Vec<Closed>,
    ) {
        let key = ConnectionKey(number);
        let socket = self.sockets.get_mut(&number).expect("an existing socket reports");
        if socket.closing {
            let Socket { client, incarnation, .. } = *socket;
            self.sockets.remove(&number);
            self.core.closed(key);
            closed.push(Closed { client, incarnation });
            return;
        }
        if socket.can_fail() {
            socket.ended = true;
            socket.sending = None;
            socket.closing = true;
            self.core.hangup(key, true);
            return;
        }
        if socket.can_send() && rng.one_in(2) {
            let (output, through) = socket.sending.as_mut().expect("it can send");
            let count = part(rng, output.len() - *through);
            let bytes = output[*through..*through + count].to_vec();
            *through += count;
            let left = output.len() - *through;
            let Socket { client, incarnation, .. } = *socket;
            received.push(Received { client, incarnation, bytes });
            if left == 0 {
                socket.sending = None;
                if std::mem::take(&mut socket.unsettled) {
                    self.unsettled.push(number);
                }
            }
            self.core.sent(key, count, left);
        }
        let socket = self.sockets.get_mut(&number).expect("an existing socket reports");
        if socket.can_receive() {
            let count = part(rng, (socket.inbound.len() - socket.taken).min(RECEIVE_BYTES_MAX));
            let bytes = socket.inbound[socket.taken..socket.taken + count].to_vec();
            socket.taken += count;
            if socket.taken == socket.inbound.len() {
                socket.inbound.clear();
                socket.taken = 0;
            }
            self.core.received(key, &bytes);
        } else if socket.can_end() {
            socket.ended = true;
            self.core.hangup(key, false);
        }
    }

    /// A message of another core has come.
    pub(crate) fn deliver(&mut self, batch: Box<Batch>) {
        self.core.deliver(batch);
    }

    /// A write to the log that is under way may end, or be in the file, before its flush.
    pub(crate) fn disk_reports(&mut self, rng: &mut Rng) {
        self.is_kept_waiting = rng.one_in(4);
        if !rng.one_in(3) {
            return;
        }
        let is_in_file = |append: &Append| append.written == append.bytes.len();
        if self.append.as_ref().is_some_and(|append| append.at_once && !is_in_file(append)) {
            self.write_at_once();
        } else if let Some(mut append) = self.append.take() {
            append.write().expect("there is room for the log");
            self.core.appended(append, Ok(()));
        }
    }

    /// Does what a core is to write itself. The flush comes later.
    fn write_at_once(&mut self) {
        let Some(append) = self.append.as_mut().filter(|append| append.at_once) else { return };
        append.write().expect("there is room for the log");
        if append.flushes {
            self.core.written(append);
        } else if let Some(append) = self.append.take() {
            self.core.appended(append, Ok(()));
        }
    }

    /// Ends a round; yields the messages for other cores.
    pub(crate) fn finish_round(&mut self) -> Vec<(ShardId, Box<Batch>)> {
        self.wake = self.core.work();
        if self.append.is_none() {
            self.append = self.core.next_append();
            if !self.is_kept_waiting {
                self.write_at_once();
            }
        }
        while let Some(key) = self.unsettled.pop() {
            self.settle(ConnectionKey(key));
        }
        while let Some(key) = self.core.next_dirty() {
            self.settle(key);
        }
        self.check_views();
        let mut mail = Vec::new();
        while let Some(message) = self.core.next_outgoing() {
            mail.push(message);
        }
        mail
    }

    fn settle(&mut self, key: ConnectionKey) {
        let Some(socket) = self.sockets.get_mut(&key.0) else { return };
        if socket.closing {
            return;
        }
        let Disposition { read, close } = self.core.disposition(key);
        if close == Close::Now {
            socket.closing = true;
            return;
        }
        socket.reading = read;
        if socket.sending.is_some() {
            socket.unsettled = true;
            return;
        }
        let output = self.core.take_output(key, Vec::new());
        if !output.is_empty() {
            socket.sending = Some((output, 0));
            socket.unsettled = close == Close::AfterOutput;
        } else if close == Close::AfterOutput {
            socket.closing = true;
        }
    }

    /// The driver knows all that the engine wants of it.
    fn check_views(&mut self) {
        for (&number, socket) in &self.sockets {
            if socket.closing {
                continue;
            }
            let key = ConnectionKey(number);
            let Disposition { read, close } = self.core.disposition(key);
            assert_eq!(read, socket.reading, "whether to read connection {number} is known");
            assert_ne!(close, Close::Now, "an end of connection {number} is known");
            let connection = &self.core.state.connections[number as usize];
            self.reached.note(connection.blocked());
            let input = connection.input_bytes();
            assert!(input <= INPUT_BYTES_MAX, "connection {number} has {input} bytes of input");
            if socket.sending.is_none() {
                assert_eq!(close, Close::No, "an end of connection {number} is known");
                let left = self.core.take_output(key, Vec::new());
                assert!(left.is_empty(), "output of connection {number} was left lying");
            }
        }
    }

    /// What this core has come upon.
    pub(crate) fn reached(&self) -> Reached {
        let retried = self.core.state.metrics.counters.transactions_retried;
        Reached { retried, ..self.reached.clone() }
    }

    /// Checks the core's structures.
    pub(crate) fn verify(&self) {
        self.core.verify();
    }

    /// What is still under way in the core.
    pub(crate) fn residue(&self) -> Residue {
        self.core.residue()
    }
}

/// A random part of something: often all of it, often a little.
fn part(rng: &mut Rng, whole: usize) -> usize {
    match rng.below(3) {
        0 => whole,
        1 => 1 + rng.below(whole),
        _ => 1 + rng.below(whole.min(12)),
    }
}
