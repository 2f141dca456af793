//! What there is of functions: FUNCTION DUMP, LIST, STATS; and FUNCTION KILL.

use kvasir_proto::{Args, Encoder};

use super::super::kill;
use crate::commands::arguments::is_word;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::errors::CommandError;
use crate::glob;
use crate::persist::rdb::WriteOptions;
use crate::persist::rdb::dump;
use crate::route::core::CoreState;
use crate::route::script::{RunningFunction, busy_error};
use crate::route::transaction::{Request, Transaction};
use crate::script::functions::{Catalog, Function, Library};

/// The name of the only engine, in the form that the peers show.
const ENGINE: &[u8] = b"LUA";

pub(super) const FUNCTION_DUMP: Command = Command {
    name: "dump",
    summary: "Dumps all libraries into a serialized binary payload.",
    complexity: "O(N) where N is the number of functions",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT,
    handler: Handler::Local(dump),
    ..Command::BASE
};

pub(super) const FUNCTION_KILL: Command = Command {
    name: "kill",
    summary: "Terminates a function during execution.",
    complexity: "O(1)",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
    tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
    handler: Handler::Global(LockScope::None, |transaction, request| {
        kill(transaction, request, true)
    }),
    ..Command::BASE
};

pub(super) const FUNCTION_LIST: Command = Command {
    name: "list",
    summary: "Returns information about all libraries.",
    complexity: "O(N) where N is the number of functions",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::at_least(2),
    flags: Flags::NOSCRIPT,
    tips: &["nondeterministic_output_order"],
    args: &[
        Arg::string("library-name-pattern").after("LIBRARYNAME").optional(),
        Arg::token("withcode", "WITHCODE").optional(),
    ],
    handler: Handler::Local(list),
    ..Command::BASE
};

pub(super) const FUNCTION_STATS: Command = Command {
    name: "stats",
    summary: "Returns information about a function during execution.",
    complexity: "O(1)",
    since: "7.0.0",
    group: Group::Scripting,
    arity: Arity::exactly(2),
    flags: Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    handler: Handler::Global(LockScope::None, stats),
    ..Command::BASE
};

fn dump(
    context: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let catalog = context.state.shared.functions.catalog();
    let options = WriteOptions { compress: context.state.value_settings.dump_compresses };
    let codes = catalog.libraries().map(|library| library.code());
    reply.bulk(&dump::seal_functions(codes, options));
    Ok(())
}

fn list(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (mut pattern, mut with_code) = (None, false);
    let mut words = args.iter().skip(2);
    while let Some(word) = words.next() {
        if !with_code && is_word(word, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && is_word(word, "LIBRARYNAME") {
            pattern = Some(
                words
                    .next()
                    .ok_or(CommandError::Other("ERR library name argument was not given"))?,
            );
        } else {
            return Err(CommandError::quoting("ERR Unknown argument ", word, ""));
        }
    }
    let catalog = context.state.shared.functions.catalog();
    let wanted = |library: &&Library| {
        pattern.is_none_or(|pattern| glob::matches_any_case(pattern, library.name().as_bytes()))
    };
    let libraries: Vec<&Library> = catalog.libraries().map(|arc| &**arc).filter(wanted).collect();
    reply.array(libraries.len());
    for library in libraries {
        encode_library(library, with_code, reply);
    }
    Ok(())
}

fn encode_library(library: &Library, with_code: bool, reply: &mut Encoder<'_>) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(library.name().as_bytes());
    reply.bulk(b"engine");
    reply.bulk(ENGINE);
    reply.bulk(b"functions");
    reply.array(library.functions().len());
    for function in library.functions() {
        encode_function(function, reply);
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(library.code());
    }
}

fn encode_function(function: &Function, reply: &mut Encoder<'_>) {
    reply.map(3);
    reply.bulk(b"name");
    reply.bulk(function.name.as_bytes());
    reply.bulk(b"description");
    match &function.description {
        // As in the peers it ends at the first zero byte.
        Some(text) => reply.bulk(text.split(|byte| *byte == 0).next().unwrap_or_default()),
        None => reply.null(),
    }
    reply.bulk(b"flags");
    reply.set(function.declared.names().count());
    for flag in function.declared.names() {
        reply.simple(flag);
    }
}

/// The function that runs is, where several cores run one, that which has been for longest. A
/// script of `EVAL` that has been running for too long makes this an error, as by the peers.
fn stats(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let look = |state: &mut CoreState| {
            let stopwatch = state.shared.stopwatch;
            (state.scripts.running_function(stopwatch), state.scripts.has_busy_script())
        };
        let (functions, busy): (Vec<_>, Vec<_>) =
            transaction.on_all(look).await.into_iter().unzip();
        let oldest = functions.into_iter().flatten().max_by_key(|running| running.duration_ms);
        if oldest.is_none() && busy.contains(&true) {
            let config = request.shared.config.load();
            return Err(busy_error(false, config.process.redis_compatibility));
        }
        let catalog = request.shared.functions.catalog();
        Ok(request.encode(|reply| encode_stats(oldest.as_ref(), &catalog, reply)))
    })
}

fn encode_stats(running: Option<&RunningFunction>, catalog: &Catalog, reply: &mut Encoder<'_>) {
    reply.map(2);
    reply.bulk(b"running_script");
    match running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(running.name.as_bytes());
            reply.bulk(b"command");
            let words: Vec<&[u8]> =
                running.command.iter().flat_map(|args| args.view().iter()).collect();
            reply.array(words.len());
            for word in words {
                reply.bulk(word);
            }
            reply.bulk(b"duration_ms");
            reply.integer(running.duration_ms as i64);
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(ENGINE);
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(catalog.libraries().len() as i64);
    reply.bulk(b"functions_count");
    reply.integer(catalog.functions() as i64);
}
