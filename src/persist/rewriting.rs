//! What all cores know about rewrites of the append-only log.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Failures in a row after which rewrites that nobody asked for become rarer.
const FAILURES_FREE: u32 = 3;
/// The longest time between two of those, seconds.
const DELAY_MAX_S: u64 = 3600;

/// Whether the log is to be there, and its rewrites.
#[derive(Debug)]
pub struct Rewriting {
    /// `appendonly`, as far as it has been acted upon.
    wanted: AtomicBool,
    scheduled: AtomicBool,
    running: AtomicBool,
    /// The one under way makes the first base of a log.
    is_first: AtomicBool,
    started_unix_s: AtomicU64,
    /// Seconds that the last one took; -1 before the first.
    last_s: AtomicI64,
    failed: AtomicBool,
    failures: AtomicU32,
    rewrites: AtomicU64,
    /// When the next may begin by itself, wall clock, seconds.
    not_before_s: AtomicU64,
}

/// A look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RewritingFigures {
    /// One is under way.
    pub running: bool,
    /// One is to begin.
    pub scheduled: bool,
    /// When the one under way began, wall clock, seconds.
    pub started_unix_s: u64,
    /// Seconds that the last one took; -1 before the first.
    pub last_s: i64,
    /// Whether it failed.
    pub failed: bool,
    /// How many have failed since one succeeded.
    pub failures: u32,
    /// How many have begun.
    pub rewrites: u64,
}

impl Rewriting {
    /// No rewrite; with a log from the start, or without.
    pub fn new(wanted: bool) -> Self {
        Self {
            wanted: AtomicBool::new(wanted),
            scheduled: AtomicBool::new(false),
            running: AtomicBool::new(false),
            is_first: AtomicBool::new(false),
            started_unix_s: AtomicU64::new(0),
            last_s: AtomicI64::new(-1),
            failed: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            rewrites: AtomicU64::new(0),
            not_before_s: AtomicU64::new(0),
        }
    }

    /// Whether the log is to be there.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Notes whether the log is to be there; whether that is new.
    pub fn want(&self, wanted: bool) -> bool {
        self.wanted.swap(wanted, Ordering::AcqRel) != wanted
    }

    /// Has a rewrite begin as soon as that is possible.
    pub fn schedule(&self) {
        self.scheduled.store(true, Ordering::Release);
    }

    /// Whether one is to begin, asked for or because the log is not there yet, and may at this
    /// time.
    pub fn is_due(&self, unix_s: u64) -> bool {
        self.scheduled.load(Ordering::Acquire)
            && !self.figures().running
            && unix_s >= self.not_before_s.load(Ordering::Relaxed)
    }

    /// Whether a rewrite that nobody asked for may begin at this time.
    pub fn may_begin(&self, unix_s: u64) -> bool {
        !self.figures().running && unix_s >= self.not_before_s.load(Ordering::Relaxed)
    }

    /// Begins one; false when one is under way.
    pub fn begin(&self, unix_s: u64) -> bool {
        if self.running.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.scheduled.store(false, Ordering::Release);
        self.started_unix_s.store(unix_s, Ordering::Relaxed);
        self.rewrites.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// The one under way makes the first base of a log: what is recorded until its end is of no
    /// use without.
    pub fn note_first(&self) {
        self.is_first.store(true, Ordering::Release);
    }

    /// Whether one is under way that makes the first base of a log.
    pub fn is_first(&self) -> bool {
        self.is_first.load(Ordering::Acquire)
    }

    /// Ends it; how many seconds the next waits that nobody asks for. After some failures that is a
    /// minute and then twice as long each time.
    pub fn finish(&self, succeeded: bool, unix_s: u64) -> u64 {
        let took = unix_s.saturating_sub(self.started_unix_s.load(Ordering::Relaxed));
        self.last_s.store(took as i64, Ordering::Relaxed);
        self.failed.store(!succeeded, Ordering::Relaxed);
        let failures = if succeeded { 0 } else { self.failures.load(Ordering::Relaxed) + 1 };
        self.failures.store(failures, Ordering::Relaxed);
        let delay_s = match failures.checked_sub(FAILURES_FREE) {
            Some(more) => (60 << more.min(6)).min(DELAY_MAX_S),
            None => u64::from(!succeeded),
        };
        self.not_before_s.store(unix_s + delay_s, Ordering::Relaxed);
        self.is_first.store(false, Ordering::Release);
        self.running.store(false, Ordering::Release);
        delay_s
    }

    /// How it stands.
    pub fn figures(&self) -> RewritingFigures {
        RewritingFigures {
            running: self.running.load(Ordering::Acquire),
            scheduled: self.scheduled.load(Ordering::Acquire),
            started_unix_s: self.started_unix_s.load(Ordering::Relaxed),
            last_s: self.last_s.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            rewrites: self.rewrites.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_delay_what_nobody_asked_for() {
        let rewriting = Rewriting::new(false);
        for (failure, delay_s) in [(1, 1), (2, 1), (3, 60), (4, 120), (5, 240)] {
            assert!(rewriting.begin(100) && !rewriting.begin(100));
            assert_eq!(rewriting.finish(false, 100), delay_s);
            let figures = rewriting.figures();
            assert_eq!((figures.failures, figures.failed), (failure, true));
            assert!(!rewriting.may_begin(99 + delay_s) && rewriting.may_begin(100 + delay_s));
        }
        assert!(rewriting.begin(1000));
        rewriting.finish(true, 1007);
        let figures = rewriting.figures();
        assert_eq!((figures.failures, figures.last_s, figures.rewrites), (0, 7, 6));
        assert!(rewriting.may_begin(1007));
    }

    #[test]
    fn what_is_scheduled_is_due_once() {
        let rewriting = Rewriting::new(false);
        assert!(!rewriting.is_due(5));
        rewriting.schedule();
        assert!(rewriting.is_due(5) && rewriting.begin(5));
        rewriting.finish(true, 6);
        assert!(!rewriting.is_due(7));
        assert!(rewriting.begin(8));
        rewriting.note_first();
        assert!(rewriting.is_first());
        rewriting.finish(true, 9);
        assert!(!rewriting.is_first());
        assert!(rewriting.want(true) && !rewriting.want(true) && rewriting.is_wanted());
    }
}
