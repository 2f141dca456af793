//! `INFO`: what the server is and does, in sections.

mod load;
mod place;
mod sections;
mod text;
mod work;

use std::sync::Arc;

use self::sections::{Section, Sections};
use self::text::Text;
use super::latency::merge_histograms;
use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, LockScope,
};
use crate::commands::table::{CommandId, table};
use crate::config::Config;
use crate::metrics::figures::Figures;
use crate::metrics::histogram::Histogram;
use crate::metrics::memory::MemoryReport;
use crate::route::core::CoreState;
use crate::route::engine::Now;
use crate::route::shared::Shared;
use crate::route::transaction::{Request, Transaction};

pub(super) const INFO: Command = Command {
    name: "info",
    summary: "Returns information and statistics about the server.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Server,
    arity: Arity::at_least(1),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::DANGEROUS,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    args: &[Arg::string("section").optional().multiple()],
    history: &[("7.0.0", "Added support for taking multiple section arguments.")],
    handler: Handler::Global(LockScope::None, info),
    ..Command::BASE
};

fn info(tx: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let sections = Sections::named(request.args().tail(1));
        let ids: Vec<CommandId> = if sections.has(Section::Latencystats) {
            table().iter().map(|entry| entry.id).collect()
        } else {
            Vec::new()
        };
        let of_core = move |state: &mut CoreState| {
            (Figures::of(state), state.metrics.histograms_of(&ids), state.now)
        };
        let cores = tx.on_all(of_core).await;
        let now = cores[request.home.index()].2;
        let mut latencies = Vec::with_capacity(cores.len());
        let figures = Figures::sum(cores.into_iter().map(|(figures, histograms, _)| {
            latencies.push(histograms);
            figures
        }));
        let latencies = merge_histograms(latencies);
        let text = View::new(&request.shared, now, &figures, &latencies).render(sections);
        Ok(request.encode(|reply| reply.verbatim(*b"txt", text.as_bytes())))
    })
}

/// What the sections are written from.
struct View<'a> {
    shared: &'a Shared,
    config: Arc<Config>,
    now: Now,
    figures: &'a Figures,
    /// By the command's number in the table, if they are to be shown.
    latencies: &'a [Option<Histogram>],
    memory: MemoryReport,
}

impl<'a> View<'a> {
    fn new(
        shared: &'a Shared,
        now: Now,
        figures: &'a Figures,
        latencies: &'a [Option<Histogram>],
    ) -> Self {
        let config = shared.config.load_full();
        let (clients, keys) = (figures.clients.memory, figures.keys());
        let memory = MemoryReport::new(&shared.memory, figures.memory, clients, keys);
        Self { shared, config, now, figures, latencies, memory }
    }

    /// A parameter of the configuration as `CONFIG GET` shows it.
    fn parameter(&self, name: &str) -> String {
        let shown = self.config.get(&[name.as_bytes()]).pop();
        shown.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(&value).into_owned())
    }

    fn render(&self, sections: Sections) -> String {
        let mut text = Text::default();
        for section in Section::ALL.into_iter().filter(|section| sections.has(*section)) {
            text.section(section.title());
            self.write(section, &mut text);
        }
        text.finish()
    }

    fn write(&self, section: Section, text: &mut Text) {
        match section {
            Section::Server => self.server(text),
            Section::Clients => self.clients(text),
            Section::Memory => self.memory(text),
            Section::Persistence => self.persistence(text),
            Section::Stats => self.stats(text),
            Section::Replication => self.replication(text),
            Section::Cpu => Self::cpu(text),
            // There are none.
            Section::Modules => {}
            Section::Commandstats => self.command_stats(text),
            Section::Errorstats => self.error_stats(text),
            Section::Latencystats => self.latency_stats(text),
            Section::Cluster => text.field("cluster_enabled", 0),
            Section::Keyspace => self.keyspace(text),
            Section::Shards => self.shards(text),
            Section::Debug => self.debug(text),
        }
    }
}
