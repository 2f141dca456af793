//! What one shard does for a client in one turn: a whole `EXEC`, or a `WATCH`.
//!
//! It runs like a command of a single shard: it takes no lock, and waits in line where it conflicts
//! with a transaction. The box comes back with the replies.

use std::sync::Arc;

use kvasir_proto::Encoder;

use super::Message;
use super::queue::{Place, Queue, Queued};
use super::session::refusal_of;
use super::watch::Watch;
use crate::commands::definition::Handler;
use crate::commands::help::answer_help;
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::pubsub::Receivers;
use crate::pubsub::message::Publication;
use crate::route::core::{Core, CoreState};
use crate::route::engine::ShardId;
use crate::route::locks::{Mode, Scope};
use crate::route::message::{ClientView, Control, Done, OwnedArgs, ReplyTo};

/// See the module's head.
#[derive(Debug)]
pub struct Errand {
    /// The core of the client.
    home: ShardId,
    to: ReplyTo,
    view: ClientView,
    work: Work,
    /// The client's watch: to be looked at, or to be begun.
    watch: Option<Arc<Watch>>,
    reply: Vec<u8>,
    /// How the commands of the queue ended, if they ran.
    done: Vec<Done>,
    /// Where the reply of the first of them begins.
    head: usize,
    /// What all of it took.
    nanoseconds: u64,
    /// Messages for the client itself, who gets them after the reply.
    own_messages: Vec<u8>,
    /// Nothing was done; the reply tells why.
    refused: bool,
}

#[derive(Debug)]
enum Work {
    Execute(Queue),
    Watch(&'static Entry, OwnedArgs),
}

impl Errand {
    /// The execution of a queue.
    pub(super) fn execute(
        home: ShardId,
        to: ReplyTo,
        view: ClientView,
        queue: Queue,
        watch: Option<Arc<Watch>>,
    ) -> Box<Self> {
        Self::new(home, to, view, Work::Execute(queue), watch)
    }

    /// The beginning of a watch of the keys of a request.
    pub(super) fn watch(
        home: ShardId,
        to: ReplyTo,
        view: ClientView,
        request: (&'static Entry, OwnedArgs),
        watch: Arc<Watch>,
    ) -> Box<Self> {
        Self::new(home, to, view, Work::Watch(request.0, request.1), Some(watch))
    }

    fn new(
        home: ShardId,
        to: ReplyTo,
        view: ClientView,
        work: Work,
        watch: Option<Arc<Watch>>,
    ) -> Box<Self> {
        let (reply, done, own_messages) = (Vec::new(), Vec::new(), Vec::new());
        let (head, nanoseconds, refused) = (0, 0, false);
        Box::new(Self {
            home,
            to,
            view,
            work,
            watch,
            reply,
            done,
            head,
            nanoseconds,
            own_messages,
            refused,
        })
    }

    /// The command that it is done for.
    pub(in crate::route) fn entry(&self) -> &'static Entry {
        match &self.work {
            Work::Execute(queue) => queue.request().0,
            Work::Watch(entry, _) => entry,
        }
    }
}

impl Errand {
    fn needs_data(&self) -> bool {
        match &self.work {
            Work::Execute(queue) => queue.needs_data(),
            Work::Watch(entry, _) => entry.needs_data(),
        }
    }
}

impl Core {
    /// Runs an errand on a shard.
    pub(super) fn send_errand(&mut self, shard: ShardId, errand: Box<Errand>) {
        if shard == self.state.id {
            self.begin_errand(errand);
        } else {
            self.outboxes.control(shard, Control::Multi(Message::Run(errand)));
        }
    }

    /// Runs an errand here, unless it has to wait for a lock.
    pub(super) fn begin_errand(&mut self, errand: Box<Errand>) {
        if !self.locks.is_idle() {
            let scope = self.scope_of_errand(&errand);
            if !self.locks.admits(&scope) {
                return match self.busy(errand.entry()) {
                    Some(busy) => self.refuse_errand(errand, busy),
                    None => self.park_errand(errand, scope),
                };
            }
        }
        self.run_errand(errand);
        self.after_command();
    }

    /// Ends an errand of which nothing has been done.
    pub(in crate::route) fn refuse_errand(&mut self, mut errand: Box<Errand>, why: CommandError) {
        errand.refused = true;
        let error = refusal_of(errand.entry(), why).to_wire();
        Encoder::new(&mut errand.reply, errand.view.resp).error_bytes(&error);
        self.send_home(errand);
    }

    /// Runs an errand that nobody stands in the way of.
    pub(in crate::route) fn run_errand(&mut self, mut errand: Box<Errand>) {
        if let Err(error) = self.check_replay(errand.needs_data(), errand.to.client) {
            return self.refuse_errand(errand, error);
        }
        self.state.do_errand(&mut errand);
        self.send_home(errand);
    }

    fn send_home(&mut self, errand: Box<Errand>) {
        if errand.home == self.state.id {
            self.end_errand(*errand);
        } else {
            self.outboxes.control(errand.home, Control::Multi(Message::Ran(errand)));
        }
    }

    /// What an errand uses of this shard. Watched keys belong to it: who changes one of them may
    /// have taken effect already as far as the client can tell.
    fn scope_of_errand(&self, errand: &Errand) -> Scope {
        match &errand.work {
            Work::Watch(entry, args) => self.scope_of(entry, args.view(), errand.view.db),
            Work::Execute(queue) => {
                let mut scope = Scope::Keys(Vec::new());
                let scopes = self.scopes_of_queue(queue).into_iter();
                let here = scopes.filter(|(shard, _)| *shard == self.state.id);
                here.for_each(|(_, of_queue)| scope.join(of_queue));
                let map = self.state.shared.map;
                let watched = errand.watch.iter().flat_map(|w| self.state.watches.keys_of(w.id));
                let lock =
                    |(db, key): (u32, &[u8])| (map.fingerprint(db, map.key(key).hash), Mode::Read);
                scope.join(Scope::Keys(watched.map(lock).collect()));
                scope
            }
        }
    }

    /// An errand of this core's client has been run: everything is counted, and replied.
    pub(super) fn end_errand(&mut self, errand: Errand) {
        let Errand { to, work, reply, done, head, nanoseconds, own_messages, refused, .. } = errand;
        let failed = refused;
        let whole = Done { reply_end: reply.len(), nanoseconds, failed, ..Done::default() };
        match work {
            Work::Watch(entry, args) => self.record(entry, whole, args.view(), &reply, to),
            Work::Execute(queue) => {
                let mut start = head;
                for (queued, done) in queue.commands().iter().zip(done) {
                    let args = queue.args(queued);
                    self.record(queued.entry, done, args, &reply[start..done.reply_end], to);
                    self.show_part(queued.entry, args, to);
                    start = done.reply_end;
                }
                let (entry, args) = queue.request();
                self.record(entry, whole, args, &reply, to);
                self.show_part(entry, args, to);
                self.unwatch(to);
            }
        }
        self.fill(to, &reply);
        if self.connection_of(to).is_none() {
            return;
        }
        if !own_messages.is_empty() {
            self.state.push_behind_replies(to.connection, &own_messages);
        }
        self.unblock(to.connection);
    }
}

impl CoreState {
    fn do_errand(&mut self, errand: &mut Errand) {
        let began = self.metrics.ticks();
        self.metrics.start_lap();
        self.follow_journal();
        let reply = &mut errand.reply;
        match (&errand.work, &errand.watch) {
            (Work::Watch(_, args), Some(watch)) => {
                self.watch_keys(watch, errand.view.db, args.view().iter().skip(1));
                Encoder::new(reply, errand.view.resp).ok();
            }
            (Work::Execute(_), Some(watch)) if watch.is_touched(self.shard.now_ms()) => {
                Encoder::new(reply, errand.view.resp).null_array();
            }
            (Work::Execute(_), watch) => {
                if let Some(watch) = watch {
                    self.forget_watch(watch.id);
                }
                self.execute_queue(errand);
            }
            (Work::Watch(..), None) => unreachable!("who begins to watch has a watch"),
        }
        errand.nanoseconds = self.shared.stopwatch.elapsed_ns(began);
    }

    fn execute_queue(&mut self, errand: &mut Errand) {
        let Errand { home, to, view, work, reply, done, head, own_messages, .. } = errand;
        let Work::Execute(queue) = work else { unreachable!("only queues are executed") };
        let is_here = *home == self.id;
        if is_here && self.client(*to).is_none() {
            return;
        }
        if !is_here {
            self.prefetch_queued(queue.commands().iter());
        }
        Encoder::new(reply, view.resp).array(queue.len());
        *head = reply.len();
        for queued in queue.commands() {
            let args = queue.args(queued);
            done.push(match queued.place {
                Place::Publish => {
                    let Handler::Publish(topic) = queued.entry.command.handler else {
                        unreachable!("only messages are published");
                    };
                    let (channel, payload) = (args.at(1).into(), args.at(2).into());
                    let message = Publication { topic, channel, payload };
                    let delivered = self.deliver(&message, Receivers::AllBut(to.connection));
                    Encoder::new(reply, view.resp).integer(delivered.count as i64);
                    own_messages.extend(delivered.own);
                    let nanoseconds = self.metrics.lap();
                    Done { reply_end: reply.len(), nanoseconds, ..Done::default() }
                }
                _ => self.run_queued(queue, queued, *view, to, reply),
            });
            if is_here && let Some(client) = self.client(*to) {
                *view = view.followed_by(client.view);
            }
        }
    }

    /// Brings the memory that queued commands will touch towards this core.
    pub(super) fn prefetch_queued<'a>(&self, queued: impl Iterator<Item = &'a Queued> + Clone) {
        let keys = queued.filter(|queued| queued.hash != 0);
        self.shard.prefetch_keys(keys.map(|queued| (queued.db, queued.hash)));
    }

    /// Runs a command of a queue that runs on one shard, or is about its client.
    pub(super) fn run_queued(
        &mut self,
        queue: &Queue,
        queued: &Queued,
        view: ClientView,
        to: &ReplyTo,
        reply: &mut Vec<u8>,
    ) -> Done {
        let args = queue.args(queued);
        match queued.entry.command.handler {
            Handler::Local(handler) | Handler::Subscribe(handler) => {
                self.run_locally_in_part(to.connection, handler, args, reply)
            }
            Handler::Help(_) => self.run_locally_in_part(to.connection, answer_help, args, reply),
            Handler::Transaction(_) => {
                Encoder::new(reply, view.resp).ok();
                Done { reply_end: reply.len(), ..Done::default() }
            }
            Handler::Blocking(blocking) if let Err(error) = (blocking.patience)(args) => {
                Encoder::new(reply, view.resp).error_bytes(&error.to_wire());
                Done { reply_end: reply.len(), failed: true, ..Done::default() }
            }
            _ => self.run_here(queued.entry, ClientView { db: queued.db, ..view }, args, reply),
        }
    }
}
