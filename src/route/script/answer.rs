//! What a script's calls come to: refusals, and the commands that run where the script does.

use std::task::{Context, Poll, Waker};

use kvasir_proto::{Args, Encoder};

use super::super::connection::Connection;
use super::super::core::{Core, CoreState};
use super::super::engine::{ConnectionKey, ShardId, SocketInfo};
use super::super::locks::{Mode, Scope};
use super::super::message::{Done, OwnedArgs};
use super::super::transaction::{Request, Transaction};
use super::{Run, error_reply};
use crate::commands::context::{Coordinator, LocalHandler};
use crate::commands::definition::{Flags, Handler};
use crate::commands::help::answer_help;
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;
use crate::pubsub::message::{Publication, Topic};
use crate::script::cache::Reach;

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
    if flags.has(Flags::NOSCRIPT) || matches!(entry.command.handler, Handler::Script(_)) {
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
    /// is not asked when the script holds everything.
    pub(super) fn answer(
        &mut self,
        run: &mut Run,
        everything: bool,
        admits: impl Fn(&'static Entry, Args<'_>, u32) -> bool,
    ) -> Verdict {
        let mut call = std::mem::take(&mut *run.running.call());
        let mut reply = std::mem::take(&mut call.reply);
        reply.clear();
        run.view.resp = run.running.resp();
        let verdict = self.answer_with(run, everything, admits, call.args(), &mut reply);
        call.reply = reply;
        *run.running.call() = call;
        verdict
    }

    fn answer_with(
        &mut self,
        run: &mut Run,
        everything: bool,
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
        let alone = self.shared.map.shards() == 1;
        self.note_straying(run, entry, args);
        let reach = run.script.reach();
        // Whoever acts must be sure to come to the end with what it has.
        let acts = writes || entry.command.flags.has(Flags::MAY_REPLICATE);
        let keeps = alone || reach == Reach::OneShard && run.owner.is_some();
        let trusted = everything || keeps && run.undisturbed;
        if acts && !run.acted && !trusted {
            return Verdict::Beyond(entry, OwnedArgs::new(args));
        }
        if let Handler::Blocking(blocking) = entry.command.handler
            && let Err(error) = (blocking.patience)(args)
        {
            Encoder::new(reply, run.view.resp).error_bytes(&error.to_wire());
            return Verdict::Answered;
        }
        let admitted = everything || admits(entry, args, run.view.db);
        let start = self.metrics.ticks();
        let done = match entry.command.handler {
            Handler::Local(handler) => Some(self.run_aside(run, handler, args, reply)),
            Handler::Help(_) => Some(self.run_aside(run, answer_help, args, reply)),
            Handler::Publish(topic) if !everything => {
                Some(self.publish_aside(topic, args, run, reply))
            }
            Handler::Shard(_) | Handler::Multi { .. } | Handler::Blocking(_)
                if admitted && self.owns(entry, args) =>
            {
                self.metrics.start_lap();
                Some(self.run_here(entry, run.view, args, reply))
            }
            Handler::Placed { .. } if admitted && alone => {
                self.metrics.start_lap();
                Some(self.run_here(entry, run.view, args, reply))
            }
            Handler::Global(_, coordinator) if admitted && alone && !everything => {
                Some(self.run_on_only_shard(run, entry, coordinator, args, reply))
            }
            _ => None,
        };
        let Some(mut done) = done else {
            run.wrote |= writes && everything;
            run.acted |= acts && everything;
            return Verdict::Beyond(entry, OwnedArgs::new(args));
        };
        run.wrote |= writes;
        run.acted |= acts;
        done.nanoseconds = self.shared.stopwatch.elapsed_ns(start);
        self.metrics.record(entry, done, reply);
        self.follow_journal();
        Verdict::Answered
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

    /// Notes whether a call uses keys that the owner of the declared ones does not have.
    fn note_straying(&self, run: &mut Run, entry: &'static Entry, args: Args<'_>) {
        if run.strayed {
            return;
        }
        let map = self.shared.map;
        let whole = matches!(entry.command.handler, Handler::Placed { .. } | Handler::Global(..));
        let mut strayed = whole || entry.command.beyond(args).is_some();
        let found = entry.keys(args, |index, _| {
            strayed |= Some(map.owner(args.at(index))) != run.owner;
        });
        run.strayed = strayed && found.is_ok();
    }

    /// Whether this shard has every key of a request, at least one.
    fn owns(&self, entry: &'static Entry, args: Args<'_>) -> bool {
        let nobody = ShardId(u16::MAX);
        let owner = entry.common_owner(args, self.shared.map, self.id);
        let elsewhere = entry.common_owner(args, self.shared.map, nobody);
        owner == Some(self.id) && (elsewhere == owner || elsewhere == Some(nobody))
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
        let socket = SocketInfo {
            peer: String::new(),
            local: String::new(),
            descriptor: -1,
            unix: false,
            loopback: true,
        };
        let mut connection = Connection::new(0, socket, self.now.monotonic_us, true);
        connection.client.view = run.view;
        let key = ConnectionKey(self.connections.insert(connection) as u32);
        self.metrics.start_lap();
        let done = self.run_locally(key, handler, args, reply);
        let connection = self.connections.remove(key.0 as usize);
        run.view.db = connection.client.view.db;
        done
    }

    /// Publishes for a script that does not have the other cores: subscribers get the message when
    /// the script is done, its client after the reply; those of other cores are not counted.
    fn publish_aside(
        &mut self,
        topic: Topic,
        args: Args<'_>,
        run: &Run,
        reply: &mut Vec<u8>,
    ) -> Done {
        let (channel, payload) = (args.at(1), args.at(2));
        let message = Publication { topic, channel: channel.into(), payload: payload.into() };
        let count = self.pubsub.receivers(topic, channel);
        if !self.cores_of(topic, channel).is_empty() {
            self.notices.push_back(message);
        }
        Encoder::new(reply, run.view.resp).integer(count as i64);
        Done { reply_end: reply.len(), ..Done::default() }
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
        let transaction = Transaction::new(1, &request).part(&request);
        let mut future = coordinator(transaction.clone(), request);
        let result = loop {
            if let Poll::Ready(result) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                break result;
            }
            let tasks = std::mem::take(&mut transaction.exchange.borrow_mut().outgoing);
            for (index, (_, task)) in tasks.into_iter().enumerate() {
                let result = task(self);
                transaction.exchange.borrow_mut().results[index] = Some(result);
            }
            let mut exchange = transaction.exchange.borrow_mut();
            exchange.sleep_us = None;
            exchange.awaited = 0;
        };
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
