//! The programs that look at files without a server: the same executable under other names.

pub mod aof;
pub mod rdb;
