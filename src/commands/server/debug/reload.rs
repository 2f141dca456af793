//! `DEBUG RELOAD` and `LOADAOF`: everything to the disk and back.

use std::sync::Arc;
use std::time::Duration;

use crate::commands::arguments::is_word;
use crate::commands::context::Coordination;
use crate::commands::server::persistence::IN_PROGRESS;
use crate::commands::server::snapshot::{self, After};
use crate::errors::CommandError;
use crate::persist::aof::load::{LoadedLog, LogJob};
use crate::persist::aof::upkeep::resume_log;
use crate::persist::load::Existing;
use crate::persist::state::Persistence;
use crate::route::core::CoreState;
use crate::route::replay::Replay;
use crate::route::shared::Shared;
use crate::route::transaction::{Request, Transaction};
use crate::script::functions::Catalog;

/// How often a coordinator looks whether something has been done.
const LOOK: Duration = Duration::from_millis(1);
const NOT_LOADED: CommandError =
    CommandError::Other("ERR Error trying to load the AOF files, check server logs.");

/// What a `RELOAD` leaves out.
#[derive(Default)]
struct Options {
    merges: bool,
    keeps: bool,
    saves_not: bool,
}

impl Options {
    fn parse(words: impl Iterator<Item = Vec<u8>>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        for word in words {
            let option = match () {
                () if is_word(&word, "MERGE") => &mut options.merges,
                () if is_word(&word, "NOFLUSH") => &mut options.keeps,
                () if is_word(&word, "NOSAVE") => &mut options.saves_not,
                () => {
                    return Err(CommandError::Other(
                        "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                    ));
                }
            };
            *option = true;
        }
        Ok(options)
    }
}

/// Saves, empties and loads, as one moment for everybody else.
pub(super) fn reload(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let words = request.args().tail(2);
        let options = Options::parse(words.iter().map(<[u8]>::to_vec))?;
        let shared = &request.shared;
        if shared.persistence.loading.is_active() {
            return Err(CommandError::Loading);
        }
        if !options.saves_not {
            let saved = snapshot::save(&transaction, shared, After::Hold).await;
            saved.map_err(|_| CommandError::Other("ERR"))?;
        }
        if !options.keeps {
            transaction.on_all(empty).await;
            shared.functions.replace(Catalog::default());
        }
        let existing = if options.merges { Existing::Replaced } else { Existing::Refused };
        snapshot::load(&transaction, shared, existing).await.map_err(|reason| {
            tracing::warn!("Error reloading the DB: {reason}");
            CommandError::Other("ERR Error trying to load the RDB dump, check server logs.")
        })?;
        tracing::warn!("DB reloaded by DEBUG RELOAD");
        Ok(request.ok())
    })
}

/// Brings the append-only log to the disk, empties everything and loads the log.
///
/// The log's commands need locks like those of clients: the locks under which everything is emptied
/// end with that. What comes from then on is refused until everything has been loaded, and so is
/// what has been waiting for the locks.
pub(super) fn load_log(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let shared = &request.shared;
        let (loading, log) = (&shared.persistence.loading, &shared.persistence.log);
        if loading.is_active() {
            return Err(CommandError::Loading);
        }
        if transaction.is_part() {
            return Err(CommandError::Other("ERR DEBUG LOADAOF is not allowed in transactions"));
        }
        let disk = shared.disk.get().ok_or(CommandError::Other("ERR this server has no files"))?;
        loading.begin_replay(request.now_ms / 1000);
        // Every core refuses what comes from now on before any has been emptied.
        transaction.on_all(CoreState::expect_replay).await;
        if let Err(error) = settle(&transaction, shared).await {
            loading.finish();
            return Err(error);
        }
        let was_on = log.is_on();
        log.set_on(false);
        let (job, ports) = LogJob::new(&shared.config.load(), request.now_ms, shared.map.shards());
        shared.functions.replace(Catalog::default());
        let mut commands = Some(ports.commands);
        let hand_over = ports.shards.into_iter().zip(transaction.shards()).map(|(port, shard)| {
            let replay = commands.take().map(Replay::new);
            let task = move |state: &mut CoreState| {
                empty(state);
                state.begin_replay(port, replay);
            };
            (shard, task)
        });
        transaction.last_hop(hand_over).await;
        let of_thread = Arc::clone(shared);
        let work = move || {
            job.run(&of_thread);
            let loaded = of_thread.persistence.take_loaded_log();
            // Before anybody may write again.
            if was_on {
                go_on_with_log(&of_thread, loaded);
            }
            of_thread.persistence.loading.finish();
        };
        if let Err(error) = disk.run(Box::new(work)) {
            log.set_on(was_on);
            loading.fail(error.to_string());
            loading.finish();
        }
        let outcome = loop {
            match loading.outcome() {
                Some(outcome) => break outcome,
                None => transaction.sleep(LOOK).await,
            }
        };
        outcome.map_err(|reason| {
            tracing::warn!("Error loading the append-only log: {reason}");
            NOT_LOADED
        })?;
        tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
        Ok(request.ok())
    })
}

/// Waits until the log is on the disk as far as it goes. Nothing may be under way that changes its
/// files, and nothing new begins while something is loaded.
async fn settle(transaction: &Transaction, shared: &Shared) -> Result<(), CommandError> {
    let Persistence { saving, log, .. } = &shared.persistence;
    if saving.figures().kind.is_some() {
        return Err(IN_PROGRESS);
    }
    log.want_flush();
    while !log.is_settled() {
        if log.has_failed() {
            return Err(NOT_LOADED);
        }
        transaction.sleep(LOOK).await;
    }
    Ok(())
}

/// Records what is changed behind what has been loaded: a file that ended too early is shorter now.
fn go_on_with_log(shared: &Shared, loaded: Option<LoadedLog>) {
    let log = &shared.persistence.log;
    let Some(loaded) = loaded else {
        // It could not be loaded, and nothing has touched it.
        log.set_on(true);
        return;
    };
    assert!(log.close(), "invariant: nothing is written while the log is off");
    if let Err(reason) = resume_log(shared, loaded.manifest) {
        shared.persistence.loading.fail(reason);
    }
}

fn empty(state: &mut CoreState) {
    for db in 0..state.shard.databases() as u32 {
        state.shard.flush_db(db);
    }
}
