//! The shard's side: who is tried when a key may have become ready.

use super::waiters::{Means, Pending, Stage, Ticket};
use super::{Message, Served};
use crate::commands::definition::Attempt;
use crate::route::core::Core;
use crate::route::engine::ShardId;
use crate::route::locks::{Fingerprint, Mode, Owner, Scope, TransactionId};
use crate::route::message::{Control, Done, OwnedArgs, ReplyTo};

impl Core {
    /// Tries those who wait for keys that may be ready, until there is none.
    ///
    /// What is done for them may make further keys ready, or come back here by way of a
    /// transaction: the outermost call goes on for all.
    pub(in crate::route) fn serve_waiters(&mut self) {
        if std::mem::replace(&mut self.serving, true) {
            return;
        }
        while let Some((db, key)) = self.state.waiters.take_noted() {
            self.serve_key(db, &key);
        }
        self.state.follow_readers();
        self.serving = false;
    }

    fn serve_key(&mut self, db: u32, name: &[u8]) {
        let key = self.state.shared.map.key(name);
        let value_type = self.state.shard.value_type(db, &key);
        self.state.follow_journal();
        for ticket in self.state.waiters.losers(db, name, value_type) {
            self.serve(ticket);
        }
        let mut after = None;
        while let Some(value_type) = self.state.shard.value_type(db, &key)
            && let Some(ticket) = self.state.waiters.next_after(db, name, value_type, after)
            && self.serve(ticket)
        {
            after = Some(ticket);
        }
    }

    /// Tries a waiter, or has it tried. Whether those behind it may be tried.
    fn serve(&mut self, ticket: Ticket) -> bool {
        let Some(waiter) = self.state.waiters.get(ticket) else { return true };
        let shares = waiter.pending.blocking.shares;
        match waiter.stage {
            Stage::Idle => {}
            Stage::Parked => return false,
            Stage::Summoned => return shares,
        }
        if waiter.pending.claim.is_ended() {
            self.state.waiters.remove(ticket);
            return true;
        }
        let pending = waiter.pending.clone();
        match &waiter.means {
            Means::Coordinated(locks) => {
                let locks = locks.clone();
                waiter.stage = Stage::Summoned;
                self.summon(pending.home, pending.to, locks);
                shares
            }
            Means::Here(args) => {
                let args = args.clone();
                if !self.locks.is_idle() {
                    let scope = self.scope_of(pending.entry, args.view(), pending.view.db);
                    if !self.locks.admits(&scope) {
                        self.set_stage(ticket, Stage::Parked);
                        self.park_waiter(ticket, scope);
                        return false;
                    }
                }
                self.try_waiter(ticket, &pending, args)
            }
        }
    }

    fn set_stage(&mut self, ticket: Ticket, stage: Stage) {
        if let Some(waiter) = self.state.waiters.get(ticket) {
            waiter.stage = stage;
        }
    }

    /// Tries a waiter whose keys all lie here. Whether those behind it may be tried.
    fn try_waiter(&mut self, ticket: Ticket, pending: &Pending, args: OwnedArgs) -> bool {
        if !pending.claim.take() {
            self.state.waiters.remove(ticket);
            return true;
        }
        let mut reply = Vec::new();
        self.state.metrics.start_lap();
        let Pending { entry, blocking, view, .. } = *pending;
        let (attempt, done) = self.attempt(entry, blocking, view, args.view(), &mut reply);
        self.state.follow_journal();
        if attempt == Attempt::Done {
            self.state.waiters.remove(ticket);
            self.send_served(pending, reply, done, args);
            return true;
        }
        if !pending.claim.put_back() {
            self.state.waiters.remove(ticket);
            self.send_unserved(pending);
            return true;
        }
        if let (Attempt::WaitAs(args), Some(waiter)) = (attempt, self.state.waiters.get(ticket)) {
            waiter.means = Means::Here(OwnedArgs::of_parts(args.iter().map(Vec::as_slice)));
        }
        blocking.shares
    }

    /// A waiter has been granted the locks that it had to wait for. What it leaves is for those
    /// behind it, whose turn comes when its claims are released.
    pub(in crate::route) fn try_granted(&mut self, ticket: Ticket) {
        let Some(waiter) = self.state.waiters.get(ticket) else { return };
        waiter.stage = Stage::Idle;
        let Means::Here(args) = &waiter.means else {
            unreachable!("only those whose keys all lie here wait for locks");
        };
        let (pending, args) = (waiter.pending.clone(), args.clone());
        self.state.waiters.note_keys_of(ticket);
        self.try_waiter(ticket, &pending, args);
    }

    /// Tries a command for the first time, unless it has to wait for a lock.
    pub(super) fn try_first(&mut self, pending: Pending, args: OwnedArgs) {
        if !self.locks.is_idle() {
            let scope = self.scope_of(pending.entry, args.view(), pending.view.db);
            if !self.locks.admits(&scope) {
                return self.park_attempt(pending, args, scope);
            }
        }
        self.try_admitted(pending, args);
        self.after_command();
    }

    /// Tries a command for the first time. In vain, it waits.
    pub(in crate::route) fn try_admitted(&mut self, pending: Pending, args: OwnedArgs) {
        if !pending.claim.take() {
            return;
        }
        let mut reply = Vec::new();
        self.state.metrics.start_lap();
        let Pending { entry, blocking, view, .. } = pending;
        let (attempt, done) = self.attempt(entry, blocking, view, args.view(), &mut reply);
        self.state.follow_journal();
        match attempt {
            Attempt::Done => self.send_served(&pending, reply, done, args),
            _ if !pending.claim.put_back() => self.send_unserved(&pending),
            Attempt::Wait => self.enlist(pending, args),
            Attempt::WaitAs(args) => {
                self.enlist(pending, OwnedArgs::of_parts(args.iter().map(Vec::as_slice)));
            }
        }
    }

    fn send_served(&mut self, pending: &Pending, reply: Vec<u8>, done: Done, args: OwnedArgs) {
        let Pending { entry, to, home, .. } = *pending;
        if home == self.state.id {
            return self.served(to, entry, &reply, done, args.view());
        }
        let served = Served { to, entry, reply, done, args };
        self.outboxes.control(home, Control::Blocking(Message::Served(Box::new(served))));
    }

    fn send_unserved(&mut self, pending: &Pending) {
        let Pending { to, home, .. } = *pending;
        if home == self.state.id {
            self.unserved(to);
        } else {
            self.outboxes.control(home, Control::Blocking(Message::Unserved(to)));
        }
    }

    /// Has a waiter tried by its core, with this shard's part locked from this moment on.
    fn summon(&mut self, home: ShardId, to: ReplyTo, locks: Vec<(Fingerprint, Mode)>) {
        let id = TransactionId::draw(&self.state.shared.next_transaction, home);
        let outcome = self.locks.request(Owner::Transaction(id), Scope::Keys(locks));
        if home == self.state.id {
            self.summoned(home, to, id, outcome);
        } else {
            let message = Message::Summon(to, id, outcome);
            self.outboxes.control(home, Control::Blocking(message));
        }
    }
}
