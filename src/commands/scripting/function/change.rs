//! Libraries come and go: FUNCTION LOAD, DELETE, FLUSH, RESTORE.
//!
//! Each holds locks on everything, so that a function is there for the whole of any other
//! transaction or not at all, and what a client has sent before runs before.

use std::sync::Arc;

use crate::commands::arguments::is_word;
use crate::commands::context::Coordination;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::errors::CommandError;
use crate::persist::rdb::dump::{FunctionsError, open_functions};
use crate::route::core::CoreState;
use crate::route::script::{LoadTime, forget_libraries, run_library};
use crate::route::transaction::{Request, Transaction};
use crate::script::functions::{Catalog, Draft, LibraryId};

pub(super) const FUNCTION_DELETE: Command = Command {
    name: "delete",
    summary: "Deletes a library and its functions.",
    complexity: "O(1)",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::NOSCRIPT),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    args: &[Arg::string("library-name")],
    handler: Handler::Global(LockScope::Exclusive, delete),
    ..Command::BASE
};

pub(super) const FUNCTION_FLUSH: Command = Command {
    name: "flush",
    summary: "Deletes all libraries and functions.",
    complexity: "O(N) where N is the number of functions deleted",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::NOSCRIPT),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    args: &[Arg::one_of("flush-type", &[Arg::token("async", "ASYNC"), Arg::token("sync", "SYNC")])
        .optional()],
    handler: Handler::Global(LockScope::Exclusive, flush),
    ..Command::BASE
};

pub(super) const FUNCTION_LOAD: Command = Command {
    name: "load",
    summary: "Creates a library.",
    complexity: "O(1) (considering compilation time is redundant)",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::NOSCRIPT),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    args: &[Arg::token("replace", "REPLACE").optional(), Arg::string("function-code")],
    handler: Handler::Global(LockScope::Exclusive, load),
    ..Command::BASE
};

pub(super) const FUNCTION_RESTORE: Command = Command {
    name: "restore",
    summary: "Restores all libraries from a payload.",
    complexity: "O(N) where N is the number of functions on the payload",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::NOSCRIPT),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    args: &[
        Arg::string("serialized-value"),
        Arg::one_of(
            "policy",
            &[
                Arg::token("flush", "FLUSH"),
                Arg::token("append", "APPEND"),
                Arg::token("replace", "REPLACE"),
            ],
        )
        .optional(),
    ],
    handler: Handler::Global(LockScope::Exclusive, restore),
    ..Command::BASE
};

/// Makes a catalog the present one, which counts as a change of the data, and ends the locks.
async fn commit(transaction: &Transaction, request: &Request, catalog: Catalog) {
    let replace = move |state: &mut CoreState| {
        state.shared.functions.replace(catalog);
        state.keyspace_figures.changes += 1;
    };
    transaction.on(request.home, replace).await;
    let shards = transaction.shards();
    transaction.last_hop(shards.map(|shard| (shard, CoreState::follow_catalog))).await;
}

fn delete(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let catalog = request.shared.functions.catalog();
        let catalog = catalog.without(request.args().at(2));
        let catalog = catalog.ok_or(CommandError::Other("ERR Library not found"))?;
        commit(&transaction, &request, catalog).await;
        Ok(request.ok())
    })
}

/// Both modes do the same.
fn flush(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        if args.len() > 3 {
            return Err(subcommand_syntax(args.at(1)));
        }
        let is_mode = |mode: &[u8]| is_word(mode, "SYNC") || is_word(mode, "ASYNC");
        if args.get(2).is_some_and(|mode| !is_mode(mode)) {
            return Err(CommandError::Other("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
        }
        commit(&transaction, &request, Catalog::default()).await;
        Ok(request.ok())
    })
}

/// What the peers say of a subcommand's arguments that they do not understand.
fn subcommand_syntax(subcommand: &[u8]) -> CommandError {
    const BEFORE: &str = "ERR unknown subcommand or wrong number of arguments for '";
    let subcommand = &subcommand[..subcommand.len().min(128)];
    CommandError::quoting(BEFORE, subcommand, "'. Try FUNCTION HELP.")
}

fn load(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (draft, replace) = read_load(&request)?;
        let before = request.shared.functions.catalog();
        before.admits(&draft, replace)?;
        let (id, name) = (draft.id, draft.name.clone());
        let library =
            run_library(&transaction, request.home, draft, &mut LoadTime::default()).await?;
        match before.with(&[Arc::new(library)], replace) {
            Ok(catalog) => commit(&transaction, &request, catalog).await,
            Err(error) => {
                forget_libraries(&transaction, request.home, vec![id]).await;
                return Err(error);
            }
        }
        Ok(request.encode(|reply| reply.bulk(name.as_bytes())))
    })
}

fn read_load(request: &Request) -> Result<(Draft, bool), CommandError> {
    let args = request.args();
    let last = args.len() - 1;
    for option in args.iter().take(last).skip(2) {
        if !is_word(option, "REPLACE") {
            return Err(CommandError::quoting("ERR Unknown option given: ", option, ""));
        }
    }
    Ok((request.shared.functions.draft(args.at(last))?, last > 2))
}

/// What becomes of libraries that are there when others are restored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Flush,
    Append,
    Replace,
}

fn restore(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let policy = read_policy(&request)?;
        let settings = |state: &mut CoreState| state.value_settings;
        let settings = transaction.on(request.home, settings).await;
        let payload = request.args().at(2);
        let codes = open_functions(payload, settings.dump_versions, settings.dump_checksum);
        let codes = codes.map_err(refusal)?;
        let mut loaded = Vec::new();
        let restored = restore_all(&transaction, &request, &codes, &mut loaded).await;
        let catalog = restored.and_then(|restored| {
            if policy == Policy::Flush {
                return Ok(restored);
            }
            let libraries: Vec<_> = restored.libraries().cloned().collect();
            request.shared.functions.catalog().with(&libraries, policy == Policy::Replace)
        });
        match catalog {
            Ok(catalog) => commit(&transaction, &request, catalog).await,
            Err(error) => {
                forget_libraries(&transaction, request.home, loaded).await;
                return Err(error);
            }
        }
        Ok(request.ok())
    })
}

fn read_policy(request: &Request) -> Result<Policy, CommandError> {
    let args = request.args();
    if args.len() > 4 {
        return Err(subcommand_syntax(args.at(1)));
    }
    match args.get(3) {
        None => Ok(Policy::Append),
        Some(word) if is_word(word, "APPEND") => Ok(Policy::Append),
        Some(word) if is_word(word, "REPLACE") => Ok(Policy::Replace),
        Some(word) if is_word(word, "FLUSH") => Ok(Policy::Flush),
        Some(_) => Err(CommandError::Other(
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        )),
    }
}

fn refusal(error: FunctionsError) -> CommandError {
    CommandError::Other(match error {
        FunctionsError::Footer => "ERR DUMP payload version or checksum are wrong",
        FunctionsError::OtherType => "ERR given type is not a function",
        FunctionsError::Preview => "ERR Pre-GA function format not supported",
        FunctionsError::Damaged => "ERR Failed loading library payload",
    })
}

/// Runs the code of all libraries of a payload; a catalog of them alone. `loaded` gets the numbers
/// of those that an interpreter then has.
async fn restore_all(
    transaction: &Transaction,
    request: &Request,
    codes: &[Vec<u8>],
    loaded: &mut Vec<LibraryId>,
) -> Result<Catalog, CommandError> {
    let (mut restored, mut time) = (Catalog::default(), LoadTime::default());
    for code in codes {
        let draft = request.shared.functions.draft(code)?;
        restored.admits(&draft, false)?;
        let id = draft.id;
        let library = run_library(transaction, request.home, draft, &mut time).await?;
        loaded.push(id);
        restored = restored.with(&[Arc::new(library)], false)?;
    }
    Ok(restored)
}
