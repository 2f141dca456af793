//! Scripts on one shard: at once where that suffices, and a little in each round when they take
//! long.

use std::collections::VecDeque;

use kvasir_proto::{Args, Encoder};

use super::super::core::Core;
use super::super::engine::ConnectionKey;
use super::super::locks::Owner;
use super::super::message::{ClientView, Control, Done, OwnedArgs, ReplyTo};
use super::super::transaction::Request;
use super::answer::{Hold, Verdict};
use super::{Caller, Run, TOO_LATE, TURN_NS, done_of, error_reply, widely};
use crate::commands::definition::ScriptKind;
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::route::connection::Blocked;
use crate::route::engine::ShardId;
use crate::route::locks::{Mode, Outcome, Scope, TransactionId};
use crate::script::cache::Reach;
use crate::script::exchange::Ending;
use crate::script::interpreter::{Finished, Step};

/// Scripts that go on in turns.
#[derive(Default)]
pub(super) struct Jobs(VecDeque<Job>);

/// A script that claims its whole shard and goes on a little in each round.
struct Job {
    number: u64,
    origin: ShardId,
    to: ReplyTo,
    entry: &'static Entry,
    view: ClientView,
    args: OwnedArgs,
}

impl Jobs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their numbers among the scripts that are held.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|job| job.number)
    }
}

/// What a turn ended with.
enum Turn {
    Done(Finished),
    /// Time is up.
    Over,
    /// It wants more than the shard, and has not written.
    Beyond,
}

impl Core {
    /// Runs a script of a connection of this core on this shard.
    pub(in crate::route) fn run_script_of(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        kind: ScriptKind,
        view: ClientView,
        args: Args<'_>,
    ) {
        let mut reply = Vec::new();
        let caller = Caller::Here(key);
        let Some(mut done) = self.run_script(caller, entry, kind, view, args, &mut reply) else {
            return self.after_command();
        };
        let mut buffer = self.state.connections[key.0 as usize].reply_start();
        let start = buffer.len();
        buffer.extend_from_slice(&reply);
        done.reply_end = buffer.len();
        self.end_reply(key, entry, buffer, start, done, args);
        self.after_command();
    }

    /// Runs a script on this shard, appending its reply. Nothing when the reply comes later.
    pub(in crate::route) fn run_script(
        &mut self,
        caller: Caller,
        entry: &'static Entry,
        kind: ScriptKind,
        view: ClientView,
        args: Args<'_>,
        reply: &mut Vec<u8>,
    ) -> Option<Done> {
        let began = self.state.metrics.ticks();
        let refuse = |error: &CommandError, reply: &mut Vec<u8>| {
            Encoder::new(reply, view.resp).error_bytes(&error.to_wire());
            Some(Done { reply_end: reply.len(), failed: true, ..Done::default() })
        };
        if let Some(busy) = self.busy(entry) {
            return refuse(&busy, reply);
        }
        let client = self.client_of(caller);
        let mut run = match self.state.begin_script(entry, kind, args, view, client) {
            Ok(run) => run,
            Err(error) => return refuse(&error, reply),
        };
        match self.turn(&mut run, None) {
            Turn::Done(finished) => {
                reply.extend_from_slice(&finished.reply);
                if run.wrote && !run.strayed {
                    run.script.note_reach(Reach::OneShard);
                }
                let calls = run.calls;
                self.state.end_script(run);
                let nanoseconds = self.state.shared.stopwatch.elapsed_ns(began);
                Some(done_of(&finished, reply.len(), nanoseconds, calls))
            }
            Turn::Over => {
                let (origin, to) = self.expect_reply(caller);
                let args = OwnedArgs::new(args);
                run.command = Some(args.clone());
                let number = self.state.scripts.hold(run);
                let job = Job { number, origin, to, entry, view, args };
                self.locks.seize(Owner::Script(number));
                self.state.scripts.jobs.0.push_back(job);
                None
            }
            Turn::Beyond => {
                self.give_up(run);
                let args = OwnedArgs::new(args);
                if let Caller::Here(key) = caller {
                    self.state.connections[key.0 as usize].blocked = Blocked::Coordinating;
                }
                let (origin, to) = self.expect_reply(caller);
                let waits = matches!(caller, Caller::Here(_));
                self.widen(origin, to, entry, view, args, waits);
                None
            }
        }
    }

    /// Who waits for a script.
    fn client_of(&self, caller: Caller) -> (ShardId, ReplyTo) {
        match caller {
            Caller::There(origin, to) => (origin, to),
            Caller::Here(key) => {
                let client = self.state.connections[key.0 as usize].client.id;
                (self.state.id, ReplyTo { connection: key, client, sequence: 0 })
            }
        }
    }

    /// The place of a reply that comes later.
    fn expect_reply(&mut self, caller: Caller) -> (ShardId, ReplyTo) {
        match caller {
            Caller::There(origin, to) => (origin, to),
            Caller::Here(key) => {
                let connection = &mut self.state.connections[key.0 as usize];
                let (client, sequence) = (connection.client.id, connection.reserve());
                (self.state.id, ReplyTo { connection: key, client, sequence })
            }
        }
    }

    /// Lets a script go on until it is done, has had its turn, or wants what this shard does not
    /// have. With `owner` it has claimed the shard, and is only behind the claims before its own.
    fn turn(&mut self, run: &mut Run, owner: Option<Owner>) -> Turn {
        let stopwatch = self.state.shared.stopwatch;
        let began = stopwatch.ticks();
        let whole = Scope::Everything(Mode::Write);
        run.undisturbed = match owner {
            None => self.locks.is_idle(),
            Some(owner) => self.locks.admits_past(owner, &whole),
        };
        loop {
            match run.step() {
                Step::Done(finished) => return Turn::Done(finished),
                Step::Slice if stopwatch.elapsed_ns(began) >= TURN_NS => return Turn::Over,
                Step::Slice => {}
                Step::Call => {
                    let (locks, map) = (&self.locks, self.state.shared.map);
                    let admits = |entry: &'static Entry, args: Args<'_>, db: u32| {
                        locks.is_idle() || {
                            let scope = Self::scope_of_call(map, entry, args, db);
                            match owner {
                                None => locks.admits(&scope),
                                Some(owner) => locks.admits_past(owner, &scope),
                            }
                        }
                    };
                    if let Verdict::Beyond(..) = self.state.answer(run, Hold::Shard, admits) {
                        if run.strayed {
                            run.script.note_reach(Reach::Everything);
                        }
                        if !run.irrevocable {
                            return Turn::Beyond;
                        }
                        error_reply(TOO_LATE, &mut run.running.call().reply);
                    }
                }
            }
        }
    }

    /// Ends a script that is to begin again, as if it had never run.
    fn give_up(&mut self, mut run: Run) {
        run.running.end(Ending::Abandoned);
        self.state.take_back(&mut run.undo);
        self.state.forget_run(run);
    }

    /// Gives the scripts of this core that take long their next turns.
    pub(in crate::route) fn go_on_with_scripts(&mut self) {
        for _ in 0..self.state.scripts.jobs.0.len() {
            let Some(job) = self.state.scripts.jobs.0.pop_front() else { break };
            let mut run = self.state.scripts.take(job.number);
            let became_busy = self.state.note_duration(&mut run);
            let owner = Owner::Script(job.number);
            match self.turn(&mut run, Some(owner)) {
                Turn::Over => {
                    self.state.scripts.held.insert(job.number, run);
                    self.state.scripts.jobs.0.push_back(job);
                    if became_busy {
                        self.turn_away(Some(owner));
                    }
                }
                Turn::Done(finished) => {
                    let nanoseconds = self.state.shared.stopwatch.elapsed_ns(run.began);
                    let calls = run.calls;
                    self.state.end_script(run);
                    let done = done_of(&finished, finished.reply.len(), nanoseconds, calls);
                    let reply = finished.reply;
                    self.reply_late(job.origin, job.to, job.entry, reply, done, job.args);
                    self.release(owner);
                    self.after_command();
                }
                Turn::Beyond => {
                    self.give_up(run);
                    let Job { origin, to, entry, view, args, .. } = job;
                    self.widen(origin, to, entry, view, args, false);
                    self.release(owner);
                }
            }
        }
    }

    /// Sends the reply of a request that came from some core a while ago.
    pub(in crate::route) fn reply_late(
        &mut self,
        origin: ShardId,
        to: ReplyTo,
        entry: &'static Entry,
        reply: Vec<u8>,
        done: Done,
        args: OwnedArgs,
    ) {
        if origin == self.state.id {
            self.late_reply(to, entry, &reply, done, args.view());
        } else {
            self.outboxes.control(origin, Control::LateReply { to, entry, reply, done, args });
        }
    }

    /// Has a script begun again by its client's core, under locks on everything. This shard is
    /// claimed at once, so that later requests of the client do not overtake.
    fn widen(
        &mut self,
        origin: ShardId,
        to: ReplyTo,
        entry: &'static Entry,
        view: ClientView,
        args: OwnedArgs,
        waits: bool,
    ) {
        if origin == self.state.id {
            return self.begin_widely(to, entry, view, args, waits, None);
        }
        let id = TransactionId::draw(&self.state.shared.next_transaction, origin);
        let scopes = self.scopes_by_shard(entry, args.view(), view.db);
        let scopes = scopes.expect("invariant: a script that has begun is well-formed");
        let mine = scopes.into_iter().find(|(shard, _)| *shard == self.state.id);
        let scope = mine.map_or(Scope::Keys(Vec::new()), |(_, scope)| scope);
        let outcome = self.locks.request(Owner::Transaction(id), scope);
        self.outboxes.control(origin, Control::Widen { to, entry, view, args, id, outcome });
    }

    /// Coordinates a script of a connection of this core. With `asked`, that shard has drawn its
    /// identifier and requested the locks there. `waits`: the connection does, for this.
    pub(in crate::route) fn begin_widely(
        &mut self,
        to: ReplyTo,
        entry: &'static Entry,
        view: ClientView,
        args: OwnedArgs,
        waits: bool,
        asked: Option<(ShardId, TransactionId, Outcome)>,
    ) {
        let scopes = self.scopes_by_shard(entry, args.view(), view.db);
        let scopes = scopes.expect("invariant: a script that has begun is well-formed");
        let (key, client) = (to.connection, to.client);
        let request = Request::of_owned(entry, key, client, view, &self.state, args);
        self.begin_detached(to, scopes, request, widely, !waits, asked);
    }
}
