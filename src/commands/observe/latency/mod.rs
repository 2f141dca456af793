//! `LATENCY`: what took long, and how long commands take.

mod doctor;
mod graph;

use kvasir_proto::Encoder;

use crate::commands::context::Coordination;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::commands::help::help;
use crate::commands::table::{CommandId, Entry, table};
use crate::errors::CommandError;
use crate::metrics::histogram::Histogram;
use crate::metrics::latency::{Event, Events};
use crate::route::transaction::{Request, Transaction};

pub(super) const LATENCY: Command = Command {
    name: "latency",
    summary: "A container for latency diagnostics commands.",
    complexity: "Depends on subcommand.",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::at_least(2),
    subcommands: &[
        &LATENCY_DOCTOR,
        &LATENCY_GRAPH,
        &LATENCY_HELP,
        &LATENCY_HISTOGRAM,
        &LATENCY_HISTORY,
        &LATENCY_LATEST,
        &LATENCY_RESET,
    ],
    ..Command::BASE
};

pub(super) const LATENCY_DOCTOR: Command = Command {
    name: "doctor",
    summary: "Returns a human-readable latency analysis report.",
    complexity: "O(1)",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    handler: Handler::Global(LockScope::None, doctor),
    ..Command::BASE
};

fn doctor(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let events = events(&tx).await;
        let config = request.shared.config.load_full();
        let report = doctor::report(&events, request.now_ms / 1000, &config.monitoring);
        Ok(request.encode(|reply| reply.verbatim(*b"txt", report.as_bytes())))
    })
}

pub(super) const LATENCY_GRAPH: Command = Command {
    name: "graph",
    summary: "Returns a latency graph for an event.",
    complexity: "O(1)",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::exactly(3),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    args: &[Arg::string("event")],
    handler: Handler::Global(LockScope::None, graph),
    ..Command::BASE
};

fn graph(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let name = request.args().at(2);
        let events = events(&tx).await;
        let event = Event::named(name);
        let Some((event, series)) = event.and_then(|event| Some((event, events.series(event)?)))
        else {
            let before = "ERR No samples available for event '";
            return Err(CommandError::quoting(before, name, "'"));
        };
        let text = graph::text(event.name(), series, request.now_ms / 1000);
        Ok(request.encode(|reply| reply.verbatim(*b"txt", text.as_bytes())))
    })
}

pub(super) const LATENCY_HELP: Command = help(Group::Server, "2.8.13", LATENCY_HELP_LINES);

const LATENCY_HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the \
     specified command names.",
    "    If no commands are specified then all histograms are replied.",
];

pub(super) const LATENCY_HISTOGRAM: Command = Command {
    name: "histogram",
    summary: "Returns the cumulative distribution of latencies of a subset or all commands.",
    complexity: "O(N) where N is the number of commands with latency information being \
        retrieved.",
    since: "7.0.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    args: &[Arg::string("command").optional().multiple()],
    handler: Handler::Global(LockScope::None, histogram),
    ..Command::BASE
};

fn histogram(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let mut wanted: Vec<&'static Entry> = Vec::new();
        if args.len() == 2 {
            wanted.extend(table().iter());
        }
        for entry in args.tail(2).iter().filter_map(|name| table().by_full_name(name)) {
            wanted.push(entry);
            wanted.extend(table().subcommands(entry));
        }
        let ids: Vec<CommandId> = wanted.iter().map(|entry| entry.id).collect();
        let cores = tx.on_all(move |state| state.metrics.histograms_of(&ids)).await;
        let found = merge_histograms(cores);
        let shown = wanted.iter().zip(&found);
        let shown: Vec<_> = shown.filter_map(|(entry, one)| Some((entry, one.as_ref()?))).collect();
        Ok(request.encode(|reply| {
            reply.map(shown.len());
            for (entry, histogram) in shown {
                reply.bulk(entry.full_name.as_bytes());
                encode_histogram(histogram, reply);
            }
        }))
    })
}

/// The sum over cores, for each command.
pub(super) fn merge_histograms(cores: Vec<Vec<Option<Histogram>>>) -> Vec<Option<Histogram>> {
    let mut cores = cores.into_iter();
    let mut sums = cores.next().unwrap_or_default();
    for core in cores {
        for (sum, other) in sums.iter_mut().zip(core) {
            match (sum.as_mut(), other) {
                (Some(sum), Some(other)) => sum.add(&other),
                (None, other) => *sum = other,
                (Some(_), None) => {}
            }
        }
    }
    sums
}

fn encode_histogram(histogram: &Histogram, reply: &mut Encoder<'_>) {
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(histogram.total() as i64);
    reply.bulk(b"histogram_usec");
    let steps = histogram.steps();
    reply.map(steps.len());
    for (us, count) in steps {
        reply.integer(us as i64);
        reply.integer(count as i64);
    }
}

pub(super) const LATENCY_HISTORY: Command = Command {
    name: "history",
    summary: "Returns timestamp-latency samples for an event.",
    complexity: "O(1)",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::exactly(3),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    args: &[Arg::string("event")],
    handler: Handler::Global(LockScope::None, history),
    ..Command::BASE
};

fn history(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let events = events(&tx).await;
        let event = Event::named(request.args().at(2));
        let series = event.and_then(|event| events.series(event));
        let samples = series.map_or(&[][..], |series| &series.samples);
        Ok(request.encode(|reply| {
            reply.array(samples.len());
            for sample in samples {
                reply.array(2);
                reply.integer(sample.second as i64);
                reply.integer(sample.ms as i64);
            }
        }))
    })
}

pub(super) const LATENCY_LATEST: Command = Command {
    name: "latest",
    summary: "Returns the latest latency samples for all events.",
    complexity: "O(1)",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    handler: Handler::Global(LockScope::None, latest),
    ..Command::BASE
};

fn latest(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let events = events(&tx).await;
        Ok(request.encode(|reply| {
            reply.array(events.iter().len());
            for (event, series) in events.iter() {
                let last = series.samples.last().expect("invariant: an event has a sample");
                reply.array(6);
                reply.bulk(event.name().as_bytes());
                for number in [last.second, last.ms, series.ms_max, series.ms_sum, series.count] {
                    reply.integer(number as i64);
                }
            }
        }))
    })
}

pub(super) const LATENCY_RESET: Command = Command {
    name: "reset",
    summary: "Resets the latency data for one or more events.",
    complexity: "O(1)",
    since: "2.8.13",
    group: Group::Server,
    arity: Arity::at_least(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
    args: &[Arg::string("event").optional().multiple()],
    handler: Handler::Global(LockScope::None, reset),
    ..Command::BASE
};

fn reset(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let names = request.args().tail(2);
        let named: Vec<Event> = names.iter().filter_map(Event::named).collect();
        let events = (!names.is_empty()).then_some(named);
        let cores = tx.on_all(move |state| state.metrics.events.reset(events.as_deref())).await;
        let mut known: Vec<Event> = cores.into_iter().flatten().collect();
        known.sort_unstable();
        known.dedup();
        Ok(request.encode(|reply| reply.integer(known.len() as i64)))
    })
}

/// The events of all cores.
async fn events(tx: &Transaction) -> Events {
    let mut sum = Events::default();
    for events in tx.on_all(|state| state.metrics.events.clone()).await {
        sum.add(&events);
    }
    sum
}
