//! Scripts that have all shards: coordinated by their clients' cores, under locks on everything.

use std::sync::atomic::Ordering;

use super::super::core::CoreState;
use super::super::engine::ShardId;
use super::super::message::{ClientView, OwnedArgs, ReplyTo};
use super::super::transaction::{Request, Transaction};
use super::answer::{Hold, Verdict};
use super::{Run, TURN_NS, blame_of, learn};
use crate::commands::context::Coordination;
use crate::commands::definition::{Handler, ScriptKind};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::script::interpreter::{Finished, Step};

/// What a script on its client's core came to.
enum Advance {
    Done(Finished),
    /// Others are to have their turn.
    Over,
    /// It wants this run, which concerns other shards.
    Call(&'static Entry, ClientView, OwnedArgs),
}

/// Runs a script under locks on everything.
pub(in crate::route) fn widely(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let Handler::Script(kind) = request.entry.command.handler else {
            unreachable!("only scripts are run so");
        };
        let (entry, view, home) = (request.entry, request.view, request.home);
        let args = request.owned_args();
        let to = ReplyTo { connection: request.connection, client: request.client, sequence: 0 };
        let begin =
            move |state: &mut CoreState| state.begin_widely(entry, kind, args, view, (home, to));
        let number = transaction.on(home, begin).await?;
        let mut reply: Option<Vec<u8>> = None;
        loop {
            let given = reply.take();
            let advance = move |state: &mut CoreState| state.advance(number, given);
            match transaction.on(home, advance).await {
                Advance::Done(finished) => return Ok(end_with(&transaction, finished)),
                Advance::Over => transaction.rest().await,
                Advance::Call(entry, view, args) => {
                    let mut call = request.call(entry, view, args);
                    call.called = true;
                    let answer = transaction.run(call).await;
                    reply = Some(answer.reply);
                }
            }
        }
    })
}

/// The reply of a coordinated script that has ended.
pub(super) fn end_with(transaction: &Transaction, finished: Finished) -> Vec<u8> {
    if finished.failed || finished.is_error() {
        transaction.blame(blame_of(&finished));
    }
    finished.reply
}

impl CoreState {
    fn begin_widely(
        &mut self,
        entry: &'static Entry,
        kind: ScriptKind,
        args: OwnedArgs,
        view: ClientView,
        client: (ShardId, ReplyTo),
    ) -> Result<u64, CommandError> {
        let mut run = self.begin_script(entry, kind, args.view(), view, client)?;
        run.command = Some(args);
        self.shared.wide_scripts.fetch_add(1, Ordering::Relaxed);
        Ok(self.scripts.hold(run))
    }

    /// Takes up a coordinated script, with the reply to its last call if that ran elsewhere.
    pub(super) fn resume(&mut self, number: u64, reply: Option<Vec<u8>>) -> Run {
        let mut run = self.scripts.take(number);
        if let Some(reply) = reply {
            run.running.call().reply = reply;
        }
        self.note_duration_everywhere(&mut run);
        run
    }

    /// Lets a script that has everything go on, with the reply to its last call if that ran
    /// elsewhere.
    fn advance(&mut self, number: u64, reply: Option<Vec<u8>>) -> Advance {
        let mut run = self.resume(number, reply);
        let began = self.metrics.ticks();
        let advance = loop {
            match run.step() {
                Step::Slice if self.shared.stopwatch.elapsed_ns(began) < TURN_NS => {}
                Step::Slice => break Advance::Over,
                Step::Done(finished) => {
                    self.forget_duration(&run);
                    self.shared.wide_scripts.fetch_sub(1, Ordering::Relaxed);
                    learn(&run);
                    self.count_calls(run.client.1, run.calls);
                    self.end_script(run);
                    return Advance::Done(finished);
                }
                Step::Call => {
                    if let Verdict::Beyond(entry, args) =
                        self.answer(&mut run, Hold::All, |_, _, _| true)
                    {
                        break Advance::Call(entry, run.view, args);
                    }
                }
            }
        };
        self.scripts.held.insert(number, run);
        advance
    }
}
