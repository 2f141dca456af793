//! `DEBUG`: what tests and people who look for a fault need. One row for each subcommand.
//!
//! The peers' subcommands about what is not here yet (persistence, replication, other types than
//! strings) say so, or are not there.

mod dataset;
mod digest;
mod object;
mod protocol;
mod reload;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kvasir_proto::{Args, number};

use super::config::{CONFIG_CORE, rewrite_file};
use crate::commands::arguments::{integer, is_word};
use crate::commands::context::{Coordination, Coordinator};
use crate::commands::definition::{Arity, Command, Flags, Group, Handler, LockScope};
use crate::commands::help::encode_help;
use crate::config::Config;
use crate::errors::CommandError;
use crate::persist::log::Fault;
use crate::persist::rdb::dump::Checksum;
use crate::route::core::CoreState;
use crate::route::patrol::memory_class;
use crate::route::transaction::{Request, Transaction};

pub(super) const DEBUG: Command = Command {
    name: "debug",
    summary: "A container for debugging commands.",
    complexity: "Depends on subcommand.",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::PROTECTED)
        .or(Flags::SYSCMD),
    handler: Handler::Global(LockScope::Chosen(locks), debug),
    ..Command::BASE
};

/// A subcommand of `DEBUG`.
struct Subcommand {
    /// Upper case.
    name: &'static str,
    /// Arguments after the name, for `HELP`.
    usage: &'static str,
    /// One line for `HELP`.
    summary: &'static str,
    /// How many arguments it takes after its name.
    arguments: RangeInclusive<usize>,
    /// What it locks.
    locks: LockScope,
    run: Coordinator,
}

impl Subcommand {
    const fn new(
        name: &'static str,
        usage: &'static str,
        summary: &'static str,
        arguments: RangeInclusive<usize>,
        run: Coordinator,
    ) -> Self {
        Self { name, usage, summary, arguments, locks: LockScope::None, run }
    }

    const fn locking(self, locks: LockScope) -> Self {
        Self { locks, ..self }
    }

    fn find(args: Args<'_>) -> Option<&'static Self> {
        let (name, arguments) = (args.at(1), args.len() - 2);
        SUBCOMMANDS.iter().find(|row| {
            name.eq_ignore_ascii_case(row.name.as_bytes()) && row.arguments.contains(&arguments)
        })
    }
}

/// Sorted by name.
const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand::new(
        "AOF-FAULT",
        "<write|flush> <errno> [<bytes>]",
        "Have the next write of the append-only file fail after so many bytes, or its next flush.",
        2..=3,
        log_fault,
    ),
    Subcommand::new(
        "AOF-FLUSH-SLEEP",
        "<microseconds>",
        "Let so much time pass before each flush of the append-only file.",
        1..=1,
        log_flush_sleep,
    ),
    Subcommand::new("ASSERT", "", "End the process by a failed assertion.", 0..=0, crash),
    Subcommand::new("CHANGE-REPL-ID", "", "Nothing yet: there is no replication.", 0..=0, nothing),
    Subcommand::new(
        "CLIENT-EVICTION",
        "",
        "How clients rank when their memory is limited.",
        0..=0,
        client_eviction,
    ),
    Subcommand::new(
        "CONFIG-REWRITE-FORCE-ALL",
        "",
        "CONFIG REWRITE with every parameter, those at their default too.",
        0..=0,
        config_rewrite_force_all,
    ),
    Subcommand::new("DICT-RESIZING", "<0|1>", "Nothing: tables grow by segments.", 1..=1, nothing),
    Subcommand::new("DIGEST", "", "A hash of the whole data set.", 0..=0, digest::of_everything)
        .locking(LockScope::Shared),
    Subcommand::new(
        "DIGEST-VALUE",
        "<key> [<key> ...]",
        "A hash of each key's value and whether it expires.",
        0..=usize::MAX,
        digest::of_values,
    )
    .locking(LockScope::Shared),
    Subcommand::new("ERROR", "<text>", "Answer with this error.", 1..=1, error),
    Subcommand::new("HELP", "", "This text.", 0..=0, help),
    Subcommand::new(
        "HTSTATS",
        "<db> [full]",
        "Figures on a database's tables.",
        1..=2,
        dataset::table_stats,
    )
    .locking(LockScope::Shared),
    Subcommand::new(
        "HTSTATS-KEY",
        "<key> [full]",
        "Figures on the hash table of a value.",
        1..=2,
        object::table_stats,
    )
    .locking(LockScope::Shared),
    Subcommand::new(
        "LISTPACK",
        "<key>",
        "Write how a small collection is stored to the log.",
        1..=1,
        object::packed,
    )
    .locking(LockScope::Shared),
    Subcommand::new(
        "LOADAOF",
        "",
        "Empty all databases, and load the append-only log.",
        0..=0,
        reload::load_log,
    )
    .locking(LockScope::Exclusive),
    Subcommand::new("LOG", "<text>", "Write a line to the log.", 1..=1, log),
    Subcommand::new("OBJECT", "<key> [fast]", "How a value is stored.", 1..=2, object::describe)
        .locking(LockScope::Shared),
    Subcommand::new("OOM", "", "End the process as when memory runs out.", 0..=0, out_of_memory),
    Subcommand::new("PANIC", "[<text>]", "End the process by a panic.", 0..=1, crash),
    Subcommand::new(
        "PAUSE-CRON",
        "<0|1>",
        "Whether clients are looked at for being idle or holding too much.",
        1..=1,
        pause_cron,
    ),
    Subcommand::new(
        "POPULATE",
        "<count> [<prefix> [<size>]]",
        "Make keys <prefix>:<number>, those that do not exist.",
        1..=3,
        dataset::populate,
    )
    .locking(LockScope::Exclusive),
    Subcommand::new("PROTOCOL", "<type>", "A reply of this type.", 1..=1, protocol::sample),
    Subcommand::new(
        "QUICKLIST-PACKED-THRESHOLD",
        "<size>",
        "Nothing: an element that is longer than a block of its list has one of its own.",
        1..=1,
        nothing,
    ),
    Subcommand::new(
        "RELOAD",
        "[MERGE] [NOFLUSH] [NOSAVE]",
        "Save to the dump file, empty all databases, and load the file.",
        0..=usize::MAX,
        reload::reload,
    )
    .locking(LockScope::Exclusive),
    Subcommand::new(
        "REPLYBUFFER",
        "(PEAK-RESET-TIME|RESIZING) <value>",
        "Nothing: output buffers are as large as their content.",
        2..=2,
        reply_buffer,
    ),
    Subcommand::new(
        "SDSLEN",
        "<key>",
        "Lengths and room of a key and its string.",
        1..=1,
        object::lengths,
    )
    .locking(LockScope::Shared),
    Subcommand::new("SEGFAULT", "", "End the process at once.", 0..=0, abort),
    Subcommand::new(
        "SET-ACTIVE-EXPIRE",
        "<0|1>",
        "Whether keys go when they expire, or only when they are looked at.",
        1..=1,
        set_active_expire,
    ),
    Subcommand::new(
        "SET-DISABLE-DENY-SCRIPTS",
        "<0|1>",
        "Whether scripts may call what is not for scripts.",
        1..=1,
        unrestrict_scripts,
    ),
    Subcommand::new(
        "SET-SKIP-CHECKSUM-VALIDATION",
        "<0|1>",
        "Whether RESTORE takes payloads with a wrong checksum.",
        1..=1,
        skip_checksums,
    ),
    Subcommand::new(
        "SLEEP",
        "<seconds>",
        "Answer after this time. Whoever wants a key waits as long.",
        1..=1,
        sleep,
    )
    .locking(LockScope::Exclusive),
    Subcommand::new("STRUCTSIZE", "", "Sizes of structures.", 0..=0, object::structure_sizes),
];

/// The locks of a `DEBUG`: its subcommand's.
fn locks(args: Args<'_>) -> LockScope {
    Subcommand::find(args).map_or(LockScope::None, |row| row.locks)
}

fn debug(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (key, client) = (request.connection, request.client);
        let permitted = move |state: &mut CoreState| {
            let action = state.shared.config.load().security.debug_command;
            let connection = state.connection(key).filter(|c| c.client.id == client);
            Config::permits(action, connection.is_some_and(|c| c.client.socket.loopback))
        };
        if !transaction.on(request.home, permitted).await {
            return Err(CommandError::Other(
                "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
                 \"local\", you can run it from a local connection, otherwise you need to set \
                 this option in the configuration file, and then restart the server.",
            ));
        }
        let Some(subcommand) = Subcommand::find(request.args()) else {
            return Err(CommandError::quoting(
                "ERR unknown subcommand or wrong number of arguments for '",
                request.args().at(1),
                "'. Try DEBUG HELP.",
            ));
        };
        (subcommand.run)(transaction, request).await
    })
}

fn help(_: Transaction, request: Request) -> Coordination {
    let mut lines = Vec::new();
    for row in SUBCOMMANDS.iter().filter(|row| row.name != "HELP") {
        lines.push(format!("{} {}", row.name, row.usage).trim_end().to_owned());
        lines.push(format!("    {}", row.summary));
    }
    Box::pin(async move {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        Ok(request.encode(|reply| encode_help("DEBUG", &lines, reply)))
    })
}

/// Accepted for the sake of programs that test the peers: what it switches does not exist here.
fn nothing(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move { Ok(request.ok()) })
}

fn sleep(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let seconds = number::parse_f64(request.args().at(2)).unwrap_or_default();
        transaction.sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()).await;
        Ok(request.ok())
    })
}

fn set_active_expire(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let active = request.args().at(2) == b"1";
        transaction.on_all(move |state| state.active_expire = active).await;
        Ok(request.ok())
    })
}

fn log_flush_sleep(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let microseconds = integer(request.args().at(2))?;
        let microseconds = u64::try_from(microseconds).map_err(|_| CommandError::NotAnInteger)?;
        request.shared.persistence.log.set_flush_sleep(microseconds);
        Ok(request.ok())
    })
}

fn log_fault(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let number = |at| args.get(at).map_or(Ok(0), integer);
        let code = i32::try_from(number(3)?).map_err(|_| CommandError::NotAnInteger)?;
        let bytes = usize::try_from(number(4)?).map_err(|_| CommandError::NotAnInteger)?;
        let fault = match args.at(2) {
            word if is_word(word, "WRITE") => Fault::Write { bytes, code },
            word if is_word(word, "FLUSH") => Fault::Flush { code },
            _ => return Err(CommandError::Syntax),
        };
        request.shared.persistence.log.set_fault(fault);
        Ok(request.ok())
    })
}

fn unrestrict_scripts(_: Transaction, request: Request) -> Coordination {
    let unrestricted = request.args().at(2) == b"1";
    request.shared.scripts_unrestricted.store(unrestricted, Ordering::Relaxed);
    Box::pin(async move { Ok(request.ok()) })
}

fn pause_cron(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let suspended = request.args().at(2) == b"1";
        transaction.on_all(move |state| state.patrol.suspended = suspended).await;
        Ok(request.ok())
    })
}

fn skip_checksums(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let checksum =
            if request.args().at(2) == b"1" { Checksum::Ignored } else { Checksum::Verified };
        transaction.on_all(move |state| state.value_settings.dump_checksum = checksum).await;
        Ok(request.ok())
    })
}

fn error(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move { Err(CommandError::quoting("", request.args().at(2), "")) })
}

fn log(_: Transaction, request: Request) -> Coordination {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(request.args().at(2)));
    Box::pin(async move { Ok(request.ok()) })
}

fn reply_buffer(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let (name, value) = (args.at(2), args.at(3));
        if is_word(name, "PEAK-RESET-TIME") {
            if !is_word(value, "NEVER") && !is_word(value, "RESET") {
                integer(value)?;
            }
        } else if !is_word(name, "RESIZING") {
            return Err(CommandError::Other(
                "ERR unknown subcommand or wrong number of arguments for 'REPLYBUFFER'. Try \
                 DEBUG HELP.",
            ));
        }
        Ok(request.ok())
    })
}

fn config_rewrite_force_all(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        rewrite_file(&transaction, true).await?;
        Ok(request.ok())
    })
}

fn client_eviction(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let limit = |state: &mut CoreState| state.patrol.clients_max;
        if transaction.on(CONFIG_CORE, limit).await.is_none() {
            return Err(CommandError::Other("ERR maxmemory-clients is disabled."));
        }
        let mut classes: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for bytes in transaction.on_all(evictable_clients).await.into_iter().flatten() {
            let (clients, total) = classes.entry(memory_class(bytes)).or_default();
            *clients += 1;
            *total += bytes;
        }
        let line = |(class, (clients, bytes)): (u32, (usize, usize))| {
            format!("Class 2^{class}: tot-mem: {bytes}, clients: {clients}\n")
        };
        let text: String = classes.into_iter().rev().map(line).collect();
        Ok(request.encode(|reply| reply.verbatim(*b"txt", text.as_bytes())))
    })
}

/// What each client of a core holds that may be evicted.
fn evictable_clients(state: &mut CoreState) -> Vec<usize> {
    state.connections.iter().filter_map(|(_, connection)| connection.evictable_bytes()).collect()
}

fn crash(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let text = request.args().get(2).map(String::from_utf8_lossy).unwrap_or_default();
        panic!("DEBUG asked for a panic: {text}");
    })
}

fn abort(_: Transaction, _: Request) -> Coordination {
    std::process::abort();
}

fn out_of_memory(_: Transaction, _: Request) -> Coordination {
    std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u64; 1 << 20]>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_named_once() {
        assert!(SUBCOMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
