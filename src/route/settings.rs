//! The configuration as a core reads it: for each request a field, not a parameter.

use kvasir_shard::{EncodingLimits, ListLimits};

use super::core::CoreState;
use super::effects::Removals;
use super::engine::{Close, ConnectionKey};
use crate::commands::context::ValueSettings;
use crate::config::Config;
use crate::config::parameter::Effect;

/// What carries out changes of the configuration that concern the process as a whole: its sockets,
/// its log, its working directory. The driver's side implements it; without one nothing happens.
pub trait Host: Send + Sync {
    /// Makes the process follow `config` in what `effect` names. The error is the reason that
    /// `CONFIG SET` answers with; nothing has changed then.
    fn apply(&self, effect: Effect, config: &Config) -> Result<(), String>;
}

impl CoreState {
    /// Follows the configuration that all cores share. Called at the start and after each change.
    pub fn apply_config(&mut self) {
        let config = self.shared.config.load_full();
        self.metrics.configure(&config.monitoring);
        self.limits.max_bulk_len = config.clients.bulk_bytes_max;
        self.query_buffer_max =
            usize::try_from(config.clients.query_buffer_bytes_max).unwrap_or(usize::MAX);
        self.output_limits = config.clients.output_limits;
        self.tracking.keys_max =
            usize::try_from(config.clients.tracking_keys_max).unwrap_or(usize::MAX);
        self.keyspace_events = config.monitoring.keyspace_events;
        self.follow_readers();
        self.patrol.configure(&config);
        self.room.configure(&config);
        self.shard.set_use_counting(self.room.counting);
        self.import_mode = config.memory.import_mode;
        self.configure_effects(Removals {
            expired_lazily: config.memory.lazy_expire,
            evicted_lazily: config.memory.lazy_eviction,
        });
        let log = &config.persistence.log;
        self.shared.persistence.log.configure(log.flush, log.timestamps);
        self.follow_log_setting(log.enabled);
        let has_points = !config.persistence.save_points.is_empty();
        self.follow_save_delay();
        self.stops_writes = config.persistence.stops_writes && has_points;
        self.value_settings = ValueSettings {
            dump_checksum: self.value_settings.dump_checksum,
            ..value_settings(&config)
        };
        self.shard.set_encoding_limits(encoding_limits(&config));
        self.compare_memory();
        if config.security.password.is_empty() {
            // Nobody needs a password any more, not even those who connected when there was one.
            for (_, connection) in &mut self.connections {
                connection.client.authenticated = true;
            }
        }
    }

    /// Closes a connection whose output has outgrown `client-output-buffer-limit`: at once beyond
    /// the hard limit, and beyond the soft limit when it has been there for too long.
    pub(super) fn enforce_output_limit(&mut self, key: ConnectionKey) {
        let connection = &mut self.connections[key.0 as usize];
        let bytes = connection.output_bytes() as u64;
        let limit = self.output_limits[connection.client.class() as usize];
        let exceeds = |most| most > 0 && bytes > most;
        let mut ends = exceeds(limit.hard_bytes);
        if exceeds(limit.soft_bytes) {
            let now_us = self.now.monotonic_us;
            let since_us = *connection.beyond_soft_us.get_or_insert(now_us);
            ends |= now_us - since_us > limit.soft_seconds.saturating_mul(1_000_000);
            if !ends && !self.beyond_soft.contains(&key) {
                self.beyond_soft.push(key);
            }
        } else {
            connection.beyond_soft_us = None;
        }
        if !ends || connection.close == Close::Now {
            return;
        }
        self.close(key, Close::Now);
        self.metrics.counters.output_buffer_limit_disconnections += 1;
        let client = &self.connections[key.0 as usize].client;
        tracing::warn!(
            "Client id={} addr={} closed for overcoming of output buffer limits: {bytes} bytes",
            client.id,
            client.socket.peer
        );
    }

    /// Forgets what `CONFIG RESETSTAT` forgets.
    pub fn reset_figures(&mut self) {
        self.metrics.reset(self.shard.expired_total(), self.shard.expired_members_total());
        self.shared.memory.reset_peak();
        self.keyspace_figures.hits = 0;
        self.keyspace_figures.misses = 0;
    }
}

/// What handlers want to know of the configuration about values.
fn value_settings(config: &Config) -> ValueSettings {
    let sparse_max = config.encodings.hll_sparse_bytes_max;
    ValueSettings {
        hll_sparse_bytes_max: usize::try_from(sparse_max).unwrap_or(usize::MAX),
        dump_compresses: config.persistence.compress,
        dump_versions: config.persistence.versions,
        ..ValueSettings::default()
    }
}

/// When collections of the shard become large, by the configuration.
pub fn encoding_limits(config: &Config) -> EncodingLimits {
    let encodings = &config.encodings;
    let most = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    EncodingLimits {
        hash_max_listpack_entries: most(encodings.hash_entries_max),
        hash_max_listpack_value: most(encodings.hash_value_bytes_max),
        set_max_intset_entries: most(encodings.intset_entries_max),
        set_max_listpack_entries: most(encodings.set_entries_max),
        set_max_listpack_value: most(encodings.set_value_bytes_max),
        zset_max_listpack_entries: most(encodings.zset_entries_max),
        zset_max_listpack_value: most(encodings.zset_value_bytes_max),
        stream_node_max_bytes: most(encodings.stream_node_bytes_max),
        stream_node_max_entries: most(encodings.stream_node_entries_max),
        list: ListLimits::new(
            encodings.list_node_size.into(),
            encodings.list_compress_depth.into(),
        ),
    }
}
