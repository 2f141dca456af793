//! What outlives the process: the peers' file and dump formats, and the threads that read and write
//! files.
//!
//! Files are read and written by threads of their own, never by a core: even a buffered read blocks
//! when the page is not in memory, and decoding would take a core's time in long pieces. A core
//! gets finished values from a bounded channel, a little each round (`load`).

pub mod disk;
pub mod load;
pub mod owned;
pub mod part;
pub mod rdb;
pub mod save;
pub mod saving;
pub mod state;
