//! Commands that visit several shards, written as asynchronous functions.
//!
//! A coordinator runs on the connection's core. By the time it starts, every lock that it needs has
//! been granted on every shard, so what it does in one hop and what it does in the next are one
//! moment for everybody else. It awaits nothing but [`Transaction::hop`], its variants, and
//! [`Transaction::sleep`]; the core polls it when the results of a hop have come. There is no
//! runtime behind it and no waker.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use kvasir_proto::{Args, Encoder};
use smallvec::SmallVec;

use super::blocking::Registration;
use super::effects::Caused;
use super::engine::{ConnectionKey, ShardId};
use super::message::{Blame, ClientView, OwnedArgs, Reply, Task};
use super::multi::{Plan, Ran};
use super::script::Astray;
use super::shard_map::ShardMap;
use super::shared::Shared;
use super::tracking::Reader;
use crate::commands::context::ShardContext;
use crate::commands::table::Entry;
use crate::route::core::CoreState;

/// So many keys of a portion are fetched at once; more would push each other out of the cache.
const PREFETCHED_KEYS: usize = 64;

/// Parts that are kept uncounted. A script with more of them that begins again has those counted
/// twice.
const UNCOUNTED_MAX: usize = 1024;

/// A coordinated command's request: its own copy of the arguments, and the client's view.
pub struct Request {
    /// The command.
    pub entry: &'static Entry,
    /// The connection that sent it.
    pub connection: ConnectionKey,
    /// The core of that connection.
    pub home: ShardId,
    /// The client's id.
    pub client: u64,
    /// The client's view.
    pub view: ClientView,
    /// The wall clock when it came, in milliseconds.
    pub now_ms: u64,
    /// Where keys live.
    pub map: ShardMap,
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// Where the command waits if it is tried in vain.
    pub(super) registration: Option<Registration>,
    /// What it does, where its arguments do not tell.
    pub(super) plan: Option<Box<Plan>>,
    /// A script has called it.
    pub(super) called: bool,
    /// The script that it names runs already.
    pub(super) astray: Option<Box<Astray>>,
    args: OwnedArgs,
}

impl Request {
    /// Copies the arguments.
    pub fn new(
        entry: &'static Entry,
        connection: ConnectionKey,
        client: u64,
        view: ClientView,
        state: &CoreState,
        args: Args<'_>,
    ) -> Self {
        Self::of_owned(entry, connection, client, view, state, OwnedArgs::new(args))
    }

    /// Shares the arguments.
    pub(super) fn of_owned(
        entry: &'static Entry,
        connection: ConnectionKey,
        client: u64,
        view: ClientView,
        state: &CoreState,
        args: OwnedArgs,
    ) -> Self {
        let (home, map, now_ms) = (state.id, state.shared.map, state.unix_ms());
        let shared = Arc::clone(&state.shared);
        let (registration, plan, called, astray) = (None, None, false, None);
        Self {
            entry,
            connection,
            home,
            client,
            view,
            now_ms,
            map,
            shared,
            registration,
            plan,
            called,
            astray,
            args,
        }
    }

    /// The arguments, the command's name included.
    pub fn args(&self) -> Args<'_> {
        self.args.view()
    }

    /// The arguments, to be kept beside the request.
    pub fn owned_args(&self) -> OwnedArgs {
        self.args.clone()
    }

    /// The shard that owns a key.
    pub fn owner(&self, key: &[u8]) -> ShardId {
        self.map.owner(key)
    }

    /// Another command for the same client, as a part of the same transaction.
    #[must_use]
    pub fn call(&self, entry: &'static Entry, view: ClientView, args: OwnedArgs) -> Self {
        let shared = Arc::clone(&self.shared);
        let (registration, plan, astray) = (None, None, None);
        Self { entry, view, shared, registration, plan, astray, args, ..*self }
    }

    /// Encodes a reply for the client.
    pub fn encode(&self, write: impl FnOnce(&mut Encoder<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Encoder::new(&mut out, self.view.resp));
        out
    }

    /// The reply `+OK`.
    pub fn ok(&self) -> Vec<u8> {
        b"+OK\r\n".to_vec()
    }

    /// The arguments in `range`, `step` at a time, by the shard that owns the first of each group.
    /// For commands such as `MGET` (keys, step 1) and `MSET` (keys and values, step 2).
    pub fn by_shard(&self, range: Range<usize>, step: usize) -> Vec<(ShardId, Portion)> {
        let mut shards: Vec<(ShardId, Portion)> = Vec::new();
        for (position, at) in range.clone().step_by(step).enumerate() {
            let owner = self.owner(self.args().at(at));
            let found = shards.iter().position(|(shard, _)| *shard == owner);
            let index = found.unwrap_or_else(|| {
                let (args, positions) = (self.args.clone(), Vec::new());
                shards.push((owner, Portion { args, first: range.start, step, positions }));
                shards.len() - 1
            });
            shards[index].1.positions.push(position as u32);
        }
        shards
    }
}

/// The groups of arguments of a request whose keys one shard owns. It shares the arguments.
#[derive(Clone, Debug)]
pub struct Portion {
    args: OwnedArgs,
    /// Where the first group of the request begins.
    first: usize,
    /// Arguments of a group.
    step: usize,
    positions: Vec<u32>,
}

impl Portion {
    /// The groups in the order of the request.
    pub fn groups(&self) -> impl Iterator<Item = PortionGroup<'_>> + Clone {
        let args = self.args.view();
        self.positions.iter().map(move |&position| {
            let position = position as usize;
            PortionGroup { position, args, at: self.first + position * self.step }
        })
    }

    /// The keys in the order of the request.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.groups().map(|group| group.key())
    }

    /// Brings the memory of the keys towards the shard's core.
    pub fn prefetch(&self, state: &CoreState, db: u32) {
        let map = state.shared.map;
        let hashes: SmallVec<[u64; 16]> =
            self.keys().take(PREFETCHED_KEYS).map(|key| map.key(key).hash).collect();
        state.shard.prefetch_keys(hashes.iter().map(|hash| (db, *hash)));
    }
}

/// One group of a [`Portion`].
#[derive(Clone, Copy, Debug)]
pub struct PortionGroup<'a> {
    /// The position of the group in the request.
    pub position: usize,
    args: Args<'a>,
    at: usize,
}

impl<'a> PortionGroup<'a> {
    /// The first argument.
    pub fn key(&self) -> &'a [u8] {
        self.args.at(self.at)
    }

    /// The second argument.
    pub fn value(&self) -> &'a [u8] {
        self.args.at(self.at + 1)
    }
}

/// The tasks of one hop and their results, shared by the coordinator and the core.
#[derive(Default)]
pub(super) struct Exchange {
    /// When the transaction had its locks, wall clock, milliseconds: no time passes for it.
    pub(super) began_ms: u64,
    pub(super) outgoing: Vec<(ShardId, Task)>,
    /// Whether the outgoing tasks are the last: the locks end with them.
    pub(super) last: bool,
    /// How long the coordinator wants to sleep, in microseconds, instead of a hop.
    pub(super) sleep_us: Option<u64>,
    /// Whether the coordinator wants locks on everything, instead of a hop.
    pub(super) widens: bool,
    pub(super) results: Vec<Option<Reply>>,
    pub(super) awaited: usize,
    /// The command was tried in vain and waits now, perhaps with other arguments.
    pub(super) in_vain: Option<InVain>,
    /// Commands that have run as parts of this one and have not been counted yet.
    pub(super) ran: Vec<Ran>,
    /// Those are counted when it is sure not to begin again.
    pub(super) may_begin_again: bool,
    /// Messages for the client itself, who gets them after the reply.
    pub(super) own_messages: Vec<u8>,
    /// The reply that is about to be given is an error, and whose.
    pub(super) blame: Option<Blame>,
    /// What it has changed and told on all shards, for the log.
    pub(super) caused: Caused,
    /// It has done nothing, and is to be coordinated again, as a script that needs everything.
    pub(super) again: Option<ClientView>,
    /// Commands that it has called, being a script, and that have not been counted for its client.
    pub(super) calls: u32,
}

/// An attempt of a blocking command after which it waits.
pub(super) struct InVain {
    /// What the command is tried with from now on, if not as before.
    pub(super) args: Option<OwnedArgs>,
}

/// The coordinator's handle on the shards.
#[derive(Clone)]
pub struct Transaction {
    pub(super) exchange: Rc<RefCell<Exchange>>,
    shards: u16,
    /// The command is a part of another one, with which the locks end.
    is_part: bool,
    /// Whose reads are remembered where they are done.
    reader: Option<Reader>,
}

impl Transaction {
    pub(super) fn new(shards: u16, request: &Request, began_ms: u64) -> Self {
        let reader = Reader::of(request);
        let exchange = Rc::new(RefCell::new(Exchange { began_ms, ..Exchange::default() }));
        Self { exchange, shards, is_part: false, reader }
    }

    /// The handle for a command that is a part of this one: its last hop does not end the locks.
    pub(super) fn part(&self, request: &Request) -> Self {
        Self { is_part: true, reader: Reader::of(request), ..self.clone() }
    }

    /// Whether the command is a part of another one (of `EXEC`, of a script), and so must not wait
    /// for anything but its hops.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// Every shard.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// Runs each task on its shard's core, all at the same time; the results in the same order.
    pub async fn hop<R, F>(&self, tasks: impl IntoIterator<Item = (ShardId, F)>) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut CoreState) -> R + Send + 'static,
    {
        self.exchange_tasks(tasks, false).await
    }

    /// As [`hop`](Self::hop), and the locks end with it, which saves a message. What may follow is
    /// only what needs no lock.
    pub async fn last_hop<R, F>(&self, tasks: impl IntoIterator<Item = (ShardId, F)>) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut CoreState) -> R + Send + 'static,
    {
        self.exchange_tasks(tasks, true).await
    }

    /// One task on one shard.
    pub async fn on<R, F>(&self, shard: ShardId, task: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(&mut CoreState) -> R + Send + 'static,
    {
        self.hop([(shard, task)]).await.pop().expect("invariant: one task, one result")
    }

    /// The same task on every shard's core, in the shards' order.
    pub async fn on_all<R, F>(&self, task: F) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut CoreState) -> R + Clone + Send + 'static,
    {
        let shards = self.shards();
        self.hop(shards.map(|shard| (shard, task.clone()))).await
    }

    /// Tells that the command waits, from its last hop on, perhaps with other arguments.
    pub(super) fn wait_with(&self, args: Option<OwnedArgs>) {
        self.exchange.borrow_mut().in_vain = Some(InVain { args });
    }

    /// Tells that a script has made so many calls that nobody has counted and, if its reply is an
    /// error, though it is given as any other, whose.
    pub(super) fn account(&self, calls: u32, blame: Option<Blame>) {
        let mut exchange = self.exchange.borrow_mut();
        exchange.calls = exchange.calls.saturating_add(calls);
        exchange.blame = blame.or(exchange.blame);
    }

    /// Has a script that has left nothing behind begin again when it returns, under locks on
    /// everything.
    pub(super) fn begin_again(&self, view: ClientView) {
        let mut exchange = self.exchange.borrow_mut();
        exchange.again = Some(view);
        exchange.ran.clear();
        exchange.caused = Caused::default();
    }

    /// The parts that are to be counted now.
    pub(super) fn take_ran(&self) -> Vec<Ran> {
        let mut exchange = self.exchange.borrow_mut();
        let waits = exchange.may_begin_again && exchange.ran.len() < UNCOUNTED_MAX;
        if waits { Vec::new() } else { std::mem::take(&mut exchange.ran) }
    }

    /// Notes whether what it has done may yet be undone, so that it begins again.
    pub(super) fn note_may_begin_again(&self, may: bool) {
        self.exchange.borrow_mut().may_begin_again = may;
    }

    /// Logs a command in place of the request that is coordinated.
    pub fn log_as(&self, db: u32, words: &[&[u8]]) {
        self.exchange.borrow_mut().caused.records.tell(db, words.iter().copied());
    }

    /// Logs the request that is coordinated, though it may have changed nothing.
    pub fn log_request(&self) {
        self.exchange.borrow_mut().caused.changed = true;
    }

    /// Logs nothing of the request that is coordinated but what has been told, though it has
    /// changed something.
    pub fn log_nothing(&self) {
        self.exchange.borrow_mut().caused.changed = false;
    }

    /// Lets the core do other work before the coordination goes on; the locks stay. For those with
    /// many hops, which would hold up the core when the tasks are its own.
    pub async fn rest(&self) {
        self.sleep(Duration::from_micros(1)).await;
    }

    /// Lets time pass, holding whatever locks there are. Rounded up to the core's next round.
    pub async fn sleep(&self, duration: Duration) {
        {
            let mut exchange = self.exchange.borrow_mut();
            assert_eq!(exchange.awaited, 0, "invariant: one hop at a time");
            exchange.sleep_us = Some(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
            exchange.awaited = 1;
        }
        self.wait().await;
    }

    /// Gets locks on everything, beside those that there are. For one that has the process's
    /// [`Commitment`](crate::script::commitment::Commitment) alone.
    pub(super) async fn widen(&self) {
        {
            let mut exchange = self.exchange.borrow_mut();
            assert_eq!(exchange.awaited, 0, "invariant: one hop at a time");
            exchange.widens = true;
            exchange.awaited = 1;
        }
        self.wait().await;
    }

    /// Until nothing is awaited any more.
    async fn wait(&self) {
        poll_fn(|_| {
            let waiting = self.exchange.borrow().awaited > 0;
            if waiting { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    async fn exchange_tasks<R, F>(
        &self,
        tasks: impl IntoIterator<Item = (ShardId, F)>,
        last: bool,
    ) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut CoreState) -> R + Send + 'static,
    {
        {
            let mut exchange = self.exchange.borrow_mut();
            assert_eq!(exchange.awaited, 0, "invariant: one hop at a time");
            for (shard, task) in tasks {
                let (reader, began_ms) = (self.reader.clone(), exchange.began_ms);
                let work = Box::new(move |state: &mut CoreState| {
                    let result = task(state);
                    if let Some(reader) = reader {
                        reader.remember(state);
                    }
                    Box::new(result) as Reply
                });
                exchange.outgoing.push((shard, Task { began_ms, work }));
            }
            exchange.awaited = exchange.outgoing.len();
            exchange.results = (0..exchange.awaited).map(|_| None).collect();
            exchange.last = last && !self.is_part;
        }
        self.wait().await;
        let results = std::mem::take(&mut self.exchange.borrow_mut().results);
        results.into_iter().map(downcast).collect()
    }
}

fn downcast<R: 'static>(result: Option<Reply>) -> R {
    *result
        .expect("invariant: every task of a hop has answered")
        .downcast()
        .expect("invariant: a task returns what its hop expects")
}

/// The shard's side of a task: the context in which a handler would run for this client.
pub fn shard_context(state: &mut CoreState, view: ClientView) -> ShardContext<'_> {
    state.show_as_to(view);
    if state.tracking.is_active() {
        state.tracking.set_author(Some(view.client));
    }
    ShardContext {
        shard: &mut state.shard,
        db: view.db,
        // Under a pause, reading does not even remove what is due.
        no_touch: view.no_touch || state.pause.is_some(),
        resp: view.resp,
        scripted: view.scripted,
        map: state.shared.map,
        figures: &mut state.keyspace_figures,
        string_max: state.limits.max_bulk_len as usize,
        settings: state.value_settings,
        may_postpone: false,
        postponed: &mut state.postponed,
        alarms: &mut state.alarms,
        effects: &mut state.effects,
    }
}
