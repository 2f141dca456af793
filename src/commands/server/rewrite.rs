//! The append-only log as a whole: turned on and off, and rewritten.
//!
//! A rewrite is a snapshot whose cut is also where the log changes to a new file: locks on
//! everything are held then, all that was changed before has been handed to the log, and nothing
//! that comes after has. The snapshot becomes the log's new base, and what the files before that
//! one held is in it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::snapshot::{self, Output, SaveError};
use crate::commands::context::Coordination;
use crate::persist::aof::upkeep::{NewFile, Place};
use crate::persist::state::Persistence;
use crate::route::core::{Background, CoreState};
use crate::route::locks::Mode;
use crate::route::shared::Shared;
use crate::route::transaction::{Request, Transaction};

/// How often the coordinator looks how far the disk is.
const LOOK: Duration = Duration::from_millis(1);

/// The task of a rewrite, which begins the log where there is none and is to be one.
pub(crate) fn rewrite() -> Background {
    Background { words: vec!["BGREWRITEAOF"], locks: None, coordinator: prepare }
}

/// The task that ends the log.
pub(crate) fn turn_off() -> Background {
    Background { words: vec!["BGREWRITEAOF"], locks: None, coordinator: end_log }
}

/// What a rewrite does to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// The log goes on in a new file from the cut on.
    GoOn,
    /// The log begins at the cut.
    Begin,
    /// There is no log: the new base is all there is.
    BaseOnly,
}

impl Way {
    fn of(shared: &Shared) -> Self {
        let persistence = &shared.persistence;
        match (persistence.log.is_on(), persistence.rewriting.is_wanted()) {
            (true, _) => Self::GoOn,
            (false, true) => Self::Begin,
            (false, false) => Self::BaseOnly,
        }
    }
}

/// Waits, without locks, for what was there before. The rewrite has been claimed.
fn prepare(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let saving = &request.shared.persistence.saving;
        while saving.is_walking() && !saving.is_cancelled() {
            transaction.sleep(LOOK).await;
        }
        let run = || Background {
            words: vec!["BGREWRITEAOF"],
            locks: Some(Mode::Read),
            coordinator: run,
        };
        transaction.on(request.home, move |state| state.background.push_back(run())).await;
        Ok(Vec::new())
    })
}

/// Under locks for reading on everything, which end with the cut.
fn run(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let shared = &request.shared;
        let outcome = rewrite_with(&transaction, shared).await;
        let unix_s = transaction.on(request.home, |state| state.unix_ms()).await / 1000;
        let persistence = &shared.persistence;
        persistence.saving.finish(false, unix_s);
        let delay_s = persistence.rewriting.finish(outcome.is_ok(), unix_s);
        match outcome {
            Ok(()) => tracing::info!("Background AOF rewrite finished successfully"),
            Err(SaveError::Failed(error)) => {
                tracing::warn!("Background AOF rewrite terminated with error: {error}");
            }
            Err(_) => tracing::warn!("Background AOF rewrite terminated by signal"),
        }
        if delay_s >= 60 {
            tracing::warn!(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry \
                 in {} minutes",
                delay_s / 60
            );
        }
        if persistence.rewriting.is_wanted() && !persistence.log.is_on() {
            persistence.rewriting.schedule();
        }
        Ok(Vec::new())
    })
}

async fn rewrite_with(transaction: &Transaction, shared: &Arc<Shared>) -> Result<(), SaveError> {
    let config = shared.config.load_full();
    let place = Place::of(&config);
    let way = Way::of(shared);
    if way == Way::Begin {
        shared.persistence.rewriting.note_first();
    }
    let new = begin_file(transaction, shared, &place, way).await.map_err(SaveError::Failed)?;
    let begun = new.as_ref().map(|new| new.begun);
    if way == Way::Begin {
        shared.persistence.log.set_on(true);
    }
    let target = shared.persistence.upkeep.base_target(&place, &config);
    let output = Output { target, is_base: true, at_cut: Some(change_file(shared, new, way)) };
    let written = snapshot::write(transaction, shared, snapshot::After::Release, output).await;
    transaction.on_all(|state| state.end_snapshot(false)).await;
    let installed = match written {
        Ok(()) => {
            // What was flushed before the cut is so in a file that is not used any more.
            while shared.persistence.log.changes_file() && !shared.persistence.saving.is_cancelled()
            {
                transaction.sleep(LOOK).await;
            }
            let (shared_there, place) = (Arc::clone(shared), place.clone());
            let install = move || {
                let persistence = &shared_there.persistence;
                persistence.upkeep.install_base(&place, begun, &persistence.log)
            };
            on_disk(transaction, shared, install).await.map_err(SaveError::Failed)
        }
        Err(error) => Err(error),
    };
    if installed.is_err() && way == Way::Begin {
        shared.persistence.log.set_on(false);
        close(transaction, shared).await;
        let shared_there = Arc::clone(shared);
        let abandon = move || {
            shared_there.persistence.upkeep.abandon_file(&place);
            Ok(())
        };
        on_disk(transaction, shared, abandon).await.map_err(SaveError::Failed)?;
    }
    installed
}

/// Waits, after a change of the configuration, until the log is off where it is to be, and its
/// files are as they are to be. In a transaction of a client nobody waits: a rewrite that has to
/// end first may wait for its locks.
pub(super) async fn follow(transaction: &Transaction, shared: &Arc<Shared>) {
    if transaction.is_part() {
        return;
    }
    let Persistence { log, rewriting, .. } = &shared.persistence;
    while log.is_on() && !rewriting.is_wanted() && !shared.stopping() {
        transaction.sleep(LOOK).await;
    }
    follow_history(transaction, shared).await;
}

/// Removes files that were kept although the log does not need them, when they are not wanted any
/// more (`aof-disable-auto-gc`).
async fn follow_history(transaction: &Transaction, shared: &Arc<Shared>) {
    let config = shared.config.load_full();
    if config.persistence.log.keeps_history || !shared.persistence.upkeep.has_history() {
        return;
    }
    let (shared_there, place) = (Arc::clone(shared), Place::of(&config));
    let remove = move || {
        shared_there.persistence.upkeep.follow_history(&place);
        Ok(())
    };
    if let Err(error) = on_disk(transaction, shared, remove).await {
        tracing::warn!("Can't remove the log's history: {error}");
    }
}

async fn begin_file(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    place: &Place,
    way: Way,
) -> io::Result<Option<NewFile>> {
    let (shared_there, place) = (Arc::clone(shared), place.clone());
    let begin = move || {
        let upkeep = &shared_there.persistence.upkeep;
        if way != Way::GoOn {
            upkeep.adopt(&place)?;
        }
        if way == Way::BaseOnly {
            return Ok(None);
        }
        upkeep.begin_file(&place, way == Way::GoOn).map(Some)
    };
    on_disk(transaction, shared, begin).await
}

/// What happens at the cut: from then on what is changed belongs to the new file.
fn change_file(shared: &Arc<Shared>, new: Option<NewFile>, way: Way) -> Box<dyn FnOnce() + Send> {
    let shared = Arc::clone(shared);
    Box::new(move || {
        let persistence = &shared.persistence;
        let Some(NewFile { file, .. }) = new else { return };
        if way == Way::GoOn {
            persistence.upkeep.note_settled(persistence.log.end_of_file());
        }
        persistence.log.open(file, 0);
    })
}

/// Has a thread do something with files, and waits for its result.
async fn on_disk<R: Send + 'static>(
    transaction: &Transaction,
    shared: &Arc<Shared>,
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    let disk = shared.disk.get().ok_or_else(|| io::Error::other("this server has no files"))?;
    let slot = Arc::new(Mutex::new(None));
    let result = Arc::clone(&slot);
    disk.run(Box::new(move || {
        let outcome = work();
        *result.lock().expect("invariant: a panic ends the process") = Some(outcome);
    }))?;
    loop {
        let outcome = slot.lock().expect("invariant: a panic ends the process").take();
        if let Some(outcome) = outcome {
            return outcome;
        }
        transaction.sleep(LOOK).await;
    }
}

/// Writes and flushes what there is, and ends the log.
fn end_log(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let persistence = &request.shared.persistence;
        if persistence.rewriting.figures().running {
            tracing::info!("Killing the running AOF rewrite, which is no child process");
            persistence.saving.cancel();
        }
        while persistence.rewriting.figures().running {
            transaction.sleep(LOOK).await;
        }
        if !persistence.rewriting.is_wanted() && persistence.log.is_on() {
            flush(&transaction, &request.shared).await;
            persistence.log.set_on(false);
            flush(&transaction, &request.shared).await;
            close(&transaction, &request.shared).await;
        }
        Ok(Vec::new())
    })
}

async fn close(transaction: &Transaction, shared: &Arc<Shared>) {
    // What has been recorded by now is in the log.
    transaction.on_all(CoreState::follow_log).await;
    while !shared.persistence.log.close() {
        transaction.sleep(LOOK).await;
    }
}

/// Waits until everything that has been changed by now is on the disk; false when that fails.
pub(super) async fn flush(transaction: &Transaction, shared: &Arc<Shared>) -> bool {
    let log = &shared.persistence.log;
    let ends = transaction.on_all(CoreState::end_of_log).await;
    let end = ends.into_iter().max().unwrap_or(0);
    while log.is_on() && log.durable() < end {
        if log.has_failed() {
            return false;
        }
        log.want_flush();
        transaction.sleep(LOOK).await;
    }
    true
}
