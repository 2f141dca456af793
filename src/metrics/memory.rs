//! How much memory the process uses, and the most that it has.
//!
//! The keys' blocks lie in the shards' arenas, which are mapped outside of the allocator;
//! everything else is the allocator's. Each core tells the size of its arena every 100 ms.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use kvasir_shard::MemoryUse;
use tikv_jemalloc_ctl::{epoch, stats};

use crate::server::usage;

/// What the allocator says of itself, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Allocator {
    /// In use.
    pub allocated: u64,
    /// In pages with anything in use.
    pub active: u64,
    /// In pages that are or were in use and are in RAM.
    pub resident: u64,
}

impl Allocator {
    /// The figures now. Refreshing them takes the allocator some ten microseconds.
    fn now() -> Self {
        // It fails only for a name that this build of the allocator does not have.
        let refreshed = epoch::advance().is_ok();
        let read = |value: Result<usize, _>| if refreshed { value.unwrap_or(0) as u64 } else { 0 };
        Self {
            allocated: read(stats::allocated::read()),
            active: read(stats::active::read()),
            resident: read(stats::resident::read()),
        }
    }
}

/// What the cores keep of the process's memory between them. All of it is statistics, and read and
/// written without order.
#[derive(Debug)]
pub struct ProcessMemory {
    /// Bytes in use in each shard's arena.
    arenas: Box<[AtomicU64]>,
    /// Bytes of each core's clients that may be evicted, while that is limited.
    clients: Box<[AtomicU64]>,
    /// The class of each core's largest client, while the clients have more than they may.
    client_classes: Box<[AtomicU32]>,
    /// Bytes of each shard's keyspace, in its arena and outside.
    keyspaces: Box<[AtomicU64]>,
    /// Keys of each shard.
    keys: Box<[AtomicU64]>,
    /// Whether a shard may have keys that can be evicted.
    evictable: Box<[AtomicBool]>,
    /// What was in use besides the keyspaces when last measured; negative where they had grown
    /// since.
    besides: AtomicI64,
    used: AtomicU64,
    peak: AtomicU64,
    startup: AtomicU64,
}

impl ProcessMemory {
    /// For so many shards.
    pub fn new(shards: u16) -> Self {
        Self {
            arenas: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            clients: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            client_classes: (0..shards).map(|_| AtomicU32::new(0)).collect(),
            keyspaces: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            keys: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            evictable: (0..shards).map(|_| AtomicBool::new(true)).collect(),
            besides: AtomicI64::new(0),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            startup: AtomicU64::new(0),
        }
    }

    /// Notes how much of a shard's arena is in use.
    pub fn note_arena(&self, shard: usize, bytes: u64) {
        self.arenas[shard].store(bytes, Ordering::Relaxed);
    }

    /// Notes what a shard's keyspace holds, in its arena and outside.
    pub fn note_keyspace(&self, shard: usize, bytes: u64) {
        self.keyspaces[shard].store(bytes, Ordering::Relaxed);
    }

    /// Notes how many keys a shard has.
    pub fn note_keys(&self, shard: usize, keys: u64) {
        self.keys[shard].store(keys, Ordering::Relaxed);
    }

    /// The keys of all shards, as noted at most 100 ms ago.
    pub fn keys(&self) -> u64 {
        self.keys.iter().map(|keys| keys.load(Ordering::Relaxed)).sum()
    }

    /// Notes whether a shard may have keys that can be evicted.
    pub fn note_evictable(&self, shard: usize, evictable: bool) {
        self.evictable[shard].store(evictable, Ordering::Relaxed);
    }

    /// Whether any shard may have keys that can be evicted.
    pub fn any_evictable(&self) -> bool {
        self.evictable.iter().any(|evictable| evictable.load(Ordering::Relaxed))
    }

    fn keyspaces(&self) -> u64 {
        self.keyspaces.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Bytes in use now, as far as the keyspaces have changed since it was last measured.
    pub fn used_now(&self) -> u64 {
        self.besides.load(Ordering::Relaxed).saturating_add_unsigned(self.keyspaces()).max(0) as u64
    }

    /// Notes the memory of a core's clients.
    pub fn note_clients(&self, core: usize, bytes: u64) {
        self.clients[core].store(bytes, Ordering::Relaxed);
    }

    /// The memory of all cores' clients, as last noted.
    pub fn clients(&self) -> u64 {
        self.clients.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Notes the class of a core's largest client; the largest of the other cores', as last noted.
    pub fn note_client_class(&self, core: usize, class: u32) -> u32 {
        self.client_classes[core].store(class, Ordering::Relaxed);
        let others = self.client_classes.iter().enumerate().filter(|(other, _)| *other != core);
        others.map(|(_, class)| class.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// Measures what is in use, and notes a new peak. To be called every now and then.
    pub fn measure(&self) -> Allocator {
        let allocator = Allocator::now();
        let arenas: u64 = self.arenas.iter().map(|arena| arena.load(Ordering::Relaxed)).sum();
        let used = allocator.allocated + arenas;
        self.used.store(used, Ordering::Relaxed);
        let besides = used as i64 - self.keyspaces() as i64;
        self.besides.store(besides, Ordering::Relaxed);
        self.peak.fetch_max(used, Ordering::Relaxed);
        // The first one to measure finds an empty server.
        let _ = self.startup.compare_exchange(0, used, Ordering::Relaxed, Ordering::Relaxed);
        allocator
    }

    /// Bytes in use when last measured, at most 100 ms ago.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Forgets the peak (`CONFIG RESETSTAT`).
    pub fn reset_peak(&self) {
        self.peak.store(self.used(), Ordering::Relaxed);
    }
}

/// Where the process's memory is, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct MemoryReport {
    /// In use, the keys and all else.
    pub used: u64,
    /// The most that has been in use.
    pub peak: u64,
    /// In use before there were any keys and clients.
    pub startup: u64,
    /// In RAM.
    pub rss: u64,
    /// In use, as the allocators say.
    pub allocated: u64,
    /// In pages with anything in use.
    pub active: u64,
    /// In pages that the allocators hold in RAM.
    pub resident: u64,
    /// Of the machine.
    pub system: u64,
    /// Of clients.
    pub clients: u64,
    /// Of the shards.
    pub shards: MemoryUse,
    /// Keys in all databases.
    pub keys: u64,
}

impl MemoryReport {
    /// The report from what every shard and client uses together.
    pub fn new(memory: &ProcessMemory, shards: MemoryUse, clients: u64, keys: u64) -> Self {
        let allocator = memory.measure();
        let (entries, free) = (shards.entries as u64, shards.arena_free as u64);
        Self {
            used: memory.used(),
            peak: memory.peak.load(Ordering::Relaxed),
            startup: memory.startup.load(Ordering::Relaxed),
            rss: usage::resident_bytes(),
            allocated: allocator.allocated + entries,
            active: allocator.active + entries + free,
            resident: allocator.resident + entries + free,
            system: usage::system_memory_bytes(),
            clients,
            shards,
            keys,
        }
    }

    /// What is no data: start-up, clients, tables and deadlines.
    pub fn overhead(&self) -> u64 {
        let tables = (self.shards.tables + self.shards.ttl_index) as u64;
        (self.startup + self.clients + tables).min(self.used)
    }

    /// What is data.
    pub fn dataset(&self) -> u64 {
        self.used - self.overhead()
    }

    /// The share of the data in what has come since the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        let net = self.used.saturating_sub(self.startup).max(1);
        self.dataset() as f64 * 100.0 / net as f64
    }

    /// What is in use now as a share of the peak, in percent.
    pub fn peak_percent(&self) -> f64 {
        ratio(self.used, self.peak) * 100.0
    }

    /// Bytes of data a key.
    pub fn bytes_per_key(&self) -> u64 {
        self.dataset().checked_div(self.keys).unwrap_or(0)
    }
}

/// `a / b`, or 0 when that is not defined.
pub fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// A size as the peers show it to people: `1.50K`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    let scaled = bytes as f64 / (1u64 << (10 * power)) as f64;
    format!("{scaled:.2}{}", UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let cases =
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1536, "1.50K"), (25 << 30, "25.00G")];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human(u64::MAX), "16384.00P");
    }

    #[test]
    fn the_parts_make_up_the_whole() {
        let memory = ProcessMemory::new(2);
        memory.note_arena(0, 1000);
        memory.note_arena(1, 500);
        memory.measure();
        assert!(memory.used() >= 1500);
        memory.note_arena(1, 10_500);
        let shards = MemoryUse { entries: 11_500, arena_free: 100, ..MemoryUse::default() };
        let report = MemoryReport::new(&memory, shards, 64, 10);
        assert!(report.peak >= report.used && report.used >= 11_500);
        assert_eq!(report.overhead() + report.dataset(), report.used);
        assert!(report.active >= report.allocated);
        memory.reset_peak();
        assert_eq!(memory.peak.load(Ordering::Relaxed), memory.used());
    }
}
