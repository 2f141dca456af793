//! Waiting for keys of several shards: the client's core tries the command as a transaction.

use std::sync::Arc;

use kvasir_proto::Encoder;

use super::waiters::{Means, Pending, Stage};
use super::{Message, awaited_keys};
use crate::commands::context::Coordination;
use crate::commands::definition::{Attempt, Blocking, Handler, SpreadAttempt, SpreadOutcome};
use crate::errors::CommandError;
use crate::route::core::{Core, CoreState};
use crate::route::engine::ShardId;
use crate::route::locks::{Fingerprint, Mode, Outcome, Owner, Scope, TransactionId};
use crate::route::message::{Control, OwnedArgs, ReplyTo};
use crate::route::transaction::{Request, Transaction, shard_context};

/// Where a command is to wait that is being tried.
pub(in crate::route) struct Registration {
    pending: Pending,
    places: Vec<Lot>,
}

/// One shard's part of it.
struct Lot {
    shard: ShardId,
    keys: Vec<Vec<u8>>,
    locks: Vec<(Fingerprint, Mode)>,
}

impl Core {
    /// Begins an attempt for a client that waits for keys of several shards; `summon` tells of the
    /// shard whose part is locked, or being locked, already.
    pub(super) fn coordinate_attempt(
        &mut self,
        to: ReplyTo,
        summon: Option<(ShardId, TransactionId, Outcome)>,
    ) {
        let wait = self.state.waits.of(to).expect("invariant: who is tried waits");
        wait.attempting = true;
        let (entry, args, claim) = (wait.entry, wait.args.clone(), Arc::clone(&wait.claim));
        let Handler::Blocking(blocking) = entry.command.handler else {
            unreachable!("only blocking commands wait");
        };
        let connection = self.state.connection(to.connection);
        let connection = connection.expect("invariant: a wait ends with its connection");
        let view = connection.client.view;
        let scopes = self.scopes_by_shard(entry, args.view(), view.db);
        let scopes = scopes.expect("invariant: the keys of a request that waits can be told");
        let map = self.state.shared.map;
        let lot = |(shard, scope): &(ShardId, Scope)| {
            let keys = awaited_keys(entry, args.view()).filter(|key| map.owner(key) == *shard);
            let keys: Vec<_> = keys.map(<[u8]>::to_vec).collect();
            let Scope::Keys(locks) = scope else {
                unreachable!("a command with keys locks keys");
            };
            (!keys.is_empty()).then(|| Lot { shard: *shard, keys, locks: locks.clone() })
        };
        let places = scopes.iter().filter_map(lot).collect();
        let home = self.state.id;
        let pending = Pending { entry, blocking, to, home, view, claim: Arc::clone(&claim) };
        let mut request =
            Request::of_owned(entry, to.connection, to.client, view, &self.state, args);
        request.registration = Some(Registration { pending, places });
        self.begin_attempt(to, scopes, claim, request, try_or_wait, summon);
    }

    /// A shard has seen a key become ready that this core's client waits for.
    pub(super) fn summoned(
        &mut self,
        shard: ShardId,
        to: ReplyTo,
        id: TransactionId,
        outcome: Outcome,
    ) {
        match self.state.waits.of(to) {
            Some(wait) if !wait.attempting && !wait.claim.is_ended() => {
                return self.coordinate_attempt(to, Some((shard, id, outcome)));
            }
            // The attempt that is under way may have looked at the key before it was ready.
            Some(wait) => wait.again = true,
            None => {}
        }
        if shard == self.state.id {
            self.release(Owner::Transaction(id));
        } else {
            self.outboxes.control(shard, Control::Release(id));
        }
    }

    /// An attempt was in vain, and the client is in all queues; no lock is held any more.
    pub(in crate::route) fn attempt_in_vain(&mut self, to: ReplyTo, args: Option<OwnedArgs>) {
        let wait = self.state.waits.of(to);
        let wait = wait.expect("invariant: a wait does not end during an attempt");
        wait.attempting = false;
        let again = std::mem::take(&mut wait.again);
        if let Some(args) = args {
            wait.args = args;
        }
        if !wait.claim.put_back() {
            self.state.waits.note_ended(to.client);
            return self.finish_ended();
        }
        self.note_waiting(to);
        let wait = self.state.waits.of(to);
        if again && wait.is_some_and(|wait| !wait.claim.is_ended()) {
            self.coordinate_attempt(to, None);
        }
    }

    /// An attempt has succeeded or failed for good, and its locks are about to be released: the
    /// shards forget the client before that, or others would wait behind it.
    pub(in crate::route) fn attempt_done(&mut self, to: ReplyTo, shards: &[ShardId]) {
        let Some(wait) = self.state.waits.of(to) else { return };
        if !wait.waiting {
            return;
        }
        for &shard in shards {
            if shard == self.state.id {
                self.state.waiters.forget(to.client);
            } else {
                let forget = Message::Forget { client: to.client };
                self.outboxes.control(shard, Control::Blocking(forget));
            }
        }
    }
}

impl CoreState {
    /// Puts a client into the queues of this shard, or back where it was.
    fn enlist_coordinated(&mut self, pending: Pending, lot: Lot) {
        if let Some(waiter) = self.waiters.of_client(pending.to.client) {
            waiter.stage = Stage::Idle;
            return;
        }
        self.waiters.insert(pending, Means::Coordinated(lot.locks), lot.keys);
        self.follow_readers();
    }
}

/// Tries a command that does not want to wait.
pub(in crate::route) fn try_once(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let blocking = blocking_of(&request);
        let resp = request.view.resp;
        Ok(match try_everywhere(transaction, request).await? {
            SpreadOutcome::Done(reply) => reply,
            SpreadOutcome::Wait | SpreadOutcome::WaitAs(_) => {
                let mut reply = Vec::new();
                (blocking.not_waiting)(&mut Encoder::new(&mut reply, resp));
                reply
            }
        })
    })
}

/// Tries a command; in vain, it waits wherever its keys lie from the moment on at which the locks
/// are released.
fn try_or_wait(transaction: Transaction, mut request: Request) -> Coordination {
    Box::pin(async move {
        let registration = request.registration.take();
        let Registration { pending, places } =
            registration.expect("invariant: who is tried tells where it would wait");
        let args = match try_everywhere(transaction.clone(), request).await? {
            SpreadOutcome::Done(reply) => return Ok(reply),
            SpreadOutcome::Wait => None,
            SpreadOutcome::WaitAs(args) => {
                Some(OwnedArgs::of_parts(args.iter().map(Vec::as_slice)))
            }
        };
        transaction.wait_with(args);
        let tasks = places.into_iter().map(|lot| {
            let pending = pending.clone();
            (lot.shard, move |state: &mut CoreState| state.enlist_coordinated(pending, lot))
        });
        transaction.last_hop(tasks.collect::<Vec<_>>()).await;
        Ok(Vec::new())
    })
}

/// The keys of one shard, with their position among all.
type Keys = (ShardId, Vec<(usize, Vec<u8>)>);

async fn try_everywhere(
    transaction: Transaction,
    request: Request,
) -> Result<SpreadOutcome, CommandError> {
    let blocking = blocking_of(&request);
    match blocking.spread {
        SpreadAttempt::FirstKey => try_first_key(&transaction, &request, blocking).await,
        SpreadAttempt::By(attempt) => attempt(transaction, request).await,
    }
}

/// Runs the command where the first of its keys lies that exists. On that shard the keys of other
/// shards are missing, as those before it are, so that the command finds the same one.
async fn try_first_key(
    transaction: &Transaction,
    request: &Request,
    blocking: &'static Blocking,
) -> Result<SpreadOutcome, CommandError> {
    let view = request.view;
    let mut lots: Vec<Keys> = Vec::new();
    for (position, key) in awaited_keys(request.entry, request.args()).enumerate() {
        let owner = request.owner(key);
        match lots.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, keys)) => keys.push((position, key.to_vec())),
            None => lots.push((owner, vec![(position, key.to_vec())])),
        }
    }
    let shards: Vec<ShardId> = lots.iter().map(|(shard, _)| *shard).collect();
    let lookups = lots.into_iter().map(|(shard, keys)| {
        let first = move |state: &mut CoreState| {
            let map = state.shared.map;
            let mut exists = |key: &[u8]| state.shard.value_type(view.db, &map.key(key)).is_some();
            keys.into_iter().find(|(_, key)| exists(key)).map(|(position, _)| position)
        };
        (shard, first)
    });
    let firsts = transaction.hop(lookups).await;
    let found = firsts.into_iter().zip(shards).filter_map(|(first, shard)| Some((first?, shard)));
    let Some((_, shard)) = found.min() else { return Ok(SpreadOutcome::Wait) };
    let args = request.owned_args();
    let run = move |state: &mut CoreState| {
        let mut reply = Vec::new();
        let mut context = shard_context(state, view);
        let encoder = &mut Encoder::new(&mut reply, view.resp);
        let attempt = (blocking.whole)(&mut context, args.view(), encoder)?;
        Ok::<_, CommandError>((attempt, reply))
    };
    Ok(match transaction.on(shard, run).await? {
        (Attempt::Done, reply) => SpreadOutcome::Done(reply),
        (Attempt::Wait, _) => SpreadOutcome::Wait,
        (Attempt::WaitAs(args), _) => SpreadOutcome::WaitAs(args),
    })
}

fn blocking_of(request: &Request) -> &'static Blocking {
    let Handler::Blocking(blocking) = request.entry.command.handler else {
        unreachable!("only blocking commands are tried");
    };
    blocking
}
