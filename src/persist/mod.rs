//! What outlives the process: the peers' file and dump formats, and the threads that read and write
//! files.
//!
//! Files are read and written by threads of their own, never by a core: even a buffered read blocks
//! when the page is not in memory. A core gets keys from a bounded channel, a little each round
//! (`load`), and reads the values of those that are small itself (`parcel`).

pub mod aof;
pub mod disk;
pub mod load;
pub mod log;
mod output;
pub mod owned;
pub mod parcel;
pub mod part;
pub mod rdb;
pub mod rewriting;
pub mod save;
pub mod saving;
pub mod state;
