//! From the files of a log into the shards.
//!
//! One thread reads the files in the order of the manifest. A base in the form of a dump file goes
//! straight to the shards ([`crate::persist::load`]); commands are checked and go to the first core
//! ([`super::replay`]). Nothing expires until everything has been loaded, since what a log removes
//! it removes with commands.
//!
//! The lines of the log are those of Valkey, which people and programs look for.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kvasir_proto::Args;

use super::manifest::{LogFile, Manifest};
use super::reader::{CommandReader, LogError, LogErrorKind, Record, Strictness};
use super::replay::{Interrupted, ReplayPort, ReplaySender};
use super::store;
use crate::commands::definition::{Flags, Handler};
use crate::commands::table::{Entry, resolve};
use crate::config::Config;
use crate::persist::load::{Existing, Failure, Job, Port, advice, load_options};
use crate::route::settings::encoding_limits;
use crate::route::shared::Shared;

/// What a dump file begins with.
const SIGNATURES: [&[u8]; 2] = [b"REDIS", b"VALKEY"];

/// Where a log lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogPlace {
    /// The directory (`appenddirname`), absolute.
    pub directory: PathBuf,
    /// What the names of its files begin with (`appendfilename`).
    pub prefix: OsString,
    /// Where the log was before logs had directories.
    pub single: PathBuf,
}

impl LogPlace {
    /// Where the configuration says.
    pub fn of(config: &Config) -> Self {
        let log = &config.persistence.log;
        Self {
            directory: config.process.directory.join(&log.directory),
            prefix: log.file_name.clone().into_os_string(),
            single: config.process.directory.join(&log.file_name),
        }
    }
}

/// A log that has been loaded, as it lies on the disk.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LoadedLog {
    /// Its files; none of them when there was no log.
    pub manifest: Manifest,
    /// Bytes of its base.
    pub base_bytes: u64,
    /// Bytes of its last incremental file.
    pub last_incr_bytes: u64,
    /// Bytes of its base and of all its incremental files.
    pub total_bytes: u64,
}

/// A log that is to be loaded.
#[derive(Debug)]
pub struct LogJob {
    place: LogPlace,
    /// Whether a file that ends too early is cut (`aof-load-truncated`).
    truncates: bool,
    /// Takes a base in the form of a dump file, unless it has been there.
    base: Option<Job>,
    commands: ReplaySender,
    /// Bytes of the files that have been read.
    read: u64,
}

/// What the cores need for a job.
#[derive(Debug)]
pub struct LogPorts {
    /// The shards' ends, in order, for a base in the form of a dump file.
    pub shards: Vec<Port>,
    /// The first core's end, for commands.
    pub commands: ReplayPort,
}

impl LogJob {
    /// A job for so many shards.
    pub fn new(config: &Config, now_ms: u64, shards: u16) -> (Self, LogPorts) {
        let place = LogPlace::of(config);
        let (path, limits) = (place.directory.clone(), encoding_limits(config));
        let shards = (shards, Existing::Refused);
        let (base, ports) = Job::new(path, load_options(config), now_ms, limits, shards);
        let (commands, port) = ReplaySender::new();
        let truncates = config.persistence.log.load_truncated;
        let job = Self { place, truncates, base: Some(base.keeping_expired()), commands, read: 0 };
        (job, LogPorts { shards: ports, commands: port })
    }

    /// Loads the log, and leaves what it found in [`Shared`]; true when everything has been loaded.
    /// Clients have to wait, and nothing expires, until [`finish`](crate::persist::state::Loading)
    /// is called. Blocks: to be called on a thread of its own, after
    /// [`begin_replay`](crate::persist::state::Loading::begin_replay).
    pub fn run(self, shared: &Shared) -> bool {
        let loading = &shared.persistence.loading;
        match self.load(shared) {
            Ok(log) if !loading.has_failed() => {
                shared.persistence.set_loaded_log(log);
                return true;
            }
            // A core has told why.
            Ok(_) => {}
            Err(reason) => {
                reason.lines().for_each(|line| tracing::warn!("{line}"));
                loading.fail("the append-only log cannot be loaded".to_owned());
            }
        }
        false
    }

    /// The error is what to log.
    fn load(mut self, shared: &Shared) -> Result<LoadedLog, String> {
        let began = Instant::now();
        let manifest = store::load(&self.place.directory, &self.place.prefix);
        let mut manifest = manifest.map_err(|error| error.to_string())?.unwrap_or_default();
        if self.is_single(&manifest)? {
            manifest = self.move_in()?;
        }
        let files: Vec<&LogFile> = manifest.base().into_iter().chain(manifest.incrs()).collect();
        let sizes = files.iter().map(|file| self.size(file)).collect::<Result<Vec<u64>, _>>()?;
        shared.persistence.loading.note_total(sizes.iter().sum());
        let base_files = usize::from(manifest.base().is_some());
        let mut lens = Vec::new();
        for (index, (file, size)) in files.iter().zip(&sizes).enumerate() {
            let kind = if index < base_files { "base" } else { "incr" };
            let is_last = index + 1 == files.len();
            lens.push(self.load_file(shared, file, kind, *size, is_last)?);
        }
        let stopped = |_| "Loading the append-only log was interrupted".to_owned();
        self.commands.finish().map_err(stopped)?;
        if shared.stopping() {
            return Err(stopped(Interrupted));
        }
        if sizes.iter().any(|size| *size > 0) {
            let seconds = began.elapsed().as_secs_f64();
            tracing::info!("DB loaded from append only file: {seconds:.3} seconds");
        }
        let base_bytes = lens[..base_files].iter().sum();
        let last_incr_bytes = lens[base_files..].last().copied().unwrap_or(0);
        let total_bytes = lens.iter().sum();
        drop(files);
        Ok(LoadedLog { manifest, base_bytes, last_incr_bytes, total_bytes })
    }

    /// Whether the log is one file outside of the directory, of before there were directories; or
    /// somebody was stopped while moving it there.
    fn is_single(&self, manifest: &Manifest) -> Result<bool, String> {
        let LogPlace { directory, prefix, single } = &self.place;
        if !exists(single)? || !single.is_file() {
            return Ok(false);
        }
        let is_moving = manifest.incrs().is_empty()
            && manifest.base().is_some_and(|base| base.name == *prefix)
            && !exists(&directory.join(prefix))?;
        Ok(manifest.is_empty() || is_moving)
    }

    /// Makes the one file of an old log the base of one with a directory.
    fn move_in(&self) -> Result<Manifest, String> {
        let LogPlace { directory, prefix, single } = &self.place;
        let shown = directory.display();
        fs::create_dir_all(directory)
            .map_err(|error| format!("Can't open or create append-only dir {shown}: {error}"))?;
        let manifest = Manifest::of_single_file(prefix);
        let moved = store::store(directory, &manifest, prefix)
            .and_then(|()| fs::rename(single, directory.join(prefix)))
            .and_then(|()| store::sync_directory(directory));
        let (file, directory) = (single.display(), directory.display());
        moved.map_err(|error| {
            format!("Error trying to move the old AOF file {file} into dir {directory}: {error}")
        })?;
        tracing::info!(
            "Successfully migrated an old-style AOF file ({}) into the AOF directory ({directory}).",
            prefix.display()
        );
        Ok(manifest)
    }

    fn size(&self, file: &LogFile) -> Result<u64, String> {
        let metadata = fs::metadata(self.place.directory.join(&file.name));
        let metadata = metadata.map_err(|error| {
            let name = file.name.display();
            format!("Unable to obtain the AOF file {name} length. stat: {error}")
        })?;
        Ok(metadata.len())
    }

    /// Loads a file of this size; what it has afterwards.
    fn load_file(
        &mut self,
        shared: &Shared,
        file: &LogFile,
        kind: &str,
        size: u64,
        is_last: bool,
    ) -> Result<u64, String> {
        if size == 0 {
            return Ok(0);
        }
        let began = Instant::now();
        let name = file.name.display();
        let path = self.place.directory.join(&file.name);
        let mut source = File::open(&path).map_err(|error| {
            format!("Fatal error: can't open the append log file {name} for reading: {error}")
        })?;
        let unreadable = |error: io::Error| {
            format!("Unrecoverable error reading the append only file {name}: {error}")
        };
        let from = if begins_as_dump(&mut source).map_err(unreadable)? {
            self.load_dump(shared, &path, &file.name)?
        } else {
            0
        };
        source.seek(SeekFrom::Start(from)).map_err(unreadable)?;
        let mut reader = CommandReader::new(source, from, size, Strictness::Server);
        self.commands.begin_file().map_err(|_| "Loading was interrupted".to_owned())?;
        let outcome = self.feed(shared, &mut reader, &file.name);
        let len = match outcome {
            Ok(()) => size,
            Err(Stop::Fatal(reason)) => return Err(reason),
            Err(Stop::Cut) => self.cut(&file.name, &path, reader.whole(), is_last)?,
        };
        self.read += size;
        shared.persistence.loading.note_bytes(self.read);
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!("DB loaded from {kind} file {name}: {seconds:.3} seconds");
        Ok(len)
    }

    /// Loads what a file begins with, as a dump file; where that ends.
    fn load_dump(&mut self, shared: &Shared, path: &Path, name: &OsStr) -> Result<u64, String> {
        let is_old = name == self.place.prefix;
        let name = name.display();
        let job = self.base.take().ok_or_else(|| bad_format(&name))?;
        let what = if is_old {
            tracing::info!("Reading RDB preamble from AOF file...");
            "preamble of the AOF"
        } else {
            tracing::info!("Reading RDB base file on AOF loading...");
            "base"
        };
        let end = job.load_beginning(shared, path).map_err(|failure| {
            let whole = format!("Error reading the RDB {what} file {name}, AOF loading aborted");
            match failure {
                Failure::File(error) => format!("{error}. {}\n{whole}", advice(&error.kind)),
                Failure::Interrupted => whole,
            }
        })?;
        if is_old {
            tracing::info!("Reading the remaining AOF tail...");
        }
        Ok(end)
    }

    /// Hands the commands of a file to the first core, to the file's end.
    fn feed(
        &mut self,
        shared: &Shared,
        reader: &mut CommandReader<File>,
        name: &OsStr,
    ) -> Result<(), Stop> {
        // What is no dump goes to the first core alone.
        self.base = None;
        let interrupted = |_| Stop::Fatal("Loading was interrupted".to_owned());
        loop {
            let record = reader.read().map_err(|error| stop_of(error, name))?;
            let Some(record) = record else { break };
            if record == Record::Remark {
                continue;
            }
            check_command(reader.args()).map_err(|reason| {
                let (name, offset) = (name.display(), reader.start());
                Stop::Fatal(format!(
                    "Error reading the append only file {name}, error: {reason} (at offset \
                     {offset})"
                ))
            })?;
            if self.commands.command(reader.text()).map_err(interrupted)? {
                shared.persistence.loading.note_bytes(self.read + reader.offset());
                if shared.stopping() || shared.persistence.loading.has_failed() {
                    return Err(interrupted(Interrupted));
                }
            }
            delay(shared);
        }
        if reader.open_transaction().is_some() {
            let name = name.display();
            tracing::warn!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
            return Err(Stop::Cut);
        }
        Ok(())
    }

    /// Cuts a file that ends too early behind its last whole command, if that is wanted; its new
    /// length.
    fn cut(&self, name: &OsStr, path: &Path, len: u64, is_last: bool) -> Result<u64, String> {
        let name = name.display();
        if !self.truncates {
            return Err(format!(
                "Unexpected end of file reading the append only file {name}. You can: 1) Make a \
                 backup of your AOF file, then use ./kvasir-check-aof --fix <filename.manifest>. \
                 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes \
                 and restart the server."
            ));
        }
        tracing::warn!("!!! Warning: short read while loading the AOF file {name}!!!");
        if !is_last {
            return Err("Fatal error: the truncated file is not the last file".to_owned());
        }
        tracing::warn!("!!! Truncating the AOF {name} at offset {len} !!!");
        let cut = OpenOptions::new().write(true).open(path).and_then(|file| {
            file.set_len(len)?;
            file.sync_all()
        });
        cut.map_err(|error| format!("Error truncating the AOF file {name}: {error}"))?;
        tracing::warn!("AOF {name} loaded anyway because aof-load-truncated is enabled");
        Ok(len)
    }
}

/// Why a file is not read to its end.
enum Stop {
    /// It ends too early.
    Cut,
    /// What to log.
    Fatal(String),
}

fn stop_of(error: LogError, name: &OsStr) -> Stop {
    let name = name.display();
    match error.kind {
        LogErrorKind::Io(error) => {
            Stop::Fatal(format!("Unrecoverable error reading the append only file {name}: {error}"))
        }
        kind if kind.is_cut() => Stop::Cut,
        kind => Stop::Fatal(format!("{kind}, at offset {}\n{}", error.offset, bad_format(name))),
    }
}

fn bad_format(name: impl Display) -> String {
    format!(
        "Bad file format reading the append only file {name}: make a backup of your AOF file, then \
         use ./kvasir-check-aof --fix <filename.manifest>"
    )
}

fn exists(path: &Path) -> Result<bool, String> {
    path.try_exists().map_err(|error| format!("{}: {error}", path.display()))
}

fn begins_as_dump(source: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    source.take(8).read_to_end(&mut head)?;
    Ok(is_dump(&head))
}

/// Whether a file that begins with this is a dump file, or begins with one.
pub fn is_dump(head: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| head.starts_with(signature))
}

/// Whether this is a command that a log may have. The error is in the peers' words.
fn check_command(args: Args<'_>) -> Result<(), String> {
    let entry = resolve(args).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix("ERR ").unwrap_or(&text).to_owned()
    })?;
    if is_for_logs(entry) {
        Ok(())
    } else {
        Err(format!("'{}' is no command that a log has", entry.full_name))
    }
}

/// A log changes data. What is about clients, or about the server as a whole, would have the server
/// do things to itself while it starts.
fn is_for_logs(entry: &Entry) -> bool {
    let flags = entry.command.flags;
    let about_server = flags.has(Flags::ADMIN) && !flags.has(Flags::WRITE);
    let about_clients = entry.is_about_clients() || flags.has(Flags::NO_AUTH);
    let waits = match entry.command.handler {
        Handler::Subscribe(_) => true,
        Handler::Global(..) => flags.has(Flags::BLOCKING),
        _ => false,
    };
    !about_server && !about_clients && !waits
}

/// Loads slowly where a test wants that (`key-load-delay`).
#[expect(clippy::disallowed_methods, reason = "this thread is no core's")]
fn delay(shared: &Shared) {
    let delay_us = shared.config.load().persistence.load_delay_us;
    if delay_us > 0 {
        std::thread::sleep(Duration::from_micros(delay_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), String> {
        let mut text = Vec::new();
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        kvasir_proto::append_request(&mut text, words.iter().copied());
        let mut reader = CommandReader::new(&text[..], 0, text.len() as u64, Strictness::Server);
        assert_eq!(reader.read().unwrap(), Some(Record::Command));
        check_command(reader.args())
    }

    #[test]
    fn a_log_changes_data_and_nothing_else() {
        for line in [
            "set a b",
            "select 1",
            "multi",
            "exec",
            "eval x 0",
            "function load x",
            "flushall",
            "swapdb 0 1",
            "blpop a 0",
            "pexpireat a 1",
            "xgroup create a b 0",
            "get a",
        ] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
        for line in
            ["quit", "shutdown", "monitor", "subscribe a", "client reply off", "wait 1 0", "bgsave"]
        {
            assert!(check(line).is_err(), "{line}");
        }
        assert_eq!(
            check("nope a").unwrap_err(),
            "unknown command 'nope', with args beginning with: 'a' "
        );
        assert_eq!(check("get").unwrap_err(), "wrong number of arguments for 'get' command");
    }
}
