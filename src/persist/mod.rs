//! What outlives the process: the peers' file and dump formats.

pub mod owned;
pub mod rdb;
