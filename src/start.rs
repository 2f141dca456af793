//! From the command line to a running server.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kvasir_shard::{KeyHasher, Shard, ShardConfig};

use crate::check;
use crate::cli::{self, Command};
use crate::commands::table;
use crate::config::Config;
use crate::config::load::{DirectiveKind, Source};
use crate::config::set::SetContext;
use crate::host::{self, PidFile, ProcessHost, Supervisor, Title};
use crate::logging::{self, Logging};
use crate::persist::aof::load::LogJob;
use crate::persist::aof::replay::ReplayPort;
use crate::persist::aof::upkeep::{Place, resume_log, temporary_base_name};
use crate::persist::disk::FileThreads;
use crate::persist::load::{Existing, Job, Port, load_options};
use crate::persist::save::{remove_temporary, temporary_name};
use crate::route::core::Core;
use crate::route::engine::ShardId;
use crate::route::replay::Replay;
use crate::route::settings::encoding_limits;
use crate::route::shard_map::ShardMap;
use crate::route::shared::{Process, Shared};
use crate::server::carrier::CarrierThreads;
use crate::server::clock::{Clock, Stopwatch};
use crate::server::listener::{ListenError, Listening};
use crate::server::probe;
use crate::server::process;
use crate::server::runtime::{self, Preparation, RunOptions, Signals, StartError};

/// Runs the program with these arguments, its own name first, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    let program = arguments.peek().map(|name| name.to_string_lossy().into_owned());
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
        Command::CheckRdb(path) => check_rdb(&path),
        Command::CheckAof(order) => check_aof(&order),
        Command::Serve(source) => serve(&source, program.unwrap_or_default()),
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

fn check_rdb(path: &Path) -> ExitCode {
    let now_ms = Clock::new().now().unix_us / 1000;
    exit_code(&check::rdb::check(path, now_ms, &mut std::io::stdout()))
}

fn check_aof(order: &check::aof::Order) -> ExitCode {
    let now_ms = Clock::new().now().unix_us / 1000;
    let (mut answers, mut out) = (std::io::stdin().lock(), std::io::stdout());
    exit_code(&check::aof::check(order, now_ms, &mut answers, &mut out))
}

fn exit_code(outcome: &std::io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn serve(source: &Source, program: String) -> ExitCode {
    // Before the log starts its thread.
    let signals = match Signals::take_over() {
        Ok(signals) => signals,
        Err(error) => return complain(error),
    };
    let config = match configure(source) {
        Ok(config) => config,
        Err(problem) => return complain(problem),
    };
    // What is to be done before there is a second thread.
    if config.process.daemonize
        && let Err(error) = process::daemonize()
    {
        return complain(format_args!("Can't run in the background: {error}"));
    }
    let title = if config.process.set_title { Title::take_over(program) } else { None };
    let log = match logging::start(&config.log) {
        Ok(log) => Arc::new(log),
        Err(error) => return complain(format_args!("Can't open the log file: {error}")),
    };
    announce(&config);
    let result = serve_shards(config, &log, &signals, title);
    log.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if let Some(StartError::Listen(ListenError::Tcp { port, .. })) = error.downcast_ref() {
                tracing::error!("Failed listening on port {port} (tcp), aborting.");
            }
            log.flush();
            complain(error)
        }
    }
}

/// Reads the configuration, and follows it in what has to be done first. The error is what to
/// print.
fn configure(source: &Source) -> Result<Config, String> {
    let config = Config::load(source).map_err(|error| error.to_string())?;
    let module = config.directives().iter().find(|line| line.kind == DirectiveKind::LoadModule);
    if let Some(line) = module {
        let reason = "This server loads no modules: what modules bring to others is built in";
        return Err(line.error(reason).to_string());
    }
    rename_commands(&config)?;
    host::enter_directory(&config).map_err(|reason| {
        format!("Can't chdir to '{}': {reason}", config.process.directory.display())
    })?;
    Ok(config)
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

/// Serves until the process is told to end.
fn serve_shards(
    config: Config,
    log: &Arc<Logging>,
    signals: &Signals,
    title: Option<Title>,
) -> Result<(), Box<dyn Error>> {
    let shards = config.process.shard_count(runtime::default_shards());
    let count = u16::try_from(shards).map_err(|_| StartError::TooManyShards(shards))?;
    let config = fit_clients(config, shards)?;
    let listening = Listening::default();
    let listen = host::listen_options(&config.network);
    let prepared = runtime::prepare(RunOptions { shards, listen, listening: listening.clone() })?;
    let pid_file = PidFile::write(&config.process);
    // The working directory may be another one at the end.
    let unix_socket = config.network.unix_socket.as_deref().map(std::path::absolute).transpose()?;
    let host = ProcessHost::new(&config, shards, Arc::clone(log), listening);
    host.prepare(&config, title);
    let supervisor = Supervisor::new(config.process.supervised, std::env::var_os("NOTIFY_SOCKET"));
    let databases = config.process.databases;
    let seeds = random_seeds();
    let map = ShardMap::new(count.max(1), KeyHasher::new(seeds));
    let process = process_facts(&config);
    let shared = Shared::new(map, config, process, Stopwatch::hardware());
    assert!(shared.host.set(Box::new(host)).is_ok(), "the host is set once");
    let carrier = Box::new(CarrierThreads::default());
    assert!(shared.carrier.set(carrier).is_ok(), "the carrier is set once");
    let disk = FileThreads { leave_core: runtime::leave_core };
    assert!(shared.disk.set(Box::new(disk)).is_ok(), "the disk is set once");
    let shared = Arc::new(shared);
    let Loading { load, ports } = Loading::prepare(&shared)?;
    let ports = Arc::new(Mutex::new(ports));
    let of_cores = Arc::clone(&shared);
    let make = move |id: ShardId| {
        let config = ShardConfig {
            databases: databases as usize,
            hash_seeds: seeds,
            slot_mode: false,
            rng_seed: seeds[0] ^ u64::from(id.0),
        };
        let mut core = Core::new(id, Arc::clone(&of_cores), Shard::new(config));
        let mut ports = ports.lock().expect("invariant: a panic ends the process");
        core.state.load_port = ports.shards.get_mut(id.index()).and_then(Option::take);
        if id == ShardId(0) {
            core.state.replay = ports.commands.take().map(Replay::new);
        }
        core
    };
    runtime::run(prepared, signals, load, || supervisor.ready(), make)?;
    let config = shared.config.load();
    remove_temporary(&config.process.directory, &temporary_name());
    remove_temporary(&Place::of(&config).directory, &temporary_base_name());
    if shared.has_failed() {
        return Err("the append-only log cannot be written".into());
    }
    if let Some(Err(reason)) = shared.persistence.loading.outcome() {
        return Err(format!("Fatal error loading the DB: {reason}").into());
    }
    supervisor.stopping();
    drop(pid_file);
    if let Some(path) = unix_socket {
        // Somebody may have removed it before.
        let _ = std::fs::remove_file(path);
    }
    tracing::warn!("Kvasir is now ready to exit, bye bye...");
    Ok(())
}

/// What is loaded at the start.
#[derive(Default)]
struct Loading {
    /// What reads it, if there is something.
    load: Option<Preparation>,
    ports: Ports,
}

/// The cores' ends of what is loaded.
#[derive(Default)]
struct Ports {
    shards: Vec<Option<Port>>,
    commands: Option<ReplayPort>,
}

impl Loading {
    /// The append-only log, where there is to be one, or else the dump file, if there is one. From
    /// now on the data set counts as being loaded. The error is one line.
    fn prepare(shared: &Arc<Shared>) -> Result<Self, String> {
        if shared.config.load().persistence.log.enabled {
            Ok(Self::log(shared))
        } else {
            Self::dump(shared)
        }
    }

    fn dump(shared: &Arc<Shared>) -> Result<Self, String> {
        let config = shared.config.load_full();
        let path = config.process.directory.join(&config.persistence.file_name);
        let exists = path
            .try_exists()
            .map_err(|error| format!("Fatal error loading the DB: {}: {error}", path.display()))?;
        if !exists {
            return Ok(Self::default());
        }
        let now_ms = Clock::new().now().unix_us / 1000;
        let shards = (shared.map.shards(), Existing::Refused);
        let (job, ports) =
            Job::new(path, load_options(&config), now_ms, encoding_limits(&config), shards);
        shared.persistence.loading.begin(now_ms / 1000);
        let shared = Arc::clone(shared);
        let load = move || {
            let began = Instant::now();
            let succeeded = job.run(&shared);
            if succeeded {
                let seconds = began.elapsed().as_secs_f64();
                tracing::info!("DB loaded from disk: {seconds:.3} seconds");
            } else {
                if let Some(Err(reason)) = shared.persistence.loading.outcome() {
                    tracing::warn!("{reason}");
                }
                tracing::warn!("Terminating server after rdb file reading failure.");
                shared.stop();
            }
            succeeded
        };
        let shards = ports.into_iter().map(Some).collect();
        Ok(Self { load: Some(Box::new(load)), ports: Ports { shards, commands: None } })
    }

    fn log(shared: &Arc<Shared>) -> Self {
        let config = shared.config.load_full();
        let now_ms = Clock::new().now().unix_us / 1000;
        let (job, ports) = LogJob::new(&config, now_ms, shared.map.shards());
        shared.persistence.loading.begin_replay(now_ms / 1000);
        let shared = Arc::clone(shared);
        let load = move || {
            let mut succeeded = job.run(&shared);
            if let Some(log) = shared.persistence.take_loaded_log()
                && let Err(reason) = resume_log(&shared, log.manifest)
            {
                tracing::warn!("{reason}");
                shared.persistence.loading.fail(reason);
                succeeded = false;
            }
            if !succeeded {
                shared.stop();
            }
            shared.persistence.loading.finish();
            succeeded
        };
        let shards = ports.shards.into_iter().map(Some).collect();
        let ports = Ports { shards, commands: Some(ports.commands) };
        Self { load: Some(Box::new(load)), ports }
    }
}

/// Lowers `maxclients` to what the limit of open files leaves room for, and says so.
fn fit_clients(config: Config, shards: usize) -> Result<Config, String> {
    let limit = probe::reserve_descriptors(config.network.clients_max as usize, shards)?;
    for warning in &limit.warnings {
        tracing::warn!("{warning}");
    }
    if limit.warnings.is_empty() {
        return Ok(config);
    }
    let lowered = limit.max_clients.to_string();
    let pair: (&[u8], &[u8]) = (b"maxclients", lowered.as_bytes());
    let change = config.set(&[pair], SetContext::default()).map_err(|error| error.to_string())?;
    Ok(change.config)
}

/// What the standard library seeds its own hash tables with: random from the kernel.
fn random_seeds() -> [u64; 4] {
    std::array::from_fn(|_| RandomState::new().build_hasher().finish())
}

fn process_facts(config: &Config) -> Process {
    let run_id = random_seeds().map(|seed| format!("{seed:016x}")).concat();
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
