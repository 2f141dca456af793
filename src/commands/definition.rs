//! What a command is: the one place from which dispatch, arity errors, `COMMAND`, ACL categories,
//! routing, the generated page and the tests' generators derive everything.

use super::context::{Coordinator, LocalHandler, ShardHandler};

/// A command or a subcommand. One `const` beside its handler, listed in its family's `COMMANDS`.
#[derive(Debug)]
pub struct Command {
    /// Lower case, without the container's name (`"get"`, `"list"` of `client list`).
    pub name: &'static str,
    /// One line, as `COMMAND DOCS` shows it.
    pub summary: &'static str,
    /// In O() notation, as `COMMAND DOCS` shows it.
    pub complexity: &'static str,
    /// The peer's version that introduced it.
    pub since: &'static str,
    /// The group, which is also an ACL category for data types.
    pub group: Group,
    /// How many arguments it takes, its own name included.
    pub arity: Arity,
    /// What it does, for dispatch, ACL and clients.
    pub flags: Flags,
    /// ACL categories that do not follow from group and flags.
    pub acl: &'static [&'static str],
    /// Hints for clients (`COMMAND INFO`'s tips).
    pub tips: &'static [&'static str],
    /// Where its keys are among the arguments.
    pub keys: &'static [KeySpec],
    /// Its arguments after the name.
    pub args: &'static [Arg],
    /// What changed in which version.
    pub history: &'static [(&'static str, &'static str)],
    /// Set when the command is deprecated.
    pub deprecated: Option<Deprecation>,
    /// Its subcommands, sorted by name; empty for ordinary commands.
    pub subcommands: &'static [&'static Command],
    /// What runs it.
    pub handler: Handler,
}

impl Command {
    /// A definition with every optional field empty, to be completed with `..Command::BASE`.
    pub const BASE: Self = Self {
        name: "",
        summary: "",
        complexity: "",
        since: "",
        group: Group::Generic,
        arity: Arity::exactly(1),
        flags: Flags::NONE,
        acl: &[],
        tips: &[],
        keys: &[],
        args: &[],
        history: &[],
        deprecated: None,
        subcommands: &[],
        handler: Handler::Container,
    };
}

/// What runs a command.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// Only its subcommands run.
    Container,
    /// Runs on the shard that owns its one key.
    Shard(ShardHandler),
    /// Has several keys: `whole` runs when one shard owns them all, `spread` coordinates otherwise.
    Multi {
        /// Runs on the one shard that owns every key.
        whole: ShardHandler,
        /// Runs on the connection's core and visits the shards, under locks on the keys.
        spread: Coordinator,
    },
    /// Runs on the connection's core and touches no key: connection and server state.
    Local(LocalHandler),
    /// Runs on the connection's core and visits shards that it chooses, under the given locks.
    Global(LockScope, Coordinator),
}

/// What a keyless command that visits shards locks on all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockScope {
    /// Nothing: it reads or sets server state, or needs no common moment.
    None,
    /// Every key, for reading: all shards are seen at one moment of the transaction order.
    Shared,
    /// Every key, for writing.
    Exclusive,
}

/// The group of a command, as `COMMAND DOCS` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the groups'")]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

/// How many arguments a command takes, its name included: the peers' sign convention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arity(i16);

impl Arity {
    /// Exactly `count` arguments.
    pub const fn exactly(count: i16) -> Self {
        Self(count)
    }

    /// `count` arguments or more.
    pub const fn at_least(count: i16) -> Self {
        Self(-count)
    }

    /// Whether `count` arguments, the name included, are acceptable.
    pub const fn accepts(self, count: usize) -> bool {
        if self.0 >= 0 { count == self.0 as usize } else { count >= self.0.unsigned_abs() as usize }
    }

    /// As `COMMAND INFO` shows it: negative for "at least".
    pub const fn wire(self) -> i64 {
        self.0 as i64
    }
}

/// A set of command flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr, $wire:expr;)*) => {
        impl Flags {
            /// No flag.
            pub const NONE: Self = Self(0);
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            /// Every flag with its name in `COMMAND INFO`, in the peers' order.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $wire)),*];
        }
    };
}

flags! {
    /// May change the keyspace.
    WRITE = 0, "write";
    /// Only reads.
    READONLY = 1, "readonly";
    /// May need memory: refused above `maxmemory`.
    DENYOOM = 2, "denyoom";
    /// For administrators.
    ADMIN = 3, "admin";
    /// Publish and subscribe.
    PUBSUB = 4, "pubsub";
    /// Not inside a script.
    NOSCRIPT = 5, "noscript";
    /// May block its client.
    BLOCKING = 6, "blocking";
    /// Allowed while data is loading.
    LOADING = 7, "loading";
    /// Allowed on a replica with stale data.
    STALE = 8, "stale";
    /// Not shown to `MONITOR`.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Not entered into the command log.
    SKIP_COMMANDLOG = 10, "skip_commandlog";
    /// Accepts keys of an importing slot.
    ASKING = 11, "asking";
    /// O(1) or O(log n).
    FAST = 12, "fast";
    /// Allowed before authentication.
    NO_AUTH = 13, "no_auth";
    /// May replicate although it reads.
    MAY_REPLICATE = 14, "may_replicate";
    /// Allowed while a script holds its shard.
    ALLOW_BUSY = 15, "allow_busy";
    /// Not inside `MULTI`.
    NO_MULTI = 16, "no_multi";
    /// Its keys cannot all be told from key specifications.
    MOVABLEKEYS = 17, "movablekeys";
    /// Replicated to async replicas only in a special way: not through modules.
    NO_ASYNC_LOADING = 18, "no_async_loading";
    /// No key although the specifications may tell otherwise.
    NO_MANDATORY_KEYS = 19, "no_mandatory_keys";
}

impl Flags {
    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where some of a command's keys are, in the peers' key specification model.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the search begins.
    pub begin: BeginSearch,
    /// How the keys follow from there.
    pub find: FindKeys,
    /// What is done to them.
    pub flags: KeyFlags,
    /// A remark for readers of `COMMAND DOCS`.
    pub notes: Option<&'static str>,
}

/// The first argument of a key specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BeginSearch {
    /// At this argument (the name is 0).
    Index(i32),
    /// After this word, searched from the argument at `start_from` (negative: from the end).
    Keyword {
        /// The word, compared without case.
        keyword: &'static str,
        /// Where the search starts.
        start_from: i32,
    },
    /// It cannot be told.
    Unknown,
}

/// The keys of a specification, from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindKeys {
    /// Every `step`th argument up to `last` (relative to the beginning; negative: from the end;
    /// `limit` divides the rest when `last` is -1).
    Range {
        /// The last key.
        last: i32,
        /// From key to key.
        step: i32,
        /// 0 or 1: all of the rest; n: the first nth part of it.
        limit: i32,
    },
    /// An argument tells how many keys there are.
    KeyNum {
        /// Where the count is, relative to the beginning.
        key_num: i32,
        /// Where the first key is, relative to the beginning.
        first: i32,
        /// From key to key.
        step: i32,
    },
    /// It cannot be told.
    Unknown,
}

/// What a command does to the keys of a specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyFlags(u16);

macro_rules! key_flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr, $wire:expr;)*) => {
        impl KeyFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            /// Every flag with its name in `COMMAND INFO`, in the peers' order.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $wire)),*];
        }
    };
}

key_flags! {
    /// Reads the value.
    RO = 0, "RO";
    /// Reads and changes it.
    RW = 1, "RW";
    /// Overwrites it unread.
    OW = 2, "OW";
    /// Deletes the key.
    RM = 3, "RM";
    /// Returns or uses user data of the value.
    ACCESS = 4, "access";
    /// Changes user data of the value.
    UPDATE = 5, "update";
    /// Adds data, changes none.
    INSERT = 6, "insert";
    /// Deletes data.
    DELETE = 7, "delete";
    /// Not a key, but routed like one.
    NOT_KEY = 8, "not_key";
    /// The specification may miss keys.
    INCOMPLETE = 9, "incomplete";
    /// The flags depend on the arguments.
    VARIABLE_FLAGS = 10, "variable_flags";
}

impl KeyFlags {
    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One argument, or a group of them.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ArgKind,
    /// The word that introduces it, or the word itself for a pure token.
    pub token: Option<&'static str>,
    /// The key specification that it belongs to.
    pub key_spec: Option<u8>,
    /// Optional, repeatable, and so on.
    pub flags: ArgFlags,
    /// The version that introduced it.
    pub since: Option<&'static str>,
    /// The version that deprecated it.
    pub deprecated_since: Option<&'static str>,
    /// A remark.
    pub summary: Option<&'static str>,
    /// The name to display, where it differs from `name`.
    pub display: Option<&'static str>,
    /// The members of a block or a choice.
    pub args: &'static [Arg],
}

impl Arg {
    /// An argument with every optional field empty, to be completed with `..Arg::BASE`.
    pub const BASE: Self = Self {
        name: "",
        kind: ArgKind::String,
        token: None,
        key_spec: None,
        flags: ArgFlags::NONE,
        since: None,
        deprecated_since: None,
        summary: None,
        display: None,
        args: &[],
    };
}

/// The type of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the types'")]
pub enum ArgKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

/// How an argument may occur.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArgFlags(u8);

impl ArgFlags {
    /// Exactly once.
    pub const NONE: Self = Self(0);
    /// May be absent.
    pub const OPTIONAL: Self = Self(1);
    /// May be repeated.
    pub const MULTIPLE: Self = Self(2);
    /// Repeated together with its token.
    pub const MULTIPLE_TOKEN: Self = Self(4);

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is in this set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Why not to use a command any more.
#[derive(Clone, Copy, Debug)]
pub struct Deprecation {
    /// Since which version.
    pub since: &'static str,
    /// What to use instead.
    pub replaced_by: &'static str,
}
