//! What all cores know about saving: whether it goes on, and how it went.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// How a snapshot is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SaveKind {
    /// Somebody waits for it.
    Foreground = 1,
    /// `BGSAVE`.
    Background = 2,
    /// The new base of the append-only log.
    LogBase = 4,
}

/// The value for no snapshot.
const IDLE: u8 = 0;
/// The value for one in the background that has not begun: it waits for its locks.
const WAITING: u8 = 3;

/// The snapshot that is being taken, and those before.
#[derive(Debug)]
pub struct Saving {
    kind: AtomicU8,
    cancelled: AtomicBool,
    /// One in the background is to begin when nothing else is under way.
    scheduled: AtomicBool,
    /// Wall clock, seconds.
    started_unix_s: AtomicU64,
    keys_total: AtomicU64,
    keys_done: AtomicU64,
    /// Wall clock, seconds; before the first save the start of the process.
    last_unix_s: AtomicU64,
    saves: AtomicU64,
    background_failed: AtomicBool,
    /// Seconds that the last background save took; -1 before the first.
    background_s: AtomicI64,
    /// When one in the background was last begun, wall clock, seconds.
    tried_unix_s: AtomicU64,
    /// Shards that have not finished their walk.
    walks: AtomicUsize,
    /// Shards that have so much to hand over that nobody may write.
    choked: AtomicUsize,
    /// Changes of the data set since it was last saved, as far as the cores have told.
    changes: AtomicI64,
}

/// A look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavingFigures {
    /// What is under way.
    pub kind: Option<SaveKind>,
    /// When that began, wall clock, seconds.
    pub started_unix_s: u64,
    /// Keys that it has to save.
    pub keys_total: u64,
    /// Keys that it has saved.
    pub keys_done: u64,
    /// When data was last saved, wall clock, seconds.
    pub last_unix_s: u64,
    /// Snapshots that were taken.
    pub saves: u64,
    /// Whether the last background save failed.
    pub background_failed: bool,
    /// Seconds that it took; -1 before the first.
    pub background_s: i64,
}

impl Saving {
    /// Nothing is being saved, and the data is what it was at this moment (seconds).
    pub fn new(unix_s: u64) -> Self {
        Self {
            kind: AtomicU8::new(IDLE),
            cancelled: AtomicBool::new(false),
            scheduled: AtomicBool::new(false),
            started_unix_s: AtomicU64::new(0),
            keys_total: AtomicU64::new(0),
            keys_done: AtomicU64::new(0),
            last_unix_s: AtomicU64::new(unix_s),
            saves: AtomicU64::new(0),
            background_failed: AtomicBool::new(false),
            background_s: AtomicI64::new(-1),
            tried_unix_s: AtomicU64::new(0),
            walks: AtomicUsize::new(0),
            choked: AtomicUsize::new(0),
            changes: AtomicI64::new(0),
        }
    }

    /// Begins a snapshot; false when one is being taken. One in the background waits for its locks
    /// now, until [`Saving::begin`].
    pub fn claim(&self, kind: SaveKind, unix_s: u64) -> bool {
        let value = match kind {
            SaveKind::Foreground | SaveKind::LogBase => kind as u8,
            SaveKind::Background => WAITING,
        };
        if !self.turn(IDLE, value) {
            return false;
        }
        self.cancelled.store(false, Ordering::Relaxed);
        self.started_unix_s.store(unix_s, Ordering::Relaxed);
        if kind == SaveKind::Background {
            self.unschedule();
            self.tried_unix_s.store(unix_s, Ordering::Relaxed);
        }
        self.note(0, 0);
        true
    }

    /// The snapshot in the background has its locks; false when somebody has taken its place.
    pub fn begin(&self) -> bool {
        self.turn(WAITING, SaveKind::Background as u8)
    }

    /// Takes the place of a snapshot in the background that still waits for its locks: for those
    /// who hold them, and would wait for it in vain.
    pub fn replace_waiting(&self) -> bool {
        let replaces = self.turn(WAITING, SaveKind::Foreground as u8);
        if replaces {
            self.cancelled.store(false, Ordering::Relaxed);
        }
        replaces
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        self.kind.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A shard has begun to go through its keys.
    pub fn begin_walk(&self) {
        self.walks.fetch_add(1, Ordering::AcqRel);
    }

    /// A shard has gone through all of its keys.
    pub fn end_walk(&self) {
        self.walks.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether some shard still goes through its keys, perhaps for a snapshot that was given up.
    pub fn is_walking(&self) -> bool {
        self.walks.load(Ordering::Acquire) > 0
    }

    /// A shard has so much to hand over that nobody may write for now, or has no longer.
    pub fn note_choked(&self, is_choked: bool) {
        if is_choked {
            self.choked.fetch_add(1, Ordering::Relaxed);
        } else {
            self.choked.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether some shard has.
    #[inline]
    pub fn is_choked(&self) -> bool {
        self.choked.load(Ordering::Relaxed) > 0
    }

    /// Adds to the changes since the data set was last saved.
    pub fn note_changes(&self, more: i64) {
        self.changes.fetch_add(more, Ordering::Relaxed);
    }

    /// Changes of the data set since it was last saved, a tenth of a second ago.
    pub fn changes(&self) -> u64 {
        u64::try_from(self.changes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// When a snapshot in the background was last begun, wall clock, seconds.
    pub fn tried_unix_s(&self) -> u64 {
        self.tried_unix_s.load(Ordering::Relaxed)
    }

    /// Notes how many keys there are to save, and how many have been.
    pub fn note(&self, keys_done: u64, keys_total: u64) {
        self.keys_done.store(keys_done, Ordering::Relaxed);
        self.keys_total.store(keys_total, Ordering::Relaxed);
    }

    /// Asks what is under way in the background to end, a base of the log too.
    pub fn cancel(&self) {
        if self.figures().kind.is_some_and(|kind| kind != SaveKind::Foreground) {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Asks a snapshot in the background to end; false when there is none.
    pub fn cancel_background(&self) -> bool {
        let is_there = self.figures().kind == Some(SaveKind::Background);
        if is_there {
            self.cancelled.store(true, Ordering::Relaxed);
        }
        is_there
    }

    /// Has a snapshot in the background begin when nothing else is under way.
    pub fn schedule(&self) {
        self.scheduled.store(true, Ordering::Relaxed);
    }

    /// Forgets that one is to begin; false when none is.
    pub fn unschedule(&self) -> bool {
        self.scheduled.swap(false, Ordering::Relaxed)
    }

    /// Whether one is to begin.
    pub fn is_scheduled(&self) -> bool {
        self.scheduled.load(Ordering::Relaxed)
    }

    /// Whether it is to end early.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether the last background save failed.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.background_failed.load(Ordering::Relaxed)
    }

    /// Ends the snapshot.
    pub fn finish(&self, succeeded: bool, unix_s: u64) {
        let figures = self.figures();
        if figures.kind == Some(SaveKind::Background) {
            let seconds = unix_s.saturating_sub(figures.started_unix_s) as i64;
            self.background_s.store(seconds, Ordering::Relaxed);
            // One that was given up says nothing about the disk.
            if !self.is_cancelled() {
                self.background_failed.store(!succeeded, Ordering::Relaxed);
            }
        }
        if succeeded && figures.kind != Some(SaveKind::LogBase) {
            self.background_failed.store(false, Ordering::Relaxed);
            self.last_unix_s.store(unix_s, Ordering::Relaxed);
            self.saves.fetch_add(1, Ordering::Relaxed);
        }
        self.kind.store(IDLE, Ordering::Release);
    }

    /// How it stands.
    pub fn figures(&self) -> SavingFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SavingFigures {
            kind: match self.kind.load(Ordering::Acquire) {
                IDLE => None,
                kind if kind == SaveKind::Foreground as u8 => Some(SaveKind::Foreground),
                kind if kind == SaveKind::LogBase as u8 => Some(SaveKind::LogBase),
                _ => Some(SaveKind::Background),
            },
            started_unix_s: read(&self.started_unix_s),
            keys_total: read(&self.keys_total),
            keys_done: read(&self.keys_done),
            last_unix_s: read(&self.last_unix_s),
            saves: read(&self.saves),
            background_failed: self.has_failed(),
            background_s: self.background_s.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_snapshot_at_a_time() {
        let saving = Saving::new(5);
        assert_eq!((saving.figures().last_unix_s, saving.figures().background_s), (5, -1));
        assert!(saving.claim(SaveKind::Background, 10));
        assert_eq!(saving.figures().kind, Some(SaveKind::Background));
        assert!(!saving.claim(SaveKind::Foreground, 10));
        assert!(saving.begin());
        assert!(!saving.replace_waiting(), "it has its locks");
        saving.finish(false, 12);
        let figures = saving.figures();
        assert!(figures.background_failed);
        assert_eq!((figures.last_unix_s, figures.background_s, figures.saves), (5, 2, 0));
        assert!(saving.claim(SaveKind::Foreground, 20));
        assert!(!saving.cancel_background());
        saving.finish(true, 21);
        let figures = saving.figures();
        assert_eq!((figures.kind, figures.background_failed), (None, false));
        assert_eq!((figures.last_unix_s, figures.background_s, figures.saves), (21, 2, 1));
    }

    #[test]
    fn who_holds_the_locks_takes_the_place_of_one_that_waits_for_them() {
        let saving = Saving::new(5);
        assert!(!saving.replace_waiting());
        assert!(saving.claim(SaveKind::Background, 10));
        assert!(saving.replace_waiting());
        assert_eq!(saving.figures().kind, Some(SaveKind::Foreground));
        assert!(!saving.begin(), "its place is taken");
    }

    #[test]
    fn what_is_cancelled_has_not_failed() {
        let saving = Saving::new(5);
        assert!(!saving.cancel_background());
        assert!(saving.claim(SaveKind::Background, 10));
        assert!(saving.cancel_background() && saving.is_cancelled());
        saving.finish(false, 11);
        assert!(!saving.figures().background_failed);
        assert!(saving.claim(SaveKind::Background, 12));
        assert!(!saving.is_cancelled());
    }

    #[test]
    fn what_is_scheduled_waits_for_a_rewrite_and_begins_once() {
        let saving = Saving::new(5);
        assert!(!saving.is_scheduled() && !saving.unschedule());
        assert!(saving.claim(SaveKind::LogBase, 10));
        saving.schedule();
        assert!(!saving.cancel_background() && !saving.is_cancelled());
        assert!(!saving.claim(SaveKind::Background, 11) && saving.is_scheduled());
        saving.finish(false, 12);
        assert!(saving.claim(SaveKind::Background, 13) && !saving.is_scheduled());
        saving.finish(true, 14);
        saving.schedule();
        assert!(saving.unschedule() && !saving.is_scheduled());
    }
}
