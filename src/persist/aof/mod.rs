//! The append-only log on the disk: its directory, its manifest, and what is in its files.
//!
//! The form is the peers' since Redis 7: a directory with a base (the data set at one moment, as a
//! dump file or as commands), the commands since then in one or more incremental files, and a
//! manifest that says which files these are and in which order.

pub mod load;
pub mod manifest;
pub mod part;
pub mod reader;
pub mod replay;
pub mod store;
pub mod upkeep;
pub mod write;
