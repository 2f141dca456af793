//! Coordinations: commands of this core's connections that visit several shards.
//!
//! First the locks are requested on every shard that the command names, with one identifier; a
//! refusal anywhere gives them all up and begins again with a new one. Once all are granted the
//! coordinator, an asynchronous function, is polled; its hops travel as tasks; the locks end with
//! its last hop, or with it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use kvasir_proto::{Args, Encoder};

use super::blocking::Claim;
use super::connection::{Blocked, Connection};
use super::core::{Background, Core};
use super::engine::{ConnectionKey, ShardId};
use super::locks::{Fingerprint, Mode, Outcome, Owner, Scope, TransactionId};
use super::message::{ClientView, Control, Done, OwnedArgs, Reply, ReplyTo, Task};
use super::multi::{Plan, refusal_of};
use super::shard_map::ShardMap;
use super::transaction::{Request, Transaction};
use crate::commands::context::{Coordination as Running, Coordinator};
use crate::commands::definition::{Flags, Handler, KeyFlags, LockScope, TransactionStep};
use crate::commands::table::{Entry, table};
use crate::errors::CommandError;
use crate::pubsub::Receivers;

/// How often a transaction is refused before it becomes patient (see [`super::locks`]).
const REFUSALS_MAX: u32 = 3;
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
    stage: Stage,
}

enum Stage {
    /// Waiting for locks.
    Locking { request: Box<Request>, coordinator: Coordinator },
    /// Waiting for the results of a hop.
    Running { transaction: Transaction, future: Running },
    /// Being polled, or moved from one stage to the next.
    Moving,
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
    /// What a command of this shard alone locks: its keys, by its own key specifications, or all of
    /// the shard for reading.
    pub(super) fn scope_of(&self, entry: &'static Entry, args: Args<'_>, db: u32) -> Scope {
        Self::scope_by(self.state.shared.map, entry, args, db)
    }

    /// As [`scope_of`](Self::scope_of), where the keys are by this map.
    pub(super) fn scope_by(map: ShardMap, entry: &'static Entry, args: Args<'_>, db: u32) -> Scope {
        if let Handler::Placed { .. } = entry.command.handler {
            return Scope::Everything(Mode::Read);
        }
        let mut keys = Vec::new();
        let found = entry.keys(args, |index, flags| {
            let hash = map.key(args.at(index)).hash;
            keys.extend(
                dbs_of(entry, args, db)
                    .map(|db| (map.fingerprint(db, hash), mode_of(entry, flags))),
            );
        });
        // A request whose keys cannot be told is malformed: it touches none, and will say so.
        debug_assert!(found.is_ok() || keys.is_empty(), "an error comes before the first key");
        Scope::Keys(keys)
    }

    /// The locks of a command on each shard that it names.
    pub(super) fn scopes_by_shard(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
    ) -> Result<Vec<(ShardId, Scope)>, CommandError> {
        let mut scopes = Vec::new();
        self.add_scopes(entry, args, db, &mut scopes)?;
        Ok(scopes)
    }

    /// Adds the locks of a command to those of others. Nothing is added on failure.
    pub(super) fn add_scopes(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
        scopes: &mut Vec<(ShardId, Scope)>,
    ) -> Result<(), CommandError> {
        let map = self.state.shared.map;
        let everywhere = |mode, scopes: &mut Vec<_>| {
            for shard in (0..map.shards()).map(ShardId) {
                let scope = Scope::Everything(mode);
                match scope_on(scopes, shard) {
                    Some(joined) => joined.join(scope),
                    None => scopes.push((shard, scope)),
                }
            }
        };
        let scope = match entry.command.handler {
            Handler::Global(scope, _) => Some(scope.resolve(args)),
            _ => entry.command.beyond(args),
        };
        match scope {
            Some(LockScope::Shared) => {
                everywhere(Mode::Read, scopes);
                return Ok(());
            }
            Some(LockScope::Exclusive) => {
                everywhere(Mode::Write, scopes);
                return Ok(());
            }
            Some(LockScope::None) => return Ok(()),
            Some(LockScope::Chosen(_)) => unreachable!("a choice is one of the others"),
            Some(LockScope::Keys) | None => {}
        }
        if let Handler::Placed { .. } = entry.command.handler {
            everywhere(Mode::Read, scopes);
            return Ok(());
        }
        self.add_scopes_of_keys(entry, args, db, scopes)
    }

    /// Adds the locks of the keys that a request names.
    pub(super) fn add_scopes_of_keys(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
        scopes: &mut Vec<(ShardId, Scope)>,
    ) -> Result<(), CommandError> {
        let map = self.state.shared.map;
        entry.keys(args, |index, flags| {
            let key = map.key(args.at(index));
            for db in dbs_of(entry, args, db) {
                let lock = (map.fingerprint(db, key.hash), mode_of(entry, flags));
                add_lock(scopes, map.owner_of_slot(key.slot), lock);
            }
        })
    }

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
            began: self.state.shared.stopwatch.ticks(),
            scopes,
            id: None,
            ungranted: 0,
            refusals: 0,
            claim,
            detached: false,
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

    /// Starts to coordinate a command whose reply has its place already. With `asked`, that shard
    /// has drawn its identifier and requested the locks there.
    pub(super) fn begin_detached(
        &mut self,
        reply_to: ReplyTo,
        scopes: Vec<(ShardId, Scope)>,
        request: Request,
        coordinator: Coordinator,
        detached: bool,
        asked: Option<(ShardId, TransactionId, Outcome)>,
    ) {
        let number = self.add_coordination(reply_to, scopes, None, request, coordinator);
        let coordination = self.coordinations.running.get_mut(&number);
        coordination.expect("invariant: it has just been added").detached = detached;
        let Some((shard, id, outcome)) = asked else { return self.request_locks(number) };
        self.request_locks_as(number, id, Some(shard));
        self.locked(shard, id, outcome);
    }

    /// Requests the locks of a coordination with a new identifier, or starts it if it needs none.
    fn request_locks(&mut self, number: u64) {
        let coordination = self.coordinations.running.get_mut(&number);
        let coordination = coordination.expect("invariant: only running ones request locks");
        if coordination.scopes.is_empty() {
            return self.start(number);
        }
        let me = self.state.id;
        let mut id = TransactionId::draw(&self.state.shared.next_transaction, me);
        if coordination.refusals >= REFUSALS_MAX {
            id = id.patient();
            coordination.scopes.sort_unstable_by_key(|(shard, _)| *shard);
        }
        if !id.is_patient() {
            return self.request_locks_as(number, id, None);
        }
        coordination.id = Some(id);
        coordination.ungranted = coordination.scopes.len();
        self.coordinations.by_id.insert(id, number);
        self.request_next_lock(number, id);
    }

    /// Requests the locks of a coordination under this identifier on every shard but one that has
    /// been asked already.
    fn request_locks_as(&mut self, number: u64, id: TransactionId, asked: Option<ShardId>) {
        let me = self.state.id;
        let coordination = self.coordinations.running.get_mut(&number);
        let coordination = coordination.expect("invariant: only running ones request locks");
        coordination.id = Some(id);
        coordination.ungranted = coordination.scopes.len();
        self.coordinations.by_id.insert(id, number);
        let scopes = coordination.scopes.clone();
        let mut here = None;
        for (shard, scope) in scopes {
            if Some(shard) == asked {
                continue;
            }
            if shard == me {
                here = Some(scope);
            } else {
                self.outboxes.control(shard, Control::Lock(id, scope));
            }
        }
        if let Some(scope) = here {
            let outcome = self.claim(id, scope);
            self.locked(me, id, outcome);
        }
    }

    /// Requests the locks of a patient coordination on the first shard that has not granted them.
    fn request_next_lock(&mut self, number: u64, id: TransactionId) {
        let Coordination { scopes, ungranted, .. } = &self.coordinations.running[&number];
        let (shard, scope) = scopes[scopes.len() - ungranted].clone();
        if shard == self.state.id {
            let outcome = self.claim(id, scope);
            self.locked(shard, id, outcome);
        } else {
            self.outboxes.control(shard, Control::Lock(id, scope));
        }
    }

    /// What a shard says of a request for locks.
    pub(super) fn locked(&mut self, shard: ShardId, id: TransactionId, outcome: Outcome) {
        // An attempt that was given up may still be answered.
        let Some(&number) = self.coordinations.by_id.get(&id) else { return };
        let coordination = self.coordinations.running.get_mut(&number);
        let coordination = coordination.expect("invariant: identifiers belong to running ones");
        match outcome {
            Outcome::Queued => {}
            Outcome::Busy => self.turn_away_coordination(number),
            Outcome::Granted => {
                coordination.ungranted -= 1;
                if coordination.ungranted == 0 {
                    self.start(number);
                } else if id.is_patient() {
                    self.request_next_lock(number, id);
                }
            }
            Outcome::Refused => {
                coordination.refusals += 1;
                self.state.metrics.counters.transactions_retried += 1;
                self.release_everywhere(number, &[shard]);
                self.request_locks(number);
            }
        }
    }

    /// A command waits for a script that has run for too long: its client is told so.
    fn turn_away_coordination(&mut self, number: u64) {
        let Coordination { entry, claim, reply_to, stage, .. } =
            &self.coordinations.running[&number];
        let waits =
            matches!(stage, Stage::Locking { .. }) && claim.is_none() && *reply_to != NOBODY;
        if let Some(busy) = self.busy_error(entry).filter(|_| waits) {
            self.finish(number, Err(refusal_of(entry, busy)));
        }
    }

    /// Gives up the locks of a coordination on every shard but those in `except`.
    fn release_everywhere(&mut self, number: u64, except: &[ShardId]) {
        let coordination = self.coordinations.running.get_mut(&number);
        let coordination = coordination.expect("invariant: only running ones hold locks");
        let Some(id) = coordination.id.take() else { return };
        let shards: Vec<ShardId> = coordination.scopes.iter().map(|(shard, _)| *shard).collect();
        self.coordinations.by_id.remove(&id);
        for shard in shards.into_iter().filter(|shard| !except.contains(shard)) {
            if shard == self.state.id {
                self.release(Owner::Transaction(id));
            } else {
                self.outboxes.control(shard, Control::Release(id));
            }
        }
    }

    fn start(&mut self, number: u64) {
        let coordination = self.coordinations.running.get_mut(&number);
        let coordination = coordination.expect("invariant: only running ones start");
        if coordination.claim.as_ref().is_some_and(|claim| !claim.take()) {
            // The client's wait has ended: it has been told, and nobody waits for the outcome.
            self.release_everywhere(number, &[]);
            self.coordinations.running.remove(&number);
            return;
        }
        let stage = std::mem::replace(&mut coordination.stage, Stage::Moving);
        let Stage::Locking { request, coordinator } = stage else {
            unreachable!("a coordination starts once");
        };
        let transaction = Transaction::new(self.state.shared.map.shards(), &request);
        let future = coordinator(transaction.clone(), *request);
        coordination.stage = Stage::Running { transaction, future };
        self.poll(number);
    }

    /// Lets a coordination go on until it waits for other cores, or is done.
    fn poll(&mut self, number: u64) {
        loop {
            let coordination = self.coordinations.running.get_mut(&number);
            let coordination = coordination.expect("invariant: only running ones are polled");
            let stage = std::mem::replace(&mut coordination.stage, Stage::Moving);
            let Stage::Running { transaction, mut future } = stage else {
                unreachable!("a coordination is polled while it runs");
            };
            let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let to = coordination.reply_to;
            coordination.stage = Stage::Running { transaction: transaction.clone(), future };
            let ran = std::mem::take(&mut transaction.exchange.borrow_mut().ran);
            for part in ran {
                self.record_part(&part, to);
            }
            if let Poll::Ready(result) = poll {
                return self.finish(number, result);
            }
            let (tasks, last, sleep_us) = {
                let mut exchange = transaction.exchange.borrow_mut();
                (std::mem::take(&mut exchange.outgoing), exchange.last, exchange.sleep_us.take())
            };
            if let Some(sleep_us) = sleep_us {
                let wake_us = self.state.now.monotonic_us.saturating_add(sleep_us);
                self.coordinations.sleeping.push(Reverse((wake_us, number)));
                return;
            }
            self.send_tasks(number, tasks, last, &transaction);
            if transaction.exchange.borrow().awaited > 0 {
                return;
            }
        }
    }

    /// Lets those go on that have slept long enough.
    pub(super) fn wake_sleepers(&mut self) {
        let now_us = self.state.now.monotonic_us;
        while let Some(&Reverse((wake_us, number))) = self.coordinations.sleeping.peek()
            && wake_us <= now_us
        {
            self.coordinations.sleeping.pop();
            let coordination = self.coordinations.running.get(&number);
            let coordination = coordination.expect("invariant: one that sleeps runs");
            let Stage::Running { transaction, .. } = &coordination.stage else {
                unreachable!("only running coordinations sleep");
            };
            transaction.exchange.borrow_mut().awaited = 0;
            self.poll(number);
        }
    }

    /// Sends the tasks of a hop, and runs those for this core.
    fn send_tasks(
        &mut self,
        number: u64,
        tasks: Vec<(ShardId, Task)>,
        last: bool,
        transaction: &Transaction,
    ) {
        let me = self.state.id;
        let id = self.coordinations.running[&number].id;
        let release = if last { id } else { None };
        let visited: Vec<ShardId> = tasks.iter().map(|(shard, _)| *shard).collect();
        let mut here = Vec::new();
        for (index, (shard, task)) in tasks.into_iter().enumerate() {
            if shard == me {
                here.push((index, task));
            } else {
                let run = Control::Run { coordination: number, index, task, release };
                self.outboxes.control(shard, run);
            }
        }
        for (index, task) in here {
            let reply = task(&mut self.state);
            let mut exchange = transaction.exchange.borrow_mut();
            exchange.results[index] = Some(reply);
            exchange.awaited -= 1;
        }
        if last {
            let elsewhere: Vec<ShardId> = visited.into_iter().filter(|s| *s != me).collect();
            self.release_everywhere(number, &elsewhere);
        }
        self.after_command();
    }

    /// A task of a coordination has answered.
    pub(super) fn ran(&mut self, number: u64, index: usize, reply: Reply) {
        let coordination = self.coordinations.running.get(&number);
        let coordination = coordination.expect("invariant: a coordination awaits its tasks");
        let Stage::Running { transaction, .. } = &coordination.stage else {
            unreachable!("only running coordinations have tasks");
        };
        let ready = {
            let mut exchange = transaction.exchange.borrow_mut();
            assert!(exchange.results[index].is_none(), "invariant: a task answers once");
            exchange.results[index] = Some(reply);
            exchange.awaited -= 1;
            exchange.awaited == 0
        };
        if ready {
            self.poll(number);
        }
    }

    fn finish(&mut self, number: u64, result: Result<Vec<u8>, CommandError>) {
        let is_attempt = self.coordinations.running[&number].claim.is_some();
        if is_attempt && self.finish_in_vain(number) {
            return;
        }
        self.release_everywhere(number, &[]);
        let coordination = self.coordinations.running.remove(&number);
        let Coordination { entry, reply_to, args, began, stage, detached, .. } =
            coordination.expect("invariant: only running ones finish");
        if reply_to == NOBODY {
            // What became of it has been logged.
            return;
        }
        let (blame, again) = match &stage {
            Stage::Running { transaction, .. } => {
                let mut exchange = transaction.exchange.borrow_mut();
                (exchange.blame.take(), exchange.again.take())
            }
            Stage::Locking { .. } | Stage::Moving => (None, None),
        };
        if let Some(view) = again {
            return self.begin_widely(reply_to, entry, view, args, !detached, None);
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
        let done = Done { reply_end: reply.len(), nanoseconds, failed, blame, ..Done::default() };
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
                for message in messages {
                    self.state.deliver(&message, Receivers::Only(reply_to.connection));
                }
            }
            if !detached {
                self.unblock(reply_to.connection);
            }
        }
    }
}

impl Core {
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

/// The databases in which a command uses its keys: the client's, and perhaps another.
fn dbs_of(entry: &'static Entry, args: Args<'_>, db: u32) -> impl Iterator<Item = u32> + use<> {
    let other = entry.command.other_db.and_then(|other_db| other_db(args));
    std::iter::once(db).chain(other.filter(|other| *other != db))
}

fn scope_on(scopes: &mut [(ShardId, Scope)], shard: ShardId) -> Option<&mut Scope> {
    scopes.iter_mut().find(|(other, _)| *other == shard).map(|(_, scope)| scope)
}

/// Adds a lock of a key of a shard.
pub(super) fn add_lock(
    scopes: &mut Vec<(ShardId, Scope)>,
    shard: ShardId,
    lock: (Fingerprint, Mode),
) {
    match scope_on(scopes, shard) {
        Some(Scope::Keys(keys)) => keys.push(lock),
        Some(everything) => everything.join(Scope::Keys(vec![lock])),
        None => scopes.push((shard, Scope::Keys(vec![lock]))),
    }
}

/// What a command with these key flags needs of the key. `XREADGROUP` says that it only reads, and
/// changes what belongs to the group.
pub(super) fn mode_of(entry: &'static Entry, flags: KeyFlags) -> Mode {
    let waits = matches!(entry.command.handler, Handler::Blocking(_));
    let reads = flags.has(KeyFlags::RO) && !(waits && entry.command.flags.has(Flags::WRITE));
    if reads { Mode::Read } else { Mode::Write }
}
