//! The core's part of loading: what the reading thread hands over goes into the shard, a parcel a
//! round.

use kvasir_shard::ChangeKind;

use super::core::{CoreState, access_stamp, counting_stamp};
use super::engine::Wake;
use crate::commands::definition::Flags;
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::persist::load::{Existing, Loaded, Taken};

/// How soon a core looks again whether something has been read, microseconds.
const POLL_US: u64 = 200;

impl CoreState {
    /// Refuses a command that has to wait until the data set has been loaded, or that would write
    /// what cannot be saved.
    #[inline]
    pub(super) fn check_persistence(&self, entry: &Entry) -> Result<(), CommandError> {
        if self.loading && !entry.command.flags.has(Flags::LOADING) {
            return Err(CommandError::Loading);
        }
        if self.refuses_writes && entry.command.flags.has(Flags::WRITE) {
            return Err(CommandError::CannotSave);
        }
        Ok(())
    }

    /// Takes a parcel of what was read, if there is one; when to look again, while there may be
    /// more.
    pub(super) fn take_loaded(&mut self) -> Option<Wake> {
        let port = self.load_port.take()?;
        let wake = match port.take() {
            Taken::Keys(keys) => {
                for key in keys {
                    self.load_key(key, port.existing);
                }
                // Nobody follows what comes from a file, as with the peers.
                self.shard.journal.clear();
                Wake::Now
            }
            Taken::Nothing => Wake::At(self.now.monotonic_us + POLL_US),
            Taken::End => return None,
        };
        self.load_port = Some(port);
        Some(wake)
    }

    fn load_key(&mut self, loaded: Loaded, existing: Existing) {
        let Loaded { db, key: bytes, value, idle_s, frequency } = loaded;
        let key = self.shared.map.key(&bytes);
        let loading = &self.shared.persistence.loading;
        if loading.has_failed() {
            return;
        }
        if existing == Existing::Refused && self.shard.exists(db, &key) {
            let key = bytes.escape_ascii();
            loading.fail(format!("RDB has duplicated key '{key}' in DB {db}"));
            return;
        }
        if self.shard.put(db, &key, value, ChangeKind::Set).is_err() {
            loading.fail("there is not enough memory for the data set".to_owned());
            return;
        }
        let now_ms = self.unix_ms();
        let stamp = if self.shard.counts_use() {
            frequency.map(|frequency| counting_stamp(now_ms, frequency))
        } else {
            idle_s.map(|idle_s| access_stamp(now_ms.saturating_sub(idle_s.saturating_mul(1000))))
        };
        if let Some(stamp) = stamp {
            self.shard.mark_use(db, &key, stamp);
        }
    }
}
