//! The hops of coordinations: their functions polled, their tasks sent and answered.

use std::cmp::Reverse;
use std::task::{Context, Poll, Waker};

use super::{Coordination, Stage};
use crate::route::core::Core;
use crate::route::effects::{Caused, may_change};
use crate::route::engine::ShardId;
use crate::route::message::{Control, Reply, Task};
use crate::route::transaction::Transaction;

impl Core {
    pub(super) fn start(&mut self, number: u64) {
        let coordination = self.coordinations.running(number);
        if coordination.claim.as_ref().is_some_and(|claim| !claim.take()) {
            // The client's wait has ended: it has been told, and nobody waits for the outcome.
            self.release_everywhere(number, &[]);
            self.coordinations.running.remove(&number);
            return;
        }
        let stage = std::mem::replace(&mut coordination.stage, Stage::Moving);
        let Stage::Locking { request, coordinator } = stage else {
            unreachable!("a coordination starts once");
        };
        let transaction =
            Transaction::new(self.state.shared.map.shards(), &request, self.state.unix_ms());
        let future = coordinator(transaction.clone(), *request);
        coordination.stage = Stage::Running { transaction, future };
        self.poll(number);
    }

    /// Lets a coordination go on until it waits for other cores, or is done.
    pub(super) fn poll(&mut self, number: u64) {
        loop {
            let coordination = self.coordinations.running(number);
            let stage = std::mem::replace(&mut coordination.stage, Stage::Moving);
            let Stage::Running { transaction, mut future } = stage else {
                unreachable!("a coordination is polled while it runs");
            };
            let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let to = coordination.reply_to;
            coordination.stage = Stage::Running { transaction: transaction.clone(), future };
            for part in transaction.take_ran() {
                self.record_part(&part, to);
            }
            if let Poll::Ready(result) = poll {
                return self.finish(number, result);
            }
            let (tasks, last, sleep_us, widens) = {
                let mut exchange = transaction.exchange.borrow_mut();
                let tasks = std::mem::take(&mut exchange.outgoing);
                let widens = std::mem::take(&mut exchange.widens);
                (tasks, exchange.last, exchange.sleep_us.take(), widens)
            };
            if widens {
                return self.raise_everywhere(number);
            }
            if let Some(sleep_us) = sleep_us {
                let wake_us = self.state.now.monotonic_us.saturating_add(sleep_us);
                self.coordinations.sleeping.push(Reverse((wake_us, number)));
                return;
            }
            self.send_tasks(number, tasks, last, &transaction);
            if transaction.exchange.borrow().awaited > 0 {
                return;
            }
        }
    }

    /// Lets those go on that have slept long enough.
    pub(in crate::route) fn wake_sleepers(&mut self) {
        let now_us = self.state.now.monotonic_us;
        while let Some(&Reverse((wake_us, number))) = self.coordinations.sleeping.peek()
            && wake_us <= now_us
        {
            self.coordinations.sleeping.pop();
            if self.coordinations.running(number).has_begun() {
                self.all_granted(number);
            } else {
                self.try_again(number);
            }
        }
    }

    /// Requests the locks of a coordination that was expelled a while ago.
    fn try_again(&mut self, number: u64) {
        if self.is_busy() {
            self.turn_away_coordination(number);
        }
        if self.coordinations.running.contains_key(&number) {
            self.request_locks(number);
        }
    }

    /// Sends the tasks of a hop, and runs those for this core.
    pub(super) fn send_tasks(
        &mut self,
        number: u64,
        tasks: Vec<(ShardId, Task)>,
        last: bool,
        transaction: &Transaction,
    ) {
        let me = self.state.id;
        let Coordination { id, entry, unasked, .. } = self.coordinations.running(number);
        let (id, entry) = (*id, *entry);
        if let Some(unasked) = unasked.take() {
            return self.send_first_tasks(number, tasks, last, unasked);
        }
        // What is logged at the end is logged before the locks end.
        let last = last && !(self.state.effects.is_on() && may_change(entry));
        let release = if last { id } else { None };
        let visited: Vec<ShardId> = tasks.iter().map(|(shard, _)| *shard).collect();
        let mut here = Vec::new();
        for (index, (shard, task)) in tasks.into_iter().enumerate() {
            if shard == me {
                here.push((index, task));
            } else {
                let run = Control::Run { coordination: number, index, task, release };
                self.outboxes.control(shard, run);
            }
        }
        self.run_own_tasks(here, transaction);
        if last {
            let elsewhere: Vec<ShardId> = visited.into_iter().filter(|s| *s != me).collect();
            self.release_everywhere(number, &elsewhere);
        }
        self.after_command();
    }

    /// Runs the tasks of a hop that are for this core.
    pub(super) fn run_own_tasks(&mut self, tasks: Vec<(usize, Task)>, transaction: &Transaction) {
        for (index, task) in tasks {
            let (reply, caused) = self.state.run_task(task);
            let mut exchange = transaction.exchange.borrow_mut();
            exchange.caused.add(caused);
            exchange.results[index] = Some(reply);
            exchange.awaited -= 1;
        }
    }

    /// A task of a coordination has answered.
    pub(in crate::route) fn ran(
        &mut self,
        number: u64,
        index: usize,
        reply: Reply,
        caused: Option<Box<Caused>>,
    ) {
        let coordination = self.coordinations.running.get(&number);
        let coordination = coordination.expect("invariant: a coordination awaits its tasks");
        let transaction = coordination.transaction();
        let ready = {
            let mut exchange = transaction.exchange.borrow_mut();
            assert!(exchange.results[index].is_none(), "invariant: a task answers once");
            exchange.caused.add(caused);
            exchange.results[index] = Some(reply);
            exchange.awaited -= 1;
            exchange.awaited == 0
        };
        if ready {
            self.poll(number);
        } else {
            self.end_early(number, &transaction);
        }
    }
}
