//! What a core counts: commands, bytes, latencies, and the command log.
//!
//! Each core counts for itself, without sharing; whoever wants the process's figures collects those
//! of every core ([`figures::Figures`]) and adds them up. What concerns the process as a whole (its
//! memory) is measured by the first core and lies in [`memory::ProcessMemory`].

pub mod command_log;
pub mod counters;
pub mod errors;
pub mod figures;
pub mod histogram;
pub mod latency;
pub mod memory;
pub mod rates;

use crate::commands::definition::Flags;
use crate::commands::table::{CommandId, Entry, table};
use crate::config::groups::Monitoring;
use crate::errors::CommandError;
use crate::route::engine::Now;
use crate::route::message::{Blame, Done};
use crate::server::clock::Stopwatch;
use command_log::CommandLog;
use counters::Counters;
use errors::ErrorCounts;
use histogram::Histogram;
use latency::{Event, Events};
use rates::{Rates, Sampler};

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

impl CommandFigures {
    /// Adds those of another core.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.nanoseconds += other.nanoseconds;
        self.rejected += other.rejected;
        self.failed += other.failed;
    }

    /// Whether there is anything to show.
    pub fn is_any(&self) -> bool {
        self.calls + self.rejected + self.failed > 0
    }
}

/// The figures of one core. Those of the process are their sum.
pub struct Metrics {
    /// By the command's number in the table.
    pub commands: Vec<CommandFigures>,
    /// Numbers that only rise.
    pub counters: Counters,
    /// Error replies by their code.
    pub errors: ErrorCounts,
    /// The longest round of the loop, nanoseconds.
    pub cycle_ns_max: u64,
    /// The most commands in one round of the loop.
    pub cycle_commands_max: u64,
    /// Keys that had expired when the figures were last reset.
    pub expired_before: u64,
    /// Fields and members that had expired then.
    pub expired_fields_before: u64,
    /// The slow, the large requests and the large replies.
    pub command_log: CommandLog,
    /// What took longer than `latency-monitor-threshold`.
    pub events: Events,
    /// By the command's number in the table, for those that have run since they are tracked.
    histograms: Vec<Option<Box<Histogram>>>,
    /// `latency-tracking`.
    tracking: bool,
    /// From how many nanoseconds on something is an event.
    event_ns: u64,
    /// The second of this round, of the Unix epoch.
    unix_s: u64,
    stopwatch: Stopwatch,
    lap_began: u64,
    sampler: Sampler,
    round: Round,
}

/// What a round of the loop began with.
#[derive(Clone, Copy, Default, Debug)]
struct Round {
    ticks: u64,
    commands: u64,
    /// Something has come since the last round that was counted.
    busy: bool,
}

impl Metrics {
    /// Everything at zero.
    pub fn new(stopwatch: Stopwatch) -> Self {
        Self {
            commands: vec![CommandFigures::default(); table().len()],
            counters: Counters::default(),
            errors: ErrorCounts::default(),
            cycle_ns_max: 0,
            cycle_commands_max: 0,
            expired_before: 0,
            expired_fields_before: 0,
            command_log: CommandLog::default(),
            events: Events::default(),
            histograms: vec![None; table().len()],
            tracking: false,
            event_ns: u64::MAX,
            unix_s: 0,
            stopwatch,
            lap_began: 0,
            sampler: Sampler::default(),
            round: Round::default(),
        }
    }

    /// Back to zero, as `CONFIG RESETSTAT` wants it. What has been sampled of rates goes too; the
    /// command log and the latency events stay. `expired` and `expired_fields`: keys and members of
    /// collections that have expired since the start.
    pub fn reset(&mut self, expired: u64, expired_fields: u64) {
        self.commands.fill(CommandFigures::default());
        self.histograms.fill(None);
        self.counters = Counters::default();
        self.errors = ErrorCounts::default();
        self.cycle_ns_max = 0;
        self.cycle_commands_max = 0;
        self.expired_before = expired;
        self.expired_fields_before = expired_fields;
        self.sampler.reset();
        self.round.commands = 0;
    }

    /// Follows the configuration.
    pub fn configure(&mut self, config: &Monitoring) {
        self.command_log.configure(config);
        self.tracking = config.latency_tracking;
        self.event_ns = match config.latency_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
    }

    /// The latencies of these commands, of those that have been tracked.
    pub fn histograms_of(&self, commands: &[CommandId]) -> Vec<Option<Histogram>> {
        let histogram = |id: &CommandId| self.histograms[id.index()].as_deref().cloned();
        commands.iter().map(histogram).collect()
    }

    /// A round begins.
    pub fn start_round(&mut self, now: Now) {
        self.unix_s = now.unix_us / 1_000_000;
        self.round.ticks = self.stopwatch.ticks();
        self.round.commands = self.counters.commands_processed;
    }

    /// The round brings something: it is one that is counted.
    pub fn note_event(&mut self) {
        self.round.busy = true;
    }

    /// Whether the round has brought something.
    pub fn is_busy(&self) -> bool {
        self.round.busy
    }

    /// A round ends. Rounds that brought nothing are not counted: a core that looks for work does
    /// not count its looks.
    pub fn end_round(&mut self) {
        if !std::mem::take(&mut self.round.busy) {
            return;
        }
        let elapsed_ns = self.stopwatch.elapsed_ns(self.round.ticks);
        // At least 1, so that a round that was counted is seen even with a coarse counter.
        self.counters.cycle_ns += elapsed_ns.max(1);
        self.counters.cycles += 1;
        self.cycle_ns_max = self.cycle_ns_max.max(elapsed_ns);
        // A reset within the round leaves fewer commands than it began with.
        let commands = self.counters.commands_processed.saturating_sub(self.round.commands);
        self.cycle_commands_max = self.cycle_commands_max.max(commands);
    }

    /// When figures are next to be sampled, on the monotonic clock.
    pub fn next_sample_us(&self) -> u64 {
        self.sampler.due_us()
    }

    /// Takes a sample, if one is due. The caller may then do what else is to be done as often.
    pub fn sample_if_due(&mut self, now: Now) -> bool {
        let due = now.monotonic_us >= self.sampler.due_us();
        if due {
            self.sampler.sample(now.monotonic_us, &self.counters);
            self.note_event();
        }
        due
    }

    /// Counts the time that periodic work has taken since the round began.
    pub fn end_periodic(&mut self) {
        self.counters.periodic_ns += self.stopwatch.elapsed_ns(self.round.ticks).max(1);
    }

    /// What happens a second at present.
    pub fn rates(&self) -> Rates {
        self.sampler.rates()
    }

    /// Starts to measure a run of commands: each ends where the next begins.
    pub fn start_lap(&mut self) {
        self.lap_began = self.stopwatch.ticks();
    }

    /// The stopwatch's reading, for [`event_since`](Self::event_since).
    pub fn ticks(&self) -> u64 {
        self.stopwatch.ticks()
    }

    /// Notes an event that began at this reading, if it took long.
    pub fn event_since(&mut self, event: Event, began: u64) {
        let nanoseconds = self.stopwatch.elapsed_ns(began);
        if nanoseconds >= self.event_ns {
            self.events.record(event, self.unix_s, nanoseconds);
        }
    }

    /// Nanoseconds since the last lap, or since the start.
    pub fn lap(&mut self) -> u64 {
        let now = self.stopwatch.ticks();
        let began = std::mem::replace(&mut self.lap_began, now);
        self.stopwatch.nanoseconds(now.saturating_sub(began))
    }

    /// Counts a command that has run. `reply` is looked at when it failed.
    #[inline]
    pub fn record(&mut self, entry: &'static Entry, done: Done, reply: &[u8]) {
        let figures = &mut self.commands[entry.id.index()];
        figures.calls += 1;
        figures.nanoseconds += done.nanoseconds;
        self.counters.commands_processed += 1;
        if self.tracking {
            let histogram = &mut self.histograms[entry.id.index()];
            histogram.get_or_insert_default().record(done.nanoseconds);
        }
        if done.nanoseconds >= self.event_ns {
            let fast = entry.command.flags.has(Flags::FAST);
            let event = if fast { Event::FastCommand } else { Event::Command };
            self.events.record(event, self.unix_s, done.nanoseconds);
        }
        if done.failed {
            figures.failed += 1;
            match done.blame {
                Blame::Command => self.count_error(reply),
                Blame::Script => {
                    self.counters.errors += 1;
                    self.errors.count_made_up(reply);
                }
                Blame::Counted => {}
            }
        }
    }

    /// Counts a request that was refused before it ran. Of one with the wrong number of arguments
    /// the error knows the command.
    #[cold]
    pub fn rejected(&mut self, entry: Option<&'static Entry>, error: &CommandError) {
        self.count_error(error.to_string().as_bytes());
        let entry = entry.or_else(|| match error {
            CommandError::WrongArity(name) => {
                table().iter().find(|entry| entry.full_name == name.as_str())
            }
            _ => None,
        });
        if let Some(entry) = entry {
            self.commands[entry.id.index()].rejected += 1;
        }
    }

    /// Counts an error reply that belongs to no command.
    #[cold]
    pub fn count_error(&mut self, reply: &[u8]) {
        self.counters.errors += 1;
        self.errors.count(reply);
    }
}
