//! The waits of a core's own clients: until when, where, and how they end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::claim::Claim;
use crate::commands::definition::Flags;
use crate::commands::table::Entry;
use crate::route::engine::ShardId;
use crate::route::message::{OwnedArgs, ReplyTo};

/// How a wait ends that was in vain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The time is up, or `CLIENT UNBLOCK` wants it to look so.
    Timeout,
    /// `CLIENT UNBLOCK ... ERROR`.
    Unblocked,
    /// The client is gone: there is no reply.
    Gone,
}

/// Where the keys of a wait lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// On one shard, which tries the command.
    One(ShardId),
    /// On several: the client's core coordinates the attempts.
    Several,
}

/// One client's wait.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) to: ReplyTo,
    pub(super) entry: &'static Entry,
    pub(super) args: OwnedArgs,
    pub(super) claim: Arc<Claim>,
    pub(super) place: Place,
    /// On the monotonic clock.
    pub(super) deadline_us: Option<u64>,
    /// It is known to wait: the first attempt was in vain.
    pub(super) waiting: bool,
    /// How it shall end if the attempt that is under way is in vain.
    pub(super) ending: Option<Ending>,
    /// An attempt is being coordinated.
    pub(super) attempting: bool,
    /// A key has become ready during that attempt.
    pub(super) again: bool,
}

/// The waits of a core's clients. A client has one at most.
#[derive(Debug, Default)]
pub struct Waits {
    by_client: HashMap<u64, Wait, ahash::RandomState>,
    /// Deadlines and their clients, the earliest first.
    deadlines: BTreeSet<(u64, u64)>,
    /// Clients whose wait has ended in vain, and who have to be told.
    ended: VecDeque<u64>,
    /// How many are known to wait.
    waiting: usize,
}

impl Waits {
    /// Adds one.
    pub(super) fn insert(&mut self, wait: Wait) {
        let client = wait.to.client;
        self.deadlines.extend(wait.deadline_us.map(|deadline_us| (deadline_us, client)));
        self.waiting += usize::from(wait.waiting);
        let former = self.by_client.insert(client, wait);
        assert!(former.is_none(), "invariant: a client waits for one command at a time");
    }

    /// A client's wait.
    pub(super) fn get(&mut self, client: u64) -> Option<&mut Wait> {
        self.by_client.get_mut(&client)
    }

    /// The wait whose reply has this place.
    pub(super) fn of(&mut self, to: ReplyTo) -> Option<&mut Wait> {
        self.get(to.client).filter(|wait| wait.to == to)
    }

    /// Notes that a client waits, its first attempt having been in vain. Nothing when the wait is
    /// over already; if its time was up before it was tried, it is over now.
    pub(super) fn note_waiting(&mut self, to: ReplyTo) {
        if let Some(wait) = self.by_client.get_mut(&to.client)
            && wait.to == to
            && !std::mem::replace(&mut wait.waiting, true)
        {
            self.waiting += 1;
            if let Some(ending) = wait.ending {
                self.end(to.client, ending);
            }
        }
    }

    /// Removes a client's wait.
    pub(super) fn remove(&mut self, client: u64) -> Option<Wait> {
        let wait = self.by_client.remove(&client)?;
        if let Some(deadline_us) = wait.deadline_us {
            self.deadlines.remove(&(deadline_us, client));
        }
        self.waiting -= usize::from(wait.waiting);
        Some(wait)
    }

    /// Ends a client's wait; whether that is decided and it was one that is known to wait. If it is
    /// not decided, an attempt is under way, and it ends so if that is in vain.
    pub(crate) fn end(&mut self, client: u64, ending: Ending) -> bool {
        let Some(wait) = self.by_client.get_mut(&client) else { return false };
        // Who is gone gets no reply, whatever was to be replied.
        if wait.ending.is_none() || ending == Ending::Gone {
            wait.ending = Some(ending);
        }
        let decided = wait.claim.end();
        if decided {
            self.ended.push_back(client);
        }
        decided && wait.waiting
    }

    /// Notes that an attempt was in vain whose client's wait has ended meanwhile.
    pub(super) fn note_ended(&mut self, client: u64) {
        self.ended.push_back(client);
    }

    /// The next client who has to be told that its wait has ended.
    pub(super) fn next_ended(&mut self) -> Option<u64> {
        self.ended.pop_front()
    }

    /// Ends the waits whose time is up. Who has not been tried yet is tried first: a client is told
    /// that there is nothing only after somebody has looked.
    pub(in crate::route) fn end_due(&mut self, now_us: u64) {
        while let Some(&(deadline_us, client)) = self.deadlines.first()
            && deadline_us <= now_us
        {
            self.deadlines.pop_first();
            let wait = self.by_client.get_mut(&client);
            let wait = wait.expect("invariant: a deadline belongs to a wait");
            wait.deadline_us = None;
            if wait.waiting {
                self.end(client, Ending::Timeout);
            } else {
                wait.ending.get_or_insert(Ending::Timeout);
            }
        }
    }

    /// When the next wait's time is up, on the monotonic clock.
    pub(in crate::route) fn next_deadline_us(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_us, _)| *deadline_us)
    }

    /// Whether a client is known to wait.
    pub(crate) fn is_waiting(&self, client: u64) -> bool {
        self.by_client.get(&client).is_some_and(|wait| wait.waiting)
    }

    /// Whether a client's command is being tried on several shards, and reads what others write.
    pub(in crate::route) fn is_attempted(&self, client: u64) -> bool {
        let reads = |wait: &Wait| wait.entry.command.flags.has(Flags::READONLY);
        self.by_client.get(&client).is_some_and(|wait| wait.attempting && reads(wait))
    }

    /// Clients that are known to wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Clients that wait no longer than until some moment.
    pub(crate) fn with_deadline(&self) -> usize {
        self.deadlines.len()
    }

    /// Waits, known ones and others.
    pub(in crate::route) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// The places of the replies that are awaited.
    pub(in crate::route) fn replies(&self) -> impl Iterator<Item = ReplyTo> {
        self.by_client.values().map(|wait| wait.to)
    }

    /// Every deadline belongs to its wait, and what is counted is there. O(all).
    pub(in crate::route) fn verify(&self) {
        for (deadline_us, client) in &self.deadlines {
            assert_eq!(self.by_client[client].deadline_us, Some(*deadline_us));
        }
        let waits = || self.by_client.values();
        assert_eq!(self.deadlines.len(), waits().filter(|w| w.deadline_us.is_some()).count());
        assert_eq!(self.waiting, waits().filter(|wait| wait.waiting).count());
        assert!(self.by_client.iter().all(|(client, wait)| wait.to.client == *client));
    }
}
