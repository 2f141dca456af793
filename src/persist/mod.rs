//! What outlives the process: the peers' file and dump formats.

pub mod rdb;
