//! The command log: commands that were slow, or large in request or reply.
//!
//! Each core logs the commands of its connections, wherever they ran; numbers are drawn from one
//! counter of the process for each log, so that the cores' logs can be merged by them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use kvasir_proto::Args;

use crate::config::groups::Monitoring;

/// Arguments that an entry keeps; the last one says how many more there were.
const ARGUMENTS_MAX: usize = 32;
/// Bytes that an entry keeps of an argument.
const ARGUMENT_BYTES_MAX: usize = 128;
/// What stands for an argument that is a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// Which log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// Commands that took long. The figure of an entry is microseconds.
    Slow,
    /// Requests of many bytes.
    LargeRequest,
    /// Replies of many bytes.
    LargeReply,
}

impl LogKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Slow, Self::LargeRequest, Self::LargeReply];

    /// The log of this name, whatever its case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let names = ["slow", "large-request", "large-reply"];
        let found = names.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map(|index| Self::ALL[index])
    }
}

/// The numbers of the next entries, shared by all cores.
#[derive(Default, Debug)]
pub struct EntryNumbers([AtomicU64; 3]);

impl EntryNumbers {
    fn draw(&self, kind: LogKind) -> u64 {
        // Relaxed: a number has to be unique and larger than those before, nothing else.
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed)
    }
}

/// What a command needs to be logged for, and what it had.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What it took, nanoseconds.
    pub nanoseconds: u64,
    /// Bytes of the request.
    pub request_bytes: usize,
    /// Bytes of the reply.
    pub reply_bytes: usize,
}

impl Measured {
    /// The figure that an entry shows: microseconds or bytes.
    fn figure(self, kind: LogKind) -> u64 {
        match kind {
            LogKind::Slow => self.nanoseconds / 1000,
            LogKind::LargeRequest => self.request_bytes as u64,
            LogKind::LargeReply => self.reply_bytes as u64,
        }
    }
}

/// Who sent a command.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Its address.
    pub peer: &'a [u8],
    /// Its name, or nothing.
    pub name: &'a [u8],
}

/// A logged command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Rises with each entry of its kind in the process.
    pub number: u64,
    /// When it ended, seconds of the Unix epoch.
    pub unix_s: u64,
    /// Microseconds or bytes, by the kind of log.
    pub figure: u64,
    /// The arguments, shortened.
    pub arguments: Vec<Vec<u8>>,
    /// The client's address.
    pub peer: Vec<u8>,
    /// The client's name.
    pub name: Vec<u8>,
}

/// One kind of log.
#[derive(Debug)]
struct Log {
    /// From this figure on a command is entered; none is when it is the largest number.
    least: u64,
    len_max: usize,
    /// The newest last.
    entries: VecDeque<LogEntry>,
}

impl Log {
    const OFF: Self = Self { least: u64::MAX, len_max: 0, entries: VecDeque::new() };

    fn configure(&mut self, least: i64, len_max: u64) {
        self.len_max = usize::try_from(len_max).unwrap_or(usize::MAX);
        let least = u64::try_from(least).unwrap_or(u64::MAX);
        self.least = if self.len_max == 0 { u64::MAX } else { least };
        self.trim();
    }

    fn trim(&mut self) {
        while self.entries.len() > self.len_max {
            self.entries.pop_front();
        }
    }
}

/// The logs of one core.
#[derive(Debug)]
pub struct CommandLog {
    logs: [Log; 3],
    /// The least of the slow log in nanoseconds, so that nothing has to be divided.
    slow_ns: u64,
}

impl Default for CommandLog {
    /// Logs nothing until it is configured.
    fn default() -> Self {
        Self { logs: [Log::OFF, Log::OFF, Log::OFF], slow_ns: u64::MAX }
    }
}

impl CommandLog {
    /// Follows the configuration.
    pub fn configure(&mut self, config: &Monitoring) {
        let [slow, request, reply] = &mut self.logs;
        slow.configure(config.slow_us_min, config.slow_len_max);
        request.configure(config.large_request_bytes_min, config.large_request_len_max);
        reply.configure(config.large_reply_bytes_min, config.large_reply_len_max);
        self.slow_ns = slow.least.saturating_mul(1000);
    }

    /// Whether a command with these figures is to be entered somewhere. Three comparisons, for
    /// every command.
    #[inline]
    pub fn concerns(&self, measured: Measured) -> bool {
        let [_, request, reply] = &self.logs;
        measured.nanoseconds >= self.slow_ns
            || measured.request_bytes as u64 >= request.least
            || measured.reply_bytes as u64 >= reply.least
    }

    /// Enters a command where it belongs. `secrets` are the arguments that are not to be shown.
    pub fn add(
        &mut self,
        numbers: &EntryNumbers,
        unix_us: u64,
        measured: Measured,
        args: Args<'_>,
        secrets: &[usize],
        sender: Sender<'_>,
    ) {
        let arguments = shortened(args, secrets);
        for kind in LogKind::ALL {
            let log = &mut self.logs[kind as usize];
            let figure = measured.figure(kind);
            if figure < log.least {
                continue;
            }
            log.entries.push_back(LogEntry {
                number: numbers.draw(kind),
                unix_s: unix_us / 1_000_000,
                figure,
                arguments: arguments.clone(),
                peer: sender.peer.to_vec(),
                name: sender.name.to_vec(),
            });
            log.trim();
        }
    }

    /// The last entries of a log, at most `count`, the newest first.
    pub fn newest(&self, kind: LogKind, count: usize) -> Vec<LogEntry> {
        self.logs[kind as usize].entries.iter().rev().take(count).cloned().collect()
    }

    /// How many entries a log has on this core, and how many it may have on all cores.
    pub fn len(&self, kind: LogKind) -> (usize, usize) {
        let log = &self.logs[kind as usize];
        (log.entries.len(), log.len_max)
    }

    /// Empties a log.
    pub fn reset(&mut self, kind: LogKind) {
        self.logs[kind as usize].entries.clear();
    }
}

/// Merges what the cores have: the newest first, at most `count`.
pub fn merged(cores: Vec<Vec<LogEntry>>, count: usize) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = cores.into_iter().flatten().collect();
    entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.number));
    entries.truncate(count);
    entries
}

/// The arguments as entries keep them.
fn shortened(args: Args<'_>, secrets: &[usize]) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
    let mut arguments: Vec<Vec<u8>> = Vec::with_capacity(kept + 1);
    for (index, argument) in args.iter().take(kept).enumerate() {
        if secrets.contains(&index) {
            arguments.push(REDACTED.to_vec());
            continue;
        }
        let shown = &argument[..argument.len().min(ARGUMENT_BYTES_MAX)];
        let mut shown = shown.to_vec();
        if argument.len() > ARGUMENT_BYTES_MAX {
            let more = argument.len() - ARGUMENT_BYTES_MAX;
            shown.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
        }
        arguments.push(shown);
    }
    if args.len() > kept {
        arguments.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use kvasir_proto::{ArgRanges, Limits, Parsed, RequestParser};

    use super::*;

    const SENDER: Sender<'static> = Sender { peer: b"127.0.0.1:1", name: b"me" };

    fn with_args<R>(line: &str, act: impl FnOnce(Args<'_>) -> R) -> R {
        let line = format!("{line}\r\n");
        let mut ranges = ArgRanges::default();
        let parsed = RequestParser::new().parse(line.as_bytes(), &Limits::default(), &mut ranges);
        assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "{line}");
        act(ranges.view(line.as_bytes()))
    }

    fn measured(us: u64, request_bytes: usize, reply_bytes: usize) -> Measured {
        Measured { nanoseconds: us * 1000, request_bytes, reply_bytes }
    }

    fn log(slow_us_min: i64, len_max: u64) -> CommandLog {
        let mut log = CommandLog::default();
        log.configure(&Monitoring {
            slow_us_min,
            slow_len_max: len_max,
            large_request_bytes_min: 100,
            large_request_len_max: len_max,
            large_reply_bytes_min: -1,
            large_reply_len_max: len_max,
            ..Monitoring::default()
        });
        log
    }

    #[test]
    fn only_what_reaches_a_threshold_concerns_the_log() {
        let log = log(10, 5);
        assert!(!log.concerns(measured(9, 99, 1 << 40)));
        assert!(log.concerns(measured(10, 0, 0)));
        assert!(log.concerns(measured(0, 100, 0)));
        assert!(!CommandLog::default().concerns(measured(u64::MAX / 1000, 1 << 40, 1 << 40)));
        assert!(!self::log(0, 0).concerns(measured(1, 1, 1)));
    }

    #[test]
    fn the_oldest_entries_go_and_cores_merge_by_number() {
        let numbers = EntryNumbers::default();
        let (mut one, mut other) = (log(0, 3), log(0, 3));
        for turn in 0..10 {
            let core = if turn % 3 == 0 { &mut one } else { &mut other };
            with_args(&format!("get k{turn}"), |args| {
                core.add(&numbers, 7_000_000, measured(turn, 0, 0), args, &[], SENDER);
            });
        }
        assert_eq!(one.len(LogKind::Slow), (3, 3));
        assert_eq!(one.len(LogKind::LargeRequest), (0, 3));
        let cores = vec![one.newest(LogKind::Slow, 9), other.newest(LogKind::Slow, 9)];
        let entries = merged(cores, 3);
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [9, 8, 7]);
        assert_eq!(entries[0].arguments, [b"get".to_vec(), b"k9".to_vec()]);
        assert_eq!((entries[0].figure, entries[0].unix_s), (9, 7));
        one.reset(LogKind::Slow);
        assert_eq!(one.len(LogKind::Slow).0, 0);
    }

    #[test]
    fn arguments_are_shortened_and_secrets_hidden() {
        let text = |arguments: Vec<Vec<u8>>| {
            let words: Vec<String> =
                arguments.into_iter().map(|word| String::from_utf8(word).unwrap()).collect();
            words.join(" ")
        };
        let shown = with_args("auth me secret", |args| shortened(args, &[1, 2]));
        assert_eq!(text(shown), "auth (redacted) (redacted)");
        let line = format!("set k {}", "A".repeat(129));
        let shown = with_args(&line, |args| shortened(args, &[]));
        assert_eq!(text(shown), format!("set k {}... (1 more bytes)", "A".repeat(128)));
        let numbers: Vec<String> = (1..=32).map(|number: u32| number.to_string()).collect();
        let line = format!("mget {}", numbers.join(" "));
        let shown = with_args(&line, |args| shortened(args, &[]));
        assert_eq!(shown.len(), ARGUMENTS_MAX);
        assert_eq!(text(shown[30..].to_vec()), "30 ... (2 more arguments)");
        let line = format!("mget {}", numbers[..31].join(" "));
        let shown = with_args(&line, |args| shortened(args, &[]));
        assert_eq!(text(shown[30..].to_vec()), "30 31");
    }
}
