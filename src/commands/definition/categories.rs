//! ACL categories: which ones a command is in follows from its group and flags, with a few extras.

use super::bits::bit_set;
use super::{Command, Flags, Group};

bit_set! {
    /// A set of ACL categories, whose names ACL rules and `COMMAND INFO` write with an `@`.
    pub struct Categories(u32);

    /// Keys of any type, databases, the keyspace as a whole.
    KEYSPACE = 0, "keyspace";
    /// Reads keys.
    READ = 1, "read";
    /// Writes keys.
    WRITE = 2, "write";
    /// Sets.
    SET = 3, "set";
    /// Sorted sets.
    SORTEDSET = 4, "sortedset";
    /// Lists.
    LIST = 5, "list";
    /// Hashes.
    HASH = 6, "hash";
    /// Strings.
    STRING = 7, "string";
    /// Bitmaps.
    BITMAP = 8, "bitmap";
    /// `HyperLogLog`s.
    HYPERLOGLOG = 9, "hyperloglog";
    /// Geospatial indexes.
    GEO = 10, "geo";
    /// Streams.
    STREAM = 11, "stream";
    /// Publish and subscribe.
    PUBSUB = 12, "pubsub";
    /// Administration.
    ADMIN = 13, "admin";
    /// O(1) or O(log n).
    FAST = 14, "fast";
    /// Not fast.
    SLOW = 15, "slow";
    /// May block its client.
    BLOCKING = 16, "blocking";
    /// May harm data, availability or secrecy.
    DANGEROUS = 17, "dangerous";
    /// The connection and other clients.
    CONNECTION = 18, "connection";
    /// Transactions.
    TRANSACTION = 19, "transaction";
    /// Scripts and functions.
    SCRIPTING = 20, "scripting";
}

impl Categories {
    /// The category of this name (without `@`), in any case.
    pub fn by_name(name: &[u8]) -> Option<Self> {
        let known =
            Self::NAMES.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
        known.map(|(category, _)| *category)
    }

    /// What tells the object of a command. One of these among a command's explicit categories
    /// replaces the one of its group: `SORT` is generic, and works on lists and sets.
    const OBJECTS: Self = Self::KEYSPACE
        .or(Self::SET)
        .or(Self::SORTEDSET)
        .or(Self::LIST)
        .or(Self::HASH)
        .or(Self::STRING)
        .or(Self::BITMAP)
        .or(Self::HYPERLOGLOG)
        .or(Self::GEO)
        .or(Self::STREAM)
        .or(Self::CONNECTION)
        .or(Self::TRANSACTION)
        .or(Self::SCRIPTING);
}

impl Group {
    /// The category that belonging to the group implies.
    const fn category(self) -> Categories {
        match self {
            Self::Bitmap => Categories::BITMAP,
            Self::Connection => Categories::CONNECTION,
            Self::Generic => Categories::KEYSPACE,
            Self::Geo => Categories::GEO,
            Self::Hash => Categories::HASH,
            Self::HyperLogLog => Categories::HYPERLOGLOG,
            Self::List => Categories::LIST,
            Self::Scripting => Categories::SCRIPTING,
            Self::Set => Categories::SET,
            Self::SortedSet => Categories::SORTEDSET,
            Self::Stream => Categories::STREAM,
            Self::String => Categories::STRING,
            Self::Transactions => Categories::TRANSACTION,
            Self::Cluster | Self::PubSub | Self::Server => Categories::NONE,
        }
    }
}

impl Command {
    /// Every ACL category of the command. A container is in none for its group's sake, since what
    /// it does depends on the subcommand.
    pub const fn categories(&self) -> Categories {
        let mut all = self.acl;
        if self.subcommands.is_empty() && self.acl.and(Categories::OBJECTS).is_empty() {
            all = all.or(self.group.category());
        }
        if self.flags.has(Flags::WRITE) {
            all = all.or(Categories::WRITE);
        }
        if self.flags.has(Flags::READONLY) && !all.has(Categories::SCRIPTING) {
            all = all.or(Categories::READ);
        }
        if self.flags.has(Flags::ADMIN) {
            all = all.or(Categories::ADMIN).or(Categories::DANGEROUS);
        }
        if self.flags.has(Flags::PUBSUB) {
            all = all.or(Categories::PUBSUB);
        }
        if self.flags.has(Flags::BLOCKING) {
            all = all.or(Categories::BLOCKING);
        }
        all.or(if self.flags.has(Flags::FAST) { Categories::FAST } else { Categories::SLOW })
    }
}
