//! The locks of coordinations: requested, refused, raised and released.

use std::cmp::Reverse;

use super::scopes::scope_on;
use super::{Coordination, NOBODY, Stage};
use crate::errors::CommandError;
use crate::route::core::Core;
use crate::route::engine::ShardId;
use crate::route::locks::{Outcome, Owner, Scope, TransactionId};
use crate::route::message::Control;
use crate::route::multi::refusal_of;

/// How long a transaction waits that has been refused for one that is to have everything. It would
/// be refused again until that one is done.
const EXPELLED_US: u64 = 200;
/// How often a transaction is refused before it becomes patient (see [`crate::route::locks`]).
const REFUSALS_MAX: u32 = 3;

impl Core {
    /// Has every shard expel whoever stands in the way of a coordination, which goes on when all
    /// of them are quiet.
    pub(super) fn raise_everywhere(&mut self, number: u64) {
        let me = self.state.id;
        let Coordination { id, scopes, ungranted, expels, .. } = self.coordinations.running(number);
        *expels = true;
        let id = id.expect("invariant: it holds something");
        let shards = self.state.shared.map.shards();
        *ungranted = usize::from(shards);
        for shard in (0..shards).map(ShardId) {
            if scope_on(scopes, shard).is_none() {
                scopes.push((shard, Scope::Keys(Vec::new())));
            }
            if shard != me {
                self.outboxes.control(shard, Control::Raise(id));
            }
        }
        self.raise(id);
    }

    /// Expels from this shard whoever stands in the way of a transaction that is to have it. After
    /// the one that has it now, if there is one, which has come to its end.
    pub(in crate::route) fn raise(&mut self, id: TransactionId) {
        if self.locks.has_barrier() {
            return self.raises.push_back(id);
        }
        for waiting in self.locks.raise(id) {
            self.release(Owner::Transaction(waiting));
            self.tell_locked(waiting, Outcome::Refused);
        }
        self.tell_quiet();
    }

    /// Tells the one for which this shard has expelled others when it is quiet, and lets the next
    /// such one have it when the last is done.
    pub(in crate::route) fn tell_quiet(&mut self) {
        if !self.locks.has_barrier()
            && let Some(next) = self.raises.pop_front()
        {
            return self.raise(next);
        }
        if let Some(id) = self.locks.quiet_for() {
            self.tell_locked(id, Outcome::Granted);
        }
    }

    /// Requests the locks of a coordination with a new identifier, or starts it if it needs none.
    pub(super) fn request_locks(&mut self, number: u64) {
        let coordination = self.coordinations.running(number);
        if coordination.scopes.is_empty() {
            return self.start(number);
        }
        let me = self.state.id;
        let mut id = TransactionId::draw(&self.state.shared.next_transaction, me);
        if coordination.refusals >= REFUSALS_MAX {
            id = id.patient();
            coordination.scopes.sort_unstable_by_key(|(shard, _)| *shard);
        }
        if !id.is_patient() {
            if self.begins_early(number) {
                return self.begin_early(number, id);
            }
            return self.request_locks_as(number, id, None);
        }
        coordination.id = Some(id);
        coordination.ungranted = coordination.scopes.len();
        self.coordinations.by_id.insert(id, number);
        self.request_next_lock(number, id);
    }

    /// Requests the locks of a coordination under this identifier on every shard but one that has
    /// been asked already.
    pub(super) fn request_locks_as(
        &mut self,
        number: u64,
        id: TransactionId,
        asked: Option<ShardId>,
    ) {
        let me = self.state.id;
        let coordination = self.coordinations.running(number);
        coordination.id = Some(id);
        coordination.ungranted = coordination.scopes.len();
        let scopes = coordination.scopes.clone();
        self.coordinations.by_id.insert(id, number);
        let mut here = None;
        for (shard, scope) in scopes {
            if Some(shard) == asked {
                continue;
            }
            if shard == me {
                here = Some(scope);
            } else {
                self.outboxes.control(shard, Control::Lock(id, scope));
            }
        }
        if let Some(scope) = here {
            let outcome = self.claim(id, scope);
            self.locked(me, id, outcome);
        }
    }

    /// Requests the locks of a patient coordination on the first shard that has not granted them.
    fn request_next_lock(&mut self, number: u64, id: TransactionId) {
        let Coordination { scopes, ungranted, .. } = &self.coordinations.running[&number];
        let (shard, scope) = scopes[scopes.len() - ungranted].clone();
        if shard == self.state.id {
            let outcome = self.claim(id, scope);
            self.locked(shard, id, outcome);
        } else {
            self.outboxes.control(shard, Control::Lock(id, scope));
        }
    }

    /// What a shard says of a request for locks.
    pub(in crate::route) fn locked(&mut self, shard: ShardId, id: TransactionId, outcome: Outcome) {
        // An attempt that was given up may still be answered.
        let Some(&number) = self.coordinations.by_id.get(&id) else { return };
        let coordination = self.coordinations.running(number);
        match outcome {
            Outcome::Queued => {}
            Outcome::Busy => self.turn_away_coordination(number),
            Outcome::Granted => {
                coordination.ungranted -= 1;
                if coordination.ungranted == 0 {
                    self.all_granted(number);
                } else if id.is_patient() && !coordination.expels {
                    self.request_next_lock(number, id);
                }
            }
            Outcome::Refused => {
                coordination.refusals += 1;
                self.state.metrics.counters.transactions_retried += 1;
                self.release_everywhere(number, &[shard]);
                if self.locks.has_barrier() || self.state.shared.commitment.strays() {
                    let wake_us = self.state.now.monotonic_us.saturating_add(EXPELLED_US);
                    return self.coordinations.sleeping.push(Reverse((wake_us, number)));
                }
                self.request_locks(number);
            }
        }
    }

    /// A coordination has all its locks: it starts, or goes on if it has wanted more of them.
    pub(super) fn all_granted(&mut self, number: u64) {
        if let Err(error) = self.check_beginning(number) {
            return self.finish(number, Err(error));
        }
        match &self.coordinations.running[&number].stage {
            Stage::Locking { .. } => self.start(number),
            Stage::Running { .. } if !self.coordinations.running[&number].waiting.is_empty() => {
                self.run_waiting(number);
            }
            Stage::Running { transaction, .. } => {
                transaction.exchange.borrow_mut().awaited = 0;
                self.poll(number);
            }
            Stage::Moving => unreachable!("what moves waits for nothing"),
        }
    }

    /// Whether a client's command waits for its locks that can still be refused.
    fn can_refuse(&self, number: u64) -> bool {
        let coordination = &self.coordinations.running[&number];
        let Coordination { claim, reply_to, .. } = coordination;
        !coordination.has_begun() && claim.is_none() && *reply_to != NOBODY
    }

    /// Refuses what is about to begin, if a log is loaded since it was accepted.
    fn check_beginning(&self, number: u64) -> Result<(), CommandError> {
        let Coordination { entry, reply_to, nature, .. } = &self.coordinations.running[&number];
        let checked = self.check_replay(nature.needs_data, reply_to.client);
        checked.or_else(|error| {
            if self.can_refuse(number) { Err(refusal_of(entry, error)) } else { Ok(()) }
        })
    }

    /// A command waits for a script that has run for too long: its client is told so.
    pub(super) fn turn_away_coordination(&mut self, number: u64) {
        let entry = self.coordinations.running[&number].entry;
        if let Some(busy) = self.busy_error(entry)
            && self.can_refuse(number)
        {
            self.finish(number, Err(refusal_of(entry, busy)));
        }
    }

    /// Gives up the locks of a coordination on every shard but those in `except`.
    pub(super) fn release_everywhere(&mut self, number: u64, except: &[ShardId]) {
        let coordination = self.coordinations.running(number);
        let Some(id) = coordination.id.take() else { return };
        let shards: Vec<ShardId> = coordination.scopes.iter().map(|(shard, _)| *shard).collect();
        self.coordinations.by_id.remove(&id);
        for shard in shards.into_iter().filter(|shard| !except.contains(shard)) {
            if shard == self.state.id {
                self.release(Owner::Transaction(id));
            } else {
                self.outboxes.control(shard, Control::Release(id));
            }
        }
    }
}
