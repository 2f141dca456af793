//! What the commands of this core have changed, on its way into the log.
//!
//! After a command that has changed something, its request is recorded as it came, unless the
//! handler has told what it comes to instead ([`Effects::tell`]): nothing that depends on the time,
//! on chance or on who waits may be repeated from a request. Keys that go by themselves are taken
//! from the shard's journal. What one command, transaction or script does becomes one transaction
//! of the log.
//!
//! What runs on several shards is recorded once, by its coordinator, while its locks are held: its
//! hops bring back what they have caused ([`Caused`]).
//!
//! Before anything leaves this core, at the end of its round, the records are handed to the log.
//! The output of a connection whose command may have changed something is then kept until the log
//! has got as far as that: under `appendfsync always` to the disk, and otherwise to the file, which
//! it has within the round unless another core writes just then.

use std::collections::VecDeque;

use kvasir_proto::Args;
use kvasir_shard::{ChangeKind, ChangeMask, Journal, ValueType};

use super::core::{Core, CoreState};
use super::engine::{ConnectionKey, ShardId};
use super::message::{Control, Reply, Task};
use crate::commands::definition::{Flags, Handler, TransactionStep};
use crate::commands::table::Entry;
use crate::config::choice::FlushPolicy;
use crate::persist::log::{Append, Mark, Records, Written};

/// What of the shard's journal is recorded here.
const RECORDED_CHANGES: ChangeMask = ChangeMask::NONE
    .with(ChangeKind::Expired)
    .with(ChangeKind::ElementExpired(ValueType::Hash))
    .with(ChangeKind::Evicted);

/// See the module's head.
#[derive(Default, Debug)]
pub struct Effects {
    on: bool,
    records: Records,
    /// What was recorded, and where its last unit begins, before what is told was diverted.
    outer: Vec<(Records, Mark)>,
    /// Where the records of the command, transaction or script begin that runs now.
    unit: Mark,
    /// The handler that runs has told what it has done.
    is_told: bool,
    /// Changes in the shard's journal that have been looked at.
    noted: usize,
    /// How keys that go by themselves are removed.
    removals: Removals,
    /// Connections that have been answered in this round and may have changed something.
    wrote: Vec<ConnectionKey>,
    /// How many wait for the log at most, lately.
    held_max: usize,
    /// Connections whose output waits until the log has reached a position, which grow.
    held: VecDeque<(u64, ConnectionKey)>,
}

/// By which command a key is removed that goes by itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Removals {
    /// `lazyfree-lazy-expire`.
    pub expired_lazily: bool,
    /// `lazyfree-lazy-eviction`.
    pub evicted_lazily: bool,
}

fn removal(lazily: bool) -> &'static str {
    if lazily { "UNLINK" } else { "DEL" }
}

/// By which command an element is removed from a collection of this type.
fn element_removal(of: ValueType) -> &'static str {
    match of {
        ValueType::Hash => "HDEL",
        ValueType::Set => "SREM",
        ValueType::SortedSet => "ZREM",
        ValueType::String | ValueType::List | ValueType::Stream => {
            unreachable!("its elements have no deadlines")
        }
    }
}

/// What a task of a coordination has caused on its shard.
#[derive(Default, Debug)]
pub struct Caused {
    /// What it has told.
    pub(super) records: Records,
    /// It has changed something that it has not told.
    pub(super) changed: bool,
}

impl Caused {
    /// Adds the request of a command that has changed something and told nothing, as it came.
    pub(super) fn complete(&mut self, entry: &Entry, db: u32, args: Args<'_>) {
        if self.changed && self.records.told() == 0 && entry.command.flags.has(Flags::WRITE) {
            self.records.tell(db, args.iter());
        }
        self.changed = false;
    }

    /// Adds what has been caused later.
    pub(super) fn add(&mut self, later: Option<Box<Self>>) {
        if let Some(mut later) = later {
            self.records.append(&mut later.records);
            self.changed |= later.changed;
        }
    }
}

impl Effects {
    /// Whether anybody follows. Without, telling is not worth its while.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Records a command in place of the request that runs, behind the keys that are gone by then.
    pub fn tell(&mut self, db: u32, words: &[&[u8]], journal: &Journal) {
        if self.on {
            self.is_told = true;
            self.note_gone(journal);
            self.records.tell(db, words.iter().copied());
        }
    }

    /// Records, in place of the request that runs, that it has ended a key by a deadline in the
    /// past. The last change of the journal, which tells of a key that has gone, is that.
    pub fn tell_ended(&mut self, db: u32, key: &[u8], journal: &Journal) {
        if self.on {
            self.is_told = true;
            self.noted = journal.len();
            let how = removal(self.removals.expired_lazily);
            self.records.tell(db, [how.as_bytes(), key].into_iter());
        }
    }

    /// Leaves out the request that runs, though it has changed something.
    pub fn tell_nothing(&mut self) {
        // Nobody looks at it while nobody follows: it would be taken for the next command's.
        self.is_told = self.on;
    }

    /// Records the keys that have gone by themselves, and the elements of others.
    pub fn note_gone(&mut self, journal: &Journal) {
        let records = self.outer.first_mut().map_or(&mut self.records, |(records, _)| records);
        for change in journal.changes().skip(self.noted) {
            let how = match change.kind {
                ChangeKind::Expired => removal(self.removals.expired_lazily),
                ChangeKind::Evicted => removal(self.removals.evicted_lazily),
                ChangeKind::ElementExpired(of) => {
                    let how = element_removal(of);
                    records.note_gone(change.db, &[how.as_bytes(), change.key, change.element]);
                    continue;
                }
                _ => continue,
            };
            records.note_gone(change.db, &[how.as_bytes(), change.key]);
        }
        self.noted = journal.len();
    }

    /// The shard's journal has been emptied without a look at it.
    pub(super) fn forget_noted(&mut self) {
        self.noted = 0;
    }

    /// Ends what one command, transaction or script has done.
    #[inline]
    pub(super) fn end_unit(&mut self) {
        if self.on {
            self.records.unite(self.unit);
            self.unit = self.records.mark();
        }
    }

    /// Takes what the command that runs has caused so far: it ends later.
    pub(super) fn take_unit(&mut self) -> Records {
        self.records.split_off(self.unit)
    }

    /// Adds what a command has caused earlier.
    pub(super) fn put_unit(&mut self, records: &mut Records) {
        if self.on {
            self.records.append(records);
        }
    }

    /// Records what is told for somebody else until [`restore`](Self::restore): for a command whose
    /// records have their place later.
    pub(super) fn divert(&mut self) {
        let outer = (std::mem::take(&mut self.records), std::mem::take(&mut self.unit));
        self.outer.push(outer);
    }

    /// Ends [`divert`](Self::divert); what was told in between.
    pub(super) fn restore(&mut self) -> Records {
        let (records, unit) = self.outer.pop().expect("invariant: what is restored was diverted");
        self.unit = unit;
        std::mem::replace(&mut self.records, records)
    }
}

impl CoreState {
    /// Whether changes are recorded, for the shard's journal.
    pub(super) fn recorded_changes(&self) -> ChangeMask {
        if self.effects.on { RECORDED_CHANGES } else { ChangeMask::NONE }
    }

    /// Begins or ends to record what this core changes.
    pub fn record_effects(&mut self, on: bool) {
        if self.effects.on != on {
            self.follow_journal();
            self.effects.on = on;
            self.effects.noted = 0;
            self.shard.settle_all(on);
            self.follow_readers();
        }
    }

    /// Notes how keys are removed that go by themselves.
    pub(super) fn configure_effects(&mut self, removals: Removals) {
        self.effects.removals = removals;
    }

    /// Records what a command has done on this shard, which had counted so many changes before.
    #[inline]
    pub(super) fn end_effect(
        &mut self,
        entry: &'static Entry,
        db: u32,
        args: Args<'_>,
        changes_before: u64,
    ) {
        if self.effects.on {
            self.record_effect(entry, db, args, changes_before);
        }
    }

    fn record_effect(&mut self, entry: &Entry, db: u32, args: Args<'_>, changes_before: u64) {
        self.effects.note_gone(&self.shard.journal);
        let is_told = std::mem::take(&mut self.effects.is_told);
        let has_changed = self.keyspace_figures.changes != changes_before;
        if has_changed && !is_told && entry.command.flags.has(Flags::WRITE) {
            self.effects.records.tell(db, args.iter());
        }
    }

    /// Records the keys that have gone by themselves, before the journal forgets them.
    pub(super) fn record_gone(&mut self) {
        if self.effects.on {
            self.effects.note_gone(&self.shard.journal);
            self.effects.noted = 0;
        }
    }

    /// Runs a task of a coordination; what it returns, and what it has caused.
    pub(super) fn run_task(&mut self, task: Task) -> (Reply, Option<Box<Caused>>) {
        if !self.effects.on {
            return (task.run(self), None);
        }
        // What has come before is not the task's.
        self.effects.note_gone(&self.shard.journal);
        self.effects.divert();
        let changes = self.keyspace_figures.changes;
        let reply = task.run(self);
        self.effects.note_gone(&self.shard.journal);
        let is_told = std::mem::take(&mut self.effects.is_told);
        let records = self.effects.restore();
        let changed = self.keyspace_figures.changes != changes && !is_told;
        let caused = changed || !records.is_empty();
        (reply, caused.then(|| Box::new(Caused { records, changed })))
    }

    /// Hands what has been recorded to the log, and keeps back what depends on it.
    pub(super) fn hand_over(&mut self) {
        let effects = &mut self.effects;
        let log = &self.shared.persistence.log;
        if !effects.records.is_empty() {
            effects.end_unit();
            log.append(&mut effects.records, self.now.unix_us / 1_000_000);
            effects.unit = Mark::default();
        }
        if !effects.wrote.is_empty() {
            self.hold_outputs();
        }
        self.let_go_outputs();
    }

    /// Until when to wait with the next flush for those who have waited for the last one: most of
    /// them send their next command when they have got the reply, and a flush costs as much as a
    /// dozen commands or more, whomever it serves.
    pub(super) fn gathers_until(&self) -> Option<u64> {
        let held = self.effects.held.len();
        let waits_for_more = held > 0 && held < self.effects.held_max;
        let log = &self.shared.persistence.log;
        if waits_for_more { log.gathers_until(self.now.monotonic_us) } else { None }
    }

    /// The end of the log with all that this core has changed by now.
    pub fn end_of_log(&mut self) -> u64 {
        self.hand_over();
        self.shared.persistence.log.end()
    }

    /// Notes that a command has been answered that may have changed something.
    #[inline]
    pub(super) fn note_answer(&mut self, entry: &'static Entry, key: ConnectionKey) {
        if self.effects.on && may_change(entry) {
            self.effects.wrote.push(key);
        }
    }

    /// Keeps the outputs of those who have been answered until the log has reached what they have
    /// been told.
    fn hold_outputs(&mut self) {
        let log = &self.shared.persistence.log;
        let end = log.end();
        if log.reached() >= end {
            self.effects.wrote.clear();
            return;
        }
        for key in self.effects.wrote.drain(..) {
            let Some(connection) = self.connections.get_mut(key.0 as usize) else { continue };
            if connection.logged_at < end {
                connection.logged_at = end;
                self.effects.held.push_back((end, key));
            }
        }
    }

    /// Has those outputs sent that wait for nothing any more.
    fn let_go_outputs(&mut self) {
        if self.effects.held.is_empty() {
            return;
        }
        let log = &self.shared.persistence.log;
        // Before the look, so that whoever writes meanwhile tells or is seen; and each time, for
        // who has been told of one flush is not told of the next.
        log.note_waiting(self.id.index());
        let reached = log.reached();
        if self.effects.held[0].0 <= reached {
            let (now, before) = (self.effects.held.len(), self.effects.held_max);
            self.effects.held_max = now.max(before - before.div_ceil(8));
        }
        while let Some(&(position, key)) = self.effects.held.front()
            && position <= reached
        {
            self.effects.held.pop_front();
            if let Some(connection) = self.connections.get_mut(key.0 as usize)
                && connection.logged_at == position
            {
                // What it waits for may be another thing later.
                connection.logged_at = 0;
            }
            self.mark_dirty(key);
        }
        if self.effects.held.is_empty() {
            self.shared.persistence.log.end_waiting(self.id.index());
        }
    }

    /// Whether the output of a connection has to wait for the log.
    pub(super) fn is_held(&self, key: ConnectionKey) -> bool {
        let position = self.connections[key.0 as usize].logged_at;
        position > 0 && position > self.shared.persistence.log.reached()
    }

    /// Looks whether changes are to be recorded.
    pub fn follow_log(&mut self) {
        let on = self.shared.persistence.log.is_on();
        if on != self.effects.on {
            self.record_effects(on);
        }
    }
}

/// Whether a command, by its definition, may change something that is logged.
pub(super) fn may_change(entry: &Entry) -> bool {
    let flags = entry.command.flags;
    let is_exec = matches!(entry.command.handler, Handler::Transaction(TransactionStep::Execute));
    is_exec || flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)
}

impl Core {
    /// What is to be written to the log, if this core is to do that now.
    pub(super) fn begin_append(&mut self) -> Option<Append> {
        let log = &self.state.shared.persistence.log;
        if log.may_have_work() && self.state.gathers_until().is_none() {
            log.begin(self.state.now.monotonic_us)
        } else {
            None
        }
    }

    /// What this core has itself written to the log is in the file, and is now flushed.
    pub(super) fn note_written(&mut self, append: &mut Append) {
        let log = &self.state.shared.persistence.log;
        log.note_written(append, self.state.now.monotonic_us);
        if log.policy() != FlushPolicy::Always {
            self.tell_of_log();
        }
    }

    /// A write to the log has ended.
    pub(super) fn end_append(&mut self, append: Append, outcome: std::io::Result<()>) {
        let log = &self.state.shared.persistence.log;
        if log.finish(append, outcome, self.state.now.monotonic_us) == Written::Fatal {
            self.state.shared.fail();
            return;
        }
        self.tell_of_log();
    }

    /// The log has got further: tells those who wait for that.
    fn tell_of_log(&mut self) {
        self.state.let_go_outputs();
        for core in self.state.shared.persistence.log.take_waiting(self.state.id.index()) {
            self.outboxes.control(ShardId(core as u16), Control::Flushed);
        }
    }
}

#[cfg(test)]
mod tests;
