//! Which sections there are, and which a request asks for.

use kvasir_proto::Args;

/// A section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    Commandstats,
    Errorstats,
    Latencystats,
    Cluster,
    Keyspace,
    /// Of this server alone: what each shard has and does.
    Shards,
    /// Only shown when it is asked for by name.
    Debug,
}

impl Section {
    /// In the order in which they are shown.
    pub(super) const ALL: [Self; 15] = [
        Self::Server,
        Self::Clients,
        Self::Memory,
        Self::Persistence,
        Self::Stats,
        Self::Replication,
        Self::Cpu,
        Self::Modules,
        Self::Commandstats,
        Self::Errorstats,
        Self::Latencystats,
        Self::Cluster,
        Self::Keyspace,
        Self::Shards,
        Self::Debug,
    ];

    /// Its heading, which is also its name in any case.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Clients => "Clients",
            Self::Memory => "Memory",
            Self::Persistence => "Persistence",
            Self::Stats => "Stats",
            Self::Replication => "Replication",
            Self::Cpu => "CPU",
            Self::Modules => "Modules",
            Self::Commandstats => "Commandstats",
            Self::Errorstats => "Errorstats",
            Self::Latencystats => "Latencystats",
            Self::Cluster => "Cluster",
            Self::Keyspace => "Keyspace",
            Self::Shards => "Shards",
            Self::Debug => "Debug",
        }
    }

    /// Whether `INFO` without arguments shows it.
    fn is_default(self) -> bool {
        !matches!(self, Self::Commandstats | Self::Latencystats | Self::Shards | Self::Debug)
    }
}

/// A set of sections.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Sections(u32);

impl Sections {
    /// What these arguments ask for; names that nobody knows ask for nothing.
    pub(super) fn named(names: Args<'_>) -> Self {
        let mut sections = Self::default();
        if names.is_empty() {
            sections.add_all(Section::is_default);
        }
        for name in names.iter() {
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            if is("default") {
                sections.add_all(Section::is_default);
            } else if is("all") || is("everything") {
                sections.add_all(|section| section != Section::Debug);
            } else if is("module_list") {
                sections.add_all(|section| section == Section::Modules);
            } else {
                sections.add_all(|section| is(section.title()));
            }
        }
        sections
    }

    /// Whether a section is among them.
    pub(super) fn has(self, section: Section) -> bool {
        self.0 & (1 << section as u32) != 0
    }

    fn add_all(&mut self, wanted: impl Fn(Section) -> bool) {
        for section in Section::ALL.into_iter().filter(|section| wanted(*section)) {
            self.0 |= 1 << section as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use kvasir_proto::{ArgRanges, Limits, Parsed, RequestParser};

    use super::*;

    fn check(names: &str, expected: &str) {
        let line = format!("info {names}\r\n");
        let mut ranges = ArgRanges::default();
        let parsed = RequestParser::new().parse(line.as_bytes(), &Limits::default(), &mut ranges);
        assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "{names}");
        let sections = Sections::named(ranges.view(line.as_bytes()).tail(1));
        let shown = Section::ALL.into_iter().filter(|section| sections.has(*section));
        let shown: Vec<_> = shown.map(Section::title).collect();
        assert_eq!(shown.join(" "), expected, "{names}");
    }

    #[test]
    fn sections_by_name_and_by_group() {
        let default = "Server Clients Memory Persistence Stats Replication CPU Modules Errorstats \
            Cluster Keyspace";
        let all = "Server Clients Memory Persistence Stats Replication CPU Modules Commandstats \
            Errorstats Latencystats Cluster Keyspace Shards";
        check("", default);
        check("cpu default", default);
        check("all", all);
        check("everything cpu", all);
        check("all debug", &format!("{all} Debug"));
        check("keyspace sentinel CPU cpu", "CPU Keyspace");
        check("sentinel", "");
        check("module_list commandSTATS", "Modules Commandstats");
    }
}
