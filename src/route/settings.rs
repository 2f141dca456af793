//! The configuration as a core reads it: for each request a field, not a parameter.

use super::core::CoreState;
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
        self.limits.max_bulk_len = config.clients.bulk_bytes_max;
        self.query_buffer_max =
            usize::try_from(config.clients.query_buffer_bytes_max).unwrap_or(usize::MAX);
        if config.security.password.is_empty() {
            // Nobody needs a password any more, not even those who connected when there was one.
            for (_, connection) in &mut self.connections {
                connection.client.authenticated = true;
            }
        }
    }

    /// Forgets what `CONFIG RESETSTAT` forgets.
    pub fn reset_figures(&mut self) {
        self.metrics.reset(self.shard.expired_total());
        self.shared.memory.reset_peak();
        self.keyspace_figures.hits = 0;
        self.keyspace_figures.misses = 0;
    }
}
