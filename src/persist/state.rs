//! What all cores know about loading: whether it goes on, how far it is, and how it ended.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::aof::load::LoadedLog;
use super::aof::upkeep::Upkeep;
use super::log::Log;
use super::rewriting::Rewriting;
use super::saving::Saving;

/// The persistence of a process.
#[derive(Debug)]
pub struct Persistence {
    /// The file that is being read, or was last.
    pub loading: Loading,
    /// Snapshots.
    pub saving: Saving,
    /// The append-only log.
    pub log: Log,
    /// Its files.
    pub upkeep: Upkeep,
    /// Whether it is to be there, and its rewrites.
    pub rewriting: Rewriting,
    loaded_log: Mutex<Option<LoadedLog>>,
}

impl Persistence {
    /// That of a process with so many cores which starts at this moment (seconds), with a log or
    /// without.
    pub fn new(unix_s: u64, cores: u16, logs: bool) -> Self {
        Self {
            loading: Loading::default(),
            saving: Saving::new(unix_s),
            log: Log::new(cores),
            upkeep: Upkeep::default(),
            rewriting: Rewriting::new(logs),
            loaded_log: Mutex::default(),
        }
    }

    /// Leaves a log that has been loaded, for whoever continues it.
    pub fn set_loaded_log(&self, log: LoadedLog) {
        *self.loaded_log.lock().expect("invariant: a panic ends the process") = Some(log);
    }

    /// Takes the log that was loaded last, if nobody has.
    pub fn take_loaded_log(&self) -> Option<LoadedLog> {
        self.loaded_log.lock().expect("invariant: a panic ends the process").take()
    }
}

/// Progress of loading a file. Written by the thread that reads it and by the cores, read by INFO.
#[derive(Default, Debug)]
pub struct Loading {
    active: AtomicBool,
    /// Commands of a log are being run, or a base that they go on from is being loaded.
    replaying: AtomicBool,
    /// Wall clock, seconds.
    started_unix_s: AtomicU64,
    total_bytes: AtomicU64,
    loaded_bytes: AtomicU64,
    /// What the server that wrote the file had in use, by its own account.
    used_memory: AtomicU64,
    keys_loaded: AtomicU64,
    keys_expired: AtomicU64,
    keys_empty: AtomicU64,
    failed: AtomicBool,
    outcome: Mutex<Option<Result<(), String>>>,
}

/// A look at the progress.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Whether it goes on.
    pub active: bool,
    /// Wall clock at its start, seconds.
    pub started_unix_s: u64,
    /// The file's length.
    pub total_bytes: u64,
    /// What has been read of it.
    pub loaded_bytes: u64,
    /// What the server that wrote the file had in use, by its own account.
    pub used_memory: u64,
    /// Keys that were read.
    pub keys_loaded: u64,
    /// Keys that were left out since they had expired.
    pub keys_expired: u64,
}

impl Loading {
    /// Whether the data set is being loaded.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Whether what is loaded is a log: nothing expires meanwhile.
    #[inline]
    pub fn is_replaying(&self) -> bool {
        self.replaying.load(Ordering::Acquire)
    }

    /// Begins with a log: from now on clients are told to wait, and nothing expires.
    pub fn begin_replay(&self, unix_s: u64) {
        self.replaying.store(true, Ordering::Release);
        self.begin(unix_s);
    }

    /// Begins: from now on clients are told to wait.
    pub fn begin(&self, unix_s: u64) {
        self.started_unix_s.store(unix_s, Ordering::Relaxed);
        let counters = [
            &self.total_bytes,
            &self.loaded_bytes,
            &self.keys_loaded,
            &self.keys_expired,
            &self.keys_empty,
        ];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
        self.failed.store(false, Ordering::Relaxed);
        *self.outcome_mut() = None;
        self.active.store(true, Ordering::Release);
    }

    /// Notes how far it is.
    pub fn note(&self, loaded_bytes: u64, keys_loaded: u64, keys_expired: u64) {
        self.loaded_bytes.store(loaded_bytes, Ordering::Relaxed);
        self.keys_loaded.store(keys_loaded, Ordering::Relaxed);
        self.keys_expired.store(keys_expired, Ordering::Relaxed);
    }

    /// Notes a key whose collection has no elements; how many there have been, with this one.
    pub fn note_empty(&self) -> u64 {
        self.keys_empty.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Keys whose collections had no elements.
    pub fn keys_empty(&self) -> u64 {
        self.keys_empty.load(Ordering::Relaxed)
    }

    /// Notes how many bytes have been read.
    pub fn note_bytes(&self, loaded_bytes: u64) {
        self.loaded_bytes.store(loaded_bytes, Ordering::Relaxed);
    }

    /// Notes the file's length.
    pub fn note_total(&self, bytes: u64) {
        self.total_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes what the writer of the file had in use, bytes.
    pub fn note_used_memory(&self, bytes: u64) {
        self.used_memory.store(bytes, Ordering::Relaxed);
    }

    /// Tells why it cannot succeed, unless a reason is known already: for cores, which find out
    /// while they take what was read.
    pub fn fail(&self, reason: String) {
        let mut outcome = self.outcome_mut();
        if outcome.is_none() {
            *outcome = Some(Err(reason));
        }
        self.failed.store(true, Ordering::Release);
    }

    /// Stops it: who reads will tell why it cannot succeed.
    pub fn interrupt(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether it cannot succeed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Ends. Without an outcome before this is a success.
    pub fn finish(&self) {
        self.outcome_mut().get_or_insert(Ok(()));
        self.replaying.store(false, Ordering::Release);
        self.active.store(false, Ordering::Release);
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<Result<(), String>> {
        if self.is_active() { None } else { self.outcome_mut().clone() }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Progress {
            active: self.is_active(),
            started_unix_s: read(&self.started_unix_s),
            total_bytes: read(&self.total_bytes),
            loaded_bytes: read(&self.loaded_bytes),
            used_memory: read(&self.used_memory),
            keys_loaded: read(&self.keys_loaded),
            keys_expired: read(&self.keys_expired),
        }
    }

    fn outcome_mut(&self) -> std::sync::MutexGuard<'_, Option<Result<(), String>>> {
        self.outcome.lock().expect("invariant: a panic ends the process")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let loading = Loading::default();
        assert_eq!(loading.outcome(), None);
        loading.begin(7);
        loading.note(50, 2, 1);
        loading.fail("one".to_owned());
        loading.fail("two".to_owned());
        assert_eq!(loading.outcome(), None, "it goes on");
        loading.finish();
        assert_eq!(loading.outcome(), Some(Err("one".to_owned())));
        assert_eq!(loading.progress().loaded_bytes, 50);
        loading.begin(8);
        assert!(!loading.has_failed());
        assert_eq!(loading.progress().keys_loaded, 0);
        loading.finish();
        assert_eq!(loading.outcome(), Some(Ok(())));
    }
}
