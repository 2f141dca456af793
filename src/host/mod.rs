//! What the configuration asks of the process, at the start and when it changes: sockets, log,
//! directory, limits, title.

mod oom;
mod pidfile;
mod supervisor;
mod title;

use std::sync::{Arc, Mutex};

use self::oom::OomScore;
pub use self::pidfile::PidFile;
pub use self::supervisor::Supervisor;
pub use self::title::Title;
use crate::config::Config;
use crate::config::groups::Network;
use crate::config::kind::io_reason;
use crate::config::parameter::Effect;
use crate::config::value::Value;
use crate::logging::Logging;
use crate::route::settings::Host;
use crate::server::listener::{ListenOptions, Listening};
use crate::server::probe;

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
    oom_score: OomScore,
    /// Nothing where there is none to write.
    title: Option<Title>,
}

impl ProcessHost {
    /// The host of a process that has started with this configuration.
    pub fn new(config: &Config, shards: usize, log: Arc<Logging>, listening: Listening) -> Self {
        let network = &config.network;
        let applied = Applied {
            port: network.port,
            bind: network.bind.clone(),
            oom_score: OomScore::new(),
            title: None,
        };
        Self { shards, log, listening, applied: Mutex::new(applied) }
    }

    /// Follows the configuration at the start. What cannot be had is no reason not to start, but
    /// the log says so.
    pub fn prepare(&self, config: &Config, title: Option<Title>) {
        self.applied.lock().expect("invariant: a panic ends the process").title = title;
        for effect in [Effect::ProcessTitle, Effect::OomScore, Effect::AllocatorThreads] {
            if let Err(reason) = self.apply(effect, config) {
                tracing::warn!("{reason}");
            }
        }
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
        if let Some(title) = &mut applied.title {
            title.show(config);
        }
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
            Effect::Directory => enter_directory(config),
            Effect::ProcessTitle => {
                if let Some(title) = &mut applied.title {
                    title.show(config);
                }
                Ok(())
            }
            Effect::OomScore => applied.oom_score.apply(&config.process),
            Effect::AllocatorThreads => set_allocator_threads(config),
            // These are read from the configuration where they matter.
            Effect::DefaultPassword
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
        unix_socket_group: network.unix_socket_group.clone(),
    }
}

/// Makes the configured directory the working directory. The error is the system's text.
pub fn enter_directory(config: &Config) -> Result<(), String> {
    std::env::set_current_dir(&config.process.directory).map_err(|error| io_reason(&error))
}

/// Starts or stops the threads that give memory back to the system.
fn set_allocator_threads(config: &Config) -> Result<(), String> {
    let on = config.value("jemalloc-bg-thread").is_some_and(Value::flag);
    tikv_jemalloc_ctl::background_thread::write(on).map_err(|error| error.to_string())
}
