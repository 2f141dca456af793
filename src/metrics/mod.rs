//! What a core counts: commands, bytes, latencies, and the command log.

pub mod command_log;

use crate::commands::table::{Entry, table};
use crate::errors::CommandError;
use crate::route::engine::Now;
use crate::route::message::Done;
use crate::server::clock::Stopwatch;
use command_log::CommandLog;

/// Figures of one command.
#[derive(Clone, Default, Debug)]
pub struct CommandFigures {
    /// Times it has run.
    pub calls: u64,
    /// Time it has taken in all, nanoseconds.
    pub nanoseconds: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and failed.
    pub failed: u64,
}

/// The figures of one core. Those of the process are their sum.
pub struct Metrics {
    /// By the command's number in the table.
    pub commands: Vec<CommandFigures>,
    /// Commands run.
    pub commands_processed: u64,
    /// Connections accepted.
    pub connections_received: u64,
    /// Connections refused.
    pub connections_rejected: u64,
    /// Bytes received from clients.
    pub net_in: u64,
    /// Bytes sent to clients.
    pub net_out: u64,
    /// Streams that were no requests.
    pub protocol_errors: u64,
    /// Error replies.
    pub errors: u64,
    /// Clients closed for `client-query-buffer-limit`.
    pub query_buffer_limit_disconnections: u64,
    /// Attempts of transactions that were refused a lock and began again.
    pub transactions_retried: u64,
    /// The slow, the large requests and the large replies.
    pub command_log: CommandLog,
    stopwatch: Stopwatch,
    lap_began: u64,
}

impl Metrics {
    /// Everything at zero.
    pub fn new(stopwatch: Stopwatch) -> Self {
        Self {
            commands: vec![CommandFigures::default(); table().len()],
            commands_processed: 0,
            connections_received: 0,
            connections_rejected: 0,
            net_in: 0,
            net_out: 0,
            protocol_errors: 0,
            errors: 0,
            query_buffer_limit_disconnections: 0,
            transactions_retried: 0,
            command_log: CommandLog::default(),
            stopwatch,
            lap_began: 0,
        }
    }

    /// Everything back to zero: `CONFIG RESETSTAT`.
    pub fn reset(&mut self) {
        let command_log = std::mem::take(&mut self.command_log);
        *self = Self { command_log, ..Self::new(self.stopwatch) };
    }

    /// A round begins.
    pub fn tick(&mut self, _now: Now) {}

    /// When figures are next to be sampled, on the monotonic clock.
    pub fn next_sample_us(&self) -> Option<u64> {
        None
    }

    /// Starts to measure a run of commands: each ends where the next begins.
    pub fn start_lap(&mut self) {
        self.lap_began = self.stopwatch.ticks();
    }

    /// Nanoseconds since the last lap, or since the start.
    pub fn lap(&mut self) -> u32 {
        let now = self.stopwatch.ticks();
        let began = std::mem::replace(&mut self.lap_began, now);
        u32::try_from(self.stopwatch.nanoseconds(now.saturating_sub(began))).unwrap_or(u32::MAX)
    }

    /// Counts a command that has run.
    pub fn record(&mut self, entry: &'static Entry, done: Done) {
        let figures = &mut self.commands[entry.id.index()];
        figures.calls += 1;
        figures.nanoseconds += u64::from(done.nanoseconds);
        self.commands_processed += 1;
        if done.failed {
            figures.failed += 1;
            self.errors += 1;
        }
    }

    /// Counts a command that was refused before it ran.
    pub fn rejected(&mut self, entry: Option<&'static Entry>, _error: &CommandError) {
        self.errors += 1;
        if let Some(entry) = entry {
            self.commands[entry.id.index()].rejected += 1;
        }
    }
}
