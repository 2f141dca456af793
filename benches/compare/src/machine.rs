//! The machine: which cores the servers and the load get, and how reports describe it.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Cores of one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// Cores of the server; shard `i` gets the `i`-th.
    pub(crate) server: CpuSet,
    /// Cores of the load generator.
    pub(crate) load: CpuSet,
    /// The placement in words.
    pub(crate) description: String,
}

impl Placement {
    /// Gives the server `count` cores and the load the next one, or the server's own cores when the
    /// machine has no more.
    pub(crate) fn for_server_cores(count: usize) -> Result<Self> {
        let allowed = allowed_cores()?;
        if allowed.len() < count || allowed.len() < 2 {
            bail!("this needs {} cores, and may use {}", count.max(2), allowed.len());
        }
        let (server, rest) = allowed.split_at(count);
        let load = rest.get(..1).unwrap_or(server);
        let description = if rest.is_empty() {
            format!("server on cores {server:?}, load on the same cores")
        } else {
            format!("server on cores {server:?}, load on core {}", load[0])
        };
        Ok(Self { server: set_of(server), load: set_of(load), description })
    }
}

/// Cores that this process may use, in order.
fn allowed_cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    set
}

/// Runs `action` with this thread, and whatever it starts, on `cores` only.
pub(crate) fn pinned<T>(cores: &CpuSet, action: impl FnOnce() -> T) -> Result<T> {
    let before = sched_getaffinity(None)?;
    sched_setaffinity(None, cores)?;
    let result = action();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// What a published figure must name: date, commit, processor, kernel.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// UTC, ISO 8601.
    pub(crate) date: String,
    /// Short hash of this checkout, `-dirty` if it has changes.
    pub(crate) commit: String,
    /// Processor model and number of cores.
    pub(crate) processor: String,
    /// Kernel release.
    pub(crate) kernel: String,
}

impl Description {
    /// Describes the machine and the checkout as they are now.
    pub(crate) fn new() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let cores = allowed_cores().map_or(0, |cores| cores.len());
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let describe = ["-C", root, "describe", "--always", "--dirty", "--exclude=*"];
        Self {
            date: output_of("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
            commit: output_of("git", &describe),
            processor: format!("{model}, {cores} cores"),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }
}

/// First line that a program prints, or "unknown".
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .and_then(|output| Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}
