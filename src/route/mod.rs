//! From a connection's bytes to the shard that owns the key, and back, without I/O.

pub mod blocking;
pub mod carrier;
pub mod connection;
pub mod core;
pub mod engine;
pub mod evict;
pub mod fieldsets;
mod load;
pub mod locks;
pub mod long;
pub mod message;
pub mod multi;
pub mod patrol;
pub mod script;
pub mod settings;
pub mod shard_map;
pub mod shared;
pub mod snapshot;
pub mod transaction;

mod clients;
mod coordinate;
mod cork;
mod dispatch;
pub mod effects;
mod input;
mod journal;
mod remote;
pub mod replay;
mod stretch;
mod tracking;
