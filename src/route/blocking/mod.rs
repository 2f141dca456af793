//! Commands that wait for a key: `BLPOP` and its kin.
//!
//! A blocking command is tried when it comes. In vain, it waits on every shard that owns one of the
//! keys that it waits for, in a queue for each key. When a change of a key may have made it ready
//! (the shard's journal tells), the first of the key's queue is tried again, right after the
//! command that made the change, and so on until one goes on waiting.
//!
//! - All keys on one shard: that shard tries the command by itself.
//! - Keys on several shards: the shard that sees a key become ready locks its own part at once, in
//!   the name of a transaction of the client's core, and tells that core, which locks the rest and
//!   tries the command under all locks. So nobody comes between the change and the attempt, and an
//!   attempt is a transaction like any other.
//!
//! Whether a client still waits is decided by one flag that its core and the shards share (see
//! [`claim`]): a client that has been told that its time is up, or that is gone, takes nothing.
//!
//! A waiter that conflicts with the locks of a transaction waits for them in line, as a command of
//! a single shard does; those behind it wait for it.

mod alarms;
mod claim;
mod serve;
mod spread;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod waiters;
pub(super) mod waits;

use std::sync::Arc;
use std::time::Duration;

use kvasir_proto::{Args, Encoder, RequestParser};

pub use self::alarms::Alarms;
pub(super) use self::claim::Claim;
use self::waiters::{Means, Pending};
use self::waits::{Place, Wait};
use super::connection::{Blocked, Connection};
use super::core::Core;
use super::dispatch::Ahead;
use super::engine::{ConnectionKey, ShardId};
use super::input::Input;
use super::locks::{Outcome, TransactionId};
use super::message::{ClientView, Control, Done, OwnedArgs, ReplyTo};
use super::transaction::shard_context;
use crate::commands::definition::{Attempt, Blocking, Handler, KeyFlags, Patience};
use crate::commands::table::Entry;
use crate::errors::CommandError;

pub(super) use spread::{Registration, try_once};
pub use waiters::Waiters;
pub use waits::{Ending, Waits};

/// What cores tell each other about clients that wait.
#[derive(Debug)]
pub enum Message {
    /// To the owner of all keys: try this, and let it wait if that is in vain.
    Try(Box<Pending>, OwnedArgs),
    /// To a shard with keys: the client's wait is over.
    Forget {
        /// Its id.
        client: u64,
    },
    /// To the client's core: the attempt was in vain, and it waits now.
    Waits(ReplyTo),
    /// To the client's core: an attempt was in vain, and its wait has ended meanwhile.
    Unserved(ReplyTo),
    /// To the client's core: the command is done.
    Served(Box<Served>),
    /// To the client's core: a key is ready here, and this transaction of yours has asked for the
    /// locks on this shard's keys.
    Summon(ReplyTo, TransactionId, Outcome),
}

/// The end of a command that one shard has tried.
#[derive(Debug)]
pub struct Served {
    pub(super) to: ReplyTo,
    pub(super) entry: &'static Entry,
    pub(super) reply: Vec<u8>,
    pub(super) done: Done,
    pub(super) args: OwnedArgs,
}

impl Core {
    /// Executes a blocking command of a connection, which waits until it is done.
    pub(super) fn block(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        blocking: &'static Blocking,
        request: Ahead,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let mut patience = (blocking.patience)(args)?;
        if self.state.connections[key.0 as usize].is_replay() {
            // Nobody would give it what it waits for.
            patience = Patience::None;
        }
        let owner = self.common_owner(entry, args);
        if patience == Patience::None {
            return match owner {
                Some(owner) => {
                    self.run_on(owner, key, entry, request.hash, args);
                    Ok(())
                }
                None => self.coordinate(key, entry, try_once, args),
            };
        }
        let Some(owner) = owner else {
            let pending = self.begin_wait(key, entry, blocking, args, patience, Place::Several);
            self.coordinate_attempt(pending.to, None);
            return Ok(());
        };
        if owner != self.state.id {
            let place = Place::One(owner);
            let pending = self.begin_wait(key, entry, blocking, args, patience, place);
            let message = Message::Try(Box::new(pending), OwnedArgs::new(args));
            self.outboxes.control(owner, Control::Blocking(message));
            return Ok(());
        }
        let view = self.state.connections[key.0 as usize].client.view;
        if !self.locks.is_idle() {
            let scope = self.scope_of(entry, args, view.db);
            if !self.locks.admits(&scope) {
                let place = Place::One(owner);
                let pending = self.begin_wait(key, entry, blocking, args, patience, place);
                self.park_attempt(pending, OwnedArgs::new(args), scope);
                return Ok(());
            }
        }
        self.try_own(key, entry, blocking, patience, args);
        Ok(())
    }

    /// Tries a command of this core's client and shard. When there is something for it, it costs
    /// what any other command does.
    fn try_own(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        blocking: &'static Blocking,
        patience: Patience,
        args: Args<'_>,
    ) {
        let connection = &mut self.state.connections[key.0 as usize];
        let view = connection.client.view;
        let mut buffer = connection.reply_start();
        let start = buffer.len();
        let (attempt, done) = self.attempt(entry, blocking, view, args, &mut buffer);
        if attempt == Attempt::Done {
            self.end_reply(key, entry, buffer, start, done, args);
            return self.after_command();
        }
        self.state.connections[key.0 as usize].reply_end(buffer, start);
        let place = Place::One(self.state.id);
        let pending = self.begin_wait(key, entry, blocking, args, patience, place);
        let args = match attempt {
            Attempt::WaitAs(args) => OwnedArgs::of_parts(args.iter().map(Vec::as_slice)),
            _ => OwnedArgs::new(args),
        };
        self.enlist(pending, args);
        self.after_command();
    }

    /// Runs a command once, appending its reply if it is done, and nothing else.
    fn attempt(
        &mut self,
        entry: &'static Entry,
        blocking: &'static Blocking,
        view: ClientView,
        args: Args<'_>,
        reply: &mut Vec<u8>,
    ) -> (Attempt, Done) {
        debug_assert!(matches!(entry.command.handler, Handler::Blocking(_)));
        let start = reply.len();
        let changes = self.state.keyspace_figures.changes;
        let mut context = shard_context(&mut self.state, view);
        let result = (blocking.whole)(&mut context, args, &mut Encoder::new(reply, view.resp));
        let failed = result.is_err();
        let attempt = result.unwrap_or_else(|error| {
            reply.truncate(start);
            Encoder::new(reply, view.resp).error_bytes(&error.to_wire());
            Attempt::Done
        });
        if attempt != Attempt::Done {
            reply.truncate(start);
        }
        self.state.end_effect(entry, view.db, args, changes);
        if view.tracks {
            self.state.remember_read(entry, view, args);
        }
        let nanoseconds = self.state.metrics.lap();
        (attempt, Done { reply_end: reply.len(), nanoseconds, failed, ..Done::default() })
    }

    /// Notes that a connection waits from now on.
    fn begin_wait(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        blocking: &'static Blocking,
        args: Args<'_>,
        patience: Patience,
        place: Place,
    ) -> Pending {
        let connection = &mut self.state.connections[key.0 as usize];
        connection.blocked = Blocked::Waiting;
        // It counts when it is done.
        connection.client.commands = connection.client.commands.saturating_sub(1);
        let (client, view) = (connection.client.id, connection.client.view);
        let to = ReplyTo { connection: key, client, sequence: connection.reserve() };
        let claim = Arc::new(Claim::default());
        let now_us = self.state.now.monotonic_us;
        let deadline_us = match patience {
            Patience::For(duration) => Some(now_us.saturating_add(microseconds(duration))),
            Patience::None | Patience::Forever => None,
        };
        self.state.waits.insert(Wait {
            to,
            entry,
            args: OwnedArgs::new(args),
            claim: Arc::clone(&claim),
            place,
            deadline_us,
            waiting: false,
            ending: None,
            attempting: false,
            again: false,
        });
        Pending { entry, blocking, to, home: self.state.id, view, claim }
    }

    /// A message about clients that wait.
    pub(super) fn heed(&mut self, origin: ShardId, message: Message) {
        match message {
            Message::Try(pending, args) => self.try_first(*pending, args),
            Message::Forget { client } => {
                self.state.waiters.forget(client);
                self.state.follow_readers();
                self.serve_waiters();
            }
            Message::Waits(to) => self.note_waiting(to),
            Message::Unserved(to) => self.unserved(to),
            Message::Served(served) => {
                let Served { to, entry, reply, done, args } = *served;
                self.served(to, entry, &reply, done, args.view());
            }
            Message::Summon(to, id, outcome) => self.summoned(origin, to, id, outcome),
        }
    }

    /// The command of a client that waits is done.
    pub(super) fn served(
        &mut self,
        to: ReplyTo,
        entry: &'static Entry,
        reply: &[u8],
        done: Done,
        args: Args<'_>,
    ) {
        if self.state.waits.of(to).is_some() {
            self.state.waits.remove(to.client);
        }
        self.record(entry, done, args, reply, to);
        self.resume(to, reply);
    }

    /// Gives a client that waits its reply, and lets it go on.
    fn resume(&mut self, to: ReplyTo, reply: &[u8]) {
        self.fill(to, reply);
        if let Some(connection) = self.connection_of(to) {
            connection.client.commands += 1;
            self.unblock(to.connection);
        }
    }

    /// The first attempt of a client was in vain: it is one that waits.
    fn note_waiting(&mut self, to: ReplyTo) {
        self.state.waits.note_waiting(to);
        let connection = self.state.connection(to.connection);
        if connection.is_some_and(|c| c.client.id == to.client && c.hung_up) {
            self.state.waits.end(to.client, Ending::Gone);
        }
    }

    /// An attempt was in vain, and the wait was to end.
    fn unserved(&mut self, to: ReplyTo) {
        if self.state.waits.of(to).is_some() {
            self.state.waits.note_ended(to.client);
        }
    }

    /// Tells the clients whose wait has ended in vain, and the shards where they waited.
    pub(super) fn finish_ended(&mut self) {
        while let Some(client) = self.state.waits.next_ended() {
            let Some(wait) = self.state.waits.remove(client) else { continue };
            let Wait { to, entry, args, place, ending, .. } = wait;
            match place {
                Place::One(shard) => self.forget_at(shard, client),
                Place::Several => {
                    for shard in self.shards_of(entry, args.view()) {
                        self.forget_at(shard, client);
                    }
                }
            }
            let ending = ending.expect("invariant: a wait that has ended has an ending");
            let mut reply = Vec::new();
            let Some(connection) = self.connection_of(to) else { continue };
            let mut encoder = Encoder::new(&mut reply, connection.client.view.resp);
            ending.write(entry, &mut encoder);
            if ending == Ending::Gone {
                // What it has sent behind the command that waits is not executed for nobody.
                connection.input = Input::default();
                connection.parser = RequestParser::new();
            } else {
                let done = Done { reply_end: reply.len(), ..Done::default() };
                self.record(entry, done, args.view(), &reply, to);
                if ending == Ending::Unblocked {
                    // The peers count it as refused, not as failed.
                    self.state.metrics.rejected(Some(entry), &UNBLOCKED);
                }
            }
            self.resume(to, &reply);
        }
    }

    /// Tells a shard that a client waits no more.
    fn forget_at(&mut self, shard: ShardId, client: u64) {
        if shard == self.state.id {
            self.state.waiters.forget(client);
            self.state.follow_readers();
            self.serve_waiters();
        } else {
            self.outboxes.control(shard, Control::Blocking(Message::Forget { client }));
        }
    }

    /// The shards that own keys of a request.
    fn shards_of(&self, entry: &'static Entry, args: Args<'_>) -> Vec<ShardId> {
        let map = self.state.shared.map;
        let mut shards = Vec::new();
        let found = entry.keys(args, |index, _| shards.push(map.owner(args.at(index))));
        found.expect("invariant: the keys of a request that waits can be told");
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    pub(super) fn connection_of(&mut self, to: ReplyTo) -> Option<&mut Connection> {
        self.state.connection(to.connection).filter(|connection| connection.client.id == to.client)
    }

    /// Puts a command that all lies here into the queues, and tells its core.
    fn enlist(&mut self, pending: Pending, args: OwnedArgs) {
        let (to, home) = (pending.to, pending.home);
        let keys: Vec<_> = awaited_keys(pending.entry, args.view()).map(<[u8]>::to_vec).collect();
        self.state.waiters.insert(pending, Means::Here(args), keys);
        self.state.follow_readers();
        if home == self.state.id {
            self.note_waiting(to);
        } else {
            self.outboxes.control(home, Control::Blocking(Message::Waits(to)));
        }
    }
}

/// What a client is told whose wait somebody else has ended.
const UNBLOCKED: CommandError =
    CommandError::Other("UNBLOCKED client unblocked via CLIENT UNBLOCK");

impl Ending {
    /// Writes what the client is told.
    fn write(self, entry: &'static Entry, reply: &mut Encoder<'_>) {
        match (self, entry.command.handler) {
            (Self::Timeout, Handler::Blocking(blocking)) => (blocking.nothing)(reply),
            (Self::Unblocked, _) => {
                reply.error_bytes(&UNBLOCKED.to_wire());
            }
            (Self::Gone | Self::Timeout, _) => {}
        }
    }
}

/// The keys that a request waits for.
fn awaited_keys<'a>(entry: &'static Entry, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    let mut keys = Vec::new();
    let found = entry.keys(args, |index, flags| {
        if flags.has(KeyFlags::ACCESS) {
            keys.push(args.at(index));
        }
    });
    found.expect("invariant: the keys of a request that waits can be told");
    keys.into_iter()
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
