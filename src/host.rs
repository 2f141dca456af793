//! What changes of the configuration ask of the process: its sockets, log, directory, limits.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::config::choice::OomScoreAdj;
use crate::config::groups::Network;
use crate::config::parameter::Effect;
use crate::config::value::Value;
use crate::logging::Logging;
use crate::route::settings::Host;
use crate::server::listener::{ListenOptions, Listening};
use crate::server::probe;

/// Where the kernel reads how willingly it ends this process when memory runs out.
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";
/// The bounds of that score.
const OOM_SCORES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The process that serves.
#[derive(Debug)]
pub struct ProcessHost {
    shards: usize,
    log: Arc<Logging>,
    listening: Listening,
    applied: Mutex<Applied>,
}

/// What the process follows at present, as far as a change has to know.
#[derive(Debug)]
struct Applied {
    port: u16,
    bind: Vec<String>,
    /// The score at the start, once it has been changed.
    oom_score: Option<i32>,
}

impl ProcessHost {
    /// The host of a process that has started with this configuration.
    pub fn new(config: &Config, shards: usize, log: Arc<Logging>, listening: Listening) -> Self {
        let network = &config.network;
        let applied = Applied { port: network.port, bind: network.bind.clone(), oom_score: None };
        Self { shards, log, listening, applied: Mutex::new(applied) }
    }

    /// Follows the configuration at the start. An error is a reason not to start.
    pub fn prepare(&self, config: &Config) -> Result<(), String> {
        let wanted = config.network.clients_max as usize;
        for warning in probe::reserve_descriptors(wanted, self.shards)?.warnings {
            tracing::warn!("{warning}");
        }
        for effect in [Effect::OomScore, Effect::AllocatorThreads] {
            if let Err(reason) = self.apply(effect, config) {
                tracing::warn!("{reason}");
            }
        }
        Ok(())
    }

    /// Listens where the configuration says. The old listeners go when the new ones are there.
    fn listen(&self, config: &Config, applied: &mut Applied) -> Result<(), String> {
        let network = &config.network;
        let same_port = network.port == applied.port;
        if same_port && network.bind == applied.bind {
            return Ok(());
        }
        self.listening.replace_tcp(&listen_options(network), same_port).map_err(|error| {
            tracing::warn!("{error}");
            if same_port {
                "Failed to bind to specified addresses.".to_owned()
            } else {
                "Unable to listen on this port. Check server logs.".to_owned()
            }
        })?;
        applied.port = network.port;
        applied.bind.clone_from(&network.bind);
        Ok(())
    }

    fn admit_clients(&self, config: &Config) -> Result<(), String> {
        let wanted = config.network.clients_max as usize;
        let granted = probe::reserve_descriptors(wanted, self.shards)?.max_clients;
        if granted < wanted {
            return Err(format!(
                "The operating system is not able to handle the specified number of clients, try \
                 with {granted}"
            ));
        }
        Ok(())
    }
}

impl Host for ProcessHost {
    fn apply(&self, effect: Effect, config: &Config) -> Result<(), String> {
        let mut applied = self.applied.lock().expect("invariant: a panic ends the process");
        match effect {
            Effect::Listeners => self.listen(config, &mut applied),
            Effect::MaxClients => self.admit_clients(config),
            Effect::Log => {
                self.log.reconfigure(&config.log);
                Ok(())
            }
            Effect::Directory => enter_directory(config).map_err(|error| error.to_string()),
            Effect::OomScore => set_oom_score(config, &mut applied.oom_score).map_err(|error| {
                tracing::warn!("Unable to write {OOM_SCORE_FILE}: {error}");
                "Failed to apply new oom_score_adj configuration, check server logs.".to_owned()
            }),
            Effect::AllocatorThreads => set_allocator_threads(config),
            // These are read from the configuration where they matter.
            Effect::ProcessTitle
            | Effect::DefaultPassword
            | Effect::ClientMemory
            | Effect::Compatibility
            | Effect::CrashReport
            | Effect::Locale => Ok(()),
        }
    }
}

/// Where the configuration says to listen.
pub fn listen_options(network: &Network) -> ListenOptions {
    ListenOptions {
        bind: network.bind.clone(),
        port: network.port,
        tcp_backlog: u32::try_from(network.backlog).unwrap_or(0),
        tcp_keepalive_s: network.tcp_keepalive_s,
        unix_socket: network.unix_socket.clone(),
        unix_socket_perm: (network.unix_socket_mode != 0).then_some(network.unix_socket_mode),
    }
}

/// Makes the configured directory the working directory.
pub fn enter_directory(config: &Config) -> io::Result<()> {
    std::env::set_current_dir(&config.process.directory)
}

/// Writes the score of a primary. `original` is the score before the first change.
fn set_oom_score(config: &Config, original: &mut Option<i32>) -> io::Result<()> {
    let process = &config.process;
    if process.oom_score_adj == OomScoreAdj::Untouched && original.is_none() {
        return Ok(());
    }
    let base = match *original {
        Some(base) => base,
        None => fs::read_to_string(OOM_SCORE_FILE)?.trim().parse().map_err(io::Error::other)?,
    };
    let score = match process.oom_score_adj {
        OomScoreAdj::Untouched => base,
        OomScoreAdj::Relative => base + i32::from(process.oom_scores[0]),
        OomScoreAdj::Absolute => i32::from(process.oom_scores[0]),
    };
    let score = score.clamp(*OOM_SCORES.start(), *OOM_SCORES.end());
    fs::write(OOM_SCORE_FILE, score.to_string())?;
    *original = Some(base);
    Ok(())
}

/// Starts or stops the threads that give memory back to the system.
fn set_allocator_threads(config: &Config) -> Result<(), String> {
    let on = config.value("jemalloc-bg-thread").is_some_and(Value::flag);
    tikv_jemalloc_ctl::background_thread::write(on).map_err(|error| error.to_string())
}
