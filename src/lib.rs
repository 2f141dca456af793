//! Kvasir: an in-memory data store, one shard a core.

pub mod allocator;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod errors;
pub mod glob;
pub mod host;
pub mod identity;
pub mod logging;
pub mod metrics;
pub mod persist;
pub mod pubsub;
pub mod route;
pub mod script;
pub mod server;
pub mod sha1;
pub mod start;
pub mod tracking;
