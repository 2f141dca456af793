//! Who waits for which keys of one shard, in the order in which they came.
//!
//! Each key that is waited for has a queue for each type of value. A change of a key puts it on the
//! list of keys that may be ready, once; who waits for it is looked up when that list is worked
//! off, after the command.
//!
//! | operation | cost, `w` being those who wait for one key |
//! |---|---|
//! | `insert`, `remove` | O(keys * log w) |
//! | `note` of a key that nobody waits for | one lookup |
//! | `note` of another, `next_after` | O(log w) |
//!
//! Memory: the request, about 200 bytes for the waiter, and for each of its keys the key once and
//! about 100 bytes.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use kvasir_shard::ValueType;
use smallvec::SmallVec;

use super::claim::Claim;
use crate::commands::definition::Blocking;
use crate::commands::table::Entry;
use crate::route::engine::ShardId;
use crate::route::locks::{Fingerprint, Mode};
use crate::route::message::{ClientView, OwnedArgs, ReplyTo};

/// The place of a waiter in all queues: it rises in the order of arrival.
pub(in crate::route) type Ticket = u64;

/// A command that waits, or wants to be tried for the first time.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The command.
    pub(super) entry: &'static Entry,
    /// How it waits.
    pub(super) blocking: &'static Blocking,
    /// Where its reply belongs.
    pub(super) to: ReplyTo,
    /// The core of the client.
    pub(super) home: ShardId,
    /// The client's view.
    pub(super) view: ClientView,
    /// Whether it may be tried.
    pub(super) claim: Arc<Claim>,
}

/// How a waiter is served when one of its keys is ready.
#[derive(Clone, Debug)]
pub(super) enum Means {
    /// All of its keys lie here: it is tried here, with these arguments.
    Here(OwnedArgs),
    /// Its core is told, and coordinates an attempt. This shard's part is locked at once, so that
    /// nobody comes in between.
    Coordinated(Vec<(Fingerprint, Mode)>),
}

/// What a waiter does at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// It waits for a key.
    Idle,
    /// It waits for a lock of this shard, to be tried then.
    Parked,
    /// Its core has been told.
    Summoned,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) pending: Pending,
    pub(super) means: Means,
    pub(super) stage: Stage,
    keys: Box<[Arc<[u8]>]>,
}

/// Those who wait for one key.
#[derive(Debug, Default)]
struct KeyWaiters {
    /// By the type that they wait for.
    queues: SmallVec<[(ValueType, BTreeSet<Ticket>); 1]>,
    /// Those who notice when the key goes.
    noticing: BTreeSet<Ticket>,
    /// The key is on the list of those that may be ready.
    noted: bool,
}

/// Everybody who waits for keys of one shard.
#[derive(Debug, Default)]
pub struct Waiters {
    dbs: HashMap<u32, HashMap<Arc<[u8]>, KeyWaiters, ahash::RandomState>, ahash::RandomState>,
    by_ticket: HashMap<Ticket, Waiter, ahash::RandomState>,
    by_client: HashMap<u64, Ticket, ahash::RandomState>,
    noted: VecDeque<(u32, Arc<[u8]>)>,
    next: Ticket,
}

impl Waiters {
    /// Whether nobody waits.
    pub(in crate::route) fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }

    /// How many wait.
    pub(in crate::route) fn len(&self) -> usize {
        self.by_ticket.len()
    }

    /// How many keys are waited for, and how many of them by somebody who notices when they go.
    /// O(keys).
    pub(crate) fn keys(&self) -> (usize, usize) {
        let keys = || self.dbs.values().flat_map(HashMap::values);
        (keys().count(), keys().filter(|key| !key.noticing.is_empty()).count())
    }

    /// Puts somebody at the end of the queues of these keys.
    pub(super) fn insert(
        &mut self,
        pending: Pending,
        means: Means,
        keys: impl IntoIterator<Item = Vec<u8>>,
    ) {
        let ticket = self.next;
        self.next += 1;
        let (db, blocking) = (pending.view.db, pending.blocking);
        let mut own: Vec<Arc<[u8]>> = Vec::new();
        for key in keys {
            let of_db = self.dbs.entry(db).or_default();
            let shared = of_db.get_key_value(&key[..]).map(|(shared, _)| Arc::clone(shared));
            let shared = shared.unwrap_or_else(|| key.into());
            if own.contains(&shared) {
                continue;
            }
            let waiters = of_db.entry(Arc::clone(&shared)).or_default();
            waiters.queue_mut(blocking.awaits).insert(ticket);
            if blocking.notices_loss {
                waiters.noticing.insert(ticket);
            }
            own.push(shared);
        }
        let former = self.by_client.insert(pending.to.client, ticket);
        assert!(former.is_none(), "invariant: a client waits once");
        let waiter = Waiter { pending, means, stage: Stage::Idle, keys: own.into() };
        self.by_ticket.insert(ticket, waiter);
    }

    /// A waiter.
    pub(super) fn get(&mut self, ticket: Ticket) -> Option<&mut Waiter> {
        self.by_ticket.get_mut(&ticket)
    }

    /// The waiter of a client.
    pub(super) fn of_client(&mut self, client: u64) -> Option<&mut Waiter> {
        self.by_ticket.get_mut(self.by_client.get(&client)?)
    }

    /// Removes a waiter from all queues. If it kept others waiting, its keys are looked at again.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.by_ticket.remove(&ticket)?;
        self.by_client.remove(&waiter.pending.to.client);
        let Pending { blocking, view, .. } = &waiter.pending;
        let of_db = self.dbs.get_mut(&view.db).expect("invariant: a waiter's database is known");
        for key in &waiter.keys {
            let waiters = of_db.get_mut(key).expect("invariant: a waiter's keys have queues");
            waiters.queue_mut(blocking.awaits).remove(&ticket);
            waiters.noticing.remove(&ticket);
            waiters.queues.retain(|(_, queue)| !queue.is_empty());
            if waiters.queues.is_empty() {
                of_db.remove(key);
            } else if waiter.stage != Stage::Idle && !std::mem::replace(&mut waiters.noted, true) {
                self.noted.push_back((view.db, Arc::clone(key)));
            }
        }
        if of_db.is_empty() {
            self.dbs.remove(&view.db);
        }
        Some(waiter)
    }

    /// Removes the waiter of a client.
    pub(super) fn forget(&mut self, client: u64) {
        if let Some(&ticket) = self.by_client.get(&client) {
            self.remove(ticket);
        }
    }

    /// Notes that a key has changed.
    pub(in crate::route) fn note(&mut self, db: u32, key: &[u8]) {
        let Some((shared, waiters)) = self.dbs.get_mut(&db).and_then(|of_db| {
            let shared = Arc::clone(of_db.get_key_value(key)?.0);
            Some((shared, of_db.get_mut(key)?))
        }) else {
            return;
        };
        if !std::mem::replace(&mut waiters.noted, true) {
            self.noted.push_back((db, shared));
        }
    }

    /// Notes that every key of a database has changed. O(keys that are waited for).
    pub(in crate::route) fn note_all(&mut self, db: u32) {
        for (key, waiters) in self.dbs.get_mut(&db).into_iter().flatten() {
            if !std::mem::replace(&mut waiters.noted, true) {
                self.noted.push_back((db, Arc::clone(key)));
            }
        }
    }

    /// Notes the keys of a waiter.
    pub(super) fn note_keys_of(&mut self, ticket: Ticket) {
        let Some(waiter) = self.by_ticket.get(&ticket) else { return };
        let (db, keys) = (waiter.pending.view.db, waiter.keys.clone());
        keys.iter().for_each(|key| self.note(db, key));
    }

    /// Whether some key may be ready.
    pub(in crate::route) fn has_noted(&self) -> bool {
        !self.noted.is_empty()
    }

    /// The next key that may be ready.
    pub(super) fn take_noted(&mut self) -> Option<(u32, Arc<[u8]>)> {
        let (db, key) = self.noted.pop_front()?;
        if let Some(waiters) = self.dbs.get_mut(&db).and_then(|of_db| of_db.get_mut(&key)) {
            waiters.noted = false;
        }
        Some((db, key))
    }

    /// The first who waits for a value of this type under the key and has a higher ticket than
    /// `after`.
    pub(super) fn next_after(
        &self,
        db: u32,
        key: &[u8],
        value_type: ValueType,
        after: Option<Ticket>,
    ) -> Option<Ticket> {
        let waiters = self.dbs.get(&db)?.get(key)?;
        let (_, queue) = waiters.queues.iter().find(|(of_type, _)| *of_type == value_type)?;
        queue.range(after.map_or(0, |after| after + 1)..).next().copied()
    }

    /// Those who notice when this key goes, and wait for another type than it has now.
    pub(super) fn losers(&self, db: u32, key: &[u8], value_type: Option<ValueType>) -> Vec<Ticket> {
        let waiters = self.dbs.get(&db).and_then(|of_db| of_db.get(key));
        let noticing = waiters.into_iter().flat_map(|waiters| &waiters.noticing).copied();
        let awaits = |ticket: &Ticket| Some(self.by_ticket[ticket].pending.blocking.awaits);
        noticing.filter(|ticket| awaits(ticket) != value_type).collect()
    }

    /// Every waiter stands in the queue of each of its keys and nowhere else, no queue is empty,
    /// and clients are found. O(all).
    pub(in crate::route) fn verify(&self) {
        let mut places = 0;
        for (db, of_db) in &self.dbs {
            assert!(!of_db.is_empty(), "a database without waiters is removed");
            for (key, waiters) in of_db {
                assert!(!waiters.queues.is_empty(), "a key without waiters is removed");
                for (value_type, queue) in &waiters.queues {
                    assert!(!queue.is_empty(), "an empty queue is removed");
                    for ticket in queue {
                        let waiter = &self.by_ticket[ticket];
                        assert_eq!(waiter.pending.view.db, *db);
                        assert_eq!(waiter.pending.blocking.awaits, *value_type);
                        assert!(waiter.keys.contains(key), "a waiter knows its keys");
                        places += 1;
                    }
                }
                let is_listed = || self.noted.iter().any(|(d, k)| d == db && k == key);
                assert!(!waiters.noted || is_listed(), "a noted key is on the list");
            }
        }
        assert_eq!(places, self.by_ticket.values().map(|waiter| waiter.keys.len()).sum::<usize>());
        assert_eq!(self.by_client.len(), self.by_ticket.len());
        for (client, ticket) in &self.by_client {
            assert_eq!(self.by_ticket[ticket].pending.to.client, *client);
        }
    }
}

impl KeyWaiters {
    fn queue_mut(&mut self, value_type: ValueType) -> &mut BTreeSet<Ticket> {
        let found = self.queues.iter().position(|(of_type, _)| *of_type == value_type);
        let at = found.unwrap_or_else(|| {
            self.queues.push((value_type, BTreeSet::new()));
            self.queues.len() - 1
        });
        &mut self.queues[at].1
    }
}
