//! A small engine to test the driver with: lines in, lines out, and a token between the cores.
//!
//! | line | reply |
//! |---|---|
//! | `ECHO text` | `text` |
//! | `BIG n` | n bytes `x` and a line end |
//! | `SHARD` | the index of the shard that serves the connection |
//! | `TOKEN n` | `done`, after a message has travelled from core to core n times and home |
//! | `AT ms` | `late`, so many milliseconds later and no earlier |
//! | `QUIT` | `bye`, then the connection is closed |
//! | `DROP ms` | nothing: so many milliseconds later the connection is closed at once |

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::route::engine::{
    Close, ConnectionKey, Disposition, Engine, Now, ShardId, ShutdownSignal, SocketInfo, Wake,
};
use crate::route::message::Batch;

/// Above so much pending output the engine stops reading.
pub(super) const OUTPUT_MAX: usize = 1024 * 1024;

/// What a test sees of all engines.
#[derive(Default, Debug)]
pub(super) struct Seen {
    pub(super) opened: AtomicUsize,
    pub(super) closed: AtomicUsize,
    pub(super) failed: AtomicUsize,
    pub(super) descriptor_max: AtomicUsize,
    /// The most bytes of output that a connection has had pending, and one request's on top.
    pub(super) pending_max: AtomicUsize,
    hops_left: AtomicI64,
}

struct Line {
    input: Vec<u8>,
    output: Vec<u8>,
    in_flight: usize,
    close: Close,
    dirty: bool,
}

pub(super) struct LineEngine {
    own: ShardId,
    shards: usize,
    now_us: u64,
    lines: Vec<Option<Line>>,
    dirty: VecDeque<ConnectionKey>,
    outgoing: VecDeque<(ShardId, Box<Batch>)>,
    waiting: Option<ConnectionKey>,
    late: Vec<(u64, ConnectionKey)>,
    doomed: Vec<(u64, ConnectionKey)>,
    stopping: bool,
    seen: Arc<Seen>,
}

impl LineEngine {
    pub(super) fn new(own: ShardId, shards: usize, seen: Arc<Seen>) -> Self {
        Self {
            own,
            shards,
            now_us: 0,
            lines: Vec::new(),
            dirty: VecDeque::new(),
            outgoing: VecDeque::new(),
            waiting: None,
            late: Vec::new(),
            doomed: Vec::new(),
            stopping: false,
            seen,
        }
    }

    fn line(&mut self, key: ConnectionKey) -> &mut Line {
        self.lines[key.0 as usize].as_mut().expect("the driver uses open connections only")
    }

    fn touch(&mut self, key: ConnectionKey) {
        let line = self.line(key);
        if !std::mem::replace(&mut line.dirty, true) {
            self.dirty.push_back(key);
        }
    }

    fn reply(&mut self, key: ConnectionKey, text: &[u8]) {
        let line = self.line(key);
        line.output.extend_from_slice(text);
        line.output.push(b'\n');
        let pending = line.output.len() + line.in_flight;
        self.seen.pending_max.fetch_max(pending, Ordering::Relaxed);
        self.touch(key);
    }

    fn execute(&mut self, key: ConnectionKey, request: &str) {
        let (verb, argument) = request.split_once(' ').unwrap_or((request, ""));
        match verb {
            "ECHO" => self.reply(key, argument.as_bytes()),
            "BIG" => self.reply(key, &vec![b'x'; argument.parse().expect("a number")]),
            "SHARD" => self.reply(key, self.own.0.to_string().as_bytes()),
            "TOKEN" => {
                let hops = argument.parse().expect("a number");
                self.seen.hops_left.store(hops, Ordering::Relaxed);
                self.waiting = Some(key);
                self.pass_token();
            }
            "AT" => {
                let ms: u64 = argument.parse().expect("a number");
                self.late.push((self.now_us + ms * 1_000, key));
            }
            "QUIT" => {
                self.reply(key, b"bye");
                self.line(key).close = Close::AfterOutput;
            }
            "DROP" => {
                let ms: u64 = argument.parse().expect("a number");
                self.doomed.push((self.now_us + ms * 1_000, key));
            }
            _ => panic!("unknown request {request:?}"),
        }
    }

    fn pass_token(&mut self) {
        let next = ShardId((self.own.0 + 1) % self.shards as u16);
        self.outgoing.push_back((next, Box::new(Batch::new(self.own))));
    }
}

impl Engine for LineEngine {
    fn tick(&mut self, now: Now) {
        self.now_us = now.monotonic_us;
    }

    fn opened(&mut self, info: SocketInfo) -> ConnectionKey {
        self.seen.opened.fetch_add(1, Ordering::Relaxed);
        self.seen.descriptor_max.fetch_max(info.descriptor as usize, Ordering::Relaxed);
        let free = self.lines.iter().position(Option::is_none).unwrap_or(self.lines.len());
        if free == self.lines.len() {
            self.lines.push(None);
        }
        self.lines[free] = Some(Line {
            input: Vec::new(),
            output: Vec::new(),
            in_flight: 0,
            close: Close::No,
            dirty: false,
        });
        ConnectionKey(free as u32)
    }

    fn received(&mut self, key: ConnectionKey, bytes: &[u8]) {
        self.line(key).input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.line(key).input);
        let complete = input.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for request in input[..complete].split(|&byte| byte == b'\n') {
            if !request.is_empty() {
                self.execute(key, str::from_utf8(request).expect("requests are text"));
            }
        }
        self.line(key).input.extend_from_slice(&input[complete..]);
    }

    fn closed(&mut self, key: ConnectionKey) {
        self.seen.closed.fetch_add(1, Ordering::Relaxed);
        let line = self.lines[key.0 as usize].take();
        assert!(line.is_some(), "a connection is closed once");
        self.dirty.retain(|&dirty| dirty != key);
        self.late.retain(|&(_, late)| late != key);
        self.doomed.retain(|&(_, doomed)| doomed != key);
    }

    fn hangup(&mut self, key: ConnectionKey, failed: bool) {
        self.seen.failed.fetch_add(usize::from(failed), Ordering::Relaxed);
        self.line(key).close = Close::AfterOutput;
        self.touch(key);
    }

    fn sent(&mut self, key: ConnectionKey, _bytes: usize, in_flight: usize) {
        self.line(key).in_flight = in_flight;
        self.touch(key);
    }

    fn deliver(&mut self, _batch: Box<Batch>) {
        let left = self.seen.hops_left.fetch_sub(1, Ordering::Relaxed);
        match self.waiting {
            Some(key) if left <= 0 => {
                self.waiting = None;
                self.reply(key, b"done");
            }
            _ => self.pass_token(),
        }
    }

    fn signal(&mut self, _signal: ShutdownSignal) {
        self.stopping = true;
    }

    fn work(&mut self) -> Wake {
        let now_us = self.now_us;
        let due = |moments: &mut Vec<(u64, ConnectionKey)>| {
            let due: Vec<_> = moments.iter().filter(|moment| moment.0 <= now_us).copied().collect();
            moments.retain(|moment| moment.0 > now_us);
            due.into_iter().map(|moment| moment.1)
        };
        let (late, doomed) = (due(&mut self.late), due(&mut self.doomed));
        for key in late {
            self.reply(key, b"late");
        }
        for key in doomed {
            self.line(key).close = Close::Now;
            self.touch(key);
        }
        let moments = self.late.iter().chain(&self.doomed);
        moments.map(|moment| moment.0).min().map_or(Wake::Never, Wake::At)
    }

    fn next_dirty(&mut self) -> Option<ConnectionKey> {
        let key = self.dirty.pop_front()?;
        self.line(key).dirty = false;
        Some(key)
    }

    fn take_output(&mut self, key: ConnectionKey, spare: Vec<u8>) -> Vec<u8> {
        assert!(spare.is_empty());
        let line = self.line(key);
        assert_eq!(line.in_flight, 0, "one output at a time is with the driver");
        line.in_flight = line.output.len();
        std::mem::replace(&mut line.output, spare)
    }

    fn disposition(&self, key: ConnectionKey) -> Disposition {
        let line = self.lines[key.0 as usize].as_ref().expect("an open connection");
        let read = line.output.len() + line.in_flight < OUTPUT_MAX;
        Disposition { read, close: line.close }
    }

    fn next_outgoing(&mut self) -> Option<(ShardId, Box<Batch>)> {
        self.outgoing.pop_front()
    }

    fn serves_script(&self) -> bool {
        false
    }

    fn stopping(&self) -> bool {
        self.stopping
    }
}
