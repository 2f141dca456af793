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
use super::coordinated::{Astray, Wanted};
use super::wide::go_on_everywhere;
use super::{Asked, Caller, Run, TURN_NS, done_of, widely};
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
    asked: Asked,
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
    /// It wants more than the shard, and can begin again.
    Beyond,
    /// It wants this, which is more than the shard, and cannot begin again.
    Astray(Wanted),
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
                let mut done = done_of(&finished, 0, 0, run.calls);
                if reply.is_empty() {
                    *reply = finished.reply;
                } else {
                    reply.extend_from_slice(&finished.reply);
                }
                if run.wrote && !run.strayed {
                    run.script.note_reach(Reach::OneShard);
                }
                self.state.end_script(run);
                done.reply_end = reply.len();
                done.nanoseconds = self.state.shared.stopwatch.elapsed_ns(began);
                Some(done)
            }
            Turn::Over => {
                let (origin, asked) = self.ask(caller, entry, view, args);
                run.command = Some(asked.args.clone());
                let number = self.state.scripts.hold(run);
                self.locks.seize(Owner::Script(number));
                self.state.scripts.jobs.0.push_back(Job { number, origin, asked });
                None
            }
            Turn::Beyond => {
                self.give_up(run);
                let (origin, asked) = self.ask(caller, entry, view, args);
                let waits = self.has_wait(caller);
                self.widen(origin, asked, waits);
                None
            }
            Turn::Astray(wanted) => {
                let (origin, asked) = self.ask(caller, entry, view, args);
                run.command = Some(asked.args.clone());
                let id = TransactionId::draw(&self.state.shared.next_transaction, origin);
                let whole = Scope::Everything(Mode::Write);
                let outcome = self.locks.request(Owner::Transaction(id), whole);
                assert_eq!(outcome, Outcome::Granted, "invariant: it was undisturbed");
                let waits = self.has_wait(caller);
                self.go_astray(run, id, wanted, (origin, asked), waits);
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

    /// The request of a script whose reply comes later, and the core that waits for it.
    fn ask(
        &mut self,
        caller: Caller,
        entry: &'static Entry,
        view: ClientView,
        args: Args<'_>,
    ) -> (ShardId, Asked) {
        let (origin, to) = match caller {
            Caller::There(origin, to) => (origin, to),
            Caller::Here(key) => {
                let connection = &mut self.state.connections[key.0 as usize];
                let (client, sequence) = (connection.client.id, connection.reserve());
                (self.state.id, ReplyTo { connection: key, client, sequence })
            }
        };
        (origin, Asked { to, entry, view, args: OwnedArgs::new(args) })
    }

    /// Makes the connection wait for a coordination of its script, if it does not wait for the
    /// script already. Whether it does so.
    fn has_wait(&mut self, caller: Caller) -> bool {
        if let Caller::Here(key) = caller {
            self.state.connections[key.0 as usize].blocked = Blocked::Coordinating;
        }
        matches!(caller, Caller::Here(_))
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
                    let verdict = self.state.answer(run, Hold::Shard, admits);
                    if let Verdict::Beyond(entry, args) = verdict {
                        if run.strayed {
                            run.script.note_reach(Reach::Everything);
                        }
                        assert!(!run.contained, "invariant: its keys are here, and admitted");
                        if !run.irrevocable {
                            return Turn::Beyond;
                        }
                        return Turn::Astray(Wanted { entry, view: run.view, args });
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
                    let Asked { to, entry, args, .. } = job.asked;
                    self.reply_late(job.origin, to, entry, finished.reply, done, args);
                    self.release(owner);
                    self.after_command();
                }
                Turn::Beyond => {
                    self.give_up(run);
                    self.widen(job.origin, job.asked, false);
                    self.release(owner);
                }
                Turn::Astray(wanted) => {
                    let id = TransactionId::draw(&self.state.shared.next_transaction, job.origin);
                    self.locks.rename(owner, id);
                    self.go_astray(run, id, wanted, (job.origin, job.asked), false);
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

    /// Has a script begun again by its client's core, under locks on everything. The connection
    /// executes nothing else until then, so nothing of its overtakes.
    fn widen(&mut self, origin: ShardId, asked: Asked, waits: bool) {
        if origin == self.state.id {
            self.begin_widely(asked, waits);
        } else {
            self.outboxes.control(origin, Control::Widen(asked));
        }
    }

    /// Coordinates a script of a connection of this core. `waits`: the connection does, for this.
    pub(in crate::route) fn begin_widely(&mut self, asked: Asked, waits: bool) {
        let Asked { to, entry, view, args } = asked;
        let scopes = self.scopes_by_shard(entry, args.view(), view.db);
        let scopes = scopes.expect("invariant: a script that has begun is well-formed");
        let (key, client) = (to.connection, to.client);
        let request = Request::of_owned(entry, key, client, view, &self.state, args);
        self.begin_detached(to, scopes, request, widely, !waits);
    }

    /// Has a script that can no longer begin again go on under locks on everything, coordinated by
    /// its client's core. It holds all of this shard under that identifier.
    fn go_astray(
        &mut self,
        mut run: Run,
        id: TransactionId,
        wanted: Wanted,
        (origin, asked): (ShardId, Asked),
        waits: bool,
    ) {
        self.state.note_astray(&mut run);
        self.state.count_if_busy(&run);
        let caused = std::mem::take(&mut run.caused);
        let number = self.state.scripts.hold(run);
        let astray = Box::new(Astray { place: self.state.id, number, wanted, caused });
        if origin == self.state.id {
            self.coordinate_astray(asked, id, astray, waits);
        } else {
            self.outboxes.control(origin, Control::Astray(asked, id, astray));
        }
    }

    /// Coordinates a script of a connection of this core that runs on some shard already. `waits`:
    /// the connection does, for this.
    pub(in crate::route) fn coordinate_astray(
        &mut self,
        asked: Asked,
        id: TransactionId,
        astray: Box<Astray>,
        waits: bool,
    ) {
        let Asked { to, entry, view, args } = asked;
        let (key, client) = (to.connection, to.client);
        let mut request = Request::of_owned(entry, key, client, view, &self.state, args);
        request.astray = Some(astray);
        self.begin_astray(to, id, request, go_on_everywhere, !waits);
    }
}
