//! The programs to compare: builds ours, finds or installs the peers.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cli::{Options, Peer};
use crate::machine::output_of;

/// A server program and how to call it.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Name in reports.
    pub(crate) name: String,
    /// The executable.
    pub(crate) path: PathBuf,
    /// What it says of its version.
    pub(crate) version: String,
    arguments: Vec<String>,
}

impl Program {
    fn new(name: &str, path: PathBuf, arguments: &str) -> Result<Self> {
        ensure!(path.is_file(), "{} is not a file", path.display());
        let version = output_of(&path.to_string_lossy(), &["--version"]);
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Ok(Self { name: name.to_owned(), path, version, arguments })
    }

    /// Arguments beyond those that all servers get.
    pub(crate) fn arguments(&self, shards: u32) -> Vec<String> {
        self.arguments.iter().map(|a| a.replace("{shards}", &shards.to_string())).collect()
    }
}

/// The top of this checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Ours: the given program, or a release build of this checkout.
pub(crate) fn ours(options: &Options) -> Result<Program> {
    let path = match &options.ours {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => build(None)?,
    };
    Program::new("Kvasir", path, &options.ours_args)
}

/// The peer that was asked for, installed if need be.
pub(crate) fn peer(options: &Options) -> Result<Program> {
    let (name, file) = match options.peer {
        Peer::Valkey => ("Valkey", "valkey-server"),
        Peer::Redis => ("Redis", "redis-server"),
    };
    let Some(path) = &options.peer_bin else {
        return Program::new(name, installed(file)?, &options.peer_args);
    };
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    // Which server it is, is for whoever named it to say.
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Program::new(&name, path, &options.peer_args)
}

/// Path of one of the peers' programs; runs the installer, which does nothing when all is there.
pub(crate) fn installed(file: &str) -> Result<PathBuf> {
    let home = env::var_os("HOME").context("HOME is not set")?;
    let prefix = Path::new(&home).join(".cache/kvasir-peers");
    if !prefix.join(".complete").exists() {
        let installer = root().join("tests/peers/install");
        let status = Command::new(&installer)
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("running {}", installer.display()))?;
        ensure!(status.success(), "{} failed", installer.display());
    }
    Ok(prefix.join("bin").join(file))
}

/// Builds the server in release mode, in `target` if given, and returns its path.
fn build(target: Option<&Path>) -> Result<PathBuf> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--package", "kvasir-server", "--bin", "kvasir-server"]);
    command.arg("--message-format=json-render-diagnostics").current_dir(root());
    if let Some(target) = target {
        command.arg("--target-dir").arg(target);
    }
    let output = command.stderr(Stdio::inherit()).output().context("running cargo")?;
    if !output.status.success() {
        bail!("the release build failed");
    }
    let messages = String::from_utf8(output.stdout)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo named no executable")
}

/// Time of a release build from nothing, dependencies included but not their download.
pub(crate) fn time_clean_build() -> Result<Duration> {
    let target = tempfile::tempdir()?;
    let started = Instant::now();
    build(Some(target.path()))?;
    Ok(started.elapsed())
}
