//! What others are told while a script runs for longer than `busy-reply-threshold`.
//!
//! Whoever would have to wait for it gets `BUSY` instead: at once when the request comes, and what
//! waits already when the threshold passes. Commands that need nothing of what the script holds are
//! served, and so are those that are about scripts. A blocking command and one who waits for a key
//! go on waiting: that is what they are for.

use std::sync::atomic::Ordering;

use super::super::core::{Core, CoreState};
use super::super::locks::{Outcome, Owner, Scope, TransactionId};
use super::super::message::Done;
use super::super::remote::Parked;
use super::{Run, busy_error};
use crate::commands::definition::Flags;
use crate::commands::table::Entry;
use crate::errors::CommandError;

impl CoreState {
    /// Counts a script that several shards wait for, if it has been running for too long.
    pub(super) fn count_if_busy(&self, run: &Run) {
        if run.busy {
            let is_function = usize::from(run.script.is_function());
            self.shared.busy_scripts.fetch_add(1, Ordering::Relaxed);
            self.shared.busy_functions.fetch_add(is_function, Ordering::Relaxed);
        }
    }

    /// Such a script ends.
    pub(super) fn forget_duration(&self, run: &Run) {
        if run.busy {
            let is_function = usize::from(run.script.is_function());
            self.shared.busy_scripts.fetch_sub(1, Ordering::Relaxed);
            self.shared.busy_functions.fetch_sub(is_function, Ordering::Relaxed);
        }
    }
}

impl Core {
    /// Whether everything here is held by a script that has run for too long.
    pub(in crate::route) fn is_busy(&self) -> bool {
        self.state.shared.busy_scripts.load(Ordering::Relaxed) > 0 || self.state.scripts.is_busy()
    }

    /// What a command is told that would have to wait for a script that has run for too long.
    pub(in crate::route) fn busy(&self, entry: &Entry) -> Option<CommandError> {
        if self.is_busy() { self.busy_error(entry) } else { None }
    }

    /// What a command is told that waits for a script that has run for too long somewhere, unless
    /// it is one that may.
    pub(in crate::route) fn busy_error(&self, entry: &Entry) -> Option<CommandError> {
        if entry.command.flags.has(Flags::ALLOW_BUSY) {
            return None;
        }
        let is_function = self.state.scripts.has_busy_function()
            || self.state.shared.busy_functions.load(Ordering::Relaxed) > 0;
        let compatible = self.state.shared.config.load().process.redis_compatibility;
        Some(busy_error(is_function, compatible))
    }

    /// Claims locks for a transaction, which is told when it waits for such a script.
    pub(in crate::route) fn claim(&mut self, id: TransactionId, scope: Scope) -> Outcome {
        match self.locks.request(Owner::Transaction(id), scope) {
            Outcome::Queued if self.is_busy() => Outcome::Busy,
            outcome => outcome,
        }
    }

    /// Turns away who waits for a script that has just become busy: those behind its claim, or all
    /// who wait if it holds everything.
    pub(in crate::route) fn turn_away(&mut self, script: Option<Owner>) {
        for owner in self.locks.waiting_behind(script) {
            match owner {
                Owner::Transaction(id) => self.tell_locked(id, Outcome::Busy),
                Owner::Parked(number) => self.turn_away_parked(number),
                Owner::Script(_) => {}
            }
        }
    }

    fn turn_away_parked(&mut self, number: u64) {
        match self.parked.take(number) {
            Parked::Request { origin, entry, reply_to, view, args } => {
                let Some(busy) = self.busy(entry) else {
                    let request = Parked::Request { origin, entry, reply_to, view, args };
                    return self.parked.put_back(number, request);
                };
                let mut reply = Vec::new();
                let done = Done::refused(&mut reply, &busy);
                self.reply_late(origin, reply_to, entry, reply, done, args);
            }
            Parked::Errand(errand) => match self.busy(errand.entry()) {
                Some(busy) => self.refuse_errand(errand, busy),
                None => return self.parked.put_back(number, Parked::Errand(errand)),
            },
            other => return self.parked.put_back(number, other),
        }
        self.release(Owner::Parked(number));
    }
}
