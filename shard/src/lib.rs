//! One core's keyspace: table, entries, expiry and types. Synchronous; no I/O, no clock, no randomness of its own.
