//! A snapshot of all shards at one moment, and its opposite: a file loaded into them.
//!
//! The moment is one of the order of transactions: all shards make their cut while somebody holds
//! locks on everything of every one of them, at least for reading ([`save`]). That takes two
//! messages a shard. From then on nothing is locked: each shard writes its part beside its other
//! work (`route::snapshot`, `persist::part`), and saves what changes before it does.
//!
//! Who needs the data to stay as it is until the file is there (`SHUTDOWN`, `DEBUG RELOAD`) keeps
//! the locks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::commands::context::Coordination;
use crate::config::Config;
use crate::persist::aof::manifest::BaseFormat;
use crate::persist::aof::write as commands;
use crate::persist::load::{Existing, Job, load_options};
use crate::persist::part::{Link, Part, Plan};
use crate::persist::rdb::write::file::{write_aux, write_function, write_select, write_size};
use crate::persist::save::{Piece, SnapshotWriter, Target, temporary_name};
use crate::persist::saving::SaveKind;
use crate::route::core::{Background, CoreState};
use crate::route::engine::ShardId;
use crate::route::locks::Mode;
use crate::route::settings::encoding_limits;
use crate::route::shared::Shared;
use crate::route::transaction::{Request, Transaction};

/// How often the coordinator looks how far the shards and the disk are.
const LOOK: Duration = Duration::from_millis(1);

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

/// What becomes of the locks after the cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// They end: what is changed from then on is not part of the snapshot.
    Release,
    /// They are kept, and with them the data as it is. A snapshot in the background, which
    /// would be of older data, ends early.
    Hold,
}

/// What is written, and where.
pub(super) struct Output {
    /// The file.
    pub(super) target: Target,
    /// It is the base of the append-only log.
    pub(super) is_base: bool,
    /// What is to happen at the cut, before anything can be changed again.
    pub(super) at_cut: Option<Box<dyn FnOnce() + Send>>,
}

impl Output {
    /// The dump file.
    fn dump(config: &Config) -> Self {
        Self { target: target(config), is_base: false, at_cut: None }
    }
}

/// Takes a snapshot. Locks on everything of every shard are held.
pub(crate) async fn save(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    after: After,
) -> Result<(), SaveError> {
    let saving = &shared.persistence.saving;
    let unix_s = now_ms(transaction).await / 1000;
    while !saving.claim(SaveKind::Foreground, unix_s) {
        if after == After::Release {
            return Err(SaveError::InProgress);
        }
        if saving.replace_waiting() {
            break;
        }
        saving.cancel();
        transaction.sleep(LOOK).await;
    }
    save_claimed(transaction, shared, after).await
}

/// As [`save`], after the claim.
async fn save_claimed(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    after: After,
) -> Result<(), SaveError> {
    let output = Output::dump(&shared.config.load());
    let outcome = write(transaction, shared, after, output).await;
    let saved = outcome.is_ok();
    transaction.on_all(move |state| state.end_snapshot(saved)).await;
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
    Background { words: vec!["BGSAVE"], locks: None, coordinator: prepare_background }
}

/// Waits, without locks, until a snapshot that was given up has left nothing behind.
fn prepare_background(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let saving = &request.shared.persistence.saving;
        while saving.is_walking() && !saving.is_cancelled() {
            transaction.sleep(LOOK).await;
        }
        let save = || Background {
            words: vec!["BGSAVE"],
            locks: Some(Mode::Read),
            coordinator: save_in_background,
        };
        transaction.on(request.home, move |state| state.background.push_back(save())).await;
        Ok(Vec::new())
    })
}

fn save_in_background(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        if !request.shared.persistence.saving.begin() {
            return Ok(Vec::new());
        }
        match save_claimed(&transaction, &request.shared, After::Release).await {
            Ok(()) => tracing::info!("Background saving terminated with success"),
            Err(SaveError::Cancelled) => tracing::warn!("Background saving cancelled"),
            Err(_) => tracing::warn!("Background saving error"),
        }
        Ok(Vec::new())
    })
}

/// Writes the snapshot to a file. Locks on everything of every shard are held.
pub(super) async fn write(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    after: After,
    output: Output,
) -> Result<(), SaveError> {
    let saving = &shared.persistence.saving;
    while saving.is_walking() {
        transaction.sleep(LOOK).await;
    }
    if saving.is_cancelled() {
        return Err(SaveError::Cancelled);
    }
    let disk = shared.disk.get().ok_or_else(|| failed("this server has no files"))?;
    let config = shared.config.load_full();
    let now_ms = now_ms(transaction).await;
    let size = (shared.map.shards(), shared.memory.used_now());
    let plan = Plan::new(&config, output.target.format, now_ms, size);
    let head = match plan.format() {
        BaseFormat::Rdb => head(shared, plan, now_ms / 1000, output.is_base),
        BaseFormat::Commands => head_of_commands(shared, plan, now_ms / 1000),
    };
    let mut writer = disk.write(output.target).map_err(SaveError::Failed)?;
    let end = (after, output.at_cut);
    let written = write_parts(transaction, shared, &writer, head, end).await;
    let is_cancelled = matches!(written, Err(SaveError::Cancelled));
    if written.is_err() {
        // The next snapshot's file has the same name until it is whole.
        transaction.on_all(CoreState::give_up_snapshot).await;
        writer.give_up();
        loop {
            match writer.outcome() {
                // It was cancelled too late.
                Some(Ok(())) if is_cancelled => return Ok(()),
                Some(_) => break,
                None => transaction.sleep(LOOK).await,
            }
        }
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
        format: BaseFormat::Rdb,
        checksum: config.persistence.checksum,
        syncs: config.persistence.incremental_sync,
    }
}

/// What tells about the file, and what belongs to the server as a whole: everything that is no key.
/// Made under the locks of the cut.
struct Head {
    plan: Plan,
    bytes: Vec<u8>,
}

fn head(shared: &Shared, plan: Plan, unix_s: u64, is_base: bool) -> Head {
    let mut bytes = Vec::new();
    write_aux(&mut bytes, b"kvasir-ver", env!("CARGO_PKG_VERSION").as_bytes());
    write_aux(&mut bytes, b"redis-bits", b"64");
    write_aux(&mut bytes, b"ctime", unix_s.to_string().as_bytes());
    write_aux(&mut bytes, b"used-mem", shared.memory.used_now().to_string().as_bytes());
    write_aux(&mut bytes, b"aof-base", if is_base { b"1" } else { b"0" });
    for library in shared.functions.catalog().libraries() {
        write_function(&mut bytes, library.code(), plan.options());
    }
    Head { plan, bytes }
}

/// As [`head`], for a file of commands.
fn head_of_commands(shared: &Shared, plan: Plan, unix_s: u64) -> Head {
    let mut bytes = Vec::new();
    if shared.config.load().persistence.log.timestamps {
        commands::write_moment(&mut bytes, unix_s);
    }
    for library in shared.functions.catalog().libraries() {
        commands::write_function(&mut bytes, library.code());
    }
    Head { plan, bytes }
}

/// Makes the cut, and waits until the shards and the thread have written everything.
async fn write_parts(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    writer: &SnapshotWriter,
    head: Head,
    (after, at_cut): (After, Option<Box<dyn FnOnce() + Send>>),
) -> Result<(), SaveError> {
    let Head { plan, mut bytes } = head;
    let pieces = writer.pieces().expect("invariant: it has not been given up");
    let link = Arc::new(Link::new(transaction.shards().count()));
    let cuts = transaction.shards().map(|shard| {
        let part = Part::new(shard.0, plan, Arc::clone(&link), pieces.clone());
        (shard, move |state: &mut CoreState| state.begin_snapshot(part))
    });
    let cuts: Vec<_> = cuts.collect();
    drop(pieces);
    let sizes = match (after, at_cut) {
        (After::Release, None) => transaction.last_hop(cuts).await,
        (After::Release, Some(at_cut)) => {
            let sizes = transaction.hop(cuts).await;
            at_cut();
            let ends = transaction.shards().map(|shard| (shard, |_: &mut CoreState| ()));
            transaction.last_hop(ends).await;
            sizes
        }
        (After::Hold, _) => transaction.hop(cuts).await,
    };
    let mut keys_total = 0;
    for db in 0..sizes[0].len() {
        let of_shards = sizes.iter().map(|sizes| sizes[db]);
        let (keys, expires) = of_shards.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        if keys > 0 && plan.format() == BaseFormat::Rdb {
            write_select(&mut bytes, db as u32);
            write_size(&mut bytes, keys, expires);
        }
        keys_total += keys;
    }
    offer(transaction, writer, Piece::Records(bytes)).await;
    link.open();
    let saving = &shared.persistence.saving;
    while !link.is_done() {
        saving.note(link.keys_done(), keys_total);
        if saving.is_cancelled() {
            return Err(SaveError::Cancelled);
        }
        if let Some(outcome) = writer.outcome() {
            return outcome.map_err(SaveError::Failed);
        }
        transaction.sleep(LOOK).await;
    }
    saving.note(keys_total, keys_total);
    offer(transaction, writer, Piece::End(link.needs())).await;
    loop {
        if let Some(outcome) = writer.outcome() {
            return outcome.map_err(SaveError::Failed);
        }
        if saving.is_cancelled() {
            return Err(SaveError::Cancelled);
        }
        transaction.sleep(LOOK).await;
    }
}

/// Hands a piece to the writing thread, and waits while that is behind.
async fn offer(transaction: &Transaction, writer: &SnapshotWriter, mut piece: Piece) {
    while let Err(back) = writer.offer(piece) {
        piece = back;
        transaction.sleep(LOOK).await;
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
        transaction.sleep(LOOK).await;
    }
}
