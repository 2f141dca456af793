//! The append-only log of the process: one order of all changes, of every shard.
//!
//! Each core gathers the records of its round and appends them here at its end, before any message
//! or reply of that round leaves the core (`route::effects`). So whatever depends on a change comes
//! behind it in the log, and the log can be replayed as it stands: by the peers as well, whose form
//! it has.
//!
//! Nobody writes here by profession: the core that finds something to be written, and no write
//! under way, takes all there is and does it ([`Log::begin`], [`Log::finish`]). Under `appendfsync
//! always` one flush so serves every client whose command came meanwhile.
//!
//! What a write takes is a copy into the system's cache, some microseconds, and waking another
//! thread for it would cost more: the core does it itself, before the replies of its round, so that
//! nothing is lost that a client has been told when only the process dies. Flushes go through the
//! core's ring, and so do large writes, and for a while all of them when one has taken long
//! ([`Append::at_once`]): replies do not wait for those.
//!
//! Positions count the bytes of the log since the process began, over all files.

mod file;
mod records;

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard};

pub use file::{Fault, LogFile};
pub use records::{Mark, Records};

use file::Segment;

use crate::config::choice::{ChoiceEnum, FlushPolicy};

/// How long after a failure the next write is tried, microseconds.
const RETRY_US: u64 = 1_000_000;
/// How often what has been written is flushed under `everysec`, microseconds.
const FLUSH_US: u64 = 1_000_000;
/// Bytes that wait to be written, from which on writing commands wait.
const PENDING_MAX: u64 = 64 << 20;
/// Bytes of one write.
const WRITE_MAX: usize = 16 << 20;
/// How long a flush waits at most for more to be flushed with it, microseconds: no longer than the
/// last one took.
const GATHER_US_MAX: u64 = 500;
/// Bytes that a core writes itself: a tenth of a millisecond.
const AT_ONCE_MAX: usize = 256 << 10;
/// A write that takes longer has been kept waiting: by the disk, for want of memory, or for a
/// processor. Microseconds.
const SLOW_WRITE_US: u64 = 2_000;
/// For how long cores write through their rings then, microseconds: at first, and at most when it
/// happens again and again.
const SLOW_US: [u64; 2] = [100_000, 25_600_000];

/// The log. See the module's head.
#[derive(Debug)]
pub struct Log {
    state: Mutex<State>,
    /// Changes are recorded.
    on: AtomicBool,
    policy: AtomicU32,
    /// `aof-timestamp-enabled`.
    stamps: AtomicBool,
    /// The end of what has been appended.
    end: AtomicU64,
    /// The end of what is in the file.
    written: AtomicU64,
    /// The end of what is on the disk.
    durable: AtomicU64,
    /// The system's number of the error of the last write or flush; 0 for none.
    error: AtomicI32,
    /// By which the next flush is delayed, microseconds (`DEBUG AOF-FLUSH-SLEEP`).
    flush_sleep_us: AtomicU64,
    /// Flushes that were put off or lasted for more than a second.
    delayed: AtomicU64,
    /// A file follows the present one.
    changes_file: AtomicBool,
    /// Up to where it is not certain what the files hold, since a flush has failed: until a base
    /// covers it. 0 for nowhere.
    tainted: AtomicU64,
    /// Where the newest file begins.
    newest_from: AtomicU64,
    /// The length of the present file.
    file_bytes: AtomicU64,
    /// Which cores keep answers back until the log is further.
    waiting: Box<[AtomicBool]>,
    /// A core writes or flushes.
    is_busy: AtomicBool,
    /// Until when others may be waited for before the next flush under `always`, monotonic
    /// microseconds.
    gather_until_us: AtomicU64,
    /// What is written takes no time: the last write, and the present one if there is one.
    is_prompt: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// What has been appended and not been taken to be written.
    pending: Vec<u8>,
    /// The rest of a write that was cut short.
    rest: Vec<u8>,
    /// A core writes.
    in_flight: bool,
    segment: Option<Segment>,
    /// The file that follows, and the position from which on.
    next: Option<(u64, Segment)>,
    /// The database that the last record has selected in the file.
    db: Option<u32>,
    /// The second of the last annotation of the time.
    stamped_s: u64,
    flushed_us: u64,
    retry_us: u64,
    /// Flush as soon as there is nothing to write, whatever the policy.
    flush_wanted: bool,
    fault: Option<Fault>,
    spare: Vec<u8>,
    /// Until when cores write through their rings, and for how long they have been told to.
    slow_until_us: u64,
    slow_us: u64,
}

/// A write that a core has taken on.
#[derive(Debug)]
pub struct Append {
    /// The file.
    pub file: std::sync::Arc<LogFile>,
    /// Where in the file.
    pub offset: u64,
    /// The bytes; there may be none.
    pub bytes: Vec<u8>,
    /// How many of them have been written.
    pub written: usize,
    /// The core is to write them itself.
    pub at_once: bool,
    /// How long that took, microseconds.
    pub took_us: u64,
    /// Flush the file's data to the disk then.
    pub flushes: bool,
    /// Let so much time pass before the flush, microseconds.
    pub delay_us: u64,
    began_us: u64,
    /// How many bytes the log knows of.
    noted: usize,
    fault: Option<Fault>,
}

impl Append {
    /// How many of the bytes are to be written.
    pub fn limit(&self) -> usize {
        match self.fault {
            Some(Fault::Write { bytes, .. }) => bytes.min(self.bytes.len()),
            _ => self.bytes.len(),
        }
    }

    /// Writes what is left, on this thread.
    ///
    /// # Errors
    ///
    /// Those of the system. What has been written until then counts.
    pub fn write(&mut self) -> io::Result<()> {
        while self.written < self.limit() {
            let rest = &self.bytes[self.written..self.limit()];
            match self.file.file().write_at(rest, self.offset + self.written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What a write has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is done.
    Done,
    /// It failed and will be tried again.
    Failed,
    /// It failed, and replies depend on it: the process cannot go on.
    Fatal,
}

impl Log {
    /// A log that is off, of a process with so many cores.
    pub fn new(cores: u16) -> Self {
        Self {
            state: Mutex::default(),
            on: AtomicBool::new(false),
            policy: AtomicU32::new(FlushPolicy::default() as u32),
            stamps: AtomicBool::new(false),
            end: AtomicU64::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            error: AtomicI32::new(0),
            flush_sleep_us: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            changes_file: AtomicBool::new(false),
            tainted: AtomicU64::new(0),
            newest_from: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            waiting: (0..cores).map(|_| AtomicBool::new(false)).collect(),
            is_busy: AtomicBool::new(false),
            gather_until_us: AtomicU64::new(0),
            is_prompt: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: a panic ends the process")
    }

    /// Whether changes are recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Begins or ends to record changes. Whoever begins sees to it that nothing is changed between
    /// this and the copy of the data set that the log builds on.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Release);
    }

    /// `appendfsync`, and whether the time is annotated.
    pub fn configure(&self, policy: FlushPolicy, stamps: bool) {
        self.policy.store(policy as u32, Ordering::Relaxed);
        self.stamps.store(stamps, Ordering::Relaxed);
    }

    /// `appendfsync`.
    #[inline]
    pub fn policy(&self) -> FlushPolicy {
        FlushPolicy::from_code(self.policy.load(Ordering::Relaxed))
    }

    /// The end of what has been appended.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The end of what is on the disk.
    #[inline]
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The end of what may be told: what is on the disk under `always`, and otherwise what is in
    /// the file, as long as that takes no time.
    #[inline]
    pub fn reached(&self) -> u64 {
        if self.policy() == FlushPolicy::Always {
            self.durable()
        } else if self.is_prompt.load(Ordering::Acquire) {
            self.written.load(Ordering::Acquire)
        } else {
            u64::MAX
        }
    }

    /// Bytes that have not been written.
    pub fn pending_bytes(&self) -> u64 {
        self.end().saturating_sub(self.written.load(Ordering::Relaxed))
    }

    /// Whether so much waits to be written that nobody may add to it for now.
    #[inline]
    pub fn is_choked(&self) -> bool {
        self.pending_bytes() > PENDING_MAX
    }

    /// The system's number of the error of the last write or flush, if it failed.
    #[inline]
    pub fn error(&self) -> Option<i32> {
        let code = self.error.load(Ordering::Relaxed);
        (code != 0).then_some(code)
    }

    /// Whether the last write or flush failed.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.error.load(Ordering::Relaxed) != 0
    }

    /// Whether a flush has failed of something that no base covers.
    pub fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::Relaxed) > 0
    }

    /// Notes that there is a base for the newest file: what the files before it held is in that.
    pub fn note_base(&self) {
        let _state = self.lock();
        if self.tainted.load(Ordering::Relaxed) <= self.newest_from.load(Ordering::Relaxed) {
            self.tainted.store(0, Ordering::Relaxed);
        }
    }

    /// Flushes that took more than a second.
    pub fn delayed_flushes(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    /// The length of the present file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// How long the present file will be with all that has been appended.
    pub fn end_of_file(&self) -> u64 {
        self.file_bytes() + self.pending_bytes()
    }

    /// Has every flush begin so much later, microseconds: for tests.
    pub fn set_flush_sleep(&self, microseconds: u64) {
        self.flush_sleep_us.store(microseconds, Ordering::Relaxed);
    }

    /// Has the next write or flush fail: for tests.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Appends records; the end of the log with them. They are forgotten.
    pub fn append(&self, records: &mut Records, unix_s: u64) -> u64 {
        let mut state = self.lock();
        if let Some(db) = records.only_db()
            && state.pending.is_empty()
            && state.db == Some(db)
            && !self.stamps.load(Ordering::Relaxed)
        {
            records.swap_bytes(&mut state.pending);
            let added = state.pending.len() as u64;
            return self.end.fetch_add(added, Ordering::AcqRel) + added;
        }
        let before = state.pending.len();
        if self.stamps.load(Ordering::Relaxed) && state.stamped_s != unix_s {
            state.stamped_s = unix_s;
            state.pending.extend_from_slice(format!("#TS:{unix_s}\r\n").as_bytes());
        }
        for (db, bytes) in records.runs() {
            if db != records::ANY_DB && state.db != Some(db) {
                state.db = Some(db);
                let mut number = itoa::Buffer::new();
                let words = [b"SELECT".as_slice(), number.format(db).as_bytes()];
                kvasir_proto::append_request(&mut state.pending, words);
            }
            state.pending.extend_from_slice(bytes);
        }
        records.clear();
        let added = (state.pending.len() - before) as u64;
        self.end.fetch_add(added, Ordering::AcqRel) + added
    }

    /// Takes a file, of which `bytes` are there already. What has been appended before and is not
    /// written belongs to the file before it; without one it is dropped.
    pub fn open(&self, file: LogFile, bytes: u64) {
        let mut state = self.lock();
        let end = self.end();
        state.db = None;
        state.stamped_s = 0;
        let segment = Segment::new(file, bytes);
        self.newest_from.store(end, Ordering::Relaxed);
        if state.segment.is_some() {
            assert!(state.next.is_none(), "invariant: one change of files at a time");
            state.next = Some((end, segment));
            self.changes_file.store(true, Ordering::Release);
            return;
        }
        state.pending.clear();
        state.rest.clear();
        state.segment = Some(segment);
        self.file_bytes.store(bytes, Ordering::Relaxed);
        self.written.store(end, Ordering::Release);
        self.durable.store(end, Ordering::Release);
    }

    /// Ends with the present file, once nothing is written any more; false when that is not so yet.
    /// What has not been written is dropped.
    pub fn close(&self) -> bool {
        let mut state = self.lock();
        if state.in_flight {
            return false;
        }
        let end = self.end();
        *state = State { fault: state.fault, ..State::default() };
        self.is_prompt.store(false, Ordering::Release);
        self.written.store(end, Ordering::Release);
        self.durable.store(end, Ordering::Release);
        self.error.store(0, Ordering::Relaxed);
        self.changes_file.store(false, Ordering::Release);
        true
    }

    /// Notes that a core waits until the log is further. It looks again how far it is after this.
    pub fn note_waiting(&self, core: usize) {
        self.waiting[core].store(true, Ordering::Relaxed);
        // Its partner is in `take_waiting`: either that sees the note, or the look what is there.
        fence(Ordering::SeqCst);
    }

    /// Notes that a core waits for nothing any more.
    pub fn end_waiting(&self, core: usize) {
        self.waiting[core].store(false, Ordering::Relaxed);
    }

    /// The cores other than this one that wait, who are told now.
    pub fn take_waiting(&self, own: usize) -> impl Iterator<Item = usize> {
        fence(Ordering::SeqCst);
        let waits = move |core: &usize| {
            let flag = &self.waiting[*core];
            *core != own && flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Relaxed)
        };
        (0..self.waiting.len()).filter(waits)
    }

    /// Wants everything that has been appended on the disk, as soon as possible.
    pub fn want_flush(&self) {
        self.lock().flush_wanted = true;
    }

    /// Until when a core that expects more may wait with the next flush under `always`, monotonic
    /// microseconds: not while there is one, and not under another policy.
    #[inline]
    pub fn gathers_until(&self, now_us: u64) -> Option<u64> {
        let until_us = self.gather_until_us.load(Ordering::Relaxed);
        let may_wait = now_us < until_us
            && self.policy() == FlushPolicy::Always
            && !self.is_busy.load(Ordering::Relaxed);
        may_wait.then_some(until_us)
    }

    /// Whether there is nothing to write and nothing to flush.
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        state.segment.is_none() || state.next.is_none() && self.durable() == self.end()
    }

    /// Whether the file before a cut is still being written.
    pub fn changes_file(&self) -> bool {
        self.changes_file.load(Ordering::Acquire)
    }

    /// Whether a core may have something to write: a cheap look before [`begin`](Self::begin).
    #[inline]
    pub fn may_have_work(&self) -> bool {
        self.durable() != self.end() || self.changes_file.load(Ordering::Acquire)
    }

    /// What is to be written now, if nobody writes. The caller does it and calls
    /// [`finish`](Self::finish).
    pub fn begin(&self, now_us: u64) -> Option<Append> {
        let mut state = self.lock();
        if state.in_flight || now_us < state.retry_us {
            return None;
        }
        let written = self.written.load(Ordering::Relaxed);
        if state.next.is_some_at(written) && self.durable() == written {
            let (_, segment) = state.next.take().expect("invariant: it has just been looked at");
            self.file_bytes.store(segment.size, Ordering::Relaxed);
            self.changes_file.store(false, Ordering::Release);
            state.segment = Some(segment);
        }
        let bytes = state.take(written);
        let ends_file = state.next.is_some_at(written + bytes.len() as u64);
        let flushes = ends_file || state.flush_wanted || self.flush_is_due(&state, now_us);
        let unflushed = self.durable() != written || !bytes.is_empty();
        let segment = state.segment.as_ref()?;
        if bytes.is_empty() && !(flushes && unflushed) {
            if !unflushed {
                state.flush_wanted = false;
            }
            return None;
        }
        let (file, offset) = (segment.file(), segment.size);
        let delay_us = if flushes { self.flush_sleep_us.load(Ordering::Relaxed) } else { 0 };
        let at_once = bytes.len() <= AT_ONCE_MAX && now_us >= state.slow_until_us;
        self.is_prompt.store(at_once && !bytes.is_empty(), Ordering::Release);
        state.in_flight = true;
        self.is_busy.store(true, Ordering::Relaxed);
        let fault = Fault::take(&mut state.fault, flushes);
        Some(Append {
            file,
            offset,
            bytes,
            written: 0,
            at_once,
            took_us: 0,
            flushes,
            delay_us,
            began_us: now_us,
            noted: 0,
            fault,
        })
    }

    fn flush_is_due(&self, state: &State, now_us: u64) -> bool {
        match self.policy() {
            FlushPolicy::Always => true,
            FlushPolicy::EverySecond => now_us.saturating_sub(state.flushed_us) >= FLUSH_US,
            FlushPolicy::No => false,
        }
    }

    /// Takes a write back that [`begin`](Self::begin) has given: what it has come to, with as many
    /// bytes written as it tells.
    pub fn finish(&self, mut append: Append, outcome: io::Result<()>, now_us: u64) -> Written {
        let outcome = match append.fault {
            Some(fault) => Err(fault.error()),
            None => outcome,
        };
        let mut state = self.lock();
        state.in_flight = false;
        self.is_busy.store(false, Ordering::Relaxed);
        let written = self.count_written(&mut state, &mut append, now_us);
        let is_whole = append.written == append.bytes.len();
        if !is_whole {
            append.bytes.drain(..append.written);
            state.rest = std::mem::take(&mut append.bytes);
        } else if append.bytes.capacity() <= 2 * WRITE_MAX {
            append.bytes.clear();
            state.spare = append.bytes;
        }
        match outcome {
            Ok(()) => {
                if append.flushes && is_whole {
                    state.flushed_us = now_us;
                    self.durable.store(written, Ordering::Release);
                    state.flush_wanted &= written != self.end();
                    let took_us = now_us.saturating_sub(append.began_us);
                    self.delayed.fetch_add(u64::from(took_us > FLUSH_US), Ordering::Relaxed);
                    let gather_us = took_us.min(GATHER_US_MAX);
                    self.gather_until_us.store(now_us + gather_us, Ordering::Relaxed);
                }
                if self.error.swap(0, Ordering::Relaxed) != 0 {
                    tracing::warn!("AOF write error looks solved, The server can write again.");
                }
                Written::Done
            }
            Err(error) => self.note_error(&mut state, &error, (is_whole, append.flushes), now_us),
        }
    }

    /// Notes that a write which a core has done itself is in the file. Its flush is still to come.
    pub fn note_written(&self, append: &mut Append, now_us: u64) {
        let mut state = self.lock();
        self.count_written(&mut state, append, now_us);
        // Nobody writes until the flush has ended.
        self.is_prompt.store(false, Ordering::Release);
    }

    /// Counts what has been written; the end of it.
    fn count_written(&self, state: &mut State, append: &mut Append, now_us: u64) -> u64 {
        let added = (append.written - std::mem::replace(&mut append.noted, append.written)) as u64;
        if let Some(segment) = &mut state.segment {
            segment.size += added;
            self.file_bytes.store(segment.size, Ordering::Relaxed);
        }
        if append.took_us > SLOW_WRITE_US {
            let is_new = now_us >= state.slow_until_us + state.slow_us;
            state.slow_us = if is_new { SLOW_US[0] } else { SLOW_US[1].min(4 * state.slow_us) };
            state.slow_until_us = now_us + state.slow_us;
            self.is_prompt.store(false, Ordering::Release);
            append.took_us = 0;
        }
        self.written.fetch_add(added, Ordering::AcqRel) + added
    }

    fn note_error(
        &self,
        state: &mut State,
        error: &io::Error,
        (was_written, flushes): (bool, bool),
        now_us: u64,
    ) -> Written {
        self.is_prompt.store(false, Ordering::Release);
        let code = error.raw_os_error().unwrap_or(libc::EIO);
        let is_new = self.error.swap(code, Ordering::Relaxed) != code;
        state.retry_us = now_us + RETRY_US;
        if was_written {
            // A failed flush of nothing new at the very beginning counts as well.
            let written = self.written.load(Ordering::Relaxed).max(1);
            self.tainted.store(written, Ordering::Relaxed);
        }
        if is_new {
            let what = if was_written {
                "Fail to fsync the AOF file"
            } else {
                "Error writing to the AOF file"
            };
            tracing::warn!("{what}: {error}");
        }
        if flushes && self.policy() == FlushPolicy::Always {
            tracing::warn!(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. \
                 Exiting..."
            );
            return Written::Fatal;
        }
        Written::Failed
    }
}

impl State {
    /// Takes what is to be written next, from this position on.
    fn take(&mut self, written: u64) -> Vec<u8> {
        if self.segment.is_none() {
            return Vec::new();
        }
        if !self.rest.is_empty() {
            return std::mem::take(&mut self.rest);
        }
        let until = self.next.as_ref().map_or(u64::MAX, |(position, _)| *position);
        let room = usize::try_from(until.saturating_sub(written)).unwrap_or(usize::MAX);
        let length = self.pending.len().min(room).min(WRITE_MAX);
        if length == self.pending.len() {
            return std::mem::replace(&mut self.pending, std::mem::take(&mut self.spare));
        }
        let later = self.pending.split_off(length);
        std::mem::replace(&mut self.pending, later)
    }
}

/// Asks of a following file whether it begins at a position.
trait BeginsAt {
    fn is_some_at(&self, position: u64) -> bool;
}

impl BeginsAt for Option<(u64, Segment)> {
    fn is_some_at(&self, position: u64) -> bool {
        self.as_ref().is_some_and(|(begins, _)| *begins == position)
    }
}

#[cfg(test)]
mod tests;
