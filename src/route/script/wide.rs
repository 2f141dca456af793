//! Scripts that have all shards: coordinated by their clients' cores, under locks on everything.

use std::sync::atomic::Ordering;

use super::super::core::CoreState;
use super::super::message::{ClientView, OwnedArgs, ReplyTo};
use super::super::transaction::{Request, Transaction};
use super::Run;
use super::coordinated::{Astray, Drive};
use crate::commands::context::Coordination;
use crate::commands::definition::{Handler, ScriptKind};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::route::engine::ShardId;
use crate::script::cache::Reach;

/// Runs a script under locks on everything.
pub(in crate::route) fn widely(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let Handler::Script(kind) = request.entry.command.handler else {
            unreachable!("only scripts are run so");
        };
        let (entry, view, home) = (request.entry, request.view, request.home);
        let args = request.owned_args();
        let to = ReplyTo { connection: request.connection, client: request.client, sequence: 0 };
        let begin = move |state: &mut CoreState| {
            state.begin_everywhere(entry, kind, args, view, (home, to))
        };
        let number = transaction.on(home, begin).await?;
        Drive::new(transaction, request, number).finish(None).await
    })
}

/// Goes on with a script that has everything now, from the call on that has made that necessary.
pub(super) fn go_on_everywhere(transaction: Transaction, mut request: Request) -> Coordination {
    Box::pin(async move {
        let astray = request.astray.take().expect("invariant: the script is known");
        let Astray { place, number, wanted, mut caused } = *astray;
        transaction.exchange.borrow_mut().caused.records.append(&mut caused);
        let drive = Drive { place, ..Drive::new(transaction, request, number) };
        drive.finish(Some(wanted)).await
    })
}

impl CoreState {
    fn begin_everywhere(
        &mut self,
        entry: &'static Entry,
        kind: ScriptKind,
        args: OwnedArgs,
        view: ClientView,
        client: (ShardId, ReplyTo),
    ) -> Result<u64, CommandError> {
        let mut run = self.begin_script(entry, kind, args.view(), view, client)?;
        run.command = Some(args);
        self.note_everywhere(&mut run);
        Ok(self.scripts.hold(run))
    }

    /// A script has every shard until it ends.
    fn note_everywhere(&self, run: &mut Run) {
        run.everywhere = true;
        self.shared.wide_scripts.fetch_add(1, Ordering::Relaxed);
    }

    /// A script that cannot begin again is to have every shard. What it has left so far goes out
    /// before what it leaves from now on.
    pub(super) fn note_astray(&mut self, run: &mut Run) {
        self.release_traces(run);
        self.count_calls_of(run);
        self.published.extend(run.published.drain(..));
        self.shared.commitment.stray();
        run.script.note_reach(Reach::Everything);
        self.note_everywhere(run);
    }
}
