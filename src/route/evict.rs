//! Keeping the process below `maxmemory`: how much it uses at this moment, and what goes.
//!
//! What the allocator holds is measured every 100 ms. In between, each core tells what its keyspace
//! holds, which is what grows: the sum is compared with the limit at the beginning of each round.
//! Above it, each core evicts keys of its own, a few before each command that may need memory and
//! some more at the end of the round. Such a command is refused only when no core has a key that
//! may go.

use kvasir_shard::{Eviction, EvictionOrder, UseCounting};

use super::core::CoreState;
use crate::config::Config;
use crate::config::choice::MaxmemoryPolicy;
use crate::metrics::latency::Event;

/// Keys evicted before one command at most.
const COMMAND_BUDGET: usize = 16;
/// Keys evicted at the end of one round at most.
const ROUND_BUDGET: usize = 64;

/// The limit of a core's process, and how it is kept.
#[derive(Clone, Copy, Default, Debug)]
pub struct Room {
    /// `maxmemory`, bytes; 0 for none.
    pub limit: u64,
    /// Whether the process is above it.
    pub exceeded: bool,
    /// How keys are evicted, if they are.
    how: Option<Eviction>,
    /// Whether accesses are counted, and how.
    pub counting: Option<UseCounting>,
}

impl Room {
    /// Follows the configuration.
    pub(super) fn configure(&mut self, config: &Config) {
        let memory = &config.memory;
        self.limit = memory.bytes_max;
        let (order, expiring) = match memory.policy {
            MaxmemoryPolicy::VolatileLru => (EvictionOrder::LeastRecent, true),
            MaxmemoryPolicy::VolatileLfu => (EvictionOrder::LeastFrequent, true),
            MaxmemoryPolicy::VolatileRandom => (EvictionOrder::Random, true),
            MaxmemoryPolicy::VolatileTtl => (EvictionOrder::Soonest, true),
            MaxmemoryPolicy::AllkeysLru => (EvictionOrder::LeastRecent, false),
            MaxmemoryPolicy::AllkeysLfu => (EvictionOrder::LeastFrequent, false),
            MaxmemoryPolicy::AllkeysRandom | MaxmemoryPolicy::NoEviction => {
                (EvictionOrder::Random, false)
            }
        };
        let evicts = memory.policy != MaxmemoryPolicy::NoEviction;
        self.how = evicts.then_some(Eviction { order, expiring, samples: memory.samples as usize });
        self.counting = (order == EvictionOrder::LeastFrequent).then_some(UseCounting {
            log_factor: memory.lfu_log_factor,
            decay_min: memory.lfu_decay_min,
        });
    }
}

impl CoreState {
    /// Compares the memory of the process with its limit. O(databases + cores) where there is one.
    pub(super) fn compare_memory(&mut self) {
        // What is in a log has had its place before.
        if self.room.limit == 0 || self.replaying {
            self.room.exceeded = false;
            return;
        }
        let (me, bytes) = (self.id.index(), self.shard.used_memory() as u64);
        // Both at one moment: what is in use besides the keyspaces is their difference.
        self.shared.memory.note_arena(me, self.shard.arena_bytes() as u64);
        self.shared.memory.note_keyspace(me, bytes);
        self.room.exceeded = self.shared.memory.used_now() > self.room.limit;
    }

    /// Makes room for a command that may need memory; false when it must be refused.
    pub(super) fn make_room(&mut self) -> bool {
        let Some(how) = self.eviction() else { return false };
        self.evict(how, COMMAND_BUDGET);
        // What is left to do is done at the end of this round, or by another core.
        !self.room.exceeded || self.shared.memory.any_evictable()
    }

    /// Evicts some keys if there is not enough room; whether more has to be done at once.
    pub(super) fn evict_in_round(&mut self) -> bool {
        let Some(how) = self.eviction().filter(|_| self.room.exceeded) else { return false };
        let began = self.metrics.ticks();
        let evicted = self.evict(how, ROUND_BUDGET);
        if evicted > 0 {
            self.metrics.event_since(Event::EvictionCycle, began);
        }
        self.room.exceeded && evicted > 0
    }

    /// How keys are evicted now: a pause and an import leave them alone.
    fn eviction(&self) -> Option<Eviction> {
        self.room.how.filter(|_| !self.keeps_overdue())
    }

    /// Evicts up to so many keys, until there is room; how many.
    fn evict(&mut self, how: Eviction, budget: usize) -> usize {
        let mut evicted = 0;
        while self.room.exceeded && evicted < budget {
            let found = self.shard.evict_one(how);
            self.shared.memory.note_evictable(self.id.index(), found);
            if !found {
                break;
            }
            evicted += 1;
            self.compare_memory();
        }
        self.metrics.counters.evicted_keys += evicted as u64;
        evicted
    }
}
