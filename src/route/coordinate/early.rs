//! Transactions of two shards that take one message each way instead of two.
//!
//! Commands such as `MSET`, and most transactions of clients, have one hop, and with two shards
//! one of them is the client's. If this core can grant its own locks at once, the other's part
//! travels without a request for locks: it runs there if nobody stands in its way, and needs no
//! claim, since it is over in that turn. All locks are held at that moment, those of this core
//! until its own part has run as well, right when the answer comes. So nobody sees one part
//! without the other.
//!
//! If somebody stands in the way the part comes back, the locks are requested as always, and what
//! has been refused is tried again in the usual way. With a log they are too: what is logged at the
//! end is to be logged before anybody else changes those keys.

use super::scopes::scope_on;
use crate::commands::definition::Handler;
use crate::route::core::Core;
use crate::route::engine::ShardId;
use crate::route::locks::{Outcome, Scope, TransactionId};
use crate::route::message::{Control, Task};
use crate::route::transaction::Transaction;

impl Core {
    /// Whether a coordination that is about to request its locks may begin when those of this core
    /// are granted.
    pub(super) fn begins_early(&mut self, number: u64) -> bool {
        let me = self.state.id;
        let coordination = self.coordinations.running(number);
        let has_one_hop = coordination.nature.has_one_hop
            || matches!(coordination.entry.command.handler, Handler::Multi { .. });
        has_one_hop
            && coordination.refusals == 0
            && coordination.claim.is_none()
            && coordination.scopes.len() == 2
            && scope_on(&mut coordination.scopes, me).is_some()
            && !self.state.effects.is_on()
    }

    /// Begins a coordination if the locks of this core are granted at once; else it waits for all
    /// of its locks as usual.
    pub(super) fn begin_early(&mut self, number: u64, id: TransactionId) {
        let me = self.state.id;
        let coordination = self.coordinations.running(number);
        let scope_here = scope_on(&mut coordination.scopes, me).cloned();
        let scope_here = scope_here.expect("invariant: it has locks here");
        let there = coordination.scopes.iter().find(|(shard, _)| *shard != me).cloned();
        let (there, scope_there) = there.expect("invariant: it has locks elsewhere");
        coordination.id = Some(id);
        coordination.ungranted = 1;
        self.coordinations.by_id.insert(id, number);
        let outcome = self.claim(id, scope_here);
        let coordination = self.coordinations.running(number);
        if outcome == Outcome::Granted {
            coordination.unasked = Some((there, scope_there));
            return self.start(number);
        }
        coordination.ungranted = 2;
        self.outboxes.control(there, Control::Lock(id, scope_there));
        self.locked(me, id, outcome);
    }

    /// Sends the first tasks of a coordination that has only this core's locks.
    pub(super) fn send_first_tasks(
        &mut self,
        number: u64,
        tasks: Vec<(ShardId, Task)>,
        last: bool,
        (there, scope): (ShardId, Scope),
    ) {
        let coordination = self.coordinations.running(number);
        let tasks = tasks.into_iter().enumerate();
        let mut tasks: Vec<_> = tasks.map(|(index, (shard, task))| (index, shard, task)).collect();
        let is_there = |(_, shard, _): &(usize, ShardId, Task)| *shard == there;
        let alone = tasks.iter().filter(|task| is_there(task)).count() == 1;
        let position = tasks.iter().position(is_there).filter(|_| last && alone);
        if let Some(position) = position {
            let (index, _, task) = tasks.swap_remove(position);
            coordination.waiting = tasks;
            let run = Control::RunIfFree { coordination: number, index, task, scope };
            return self.outboxes.control(there, run);
        }
        // It is not as simple as most of its kind.
        coordination.waiting = tasks;
        let id = coordination.id.expect("invariant: it has this core's locks");
        self.outboxes.control(there, Control::Lock(id, scope));
    }

    /// The other shard's part of a coordination that has begun early has run: so does this one's.
    pub(super) fn end_early(&mut self, number: u64, transaction: &Transaction) {
        let coordination = self.coordinations.running(number);
        let tasks = std::mem::take(&mut coordination.waiting);
        if tasks.is_empty() {
            return;
        }
        let me = self.state.id;
        let there: Vec<ShardId> =
            coordination.scopes.iter().map(|(shard, _)| *shard).filter(|s| *s != me).collect();
        let own = tasks.into_iter().map(|(index, _, task)| (index, task)).collect();
        self.run_own_tasks(own, transaction);
        self.release_everywhere(number, &there);
        self.after_command();
        self.poll(number);
    }

    /// The other shard's part of a coordination that has begun early has met with somebody: it
    /// waits for locks there.
    pub(in crate::route) fn not_free(&mut self, number: u64, task: (usize, ShardId, Task)) {
        let coordination = self.coordinations.running(number);
        let there = task.1;
        coordination.waiting.push(task);
        let scope = scope_on(&mut coordination.scopes, there).cloned();
        let scope = scope.expect("invariant: it visits what it locks");
        let id = coordination.id.expect("invariant: it has this core's locks");
        self.outboxes.control(there, Control::Lock(id, scope));
    }

    /// The tasks of a coordination run that have waited for its locks, as of now: they may have
    /// waited for long.
    pub(super) fn run_waiting(&mut self, number: u64) {
        let coordination = self.coordinations.running(number);
        assert!(coordination.id.is_some(), "invariant: it has its locks");
        let mut tasks = std::mem::take(&mut coordination.waiting);
        tasks.sort_unstable_by_key(|(index, ..)| *index);
        let transaction = coordination.transaction();
        let began_ms = self.state.unix_ms();
        transaction.exchange.borrow_mut().began_ms = began_ms;
        let tasks = tasks.into_iter().map(|(_, shard, task)| (shard, Task { began_ms, ..task }));
        let tasks = tasks.collect();
        let last = transaction.exchange.borrow().last;
        self.send_tasks(number, tasks, last, &transaction);
        if transaction.exchange.borrow().awaited == 0 {
            self.poll(number);
        }
    }
}
