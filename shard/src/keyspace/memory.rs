//! Where the shard's memory is.

use super::Shard;
use super::open::ContentRef;
use crate::collections::members::Members;
use crate::hash::Key;
use crate::table::TableStats;

/// A table slot at the usual load.
const SLOT_BYTES: usize = 7;
/// What the index of deadlines has for one key.
const TTL_BYTES: usize = 6;

/// The shard's memory by part, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MemoryUse {
    /// Blocks of live entries.
    pub entries: usize,
    /// What the arena holds beyond that: free blocks, empty pages, page metadata.
    pub arena_free: usize,
    /// Directories and segments.
    pub tables: usize,
    /// The index of deadlines.
    pub ttl_index: usize,
    /// Values and keys outside their entries.
    pub external: usize,
    /// Thrown away and not freed yet.
    pub garbage: usize,
}

impl MemoryUse {
    /// All parts together.
    pub fn total(&self) -> usize {
        let index = self.tables + self.ttl_index;
        self.entries + self.arena_free + index + self.external + self.garbage
    }
}

impl Shard {
    /// Bytes of live entries in the arena, which is not the allocator's; O(1).
    pub fn arena_bytes(&self) -> usize {
        self.store.arena.used_bytes()
    }

    /// The shard's memory by part, with an estimate for the index of deadlines; O(databases). Who
    /// watches a server asks for it all the time, so it must not look at millions of keys' tables.
    pub fn memory_use(&self) -> MemoryUse {
        let databases = 0..self.databases() as u32;
        let entries = self.store.arena.used_bytes();
        MemoryUse {
            entries,
            arena_free: self.store.arena.held_bytes() - entries,
            tables: databases.clone().map(|db| self.table_bytes(db)).sum(),
            ttl_index: databases.map(|db| self.ttl_bytes(db)).sum(),
            external: self.store.externals.memory(),
            garbage: self.garbage.memory(),
        }
    }

    /// Bytes in use, O(databases): what a memory limit is held against after every command. The
    /// same as [`Shard::memory_use`] adds up to, without free blocks of the arena and what was
    /// thrown away, and with an estimate for the index of deadlines.
    pub fn used_memory(&self) -> usize {
        let of_db = |db| self.table_bytes(db) + self.ttl_bytes(db);
        let tables: usize = (0..self.databases() as u32).map(of_db).sum();
        self.store.arena.used_bytes() + self.store.externals.memory() + tables
    }

    /// Bytes of the tables of a database; O(1).
    pub fn table_bytes(&self, db: u32) -> usize {
        self.dbs[db as usize].table_bytes()
    }

    /// About how many bytes a database's index of deadlines takes; O(1). [`Shard::table_stats`]
    /// counts them.
    pub fn ttl_bytes(&self, db: u32) -> usize {
        self.dbs[db as usize].expires() * TTL_BYTES
    }

    /// Bytes that a key takes with all that belongs to it, its share of the table included.
    pub fn entry_size(&mut self, db: u32, key: &Key<'_>) -> Option<usize> {
        let found = self.locate(db, key)?;
        let has_deadline = self.store.entry(found.handle).deadline().is_some();
        let index = if has_deadline { SLOT_BYTES + TTL_BYTES } else { SLOT_BYTES };
        Some(self.store.entry_bytes(found.handle) + index)
    }

    /// Figures on the table of a large collection; `None` for a missing key, and for a value that
    /// has no table. O(segments).
    pub fn element_table_stats(&self, db: u32, key: &Key<'_>) -> Option<TableStats> {
        match self.peek_content(db, key)?.0 {
            ContentRef::Collection(collection) => collection.members().map(Members::stats),
            ContentRef::String | ContentRef::Pack(..) => None,
        }
    }

    /// Figures on the tables of a database; O(segments).
    pub fn table_stats(&self, db: u32) -> TableStats {
        self.dbs[db as usize].stats()
    }
}
