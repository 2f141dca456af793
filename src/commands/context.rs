//! What a handler is given, and the forms that handlers have.

use std::future::Future;
use std::pin::Pin;

use kvasir_proto::{Args, Encoder, Resp};
use kvasir_shard::stream::Stream;
use kvasir_shard::{
    ChangeKind, HashRef, Key, ListRef, NewValue, SetRef, Shard, Ttl, ValueRef, ZsetRef,
};

use crate::config::choice::VersionCheck;
use crate::errors::CommandError;
use crate::persist::rdb::dump::Checksum;
use crate::route::blocking::Alarms;
use crate::route::connection::ClientState;
use crate::route::core::CoreState;
use crate::route::effects::Effects;
use crate::route::engine::ConnectionKey;
use crate::route::long::Postponed;
use crate::route::shard_map::ShardMap;
use crate::route::transaction::{Request, Transaction};

/// Runs on the shard that owns the command's keys. An error discards what was written to the
/// encoder; a handler must not have changed anything when it returns one.
pub type ShardHandler =
    fn(&mut ShardContext<'_>, Args<'_>, &mut Encoder<'_>) -> Result<(), CommandError>;

/// Runs on the connection's core; touches no key.
pub type LocalHandler =
    fn(&mut LocalContext<'_>, Args<'_>, &mut Encoder<'_>) -> Result<(), CommandError>;

/// The running coordination of a command: its reply, encoded.
pub type Coordination = Pin<Box<dyn Future<Output = Result<Vec<u8>, CommandError>>>>;

/// Runs on the connection's core and visits shards through the transaction.
pub type Coordinator = fn(Transaction, Request) -> Coordination;

/// What a [`ShardHandler`] works on.
pub struct ShardContext<'a> {
    /// The keyspace. Its clock has been set for this command.
    pub shard: &'a mut Shard,
    /// The database that the client selected.
    pub db: u32,
    /// Whether reading shall leave access times alone (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// The client's protocol version.
    pub resp: Resp,
    /// Whether a script calls.
    pub scripted: bool,
    /// Where keys live, and their hashes.
    pub map: ShardMap,
    /// What is counted of the keyspace.
    pub figures: &'a mut KeyspaceFigures,
    /// `proto-max-bulk-len`: no string grows beyond it.
    pub string_max: usize,
    /// What the configuration says about values.
    pub settings: ValueSettings,
    /// Whether the rest of a long command may be left for later; see [`ShardContext::run_long`].
    pub may_postpone: bool,
    /// Where it is left.
    pub postponed: &'a mut Postponed,
    /// When those who wait for a key are to be tried again.
    pub alarms: &'a mut Alarms,
    /// What is told to the log.
    pub effects: &'a mut Effects,
}

/// What the configuration says about values, beyond their encodings in the shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct ValueSettings {
    /// Bytes from which a `HyperLogLog` is dense.
    pub hll_sparse_bytes_max: usize,
    /// Whether DUMP compresses strings.
    pub dump_compresses: bool,
    /// Which versions RESTORE accepts.
    pub dump_versions: VersionCheck,
    /// Whether RESTORE verifies checksums (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    pub dump_checksum: Checksum,
}

/// What a core counts of its keyspace.
#[derive(Clone, Copy, Default, Debug)]
pub struct KeyspaceFigures {
    /// Keys that were read and found.
    pub hits: u64,
    /// Keys that were read and missing.
    pub misses: u64,
    /// Changes since the last save: the peers' `dirty`.
    pub changes: u64,
}

impl KeyspaceFigures {
    #[inline]
    fn count_read(&mut self, found: bool) {
        if found {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
    }
}

impl ShardContext<'_> {
    /// The key with its hash and slot.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.map.key(bytes)
    }

    /// The value of a key for a command that reads it: counted as a hit or a miss, and noted as an
    /// access unless the client does not want that.
    #[inline]
    pub fn read(&mut self, key: &Key<'_>) -> Option<ValueRef<'_>> {
        let value = if self.no_touch {
            self.note_miss(key);
            self.shard.peek(self.db, key)
        } else {
            self.shard.get(self.db, key)
        };
        self.figures.count_read(value.is_some());
        value
    }

    /// The value of a key for a command that changes it: noted as an access, and, as by the peers,
    /// neither counted as read nor missed.
    #[inline]
    pub fn look(&mut self, key: &Key<'_>) -> Option<ValueRef<'_>> {
        self.shard.get_for_change(self.db, key)
    }

    /// Records a miss if anybody follows misses and the key is missing.
    #[inline]
    fn note_miss(&mut self, key: &Key<'_>) {
        if self.shard.journal.is_enabled(ChangeKind::Missed) && !self.shard.exists(self.db, key) {
            self.shard.journal.record(ChangeKind::Missed, self.db, key.bytes);
        }
    }

    /// The hash at a key for a command that reads it, counted and noted as [`Self::read`] does.
    pub fn read_hash(&mut self, key: &Key<'_>) -> Result<Option<HashRef<'_>>, CommandError> {
        self.note_miss(key);
        let hash = self.shard.hash_at(self.db, key, !self.no_touch)?;
        self.figures.count_read(hash.is_some());
        Ok(hash)
    }

    /// The set at a key for a command that reads it, counted and noted as [`Self::read`] does.
    pub fn read_set(&mut self, key: &Key<'_>) -> Result<Option<SetRef<'_>>, CommandError> {
        self.note_miss(key);
        let set = self.shard.set_at(self.db, key, !self.no_touch)?;
        self.figures.count_read(set.is_some());
        Ok(set)
    }

    /// The stream at a key for a command that reads it, counted and noted as [`Self::read`] does.
    pub fn read_stream(&mut self, key: &Key<'_>) -> Result<Option<&Stream>, CommandError> {
        self.note_miss(key);
        let stream = self.shard.stream_at(self.db, key, !self.no_touch)?;
        self.figures.count_read(stream.is_some());
        Ok(stream)
    }

    /// The list at a key for a command that reads it, counted and noted as [`Self::read`] does.
    pub fn read_list(&mut self, key: &Key<'_>) -> Result<Option<ListRef<'_>>, CommandError> {
        self.note_miss(key);
        let list = self.shard.list_at(self.db, key, !self.no_touch)?;
        self.figures.count_read(list.is_some());
        Ok(list)
    }

    /// The sorted set at a key for a command that reads it, counted and noted as [`Self::read`]
    /// does.
    pub fn read_zset(&mut self, key: &Key<'_>) -> Result<Option<ZsetRef<'_>>, CommandError> {
        self.note_miss(key);
        let zset = self.shard.zset_at(self.db, key, !self.no_touch)?;
        self.figures.count_read(zset.is_some());
        Ok(zset)
    }

    /// Counts a key that was looked up for reading, for commands that do not need its value.
    #[inline]
    pub fn count_read(&mut self, found: bool) {
        self.figures.count_read(found);
    }

    /// Records an event of a key, which the peers name so: notifications tell it.
    #[inline]
    pub fn event(&mut self, name: &'static str, key: &Key<'_>) {
        self.shard.journal.record(ChangeKind::Event(name), self.db, key.bytes);
    }

    /// Counts a key that was looked up for reading, as [`Self::count_read`], and records a miss.
    #[inline]
    pub fn note_lookup(&mut self, key: &Key<'_>, found: bool) {
        self.figures.count_read(found);
        if !found {
            self.shard.journal.record(ChangeKind::Missed, self.db, key.bytes);
        }
    }

    /// Stores a string as one change. A deadline that has passed deletes the key instead, which is
    /// none if there is no such key. With a deadline, it is logged so.
    pub fn set(
        &mut self,
        key: &Key<'_>,
        value: NewValue<'_>,
        ttl: Ttl,
    ) -> Result<(), CommandError> {
        if let Ttl::At(deadline) = ttl {
            if deadline <= self.shard.due_ms() {
                let existed = self.end(key);
                self.changed(u64::from(existed));
                return Ok(());
            }
            self.shard.set(self.db, key, value, ttl)?;
            self.log_set(key.bytes, value, ttl);
        } else {
            self.shard.set(self.db, key, value, ttl)?;
        }
        self.changed(1);
        Ok(())
    }

    /// Counts changes of the keyspace.
    #[inline]
    pub fn changed(&mut self, changes: u64) {
        self.figures.changes += changes;
    }

    /// Whether changes are logged: whether [`log_as`](Self::log_as) is worth its arguments.
    #[inline]
    pub fn logs(&self) -> bool {
        self.effects.is_on()
    }

    /// Logs a command in place of the request, which depends on the time, on chance or on what
    /// others do. Several are one transaction.
    pub fn log_as(&mut self, words: &[&[u8]]) {
        self.effects.tell(self.db, words, &self.shard.journal);
    }

    /// Ends a key whose new deadline has passed, and logs that; whether it existed.
    pub fn end(&mut self, key: &Key<'_>) -> bool {
        if self.logs() {
            // What had gone before goes before.
            self.effects.note_gone(&self.shard.journal);
        }
        let existed = self.shard.expire(self.db, key);
        if existed {
            self.effects.tell_ended(self.db, key.bytes, &self.shard.journal);
        } else {
            self.log_nothing();
        }
        existed
    }

    /// Logs nothing, though the request has changed something.
    pub fn log_nothing(&mut self) {
        self.effects.tell_nothing();
    }

    /// The length of the string at a key; 0 for a missing one.
    pub fn string_len(&mut self, key: &Key<'_>) -> Result<usize, CommandError> {
        self.shard
            .peek(self.db, key)
            .map_or(Ok(0), |value| value.string_len().ok_or(CommandError::WrongType))
    }

    /// The length of a string with `len` bytes at `offset`, if it may be that long.
    pub fn check_string_len(&self, offset: usize, len: usize) -> Result<usize, CommandError> {
        offset.checked_add(len).filter(|end| *end <= self.string_max).ok_or(CommandError::Other(
            "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ))
    }
}

/// What a [`LocalHandler`] works on.
pub struct LocalContext<'a> {
    /// The core: its connections, configuration and figures.
    pub state: &'a mut CoreState,
    /// The connection that sent the command.
    pub connection: ConnectionKey,
}

impl LocalContext<'_> {
    /// The client that sent the command.
    pub fn client(&mut self) -> &mut ClientState {
        &mut self.state.connections[self.connection.0 as usize].client
    }
}
