//! One core's keyspace: table, entries, expiry and types. Synchronous; no I/O, no clock, no
//! randomness of its own.
//!
//! [`Shard`] is the whole of it: databases of keys with values and deadlines. It is driven by one
//! thread, which tells it the time ([`Shard::set_now`]), lets it expire what is due
//! ([`Shard::expire_due`]) and drop what was thrown away ([`Shard::collect_garbage`]), both in
//! bounded steps.
//!
//! Every operation takes a database index below the configured number and a [`Key`], and treats a
//! key whose deadline has passed as missing: operations that take `&mut self` remove it then and
//! record it as expired.
//!
//! Invariant: entries lie in the arena; a table slot is the only thing that names an entry.
//! Invariant: what changes the keyspace is recorded in the [`Journal`].
//!
//! Layout: `arena` gives blocks, `entry` is what lies in one, `external` holds what does not fit,
//! `store` joins the three; `table` finds entries by hash; `expiry` knows when they fall due; `db`
//! is a database of one or many tables; `keyspace` is the operations; `collections` is values of
//! several elements, `pack` and `intset` the small ones.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("handles and tagged pointers need 64-bit addresses");

mod arena;
mod blockmap;
mod collections;
mod db;
mod entry;
mod expiry;
mod external;
mod hash;
mod held;
pub mod hyperloglog;
mod intset;
mod journal;
mod keyspace;
mod list;
pub mod lzf;
mod owned;
mod pack;
mod prefetch;
mod random;
mod sizes;
mod store;
pub mod stream;
mod table;
mod tree;
mod value;

pub use collections::{
    ElementSaver, EncodingLimits, FieldTtl, HashMut, HashRef, ListMut, ListRef, SetMut, SetRef,
};
pub use collections::{SourceRef, ZsetMut, ZsetRef};
pub use db::SLOTS;
pub use entry::DEADLINE_MAX;
pub use hash::{Key, KeyHasher};
pub use journal::{Change, ChangeKind, ChangeMask, Journal};
pub use keyspace::evict::{Eviction, EvictionOrder, UseCounting};
pub use keyspace::expire::Progress;
pub use keyspace::iterate::RandomKey;
pub use keyspace::iterate::SCAN_CURSOR_BITS;
pub use keyspace::memory::MemoryUse;
pub use keyspace::open::AccessError;
pub use keyspace::portion::{Assembly, Portion};
pub use keyspace::restore::{Existing, Restored};
pub use keyspace::snapshot::{CollectionSize, CutStep, SaveCause, SavedEntry, Saver};
pub use keyspace::write::{SetOutcome, Ttl};
pub use keyspace::{Overdue, Shard, ShardConfig};
pub use list::{Direction, End, List, ListLimits, Removal};
pub use owned::{Element, Elements, OwnedData, OwnedValue};
pub use random::Randoms;
pub use store::OutOfMemory;
pub use table::TableStats;
pub use value::parse_canonical_int;
pub use value::{NewValue, ValueRef, ValueType};
