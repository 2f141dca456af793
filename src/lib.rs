//! Kvasir: an in-memory data store, one shard a core.

pub mod route;
pub mod server;
