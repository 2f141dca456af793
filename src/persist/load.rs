//! From a dump file into the shards.
//!
//! One thread reads, checks and decodes the file, and puts each key into the parcel of the shard
//! that owns it. Full parcels go through a bounded channel, from which the shard's core takes one
//! a round: a file is never ahead of its shards by more than a few parcels, and no core waits.
//!
//! The last parcel of each shard holds an end of one channel that nothing is sent through. It is
//! dropped when the shard has taken everything before it, so that the thread sees when all have.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::time::Duration;

use kvasir_shard::{DEADLINE_MAX, EncodingLimits, OwnedValue};

use super::owned;
use super::rdb::dump::Checksum;
use super::rdb::file::{FileEntry, FileReader, Item, ReadOptions};
use super::rdb::{RdbError, RdbErrorKind};
use crate::config::Config;
use crate::errors::CommandError;
use crate::route::shared::Shared;
use crate::script::interpreter::Interpreter;

/// Keys in a parcel, at most.
const PARCEL_KEYS: usize = 256;
/// Bytes of the file in a parcel, unless one key takes more.
const PARCEL_BYTES: u64 = 64 * 1024;
/// Parcels on their way to one shard.
const PARCELS_AHEAD: usize = 8;
/// Memory of the interpreter that libraries of functions are tried in, bytes.
const LIBRARY_MEMORY_MAX: usize = 1 << 30;
/// Keys without elements that are told about one by one.
const EMPTY_KEYS_TOLD: u64 = 10;

/// A key for the shard that owns it.
#[derive(Debug)]
pub struct Loaded {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: Vec<u8>,
    /// Its value and deadline.
    pub value: OwnedValue,
    /// The seconds since it was last used.
    pub idle_s: Option<u64>,
    /// How often it is used.
    pub frequency: Option<u8>,
}

/// What a shard found in its channel.
#[derive(Debug)]
pub enum Taken {
    /// Keys.
    Keys(Vec<Loaded>),
    /// Nothing yet.
    Nothing,
    /// There is no more.
    End,
}

/// What is handed to a shard at a time.
#[derive(Debug)]
enum Parcel {
    Keys(Vec<Loaded>),
    /// There is no more. To be dropped when everything before has been taken.
    End(Sender<()>),
}

/// What becomes of a key that exists already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// The file is wrong.
    Refused,
    /// It is replaced (`DEBUG RELOAD MERGE`).
    Replaced,
}

/// A shard's end of its channel.
#[derive(Debug)]
pub struct Port {
    parcels: Receiver<Parcel>,
    /// What becomes of a key that exists already.
    pub existing: Existing,
}

impl Port {
    /// The next parcel, without waiting.
    pub fn take(&self) -> Taken {
        match self.parcels.try_recv() {
            Ok(Parcel::Keys(keys)) => Taken::Keys(keys),
            Err(TryRecvError::Empty) => Taken::Nothing,
            Ok(Parcel::End(end)) => {
                drop(end);
                Taken::End
            }
            Err(TryRecvError::Disconnected) => Taken::End,
        }
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
    parcels: Vec<SyncSender<Parcel>>,
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
        let channel = |_| mpsc::sync_channel(PARCELS_AHEAD);
        let (parcels, ports): (Vec<_>, Vec<_>) = (0..shards).map(channel).unzip();
        let ports = ports.into_iter().map(|parcels| Port { parcels, existing }).collect();
        (Self { path, options, now_ms, limits, existing, parcels }, ports)
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
        let unreadable = |error| RdbError { offset: 0, kind: RdbErrorKind::Io(error) };
        let file = File::open(&self.path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        // What a pipe will bring is not known.
        let len = metadata.is_file().then_some(metadata.len());
        shared.persistence.loading.note_total(len.unwrap_or(0));
        let mut reader = FileReader::open(file, len, self.options)?;
        let mut sorter = Sorter {
            shared,
            job: &self,
            pending: self.parcels.iter().map(|_| Pending::default()).collect(),
            loaded: 0,
            expired: 0,
            empty: 0,
            interpreter: None,
        };
        let mut before = reader.offset();
        while let Some(item) = reader.next_item()? {
            let bytes = reader.offset() - before;
            before = reader.offset();
            match item {
                Item::Entry(entry) => sorter.entry(*entry, bytes, &reader)?,
                Item::EmptyKey(key) => sorter.empty_key(&key),
                Item::Aux { name, text } => note_aux(shared, &name, &text, self.now_ms),
                Item::Function(code) => sorter.library(&code, &reader)?,
            }
        }
        sorter.finish(reader.offset())
    }
}

/// Why loading ended early.
enum Failure {
    File(RdbError),
    /// The shards take no more: a core has told why, or the process ends.
    Interrupted,
}

impl From<RdbError> for Failure {
    fn from(error: RdbError) -> Self {
        Self::File(error)
    }
}

/// What is collected for one shard.
#[derive(Default)]
struct Pending {
    keys: Vec<Loaded>,
    bytes: u64,
}

/// Puts keys into parcels.
struct Sorter<'a> {
    shared: &'a Shared,
    job: &'a Job,
    pending: Vec<Pending>,
    loaded: u64,
    expired: u64,
    empty: u64,
    /// Where the code of libraries runs, to tell which functions they have.
    interpreter: Option<Interpreter>,
}

impl Sorter<'_> {
    fn entry<R: Read>(
        &mut self,
        entry: FileEntry,
        bytes: u64,
        reader: &FileReader<R>,
    ) -> Result<(), Failure> {
        let FileEntry { db, key, value, deadline_ms, idle_s, frequency } = entry;
        if deadline_ms.is_some_and(|deadline| deadline <= self.job.now_ms) {
            self.expired += 1;
            return Ok(());
        }
        let deadline = deadline_ms.map(|deadline| deadline.min(DEADLINE_MAX));
        let value = owned::from_dump(value, deadline, self.job.limits).ok_or_else(|| {
            reader.error(RdbErrorKind::Corrupt("a stream entry of a gigabyte or more"))
        })?;
        self.loaded += 1;
        let shard = self.shared.map.owner(&key).index();
        let pending = &mut self.pending[shard];
        pending.keys.push(Loaded { db, key, value, idle_s, frequency });
        pending.bytes += bytes;
        if pending.keys.len() >= PARCEL_KEYS || pending.bytes >= PARCEL_BYTES {
            self.send(shard)?;
            self.shared.persistence.loading.note(reader.offset(), self.loaded, self.expired);
        }
        self.delay();
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

    fn empty_key(&mut self, key: &[u8]) {
        self.empty += 1;
        if self.empty <= EMPTY_KEYS_TOLD {
            tracing::info!("skipping empty key: {}", key.escape_ascii());
        }
    }

    fn send(&mut self, shard: usize) -> Result<(), Failure> {
        let Pending { keys, .. } = std::mem::take(&mut self.pending[shard]);
        self.hand_over(shard, Parcel::Keys(keys))
    }

    fn hand_over(&self, shard: usize, parcel: Parcel) -> Result<(), Failure> {
        let sent = self.job.parcels[shard].send(parcel);
        if sent.is_err() || self.shared.persistence.loading.has_failed() {
            return Err(Failure::Interrupted);
        }
        Ok(())
    }

    /// Sends what is left, and waits until the shards have taken everything.
    fn finish(mut self, offset: u64) -> Result<(), Failure> {
        let (end, taken) = mpsc::channel();
        for shard in 0..self.pending.len() {
            self.send(shard)?;
            self.hand_over(shard, Parcel::End(end.clone()))?;
        }
        self.shared.persistence.loading.note(offset, self.loaded, self.expired);
        drop(end);
        // Nothing is ever sent: it fails when the last end is gone.
        let _ = taken.recv();
        if self.shared.stopping() {
            return Err(Failure::Interrupted);
        }
        let (loaded, expired, empty) = (self.loaded, self.expired, self.empty);
        let skipped =
            if empty > 0 { format!(", empty keys skipped: {empty}") } else { String::new() };
        tracing::info!(
            "Done loading RDB, keys loaded: {loaded}, keys expired: {expired}{skipped}."
        );
        Ok(())
    }

    /// Loads slowly where a test wants that (`key-load-delay`).
    #[expect(clippy::disallowed_methods, reason = "this thread is no core's")]
    fn delay(&self) {
        let delay_us = self.shared.config.load().persistence.load_delay_us;
        if delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
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
