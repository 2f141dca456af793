//! What a script's calls come to: refusals, and the commands that run where the script does.

use std::task::{Context, Poll, Waker};

use kvasir_proto::{Args, Encoder};

use super::super::connection::Connection;
use super::super::core::{Core, CoreState};
use super::super::engine::{ConnectionKey, SocketInfo};
use super::super::locks::{Mode, Scope};
use super::super::message::{Done, OwnedArgs};
use super::super::transaction::{Request, Transaction};
use super::narrow::is_covered;
use super::undo::Undo;
use super::{Run, error_reply};
use crate::commands::context::{Coordinator, LocalHandler};
use crate::commands::definition::{Flags, Handler};
use crate::commands::help::answer_help;
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;
use crate::pubsub::message::{Publication, Topic};
use crate::script::cache::Reach;

/// Bytes of messages that a script has published and that wait for its end.
const PUBLISHED_BYTES_MAX: usize = 64 << 10;

/// Calls of a script that are kept uncounted. One with more of them that begins again has the rest
/// counted twice.
const UNCOUNTED_MAX: usize = 1024;

/// A call that is counted when its script is sure not to begin again.
pub(super) struct Uncounted {
    entry: &'static Entry,
    done: Done,
    /// The reply if it is an error.
    error: Box<[u8]>,
}

/// What a script may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// The shard that it runs on, as far as nobody else has claimed it.
    Shard,
    /// Keys of several shards: what uses them is run by its coordinator.
    Keys,
    /// Everything.
    All,
}

/// What became of a call.
pub(super) enum Verdict {
    /// Its reply is where the script finds it.
    Answered,
    /// It reaches beyond what the script has.
    Beyond(&'static Entry, OwnedArgs),
}

/// What a call is refused with by the rules of scripts.
fn refusal(run: &Run, entry: &Entry) -> Option<&'static str> {
    let flags = entry.command.flags;
    let is_script = matches!(entry.command.handler, Handler::Script(_));
    if flags.has(Flags::NOSCRIPT) && !run.unrestricted || is_script {
        return Some("ERR This Redis command is not allowed from script");
    }
    if run.read_only && (flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)) {
        return Some("ERR Write commands are not allowed from read-only scripts.");
    }
    if run.out_of_memory && !run.allow_oom && !run.wrote && flags.has(Flags::DENYOOM) {
        return Some("OOM command not allowed when used memory > 'maxmemory'.");
    }
    None
}

impl CoreState {
    /// Answers the call that a script has made, if that is possible here and now.
    ///
    /// `admits` tells of a request whether nobody else has claimed what it uses on this shard; it
    /// is asked for [`Hold::Shard`] alone.
    pub(super) fn answer(
        &mut self,
        run: &mut Run,
        hold: Hold,
        admits: impl Fn(&'static Entry, Args<'_>, u32) -> bool,
    ) -> Verdict {
        let mut call = std::mem::take(&mut *run.running.call());
        let mut reply = std::mem::take(&mut call.reply);
        reply.clear();
        run.view.resp = run.running.resp();
        let verdict = if hold == Hold::Shard && self.effects.is_on() {
            self.answer_logged(run, |state, run| {
                state.answer_with(run, hold, admits, call.args(), &mut reply)
            })
        } else {
            self.answer_with(run, hold, admits, call.args(), &mut reply)
        };
        call.reply = reply;
        *run.running.call() = call;
        verdict
    }

    /// Answers a call of a script that may begin again: what it changes is logged when it ends.
    fn answer_logged(
        &mut self,
        run: &mut Run,
        answer: impl FnOnce(&mut Self, &mut Run) -> Verdict,
    ) -> Verdict {
        self.effects.divert();
        self.effects.put_unit(&mut run.caused);
        let verdict = answer(self, run);
        run.caused = self.effects.restore();
        verdict
    }

    fn answer_with(
        &mut self,
        run: &mut Run,
        hold: Hold,
        admits: impl Fn(&'static Entry, Args<'_>, u32) -> bool,
        args: Args<'_>,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let Some(entry) = table().find(args) else {
            return self.refuse(None, "ERR Unknown command called from script", reply);
        };
        if !entry.command.arity.accepts(args.len()) {
            let text = "ERR Wrong number of args calling command from script";
            return self.refuse(Some(entry), text, reply);
        }
        if let Some(text) = refusal(run, entry) {
            return self.refuse(Some(entry), text, reply);
        }
        let writes = entry.command.flags.has(Flags::WRITE);
        // A script that has changed something is not stopped half way by that, as on the peers.
        if writes
            && !run.wrote
            && let Some(error) = self.write_refusal()
        {
            self.metrics.rejected(Some(entry), &error);
            Encoder::new(reply, run.view.resp).error_bytes(&error.to_wire());
            return Verdict::Answered;
        }
        let alone = self.shared.map.shards() == 1;
        self.note_straying(run, entry, args);
        let admitted = match hold {
            Hold::Shard => run.contained || admits(entry, args, run.view.db),
            Hold::Keys => false,
            Hold::All => true,
        };
        let here = hold == Hold::Shard;
        if here && !self.may_act(run, entry, args, admitted) {
            return Verdict::Beyond(entry, OwnedArgs::new(args));
        }
        if let Handler::Blocking(blocking) = entry.command.handler
            && let Err(error) = (blocking.patience)(args)
        {
            Encoder::new(reply, run.view.resp).error_bytes(&error.to_wire());
            return Verdict::Answered;
        }
        self.metrics.start_lap();
        let changes = self.keyspace_figures.changes;
        let done = match entry.command.handler {
            Handler::Local(handler) => Some(self.run_aside(run, handler, args, reply)),
            Handler::Help(_) => Some(self.run_aside(run, answer_help, args, reply)),
            Handler::Publish(topic) if here => self.publish_aside(topic, args, run, reply),
            Handler::Shard(_) | Handler::Multi { .. } | Handler::Blocking(_)
                if admitted && self.owns(entry, args) =>
            {
                Some(self.run_here(entry, run.view, args, reply))
            }
            Handler::Placed { .. } if admitted && alone => {
                Some(self.run_here(entry, run.view, args, reply))
            }
            // What is not for scripts may wait.
            Handler::Global(_, coordinator) if admitted && alone && here && !run.unrestricted => {
                Some(self.run_on_only_shard(run, entry, coordinator, args, reply))
            }
            _ => None,
        };
        let Some(mut done) = done else {
            run.wrote |= writes && hold == Hold::All;
            return Verdict::Beyond(entry, OwnedArgs::new(args));
        };
        run.wrote |= writes;
        run.undo.changes += self.keyspace_figures.changes - changes;
        if done.nanoseconds == 0 {
            done.nanoseconds = self.metrics.lap();
        }
        self.count_call(run, entry, done, reply);
        self.note_call(run, entry, done.nanoseconds, args, reply.len(), !here);
        if run.undo.is_empty() {
            self.follow_journal();
        }
        Verdict::Answered
    }

    /// Whether a call may run for a script that has only this shard, as far as what it changes
    /// goes: it changes nothing, what it changes can be taken back, or the script is known to come
    /// to its end with what it has. In the last case nothing is taken back any more.
    fn may_act(
        &mut self,
        run: &mut Run,
        entry: &'static Entry,
        args: Args<'_>,
        admitted: bool,
    ) -> bool {
        let flags = entry.command.flags;
        let acts = flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        if !acts || run.irrevocable || run.contained {
            return true;
        }
        let alone = self.shared.map.shards() == 1;
        if matches!(entry.command.handler, Handler::Publish(_)) {
            if run.published_bytes < PUBLISHED_BYTES_MAX {
                return true;
            }
        } else if !admitted || !alone && !self.owns(entry, args) {
            // It cannot run here, whatever it changes.
            return true;
        } else if (!alone || !run.undisturbed || run.unrestricted)
            && self.keep_for(run, entry, args)
        {
            return true;
        }
        let keeps = alone || run.script.reach() == Reach::OneShard && run.owner.is_some();
        if !keeps || !run.undisturbed {
            return false;
        }
        if self.shared.commitment.take() {
            run.irrevocable = true;
            self.commit(run);
            return true;
        }
        run.undo.is_generous = true;
        !matches!(entry.command.handler, Handler::Publish(_)) && self.keep_for(run, entry, args)
    }

    /// Keeps what a call is about to change, for the script that makes it.
    fn keep_for(&mut self, run: &mut Run, entry: &'static Entry, args: Args<'_>) -> bool {
        let mut undo = std::mem::take(&mut run.undo);
        let is_kept = self.keep_before(&mut undo, entry, args, run.view.db);
        run.undo = undo;
        is_kept
    }

    /// What a script has changed is not taken back any more: others are told.
    pub(super) fn commit(&mut self, run: &mut Run) {
        run.undo = Undo::default();
        run.published_bytes = 0;
        self.published.extend(run.published.drain(..));
        self.count_calls_of(run);
        self.follow_journal();
    }

    /// Counts a call, at once or, as long as the script may begin again, when it is sure not to.
    fn count_call(&mut self, run: &mut Run, entry: &'static Entry, done: Done, reply: &[u8]) {
        let is_final =
            run.irrevocable || run.contained || run.everywhere || self.shared.map.shards() == 1;
        if is_final || run.uncounted.len() == UNCOUNTED_MAX {
            return self.metrics.record(entry, done, reply);
        }
        let error = if done.failed { reply.into() } else { Box::default() };
        run.uncounted.push(Uncounted { entry, done, error });
    }

    /// Counts the calls of a script that does not begin again.
    pub(super) fn count_calls_of(&mut self, run: &mut Run) {
        for Uncounted { entry, done, error } in run.uncounted.drain(..) {
            self.metrics.record(entry, done, &error);
        }
    }

    fn refuse(
        &mut self,
        entry: Option<&'static Entry>,
        text: &'static str,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        self.metrics.rejected(entry, &CommandError::Other(text));
        error_reply(text, reply);
        Verdict::Answered
    }

    /// Notes whether a call uses keys that the owner of the declared ones does not have or, where
    /// they have several owners, keys that are not declared.
    fn note_straying(&self, run: &mut Run, entry: &'static Entry, args: Args<'_>) {
        let map = self.shared.map;
        if run.strayed || map.shards() == 1 {
            return;
        }
        if run.apart {
            // With those keys alone its coordinator looks at each call.
            if let (true, Some(command)) = (run.everywhere, &run.command) {
                let declared = (run.entry, command.view(), run.declared_db);
                run.strayed = !is_covered(declared, entry, args, run.view.db);
            }
            return;
        }
        let whole = matches!(entry.command.handler, Handler::Placed { .. } | Handler::Global(..));
        let mut strayed = whole || entry.command.beyond(args).is_some();
        let found = entry.keys(args, |index, _| {
            strayed |= Some(map.owner(args.at(index))) != run.owner;
        });
        run.strayed = strayed && found.is_ok();
    }

    /// Whether this shard has every key of a request.
    fn owns(&self, entry: &'static Entry, args: Args<'_>) -> bool {
        entry.common_owner(args, self.shared.map, self.id) == Some(self.id)
    }

    /// Runs a command about connections for a script, which has one of its own: what is changed of
    /// it is the script's, until it ends.
    fn run_aside(
        &mut self,
        run: &mut Run,
        handler: LocalHandler,
        args: Args<'_>,
        reply: &mut Vec<u8>,
    ) -> Done {
        let mut connection = Connection::new(0, SocketInfo::none(), self.now.monotonic_us, true);
        connection.client.view = run.view;
        let key = ConnectionKey(self.connections.insert(connection) as u32);
        self.metrics.start_lap();
        // No time passes for a script.
        let now = std::mem::replace(&mut self.now, run.now);
        let done = self.run_locally(key, handler, args, reply);
        self.now = now;
        let connection = self.connections.remove(key.0 as usize);
        run.view.db = connection.client.view.db;
        done
    }

    /// Publishes for a script that does not have the other cores: the message goes out when the
    /// script is done. Subscribers of other cores could not be counted: there are none.
    fn publish_aside(
        &mut self,
        topic: Topic,
        args: Args<'_>,
        run: &mut Run,
        reply: &mut Vec<u8>,
    ) -> Option<Done> {
        let (channel, payload) = (args.at(1), args.at(2));
        let cores = self.cores_of(topic, channel);
        if cores.iter(self.shared.map.shards()).any(|core| core != self.id) {
            return None;
        }
        let message = Publication { topic, channel: channel.into(), payload: payload.into() };
        let count = self.pubsub.receivers(topic, channel);
        run.published_bytes += channel.len() + payload.len();
        run.published.push(message);
        Encoder::new(reply, run.view.resp).integer(count as i64);
        Some(Done { reply_end: reply.len(), ..Done::default() })
    }

    /// Runs a coordinator on a server with this one shard, whose hops all end here at once.
    fn run_on_only_shard(
        &mut self,
        run: &Run,
        entry: &'static Entry,
        coordinator: Coordinator,
        args: Args<'_>,
        reply: &mut Vec<u8>,
    ) -> Done {
        let nobody = ConnectionKey(u32::MAX);
        let request = Request::new(entry, nobody, 0, run.view, self, args);
        let transaction = Transaction::new(1, &request, self.unix_ms()).part(&request);
        let mut future = coordinator(transaction.clone(), request);
        let result = loop {
            if let Poll::Ready(result) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                break result;
            }
            let tasks = std::mem::take(&mut transaction.exchange.borrow_mut().outgoing);
            for (index, (_, task)) in tasks.into_iter().enumerate() {
                let (reply, caused) = self.run_task(task);
                let mut exchange = transaction.exchange.borrow_mut();
                exchange.caused.add(caused);
                exchange.results[index] = Some(reply);
            }
            let mut exchange = transaction.exchange.borrow_mut();
            exchange.sleep_us = None;
            exchange.awaited = 0;
        };
        let mut caused = std::mem::take(&mut transaction.exchange.borrow_mut().caused);
        caused.complete(entry, run.view.db, args);
        self.effects.put_unit(&mut caused.records);
        let failed = result.is_err();
        match result {
            Ok(bytes) => reply.extend_from_slice(&bytes),
            Err(error) => Encoder::new(reply, run.view.resp).error_bytes(&error.to_wire()),
        }
        Done { reply_end: reply.len(), failed, ..Done::default() }
    }
}

impl Core {
    /// What a call of a script locks on this shard.
    pub(super) fn scope_of_call(
        map: super::super::shard_map::ShardMap,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
    ) -> Scope {
        match entry.command.handler {
            Handler::Global(..) => Scope::Everything(Mode::Write),
            _ => Self::scope_by(map, entry, args, db),
        }
    }
}
