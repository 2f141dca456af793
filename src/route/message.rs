//! Messages between cores: flat, recycled, at most one for each target and kind a round.
//!
//! A batch of requests travels to the shard that owns their keys, is executed in place, and comes
//! back in the same box with the replies appended; its origin then reuses it. So a hop allocates
//! nothing once the boxes have grown to their size, and the origin still has the arguments when the
//! reply comes, for the command log.

use std::any::Any;
use std::sync::Arc;

use kvasir_proto::{ArgRange, Args, Encoder, Resp};

use super::blocking::Message;
use super::effects::Caused;
use super::engine::{ConnectionKey, ShardId};
use super::locks::{Outcome, Scope, TransactionId};
use super::multi;
use super::script::{Asked, Astray, LoggedCall};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::pubsub::publish;
use crate::route::core::CoreState;
use crate::tracking;

/// What travels from one core to another.
#[derive(Debug)]
pub struct Batch {
    /// The core that made it.
    pub origin: ShardId,
    /// Whether it is on its way to the owner of the keys, or back.
    pub kind: BatchKind,
    /// The origin's wall clock, milliseconds: a command sees no older time than its coordinator.
    pub unix_ms: u64,
    /// The requests, in the order of their connections.
    pub requests: Vec<RemoteRequest>,
    /// The arguments of all requests: ranges within a request's bytes.
    pub ranges: Vec<ArgRange>,
    /// The bytes of all requests.
    pub data: Vec<u8>,
    /// The replies, encoded, in the order of the requests.
    pub replies: Vec<u8>,
    /// What else is to be done, after the requests.
    pub controls: Vec<Control>,
}

/// The direction of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchKind {
    /// Towards the shard that executes.
    Requests,
    /// Back to its origin, with the replies.
    Answers,
}

/// A box that has grown beyond this many bytes is not kept for reuse.
const RECYCLED_BYTES_MAX: usize = 1 << 20;

impl Batch {
    /// An empty batch of requests.
    pub fn new(origin: ShardId) -> Self {
        Self {
            origin,
            kind: BatchKind::Requests,
            unix_ms: 0,
            requests: Vec::new(),
            ranges: Vec::new(),
            data: Vec::new(),
            replies: Vec::new(),
            controls: Vec::new(),
        }
    }

    /// Empties it for reuse. False when it has grown too large to be kept.
    pub fn recycle(&mut self) -> bool {
        if self.data.capacity() + self.replies.capacity() > RECYCLED_BYTES_MAX {
            return false;
        }
        self.kind = BatchKind::Requests;
        self.requests.clear();
        self.ranges.clear();
        self.data.clear();
        self.replies.clear();
        self.controls.clear();
        true
    }

    /// Appends a request: one copy of its bytes and of its ranges.
    pub fn push(&mut self, mut request: RemoteRequest, args: Args<'_>) {
        request.data_start = self.data.len();
        request.data_len = args.buffer().len();
        request.ranges_start = self.ranges.len();
        request.ranges_len = args.len();
        self.data.extend_from_slice(args.buffer());
        self.ranges.extend_from_slice(args.ranges());
        self.requests.push(request);
    }

    /// The arguments of one of its requests.
    pub fn args(&self, request: &RemoteRequest) -> Args<'_> {
        let start = request.ranges_start;
        let ranges = &self.ranges[start..start + request.ranges_len];
        let start = request.data_start;
        Args::new(&self.data[start..start + request.data_len], ranges)
    }
}

/// A command of one connection, for a shard of another core.
#[derive(Clone, Copy, Debug)]
pub struct RemoteRequest {
    /// The command, whose handler is [`Shard`](crate::commands::definition::Handler::Shard),
    /// `Multi` with all keys on the target, or `Placed` there.
    pub entry: &'static Entry,
    /// Who waits for the reply.
    pub reply_to: ReplyTo,
    /// The client's view: database, protocol, access times.
    pub view: ClientView,
    /// The table hash of the first key.
    pub hash: u64,
    /// How it ended, filled in by the executing shard.
    pub done: Done,
    data_start: usize,
    data_len: usize,
    ranges_start: usize,
    ranges_len: usize,
}

impl RemoteRequest {
    /// A request that has not run.
    pub fn new(entry: &'static Entry, reply_to: ReplyTo, view: ClientView, hash: u64) -> Self {
        let done = Done::default();
        let (data_start, data_len, ranges_start, ranges_len) = (0, 0, 0, 0);
        Self { entry, reply_to, view, hash, done, data_start, data_len, ranges_start, ranges_len }
    }
}

/// The place where a reply belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    /// The connection on the origin's core.
    pub connection: ConnectionKey,
    /// The client's id: the key may have been reused since.
    pub client: u64,
    /// The position among the connection's replies.
    pub sequence: u32,
}

/// What of a client's state its commands depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a state of its own")]
pub struct ClientView {
    /// The selected database.
    pub db: u32,
    /// The protocol version.
    pub resp: Resp,
    /// Whether reading leaves access times alone.
    pub no_touch: bool,
    /// `CLIENT IMPORT-SOURCE`: in import mode, keys whose deadline has passed are there.
    pub import_source: bool,
    /// A script calls for it.
    pub scripted: bool,
    /// The keys that it reads are remembered, so that it can be told of changes.
    pub tracks: bool,
    /// The client's id; 0 for the server itself.
    pub client: u64,
}

impl ClientView {
    /// The view of the next part of a transaction whose client has this one after a part. What
    /// `CLIENT CACHING` asked for it before holds until it ends.
    #[must_use]
    pub fn followed_by(self, next: Self) -> Self {
        Self { tracks: self.tracks || next.tracks, ..next }
    }
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Done {
    /// Where its reply ends in the batch's replies.
    pub reply_end: usize,
    /// What it took, in nanoseconds.
    pub nanoseconds: u64,
    /// Whether the reply is an error.
    pub failed: bool,
    /// If it is: whose, for the statistics of errors.
    pub blame: Blame,
    /// Commands that it has called, being a script.
    pub calls: u32,
    /// It waits for a lock: its reply comes later, in a [`Control::LateReply`].
    pub parked: bool,
}

impl Done {
    /// Appends the reply of a command that was not run.
    pub(super) fn refused(replies: &mut Vec<u8>, error: &CommandError) -> Self {
        // Errors are the same in both protocol versions.
        Encoder::new(replies, Resp::V2).error_bytes(&error.to_wire());
        Self { reply_end: replies.len(), failed: true, ..Self::default() }
    }
}

/// Whose an error is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Blame {
    /// The command's.
    #[default]
    Command,
    /// Made up by a script: there may be any number of codes.
    Script,
    /// A command's that a script has called, where it was counted.
    Counted,
}

/// Arguments that outlive the buffer they came in. A clone shares them.
#[derive(Clone, Debug)]
pub struct OwnedArgs {
    data: Arc<[u8]>,
    ranges: Arc<[ArgRange]>,
}

impl OwnedArgs {
    /// Copies the arguments: one copy of the request's bytes and one of the ranges.
    pub fn new(args: Args<'_>) -> Self {
        Self { data: args.buffer().into(), ranges: args.ranges().into() }
    }

    /// Arguments that are not those of a request as it came.
    pub fn of_parts<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut data = Vec::new();
        let mut ranges = Vec::new();
        for part in parts {
            ranges.push(ArgRange { start: data.len() as u32, len: part.len() as u32 });
            data.extend_from_slice(part);
        }
        Self { data: data.into(), ranges: ranges.into() }
    }

    /// The arguments, the command's name included.
    pub fn view(&self) -> Args<'_> {
        Args::new(&self.data, &self.ranges)
    }
}

/// A piece of a coordinated command that runs on one core.
pub struct Task {
    /// When the transaction began, wall clock, milliseconds: no time passes for it.
    pub(super) began_ms: u64,
    /// What is done.
    pub(super) work: Box<dyn FnOnce(&mut CoreState) -> Reply + Send>,
}

impl Task {
    /// Runs it.
    pub(super) fn run(self, state: &mut CoreState) -> Reply {
        state.shard.look_back(self.began_ms);
        let reply = (self.work)(state);
        state.shard.look_now();
        reply
    }
}

/// What a task returns to its coordinator.
pub type Reply = Box<dyn Any + Send>;

/// What one core asks of another, or tells it, beyond plain requests.
pub enum Control {
    /// Claim these locks for the transaction.
    Lock(TransactionId, Scope),
    /// What a [`Control::Lock`] came to; `Granted` may follow `Queued` later.
    Locked(TransactionId, Outcome),
    /// Give up the claims of the transaction, granted or not.
    Release(TransactionId),
    /// Run a task of the coordination with this number, then perhaps release its locks.
    Run {
        /// The coordination, in its coordinator's numbering.
        coordination: u64,
        /// The place of the result among the results of its hop.
        index: usize,
        /// The work.
        task: Task,
        /// The transaction whose locks end with this task.
        release: Option<TransactionId>,
    },
    /// Run a task of a coordination whose other locks have been granted, if nobody stands in the
    /// way of what it locks here.
    RunIfFree {
        /// The coordination, in its coordinator's numbering.
        coordination: u64,
        /// The place of the result among the results of its hop.
        index: usize,
        /// The work.
        task: Task,
        /// What it would lock.
        scope: Scope,
    },
    /// Somebody stood in the way of that.
    NotFree {
        /// The coordination.
        coordination: u64,
        /// The place of the result among the results of the hop.
        index: usize,
        /// The work, which has not been done.
        task: Task,
    },
    /// What a task returned.
    Ran {
        /// The coordination.
        coordination: u64,
        /// The place among the results of the hop.
        index: usize,
        /// The result.
        reply: Reply,
        /// What it has caused, for the log.
        caused: Option<Box<Caused>>,
    },
    /// Expel whoever stands in the way of the transaction, which is to have everything.
    Raise(TransactionId),
    /// Begin a script again, under locks on everything: it has turned out to need more than the
    /// shard that it ran on.
    Widen(Asked),
    /// Coordinate a script that has turned out to need more than the shard that it runs on, which
    /// it holds under this identifier, when what it has done cannot be taken back.
    Astray(Asked, TransactionId, Box<Astray>),
    /// The reply of a request that had to wait for a lock.
    LateReply {
        /// The place where it belongs.
        to: ReplyTo,
        /// The command.
        entry: &'static Entry,
        /// The reply, encoded.
        reply: Vec<u8>,
        /// How it ended.
        done: Done,
        /// Its arguments, for the command log.
        args: OwnedArgs,
    },
    /// About a client that waits for a key.
    Blocking(Message),
    /// About transactions that clients compose.
    Multi(multi::Message),
    /// About messages to subscribers.
    PubSub(publish::Message),
    /// About clients that track.
    Tracking(tracking::Message),
    /// More of the log is on the disk.
    Flushed,
    /// A line for the clients that monitor.
    Monitor(Arc<[u8]>),
    /// What a script of this client has called, for the command log.
    Calls(ReplyTo, Vec<LoggedCall>),
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lock(id, scope) => write!(f, "Lock({id:?}, {scope:?})"),
            Self::Locked(id, outcome) => write!(f, "Locked({id:?}, {outcome:?})"),
            Self::Release(id) => write!(f, "Release({id:?})"),
            Self::Run { coordination, index, release, .. } => {
                write!(f, "Run({coordination}/{index}, release {release:?})")
            }
            Self::RunIfFree { coordination, index, scope, .. } => {
                write!(f, "RunIfFree({coordination}/{index}, {scope:?})")
            }
            Self::NotFree { coordination, index, .. } => {
                write!(f, "NotFree({coordination}/{index})")
            }
            Self::Ran { coordination, index, .. } => write!(f, "Ran({coordination}/{index})"),
            Self::Raise(id) => write!(f, "Raise({id:?})"),
            Self::Widen(asked) => write!(f, "Widen({:?})", asked.to),
            Self::Astray(asked, id, _) => write!(f, "Astray({:?}, {id:?})", asked.to),
            Self::LateReply { to, .. } => write!(f, "LateReply({to:?})"),
            Self::Blocking(message) => message.fmt(f),
            Self::Multi(message) => message.fmt(f),
            Self::PubSub(message) => message.fmt(f),
            Self::Tracking(message) => message.fmt(f),
            Self::Flushed => f.write_str("Flushed"),
            Self::Monitor(_) => f.write_str("Monitor"),
            Self::Calls(to, calls) => write!(f, "Calls({to:?}, {})", calls.len()),
        }
    }
}
