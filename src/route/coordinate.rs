//! Coordinations: commands of this core's connections that visit several shards.
//!
//! First the locks are requested on every shard that the command names, with one identifier; a
//! refusal anywhere gives them all up and begins again with a new one. Once all are granted the
//! coordinator, an asynchronous function, is polled; its hops travel as tasks; the locks end with
//! its last hop, or with it.

mod claims;
mod early;
mod hops;
mod scopes;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvasir_proto::{Args, Encoder};

pub(super) use self::scopes::{add_lock, mode_of};
use super::blocking::Claim;
use super::connection::{Blocked, Connection};
use super::core::{Background, Core};
use super::engine::{ConnectionKey, ShardId};
use super::locks::{Outcome, Scope, TransactionId};
use super::message::{ClientView, Done, OwnedArgs, ReplyTo, Task};
use super::multi::Plan;
use super::script::Asked;
use super::transaction::{Request, Transaction};
use crate::commands::context::{Coordination as Running, Coordinator};
use crate::commands::definition::{Handler, TransactionStep};
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;

/// The low bits of a transaction's identifier tell its coordinator.
const COORDINATOR_BITS: u32 = 10;

impl TransactionId {
    /// The next identifier of the process, for a transaction that `coordinator` coordinates.
    pub(super) fn draw(counter: &std::sync::atomic::AtomicU64, coordinator: ShardId) -> Self {
        // Relaxed: only uniqueness and growth of the counter itself matter; what orders
        // transactions is the arrival of their locks.
        let count = counter.fetch_add(1, Ordering::Relaxed);
        Self(count << COORDINATOR_BITS | u64::from(coordinator.0))
    }

    /// The core that coordinates it.
    pub(super) fn coordinator(self) -> ShardId {
        ShardId((self.0 & ((1 << COORDINATOR_BITS) - 1)) as u16)
    }
}

/// Who waits for what the server does by itself.
const NOBODY: ReplyTo = ReplyTo { connection: ConnectionKey(u32::MAX), client: 0, sequence: 0 };

/// The server's own view of the keyspace.
const OWN_VIEW: ClientView = ClientView {
    db: 0,
    resp: kvasir_proto::Resp::V2,
    no_touch: true,
    import_source: false,
    tracks: false,
    client: NOBODY.client,
    scripted: false,
};

/// A coordination under way.
struct Coordination {
    entry: &'static Entry,
    reply_to: ReplyTo,
    args: OwnedArgs,
    /// The client's database.
    db: u32,
    /// Ticks of the stopwatch.
    began: u64,
    scopes: Vec<(ShardId, Scope)>,
    /// The identifier of its present attempt; none without locks, and after their release.
    id: Option<TransactionId>,
    /// Shards that have not granted yet.
    ungranted: usize,
    /// Attempts that were refused.
    refusals: u32,
    /// For an attempt of a blocking command: whether the client still waits.
    claim: Option<Arc<Claim>>,
    /// The connection does not wait for it, and goes on meanwhile.
    detached: bool,
    /// It has everybody expelled who stands in its way.
    expels: bool,
    nature: Nature,
    /// The locks of its one other shard, which have not been requested yet.
    unasked: Option<(ShardId, Scope)>,
    /// The tasks of its hop that wait for those, by their places among the results.
    waiting: Vec<(usize, ShardId, Task)>,
    stage: Stage,
}

/// What the request of a coordination tells of it.
#[derive(Clone, Copy)]
struct Nature {
    /// All that it does is done in one hop.
    has_one_hop: bool,
    /// It has to wait until the data set has been loaded.
    needs_data: bool,
}

impl Nature {
    fn of(request: &Request) -> Self {
        let plan = request.plan.as_ref();
        Self {
            has_one_hop: plan.is_some_and(|plan| plan.has_one_hop()),
            needs_data: plan.map_or(request.entry.needs_data(), |plan| plan.needs_data()),
        }
    }
}

enum Stage {
    /// Waiting for locks.
    Locking { request: Box<Request>, coordinator: Coordinator },
    /// Waiting for the results of a hop.
    Running { transaction: Transaction, future: Running },
    /// Being polled, or moved from one stage to the next.
    Moving,
}

impl Coordination {
    /// Whether it has done something, or may have.
    fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Locking { .. }) && self.waiting.is_empty()
    }

    /// The handle of its coordinator, which waits for something.
    fn transaction(&self) -> Transaction {
        match &self.stage {
            Stage::Running { transaction, .. } => transaction.clone(),
            Stage::Locking { .. } | Stage::Moving => unreachable!("it has begun, and waits"),
        }
    }
}

/// The coordinations of a core.
#[derive(Default)]
pub(super) struct Coordinations {
    running: HashMap<u64, Coordination, ahash::RandomState>,
    by_id: HashMap<TransactionId, u64, ahash::RandomState>,
    next: u64,
    paused: BTreeSet<ConnectionKey>,
    /// When those that sleep wake, on the monotonic clock, the earliest first.
    sleeping: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Coordinations {
    fn running(&mut self, number: u64) -> &mut Coordination {
        let running = self.running.get_mut(&number);
        running.expect("invariant: what is under way is known until it ends")
    }

    /// Whether connections wait for the end of a pause.
    pub(super) fn any_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    /// The connections that wait for the end of a pause.
    pub(super) fn take_paused(&mut self) -> BTreeSet<ConnectionKey> {
        std::mem::take(&mut self.paused)
    }

    /// Forgets a connection that is gone: its key may soon be another's.
    pub(super) fn forget(&mut self, key: ConnectionKey) {
        self.paused.remove(&key);
    }

    /// When the next sleeping one wakes, on the monotonic clock.
    pub(super) fn next_wake_us(&self) -> Option<u64> {
        self.sleeping.peek().map(|Reverse((wake_us, _))| *wake_us)
    }

    /// How many are under way, and connections that wait for the end of a pause.
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.paused.len()
    }

    /// Whether a connection waits for the end of one. O(all).
    pub(super) fn awaited_by(&self, key: ConnectionKey, connection: &Connection) -> bool {
        let is_its_own = |to: ReplyTo| to.connection == key && to.client == connection.client.id;
        let commands =
            self.running.values().filter(|running| running.claim.is_none() && !running.detached);
        commands.into_iter().any(|running| is_its_own(running.reply_to))
    }

    /// Every identifier belongs to the coordination that has it, and every sleeper runs.
    pub(super) fn verify(&self) {
        for (id, number) in &self.by_id {
            assert_eq!(self.running[number].id, Some(*id), "an identifier's coordination");
        }
        let identified = self.running.values().filter(|running| running.id.is_some()).count();
        assert_eq!(identified, self.by_id.len(), "an identifier each");
        for Reverse((_, number)) in &self.sleeping {
            assert!(self.running.contains_key(number), "one that sleeps runs");
        }
    }

    /// Makes a connection wait for the end of a pause.
    pub(super) fn pause(&mut self, key: ConnectionKey) {
        self.paused.insert(key);
    }
}

impl Core {
    /// Starts to coordinate a command of a connection, which waits until it is done.
    pub(super) fn coordinate(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        coordinator: Coordinator,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let connection = &mut self.state.connections[key.0 as usize];
        let view = connection.client.view;
        let scopes = self.scopes_by_shard(entry, args, view.db)?;
        self.coordinate_in(key, entry, coordinator, args, scopes, None);
        Ok(())
    }

    /// As [`coordinate`](Self::coordinate), with locks that the arguments do not tell.
    pub(super) fn coordinate_in(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        coordinator: Coordinator,
        args: Args<'_>,
        scopes: Vec<(ShardId, Scope)>,
        plan: Option<Box<Plan>>,
    ) {
        let connection = &mut self.state.connections[key.0 as usize];
        let (client, view) = (connection.client.id, connection.client.view);
        connection.blocked = Blocked::Coordinating;
        let sequence = connection.reserve();
        let reply_to = ReplyTo { connection: key, client, sequence };
        let mut request = Request::new(entry, key, client, view, &self.state, args);
        request.plan = plan;
        let number = self.add_coordination(reply_to, scopes, None, request, coordinator);
        self.request_locks(number);
    }

    fn add_coordination(
        &mut self,
        reply_to: ReplyTo,
        scopes: Vec<(ShardId, Scope)>,
        claim: Option<Arc<Claim>>,
        request: Request,
        coordinator: Coordinator,
    ) -> u64 {
        let coordination = Coordination {
            entry: request.entry,
            reply_to,
            args: request.owned_args(),
            db: request.view.db,
            began: self.state.shared.stopwatch.ticks(),
            scopes,
            id: None,
            ungranted: 0,
            refusals: 0,
            claim,
            detached: false,
            expels: false,
            nature: Nature::of(&request),
            unasked: None,
            waiting: Vec::new(),
            stage: Stage::Locking { request: Box::new(request), coordinator },
        };
        let number = self.coordinations.next;
        self.coordinations.next += 1;
        self.coordinations.running.insert(number, coordination);
        number
    }

    /// Starts what the server has given itself to do.
    pub(super) fn begin_background(&mut self) {
        while let Some(Background { words, locks, coordinator }) = self.state.background.pop_front()
        {
            let args = OwnedArgs::of_parts(words.iter().map(|word| word.as_bytes()));
            let entry = table().find(args.view());
            let entry = entry.expect("invariant: the server knows its own commands");
            let request = Request::of_owned(
                entry,
                NOBODY.connection,
                NOBODY.client,
                OWN_VIEW,
                &self.state,
                args,
            );
            let everywhere = |mode| {
                let shards = (0..self.state.shared.map.shards()).map(ShardId);
                shards.map(move |shard| (shard, Scope::Everything(mode)))
            };
            let scopes = locks.into_iter().flat_map(everywhere).collect();
            let number = self.add_coordination(NOBODY, scopes, None, request, coordinator);
            self.request_locks(number);
        }
    }

    /// Starts to coordinate an attempt of a blocking command. With `summon`, a shard has drawn its
    /// identifier and requested the locks there.
    pub(super) fn begin_attempt(
        &mut self,
        reply_to: ReplyTo,
        scopes: Vec<(ShardId, Scope)>,
        claim: Arc<Claim>,
        request: Request,
        coordinator: Coordinator,
        summon: Option<(ShardId, TransactionId, Outcome)>,
    ) {
        let number = self.add_coordination(reply_to, scopes, Some(claim), request, coordinator);
        let Some((shard, id, outcome)) = summon else {
            return self.request_locks(number);
        };
        self.request_locks_as(number, id, Some(shard));
        self.locked(shard, id, outcome);
    }

    /// Starts to coordinate a command whose reply has its place already, and for which the
    /// connection waits unless it is `detached`.
    pub(super) fn begin_detached(
        &mut self,
        reply_to: ReplyTo,
        scopes: Vec<(ShardId, Scope)>,
        request: Request,
        coordinator: Coordinator,
        detached: bool,
    ) {
        let number = self.add_coordination(reply_to, scopes, None, request, coordinator);
        self.coordinations.running(number).detached = detached;
        self.request_locks(number);
    }

    /// Coordinates a script that runs already, and holds under this identifier what it has. It gets
    /// everything before it goes on.
    pub(super) fn begin_astray(
        &mut self,
        reply_to: ReplyTo,
        id: TransactionId,
        request: Request,
        coordinator: Coordinator,
        detached: bool,
    ) {
        let number = self.add_coordination(reply_to, Vec::new(), None, request, coordinator);
        let coordination = self.coordinations.running(number);
        coordination.detached = detached;
        coordination.id = Some(id);
        self.coordinations.by_id.insert(id, number);
        self.raise_everywhere(number);
    }

    fn finish(&mut self, number: u64, result: Result<Vec<u8>, CommandError>) {
        let is_attempt = self.coordinations.running[&number].claim.is_some();
        if is_attempt && self.finish_in_vain(number) {
            return;
        }
        self.log_coordination(number);
        self.release_everywhere(number, &[]);
        let coordination = self.coordinations.running.remove(&number);
        let Coordination { entry, reply_to, args, began, stage, detached, .. } =
            coordination.expect("invariant: only running ones finish");
        if reply_to == NOBODY {
            // What became of it has been logged.
            return;
        }
        let (blame, again, calls) = match &stage {
            Stage::Running { transaction, .. } => {
                let mut exchange = transaction.exchange.borrow_mut();
                (exchange.blame.take(), exchange.again.take(), exchange.calls)
            }
            Stage::Locking { .. } | Stage::Moving => (None, None, 0),
        };
        if let Some(view) = again {
            let asked = Asked { to: reply_to, entry, view, args };
            return self.begin_widely(asked, !detached);
        }
        let failed = result.is_err() || blame.is_some();
        let reply = result.unwrap_or_else(|error| {
            let mut out = Vec::new();
            // Errors are the same in both protocol versions.
            Encoder::new(&mut out, kvasir_proto::Resp::V2).error_bytes(&error.to_wire());
            out
        });
        let nanoseconds = self.state.shared.stopwatch.elapsed_ns(began);
        let blame = blame.unwrap_or_default();
        let reply_end = reply.len();
        let done = Done { reply_end, nanoseconds, failed, blame, calls, ..Done::default() };
        if is_attempt {
            return self.served(reply_to, entry, &reply, done, args.view());
        }
        self.record(entry, done, args.view(), &reply, reply_to);
        if let Handler::Transaction(TransactionStep::Execute) = entry.command.handler {
            self.show_part(entry, args.view(), reply_to);
            self.unwatch(reply_to);
        }
        self.fill(reply_to, &reply);
        let connection = self.state.connection(reply_to.connection);
        if connection.is_some_and(|connection| connection.client.id == reply_to.client) {
            if let Stage::Running { transaction, .. } = stage {
                let messages = std::mem::take(&mut transaction.exchange.borrow_mut().own_messages);
                if !messages.is_empty() {
                    self.state.push_behind_replies(reply_to.connection, &messages);
                }
            }
            if !detached {
                self.unblock(reply_to.connection);
            }
        }
    }
}

impl Core {
    /// Logs what a coordination has changed, while it has its locks.
    fn log_coordination(&mut self, number: u64) {
        let Coordination { entry, args, db, stage, .. } = &self.coordinations.running[&number];
        let Stage::Running { transaction, .. } = stage else { return };
        let mut caused = std::mem::take(&mut transaction.exchange.borrow_mut().caused);
        caused.complete(entry, *db, args.view());
        self.state.effects.end_unit();
        self.state.effects.put_unit(&mut caused.records);
        self.state.effects.end_unit();
    }

    /// Ends an attempt of a blocking command after which it waits; false when it is done instead.
    fn finish_in_vain(&mut self, number: u64) -> bool {
        let Coordination { stage, scopes, reply_to, .. } = &self.coordinations.running[&number];
        let Stage::Running { transaction, .. } = stage else {
            unreachable!("only running coordinations finish");
        };
        let to = *reply_to;
        let Some(in_vain) = transaction.exchange.borrow_mut().in_vain.take() else {
            let shards: Vec<ShardId> = scopes.iter().map(|(shard, _)| *shard).collect();
            self.attempt_done(to, &shards);
            return false;
        };
        self.release_everywhere(number, &[]);
        self.coordinations.running.remove(&number);
        self.attempt_in_vain(to, in_vain.args);
        true
    }
}
