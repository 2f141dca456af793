//! Kvasir: an in-memory data store, one shard a core.
