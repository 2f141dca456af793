//! What a handler is given, and the forms that handlers have.

use std::future::Future;
use std::pin::Pin;

use kvasir_proto::{Args, Encoder, Resp};
use kvasir_shard::{Key, Shard};

use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ConnectionKey;
use crate::route::shard_map::ShardMap;
use crate::route::transaction::{Request, Transaction};

/// Runs on the shard that owns the command's keys. An error discards what was written to the
/// encoder; a handler must not have changed anything when it returns one.
pub type ShardHandler =
    fn(&mut ShardContext<'_>, Args<'_>, &mut Encoder<'_>) -> Result<(), CommandError>;

/// Runs on the connection's core; touches no key.
pub type LocalHandler =
    fn(&mut LocalContext<'_>, Args<'_>, &mut Encoder<'_>) -> Result<(), CommandError>;

/// The running coordination of a command: its reply, encoded.
pub type Coordination = Pin<Box<dyn Future<Output = Result<Vec<u8>, CommandError>>>>;

/// Runs on the connection's core and visits shards through the transaction.
pub type Coordinator = fn(Transaction, Request) -> Coordination;

/// What a [`ShardHandler`] works on.
pub struct ShardContext<'a> {
    /// The keyspace. Its clock has been set for this command.
    pub shard: &'a mut Shard,
    /// The database that the client selected.
    pub db: u32,
    /// Whether reading shall leave access times alone (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// The client's protocol version.
    pub resp: Resp,
    /// Where keys live, and their hashes.
    pub map: ShardMap,
}

impl ShardContext<'_> {
    /// The key with its hash and slot.
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.map.key(bytes)
    }
}

/// What a [`LocalHandler`] works on.
pub struct LocalContext<'a> {
    /// The core: its connections, configuration and figures.
    pub state: &'a mut CoreState,
    /// The connection that sent the command.
    pub connection: ConnectionKey,
}
