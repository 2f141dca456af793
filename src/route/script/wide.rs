//! Scripts that have all shards: coordinated by their clients' cores, under locks on everything.

use std::sync::atomic::Ordering;

use super::super::core::CoreState;
use super::super::message::{ClientView, OwnedArgs};
use super::super::transaction::{Request, Transaction};
use super::answer::Verdict;
use super::{TURN_NS, learn};
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
        let begin = move |state: &mut CoreState| state.begin_widely(entry, kind, args, view);
        let number = transaction.on(home, begin).await?;
        let mut reply: Option<Vec<u8>> = None;
        loop {
            let given = reply.take();
            let advance = move |state: &mut CoreState| state.advance(number, given);
            match transaction.on(home, advance).await {
                Advance::Done(finished) => return result(finished),
                Advance::Over => transaction.rest().await,
                Advance::Call(entry, view, args) => {
                    let answer = transaction.run(request.call(entry, view, args)).await;
                    reply = Some(answer.reply);
                }
            }
        }
    })
}

fn result(finished: Finished) -> Result<Vec<u8>, CommandError> {
    if !finished.failed {
        return Ok(finished.reply);
    }
    let text = finished.reply.strip_prefix(b"-").and_then(|text| text.strip_suffix(b"\r\n"));
    let argument = text.unwrap_or(&finished.reply).to_vec();
    Err(CommandError::Quoting { before: "", argument, after: "" })
}

impl CoreState {
    fn begin_widely(
        &mut self,
        entry: &'static Entry,
        kind: ScriptKind,
        args: OwnedArgs,
        view: ClientView,
    ) -> Result<u64, CommandError> {
        let mut run = self.begin_script(entry, kind, args.view(), view)?;
        run.command = Some(args);
        Ok(self.scripts.hold(run))
    }

    /// Lets a script that has everything go on, with the reply to its last call if that ran
    /// elsewhere.
    fn advance(&mut self, number: u64, reply: Option<Vec<u8>>) -> Advance {
        let mut run = self.scripts.take(number);
        if let Some(reply) = reply {
            run.running.call().reply = reply;
        }
        if self.note_duration(&mut run) {
            let is_function = usize::from(run.script.is_function());
            self.shared.busy_scripts.fetch_add(1, Ordering::Relaxed);
            self.shared.busy_functions.fetch_add(is_function, Ordering::Relaxed);
        }
        let began = self.metrics.ticks();
        let advance = loop {
            let step = match run.ending.take() {
                Some(ending) => Step::Done(run.running.end(ending)),
                None => run.running.go_on(),
            };
            match step {
                Step::Slice if self.shared.stopwatch.elapsed_ns(began) < TURN_NS => {}
                Step::Slice => break Advance::Over,
                Step::Done(finished) => {
                    if run.busy {
                        let is_function = usize::from(run.script.is_function());
                        self.shared.busy_scripts.fetch_sub(1, Ordering::Relaxed);
                        self.shared.busy_functions.fetch_sub(is_function, Ordering::Relaxed);
                    }
                    learn(&run);
                    self.end_script(run);
                    return Advance::Done(finished);
                }
                Step::Call => {
                    if let Verdict::Beyond(entry, args) =
                        self.answer(&mut run, true, |_, _, _| true)
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
