//! One core's logic: connections, the shard, its locks, and the messages between cores.
//!
//! The life of a request: [`received`](super::engine::Engine::received) parses what has arrived, a
//! few requests at a time, so that the memory that they will touch can be fetched together; each is
//! dispatched by its definition. A command for this shard runs at once and writes its reply into
//! the connection's output. One for another shard joins the batch for that core, and reserves its
//! place among the replies. One with keys on several shards, or about the whole server, becomes a
//! coordination.

mod round;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvasir_proto::{ArgRanges, Limits};
use kvasir_shard::{Overdue, Progress, Shard};
use slab::Slab;

use super::blocking::{Alarms, Ending, Waiters, Waits};
use super::connection::{Blocked, Connection};
use super::coordinate::Coordinations;
use super::cork::Corks;
use super::dispatch::Ahead;
use super::effects::Effects;
use super::engine::{Close, ConnectionKey, Now, ShardId, Wake};
use super::evict::Room;
use super::input::Input;
use super::locks::{Locks, Mode, Scope, TransactionId};
use super::long::Postponed;
use super::message::{ClientView, ReplyTo};
use super::multi::{WatchId, Watches};
use super::patrol::{INPUT_ROOM, Patrol};
use super::remote::{Granted, Outboxes, Parked, ParkedRequests};
use super::replay::Replay;
use super::script::Scripts;
use super::shared::Shared;
use super::snapshot::{LOOK_US, SnapshotState};
use crate::commands::context::{Coordinator, KeyspaceFigures, ValueSettings};
use crate::config::notify::KeyspaceEvents;
use crate::config::value::OutputLimit;
use crate::metrics::Metrics;
use crate::metrics::latency::Event;
use crate::persist::load::Port;
use crate::pubsub::PubSub;
use crate::pubsub::message::Publication;
use crate::pubsub::publish::Publishing;
use crate::tracking::Tracking;

/// Requests parsed ahead of their execution, so that their memory is fetched together.
pub(super) const LOOKAHEAD: usize = 16;
/// Input of one connection executed before the others have their turn, in bytes.
const TURN_BYTES: usize = 256 * 1024;
/// A larger input buffer is given back as soon as it is empty, and not by the patrol, in bytes.
const INPUT_KEPT_MAX: usize = 4 << 20;
/// How long what has fallen due waits for transactions before those wait for it, microseconds.
const EXPIRY_WAIT_US: u64 = 5_000;
/// Keys expired in one piece of work.
const EXPIRE_BUDGET: usize = 64;

/// The access stamp of a moment: the low bits of its Unix second, so that times of up to 18 hours
/// since an access can be told.
pub fn access_stamp(unix_ms: u64) -> u16 {
    (unix_ms / 1000) as u16
}

/// The access stamp of a moment where accesses are counted: the low bits of its Unix minute, and
/// the count.
pub fn counting_stamp(unix_ms: u64, count: u8) -> u16 {
    ((unix_ms / 60_000) as u16) << 8 | u16::from(count)
}

/// What commands may touch of a core: everything but the machinery that routes them.
#[expect(clippy::struct_excessive_bools, reason = "each is a state of its own")]
pub struct CoreState {
    /// This core's shard.
    pub id: ShardId,
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// The keyspace.
    pub shard: Shard,
    /// The connections of this core.
    pub connections: Slab<Connection>,
    /// What is counted of the keyspace.
    pub keyspace_figures: KeyspaceFigures,
    /// What the configuration says about values.
    pub value_settings: ValueSettings,
    /// What the handler that runs leaves for later.
    pub postponed: Postponed,
    /// Counters, latencies and the command log.
    pub metrics: Metrics,
    /// The time of this round.
    pub now: Now,
    /// `CLIENT PAUSE`.
    pub pause: Option<Pause>,
    /// Writing commands are refused, since what they write could not be saved.
    pub refuses_writes: bool,
    /// Writing commands wait until a snapshot has handed over what they have changed.
    pub choked: bool,
    /// `stop-writes-on-bgsave-error`, where snapshots are taken.
    pub stops_writes: bool,
    /// What has been changed here, on its way into the log.
    pub effects: Effects,
    /// Whether the data set is being loaded.
    pub loading: bool,
    /// Whether what is loaded is a log, during which nothing expires and nothing is evicted.
    pub(super) replaying: bool,
    /// This core's side of snapshots.
    pub(super) snapshot: SnapshotState,
    /// What the server itself has to do that takes locks, as soon as this round.
    pub background: VecDeque<Background>,
    /// Where this shard's part of what is loaded comes from.
    pub load_port: Option<Port>,
    /// The log whose commands this core runs.
    pub replay: Option<Replay>,
    /// `import-mode`: keys stay when their deadline passes.
    pub import_mode: bool,
    /// Whether keys go when they expire, or only when they are looked at (`DEBUG`).
    pub active_expire: bool,
    /// Connections that receive `MONITOR`'s lines.
    pub monitors: Vec<ConnectionKey>,
    /// `client-output-buffer-limit`, by class.
    pub output_limits: [OutputLimit; 3],
    /// Looks after the clients.
    pub patrol: Patrol,
    /// The limit of the process's memory.
    pub room: Room,
    /// The parser's limits for an authenticated client.
    pub limits: Limits,
    /// `client-query-buffer-limit`, bytes.
    pub query_buffer_max: usize,
    /// The waits of this core's clients.
    pub waits: Waits,
    /// Who waits for keys of this shard.
    pub waiters: Waiters,
    /// When they are tried although nothing has changed.
    pub alarms: Alarms,
    /// Who watches keys of this shard.
    pub watches: Watches,
    /// Watches that have ended, and shards that have to be told.
    pub(super) ended_watches: Vec<(ShardId, WatchId)>,
    /// The number of the last watch of one of this core's clients.
    pub(super) last_watch: u64,
    /// The subscriptions of this core's clients.
    pub pubsub: PubSub,
    /// What the server itself has to publish, after the command that gave cause to it.
    pub notices: VecDeque<Publication>,
    /// What scripts have published that have ended, or cannot begin again.
    pub published: VecDeque<Publication>,
    /// `notify-keyspace-events`.
    pub keyspace_events: KeyspaceEvents,
    /// Who is to be told that a key has changed that it has read.
    pub tracking: Tracking,
    /// The interpreters, and the scripts that have begun and not ended.
    pub scripts: Scripts,
    /// Connections beyond the soft limit of their output.
    pub(super) beyond_soft: Vec<ConnectionKey>,
    dirty: VecDeque<ConnectionKey>,
    pub(super) corks: Corks,
}

/// A command that the server gives itself.
#[derive(Clone, Debug)]
pub struct Background {
    /// Its name and arguments.
    pub words: Vec<&'static str>,
    /// The locks that it needs on everything of every shard.
    pub locks: Option<Mode>,
    /// What runs it.
    pub coordinator: Coordinator,
}

/// `CLIENT PAUSE`: until when, and which commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// Wall clock, microseconds.
    pub until_us: u64,
    /// Every command, or only those that may write.
    pub all: bool,
}

impl CoreState {
    /// A connection, if the key is still in use.
    pub fn connection(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.connections.get_mut(key.0 as usize)
    }

    /// Has the driver look at the connection's output and disposition.
    pub fn mark_dirty(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(key);
        }
    }

    /// Sends something that is no reply, after the replies that are ready.
    pub fn push(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        connection.output.extend_from_slice(bytes);
        self.mark_dirty(key);
    }

    /// Ends a connection.
    pub fn close(&mut self, key: ConnectionKey, how: Close) {
        let Some(connection) = self.connections.get_mut(key.0 as usize) else { return };
        if connection.close != Close::Now {
            connection.close = how;
        }
        if connection.blocked == Blocked::Waiting {
            let client = connection.client.id;
            self.waits.end(client, Ending::Gone);
        }
        self.mark_dirty(key);
    }

    /// Measures what changes by itself. Called ten times a second; the first core measures for the
    /// process.
    fn measure(&mut self) {
        self.shared.memory.note_arena(self.id.index(), self.shard.arena_bytes() as u64);
        if self.id == ShardId(0) {
            self.shared.memory.measure();
        }
        let databases = 0..self.shard.databases() as u32;
        let keys: usize = databases.map(|db| self.shard.len(db)).sum();
        self.shared.memory.note_keys(self.id.index(), keys as u64);
        self.shared.memory.note_keyspace(self.id.index(), self.shard.used_memory() as u64);
        for key in std::mem::take(&mut self.beyond_soft) {
            self.mark_dirty(key);
        }
        self.patrol();
        self.check_save_points();
        self.check_log();
        self.metrics.end_periodic();
    }

    /// Has the keyspace show its keys as this client is to see them: in import mode, its source
    /// finds also those whose deadline has passed.
    #[inline]
    pub fn show_as_to(&mut self, view: ClientView) {
        if self.import_mode {
            self.shard.set_overdue(if view.import_source { Overdue::Live } else { Overdue::Kept });
        }
    }

    /// What marks an entry as used now: the second, or, where accesses are counted, the minute.
    fn access_stamp(&self) -> u16 {
        match self.room.counting {
            None => access_stamp(self.unix_ms()),
            Some(_) => counting_stamp(self.unix_ms(), 0),
        }
    }

    /// Whether a script is under way here that does not run in one go, and for which no time
    /// passes: as in the peers, a key that it has found is there until it ends.
    pub(super) fn time_stands(&self) -> bool {
        self.scripts.any_jobs() || self.shared.wide_scripts.load(Ordering::Relaxed) > 0
    }

    /// Removes some of what has fallen due.
    pub(super) fn expire_due(&mut self) -> Progress {
        let began = self.metrics.ticks();
        self.tracking.set_author(None);
        let expiry = self.shard.expire_due(self.unix_ms(), EXPIRE_BUDGET);
        if expiry.expired > 0 {
            self.metrics.event_since(Event::ExpireCycle, began);
        }
        expiry
    }

    /// Tells the keyspace the time, in milliseconds of the Unix epoch.
    pub(super) fn tell_time(&mut self, unix_ms: u64) {
        if !self.time_stands() {
            self.shard.set_now(unix_ms);
        }
    }

    /// Whether keys are left alone when their deadline passes.
    pub(super) fn keeps_overdue(&self) -> bool {
        self.import_mode || self.pause.is_some()
    }

    /// What keys whose deadline has passed are to commands.
    pub fn overdue(&self) -> Overdue {
        if self.keeps_overdue() { Overdue::Kept } else { Overdue::Removed }
    }

    /// The wall clock in milliseconds.
    pub fn unix_ms(&self) -> u64 {
        self.now.unix_us / 1000
    }
}

/// What a core has under way: see [`Core::residue`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Residue {
    /// Whether some lock is held or wanted.
    pub locked: bool,
    /// Requests that wait for a lock.
    pub parked: usize,
    /// Commands of several shards that this core coordinates.
    pub coordinations: usize,
    /// Clients of this core that wait for a key.
    pub waits: usize,
    /// Clients that wait for a key of this shard.
    pub waiters: usize,
    /// Clients that watch keys of this shard, which they may do for ever.
    pub watches: usize,
    /// Messages to subscribers whose publishers have not been answered.
    pub publishing: usize,
    /// What the server has to do by itself.
    pub background: usize,
    /// Messages that have not been handed to the driver.
    pub batches: usize,
    /// Connections whose requests are to go on in the next piece of work.
    pub ready: usize,
    /// Connections that the driver has to look at.
    pub dirty: usize,
}

/// One core. See the module's head, and [`Engine`] for how it is driven.
pub struct Core {
    /// What commands may touch.
    pub state: CoreState,
    pub(super) locks: Locks,
    pub(super) parked: ParkedRequests,
    pub(super) granted: Granted,
    /// Transactions that are to have this shard, after the one that has it.
    pub(super) raises: VecDeque<TransactionId>,
    /// Parked commands that go on in parts, in the order of their turns.
    pub(super) long: VecDeque<u64>,
    pub(crate) outboxes: Outboxes,
    pub(crate) publishing: Publishing,
    pub(super) coordinations: Coordinations,
    /// Since when what has fallen due waits for transactions, on the monotonic clock.
    expires_since_us: Option<u64>,
    /// It waits in line.
    pub(super) expiry_parked: bool,
    /// Somebody further up is going through the keys that may be ready.
    pub(super) serving: bool,
    pub(super) ready: VecDeque<ConnectionKey>,
    /// Space for parsed requests, reused.
    pub(super) lookahead: Vec<ArgRanges>,
    pub(super) ahead: Vec<Ahead>,
}

impl Core {
    /// A core with an empty shard.
    pub fn new(id: ShardId, shared: Arc<Shared>, shard: Shard) -> Self {
        let shards = shared.map.shards();
        let metrics = Metrics::new(shared.stopwatch);
        let limits = Limits::default();
        let mut state = CoreState {
            id,
            shard,
            connections: Slab::new(),
            keyspace_figures: KeyspaceFigures::default(),
            value_settings: ValueSettings::default(),
            postponed: Postponed::default(),
            metrics,
            now: Now { unix_us: 0, monotonic_us: 0 },
            pause: None,
            refuses_writes: false,
            choked: false,
            stops_writes: false,
            effects: Effects::default(),
            loading: false,
            replaying: false,
            snapshot: SnapshotState::default(),
            background: VecDeque::new(),
            load_port: None,
            replay: None,
            import_mode: false,
            active_expire: true,
            monitors: Vec::new(),
            output_limits: [OutputLimit::default(); 3],
            patrol: Patrol::default(),
            room: Room::default(),
            limits,
            query_buffer_max: 1 << 30,
            waits: Waits::default(),
            waiters: Waiters::default(),
            alarms: Alarms::default(),
            watches: Watches::default(),
            ended_watches: Vec::new(),
            last_watch: 0,
            pubsub: PubSub::default(),
            notices: VecDeque::new(),
            published: VecDeque::new(),
            keyspace_events: KeyspaceEvents::NONE,
            tracking: Tracking::default(),
            scripts: Scripts::default(),
            beyond_soft: Vec::new(),
            dirty: VecDeque::new(),
            corks: Corks::default(),
            shared,
        };
        state.apply_config();
        Self {
            state,
            locks: Locks::default(),
            parked: ParkedRequests::default(),
            raises: VecDeque::new(),
            granted: Granted::default(),
            long: VecDeque::new(),
            outboxes: Outboxes::new(id, shards),
            publishing: Publishing::default(),
            coordinations: Coordinations::default(),
            expires_since_us: None,
            expiry_parked: false,
            serving: false,
            ready: VecDeque::new(),
            lookahead: (0..LOOKAHEAD).map(|_| ArgRanges::default()).collect(),
            ahead: Vec::with_capacity(LOOKAHEAD),
        }
    }

    /// Checks the invariants of everything that this core holds; O(all of it). For tests and the
    /// simulation.
    pub fn verify(&self) {
        self.locks.verify();
        self.state.shard.verify();
        self.coordinations.verify();
        self.state.waits.verify();
        self.state.waiters.verify();
        self.state.watches.verify();
        self.state.pubsub.verify();
        self.state.tracking.verify();
        for (key, connection) in &self.state.connections {
            let waits = self.coordinations.awaited_by(ConnectionKey(key as u32), connection);
            assert_eq!(waits, connection.blocked == Blocked::Coordinating, "who waits is blocked");
            let is_its_own = |to: ReplyTo| to.client == connection.client.id;
            let waits = self.state.waits.replies().any(is_its_own);
            assert_eq!(waits, connection.blocked == Blocked::Waiting, "who waits is blocked");
        }
    }

    /// What is under way on this core, or has been left behind. For tests and the simulation: with
    /// no request under way on any core, nothing must be.
    pub fn residue(&self) -> Residue {
        Residue {
            locked: !self.locks.is_idle(),
            parked: self.parked.len(),
            coordinations: self.coordinations.len(),
            waits: self.state.waits.len(),
            waiters: self.state.waiters.len(),
            watches: self.state.watches.len(),
            publishing: self.publishing.len() + self.state.notices.len(),
            background: self.state.background.len(),
            batches: self.outboxes.len(),
            ready: self.ready.len(),
            dirty: self.state.dirty.len(),
        }
    }

    /// Lets the connection's requests go on, if nothing else holds them.
    pub(super) fn unblock(&mut self, key: ConnectionKey) {
        let Some(connection) = self.state.connections.get_mut(key.0 as usize) else { return };
        connection.blocked = Blocked::No;
        if !connection.ready && (!connection.input.is_empty() || connection.hung_up) {
            connection.ready = true;
            self.ready.push_back(key);
        }
        self.state.mark_dirty(key);
    }

    /// Executes what the connection has sent, up to a turn's worth, and keeps the rest.
    pub(super) fn take_turn(&mut self, key: ConnectionKey) {
        let Some(connection) = self.state.connections.get_mut(key.0 as usize) else { return };
        if connection.blocked != Blocked::No || connection.close != Close::No {
            return;
        }
        let mut input = std::mem::take(&mut connection.input);
        let consumed = self.execute_input(key, input.as_slice(), TURN_BYTES);
        let Some(connection) = self.state.connections.get_mut(key.0 as usize) else { return };
        input.consume(consumed);
        input.extend(connection.input.as_slice());
        connection.input = input;
        self.after_turn(key, consumed);
    }

    /// Decides what becomes of a connection whose turn is over.
    fn after_turn(&mut self, key: ConnectionKey, consumed: usize) {
        let Some(connection) = self.state.connections.get_mut(key.0 as usize) else { return };
        if connection.blocked == Blocked::No && connection.close == Close::No {
            if consumed >= TURN_BYTES && !connection.input.is_empty() {
                if !connection.ready {
                    connection.ready = true;
                    self.ready.push_back(key);
                }
            } else if connection.is_finished() {
                connection.close = Close::AfterOutput;
            }
        }
        if !connection.input.is_empty() {
            connection.input.make_room(connection.needed.max(INPUT_ROOM));
        } else if connection.input.capacity() > INPUT_KEPT_MAX {
            connection.input = Input::default();
        }
        self.state.mark_dirty(key);
    }

    /// Ends the pause, or notices that it has ended.
    fn check_pause(&mut self) {
        let over = self.state.pause.is_some_and(|pause| pause.until_us <= self.state.now.unix_us);
        if over {
            self.state.pause = None;
        }
        let holds = self.state.pause.is_some() || self.state.choked;
        if !holds && self.coordinations.any_paused() {
            for key in self.coordinations.take_paused() {
                self.unblock(key);
            }
        }
    }

    /// Removes what has fallen due. A pause and an import leave the keyspace as it is, and so do a
    /// script and a transaction: what they have found is there until they end.
    fn expire(&mut self) -> Progress {
        let waits = self.state.keeps_overdue() || self.state.replaying || self.state.time_stands();
        if waits || !self.state.active_expire {
            return Progress { expired: 0, next_deadline_ms: None };
        }
        let next = self.state.shard.next_deadline_ms();
        let is_due = next.is_some_and(|next_ms| next_ms <= self.state.unix_ms());
        if is_due && self.locks.has_transactions() {
            self.wait_to_expire();
            return Progress { expired: 0, next_deadline_ms: Some(self.state.unix_ms() + 1) };
        }
        self.expires_since_us = None;
        self.state.expire_due()
    }

    /// Removes what has fallen due between the transactions that follow each other without end.
    fn wait_to_expire(&mut self) {
        let now_us = self.state.now.monotonic_us;
        let since_us = *self.expires_since_us.get_or_insert(now_us);
        if now_us - since_us >= EXPIRY_WAIT_US && !self.expiry_parked {
            self.expiry_parked = true;
            self.park_this(Parked::Expiry, Scope::Everything(Mode::Write));
        }
    }

    /// When the pause, an expiry or the next periodic work is due, on the monotonic clock.
    fn next_wake(&self, next_expiry_ms: Option<u64>) -> Wake {
        let now = self.state.now;
        let in_us = |unix_us: u64| now.monotonic_us + unix_us.saturating_sub(now.unix_us);
        let expiry = next_expiry_ms.map(|ms| in_us(ms * 1000));
        let alarm = self.state.alarms.next_ms().map(|ms| in_us(ms * 1000));
        let pause = self.state.pause.map(|pause| in_us(pause.until_us));
        let sleeper = self.coordinations.next_wake_us();
        let wait = self.state.waits.next_deadline_us();
        let sample = Some(self.state.metrics.next_sample_us());
        let choked = self.state.choked && self.coordinations.any_paused();
        let choked = choked.then_some(now.monotonic_us + LOOK_US);
        let next =
            [expiry, alarm, pause, choked, sleeper, wait, sample].into_iter().flatten().min();
        next.map_or(Wake::Never, Wake::At)
    }
}
