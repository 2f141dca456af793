//! Scripts whose declared keys lie on several shards: coordinated by their clients' cores, under
//! locks on those keys alone.
//!
//! A call for which they are enough runs where its keys are, as a part of the transaction. One that
//! needs more ends the script, which begins again under locks on everything; before, what it has
//! changed is put back. For that each declared key is kept as it was before the script first
//! writes, which costs a hop. As long as it runs nobody else can see those keys, though who follows
//! the journal has been told of the changes by then, and is told again.

use kvasir_proto::Args;

use super::super::core::CoreState;
use super::super::engine::ShardId;
use super::super::message::{ClientView, OwnedArgs, ReplyTo};
use super::super::transaction::{Request, Transaction};
use super::answer::{Hold, Verdict};
use super::undo::Undo;
use super::wide::end_with;
use super::{Run, TOO_LATE, TURN_NS, error_reply};
use crate::commands::context::Coordination;
use crate::commands::definition::{Flags, Handler};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::script::cache::Reach;
use crate::script::exchange::Ending;
use crate::script::interpreter::{Finished, Step};

/// What a script on its client's core came to.
enum Advance {
    Done(Finished),
    /// Others are to have their turn.
    Over,
    /// It wants this run, for which its keys are enough.
    Call(&'static Entry, ClientView, OwnedArgs),
    /// It wants more.
    Beyond,
}

/// Runs a script under locks on its declared keys.
pub(in crate::route) fn narrowly(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let Handler::Script(kind) = request.entry.command.handler else {
            unreachable!("only scripts are run so");
        };
        let (entry, view, home) = (request.entry, request.view, request.home);
        let args = request.owned_args();
        let to = ReplyTo { connection: request.connection, client: request.client, sequence: 0 };
        let begin = move |state: &mut CoreState| {
            let mut run = state.begin_script(entry, kind, args.view(), view, (home, to))?;
            run.command = Some(args);
            Ok::<_, CommandError>(state.scripts.hold(run))
        };
        let number = transaction.on(home, begin).await?;
        let mut kept: Option<Vec<(ShardId, Undo)>> = None;
        let mut reply: Option<Vec<u8>> = None;
        loop {
            let (given, declared) = (reply.take(), request.owned_args());
            let advance = move |state: &mut CoreState| {
                state.advance_narrowly(number, given, entry, declared.view(), view.db)
            };
            match transaction.on(home, advance).await {
                Advance::Done(finished) => return Ok(end_with(&transaction, finished)),
                Advance::Over => transaction.rest().await,
                Advance::Call(called, call_view, args) => {
                    if acts(called) && kept.is_none() {
                        let undo = keep(&transaction, &request).await;
                        if undo.is_none() && !on_trust(&transaction, home, number).await {
                            return begin_again(&transaction, home, number, view).await;
                        }
                        kept = Some(undo.unwrap_or_default());
                    }
                    let mut call = request.call(called, call_view, args);
                    call.called = true;
                    reply = Some(transaction.run(call).await.reply);
                }
                Advance::Beyond => {
                    take_back(&transaction, kept.take().unwrap_or_default()).await;
                    return begin_again(&transaction, home, number, view).await;
                }
            }
        }
    })
}

fn acts(entry: &Entry) -> bool {
    entry.command.flags.has(Flags::WRITE) || entry.command.flags.has(Flags::MAY_REPLICATE)
}

/// Keeps every declared key as it is now; nothing if one is too large for that.
async fn keep(transaction: &Transaction, request: &Request) -> Option<Vec<(ShardId, Undo)>> {
    let (args, db) = (request.args(), request.view.db);
    let mut shards: Vec<(ShardId, Vec<Box<[u8]>>)> = Vec::new();
    let found = request.entry.keys(args, |index, _| {
        let owner = request.owner(args.at(index));
        match shards.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, keys)) => keys.push(args.at(index).into()),
            None => shards.push((owner, vec![args.at(index).into()])),
        }
    });
    found.expect("invariant: a script that has begun is well-formed");
    let tasks = shards.into_iter().map(|(shard, keys)| {
        let task = move |state: &mut CoreState| {
            let mut undo = Undo::default();
            let kept = keys.iter().all(|key| state.keep_key(&mut undo, db, key));
            kept.then_some((shard, undo))
        };
        (shard, task)
    });
    transaction.hop(tasks.collect::<Vec<_>>()).await.into_iter().collect()
}

/// Puts back what the script has changed.
async fn take_back(transaction: &Transaction, kept: Vec<(ShardId, Undo)>) {
    let tasks = kept
        .into_iter()
        .map(|(shard, mut undo)| (shard, move |state: &mut CoreState| state.take_back(&mut undo)));
    transaction.hop(tasks.collect::<Vec<_>>()).await;
}

/// Whether the script may change what cannot be put back: as far as is known of it, it will come to
/// its end with its keys.
async fn on_trust(transaction: &Transaction, home: ShardId, number: u64) -> bool {
    let trust = move |state: &mut CoreState| {
        let run = state.scripts.held_mut(number);
        run.irrevocable = run.script.reach() == Reach::OneShard;
        run.irrevocable
    };
    transaction.on(home, trust).await
}

/// Ends the script, which begins again under locks on everything when these are released.
async fn begin_again(
    transaction: &Transaction,
    home: ShardId,
    number: u64,
    view: ClientView,
) -> Result<Vec<u8>, CommandError> {
    transaction.on(home, move |state| state.abandon(number)).await;
    transaction.begin_again(view);
    Ok(Vec::new())
}

/// Whether a call uses nothing but keys that the script's request declares.
fn is_covered(
    (script, declared, db): (&'static Entry, Args<'_>, u32),
    entry: &'static Entry,
    args: Args<'_>,
    call_db: u32,
) -> bool {
    let on_keys = matches!(
        entry.command.handler,
        Handler::Shard(_) | Handler::Multi { .. } | Handler::Blocking(_)
    );
    if !on_keys
        || call_db != db
        || entry.command.other_db.is_some()
        || entry.command.beyond(args).is_some()
    {
        return false;
    }
    let is_declared = |key: &[u8]| {
        let mut is_there = false;
        let found = script.keys(declared, |index, _| is_there |= declared.at(index) == key);
        found.is_ok() && is_there
    };
    let mut covered = true;
    let found = entry.keys(args, |index, _| covered = covered && is_declared(args.at(index)));
    found.is_err() || covered
}

impl CoreState {
    /// Ends a script that begins again.
    fn abandon(&mut self, number: u64) {
        let mut run = self.scripts.take(number);
        self.forget_duration(&run);
        run.script.note_reach(Reach::Everything);
        run.running.end(Ending::Abandoned);
        self.forget_run(run);
    }

    /// Lets a script that has its keys go on, with the reply to its last call if that ran
    /// elsewhere.
    fn advance_narrowly(
        &mut self,
        number: u64,
        reply: Option<Vec<u8>>,
        entry: &'static Entry,
        declared: Args<'_>,
        db: u32,
    ) -> Advance {
        let mut run = self.resume(number, reply);
        let began = self.metrics.ticks();
        let advance = loop {
            match run.step() {
                Step::Slice if self.shared.stopwatch.elapsed_ns(began) < TURN_NS => {}
                Step::Slice => break Advance::Over,
                Step::Done(finished) => {
                    self.end_narrowly(run);
                    return Advance::Done(finished);
                }
                Step::Call => {
                    let verdict = self.answer(&mut run, Hold::Keys, |_, _, _| false);
                    let Verdict::Beyond(called, args) = verdict else {
                        continue;
                    };
                    let call_db = run.view.db;
                    if is_covered((entry, declared, db), called, args.view(), call_db) {
                        run.wrote |= called.command.flags.has(Flags::WRITE);
                        break Advance::Call(called, run.view, args);
                    }
                    if !run.irrevocable {
                        break Advance::Beyond;
                    }
                    error_reply(TOO_LATE, &mut run.running.call().reply);
                }
            }
        };
        self.scripts.held.insert(number, run);
        advance
    }

    fn end_narrowly(&mut self, run: Run) {
        self.forget_duration(&run);
        if run.wrote {
            run.script.note_reach(Reach::OneShard);
        }
        self.count_calls(run.client.1, run.calls);
        self.end_script(run);
    }
}
