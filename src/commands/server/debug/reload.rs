//! `DEBUG RELOAD`: everything to the disk and back.

use crate::commands::arguments::is_word;
use crate::commands::context::Coordination;
use crate::commands::server::snapshot::{self, After};
use crate::errors::CommandError;
use crate::persist::load::Existing;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};
use crate::script::functions::Catalog;

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

fn empty(state: &mut CoreState) {
    for db in 0..state.shard.databases() as u32 {
        state.shard.flush_db(db);
    }
}
