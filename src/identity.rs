//! What this server calls itself towards clients.
//!
//! Clients choose what they do by the name and version of the server, so those are the peer's whose
//! behaviour this server follows; its own name and version stand in the log, `--version` and
//! `LOLWUT`.

/// The version of Redis that is implemented, as `INFO` shows it.
pub const REDIS_VERSION: &str = "7.2.4";
/// The version of Valkey that is followed, as `HELLO` and `INFO` show it.
pub const VALKEY_VERSION: &str = "8.1.1";
/// The version of this server.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name and version for `HELLO`: Valkey's, or Redis's with `extended-redis-compatibility`.
pub fn shown(redis_compatibility: bool) -> (&'static str, &'static str) {
    if redis_compatibility { ("redis", REDIS_VERSION) } else { ("valkey", VALKEY_VERSION) }
}
