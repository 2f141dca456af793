//! The core's part of loading: what the reading thread hands over goes into the shard, some of it
//! each round.

use kvasir_proto::Args;
use kvasir_shard::{Key, OutOfMemory, Restored};

use super::core::{Core, CoreState, access_stamp, counting_stamp};
use super::engine::{ConnectionKey, Wake};
use super::replay::is_replay;
use crate::commands::definition::Flags;
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::persist::load::{Port, Taken, note_empty_key};
use crate::persist::parcel::{Opened, Parcel, Record};

/// How soon a core looks again whether something has been read, microseconds.
const POLL_US: u64 = 500;
/// Bytes of a file that a core takes in a round, and the rest of a parcel: about a millisecond.
const ROUND_BYTES: u64 = 192 * 1024;
/// Keys whose places in the table are fetched together.
const KEYS_AHEAD: usize = 16;

impl Core {
    /// Refuses a command that has to wait until the data set has been loaded, or that would write
    /// what cannot be saved. What is loaded itself is not refused.
    #[inline]
    pub(super) fn check_persistence(
        &self,
        key: ConnectionKey,
        entry: &Entry,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let CoreState { loading, connections, .. } = &self.state;
        if *loading {
            let connection = &connections[key.0 as usize];
            if connection.needs_data(entry) && !connection.is_replay() {
                return Err(CommandError::Loading);
            }
        }
        let Some(error) = self.state.write_refusal() else { return Ok(()) };
        let executed = connections[key.0 as usize].executed_flags(entry);
        let writes = self.state.flags_of(entry, args).or(executed).has(Flags::WRITE);
        // The peers refuse `PING` as well, for those who ask by it whether all is well.
        if writes || entry.full_name == "ping" { Err(error) } else { Ok(()) }
    }

    /// Refuses a command that was accepted before a log was loaded, and whose turn has come: what
    /// it looks for may not be there yet.
    #[inline]
    pub(super) fn check_replay(&self, needs_data: bool, client: u64) -> Result<(), CommandError> {
        if self.state.replaying && needs_data && !is_replay(client) {
            return Err(CommandError::Loading);
        }
        Ok(())
    }
}

impl CoreState {
    /// What a write is refused with as long as nothing can be saved.
    #[inline]
    pub(super) fn write_refusal(&self) -> Option<CommandError> {
        let log = self.shared.persistence.log.error().map(CommandError::CannotLog);
        log.or_else(|| self.refuses_writes.then_some(CommandError::CannotSave))
    }

    /// Takes some of what was read, if there is something; when to look again, while there may be
    /// more.
    pub(super) fn take_loaded(&mut self) -> Option<Wake> {
        let port = self.load_port.take()?;
        let mut bytes = 0;
        while bytes < ROUND_BYTES {
            match port.take() {
                Taken::Keys(mut parcel) => {
                    self.load_parcel(&mut parcel, &port);
                    // Nobody follows what comes from a file, as with the peers.
                    self.forget_journal();
                    bytes += parcel.file_bytes();
                    port.give_back(parcel);
                }
                Taken::Announced(db, keys) => self.shard.expect_keys(db, keys),
                Taken::Nothing => {
                    self.load_port = Some(port);
                    return Some(Wake::At(self.now.monotonic_us + POLL_US));
                }
                Taken::End => {
                    self.shard.expect_no_keys();
                    return None;
                }
            }
        }
        self.load_port = Some(port);
        Some(Wake::Now)
    }

    /// Puts keys into the shard, a few at a time, whose places in the table are fetched together:
    /// waiting for each would take most of the time.
    fn load_parcel(&mut self, parcel: &mut Parcel, port: &Port) {
        let (records, text) = parcel.parts_mut();
        for records in records.chunks_mut(KEYS_AHEAD) {
            if self.shared.persistence.loading.has_failed() {
                return;
            }
            let mut keys = [Key { bytes: &[][..], hash: 0, slot: 0 }; KEYS_AHEAD];
            for (key, record) in keys.iter_mut().zip(&*records) {
                *key = self.shared.map.key_in_slot(record.key(text), record.slot);
                self.shard.prefetch_change(record.db, key.hash);
            }
            for (key, record) in keys.iter().zip(records) {
                self.load_key(key, record, text, port);
            }
        }
    }

    fn load_key(&mut self, key: &Key<'_>, record: &mut Record, text: &[u8], port: &Port) {
        let (db, deadline_ms) = (record.db, record.deadline_ms);
        let loading = &self.shared.persistence.loading;
        let restored = match record.open(text, port.limits) {
            Ok(Opened::String(value)) => {
                self.shard.restore_string((db, key), value, deadline_ms, port.existing)
            }
            Ok(Opened::Value(value)) => self.shard.restore((db, key), value, port.existing),
            Ok(Opened::Empty) => return note_empty_key(key.bytes, loading),
            Err(error) => return port.fail(error, loading),
        };
        match restored {
            Ok(Restored::Done) => {}
            Ok(Restored::Exists) => {
                let key = key.bytes.escape_ascii();
                return loading.fail(format!("RDB has duplicated key '{key}' in DB {db}"));
            }
            Err(OutOfMemory) => {
                return loading.fail("there is not enough memory for the data set".to_owned());
            }
        }
        if record.frequency.is_some() || record.idle_s.is_some() {
            self.stamp_loaded(key, record);
        }
    }

    /// Notes how much a key was used, as far as that is counted.
    fn stamp_loaded(&mut self, key: &Key<'_>, record: &Record) {
        let now_ms = self.unix_ms();
        let stamp = if self.shard.counts_use() {
            record.frequency.map(|frequency| counting_stamp(now_ms, frequency))
        } else {
            let used = |idle_s: u64| now_ms.saturating_sub(idle_s.saturating_mul(1000));
            record.idle_s.map(|idle_s| access_stamp(used(idle_s)))
        };
        if let Some(stamp) = stamp {
            self.shard.mark_use(record.db, key, stamp);
        }
    }
}
