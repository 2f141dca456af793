//! The figures of one core at one moment, and their sum over all cores.

use kvasir_shard::MemoryUse;

use super::CommandFigures;
use super::counters::Counters;
use super::errors::ErrorCounts;
use super::rates::Rates;
use crate::commands::context::KeyspaceFigures;
use crate::pubsub::message::Topic;
use crate::route::connection::Blocked;
use crate::route::core::{CoreState, Pause};

/// The keys of one database.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DatabaseFigures {
    /// Keys.
    pub keys: u64,
    /// Keys with a deadline.
    pub expires: u64,
    /// Their mean time to live, milliseconds.
    pub avg_ttl_ms: u64,
    /// Bytes of the table.
    pub table_bytes: u64,
    /// Bytes of the index of deadlines.
    pub ttl_bytes: u64,
    /// It has had keys since it was last emptied as a whole.
    pub used: bool,
}

impl DatabaseFigures {
    fn add(&mut self, other: &Self) {
        let total_ms =
            |figures: &Self| u128::from(figures.avg_ttl_ms) * u128::from(figures.expires);
        let sum_ms = total_ms(self) + total_ms(other);
        self.keys += other.keys;
        self.expires += other.expires;
        self.avg_ttl_ms = sum_ms.checked_div(self.expires.into()).unwrap_or(0) as u64;
        self.table_bytes += other.table_bytes;
        self.ttl_bytes += other.ttl_bytes;
        self.used |= other.used;
    }
}

/// The clients of a core.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ClientFigures {
    /// Connected.
    pub connected: u64,
    /// Held back by `CLIENT PAUSE` or a blocking command.
    pub blocked: u64,
    /// Waiting for a key until some moment.
    pub with_deadline: u64,
    /// Keys that somebody waits for.
    pub blocking_keys: u64,
    /// Those of them whose loss is noticed.
    pub noticed_keys: u64,
    /// Clients that watch keys, none of which has changed.
    pub watching: u64,
    /// Keys that are watched.
    pub watched_keys: u64,
    /// The largest input buffer, bytes.
    pub input_max: u64,
    /// The largest output buffer, bytes.
    pub output_max: u64,
    /// Their memory together, bytes.
    pub memory: u64,
}

impl ClientFigures {
    /// O(connections).
    fn of(state: &CoreState) -> Self {
        let mut figures = Self {
            blocked: state.waits.waiting() as u64,
            with_deadline: state.waits.with_deadline() as u64,
            ..Self::default()
        };
        let (keys, noticed) = state.waiters.keys();
        (figures.blocking_keys, figures.noticed_keys) = (keys as u64, noticed as u64);
        figures.watched_keys = state.watches.keys() as u64;
        let clients = state.connections.iter().map(|(_, connection)| connection);
        for connection in clients.filter(|connection| !connection.is_replay()) {
            let buffers = connection.buffers();
            figures.connected += 1;
            figures.watching += u64::from(connection.transaction().watched > 0);
            figures.blocked += u64::from(connection.blocked() == Blocked::Paused);
            figures.input_max = figures.input_max.max((buffers.input + buffers.input_free) as u64);
            figures.output_max =
                figures.output_max.max((buffers.output + buffers.in_flight) as u64);
            figures.memory += buffers.total() as u64;
        }
        figures
    }

    fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.blocked += other.blocked;
        self.with_deadline += other.with_deadline;
        self.blocking_keys += other.blocking_keys;
        self.noticed_keys += other.noticed_keys;
        self.watching += other.watching;
        self.watched_keys += other.watched_keys;
        self.input_max = self.input_max.max(other.input_max);
        self.output_max = self.output_max.max(other.output_max);
        self.memory += other.memory;
    }
}

/// The subscriptions of a core's clients.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PubSubFigures {
    /// Clients with any.
    pub clients: u64,
    /// The hashes of the names that are subscribed to, for each topic: cores have names in common.
    names: [Vec<u64>; 3],
}

impl PubSubFigures {
    /// O(names).
    fn of(state: &CoreState) -> Self {
        let hashes = |topic| {
            let names = state.pubsub.names(topic);
            names.map(|(name, _)| state.shard.hash(name)).collect()
        };
        let names = [Topic::Channel, Topic::Pattern, Topic::ShardChannel].map(hashes);
        Self { clients: state.pubsub.clients() as u64, names }
    }

    fn add(&mut self, other: Self) {
        self.clients += other.clients;
        for (names, other) in self.names.iter_mut().zip(other.names) {
            names.extend(other);
            names.sort_unstable();
            names.dedup();
        }
    }

    /// How many different names are subscribed to, over all cores.
    pub fn count(&self, topic: Topic) -> u64 {
        let index = match topic {
            Topic::Channel => 0,
            Topic::Pattern => 1,
            Topic::ShardChannel => 2,
        };
        self.names[index].len() as u64
    }
}

/// Client-side caching.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TrackingFigures {
    /// Clients that track.
    pub clients: u64,
    /// Keys that are remembered.
    pub keys: u64,
    /// Readers of them.
    pub items: u64,
    /// Prefixes that somebody follows.
    pub prefixes: u64,
}

impl TrackingFigures {
    /// O(clients that track).
    fn of(state: &CoreState) -> Self {
        Self {
            clients: state.tracking.clients_of(state.id) as u64,
            keys: state.tracking.keys() as u64,
            items: state.tracking.items() as u64,
            prefixes: state.tracking.prefixes() as u64,
        }
    }

    /// Every core has the same prefixes.
    fn add(&mut self, other: &Self) {
        self.clients += other.clients;
        self.keys += other.keys;
        self.items += other.items;
        self.prefixes = self.prefixes.max(other.prefixes);
    }
}

/// What one shard has and does, for the section on shards.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ShardFigures {
    /// Keys in all databases.
    pub keys: u64,
    /// Keys with a deadline.
    pub expires: u64,
    /// Bytes of keys, values, tables and deadlines.
    pub memory: u64,
    /// Clients connected to this core.
    pub clients: u64,
    /// Commands of its clients, wherever they ran.
    pub commands: u64,
    /// The same a second, at present.
    pub commands_per_second: u64,
    /// Attempts of transactions that were refused a lock and began again.
    pub transactions_retried: u64,
}

/// The figures of one core, or of all.
#[derive(Clone, Default, Debug)]
pub struct Figures {
    /// Numbers that only rise.
    pub counters: Counters,
    /// What happens a second.
    pub rates: Rates,
    /// The longest round of the loop, nanoseconds.
    pub cycle_ns_max: u64,
    /// The most commands in one round of the loop.
    pub cycle_commands_max: u64,
    /// Hits, misses and changes.
    pub keyspace: KeyspaceFigures,
    /// Keys that have expired.
    pub expired_keys: u64,
    /// Fields and members of collections that have expired.
    pub expired_fields: u64,
    /// By database.
    pub databases: Vec<DatabaseFigures>,
    /// The clients.
    pub clients: ClientFigures,
    /// Their subscriptions.
    pub pubsub: PubSubFigures,
    /// Those of them that track.
    pub tracking: TrackingFigures,
    /// `CLIENT PAUSE`, which is the same on all cores.
    pub pause: Option<Pause>,
    /// The memory of the keyspace.
    pub memory: MemoryUse,
    /// Bytes of the interpreters of scripts.
    pub interpreters: u64,
    /// Bytes of the interpreters of functions.
    pub function_interpreters: u64,
    /// By the command's number in the table.
    pub commands: Vec<CommandFigures>,
    /// By error code.
    pub errors: ErrorCounts,
    /// Each shard.
    pub shards: Vec<ShardFigures>,
}

impl Figures {
    /// Those of one core. O(connections + databases + commands).
    pub fn of(state: &mut CoreState) -> Self {
        let databases = databases(state);
        let memory = state.shard.memory_use();
        state.shared.memory.note_arena(state.id.index(), memory.entries as u64);
        let metrics = &state.metrics;
        let clients = ClientFigures::of(state);
        let shard = ShardFigures {
            keys: databases.iter().map(|db| db.keys).sum(),
            expires: databases.iter().map(|db| db.expires).sum(),
            memory: memory.total() as u64,
            clients: clients.connected,
            commands: metrics.counters.commands_processed,
            commands_per_second: metrics.rates().commands,
            transactions_retried: metrics.counters.transactions_retried,
        };
        Self {
            counters: metrics.counters,
            rates: metrics.rates(),
            cycle_ns_max: metrics.cycle_ns_max,
            cycle_commands_max: metrics.cycle_commands_max,
            keyspace: state.keyspace_figures,
            expired_keys: state.shard.expired_total().saturating_sub(metrics.expired_before),
            expired_fields: state
                .shard
                .expired_members_total()
                .saturating_sub(metrics.expired_fields_before),
            databases,
            clients,
            pubsub: PubSubFigures::of(state),
            tracking: TrackingFigures::of(state),
            pause: state.pause,
            memory,
            interpreters: state.scripts.memory() as u64,
            function_interpreters: state.scripts.function_memory() as u64,
            commands: metrics.commands.clone(),
            errors: metrics.errors.clone(),
            shards: vec![shard],
        }
    }

    /// The sum over cores.
    pub fn sum(cores: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        for core in cores {
            sum.add(core);
        }
        sum
    }

    fn add(&mut self, other: Self) {
        self.counters.add(&other.counters);
        self.rates.add(&other.rates);
        self.cycle_ns_max = self.cycle_ns_max.max(other.cycle_ns_max);
        self.cycle_commands_max = self.cycle_commands_max.max(other.cycle_commands_max);
        self.keyspace.hits += other.keyspace.hits;
        self.keyspace.misses += other.keyspace.misses;
        self.keyspace.changes += other.keyspace.changes;
        self.expired_keys += other.expired_keys;
        self.expired_fields += other.expired_fields;
        let databases = self.databases.len().max(other.databases.len());
        self.databases.resize(databases, DatabaseFigures::default());
        for (db, other) in self.databases.iter_mut().zip(&other.databases) {
            db.add(other);
        }
        self.clients.add(&other.clients);
        self.pubsub.add(other.pubsub);
        self.tracking.add(&other.tracking);
        self.pause = self.pause.or(other.pause);
        add_memory(&mut self.memory, &other.memory);
        self.interpreters += other.interpreters;
        self.function_interpreters += other.function_interpreters;
        self.commands.resize_with(other.commands.len(), CommandFigures::default);
        for (command, other) in self.commands.iter_mut().zip(&other.commands) {
            command.add(other);
        }
        self.errors.add(&other.errors);
        self.shards.extend(other.shards);
    }

    /// Keys in all databases.
    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|db| db.keys).sum()
    }
}

fn databases(state: &CoreState) -> Vec<DatabaseFigures> {
    let shard = &state.shard;
    let of_database = |db: u32| DatabaseFigures {
        keys: shard.len(db) as u64,
        expires: shard.expires(db) as u64,
        avg_ttl_ms: shard.avg_ttl(db),
        table_bytes: if shard.is_used(db) { shard.table_bytes(db) as u64 } else { 0 },
        ttl_bytes: shard.ttl_bytes(db) as u64,
        used: shard.is_used(db),
    };
    (0..shard.databases() as u32).map(of_database).collect()
}

fn add_memory(memory: &mut MemoryUse, other: &MemoryUse) {
    memory.entries += other.entries;
    memory.arena_free += other.arena_free;
    memory.tables += other.tables;
    memory.ttl_index += other.ttl_index;
    memory.external += other.external;
    memory.garbage += other.garbage;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_means_weighs_by_keys() {
        let db = |expires, avg_ttl_ms| DatabaseFigures {
            keys: 10,
            expires,
            avg_ttl_ms,
            ..DatabaseFigures::default()
        };
        let core = |figures| Figures { databases: vec![figures], ..Figures::default() };
        let sum = Figures::sum([core(db(1, 1000)), core(db(3, 2000)), core(db(0, 0))]);
        assert_eq!(sum.databases, [DatabaseFigures { keys: 30, ..db(4, 1750) }]);
        assert_eq!(sum.keys(), 30);
    }
}
