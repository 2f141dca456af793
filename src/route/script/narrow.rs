//! Scripts whose declared keys lie on several shards: coordinated by their clients' cores, under
//! locks on those keys alone.
//!
//! A call for which they are enough runs where its keys are, as a part of the transaction. One that
//! needs more ends the script, which begins again under locks on everything; before, what it has
//! changed is put back. For that each declared key is kept as it was before the script first
//! writes, which costs a hop. As long as it runs nobody else can see those keys, though who follows
//! the journal has been told of the changes by then, and is told again.
//!
//! Where the keys are too large to be kept, a script that is known to keep to them writes without,
//! one of the process at a time, and gets locks on everything while it runs if it strays after all.

use kvasir_proto::Args;

use super::super::core::CoreState;
use super::super::engine::ShardId;
use super::super::message::ReplyTo;
use super::super::transaction::{Request, Transaction};
use super::coordinated::Drive;
use super::undo::Undo;
use crate::commands::context::Coordination;
use crate::commands::definition::Handler;
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::script::cache::Reach;
use crate::script::exchange::Ending;

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
        transaction.note_may_begin_again(true);
        Drive::new(transaction, request, number).finish(None).await
    })
}

impl Drive {
    /// Whether the script may change its declared keys: they are kept as they are now, or it is
    /// known to come to its end with them and may do what cannot be taken back.
    pub(super) async fn may_act(&mut self) -> bool {
        if self.kept.is_some() {
            return true;
        }
        let number = self.number;
        self.kept = keep(&self.transaction, &self.request, false).await;
        if self.kept.is_some() {
            return true;
        }
        let trust = move |state: &mut CoreState| state.trust(number);
        let (is_trusted, is_committed) = self.transaction.on(self.place, trust).await;
        self.kept = match (is_trusted, is_committed) {
            (_, true) => Some(Vec::new()),
            (true, false) => keep(&self.transaction, &self.request, true).await,
            (false, false) => None,
        };
        self.kept.is_some()
    }

    /// Ends the script, which begins again under locks on everything when these are released. What
    /// it has changed is put back.
    pub(super) async fn begin_again(self) -> Result<Vec<u8>, CommandError> {
        let tasks = self.kept.into_iter().flatten().map(|(shard, mut undo)| {
            (shard, move |state: &mut CoreState| state.take_back(&mut undo))
        });
        self.transaction.hop(tasks.collect::<Vec<_>>()).await;
        let number = self.number;
        self.transaction.on(self.place, move |state| state.abandon(number)).await;
        self.transaction.begin_again(self.request.view);
        Ok(Vec::new())
    }

    /// Gets locks on everything for a script that cannot begin again.
    pub(super) async fn go_astray(&self) {
        let number = self.number;
        let stray = move |state: &mut CoreState| {
            let mut run = state.scripts.take(number);
            state.note_astray(&mut run);
            state.scripts.held.insert(number, run);
        };
        self.transaction.on(self.place, stray).await;
        self.transaction.note_may_begin_again(false);
        self.transaction.widen().await;
    }
}

/// Keeps every declared key as it is now; nothing if one is too large for that.
async fn keep(
    transaction: &Transaction,
    request: &Request,
    generously: bool,
) -> Option<Vec<(ShardId, Undo)>> {
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
            undo.is_generous = generously;
            let kept = keys.iter().all(|key| state.keep_key(&mut undo, db, key));
            kept.then_some((shard, undo))
        };
        (shard, task)
    });
    transaction.hop(tasks.collect::<Vec<_>>()).await.into_iter().collect()
}

/// Whether a call uses nothing but keys that the script's request declares.
pub(super) fn is_covered(
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

    /// Whether a script is known to come to its end with its keys, and whether it may do what
    /// cannot be taken back.
    fn trust(&mut self, number: u64) -> (bool, bool) {
        let run = self.scripts.held_mut(number);
        let is_trusted = run.script.reach() == Reach::OneShard;
        run.irrevocable = is_trusted && self.shared.commitment.take();
        (is_trusted, run.irrevocable)
    }
}
