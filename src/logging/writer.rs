//! The thread that writes lines: the only one that touches the file or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Settings;
use super::format::{Line, Severity};
use super::syslog::Syslog;
use crate::config::groups::Log;

/// Lines that may wait to be written: a burst of a start with debug messages fits.
const QUEUE_LINES: usize = 8192;
/// Bytes gathered for one write.
const BATCH_BYTES: usize = 64 << 10;
/// How long a flush waits for a disk that does not answer.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What the writer is asked to do.
enum Request {
    /// Write a line.
    Line(Severity, Vec<u8>),
    /// Answer when everything before is written.
    Flush(SyncSender<()>),
    /// End, when everything before is written.
    Stop,
}

/// The queue to the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Request>,
    settings: Arc<Settings>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Opens the file and starts the thread.
    pub(super) fn start(log: &Log, settings: Arc<Settings>) -> io::Result<Self> {
        if let Some(path) = &log.file {
            open(path)?;
        }
        let syslog = log.syslog.then(|| Syslog::new(&log.syslog_ident, log.syslog_facility));
        let (queue, requests) = sync_channel(QUEUE_LINES);
        let mut sink = Sink { file: log.file.clone(), syslog, settings: Arc::clone(&settings) };
        let thread =
            std::thread::Builder::new().name("log".into()).spawn(move || sink.serve(&requests))?;
        Ok(Self { queue, settings, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a line, or counts it as dropped when the queue is full. Never waits.
    pub(super) fn line(&self, severity: Severity, line: Vec<u8>) {
        match self.queue.try_send(Request::Line(severity, line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.settings.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until what is queued is written, for [`FLUSH_TIMEOUT`] at most.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Request::Flush(done)).is_ok() {
            // A timeout leaves the lines to the thread, which is all that can be done.
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    /// Writes what is queued and ends the thread. Lines after this are dropped.
    pub(super) fn stop(&self) {
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            // A thread that is gone already has nothing left to write.
            let _ = self.queue.send(Request::Stop);
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Where lines end up.
struct Sink {
    file: Option<PathBuf>,
    syslog: Option<Syslog>,
    settings: Arc<Settings>,
}

impl Sink {
    fn serve(&mut self, requests: &Receiver<Request>) {
        let mut batch = Vec::new();
        while let Ok(request) = requests.recv() {
            let mut flushed = Vec::new();
            let mut stop = self.take(request, &mut batch, &mut flushed);
            while !stop && batch.len() < BATCH_BYTES {
                let Ok(request) = requests.try_recv() else { break };
                stop = self.take(request, &mut batch, &mut flushed);
            }
            self.report_drops(&mut batch);
            self.write(&batch);
            batch.clear();
            for done in flushed {
                // Whoever waited may have given up.
                let _ = done.try_send(());
            }
            if stop {
                return;
            }
        }
    }

    /// Takes one request in; whether it asks for the end.
    fn take(
        &mut self,
        request: Request,
        batch: &mut Vec<u8>,
        flushed: &mut Vec<SyncSender<()>>,
    ) -> bool {
        match request {
            Request::Line(severity, line) => {
                if let Some(syslog) = &mut self.syslog {
                    syslog.send(severity, &line);
                }
                batch.extend(line);
                false
            }
            Request::Flush(done) => {
                flushed.push(done);
                false
            }
            Request::Stop => true,
        }
    }

    fn report_drops(&self, batch: &mut Vec<u8>) {
        let dropped = self.settings.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!("{dropped} log lines were dropped: they came faster than written");
            batch.extend(Line::plain(Severity::Warning, text).render(&self.settings));
        }
    }

    /// A line that cannot be written is lost: there is nowhere else to say so.
    fn write(&self, batch: &[u8]) {
        if batch.is_empty() {
            return;
        }
        let _ = match &self.file {
            Some(path) => open(path).and_then(|mut file| file.write_all(batch)),
            None => io::stdout().write_all(batch).and_then(|()| io::stdout().flush()),
        };
    }
}
