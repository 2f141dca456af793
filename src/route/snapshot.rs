//! The core's side of a snapshot: its part of the file, made beside everything else.
//!
//! At the cut the shard gets a [`Part`], which takes its entries; from then on each round goes on
//! with the walk for a slice, hands over what there is, and, where clients have something to do,
//! leaves them the larger share of the time.

use std::any::Any;
use std::time::Duration;

use kvasir_shard::CutStep;

use super::core::CoreState;
use super::engine::{ShardId, Wake};
use crate::commands::server::rewrite;
use crate::commands::server::snapshot::background_save;
use crate::config::value::SavePoint;
use crate::persist::part::{Part, Sent};
use crate::persist::saving::SaveKind;
use crate::persist::state::Persistence;

/// Entries or elements between two looks at the clock.
const STEP_ENTRIES: usize = 8;
/// A slice of the walk, nanoseconds.
const SLICE_NS: u64 = 100_000;
/// Where clients have something to do, they get this many times what a slice took before the next.
const CLIENTS_SHARE: u64 = 30;
/// How soon a core looks again whether there is room for what it has to hand over, microseconds.
pub(super) const LOOK_US: u64 = 200;
/// After a snapshot at a save point has failed, the next is tried so many seconds later.
const RETRY_S: u64 = 5;

/// Keys of a database, and those of them with a deadline.
pub type Size = (u64, u64);

/// How far the core is with its part.
#[derive(Default, Debug)]
pub(super) struct SnapshotState {
    /// When the walk goes on, on the monotonic clock.
    next_us: u64,
    /// This shard has so much to hand over that nobody may write.
    is_choked: bool,
    /// Changes before the cut that no snapshot before has.
    changes: u64,
    /// Changes that all cores know of.
    changes_told: u64,
}

impl CoreState {
    /// Makes the cut; the sizes of the databases.
    pub(crate) fn begin_snapshot(&mut self, part: Part) -> Vec<Size> {
        self.shared.persistence.saving.begin_walk();
        // A log that begins with this begins with the next change.
        self.follow_log();
        self.shard.begin_cut(Box::new(part));
        self.snapshot.changes = self.keyspace_figures.changes;
        self.snapshot.next_us = 0;
        let databases = 0..self.shard.databases() as u32;
        let size = |db| (self.shard.len(db) as u64, self.shard.expires(db) as u64);
        databases.map(size).collect()
    }

    /// Leaves the snapshot unfinished. Its walk goes on, without a part.
    pub(crate) fn give_up_snapshot(&mut self) {
        self.shard.give_up_cut();
        self.note_choked(false);
        self.snapshot.next_us = 0;
    }

    /// The file is there, or will not be.
    pub(crate) fn end_snapshot(&mut self, saved: bool) {
        if saved {
            let changes = &mut self.keyspace_figures.changes;
            *changes = changes.saturating_sub(self.snapshot.changes);
            self.tell_changes();
        }
    }

    fn note_choked(&mut self, is_choked: bool) {
        if self.snapshot.is_choked != is_choked {
            self.snapshot.is_choked = is_choked;
            self.shared.persistence.saving.note_choked(is_choked);
        }
    }

    fn part_mut(&mut self) -> Option<&mut Part> {
        let saver: &mut dyn Any = self.shard.saver_mut()?;
        saver.downcast_mut()
    }

    /// Goes on with the walk for a slice; when to go on, if there is more to do.
    pub(super) fn step_snapshot(&mut self, busy: bool) -> Option<Wake> {
        if !self.shard.is_cut() {
            return None;
        }
        let now_us = self.now.monotonic_us;
        if now_us < self.snapshot.next_us {
            return Some(Wake::At(self.snapshot.next_us));
        }
        let delay_us = self.shared.config.load().persistence.save_delay_us;
        let slice_ns = if delay_us > 0 { 0 } else { SLICE_NS };
        let keys_before = self.part_mut().map_or(0, |part| part.keys());
        let began = self.shared.stopwatch.ticks();
        let mut step = self.shard.step_cut(STEP_ENTRIES);
        while step == CutStep::More && self.shared.stopwatch.elapsed_ns(began) < slice_ns {
            step = self.shard.step_cut(STEP_ENTRIES);
        }
        let took_us = self.shared.stopwatch.elapsed_ns(began) / 1000;
        let part = self.part_mut();
        let keys = part.as_ref().map_or(0, |part| part.keys() - keys_before);
        let has_part = part.is_some();
        let sent = part.map_or(Sent::All, |part| match step {
            CutStep::Done => part.finish(),
            CutStep::More | CutStep::Waits => part.send(),
        });
        let is_choked = self.part_mut().is_some_and(|part| part.is_choked());
        self.note_choked(is_choked);
        let rest_us = match (step, sent) {
            (CutStep::Done, Sent::All) => {
                self.end_walk();
                return None;
            }
            (_, Sent::Ended) => {
                self.give_up_snapshot();
                0
            }
            (CutStep::Waits | CutStep::Done, _) => LOOK_US,
            (CutStep::More, _) if delay_us > 0 && has_part => delay_us.saturating_mul(keys.max(1)),
            (CutStep::More, _) if busy => took_us * CLIENTS_SHARE,
            (CutStep::More, _) => 0,
        };
        self.snapshot.next_us = now_us.saturating_add(rest_us);
        Some(if rest_us == 0 { Wake::Now } else { Wake::At(self.snapshot.next_us) })
    }

    /// Has the walk look at how long it is to rest between keys (`rdb-key-save-delay`).
    pub(super) fn follow_save_delay(&mut self) {
        self.snapshot.next_us = 0;
    }

    /// The shard's part is whole, or nobody wants it any more.
    fn end_walk(&mut self) {
        if let Some(part) = self.part_mut() {
            part.end();
        }
        self.shard.end_cut();
        self.shared.persistence.saving.end_walk();
    }

    /// Tells the other cores how much has changed since the last snapshot.
    fn tell_changes(&mut self) {
        let changes = self.keyspace_figures.changes;
        let more = changes as i64 - self.snapshot.changes_told as i64;
        self.snapshot.changes_told = changes;
        self.shared.persistence.saving.note_changes(more);
    }

    /// Ten times a second: begins a snapshot when one is scheduled, or a save point is reached.
    pub(super) fn check_save_points(&mut self) {
        self.tell_changes();
        let has_files = self.shared.disk.get().is_some();
        if self.id != ShardId(0) || self.loading || !has_files {
            return;
        }
        let saving = &self.shared.persistence.saving;
        let figures = saving.figures();
        if figures.kind.is_some() {
            return;
        }
        let unix_s = self.unix_ms() / 1000;
        let rested = unix_s.saturating_sub(saving.tried_unix_s()) > RETRY_S;
        let may_begin = rested || !figures.background_failed;
        if saving.is_scheduled() && may_begin {
            self.begin_background_save();
            return;
        }
        let config = self.shared.config.load();
        let since = Duration::from_secs(unix_s.saturating_sub(figures.last_unix_s));
        let changes = saving.changes();
        let is_reached = |point: &&SavePoint| {
            changes >= point.changes.into() && since > Duration::from_secs(point.seconds)
        };
        let reached = config.persistence.save_points.iter().find(is_reached);
        let reached = reached.filter(|_| may_begin);
        let Some(point) = reached else { return };
        tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
        self.begin_background_save();
    }

    /// Begins a snapshot in the background; false when one of any kind is under way.
    pub(crate) fn begin_background_save(&mut self) -> bool {
        let unix_s = self.unix_ms() / 1000;
        if !self.shared.persistence.saving.claim(SaveKind::Background, unix_s) {
            return false;
        }
        tracing::info!("Background saving started");
        self.background.push_back(background_save());
        true
    }
}

impl CoreState {
    /// Begins to rewrite the log, or to begin it; false when a snapshot is under way.
    pub(crate) fn begin_rewrite(&mut self) -> bool {
        let unix_s = self.unix_ms() / 1000;
        let Persistence { saving, rewriting, .. } = &self.shared.persistence;
        if !saving.claim(SaveKind::LogBase, unix_s) {
            return false;
        }
        if !rewriting.begin(unix_s) {
            saving.finish(false, unix_s);
            return false;
        }
        tracing::info!("Background append only file rewriting started");
        self.background.push_back(rewrite::rewrite());
        true
    }

    /// Rewrites the log when that has been asked for, or when it has grown enough. Called ten times
    /// a second, does something on the first core.
    pub(super) fn check_log(&mut self) {
        if self.id != ShardId(0) || self.loading {
            return;
        }
        let unix_s = self.unix_ms() / 1000;
        let Persistence { log, upkeep, rewriting, .. } = &self.shared.persistence;
        if rewriting.is_due(unix_s) {
            self.begin_rewrite();
            return;
        }
        if !log.is_on() || !rewriting.may_begin(unix_s) {
            return;
        }
        let config = self.shared.config.load();
        let limits = &config.persistence.log;
        let bytes = upkeep.bytes(log);
        let base = upkeep.rewritten_bytes().max(1);
        let growth = bytes.saturating_mul(100) / base;
        let has_grown = limits.rewrite_percentage > 0
            && bytes > limits.rewrite_bytes_min
            && growth >= 100 + u64::from(limits.rewrite_percentage);
        if has_grown {
            let percentage = growth - 100;
            tracing::info!("Starting automatic rewriting of AOF on {percentage}% growth");
        }
        // What a failed flush has left in the file is not certain; a new base is.
        if has_grown || log.is_tainted() && !log.has_failed() {
            drop(config);
            self.begin_rewrite();
        }
    }

    /// Turns the log on or off when the configuration says so, on the first core.
    pub(super) fn follow_log_setting(&mut self, enabled: bool) {
        if self.id != ShardId(0) || !self.shared.persistence.rewriting.want(enabled) {
            return;
        }
        if enabled {
            if !self.begin_rewrite() {
                self.shared.persistence.rewriting.schedule();
            }
        } else {
            self.background.push_back(rewrite::turn_off());
        }
    }
}
