//! `MEMORY`: where the memory is.

mod doctor;

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::{Coordination, LocalContext, ShardContext};
use crate::commands::definition::{
    Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec, LockScope,
};
use crate::commands::help::help;
use crate::errors::CommandError;
use crate::metrics::figures::Figures;
use crate::metrics::memory::{MemoryReport, ratio};
use crate::route::transaction::{Request, Transaction};
use crate::server::usage;

pub(super) const MEMORY: Command = Command {
    name: "memory",
    summary: "A container for memory diagnostics commands.",
    complexity: "Depends on subcommand.",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    subcommands: &[
        &MEMORY_DOCTOR,
        &MEMORY_HELP,
        &MEMORY_MALLOC_STATS,
        &MEMORY_PURGE,
        &MEMORY_STATS,
        &MEMORY_USAGE,
    ],
    ..Command::BASE
};

pub(super) const MEMORY_DOCTOR: Command = Command {
    name: "doctor",
    summary: "Outputs a memory problems report.",
    complexity: "O(1)",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    handler: Handler::Global(LockScope::None, doctor),
    ..Command::BASE
};

fn doctor(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (figures, memory) = measure(&tx, &request).await;
        let report = doctor::report(&memory, figures.clients.connected);
        Ok(request.encode(|reply| reply.verbatim(*b"txt", report.as_bytes())))
    })
}

pub(super) const MEMORY_HELP: Command = help(Group::Server, "4.0.0", MEMORY_HELP_LINES);

const MEMORY_HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];

pub(super) const MEMORY_MALLOC_STATS: Command = Command {
    name: "malloc-stats",
    summary: "Returns the allocator statistics.",
    complexity: "Depends on how much memory is allocated, could be slow",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::LOADING,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    handler: Handler::Local(malloc_stats),
    ..Command::BASE
};

fn malloc_stats(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply.verbatim(*b"txt", &usage::allocator_report());
    Ok(())
}

pub(super) const MEMORY_PURGE: Command = Command {
    name: "purge",
    summary: "Asks the allocator to release memory.",
    complexity: "Depends on how much memory is allocated, could be slow",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::LOADING,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    handler: Handler::Local(purge),
    ..Command::BASE
};

fn purge(
    _: &mut LocalContext<'_>,
    _: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if !usage::purge_allocator() {
        return Err(CommandError::Other("ERR Error purging dirty pages"));
    }
    reply.ok();
    Ok(())
}

pub(super) const MEMORY_STATS: Command = Command {
    name: "stats",
    summary: "Returns details about memory usage.",
    complexity: "O(1)",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    handler: Handler::Global(LockScope::None, stats),
    ..Command::BASE
};

fn stats(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (figures, memory) = measure(&tx, &request).await;
        let functions = request.shared.functions.catalog().bytes() as u64;
        Ok(request.encode(|reply| encode_stats(&figures, &memory, functions, reply)))
    })
}

fn encode_stats(figures: &Figures, memory: &MemoryReport, functions: u64, reply: &mut Encoder<'_>) {
    let deferred = reply.defer_map();
    let mut length = numbers(
        reply,
        &[
            ("peak.allocated", memory.peak),
            ("total.allocated", memory.used),
            ("startup.allocated", memory.startup),
            ("replication.backlog", 0),
            ("clients.slaves", 0),
            ("clients.normal", memory.clients),
            ("cluster.links", 0),
            ("aof.buffer", 0),
            ("lua.caches", 0),
            ("functions.caches", functions),
        ],
    );
    for (number, db) in figures.databases.iter().enumerate().filter(|(_, db)| db.used) {
        reply.bulk(format!("db.{number}").as_bytes());
        reply.map(2);
        numbers(
            reply,
            &[
                ("overhead.hashtable.main", db.table_bytes),
                ("overhead.hashtable.expires", db.ttl_bytes),
            ],
        );
        length += 1;
    }
    length += numbers(
        reply,
        &[
            ("overhead.db.hashtable.lut", figures.memory.tables as u64),
            ("overhead.db.hashtable.rehashing", 0),
            ("overhead.total", memory.overhead()),
            ("db.dict.rehashing.count", 0),
            ("keys.count", memory.keys),
            ("keys.bytes-per-key", memory.bytes_per_key()),
            ("dataset.bytes", memory.dataset()),
        ],
    );
    length += encode_shares(memory, reply);
    reply.finish(deferred, length);
}

/// What is a share of something else, with the figures behind it. Returns how many pairs those are.
fn encode_shares(memory: &MemoryReport, reply: &mut Encoder<'_>) -> usize {
    let mut length = 0;
    for (name, percent) in [
        ("dataset.percentage", memory.dataset_percent()),
        ("peak.percentage", memory.peak_percent()),
    ] {
        reply.bulk(name.as_bytes());
        reply.double(percent);
        length += 1;
    }
    length += numbers(
        reply,
        &[
            ("allocator.allocated", memory.allocated),
            ("allocator.active", memory.active),
            ("allocator.resident", memory.resident),
            ("allocator.muzzy", 0),
        ],
    );
    for (share, bytes, whole, part) in [
        (
            "allocator-fragmentation.ratio",
            "allocator-fragmentation.bytes",
            memory.active,
            memory.allocated,
        ),
        ("allocator-rss.ratio", "allocator-rss.bytes", memory.resident, memory.active),
        ("rss-overhead.ratio", "rss-overhead.bytes", memory.rss, memory.resident),
        ("fragmentation", "fragmentation.bytes", memory.rss, memory.used),
    ] {
        reply.bulk(share.as_bytes());
        reply.double(ratio(whole, part));
        reply.bulk(bytes.as_bytes());
        reply.integer(whole as i64 - part as i64);
        length += 2;
    }
    length
}

fn numbers(reply: &mut Encoder<'_>, pairs: &[(&str, u64)]) -> usize {
    for (name, number) in pairs {
        reply.bulk(name.as_bytes());
        reply.integer(*number as i64);
    }
    pairs.len()
}

pub(super) const MEMORY_USAGE: Command = Command {
    name: "usage",
    summary: "Estimates the memory usage of a key.",
    complexity: "O(N) where N is the number of samples.",
    since: "4.0.0",
    group: Group::Server,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(2).flags(KeyFlags::RO)],
    args: &[Arg::key("key", 0), Arg::integer("count").after("SAMPLES").optional()],
    handler: Handler::Shard(memory_usage),
    ..Command::BASE
};

/// Samples are taken of collections; a string has none, and is always counted as a whole.
fn memory_usage(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let mut options = Options::new(args, 3);
    while let Some(option) = options.next() {
        if !is_word(option, "SAMPLES") || integer(options.value()?)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    let key = context.key(args.at(2));
    match context.shard.entry_size(context.db, &key) {
        Some(bytes) => reply.integer(bytes as i64),
        None => reply.null(),
    }
    Ok(())
}

async fn measure(tx: &Transaction, request: &Request) -> (Figures, MemoryReport) {
    let figures = Figures::sum(tx.on_all(Figures::of).await);
    let (clients, keys) = (figures.clients.memory, figures.keys());
    let memory = MemoryReport::new(&request.shared.memory, figures.memory, clients, keys);
    (figures, memory)
}
