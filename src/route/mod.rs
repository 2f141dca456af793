//! From a connection's bytes to the shard that owns the key, and back, without I/O.

pub mod engine;
pub mod message;
