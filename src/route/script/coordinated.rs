//! Scripts that their clients' cores coordinate, under locks: how they go on, call by call.

use super::super::core::CoreState;
use super::super::engine::ShardId;
use super::super::message::{ClientView, OwnedArgs};
use super::super::transaction::{Request, Transaction};
use super::answer::{Hold, Verdict};
use super::narrow::is_covered;
use super::undo::Undo;
use super::{Run, TURN_NS, blame_of, learn};
use crate::commands::definition::Flags;
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::persist::log::Records;
use crate::script::cache::Reach;
use crate::script::interpreter::{Finished, Step};

/// A call that a script wants run.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) entry: &'static Entry,
    pub(super) view: ClientView,
    pub(super) args: OwnedArgs,
}

impl Wanted {
    /// Whether it may change something.
    pub(super) fn acts(&self) -> bool {
        let flags = self.entry.command.flags;
        flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)
    }
}

/// Where a script has come to that cannot begin again and wants more than it has.
#[derive(Debug)]
pub struct Astray {
    /// The core that it runs on.
    pub(super) place: ShardId,
    /// Its number there.
    pub(super) number: u64,
    pub(super) wanted: Wanted,
    /// What it has changed so far, for the log.
    pub(super) caused: Records,
}

/// What a script on its core came to.
enum Advance {
    /// Its end, after so many calls.
    Done(Finished, u32),
    /// Others are to have their turn.
    Over,
    /// It wants this, for which it has the locks.
    Call(Wanted),
    /// It wants this, and has the locks by the keys that it declares.
    Declared(Wanted),
    /// It wants this, for which its declared keys are not enough. Whether it can begin again.
    Beyond(Wanted, bool),
}

/// A coordinated script.
pub(super) struct Drive {
    pub(super) transaction: Transaction,
    pub(super) request: Request,
    /// The core that it runs on.
    pub(super) place: ShardId,
    /// Its number there.
    pub(super) number: u64,
    /// The keys that it declares, as they were before it first wrote; nothing until then. Of one
    /// that has every shard nothing is kept.
    pub(super) kept: Option<Vec<(ShardId, Undo)>>,
}

impl Drive {
    /// One that has just begun on its client's core.
    pub(super) fn new(transaction: Transaction, request: Request, number: u64) -> Self {
        let place = request.home;
        Self { transaction, request, place, number, kept: None }
    }

    /// Lets the script go on to its end, with this call first if there is one.
    pub(super) async fn finish(
        mut self,
        mut wanted: Option<Wanted>,
    ) -> Result<Vec<u8>, CommandError> {
        let mut reply: Option<Vec<u8>> = None;
        loop {
            let call = match wanted.take() {
                Some(call) => call,
                None => match self.advance(reply.take()).await {
                    Advance::Done(finished, calls) => return Ok(self.end_with(finished, calls)),
                    Advance::Over => {
                        self.transaction.rest().await;
                        continue;
                    }
                    Advance::Call(call) => call,
                    Advance::Declared(call) => {
                        if call.acts() && !self.may_act().await {
                            return self.begin_again().await;
                        }
                        call
                    }
                    Advance::Beyond(_, true) => return self.begin_again().await,
                    Advance::Beyond(call, false) => {
                        self.go_astray().await;
                        call
                    }
                },
            };
            let mut part = self.request.call(call.entry, call.view, call.args);
            part.called = true;
            reply = Some(self.transaction.run(part).await.reply);
        }
    }

    async fn advance(&self, reply: Option<Vec<u8>>) -> Advance {
        let number = self.number;
        let advance = move |state: &mut CoreState| state.advance(number, reply);
        self.transaction.on(self.place, advance).await
    }

    /// The reply of a script that has ended.
    fn end_with(&self, finished: Finished, calls: u32) -> Vec<u8> {
        self.transaction.note_may_begin_again(false);
        let is_error = finished.failed || finished.is_error();
        self.transaction.account(calls, is_error.then(|| blame_of(&finished)));
        finished.reply
    }
}

impl Run {
    /// Whether a call uses nothing but keys that the script's request declares.
    fn declares(&self, wanted: &Wanted) -> bool {
        let request =
            self.command.as_ref().expect("invariant: a coordinated script has its request");
        let declared = (self.entry, request.view(), self.declared_db);
        is_covered(declared, wanted.entry, wanted.args.view(), wanted.view.db)
    }
}

impl CoreState {
    /// Takes up a coordinated script, with the reply to its last call if that ran elsewhere.
    fn resume(&mut self, number: u64, reply: Option<Vec<u8>>) -> Run {
        let mut run = self.scripts.take(number);
        if let Some(reply) = reply {
            run.running.call().reply = reply;
        }
        if self.note_duration(&mut run) {
            self.count_if_busy(&run);
        }
        run
    }

    /// Lets a coordinated script go on, with the reply to its last call if that ran elsewhere.
    fn advance(&mut self, number: u64, reply: Option<Vec<u8>>) -> Advance {
        let mut run = self.resume(number, reply);
        let began = self.metrics.ticks();
        let hold = if run.everywhere { Hold::All } else { Hold::Keys };
        let advance = loop {
            match run.step() {
                Step::Slice if self.shared.stopwatch.elapsed_ns(began) < TURN_NS => {}
                Step::Slice => break Advance::Over,
                Step::Done(finished) => return Advance::Done(finished, self.end_coordinated(run)),
                Step::Call => {
                    let Verdict::Beyond(entry, args) = self.answer(&mut run, hold, |_, _, _| true)
                    else {
                        continue;
                    };
                    let wanted = Wanted { entry, view: run.view, args };
                    if hold == Hold::All {
                        break Advance::Call(wanted);
                    }
                    if !run.declares(&wanted) {
                        break Advance::Beyond(wanted, !run.irrevocable);
                    }
                    run.wrote |= entry.command.flags.has(Flags::WRITE);
                    break Advance::Declared(wanted);
                }
            }
        };
        self.scripts.held.insert(number, run);
        advance
    }

    /// Takes leave of a coordinated script that has ended; how many calls it has made here.
    fn end_coordinated(&mut self, run: Run) -> u32 {
        self.forget_duration(&run);
        if run.everywhere {
            learn(&run);
        } else if run.wrote {
            run.script.note_reach(Reach::OneShard);
        }
        let calls = run.calls;
        self.end_script(run);
        calls
    }
}
