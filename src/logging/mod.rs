//! The log: `tracing` events as lines, in the peers' format or as JSON, written by a thread of its
//! own.
//!
//! A core that logs formats its line and hands it to a bounded queue; it never waits for a disk or
//! a terminal. When the queue is full the line is dropped and counted, and the log says so as soon
//! as it can. The writer opens the file for every batch of lines, so that a log that was moved away
//! or truncated goes on in a new file without a signal, as with the peers.
//!
//! Levels, most severe first, with the sign that the peers print:
//!
//! | macro | peers | sign |
//! |---|---|---|
//! | `tracing::error!`, `tracing::warn!` | warning | `#` |
//! | `tracing::info!` | notice | `*` |
//! | `tracing::debug!` | verbose | `-` |
//! | `tracing::trace!` | debug | `.` |
//!
//! Fields of an event follow its message as `name=value`, and are members of the JSON object.
//! Events of libraries are logged from `warn` on.

mod format;
mod layer;
mod syslog;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tracing_subscriber::layer::SubscriberExt;

use self::layer::LineLayer;
use self::writer::Writer;
use crate::config::choice::{ChoiceEnum, LogFormat, LogLevel, TimestampFormat};
use crate::config::groups::Log;

/// What the server is to others, which the peers print as one letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It takes writes: `M`.
    Primary = b'M',
    /// It follows a primary: `S`.
    Replica = b'S',
    /// It watches others: `X`.
    Sentinel = b'X',
}

impl Role {
    fn from_letter(letter: u8) -> Self {
        match letter {
            b'S' => Self::Replica,
            b'X' => Self::Sentinel,
            _ => Self::Primary,
        }
    }

    /// The word of the logfmt and JSON formats.
    fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Sentinel => "sentinel",
        }
    }
}

/// What may change while lines are written: read by every core for every line, without a lock.
#[derive(Debug)]
struct Settings {
    level: AtomicU8,
    format: AtomicU8,
    timestamp: AtomicU8,
    role: AtomicU8,
    /// Lines that found the queue full since the writer last looked.
    dropped: AtomicU64,
}

impl Settings {
    fn new(log: &Log) -> Self {
        let settings = Self {
            level: AtomicU8::new(0),
            format: AtomicU8::new(0),
            timestamp: AtomicU8::new(0),
            role: AtomicU8::new(Role::Primary as u8),
            dropped: AtomicU64::new(0),
        };
        settings.store(log);
        settings
    }

    fn store(&self, log: &Log) {
        self.level.store(log.level as u8, Ordering::Relaxed);
        self.format.store(log.format as u8, Ordering::Relaxed);
        self.timestamp.store(log.timestamp as u8, Ordering::Relaxed);
    }

    fn level(&self) -> LogLevel {
        LogLevel::from_code(self.level.load(Ordering::Relaxed).into())
    }

    fn format(&self) -> LogFormat {
        LogFormat::from_code(self.format.load(Ordering::Relaxed).into())
    }

    fn timestamp(&self) -> TimestampFormat {
        TimestampFormat::from_code(self.timestamp.load(Ordering::Relaxed).into())
    }

    fn role(&self) -> Role {
        Role::from_letter(self.role.load(Ordering::Relaxed))
    }
}

/// The running log. Dropping it writes what is queued and ends the writer.
#[derive(Debug)]
pub struct Logging {
    settings: Arc<Settings>,
    writer: Arc<Writer>,
}

/// Starts the log and makes it the process's subscriber of `tracing`.
///
/// To be called once, after the process has detached (threads do not survive that). A relative file
/// is relative to the working directory at each moment. Fails when the file cannot be opened or the
/// writer's thread cannot be started.
pub fn start(log: &Log) -> io::Result<Logging> {
    let (logging, subscriber) = Logging::new(log)?;
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    Ok(logging)
}

impl Logging {
    /// A log that is not the process's own; what tests write to.
    fn new(log: &Log) -> io::Result<(Self, impl tracing::Subscriber + Send + Sync + use<>)> {
        let settings = Arc::new(Settings::new(log));
        let writer = Arc::new(Writer::start(log, Arc::clone(&settings))?);
        let layer = LineLayer::new(Arc::clone(&settings), Arc::clone(&writer));
        Ok((Self { settings, writer }, tracing_subscriber::registry().with(layer)))
    }

    /// Follows a change of `loglevel`, `log-format` and `log-timestamp-format`.
    pub fn reconfigure(&self, log: &Log) {
        self.settings.store(log);
        // Call sites remember whether they are enabled.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Shows another role from the next line on.
    pub fn set_role(&self, role: Role) {
        self.settings.role.store(role as u8, Ordering::Relaxed);
    }

    /// Waits until every line so far is written, for a second at most.
    pub fn flush(&self) {
        self.writer.flush();
    }

    /// Has a panic of any thread logged, with its place, before the hook that was there runs.
    pub fn report_panics(&self) {
        let writer = Arc::clone(&self.writer);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tracing::error!("{panic}");
            writer.flush();
            before(panic);
        }));
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.writer.stop();
    }
}

#[cfg(test)]
mod tests;
