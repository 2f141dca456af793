//! From a dump file into the shards.
//!
//! One thread reads the file and its checksum, finds where each key ends, and puts it into the
//! parcel of the shard that owns it. Full parcels go through a bounded channel, from which the
//! shard's core takes some a round: a file is never ahead of its shards by more than a few parcels,
//! and no core waits. The core reads the values and checks them; large ones and rare forms the
//! thread has read before, so that no turn of a core takes long.
//!
//! The last parcel of each shard holds an end of one channel that nothing is sent through. It is
//! dropped when the shard has taken everything before it, so that the thread sees when all have.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::time::Duration;

pub use kvasir_shard::Existing;
use kvasir_shard::{DEADLINE_MAX, EncodingLimits};

use super::owned;
use super::parcel::{Parcel, ReadKey};
use super::rdb::dump::Checksum;
use super::rdb::extras::Extras;
use super::rdb::file::{FileEntry, FileReader, Item, Next, ReadOptions};
use super::rdb::frame::Framed;
use super::rdb::{RdbError, RdbErrorKind};
use super::state::Loading;
use crate::config::Config;
use crate::errors::CommandError;
use crate::route::shared::Shared;
use crate::script::interpreter::Interpreter;

/// Parcels on their way to all shards together. A core has enough to do while this thread runs on
/// the processor of another.
const PARCELS_AHEAD: usize = 128;
/// Parcels on their way to one shard, at least.
const PARCELS_AHEAD_MIN: usize = 8;
/// Memory of the interpreter that libraries of functions are tried in, bytes.
const LIBRARY_MEMORY_MAX: usize = 1 << 30;
/// Progress with files of this size and above is told in the log.
const TOLD_BYTES_MIN: u64 = 256 << 20;
/// How often, about.
const TOLD_TIMES: u64 = 10;
/// Keys without elements that are told about one by one.
const EMPTY_KEYS_TOLD: u64 = 10;

/// What a shard found in its channel.
#[derive(Debug)]
pub enum Taken {
    /// Keys.
    Keys(Parcel),
    /// So many keys of a database may be about to come.
    Announced(u32, u64),
    /// Nothing yet.
    Nothing,
    /// There is no more.
    End,
}

/// What is handed to a shard at a time.
#[derive(Debug)]
enum Message {
    Keys(Parcel),
    Announced(u32, u64),
    /// There is no more. To be dropped when everything before has been taken.
    End(Sender<()>),
}

/// A shard's end of its channel.
#[derive(Debug)]
pub struct Port {
    messages: Receiver<Message>,
    /// Parcels that have been emptied go back.
    spares: Sender<Parcel>,
    /// What was wrong with values, which the reading thread tells.
    failures: Sender<RdbError>,
    /// What becomes of a key that exists already.
    pub existing: Existing,
    /// When collections become large.
    pub limits: EncodingLimits,
}

impl Port {
    /// The next parcel, without waiting.
    pub fn take(&self) -> Taken {
        match self.messages.try_recv() {
            Ok(Message::Keys(keys)) => Taken::Keys(keys),
            Ok(Message::Announced(db, keys)) => Taken::Announced(db, keys),
            Err(TryRecvError::Empty) => Taken::Nothing,
            Ok(Message::End(end)) => {
                drop(end);
                Taken::End
            }
            Err(TryRecvError::Disconnected) => Taken::End,
        }
    }

    /// Gives a parcel back whose keys have been taken.
    pub fn give_back(&self, mut parcel: Parcel) {
        parcel.clear();
        // Nobody needs it when the whole file has been read.
        let _ = self.spares.send(parcel);
    }

    /// Tells what is wrong with a value. No more is loaded.
    pub fn fail(&self, error: RdbError, loading: &Loading) {
        // Only who has given up already is not there to hear it.
        let _ = self.failures.send(error);
        loading.interrupt();
    }
}

/// Notes a key without elements, which is left out.
pub fn note_empty_key(key: &[u8], loading: &Loading) {
    if loading.note_empty() <= EMPTY_KEYS_TOLD {
        tracing::info!("skipping empty key: {}", key.escape_ascii());
    }
}

/// What is to be loaded, and how.
#[derive(Debug)]
pub struct Job {
    /// The file.
    pub path: PathBuf,
    /// What is accepted.
    pub options: ReadOptions,
    /// The moment by which keys have expired or not, in milliseconds of the Unix epoch.
    pub now_ms: u64,
    /// When collections become large.
    pub limits: EncodingLimits,
    /// What becomes of keys and libraries that exist already.
    existing: Existing,
    /// Keys whose deadline has passed are loaded like others: what follows the file may move it.
    keeps_expired: bool,
    messages: Vec<SyncSender<Message>>,
    spares: Receiver<Parcel>,
    failures: Receiver<RdbError>,
}

/// What the configuration says about reading files.
pub fn load_options(config: &Config) -> ReadOptions {
    let verifies = config.persistence.checksum;
    ReadOptions {
        databases: config.process.databases.into(),
        versions: config.persistence.versions,
        checksum: if verifies { Checksum::Verified } else { Checksum::Ignored },
    }
}

impl Job {
    /// A job, and the ports of the shards in order.
    pub fn new(
        path: PathBuf,
        options: ReadOptions,
        now_ms: u64,
        limits: EncodingLimits,
        (shards, existing): (u16, Existing),
    ) -> (Self, Vec<Port>) {
        let (give_back, spares) = mpsc::channel();
        let (fail, failures) = mpsc::channel();
        let ahead = PARCELS_AHEAD_MIN.max(PARCELS_AHEAD / usize::from(shards));
        let channel = |_| {
            let (sender, messages) = mpsc::sync_channel(ahead);
            let (spares, failures) = (give_back.clone(), fail.clone());
            (sender, Port { messages, spares, failures, existing, limits })
        };
        let (messages, ports): (Vec<_>, Vec<_>) = (0..shards).map(channel).unzip();
        let keeps_expired = false;
        let job = Self {
            path,
            options,
            now_ms,
            limits,
            existing,
            keeps_expired,
            messages,
            spares,
            failures,
        };
        (job, ports)
    }

    /// The same for a file with which a log begins, whose commands decide what has expired.
    #[must_use]
    pub fn keeping_expired(self) -> Self {
        Self { keeps_expired: true, ..self }
    }

    /// Loads the file and tells the outcome in [`Shared`]; true when everything has been loaded.
    /// Blocks: to be called on a thread of its own, after [`super::state::Loading::begin`].
    pub fn run(self, shared: &Shared) -> bool {
        let loading = &shared.persistence.loading;
        let path = self.path.clone();
        match self.load(shared) {
            Ok(()) => {}
            Err(Failure::Interrupted) => loading.fail("it was interrupted".to_owned()),
            Err(Failure::File(error)) => {
                loading.fail(format!("{}: {error}. {}", path.display(), advice(&error.kind)));
            }
        }
        let succeeded = !loading.has_failed();
        loading.finish();
        succeeded
    }

    fn load(self, shared: &Shared) -> Result<(), Failure> {
        let (file, len) = open(&self.path)?;
        shared.persistence.loading.note_total(len.unwrap_or(0));
        self.read(shared, file, len).map(|_| ())
    }

    /// Loads the dump with which a file begins, and waits until the shards have taken everything;
    /// where it ends.
    pub(super) fn load_beginning(self, shared: &Shared, path: &Path) -> Result<u64, Failure> {
        let (file, len) = open(path)?;
        self.read(shared, file, len)
    }

    fn read(self, shared: &Shared, file: File, len: Option<u64>) -> Result<u64, Failure> {
        let mut reader = FileReader::open(file, len, self.options)?;
        let mut sorter = Sorter::new(shared, &self);
        let sorted = sorter.sort(&mut reader);
        sorter.conclude(sorted)?;
        Ok(reader.offset())
    }
}

/// Opens a file; what a pipe will bring is not known.
fn open(path: &Path) -> Result<(File, Option<u64>), RdbError> {
    let unreadable = |error| RdbError { offset: 0, kind: RdbErrorKind::Io(error) };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let len = metadata.is_file().then_some(metadata.len());
    Ok((file, len))
}

/// Why loading ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// What is wrong with the file.
    File(RdbError),
    /// The shards take no more: a core has told why, or the process ends.
    Interrupted,
}

impl From<RdbError> for Failure {
    fn from(error: RdbError) -> Self {
        Self::File(error)
    }
}

/// A key whose value has been read, and how much of the file it takes.
struct Held {
    entry: Box<FileEntry>,
    extras: Extras,
    bytes: u64,
}

/// Puts keys into parcels.
struct Sorter<'a> {
    shared: &'a Shared,
    job: &'a Job,
    /// The key that was read last, with its value: more may be said about it.
    held: Option<Held>,
    /// The shard whose parcel ends with the key that was read last.
    last: Option<usize>,
    pending: Vec<Parcel>,
    loaded: u64,
    expired: u64,
    /// Up to where nothing is told of the progress.
    tell_at: u64,
    /// Where the code of libraries runs, to tell which functions they have.
    interpreter: Option<Interpreter>,
    delay: Delay,
}

impl<'a> Sorter<'a> {
    fn new(shared: &'a Shared, job: &'a Job) -> Self {
        Self {
            shared,
            job,
            held: None,
            last: None,
            pending: job.messages.iter().map(|_| Parcel::default()).collect(),
            loaded: 0,
            expired: 0,
            tell_at: 0,
            interpreter: None,
            delay: Delay::default(),
        }
    }

    /// Sorts the file's keys, to its end.
    fn sort<R: Read>(&mut self, reader: &mut FileReader<R>) -> Result<(), Failure> {
        let mut at = reader.offset();
        loop {
            match reader.next_framed()? {
                Next::Framed(framed) => {
                    self.settle(at)?;
                    self.sort_framed(&framed)?;
                }
                Next::Item(Item::Extras(extras)) => {
                    self.extras(extras, reader.offset() - at)?;
                }
                Next::Item(item) => {
                    self.settle(at)?;
                    self.announce(reader.take_announced())?;
                    let end = reader.offset();
                    match item {
                        Item::Entry(entry) => {
                            let (extras, bytes) = (Extras::default(), end - at);
                            self.held = Some(Held { entry, extras, bytes });
                        }
                        Item::EmptyKey(key) => self.note_empty(&key),
                        Item::Aux { name, text } => {
                            note_aux(self.shared, &name, &text, self.job.now_ms);
                        }
                        Item::Function(code) => self.library(&code, reader)?,
                        Item::Extras(_) => unreachable!("they were looked at above"),
                    }
                }
                Next::End => break,
            }
            at = reader.offset();
        }
        self.settle(at)?;
        self.note_progress(at);
        Ok(())
    }

    fn note_empty(&self, key: &[u8]) {
        note_empty_key(key, &self.shared.persistence.loading);
    }

    fn has_expired(&self, deadline_ms: Option<u64>) -> bool {
        !self.job.keeps_expired && deadline_ms.is_some_and(|deadline| deadline <= self.job.now_ms)
    }

    /// Puts a key into the parcel of its shard, which reads the value.
    fn sort_framed(&mut self, framed: &Framed<'_>) -> Result<(), Failure> {
        if self.has_expired(framed.deadline_ms) {
            match framed.value.read() {
                Ok(_) => self.expired += 1,
                Err(error) if matches!(error.kind, RdbErrorKind::EmptyCollection) => {
                    self.note_empty(framed.key);
                }
                Err(error) => return Err(error.into()),
            }
            return Ok(());
        }
        let slot = self.shared.map.slot(framed.key);
        let shard = self.shared.map.owner_of_slot(slot).index();
        self.pending[shard].push_framed(framed, slot);
        self.last = Some(shard);
        self.loaded += 1;
        self.delay.pause(self.shared);
        Ok(())
    }

    /// What is said about the key that was read last. There may be none, if its collection was
    /// empty, or it has expired.
    fn extras(&mut self, extras: Extras, bytes: u64) -> Result<(), Failure> {
        if let Some(shard) = self.last.take() {
            let mut outcome = Ok(());
            let held = &mut self.held;
            let (loaded, loading) = (&mut self.loaded, &self.shared.persistence.loading);
            self.pending[shard].take_back(|framed| {
                *loaded -= 1;
                match framed.value.read() {
                    Ok(value) => {
                        let Framed { db, deadline_ms, idle_s, frequency, .. } = framed;
                        let key = framed.key.to_vec();
                        let entry = FileEntry { db, key, value, deadline_ms, idle_s, frequency };
                        let bytes = framed.value.bytes.len() as u64;
                        let (entry, extras) = (Box::new(entry), Extras::default());
                        *held = Some(Held { entry, extras, bytes });
                    }
                    Err(error) if matches!(error.kind, RdbErrorKind::EmptyCollection) => {
                        note_empty_key(framed.key, loading);
                    }
                    Err(error) => outcome = Err(error),
                }
            });
            outcome?;
        }
        if let Some(held) = &mut self.held {
            held.extras.append(extras);
            held.bytes += bytes;
        }
        Ok(())
    }

    /// No more is said about the key that was read last, which ends at `at`.
    fn settle(&mut self, at: u64) -> Result<(), Failure> {
        self.hand_on(at)?;
        if let Some(shard) = self.last.take()
            && self.pending[shard].is_full()
        {
            self.send(shard)?;
            self.note_progress(at);
        }
        Ok(())
    }

    /// Puts a key whose value has been read into the parcel of its shard.
    fn hand_on(&mut self, at: u64) -> Result<(), Failure> {
        let Some(Held { entry, extras, bytes }) = self.held.take() else { return Ok(()) };
        let FileEntry { db, key, value, deadline_ms, idle_s, frequency } = *entry;
        if self.has_expired(deadline_ms) {
            self.expired += 1;
            return Ok(());
        }
        let deadline = deadline_ms.map(|deadline| deadline.min(DEADLINE_MAX));
        let value = owned::from_file(value, &extras, deadline, self.job.limits);
        let value = value.ok_or(RdbError {
            offset: at,
            kind: RdbErrorKind::Corrupt("a stream entry of a gigabyte or more"),
        })?;
        self.loaded += 1;
        let slot = self.shared.map.slot(&key);
        let shard = self.shared.map.owner_of_slot(slot).index();
        let read = ReadKey { db, key: &key, value, idle_s, frequency };
        self.pending[shard].push_read(read, slot, bytes);
        self.last = Some(shard);
        self.delay.pause(self.shared);
        Ok(())
    }

    /// Runs the code of a library on this thread, which may take its time.
    fn library<R: Read>(&mut self, code: &[u8], reader: &FileReader<R>) -> Result<(), Failure> {
        let refused = |error: CommandError| reader.error(RdbErrorKind::Library(error.to_string()));
        let functions = &self.shared.functions;
        let replace = self.job.existing == Existing::Replaced;
        let catalog = functions.catalog();
        let draft = functions.draft(code).map_err(refused)?;
        catalog.admits(&draft, replace).map_err(refused)?;
        let interpreter = self.interpreter.take();
        let interpreter =
            interpreter.map_or_else(|| Interpreter::new(LIBRARY_MEMORY_MAX, true), Ok);
        let loading = interpreter.map_err(refused)?.start_load(draft);
        let mut loading = loading.map_err(|(_, error)| refused(error))?;
        while !loading.go_on() {
            if self.shared.stopping() || self.shared.persistence.loading.has_failed() {
                return Err(Failure::Interrupted);
            }
        }
        let (interpreter, library) = loading.finish();
        self.interpreter = Some(interpreter);
        let library = Arc::new(library.map_err(refused)?);
        functions.replace(catalog.with(&[library], replace).map_err(refused)?);
        Ok(())
    }

    /// Tells how far it is: to INFO, and a few times to the log where it takes long.
    fn note_progress(&mut self, offset: u64) {
        let loading = &self.shared.persistence.loading;
        loading.note(offset, self.loaded, self.expired);
        let total = loading.progress().total_bytes;
        if total < TOLD_BYTES_MIN || offset < self.tell_at {
            return;
        }
        if self.tell_at > 0 {
            let (percent, keys) = (offset * 100 / total, self.loaded);
            tracing::info!("Loading: {percent} % of {total} bytes, {keys} keys so far");
        }
        self.tell_at = offset + total / TOLD_TIMES;
    }

    /// Tells the shards how many keys of a database they may have to take each.
    fn announce(&self, announced: Option<(u32, u64)>) -> Result<(), Failure> {
        let Some((db, keys)) = announced else { return Ok(()) };
        let shards = self.pending.len();
        let share = keys / shards as u64;
        (0..shards).try_for_each(|shard| self.hand_over(shard, Message::Announced(db, share)))
    }

    fn send(&mut self, shard: usize) -> Result<(), Failure> {
        let empty = self.job.spares.try_recv().unwrap_or_default();
        let parcel = std::mem::replace(&mut self.pending[shard], empty);
        self.hand_over(shard, Message::Keys(parcel))
    }

    fn hand_over(&self, shard: usize, message: Message) -> Result<(), Failure> {
        let sent = self.job.messages[shard].send(message);
        if sent.is_err() || self.shared.persistence.loading.has_failed() {
            return Err(Failure::Interrupted);
        }
        Ok(())
    }

    /// Has the shards take what has been read, and tells how loading ended. What is wrong with a
    /// value is told rather than what the reader has found: that lies behind it.
    fn conclude(mut self, sorted: Result<(), Failure>) -> Result<(), Failure> {
        let outcome = match sorted {
            Ok(()) => self.send_rest(),
            Err(Failure::File(error)) => {
                // What is wrong with the file is known, whether they can take the rest or not.
                let _ = self.send_rest();
                Err(Failure::File(error))
            }
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
        };
        if let Some(error) = self.job.failures.try_iter().min_by_key(|error| error.offset) {
            return Err(Failure::File(error));
        }
        outcome?;
        let empty = self.shared.persistence.loading.keys_empty();
        let (loaded, expired) = (self.loaded, self.expired);
        let skipped =
            if empty > 0 { format!(", empty keys skipped: {empty}") } else { String::new() };
        tracing::info!(
            "Done loading RDB, keys loaded: {loaded}, keys expired: {expired}{skipped}."
        );
        Ok(())
    }

    /// Sends what is left, and waits until the shards have taken everything.
    fn send_rest(&mut self) -> Result<(), Failure> {
        let (end, taken) = mpsc::channel();
        for shard in 0..self.pending.len() {
            self.send(shard)?;
            self.hand_over(shard, Message::End(end.clone()))?;
        }
        drop(end);
        // Nothing is ever sent: it fails when the last end is gone.
        let _ = taken.recv();
        if self.shared.stopping() { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// Loads slowly where a test wants that (`key-load-delay`).
#[derive(Default)]
struct Delay {
    us: u64,
    keys: u32,
}

impl Delay {
    /// How many keys pass before it is looked again whether to delay them.
    const KEYS: u32 = 64;

    #[expect(clippy::disallowed_methods, reason = "this thread is no core's")]
    fn pause(&mut self, shared: &Shared) {
        if self.us > 0 || self.keys.is_multiple_of(Self::KEYS) {
            self.us = shared.config.load().persistence.load_delay_us;
        }
        self.keys = self.keys.wrapping_add(1);
        if self.us > 0 {
            std::thread::sleep(Duration::from_micros(self.us));
        }
    }
}

/// What a file tells about itself.
fn note_aux(shared: &Shared, name: &[u8], text: &[u8], now_ms: u64) {
    let shown = text.escape_ascii();
    let number = || std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    match name {
        b"redis-ver" => tracing::info!("Loading RDB produced by Redis version {shown}"),
        b"valkey-ver" => tracing::info!("Loading RDB produced by Valkey version {shown}"),
        b"kvasir-ver" => tracing::info!("Loading RDB produced by Kvasir version {shown}"),
        b"ctime" => {
            let age_s = (now_ms / 1000).saturating_sub(number().unwrap_or(0));
            tracing::info!("RDB age {age_s} seconds");
        }
        b"used-mem" => {
            let bytes = number().unwrap_or(0);
            shared.persistence.loading.note_used_memory(bytes);
            let megabytes = bytes as f64 / (1024.0 * 1024.0);
            tracing::info!("RDB memory usage when created {megabytes:.2} Mb");
        }
        [b'%', ..] => tracing::info!("RDB '{}': {shown}", name.escape_ascii()),
        _ => {}
    }
}

/// What to do about a file that cannot be loaded.
pub(crate) fn advice(kind: &RdbErrorKind) -> &'static str {
    match kind {
        RdbErrorKind::Io(_) => "Check the disk and the file's permissions",
        RdbErrorKind::Version(_) => {
            "It comes from a newer server: have that write it for a version up to 11, or try with \
             rdb-version-check relaxed"
        }
        RdbErrorKind::Database(_) => "Start with as many databases as the server that wrote it",
        RdbErrorKind::Module(_) | RdbErrorKind::ModuleData(_) => {
            "Remove the module's keys on a server that has the module, and save again"
        }
        RdbErrorKind::Library(_) => {
            "Delete the library on the server that wrote the file, and save again"
        }
        RdbErrorKind::Signature => "Check dbfilename, or move the file away to start empty",
        _ => "Restore the file from a copy, or move it away to start empty",
    }
}
