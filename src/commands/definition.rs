//! What a command is: the one place from which dispatch, arity errors, `COMMAND`, ACL categories,
//! routing, the generated page and the tests' generators derive everything.

use kvasir_proto::Args;

use super::context::{Coordinator, LocalHandler, ShardHandler};
use super::keys::KeyFinder;
use crate::pubsub::message::Topic;
use crate::route::engine::ShardId;
use crate::route::shard_map::ShardMap;

mod arguments;
mod bits;
mod blocking;
mod categories;
mod keys;

pub use arguments::{Arg, ArgFlags, ArgKind};
use bits::bit_set;
pub use blocking::{
    Attempt, AttemptHandler, Blocking, Patience, SpreadAttempt, SpreadCoordination, SpreadOutcome,
};
pub use categories::Categories;
pub use keys::{BeginSearch, FindKeys, KeyFlags, KeySpec};

/// A command or a subcommand. One `const` beside its handler, listed in its family's `COMMANDS`.
#[derive(Debug)]
pub struct Command {
    /// Lower case, without the container's name (`"get"`, `"list"` of `client list`).
    pub name: &'static str,
    /// One line, as `COMMAND DOCS` shows it.
    pub summary: &'static str,
    /// In O notation, as `COMMAND DOCS` shows it.
    pub complexity: &'static str,
    /// The peer's version that introduced it.
    pub since: &'static str,
    /// The group, which is also an ACL category for data types.
    pub group: Group,
    /// How many arguments it takes, its own name included.
    pub arity: Arity,
    /// What it does.
    pub flags: Flags,
    /// ACL categories that do not follow from group and flags; see [`Command::categories`].
    pub acl: Categories,
    /// Hints for clients (`COMMAND INFO`'s tips).
    pub tips: &'static [&'static str],
    /// Where its keys are among the arguments.
    pub keys: &'static [KeySpec],
    /// Finds the keys that `keys` cannot tell, or what is done to them if that varies.
    pub find_keys: Option<KeyFinder>,
    /// The database, besides the client's, in which the arguments say that its keys are used: the
    /// keys are locked there as well.
    pub other_db: Option<OtherDb>,
    /// Where it names the first field or member that it looks for, so that this can be fetched
    /// before it runs.
    pub element: Option<usize>,
    /// What has to be locked because the arguments make it use keys that they do not name;
    /// [`LockScope::None`] when they do not.
    pub beyond: Option<fn(Args<'_>) -> LockScope>,
    /// Its arguments after the name.
    pub args: &'static [Arg],
    /// What changed in which version.
    pub history: &'static [(&'static str, &'static str)],
    /// Set when the command is deprecated.
    pub deprecated: Option<Deprecation>,
    /// Its subcommands, sorted by name; empty for ordinary commands.
    pub subcommands: &'static [&'static Command],
    /// Which of its arguments are secrets that no log and no monitor may show, by their index.
    pub secrets: Option<fn(Args<'_>) -> Vec<usize>>,
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
        acl: Categories::NONE,
        tips: &[],
        keys: &[],
        find_keys: None,
        other_db: None,
        element: None,
        beyond: None,
        args: &[],
        history: &[],
        deprecated: None,
        subcommands: &[],
        secrets: None,
        handler: Handler::Container,
    };

    /// What a request with these arguments locks on all shards, as it uses keys beyond those that
    /// the arguments name; `None` when it does not.
    pub fn beyond(&self, args: Args<'_>) -> Option<LockScope> {
        let scope = self.beyond?(args).resolve(args);
        (!matches!(scope, LockScope::None)).then_some(scope)
    }

    /// The arguments of a request that are secrets, by their index.
    pub fn secrets(&self, args: Args<'_>) -> Vec<usize> {
        self.secrets.map_or_else(Vec::new, |secrets| secrets(args))
    }
}

/// Finds the other database of a command's keys among well-formed arguments.
pub type OtherDb = fn(Args<'_>) -> Option<u32>;

/// Chooses the shard that a command without keys visits.
pub type ShardChooser = fn(Args<'_>, ShardMap) -> ShardId;

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
    /// Has no key, but visits one shard and reads any key there: `shard` tells from the arguments
    /// which one, and `run` runs there. Where the shards have few keys, `spread` may visit several
    /// in one call, under locks on everything.
    Placed {
        /// Chooses the shard; any arguments give one that exists.
        shard: ShardChooser,
        /// Runs on that shard.
        run: ShardHandler,
        /// Runs on the connection's core and visits the shards.
        spread: Coordinator,
    },
    /// Waits until one of its keys has what it wants.
    Blocking(&'static Blocking),
    /// Runs on the connection's core and touches no key: connection and server state.
    Local(LocalHandler),
    /// Answers with these lines, and how to get them.
    Help(&'static [&'static str]),
    /// As `Local`, and what it writes are messages about subscriptions, which are sent even to
    /// clients that want no replies.
    Subscribe(LocalHandler),
    /// Runs a script, which calls commands in its turn.
    Script(ScriptKind),
    /// Sends its second argument to the subscribers of its first, on every core that has any.
    Publish(Topic),
    /// Runs on the connection's core and visits shards that it chooses, under the given locks: for
    /// what has no key, or depends on the connection's state besides.
    Global(LockScope, Coordinator),
    /// Is about the transaction of the connection.
    Transaction(TransactionStep),
}

/// How a command tells which script it runs, and what that may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScriptKind {
    /// What its first argument is.
    pub source: ScriptSource,
    /// It may not write.
    pub read_only: bool,
}

/// How a command tells which script it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScriptSource {
    /// By its text.
    Text,
    /// By the digest of one that is known.
    Digest,
    /// By the name of a function of a library.
    Function,
}

/// What a command does to the transaction of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStep {
    /// `MULTI`.
    Begin,
    /// `EXEC`.
    Execute,
    /// `DISCARD`.
    Discard,
    /// `WATCH`.
    Watch,
    /// `UNWATCH`.
    Unwatch,
}

/// What a command that visits shards locks: on all of them, unless the scope says otherwise.
#[derive(Clone, Copy, Debug)]
pub enum LockScope {
    /// Nothing: it reads or sets server state, or needs no common moment.
    None,
    /// Every key, for reading: all shards are seen at one moment of the transaction order.
    Shared,
    /// Every key, for writing.
    Exclusive,
    /// Its keys, as their specifications tell.
    Keys,
    /// One of the others, which the arguments decide.
    Chosen(fn(Args<'_>) -> Self),
}

impl LockScope {
    /// What it is for a request with these arguments.
    #[must_use]
    pub fn resolve(self, args: Args<'_>) -> Self {
        match self {
            Self::Chosen(choose) => choose(args),
            _ => self,
        }
    }
}

/// The group of a command, as `COMMAND DOCS` names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

impl Group {
    /// As `COMMAND DOCS` names it.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Cluster => "cluster",
            Self::Connection => "connection",
            Self::Generic => "generic",
            Self::Geo => "geo",
            Self::Hash => "hash",
            Self::HyperLogLog => "hyperloglog",
            Self::List => "list",
            Self::PubSub => "pubsub",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Stream => "stream",
            Self::String => "string",
            Self::Transactions => "transactions",
        }
    }
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

bit_set! {
    /// What a command does, for dispatch, ACL and clients.
    pub struct Flags(u32);

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
    /// May be called without any key although it has key specifications (`EVAL` with 0 keys).
    NO_MANDATORY_KEYS = 14, "no_mandatory_keys";
    /// Not while a dataset is loaded beside the one that is served.
    NO_ASYNC_LOADING = 15, "no_async_loading";
    /// Not inside `MULTI`.
    NO_MULTI = 16, "no_multi";
    /// Its keys cannot all be told from a first key, a last key and a step.
    MOVABLEKEYS = 17, "movablekeys";
    /// Allowed while a script or function holds the keyspace.
    ALLOW_BUSY = 18, "allow_busy";
    /// May replicate although it does not write keys.
    MAY_REPLICATE = 19;
    /// Forbidden unless the configuration enables it (`enable-debug-command` and the like).
    PROTECTED = 20;
    /// Reads or writes keys that are not among its arguments.
    TOUCHES_ARBITRARY_KEYS = 21;
    /// Internal: for the server's own use and its tests.
    SYSCMD = 22;
}

/// Why not to use a command any more.
#[derive(Clone, Copy, Debug)]
pub struct Deprecation {
    /// Since which version.
    pub since: &'static str,
    /// What to use instead.
    pub replaced_by: &'static str,
}
