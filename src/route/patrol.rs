//! What clients are looked at for from time to time, and what is done about it: clients that say
//! nothing (`timeout`), buffers that are larger than their client needs, and the memory of all
//! clients together (`maxmemory-clients`).
//!
//! Every 100 ms a part of the connections is looked at, so that each has its turn about once a
//! second, or more often where there are few. The memory of clients is counted only while there is
//! a limit to it: at their turn, and when they have output.

use super::connection::{Blocked, Connection};
use super::core::CoreState;
use super::engine::{Close, ConnectionKey};
use crate::config::Config;
use crate::config::value::{ClientClass, MemoryLimit};

/// Connections looked at in one go, where there are as many.
const LOOKS_MIN: usize = 64;
/// Connections looked at in one go at most.
const LOOKS_MAX: usize = 4096;
/// In how many goes all of them are looked at.
const TURNS: usize = 10;
/// A client whose input buffer is larger than this may have to give some of it back.
const INPUT_FREE_MAX: usize = 32 << 10;
/// What is left of it.
pub(super) const INPUT_ROOM: usize = 16 << 10;
/// After so long without a sign of a client, its input buffer is given back altogether.
const INPUT_IDLE_US: u64 = 2_000_000;
/// Clients are ranked for eviction by the power of two of their memory, from this on.
const CLASS_MIN: u32 = 15;
/// The last class, of all that are larger.
const CLASS_MAX: u32 = 33;

/// The patrol of a core, and what it looks for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Patrol {
    /// Whether it is suspended (`DEBUG PAUSE-CRON`).
    pub suspended: bool,
    /// `maxmemory-clients` in bytes, if there is a limit.
    pub clients_max: Option<u64>,
    /// Where it goes on.
    next: usize,
    /// `timeout` in microseconds; 0 for none.
    timeout_us: u64,
    /// Memory of this core's clients that may be evicted, while there is a limit.
    clients_bytes: u64,
}

/// What the patrol remembers of a connection.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Watched {
    /// The most input that has waited since the last look.
    pub(super) input_peak: usize,
    /// What the connection has been counted for among the memory of clients.
    counted: usize,
}

impl Patrol {
    /// Follows the configuration.
    pub(super) fn configure(&mut self, config: &Config) {
        self.timeout_us = u64::from(config.network.idle_timeout_s) * 1_000_000;
        self.clients_max = match config.clients.memory_limit {
            MemoryLimit::Bytes(bytes) => Some(bytes),
            MemoryLimit::PercentOfMaxmemory(share) => {
                Some((u128::from(config.memory.bytes_max) * u128::from(share) / 100) as u64)
            }
        }
        .filter(|bytes| *bytes > 0);
    }
}

/// The class of a client with so much memory.
pub fn memory_class(bytes: usize) -> u32 {
    bytes.max(1).ilog2().clamp(CLASS_MIN, CLASS_MAX)
}

impl CoreState {
    /// Looks at the next connections. Called ten times a second; O(connections / 10), at least 64.
    pub(super) fn patrol(&mut self) {
        if self.patrol.suspended {
            return;
        }
        let places = self.connections.capacity();
        let looks = (places / TURNS).clamp(LOOKS_MIN, LOOKS_MAX).min(places);
        for _ in 0..looks {
            let place = self.patrol.next % places;
            self.patrol.next = place + 1;
            if self.connections.contains(place) {
                self.look_at(ConnectionKey(place as u32));
            }
        }
    }

    fn look_at(&mut self, key: ConnectionKey) {
        let now_us = self.now.monotonic_us;
        let timeout_us = self.patrol.timeout_us;
        let connection = &mut self.connections[key.0 as usize];
        if connection.is_replay() {
            return;
        }
        let idle_us = now_us.saturating_sub(connection.client.active_us);
        let waits = matches!(connection.blocked, Blocked::Waiting | Blocked::Paused)
            || connection.client.monitor
            || connection.client.class() == ClientClass::PubSub;
        if timeout_us > 0 && idle_us > timeout_us && !waits {
            tracing::debug!("Closing idle client: id={}", connection.client.id);
            return self.close(key, Close::Now);
        }
        connection.give_back_input(idle_us);
        self.count_client(key);
    }

    /// Counts what a client holds at present among the memory of clients, if that is limited.
    pub(super) fn count_client(&mut self, key: ConnectionKey) {
        if self.patrol.clients_max.is_none() {
            return;
        }
        let connection = &mut self.connections[key.0 as usize];
        let bytes = connection.evictable_bytes().unwrap_or(0);
        let before = std::mem::replace(&mut connection.watched.counted, bytes);
        self.patrol.clients_bytes = self.patrol.clients_bytes + bytes as u64 - before as u64;
    }

    /// A connection is gone, and what it was counted for.
    pub(super) fn forget_client(&mut self, connection: &Connection) {
        self.patrol.clients_bytes -= connection.watched.counted as u64;
    }

    /// Closes a client of the largest class, if the clients of all cores have more memory than they
    /// may, and no core has one of a larger class. O(connections) while they have. Whether there
    /// may be more to close.
    pub(super) fn limit_clients(&mut self) -> bool {
        let Some(most) = self.patrol.clients_max else { return false };
        let me = self.id.index();
        self.shared.memory.note_clients(me, self.patrol.clients_bytes);
        if self.shared.memory.clients() <= most {
            return false;
        }
        let largest = self
            .connections
            .iter()
            .filter_map(|(key, connection)| Some((connection.evictable_bytes()?, key)))
            .max();
        let class = largest.map_or(0, |(bytes, _)| memory_class(bytes));
        let class_elsewhere = self.shared.memory.note_client_class(me, class);
        let Some((bytes, key)) = largest.filter(|_| class >= class_elsewhere) else { return false };
        let key = ConnectionKey(key as u32);
        let connection = &self.connections[key.0 as usize];
        tracing::info!(
            "Evicting client id={} addr={}: {bytes} bytes",
            connection.client.id,
            connection.client.socket.peer
        );
        self.metrics.counters.evicted_clients += 1;
        self.close(key, Close::Now);
        self.count_client(key);
        true
    }
}

impl Connection {
    /// Gives back input buffer that the client has not needed lately.
    fn give_back_input(&mut self, idle_us: u64) {
        let peak = std::mem::replace(&mut self.watched.input_peak, self.input.len());
        // What has begun to come will need the room that it was given.
        let peak = if self.input.is_empty() { peak } else { peak.max(self.needed) };
        let capacity = self.input.capacity();
        if idle_us > INPUT_IDLE_US {
            self.input.shrink_to(0);
        } else if capacity > INPUT_FREE_MAX && peak < capacity / 2 {
            self.input.shrink_to(peak.max(INPUT_ROOM));
        }
    }

    /// What the client holds; nothing if it is not to be evicted.
    pub fn evictable_bytes(&self) -> Option<usize> {
        let evictable = !self.client.no_evict && self.close != Close::Now;
        evictable.then(|| self.buffers().total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_powers_of_two() {
        assert_eq!(memory_class(0), 15);
        assert_eq!(memory_class(65_535), 15);
        assert_eq!(memory_class(65_536), 16);
        assert_eq!(memory_class(1 << 33), 33);
        assert_eq!(memory_class(1 << 40), 33);
    }
}
