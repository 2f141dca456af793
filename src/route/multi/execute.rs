//! `EXEC` and `WATCH` over several shards, under locks.

use std::sync::Arc;

use super::part::{PartArgs, Ran};
use super::queue::Queue;
use super::watch::{Watch, Watching};
use crate::commands::context::Coordination;
use crate::commands::definition::Handler;
use crate::route::coordinate::add_lock;
use crate::route::core::{Core, CoreState};
use crate::route::engine::ShardId;
use crate::route::locks::{Mode, Scope};
use crate::route::message::{ClientView, Done, OwnedArgs, ReplyTo};
use crate::route::transaction::{Portion, Request, Transaction};

/// What is to be coordinated: the execution of a queue, or the beginning of a watch.
#[derive(Debug)]
pub(in crate::route) struct Plan {
    pub(super) queue: Queue,
    pub(super) watch: Option<Arc<Watch>>,
}

impl Plan {
    /// Whether one of its commands has to wait until the data set has been loaded.
    pub(in crate::route) fn needs_data(&self) -> bool {
        self.queue.needs_data()
    }

    /// Whether all that it does is one hop: there are only commands of single shards.
    pub(in crate::route) fn has_one_hop(&self) -> bool {
        self.watch.is_none() && self.queue.group(0).len() == self.queue.len()
    }
}

/// What a shard has done of a group.
struct Lot {
    replies: Vec<u8>,
    done: Vec<Done>,
}

impl Core {
    /// The locks of all commands of a queue. What cannot tell its keys is malformed, touches none
    /// and will say so.
    pub(super) fn scopes_of_queue(&self, queue: &Queue) -> Vec<(ShardId, Scope)> {
        let mut scopes: Vec<(ShardId, Scope)> = Vec::new();
        for queued in queue.commands() {
            let args = queue.args(queued);
            let _malformed = self.add_scopes(queued.entry, args, queued.db, &mut scopes);
        }
        scopes
    }

    /// The locks of an execution: those of the queue, and the watched keys.
    pub(super) fn scopes_of_execution(
        &self,
        queue: &Queue,
        watching: Option<&Watching>,
    ) -> Vec<(ShardId, Scope)> {
        let map = self.state.shared.map;
        let mut scopes = self.scopes_of_queue(queue);
        for (db, key) in watching.into_iter().flat_map(Watching::keys) {
            let key = map.key(key);
            let lock = (map.fingerprint(db, key.hash), Mode::Read);
            add_lock(&mut scopes, map.owner_of_slot(key.slot), lock);
        }
        scopes
    }
}

fn plan_of(request: &mut Request) -> Plan {
    *request.plan.take().expect("invariant: what is coordinated here has been planned")
}

/// Begins to watch keys on several shards at one moment.
pub(super) fn watch(transaction: Transaction, mut request: Request) -> Coordination {
    Box::pin(async move {
        let watch =
            plan_of(&mut request).watch.expect("invariant: who begins to watch has a watch");
        let db = request.view.db;
        let begin = |(shard, portion): (ShardId, Portion)| {
            let watch = Arc::clone(&watch);
            let task = move |state: &mut CoreState| {
                state.watch_keys(&watch, db, portion.keys());
            };
            (shard, task)
        };
        let tasks = request.by_shard(1..request.args().len(), 1).into_iter().map(begin);
        transaction.last_hop(tasks.collect::<Vec<_>>()).await;
        Ok(request.ok())
    })
}

/// Executes a queue.
pub(super) fn execute(transaction: Transaction, mut request: Request) -> Coordination {
    Box::pin(async move {
        let Plan { queue, watch } = plan_of(&mut request);
        let home = request.home;
        if let Some(watch) = watch {
            let now_ms = transaction.on(home, |state| state.unix_ms()).await;
            if watch.is_touched(now_ms) {
                return Ok(request.encode(|reply| {
                    reply.null_array();
                }));
            }
        }
        let queue = Arc::new(queue);
        let to = ReplyTo { connection: request.connection, client: request.client, sequence: 0 };
        let mut view = request.view;
        let mut reply = request.encode(|reply| reply.array(queue.len()));
        let mut at = 0;
        while at < queue.len() {
            let group = queue.group(at);
            if !group.is_empty() {
                at = group.end;
                run_group(&transaction, &queue, group, view, to, &mut reply).await;
                continue;
            }
            let queued = &queue.commands()[at];
            at += 1;
            if let Handler::Transaction(_) = queued.entry.command.handler {
                reply.extend_from_slice(&request.ok());
                continue;
            }
            let args = OwnedArgs::new(queue.args(queued));
            let of_part = ClientView { db: queued.db, ..view };
            let answer = transaction.run(request.call(queued.entry, of_part, args)).await;
            reply.extend_from_slice(&answer.reply);
            view = view.followed_by(answer.view);
        }
        Ok(reply)
    })
}

/// Runs commands of single shards that follow each other, and appends their replies in order. Those
/// of one shard keep their order, and commands of different shards know nothing of each other.
async fn run_group(
    transaction: &Transaction,
    queue: &Arc<Queue>,
    group: std::ops::Range<usize>,
    view: ClientView,
    to: ReplyTo,
    reply: &mut Vec<u8>,
) {
    let mut lots: Vec<(ShardId, Vec<usize>)> = Vec::new();
    for index in group.clone() {
        let shard = queue.commands()[index].shard();
        match lots.iter_mut().find(|(other, _)| *other == shard) {
            Some((_, indices)) => indices.push(index),
            None => lots.push((shard, vec![index])),
        }
    }
    let shards: Vec<ShardId> = lots.iter().map(|(shard, _)| *shard).collect();
    let tasks = lots.into_iter().map(|(shard, indices)| {
        let queue = Arc::clone(queue);
        let task = move |state: &mut CoreState| {
            let mut lot = Lot { replies: Vec::new(), done: Vec::with_capacity(indices.len()) };
            state.prefetch_queued(indices.iter().map(|&index| &queue.commands()[index]));
            state.metrics.start_lap();
            for index in indices {
                let queued = &queue.commands()[index];
                lot.done.push(state.run_queued(&queue, queued, view, &to, &mut lot.replies));
            }
            lot
        };
        (shard, task)
    });
    let tasks: Vec<_> = tasks.collect();
    let lots = if group.end == queue.len() {
        transaction.last_hop(tasks).await
    } else {
        transaction.hop(tasks).await
    };
    let mut rest: Vec<_> =
        shards.iter().zip(&lots).map(|(shard, lot)| (*shard, lot, lot.done.iter(), 0)).collect();
    for index in group {
        let queued = &queue.commands()[index];
        let shard = queued.shard();
        let of_shard = rest.iter_mut().find(|(other, ..)| *other == shard);
        let (_, lot, done, start) = of_shard.expect("invariant: each shard of a group was visited");
        let done = *done.next().expect("invariant: each command of a group has run");
        let of_command = &lot.replies[*start..done.reply_end];
        *start = done.reply_end;
        reply.extend_from_slice(of_command);
        let args = PartArgs::Queued(Arc::clone(queue), index);
        transaction.exchange.borrow_mut().ran.push(Ran::new(queued.entry, args, done, of_command));
    }
}
