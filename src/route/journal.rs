//! Those who follow the shard's journal: clients that wait for keys, watch them or have read them,
//! and keyspace notifications.
//!
//! The journal is taken to them right after each command, and it records only what one of them
//! wants to know.

use std::sync::atomic::Ordering;

use kvasir_shard::{ChangeKind, ChangeMask};

use super::core::{Core, CoreState};
use super::multi::WATCHED_CHANGES;
use crate::pubsub::notify;
use crate::tracking::TRACKED_CHANGES;

/// What can make a key ready or take it away.
const AWAITED_CHANGES: ChangeMask = ChangeMask::ALL
    .without(ChangeKind::Expire)
    .without(ChangeKind::Persist)
    .without(ChangeKind::Missed);

impl CoreState {
    /// Has the shard record what somebody follows. To be called when somebody begins or ends to.
    pub(super) fn follow_readers(&mut self) {
        let mut mask = notify::changes_of(self.keyspace_events);
        if !self.waiters.is_empty() {
            mask = mask.union(AWAITED_CHANGES);
        }
        if !self.watches.is_empty() {
            mask = mask.union(WATCHED_CHANGES);
        }
        if self.tracking.is_active() {
            mask = mask.union(TRACKED_CHANGES);
        }
        self.shard.journal.set_mask(mask.union(self.recorded_changes()));
    }

    /// Forgets what the journal has recorded: nobody is to be told.
    pub(super) fn forget_journal(&mut self) {
        self.shard.journal.clear();
        self.effects.forget_noted();
    }

    /// Takes what the journal has recorded to those who follow it.
    pub(super) fn follow_journal(&mut self) {
        if self.shard.journal.is_empty() {
            return;
        }
        self.record_gone();
        let mut journal = std::mem::take(&mut self.shard.journal);
        for change in journal.changes() {
            match change.kind {
                ChangeKind::Flushed | ChangeKind::Swapped => self.waiters.note_all(change.db),
                _ => self.waiters.note(change.db, change.key),
            }
            self.watches.note(&change);
            if self.tracking.is_active() && self.tracking.note(&change) {
                self.shared.tracked_keys.fetch_sub(1, Ordering::Relaxed);
            }
            self.notify(change);
        }
        self.tracking.set_author(None);
        journal.clear();
        self.shard.journal = journal;
    }

    /// Whether somebody has something to do because of what the journal told.
    pub(super) fn has_followers_due(&self) -> bool {
        self.waiters.has_noted()
            || !self.notices.is_empty()
            || self.tracking.has_due()
            || !self.published.is_empty()
            || self.scripts.has_news()
    }
}

impl Core {
    /// Does what the last command on this shard has given cause to.
    #[inline]
    pub(super) fn after_command(&mut self) {
        self.state.effects.end_unit();
        if !self.state.shard.journal.is_empty() || self.state.has_followers_due() {
            self.follow_up();
        }
    }

    /// What is done for one waiter may be news for others: notices are sent in that order.
    #[cold]
    fn follow_up(&mut self) {
        self.state.follow_journal();
        self.state.effects.end_unit();
        self.spread_notices();
        self.serve_waiters();
        self.spread_notices();
        self.spread_published();
    }
}
