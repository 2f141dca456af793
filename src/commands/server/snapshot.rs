//! A snapshot of all shards at one moment, and its opposite: a file loaded into them.
//!
//! Whoever calls [`save`] holds locks on everything of every shard, at least for reading. While it
//! runs nothing is written, so that what the shards make a file of in many short turns is what they
//! were at the moment when the last lock was granted: a cut of the order of transactions. Keys that
//! expire meanwhile stay until it is over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kvasir_shard::{ValueRef, WalkedEntry};

use crate::commands::context::Coordination;
use crate::config::Config;
use crate::config::choice::MaxmemoryPolicy;
use crate::persist::load::{Existing, Job, load_options};
use crate::persist::owned;
use crate::persist::rdb::WriteOptions;
use crate::persist::rdb::write::file::{
    Needs, Usage, write_attributes, write_aux, write_function, write_key, write_select, write_size,
    write_text,
};
use crate::persist::save::{Offered, SnapshotWriter, Target, temporary_name};
use crate::persist::saving::SaveKind;
use crate::route::core::{Background, CoreState, access_stamp};
use crate::route::engine::ShardId;
use crate::route::locks::Mode;
use crate::route::settings::encoding_limits;
use crate::route::shared::Shared;
use crate::route::transaction::{Request, Transaction};

/// A shard's turn ends when it has made so many bytes, or has taken so long.
const SLICE_BYTES: usize = 128 * 1024;
/// See [`SLICE_BYTES`].
const SLICE_NS: u64 = 500_000;
/// Keys between two looks at the clock.
const STEP_KEYS: usize = 8;
/// How long the coordinator waits for room, or for the disk.
const WAIT: Duration = Duration::from_micros(200);
/// How long it sleeps at most before it looks whether it is to end.
const NAP: Duration = Duration::from_millis(50);

/// Why there is no snapshot.
#[derive(Debug)]
pub(crate) enum SaveError {
    /// One is being taken.
    InProgress,
    /// It was cancelled.
    Cancelled,
    /// The file could not be written; the log says why.
    Failed(io::Error),
}

/// Takes a snapshot. Locks on everything of every shard are held.
pub(crate) async fn save(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    kind: SaveKind,
) -> Result<(), SaveError> {
    let unix_s = now_ms(transaction).await / 1000;
    if !shared.persistence.saving.claim(kind, unix_s) {
        return Err(SaveError::InProgress);
    }
    save_claimed(transaction, shared).await
}

/// As [`save`], after the claim.
async fn save_claimed(transaction: &Transaction, shared: &Arc<Shared>) -> Result<(), SaveError> {
    let outcome = write(transaction, shared).await;
    let saved = outcome.is_ok();
    transaction
        .on_all(move |state| {
            state.saving = false;
            if saved {
                state.keyspace_figures.changes = 0;
            }
        })
        .await;
    shared.persistence.saving.finish(saved, now_ms(transaction).await / 1000);
    match &outcome {
        Ok(()) => tracing::info!("DB saved on disk"),
        Err(SaveError::Failed(error)) => tracing::warn!("Error saving DB on disk: {error}"),
        Err(SaveError::Cancelled | SaveError::InProgress) => {}
    }
    outcome
}

async fn now_ms(transaction: &Transaction) -> u64 {
    transaction.on(ShardId(0), |state| state.unix_ms()).await
}

/// The task of a background save, which has been claimed.
pub(crate) fn background_save() -> Background {
    Background { words: vec!["BGSAVE"], locks: Some(Mode::Read), coordinator: save_in_background }
}

fn save_in_background(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        match save_claimed(&transaction, &request.shared).await {
            Ok(()) => tracing::info!("Background saving terminated with success"),
            Err(SaveError::Cancelled) => tracing::warn!("Background saving cancelled"),
            Err(_) => tracing::warn!("Background saving error"),
        }
        Ok(Vec::new())
    })
}

/// What the shards have to know to write their part.
#[derive(Clone, Copy)]
struct Plan {
    options: WriteOptions,
    usage: Option<UsageKind>,
}

/// What the eviction policy wants to know of a key's use, and the file keeps for it.
#[derive(Clone, Copy)]
enum UsageKind {
    Idle,
    Frequency,
}

impl Plan {
    fn new(config: &Config) -> Self {
        let usage = match config.memory.policy {
            MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => Some(UsageKind::Idle),
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                Some(UsageKind::Frequency)
            }
            _ => None,
        };
        Self { options: WriteOptions { compress: config.persistence.compress }, usage }
    }
}

/// Keys of a database, and those of them with a deadline.
type Size = (u64, u64);

/// Keeps due keys from now on; the sizes of the databases.
fn begin(state: &mut CoreState) -> Vec<Size> {
    state.saving = true;
    let databases = 0..state.shard.databases() as u32;
    let size = |db| (state.shard.len(db) as u64, state.shard.expires(db) as u64);
    databases.map(size).collect()
}

async fn write(transaction: &Transaction, shared: &Arc<Shared>) -> Result<(), SaveError> {
    let config = shared.config.load_full();
    let sizes = transaction.on_all(begin).await;
    let databases = (0..sizes[0].len()).map(|db| {
        let of_shards = sizes.iter().map(|sizes| sizes[db]);
        of_shards.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
    });
    let databases: Vec<Size> = databases.collect();
    let disk = shared.disk.get().ok_or_else(|| failed("this server has no files"))?;
    let writer = disk.write(target(&config)).map_err(SaveError::Failed)?;
    let keys_total = databases.iter().map(|size| size.0).sum();
    let mut file = Snapshot {
        transaction,
        shared,
        writer,
        plan: Plan::new(&config),
        needs: Needs::Nothing,
        keys_total,
        keys_done: 0,
    };
    let written = file.all(&databases).await;
    if written.is_err() {
        // The next snapshot's file has the same name until it is whole.
        file.writer.give_up();
        let _ = file.outcome().await;
    }
    written
}

fn failed(why: &'static str) -> SaveError {
    SaveError::Failed(io::Error::other(why))
}

fn target(config: &Config) -> Target {
    Target {
        directory: config.process.directory.clone(),
        name: config.persistence.file_name.clone(),
        temporary: temporary_name(),
        checksum: config.persistence.checksum,
    }
}

/// A snapshot being written.
struct Snapshot<'a> {
    transaction: &'a Transaction,
    shared: &'a Arc<Shared>,
    writer: SnapshotWriter,
    plan: Plan,
    needs: Needs,
    keys_total: u64,
    keys_done: u64,
}

impl Snapshot<'_> {
    async fn all(&mut self, databases: &[Size]) -> Result<(), SaveError> {
        self.head(now_ms(self.transaction).await / 1000).await?;
        for (db, size) in databases.iter().enumerate().filter(|(_, size)| size.0 > 0) {
            self.database(db as u32, *size).await?;
        }
        self.end().await
    }

    /// What tells about the file, and what is not a key.
    async fn head(&mut self, unix_s: u64) -> Result<(), SaveError> {
        let mut piece = Vec::new();
        write_aux(&mut piece, b"kvasir-ver", env!("CARGO_PKG_VERSION").as_bytes());
        write_aux(&mut piece, b"redis-bits", b"64");
        write_aux(&mut piece, b"ctime", unix_s.to_string().as_bytes());
        let used = self.shared.memory.used_now();
        write_aux(&mut piece, b"used-mem", used.to_string().as_bytes());
        write_aux(&mut piece, b"aof-base", b"0");
        for library in self.shared.functions.catalog().libraries() {
            write_function(&mut piece, library.code(), self.plan.options);
        }
        self.shared.persistence.saving.note(0, self.keys_total);
        self.offer(piece).await
    }

    /// All keys of a database, from all shards at the same time.
    async fn database(&mut self, db: u32, (keys, expires): Size) -> Result<(), SaveError> {
        let mut piece = Vec::new();
        write_select(&mut piece, db);
        write_size(&mut piece, keys, expires);
        self.offer(piece).await?;
        let mut places: Vec<(ShardId, u64)> =
            self.transaction.shards().map(|shard| (shard, 0)).collect();
        while !places.is_empty() {
            let plan = self.plan;
            let delay_us = self.shared.config.load().persistence.save_delay_us;
            let most = if delay_us > 0 { STEP_KEYS } else { usize::MAX };
            let hops = places.iter().map(|(shard, cursor)| {
                let cursor = *cursor;
                (*shard, move |state: &mut CoreState| slice(state, db, cursor, most, plan))
            });
            let slices = self.transaction.hop(hops).await;
            let mut further = Vec::with_capacity(places.len());
            let mut keys = 0;
            for ((shard, _), slice) in places.into_iter().zip(slices) {
                self.needs = self.needs.max(slice.needs);
                keys += slice.keys;
                self.offer(slice.bytes).await?;
                if slice.next != 0 {
                    further.push((shard, slice.next));
                }
            }
            places = further;
            self.keys_done += keys;
            self.shared.persistence.saving.note(self.keys_done, self.keys_total);
            self.rest(Duration::from_micros(delay_us * keys)).await?;
        }
        Ok(())
    }

    /// Lets others have their turn, for longer where a test wants that (`rdb-key-save-delay`).
    async fn rest(&self, mut delay: Duration) -> Result<(), SaveError> {
        loop {
            if self.shared.persistence.saving.is_cancelled() {
                return Err(SaveError::Cancelled);
            }
            if delay.is_zero() {
                self.transaction.rest().await;
                return Ok(());
            }
            let nap = delay.min(NAP);
            self.transaction.sleep(nap).await;
            delay -= nap;
        }
    }

    /// Hands a piece to the writing thread, and waits while that is behind.
    async fn offer(&self, mut piece: Vec<u8>) -> Result<(), SaveError> {
        loop {
            match self.writer.offer(piece) {
                Offered::Taken => return Ok(()),
                Offered::Full(back) => piece = back,
                Offered::Ended => return self.outcome().await,
            }
            self.transaction.sleep(WAIT).await;
        }
    }

    /// Tells that this is all, and waits until it is on the disk.
    async fn end(&self) -> Result<(), SaveError> {
        while !self.writer.end(self.needs) {
            self.transaction.sleep(WAIT).await;
        }
        self.outcome().await
    }

    async fn outcome(&self) -> Result<(), SaveError> {
        loop {
            if let Some(outcome) = self.writer.outcome() {
                return outcome.map_err(SaveError::Failed);
            }
            self.transaction.sleep(WAIT).await;
        }
    }
}

/// What a shard has made of some of its keys.
struct Slice {
    bytes: Vec<u8>,
    keys: u64,
    needs: Needs,
    /// Where to go on; 0 at the end.
    next: u64,
}

/// Writes keys of a database from `cursor` on, for a turn.
fn slice(state: &mut CoreState, db: u32, cursor: u64, most: usize, plan: Plan) -> Slice {
    let began = state.shared.stopwatch.ticks();
    let mut slice = Slice { bytes: Vec::new(), keys: 0, needs: Needs::Nothing, next: cursor };
    let now_ms = state.unix_ms();
    loop {
        let Slice { bytes, keys, needs, next: from } = &mut slice;
        let next = state.shard.walk(db, *from, STEP_KEYS, &mut |entry| {
            *keys += 1;
            *needs = (*needs).max(write_entry(bytes, entry, now_ms, plan));
        });
        slice.next = next;
        let is_over = slice.bytes.len() >= SLICE_BYTES
            || slice.keys >= most as u64
            || state.shared.stopwatch.elapsed_ns(began) >= SLICE_NS;
        if next == 0 || is_over {
            return slice;
        }
    }
}

fn write_entry(out: &mut Vec<u8>, entry: &WalkedEntry<'_>, now_ms: u64, plan: Plan) -> Needs {
    let usage = plan.usage.map(|usage| match usage {
        UsageKind::Idle => Usage::Idle(access_stamp(now_ms).wrapping_sub(entry.stamp()).into()),
        UsageKind::Frequency => Usage::Frequency(entry.stamp() as u8),
    });
    match entry.value() {
        ValueRef::Collection(_) => {
            let value = owned::to_dump(entry.to_value().data);
            if value.is_empty_collection() {
                // All of its elements have expired.
                return Needs::Nothing;
            }
            write_attributes(out, entry.deadline_ms(), usage);
            write_key(out, entry.key(), &value, plan.options)
        }
        text => {
            write_attributes(out, entry.deadline_ms(), usage);
            write_text(out, entry.key(), text, plan.options);
            Needs::Nothing
        }
    }
}

/// Loads the dump file into the shards, and waits for it; clients are told meanwhile that data is
/// being loaded. The error is what was wrong with it.
pub(crate) async fn load(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    existing: Existing,
) -> Result<(), String> {
    let config = shared.config.load_full();
    let disk = shared.disk.get().ok_or("this server has no files")?;
    let path = config.process.directory.join(&config.persistence.file_name);
    let now_ms = now_ms(transaction).await;
    let shards = (shared.map.shards(), existing);
    let (job, ports) =
        Job::new(path, load_options(&config), now_ms, encoding_limits(&config), shards);
    let loading = &shared.persistence.loading;
    loading.begin(now_ms / 1000);
    let hand_over = ports
        .into_iter()
        .zip(transaction.shards())
        .map(|(port, shard)| (shard, move |state: &mut CoreState| state.load_port = Some(port)));
    transaction.hop(hand_over).await;
    if let Err(error) = disk.load(job, Arc::clone(shared)) {
        loading.fail(error.to_string());
        loading.finish();
    }
    loop {
        if let Some(outcome) = loading.outcome() {
            return outcome;
        }
        transaction.sleep(WAIT).await;
    }
}
