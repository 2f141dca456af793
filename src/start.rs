//! From the command line to a running server.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use kvasir_shard::{KeyHasher, Shard, ShardConfig};

use crate::cli::{self, Command};
use crate::commands::table;
use crate::config::Config;
use crate::config::load::{DirectiveKind, Source};
use crate::host::{self, ProcessHost};
use crate::logging::{self, Logging};
use crate::route::core::Core;
use crate::route::shard_map::ShardMap;
use crate::route::shared::{Process, Shared};
use crate::server::clock::{Clock, Stopwatch};
use crate::server::listener::Listening;
use crate::server::probe;
use crate::server::runtime::{self, RunOptions, Signals};

/// Runs the program with these arguments, its own name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match cli::parse(arguments) {
        Ok(command) => command,
        Err(answer) => {
            // Nothing can be done about a terminal that is gone.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(1));
        }
    };
    match command {
        Command::Parameters => print(&cli::parameters_text()),
        Command::CheckSystem => check_system(),
        Command::Serve(source) => serve(&source),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints one line to standard error: for what goes wrong before there is a log.
fn complain(text: impl std::fmt::Display) -> ExitCode {
    // Nothing can be done about a terminal that is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}

fn check_system() -> ExitCode {
    match probe::check_system() {
        Ok(()) => print("This system lets Kvasir run well.\n"),
        Err(problem) => complain(problem),
    }
}

fn serve(source: &Source) -> ExitCode {
    // Before the log starts its thread.
    let signals = match Signals::take_over() {
        Ok(signals) => signals,
        Err(error) => return complain(error),
    };
    let config = match Config::load(source) {
        Ok(config) => config,
        Err(error) => return complain(error),
    };
    if let Err(error) = rename_commands(&config) {
        return complain(error);
    }
    if let Err(error) = host::enter_directory(&config) {
        let directory = config.process.directory.display();
        return complain(format_args!("Can't chdir to '{directory}': {error}"));
    }
    let log = match logging::start(&config.log) {
        Ok(log) => Arc::new(log),
        Err(error) => return complain(format_args!("Can't open the log file: {error}")),
    };
    announce(&config);
    let port = config.network.port;
    let result = run_shards(config, &log, &signals);
    log.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if matches!(error, runtime::StartError::Listen(_)) {
                tracing::error!("Failed listening on port {port} (tcp), aborting.");
            }
            log.flush();
            complain(error)
        }
    }
}

/// Takes `rename-command` lines into the table of commands.
fn rename_commands(config: &Config) -> Result<(), String> {
    let mut renames: Vec<(String, String)> = Vec::new();
    for directive in config.directives() {
        if directive.kind == DirectiveKind::RenameCommand {
            let [old, new] = &directive.words[..] else {
                return Err(directive.error("wrong number of arguments").to_string());
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            renames.push((text(old), text(new)));
        }
    }
    let renames: Vec<(&str, &str)> =
        renames.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    if renames.is_empty() {
        return Ok(());
    }
    table::rename(&renames).map_err(|error| error.to_string())
}

/// The first lines of the log: what runs, and where. Programs that start the server wait for the
/// process id and for "Server initialized".
fn announce(config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    let pid = std::process::id();
    tracing::info!("oO0OoO0OoO0Oo Kvasir is starting oO0OoO0OoO0Oo");
    tracing::info!("Kvasir version={version}, bits=64, pid={pid}, just started");
    if config.file().is_none() {
        tracing::warn!(
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use kvasir-server /path/to/kvasir.conf"
        );
    }
    tracing::info!("Running in standalone mode, Port: {}, PID: {pid}", config.network.port);
    for notice in config.notices() {
        tracing::warn!("{notice}");
    }
}

fn run_shards(
    config: Config,
    log: &Arc<Logging>,
    signals: &Signals,
) -> Result<(), runtime::StartError> {
    let shards = config.process.shard_count(runtime::default_shards());
    let count = u16::try_from(shards).map_err(|_| runtime::StartError::TooManyShards(shards))?;
    let listening = Listening::default();
    let listen = host::listen_options(&config.network);
    let options = RunOptions { shards, listen, listening: listening.clone() };
    let host = ProcessHost::new(&config, shards, Arc::clone(log), listening);
    host.prepare(&config).map_err(|reason| runtime::StartError::Resources {
        what: "the limit of clients".to_owned(),
        source: std::io::Error::other(reason),
    })?;
    let seeds = random_seeds();
    let databases = config.process.databases;
    let map = ShardMap::new(count.max(1), KeyHasher::new(seeds));
    let process = process(&config);
    let shared = Shared::new(map, config, process, Stopwatch::hardware());
    assert!(shared.host.set(Box::new(host)).is_ok(), "the host is set once");
    let shared = Arc::new(shared);
    runtime::run(options, signals, move |id| {
        let config = ShardConfig {
            databases: databases as usize,
            hash_seeds: seeds,
            slot_mode: false,
            rng_seed: seeds[0] ^ u64::from(id.0),
        };
        Core::new(id, Arc::clone(&shared), Shard::new(config))
    })
}

/// What the standard library seeds its own hash tables with: random from the kernel.
fn random_seeds() -> [u64; 4] {
    std::array::from_fn(|_| RandomState::new().build_hasher().finish())
}

fn process(config: &Config) -> Process {
    let run_id: String = random_seeds().iter().map(|seed| format!("{seed:016x}")).collect();
    let path = |path: Option<std::path::PathBuf>| {
        path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    };
    Process {
        run_id: run_id[..40].to_owned(),
        started_unix_us: Clock::new().now().unix_us,
        pid: std::process::id(),
        executable: path(std::env::current_exe().ok()),
        config_file: path(config.file().map(Into::into)),
    }
}
