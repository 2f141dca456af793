//! What all cores know about saving: whether it goes on, and how it went.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

/// How a snapshot is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SaveKind {
    /// Somebody waits for it.
    Foreground = 1,
    /// `BGSAVE`.
    Background = 2,
}

/// The value for no snapshot.
const IDLE: u8 = 0;

/// The snapshot that is being taken, and those before.
#[derive(Debug)]
pub struct Saving {
    kind: AtomicU8,
    cancelled: AtomicBool,
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
            started_unix_s: AtomicU64::new(0),
            keys_total: AtomicU64::new(0),
            keys_done: AtomicU64::new(0),
            last_unix_s: AtomicU64::new(unix_s),
            saves: AtomicU64::new(0),
            background_failed: AtomicBool::new(false),
            background_s: AtomicI64::new(-1),
        }
    }

    /// Begins a snapshot; false when one is being taken.
    pub fn claim(&self, kind: SaveKind, unix_s: u64) -> bool {
        let claim =
            self.kind.compare_exchange(IDLE, kind as u8, Ordering::AcqRel, Ordering::Acquire);
        if claim.is_err() {
            return false;
        }
        self.cancelled.store(false, Ordering::Relaxed);
        self.started_unix_s.store(unix_s, Ordering::Relaxed);
        self.note(0, 0);
        true
    }

    /// Notes how many keys there are to save, and how many have been.
    pub fn note(&self, keys_done: u64, keys_total: u64) {
        self.keys_done.store(keys_done, Ordering::Relaxed);
        self.keys_total.store(keys_total, Ordering::Relaxed);
    }

    /// Asks the background save to end; false when there is none.
    pub fn cancel(&self) -> bool {
        let under_way = self.figures().kind == Some(SaveKind::Background);
        if under_way {
            self.cancelled.store(true, Ordering::Relaxed);
        }
        under_way
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
        if succeeded {
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
        assert!(!saving.claim(SaveKind::Foreground, 10));
        saving.finish(false, 12);
        let figures = saving.figures();
        assert!(figures.background_failed);
        assert_eq!((figures.last_unix_s, figures.background_s, figures.saves), (5, 2, 0));
        assert!(saving.claim(SaveKind::Foreground, 20));
        assert!(!saving.cancel());
        saving.finish(true, 21);
        let figures = saving.figures();
        assert_eq!((figures.kind, figures.background_failed), (None, false));
        assert_eq!((figures.last_unix_s, figures.background_s, figures.saves), (21, 2, 1));
    }

    #[test]
    fn what_is_cancelled_has_not_failed() {
        let saving = Saving::new(5);
        assert!(!saving.cancel());
        assert!(saving.claim(SaveKind::Background, 10));
        assert!(saving.cancel() && saving.is_cancelled());
        saving.finish(false, 11);
        assert!(!saving.figures().background_failed);
        assert!(saving.claim(SaveKind::Background, 12));
        assert!(!saving.is_cancelled());
    }
}
