//! A command as a part of another one that holds its locks: of `EXEC`, of a script.

use std::sync::Arc;

use kvasir_proto::{Args, Encoder, Resp};

use super::queue::Queue;
use crate::commands::context::{Coordinator, LocalHandler};
use crate::commands::definition::Handler;
use crate::commands::help::answer_help;
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::pubsub::Receivers;
use crate::pubsub::message::{Publication, Topic};
use crate::route::blocking;
use crate::route::core::{Core, CoreState};
use crate::route::dispatch::FEW_KEYS;
use crate::route::effects::Caused;
use crate::route::engine::{ConnectionKey, ShardId};
use crate::route::message::{ClientView, Done, OwnedArgs, ReplyTo};
use crate::route::script;
use crate::route::transaction::{Request, Transaction};

/// What a part came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The reply, encoded; an error as well.
    pub reply: Vec<u8>,
    /// Whether it is an error.
    pub failed: bool,
    /// The client's view afterwards: `SELECT` and `HELLO` change it.
    pub view: ClientView,
}

/// A part that has run, to be counted and logged by the client's core.
#[derive(Debug)]
pub(in crate::route) struct Ran {
    entry: &'static Entry,
    args: PartArgs,
    done: Done,
    /// The reply if it is an error; else nothing.
    error: Vec<u8>,
    reply_bytes: usize,
    /// The database in which a script has called it, if one has.
    called_in: Option<u32>,
}

/// The arguments of a part.
#[derive(Debug)]
pub(super) enum PartArgs {
    /// Its own.
    Owned(OwnedArgs),
    /// Those of the command with this index.
    Queued(Arc<Queue>, usize),
}

impl PartArgs {
    fn view(&self) -> Args<'_> {
        match self {
            Self::Owned(args) => args.view(),
            Self::Queued(queue, index) => queue.args(&queue.commands()[*index]),
        }
    }
}

impl Ran {
    /// A part with this reply.
    pub(super) fn new(entry: &'static Entry, args: PartArgs, done: Done, reply: &[u8]) -> Self {
        let error = if done.failed { reply.to_vec() } else { Vec::new() };
        Self { entry, args, done, error, reply_bytes: reply.len(), called_in: None }
    }
}

/// How a part runs.
#[derive(Clone, Copy)]
enum Way {
    /// On the shard that owns all of its keys.
    Shard(ShardId),
    /// About the client's connection, on its core.
    Local(LocalHandler),
    /// On several shards.
    Spread(Coordinator),
    Publish(Topic),
}

impl Transaction {
    /// Runs a command as a part of this one and gives its reply. The locks of this transaction
    /// cover what the command uses, and stay: for its keys those that
    /// [`Entry::keys`](crate::commands::table::Entry::keys) tells, in the database of the view, or
    /// everything for a command that uses more than it names.
    ///
    /// A blocking command is tried once and answers at once. The part is
    /// counted, logged and shown to monitors as a command of the client by the time the
    /// transaction waits for something or is done. What cannot be a part, such as `MULTI`, is for
    /// the caller to refuse, as is a wrong number of arguments.
    ///
    /// Costs one hop where the keys lie (none on this core), or those of the command's own
    /// coordinator.
    pub async fn run(&self, request: Request) -> Answer {
        let (entry, args, view) = (request.entry, request.owned_args(), request.view);
        let called_in = request.called.then_some(view.db);
        let before = std::mem::take(&mut self.exchange.borrow_mut().caused);
        let answer = match way(&request) {
            Err(error) => Parted::failed(&error, view),
            Ok(Way::Shard(shard)) => {
                let args = args.clone();
                let task = move |state: &mut CoreState| {
                    let mut reply = Vec::new();
                    state.metrics.start_lap();
                    let done = state.run_here(entry, view, args.view(), &mut reply);
                    Parted { reply, done, view }
                };
                self.on(shard, task).await
            }
            Ok(Way::Local(handler)) => {
                let (key, client) = (request.connection, request.client);
                let args = args.clone();
                let task = move |state: &mut CoreState| {
                    state.run_part_locally(key, client, handler, &args, view)
                };
                self.on(request.home, task).await
            }
            Ok(Way::Spread(coordinator)) => self.run_spread(request, coordinator).await,
            Ok(Way::Publish(topic)) => self.run_publish(request, topic).await,
        };
        let Parted { reply, done, view } = answer;
        self.end_caused(before, (entry, args.view()), view.db);
        let failed = done.failed;
        let part = Ran { called_in, ..Ran::new(entry, PartArgs::Owned(args), done, &reply) };
        self.exchange.borrow_mut().ran.push(part);
        Answer { reply, failed, view }
    }

    /// Adds what a part has caused to what came before it.
    fn end_caused(&self, before: Caused, part: (&Entry, Args<'_>), db: u32) {
        let mut exchange = self.exchange.borrow_mut();
        let mut caused = std::mem::replace(&mut exchange.caused, before);
        caused.complete(part.0, db, part.1);
        exchange.caused.add(Some(Box::new(caused)));
    }

    async fn run_spread(&self, request: Request, coordinator: Coordinator) -> Parted {
        let (mut view, stopwatch) = (request.view, request.shared.stopwatch);
        let (key, client, home) = (request.connection, request.client, request.home);
        let may_change_view = request.entry.is_about_clients();
        let began = stopwatch.ticks();
        match coordinator(self.part(&request), request).await {
            Err(error) => Parted::failed(&error, view),
            Ok(reply) => {
                if may_change_view {
                    let look = move |state: &mut CoreState| {
                        let own = state.connection(key).filter(|own| own.client.id == client)?;
                        Some(own.client.view.tracks)
                    };
                    view.tracks = self.on(home, look).await.unwrap_or(view.tracks);
                }
                let nanoseconds = stopwatch.elapsed_ns(began);
                let blame = self.exchange.borrow_mut().blame.take();
                let (failed, blame) = (blame.is_some(), blame.unwrap_or_default());
                Parted { done: Done { nanoseconds, failed, blame, ..Done::default() }, reply, view }
            }
        }
    }

    /// The client itself, if it has subscribed, gets the message after the reply.
    async fn run_publish(&self, request: Request, topic: Topic) -> Parted {
        let args = request.args();
        let message = Publication { topic, channel: args.at(1).into(), payload: args.at(2).into() };
        let (home, shards, key) = (request.home, request.map.shards(), request.connection);
        let channel = message.channel.clone();
        let cores = self.on(home, move |state| state.cores_of(topic, &channel)).await;
        let deliveries = cores.iter(shards).map(|core| {
            let message = message.clone();
            let to = if core == home { Receivers::AllBut(key) } else { Receivers::All };
            (core, move |state: &mut CoreState| state.deliver(&message, to))
        });
        let delivered = self.hop(deliveries.collect::<Vec<_>>()).await;
        let count: usize = delivered.iter().map(|delivered| delivered.count).sum();
        let own = delivered.into_iter().flat_map(|delivered| delivered.own);
        self.exchange.borrow_mut().own_messages.extend(own);
        let reply = request.encode(|reply| reply.integer(count as i64));
        let done = Done { reply_end: reply.len(), ..Done::default() };
        Parted { reply, done, view: request.view }
    }
}

fn way(request: &Request) -> Result<Way, CommandError> {
    let entry = request.entry;
    Ok(match entry.command.handler {
        Handler::Container | Handler::Transaction(_) => {
            unreachable!("the caller refuses what cannot be a part")
        }
        Handler::Local(handler) | Handler::Subscribe(handler) => Way::Local(handler),
        Handler::Help(_) => Way::Local(answer_help),
        Handler::Publish(topic) => Way::Publish(topic),
        Handler::Shard(_) => {
            let key = entry.first_key.and_then(|first| request.args().get(first));
            Way::Shard(key.map_or(request.home, |key| request.owner(key)))
        }
        Handler::Placed { shard, spread, .. } => {
            if request.map.shards() > 1 && request.shared.memory.keys() <= FEW_KEYS {
                Way::Spread(spread)
            } else {
                Way::Shard(shard(request.args(), request.map))
            }
        }
        Handler::Multi { spread, .. } => match common_owner(request) {
            Some(owner) => Way::Shard(owner),
            None => Way::Spread(spread),
        },
        Handler::Blocking(blocking) => {
            (blocking.patience)(request.args())?;
            match common_owner(request) {
                Some(owner) => Way::Shard(owner),
                None => Way::Spread(blocking::try_once),
            }
        }
        Handler::Global(_, coordinator) => Way::Spread(coordinator),
        Handler::Script(_) => Way::Spread(script::widely),
    })
}

fn common_owner(request: &Request) -> Option<ShardId> {
    request.entry.common_owner(request.args(), request.map, request.home)
}

/// A part's reply, how it ended, and the client's view afterwards.
struct Parted {
    reply: Vec<u8>,
    done: Done,
    view: ClientView,
}

impl Parted {
    fn failed(error: &CommandError, view: ClientView) -> Self {
        let mut reply = Vec::new();
        // Errors are the same in both protocol versions.
        Encoder::new(&mut reply, Resp::V2).error_bytes(&error.to_wire());
        Self { reply, done: Done { failed: true, ..Done::default() }, view }
    }
}

impl Core {
    /// Counts and logs a part that has run, and shows it to monitors.
    pub(in crate::route) fn record_part(&mut self, part: &Ran, to: ReplyTo) {
        let args = part.args.view();
        self.record_long(part.entry, part.done, args, &part.error, part.reply_bytes, to);
        match part.called_in {
            Some(db) => {
                self.state.show_call(part.entry, args, db);
                self.state.count_calls(to, 1);
            }
            None => self.show_part(part.entry, args, to),
        }
    }

    /// Shows a part to monitors, if its client is still there.
    pub(in crate::route) fn show_part(
        &mut self,
        entry: &'static Entry,
        args: Args<'_>,
        to: ReplyTo,
    ) {
        let connection = self.state.connections.get(to.connection.0 as usize);
        if self.state.shared.monitored() && connection.is_some_and(|c| c.client.id == to.client) {
            self.feed_all_monitors(to.connection, entry, args);
        }
    }
}

impl CoreState {
    /// Runs a command about a connection of this core, if it is still there; nobody sees the reply
    /// otherwise.
    fn run_part_locally(
        &mut self,
        key: ConnectionKey,
        client: u64,
        handler: LocalHandler,
        args: &OwnedArgs,
        view: ClientView,
    ) -> Parted {
        let mut reply = Vec::new();
        if self.connection(key).is_none_or(|connection| connection.client.id != client) {
            Encoder::new(&mut reply, view.resp).null();
            return Parted { reply, done: Done::default(), view };
        }
        self.metrics.start_lap();
        let done = self.run_locally_in_part(key, handler, args.view(), &mut reply);
        let view = self.connections[key.0 as usize].client.view;
        Parted { reply, done, view }
    }
    /// Runs a command about a connection as a part of another one.
    pub(super) fn run_locally_in_part(
        &mut self,
        key: ConnectionKey,
        handler: LocalHandler,
        args: Args<'_>,
        reply: &mut Vec<u8>,
    ) -> Done {
        self.connections[key.0 as usize].client.in_part = true;
        let done = self.run_locally(key, handler, args, reply);
        self.connections[key.0 as usize].client.in_part = false;
        done
    }
}
