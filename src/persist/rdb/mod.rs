//! RDB values: what DUMP replies with, RESTORE takes, and dump files are made of.
//!
//! Reading accepts every value type of Redis 2.6 to 8.0 and Valkey 7.2 to 9.1 (versions up to 11,
//! 12 and 80). Nothing that is read is trusted: each length is checked against what the source can
//! still hold before anything is allocated, and a value is refused that is not whole, repeats an
//! element that must be unique, or breaks an order (what the peers call deep sanitization).
//!
//! Writing chooses forms that Redis 7.2 and later and every Valkey read (version 11), unless a hash
//! has field deadlines: then it is Valkey's form, under version 80.
//!
//! Layout: `input` reads primitives and knows the offset; `packed` has the four packed encodings;
//! `read` and `write` are the value types; `value` is what they read into; `extras` what only this
//! server has; `dump` is the footer of
//! a DUMP payload; `file` reads a file as a whole, `frame` finds where its
//! keys end, and `summed` computes its checksum.

mod code;
pub mod crc64;
pub mod dump;
mod elements;
mod error;
pub mod extras;
pub mod file;
pub mod frame;
mod input;
mod packed;
mod read;
mod summed;
#[cfg(test)]
mod tests;
mod value;
pub mod write;

pub use elements::Elements;
pub use error::{RdbError, RdbErrorKind};
pub use input::Input;
pub use read::read_value;
pub use value::{Consumer, Group, Hash, Pending, SortedSet, Stream, StreamId, Value};
pub use write::{WriteOptions, write_type, write_value};

/// The version of files and payloads that both peers read.
pub const VERSION: u16 = 11;
/// The version of those that hold a hash with field deadlines, in Valkey's form.
pub const VERSION_FIELD_DEADLINES: u16 = 80;
/// The version of Redis 8, the last of Redis's whose types are known here.
const VERSION_REDIS_8: u16 = 12;
/// The first version that is Valkey's own.
const VALKEY_VERSION_MIN: u16 = 80;
