//! Transactions that a client composes: `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`; and
//! commands as parts of others.
//!
//! After `MULTI` commands are checked and queued ([`queue`]), each with the shard that owns its
//! keys. `EXEC` then goes one of two ways:
//!
//! - Everything that it uses, watched keys included, lies on one shard: the queue goes there as one
//!   message (none for the connection's own shard) and is executed in one turn, like a command of
//!   that shard alone ([`errand`]). It takes no lock and waits for those of others, in line.
//! - Otherwise it is a coordination ([`execute`]): it claims the locks of all queued commands and
//!   of the watched keys at once; then commands of single shards that follow each other go as one
//!   hop, with one message a shard (they lie on different shards or follow each other on one, so
//!   that they commute or keep their order), and each command that visits several shards runs its
//!   own coordinator under the locks that are held ([`part`]).
//!
//! [`watch`] tells how a change of a watched key is noticed.

mod errand;
mod execute;
mod part;
mod queue;
mod session;
mod watch;

pub(super) use errand::Errand;
pub(super) use execute::Plan;
pub use part::Answer;
pub(super) use part::Ran;
pub(super) use queue::Queue;
pub use session::Figures;
pub(super) use session::refusal_of;
pub use watch::Watches;
pub(super) use watch::{WATCHED_CHANGES, WatchId, Watching};

/// What cores tell each other about transactions.
#[derive(Debug)]
pub enum Message {
    /// To the owner of everything that a client's command uses: run it.
    Run(Box<Errand>),
    /// Back to the client's core: it has run.
    Ran(Box<Errand>),
    /// To a shard with watched keys: nobody wants to know of their changes any more.
    Forget(WatchId),
}
