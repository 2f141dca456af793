//! Requests that run on the core of their keys: the batches out, and what arrives in them.

use std::collections::{HashMap, VecDeque};

use kvasir_proto::{Args, Encoder};

use super::blocking::waiters::{Pending, Ticket};
use super::core::{Core, CoreState};
use super::engine::ShardId;
use super::locks::{Outcome, Owner, Scope, TransactionId};
use super::long::{Long, LongWork};
use super::message::{
    Batch, BatchKind, ClientView, Control, Done, OwnedArgs, RemoteRequest, ReplyTo, Task,
};
use super::multi::Errand;
use super::script::Caller;
use super::transaction::shard_context;
use crate::commands::context::ShardHandler;
use crate::commands::definition::{Blocking, Handler};
use crate::commands::table::Entry;
use crate::persist::log::Records;

/// Empty batches kept for reuse.
const SPARE_MAX: usize = 64;

/// What this core has for the others, until the end of the round.
pub(crate) struct Outboxes {
    me: ShardId,
    /// The batch of requests and controls for each core.
    requests: Vec<Option<Box<Batch>>>,
    /// Batches on their way back.
    answers: VecDeque<Box<Batch>>,
    #[expect(clippy::vec_box, reason = "a batch travels in its box, which is what is reused")]
    spare: Vec<Box<Batch>>,
}

impl Outboxes {
    pub(super) fn new(me: ShardId, shards: u16) -> Self {
        let requests = (0..shards).map(|_| None).collect();
        Self { me, requests, answers: VecDeque::new(), spare: Vec::new() }
    }

    /// The batch that is being filled for a core.
    pub(super) fn to(&mut self, target: ShardId) -> &mut Batch {
        assert_ne!(target, self.me, "invariant: a core sends nothing to itself");
        self.requests[target.index()].get_or_insert_with(|| {
            self.spare.pop().map_or_else(
                || Box::new(Batch::new(self.me)),
                |mut batch| {
                    batch.origin = self.me;
                    batch
                },
            )
        })
    }

    /// Adds a control for a core.
    pub(crate) fn control(&mut self, target: ShardId, control: Control) {
        self.to(target).controls.push(control);
    }

    /// The next message of the round, with its target. Answers come last: what has come of a
    /// command is told to those who listen before it is told to the client, who may tell others.
    pub(super) fn next(&mut self, unix_ms: u64) -> Option<(ShardId, Box<Batch>)> {
        let filled = self.requests.iter_mut().enumerate().find(|(_, batch)| batch.is_some());
        if let Some((index, slot)) = filled {
            let mut batch = slot.take()?;
            batch.unix_ms = unix_ms;
            return Some((ShardId(index as u16), batch));
        }
        let batch = self.answers.pop_front()?;
        Some((batch.origin, batch))
    }

    /// Messages that wait for the end of the round.
    pub(super) fn len(&self) -> usize {
        self.answers.len() + self.requests.iter().flatten().count()
    }

    /// Keeps an executed batch for reuse.
    fn recycle(&mut self, mut batch: Box<Batch>) {
        if self.spare.len() < SPARE_MAX && batch.recycle() {
            self.spare.push(batch);
        }
    }
}

/// Owners of claims whose turn has come and who have not been run or told yet.
#[derive(Default)]
pub(super) struct Granted {
    owners: VecDeque<Owner>,
    /// Whether somebody further up is going through them.
    at_work: bool,
}

/// What waits for a lock, with its own copy of the arguments.
pub(super) enum Parked {
    /// A request.
    Request {
        /// The core of the connection.
        origin: ShardId,
        entry: &'static Entry,
        reply_to: ReplyTo,
        view: ClientView,
        args: OwnedArgs,
    },
    /// A blocking command that has not been tried yet.
    Attempt(Box<Pending>, OwnedArgs),
    /// One who waits for a key, which is ready.
    Waiter(Ticket),
    /// A command that has its locks and goes on in parts.
    Long(Box<Long>),
    /// All that a client's command does.
    Errand(Box<Errand>),
    /// What has fallen due.
    Expiry,
}

/// The requests that wait for a lock of this shard, and those that hold one for long.
#[derive(Default)]
pub(super) struct ParkedRequests {
    requests: HashMap<u64, Parked, ahash::RandomState>,
    next: u64,
}

impl ParkedRequests {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn take(&mut self, number: u64) -> Parked {
        self.requests.remove(&number).expect("invariant: a parked request is granted once")
    }

    /// Adds one; its number.
    pub(super) fn insert(&mut self, parked: Parked) -> u64 {
        let number = self.next;
        self.next += 1;
        self.requests.insert(number, parked);
        number
    }

    /// Keeps one that was taken.
    pub(super) fn put_back(&mut self, number: u64, parked: Parked) {
        self.requests.insert(number, parked);
    }
}

/// What runs on a single shard.
enum Runs {
    Handler(ShardHandler),
    /// Tried once, without waiting.
    Blocking(&'static Blocking),
}

fn shard_handler(entry: &Entry) -> Runs {
    match entry.command.handler {
        Handler::Shard(handler)
        | Handler::Multi { whole: handler, .. }
        | Handler::Placed { run: handler, .. } => Runs::Handler(handler),
        Handler::Blocking(blocking) => Runs::Blocking(blocking),
        _ => unreachable!("only commands that run on a single shard are sent to one"),
    }
}

impl Core {
    /// Executes a batch of another core in place and sends it back.
    pub(super) fn execute_batch(&mut self, mut batch: Box<Batch>) {
        self.state.tell_time(batch.unix_ms);
        self.prefetch_batch(&batch);
        // Monitors see a script before what it calls.
        for control in &batch.controls {
            if let Control::Monitor(line) = control {
                self.state.feed_monitors(line);
            }
        }
        let mut replies = std::mem::take(&mut batch.replies);
        self.state.metrics.start_lap();
        for index in 0..batch.requests.len() {
            let request = batch.requests[index];
            let args = batch.args(&request);
            let done = self.execute_remote(batch.origin, &request, args, &mut replies);
            batch.requests[index].done = done;
        }
        batch.replies = replies;
        for control in std::mem::take(&mut batch.controls) {
            self.obey(batch.origin, control);
        }
        if batch.requests.is_empty() {
            self.outboxes.recycle(batch);
        } else {
            batch.kind = BatchKind::Answers;
            self.outboxes.answers.push_back(batch);
        }
    }

    /// Brings the memory that the batch will touch towards the core.
    fn prefetch_batch(&self, batch: &Batch) {
        let keys = batch.requests.iter().map(|request| (request.view.db, request.hash));
        self.state.shard.prefetch_keys(keys);
    }

    fn execute_remote(
        &mut self,
        origin: ShardId,
        request: &RemoteRequest,
        args: Args<'_>,
        replies: &mut Vec<u8>,
    ) -> Done {
        if let Err(error) = self.check_replay(request.entry.needs_data(), request.reply_to.client) {
            return Done::refused(replies, &error);
        }
        if !self.locks.is_idle() {
            let scope = self.scope_of(request.entry, args, request.view.db);
            if !self.locks.admits(&scope) {
                if let Some(busy) = self.busy(request.entry) {
                    return Done::refused(replies, &busy);
                }
                self.park(origin, request.entry, request.reply_to, request.view, args, scope);
                return Done { parked: true, reply_end: replies.len(), ..Done::default() };
            }
        }
        if let Handler::Script(kind) = request.entry.command.handler {
            let caller = Caller::There(origin, request.reply_to);
            let done = self.run_script(caller, request.entry, kind, request.view, args, replies);
            self.after_command();
            return done.unwrap_or(Done {
                parked: true,
                reply_end: replies.len(),
                ..Done::default()
            });
        }
        let start = replies.len();
        let done = self.run_alone(request.entry, request.view, args, replies);
        if let Some(work) = self.state.postponed.take() {
            let to = request.reply_to;
            let long = Self::long_of((origin, request.entry, to), request.view, args, done, work);
            self.begin_long(Long { reply: replies.split_off(start), ..long });
            return Done { parked: true, reply_end: start, ..done };
        }
        self.after_command();
        done
    }

    /// A command that has just begun and goes on in parts, without its reply.
    pub(super) fn long_of(
        (origin, entry, reply_to): (ShardId, &'static Entry, ReplyTo),
        view: ClientView,
        args: Args<'_>,
        done: Done,
        work: Box<dyn LongWork>,
    ) -> Long {
        let (args, nanoseconds) = (OwnedArgs::new(args), done.nanoseconds);
        let (reply, caused) = (Vec::new(), Records::default());
        Long { origin, entry, reply_to, view, args, reply, caused, nanoseconds, work }
    }

    /// Runs a command on this shard by itself, appending its reply, or as much of it as there is
    /// when it leaves something for later: the caller sees to that.
    pub(super) fn run_alone(
        &mut self,
        entry: &'static Entry,
        view: ClientView,
        args: Args<'_>,
        replies: &mut Vec<u8>,
    ) -> Done {
        self.state.postponed.permit();
        self.state.run_here(entry, view, args, replies)
    }

    /// Makes a request wait for the claims before it.
    pub(super) fn park(
        &mut self,
        origin: ShardId,
        entry: &'static Entry,
        reply_to: ReplyTo,
        view: ClientView,
        args: Args<'_>,
        scope: Scope,
    ) {
        let args = OwnedArgs::new(args);
        self.park_this(Parked::Request { origin, entry, reply_to, view, args }, scope);
    }

    /// Makes the first attempt of a blocking command wait for the claims before it.
    pub(super) fn park_attempt(&mut self, pending: Pending, args: OwnedArgs, scope: Scope) {
        self.park_this(Parked::Attempt(Box::new(pending), args), scope);
    }

    /// Makes one whose key is ready wait for the claims before it.
    pub(super) fn park_waiter(&mut self, ticket: Ticket, scope: Scope) {
        self.park_this(Parked::Waiter(ticket), scope);
    }

    /// Makes an errand wait for the claims before it.
    pub(super) fn park_errand(&mut self, errand: Box<Errand>, scope: Scope) {
        self.park_this(Parked::Errand(errand), scope);
    }

    pub(super) fn park_this(&mut self, parked: Parked, scope: Scope) {
        let number = self.parked.insert(parked);
        let outcome = self.locks.request(Owner::Parked(number), scope);
        assert_eq!(outcome, Outcome::Queued, "invariant: what is admitted is not parked");
    }

    /// Ends the claims of an owner, and runs or tells whoever's turn has come.
    ///
    /// Those may end theirs at once, and so on for as long as there are some who wait: they are
    /// queued for the outermost call, since a recursion would be as deep as they are many.
    ///
    /// Whoever comes next must find what has been done under the claims in the flags of watches.
    pub(super) fn release(&mut self, owner: Owner) {
        self.state.follow_journal();
        self.locks.release(owner, &mut self.granted.owners);
        if std::mem::replace(&mut self.granted.at_work, true) {
            return;
        }
        while let Some(owner) = self.granted.owners.pop_front() {
            match owner {
                Owner::Transaction(id) => self.tell_locked(id, Outcome::Granted),
                // It runs already.
                Owner::Script(_) => {}
                Owner::Parked(number) => {
                    let is_done = self.run_parked(number);
                    self.state.follow_journal();
                    if is_done {
                        self.locks.release(owner, &mut self.granted.owners);
                    }
                    self.after_command();
                }
            }
        }
        self.granted.at_work = false;
        self.tell_quiet();
    }

    /// Runs one whose turn has come; false when it goes on in parts and keeps its locks.
    fn run_parked(&mut self, number: u64) -> bool {
        let (origin, entry, to, view, args) = match self.parked.take(number) {
            Parked::Request { origin, entry, reply_to, view, args } => {
                (origin, entry, reply_to, view, args)
            }
            Parked::Attempt(pending, args) => {
                self.try_admitted(*pending, args);
                return true;
            }
            Parked::Waiter(ticket) => {
                self.try_granted(ticket);
                return true;
            }
            Parked::Expiry => {
                self.expiry_parked = false;
                self.state.expire_due();
                return true;
            }
            Parked::Long(_) => unreachable!("what has begun waits for nobody"),
            Parked::Errand(errand) => {
                self.run_errand(errand);
                return true;
            }
        };
        let mut reply = Vec::new();
        if let Err(error) = self.check_replay(entry.needs_data(), to.client) {
            let done = Done::refused(&mut reply, &error);
            self.reply_late(origin, to, entry, reply, done, args);
            return true;
        }
        self.state.metrics.start_lap();
        if let Handler::Script(kind) = entry.command.handler {
            let caller = Caller::There(origin, to);
            let done = self.run_script(caller, entry, kind, view, args.view(), &mut reply);
            if let Some(done) = done {
                self.reply_late(origin, to, entry, reply, done, args);
            }
            return true;
        }
        let done = self.run_alone(entry, view, args.view(), &mut reply);
        if let Some(work) = self.state.postponed.take() {
            let nanoseconds = done.nanoseconds;
            let caused = Records::default();
            let long =
                Long { origin, entry, reply_to: to, view, args, reply, caused, nanoseconds, work };
            self.go_on_long(number, long);
            return false;
        }
        if origin == self.state.id {
            self.late_reply(to, entry, &reply, done, args.view());
        } else {
            let late = Control::LateReply { to, entry, reply, done, args };
            self.outboxes.control(origin, late);
        }
        true
    }

    /// Tells a transaction's coordinator what became of its request for locks here.
    pub(super) fn tell_locked(&mut self, id: TransactionId, outcome: Outcome) {
        let coordinator = id.coordinator();
        if coordinator == self.state.id {
            self.locked(self.state.id, id, outcome);
        } else {
            self.outboxes.control(coordinator, Control::Locked(id, outcome));
        }
    }

    fn obey(&mut self, origin: ShardId, control: Control) {
        match control {
            Control::Lock(id, scope) => {
                let outcome = self.claim(id, scope);
                self.tell_locked(id, outcome);
            }
            Control::Locked(id, outcome) => self.locked(origin, id, outcome),
            Control::Release(id) => self.release(Owner::Transaction(id)),
            Control::Run { coordination, index, task, release } => {
                self.run_for(origin, (coordination, index), task, release);
            }
            Control::RunIfFree { coordination, index, task, scope } => {
                if self.locks.admits(&scope) {
                    self.run_for(origin, (coordination, index), task, None);
                } else {
                    let refusal = Control::NotFree { coordination, index, task };
                    self.outboxes.control(origin, refusal);
                }
            }
            Control::NotFree { coordination, index, task } => {
                self.not_free(coordination, (index, origin, task));
            }
            Control::Ran { coordination, index, reply, caused } => {
                self.ran(coordination, index, reply, caused);
            }
            Control::Raise(id) => self.raise(id),
            Control::Widen(asked) => self.begin_widely(asked, false),
            Control::Astray(asked, id, astray) => self.coordinate_astray(asked, id, astray, false),
            Control::LateReply { to, entry, reply, done, args } => {
                self.late_reply(to, entry, &reply, done, args.view());
            }
            Control::Blocking(message) => self.heed(origin, message),
            Control::Multi(message) => self.heed_multi(message),
            Control::PubSub(message) => self.hear(origin, message),
            Control::Tracking(message) => self.heed_tracking(message),
            // Monitors were shown theirs before the requests, and of a flush one need only know.
            Control::Monitor(_) | Control::Flushed => {}
            Control::Calls(to, calls) => self.state.log_calls(to, calls),
        }
    }

    /// Runs a task of a coordination of another core, after which locks may end.
    fn run_for(
        &mut self,
        origin: ShardId,
        (coordination, index): (u64, usize),
        task: Task,
        release: Option<TransactionId>,
    ) {
        self.state.tracking.set_author(None);
        let (reply, caused) = self.state.run_task(task);
        // What has come of it is told before the coordinator goes on.
        self.state.follow_journal();
        self.spread_notices();
        if let Some(id) = release {
            self.release(Owner::Transaction(id));
        }
        self.outboxes.control(origin, Control::Ran { coordination, index, reply, caused });
        self.after_command();
    }

    /// The reply of a request that had been parked.
    pub(super) fn late_reply(
        &mut self,
        to: ReplyTo,
        entry: &'static Entry,
        reply: &[u8],
        done: Done,
        args: Args<'_>,
    ) {
        self.record(entry, done, args, reply, to);
        self.fill(to, reply);
    }

    /// A batch has come back: every reply goes to its place.
    pub(super) fn accept_answers(&mut self, batch: Box<Batch>) {
        let mut start = 0;
        for request in &batch.requests {
            let reply = &batch.replies[start..request.done.reply_end];
            start = request.done.reply_end;
            if !request.done.parked {
                let args = batch.args(request);
                self.record(request.entry, request.done, args, reply, request.reply_to);
                self.fill(request.reply_to, reply);
            }
        }
        self.outboxes.recycle(batch);
    }
}

impl CoreState {
    /// Runs a command on this shard, appending its reply.
    pub(super) fn run_here(
        &mut self,
        entry: &'static Entry,
        view: ClientView,
        args: Args<'_>,
        replies: &mut Vec<u8>,
    ) -> Done {
        let handler = shard_handler(entry);
        let start = replies.len();
        let changes = self.keyspace_figures.changes;
        let may_postpone = self.postponed.take_permission();
        let mut context = shard_context(self, view);
        context.may_postpone = may_postpone;
        let mut encoder = Encoder::new(replies, view.resp);
        let result = match handler {
            Runs::Handler(handler) => handler(&mut context, args, &mut encoder),
            Runs::Blocking(blocking) => blocking.run_once(&mut context, args, &mut encoder),
        };
        let failed = result.is_err();
        if let Err(error) = result {
            replies.truncate(start);
            Encoder::new(replies, view.resp).error_bytes(&error.to_wire());
        }
        self.end_effect(entry, view.db, args, changes);
        if view.tracks {
            self.remember_read(entry, view, args);
        }
        let nanoseconds = self.metrics.lap();
        Done { reply_end: replies.len(), nanoseconds, failed, ..Done::default() }
    }
}
