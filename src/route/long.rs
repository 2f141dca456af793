//! Commands that take more than a turn of the core: they go on in parts.
//!
//! A handler that finds too much to do for one turn ([`STEPS_MAX`]) may leave it to a
//! [`LongWork`], if it runs where that is possible ([`ShardContext::run_long`]). The command keeps
//! its keys locked, as a transaction would, until the last part is done: nobody sees it half done,
//! those who want its keys wait in line, and everybody else is served between two parts. What its
//! keys lose meanwhile by themselves, because it falls due, is gone in the next part.
//!
//! It waits for nobody: its claims were free when it began. So no deadlock can come of it.

use kvasir_proto::{Args, Deferred, Encoder};

use super::core::{Core, CoreState};
use super::engine::ShardId;
use super::locks::{Outcome, Owner};
use super::message::{ClientView, Control, Done, OwnedArgs, ReplyTo};
use super::remote::Parked;
use super::transaction::shard_context;
use crate::commands::context::ShardContext;
use crate::commands::table::Entry;
use crate::persist::log::Records;

/// Elements that a handler looks at or removes in one turn at most, where the rest can follow in
/// later ones: some hundred microseconds' worth.
pub const STEPS_MAX: usize = 2048;

/// What is left of a command.
pub trait LongWork {
    /// Does a part of it, about [`STEPS_MAX`] elements' worth, and goes on writing the reply;
    /// whether there is more to do. Errors are out of the question: the command has begun.
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool;
}

/// Elements on their way out of a collection and into a reply, in parts.
pub struct Popping {
    left: usize,
    popped: usize,
    /// The elements, in the reply.
    elements: Option<Deferred>,
}

impl Popping {
    /// The beginning for `count` elements, which follow in the reply.
    pub fn new(count: usize, elements: Deferred) -> Self {
        Self { left: count, popped: 0, elements: Some(elements) }
    }

    /// How many the next part may take.
    pub fn part(&self) -> usize {
        self.left.min(STEPS_MAX)
    }

    /// Whether nothing has been taken yet.
    pub fn is_first(&self) -> bool {
        self.popped == 0
    }

    /// Notes that the part has taken so many of those that it might; whether there is more to take.
    pub fn note(&mut self, popped: usize, context: &mut ShardContext<'_>) -> bool {
        let was_filled = popped == self.part();
        self.left -= popped;
        self.popped += popped;
        context.changed(popped as u64);
        was_filled && self.left > 0
    }

    /// Ends the reply, in which each element takes so many items.
    pub fn finish(&mut self, items: usize, reply: &mut Encoder<'_>) {
        let elements = self.elements.take().expect("invariant: it ends once");
        reply.finish(elements, items * self.popped);
    }
}

/// Where a handler leaves what is to be done later.
#[derive(Default)]
pub struct Postponed {
    is_permitted: bool,
    work: Option<Box<dyn LongWork>>,
}

impl Postponed {
    /// Lets the next command that runs leave something.
    pub(super) fn permit(&mut self) {
        self.is_permitted = true;
    }

    /// Whether the command that begins now may. Those that run within it may not.
    pub(super) fn take_permission(&mut self) -> bool {
        std::mem::take(&mut self.is_permitted)
    }

    /// Leaves the rest of a command.
    fn leave(&mut self, work: Box<dyn LongWork>) {
        assert!(self.work.is_none(), "invariant: a command leaves one thing");
        self.work = Some(work);
    }

    /// What was left.
    pub(super) fn take(&mut self) -> Option<Box<dyn LongWork>> {
        self.work.take()
    }
}

/// A command that goes on in parts.
pub(super) struct Long {
    /// The core of the connection.
    pub(super) origin: ShardId,
    pub(super) entry: &'static Entry,
    pub(super) reply_to: ReplyTo,
    pub(super) view: ClientView,
    pub(super) args: OwnedArgs,
    /// What is written of the reply.
    pub(super) reply: Vec<u8>,
    /// What it has caused so far, for the log.
    pub(super) caused: Records,
    pub(super) nanoseconds: u64,
    pub(super) work: Box<dyn LongWork>,
}

impl Core {
    /// Keeps a command that has just begun, and its keys locked.
    pub(super) fn begin_long(&mut self, mut long: Long) {
        long.caused = self.state.effects.take_unit();
        let scope = self.scope_of(long.entry, long.args.view(), long.view.db);
        let number = self.parked.insert(Parked::Long(Box::new(long)));
        let outcome = self.locks.request(Owner::Parked(number), scope);
        assert_eq!(outcome, Outcome::Granted, "invariant: what runs was admitted");
        self.long.push_back(number);
    }

    /// Keeps a command that had waited for its locks, and has them.
    pub(super) fn go_on_long(&mut self, number: u64, mut long: Long) {
        long.caused = self.state.effects.take_unit();
        self.parked.put_back(number, Parked::Long(Box::new(long)));
        self.long.push_back(number);
    }

    /// Does a part of the one whose turn it is; whether there is more to do.
    pub(super) fn step_long(&mut self) -> bool {
        let Some(number) = self.long.pop_front() else { return false };
        let Parked::Long(mut long) = self.parked.take(number) else {
            unreachable!("only those that go on in parts have turns")
        };
        self.state.metrics.start_lap();
        let goes_on = self.state.step_of(&mut long);
        long.nanoseconds += self.state.metrics.lap();
        if goes_on {
            self.parked.put_back(number, Parked::Long(long));
            self.long.push_back(number);
        } else {
            self.state.effects.put_unit(&mut long.caused);
            self.end_long(*long);
            self.release(Owner::Parked(number));
        }
        self.after_command();
        !self.long.is_empty()
    }

    fn end_long(&mut self, long: Long) {
        let Long { origin, entry, reply_to: to, args, reply, nanoseconds, .. } = long;
        let done = Done { reply_end: reply.len(), nanoseconds, ..Done::default() };
        if origin == self.state.id {
            self.late_reply(to, entry, &reply, done, args.view());
        } else {
            self.outboxes.control(origin, Control::LateReply { to, entry, reply, done, args });
        }
    }
}

impl CoreState {
    /// Does a part of a command. Its request is recorded with the first one that changes something.
    fn step_of(&mut self, long: &mut Long) -> bool {
        let (view, args) = (long.view, long.args.view());
        let was_told = long.caused.told() > 0;
        self.effects.divert();
        self.effects.put_unit(&mut long.caused);
        let changes = self.keyspace_figures.changes;
        let mut context = shard_context(self, view);
        let mut reply = Encoder::new(&mut long.reply, view.resp);
        let goes_on = long.work.step(&mut context, args, &mut reply);
        let before = if was_told { self.keyspace_figures.changes } else { changes };
        self.end_effect(long.entry, view.db, args, before);
        long.caused = self.effects.restore();
        goes_on
    }
}

impl ShardContext<'_> {
    /// Does the first part of a long work now and leaves the rest for later turns; or does all of
    /// it now where that is not possible: in a transaction, whose keys are locked anyway. The
    /// handler then has nothing more to do.
    pub fn run_long<W: LongWork + 'static>(
        &mut self,
        mut work: W,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) {
        while work.step(self, args, reply) {
            if self.may_postpone {
                return self.postponed.leave(Box::new(work));
            }
        }
    }
}

#[cfg(test)]
mod tests;
