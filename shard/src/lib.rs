//! One core's keyspace: table, entries, expiry and types. Synchronous; no I/O, no clock, no randomness of its own.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    seeds: [u64; 4],
}
impl KeyHasher {
    pub fn hash(&self, k: &[u8]) -> u64 {
        self.seeds[0] + k.len() as u64
    }
}
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
    pub slot: u16,
}
pub struct Shard {}
pub struct Progress {
    pub expired: usize,
    pub next_deadline_ms: Option<u64>,
}
impl Shard {
    pub fn set_now(&mut self, _: u64) {}
    pub fn prefetch_slot(&self, _: u32, _: u64) {}
    pub fn prefetch_entry(&self, _: u32, _: u64) {}
    pub fn collect_garbage(&mut self, _: usize) -> bool {
        false
    }
    pub fn expire_due(&mut self, _: u64, _: usize) -> Progress {
        Progress { expired: 0, next_deadline_ms: None }
    }
}
