//! The sections on what the server is and stands in: server, clients, replication, CPU.

use super::View;
use super::text::Text;
use crate::cli;
use crate::config::choice::Supervised;
use crate::identity;
use crate::metrics::figures::ShardFigures;
use crate::server::usage::{self, CpuTimes, Whose};

impl View<'_> {
    pub(super) fn server(&self, text: &mut Text) {
        let process = &self.shared.process;
        let config = &self.config;
        let mode = if config.process.redis_compatibility { "redis_mode" } else { "server_mode" };
        let supervised = match config.process.supervised {
            Supervised::Nobody => "no",
            Supervised::Upstart => "upstart",
            Supervised::Systemd => "systemd",
            Supervised::Auto => "unknown",
        };
        let uptime_s = self.now.unix_us.saturating_sub(process.started_unix_us) / 1_000_000;
        text.field("redis_version", identity::REDIS_VERSION);
        text.field("server_name", "valkey");
        text.field("valkey_version", identity::VALKEY_VERSION);
        text.field("valkey_release_stage", "ga");
        text.field("redis_git_sha1", cli::COMMIT);
        text.field("redis_git_dirty", cli::COMMIT_DIRTY);
        text.field("redis_build_id", cli::BUILD_ID);
        text.field(mode, "standalone");
        text.field("os", usage::system_name());
        text.field("arch_bits", usize::BITS);
        text.field("monotonic_clock", "POSIX clock_gettime");
        text.field("multiplexing_api", "io_uring");
        text.field("gcc_version", "0.0.0");
        text.field("process_id", process.pid);
        text.field("process_supervised", supervised);
        text.field("run_id", &process.run_id);
        text.field("tcp_port", config.network.port);
        text.field("server_time_usec", self.now.unix_us);
        text.field("uptime_in_seconds", uptime_s);
        text.field("uptime_in_days", uptime_s / 86_400);
        for name in ["hz", "configured_hz", "clients_hz"] {
            text.field(name, config.process.hz);
        }
        text.field("lru_clock", (self.now.unix_us / 1_000_000) & 0xFF_FFFF);
        text.field("executable", &process.executable);
        text.field("config_file", &process.config_file);
        text.field("io_threads_active", u8::from(self.figures.shards.len() > 1));
        text.field("availability_zone", &config.process.availability_zone);
        self.listeners(text);
        text.field("kvasir_version", identity::OWN_VERSION);
        text.field("shards", self.figures.shards.len());
    }

    fn listeners(&self, text: &mut Text) {
        let network = &self.config.network;
        let mut number = 0;
        let mut listener = |value: String| {
            text.field(&format!("listener{number}"), value);
            number += 1;
        };
        if network.port != 0 && !network.bind.is_empty() {
            let bind = network.bind.join(",bind=");
            listener(format!("name=tcp,bind={bind},port={}", network.port));
        }
        if let Some(path) = &network.unix_socket {
            listener(format!("name=unix,bind={}", path.display()));
        }
    }

    pub(super) fn clients(&self, text: &mut Text) {
        let clients = &self.figures.clients;
        text.numbers([
            ("connected_clients", clients.connected),
            ("cluster_connections", 0),
            ("maxclients", self.config.network.clients_max.into()),
            ("client_recent_max_input_buffer", clients.input_max),
            ("client_recent_max_output_buffer", clients.output_max),
            ("blocked_clients", clients.blocked),
            ("tracking_clients", self.figures.tracking.clients),
            ("pubsub_clients", self.figures.pubsub.clients),
            ("watching_clients", clients.watching),
            ("clients_in_timeout_table", clients.with_deadline),
            ("total_watched_keys", clients.watched_keys),
            ("total_blocking_keys", clients.blocking_keys),
            ("total_blocking_keys_on_nokey", clients.noticed_keys),
        ]);
        let (reason, actions, left_us) = match self.figures.pause {
            None => ("none", "none", 0),
            Some(pause) => {
                let left_us = pause.until_us.saturating_sub(self.now.unix_us);
                ("client_pause", if pause.all { "all" } else { "write" }, left_us)
            }
        };
        text.field("paused_reason", reason);
        text.field("paused_actions", actions);
        text.field("paused_timeout_milliseconds", left_us / 1000);
    }

    pub(super) fn replication(&self, text: &mut Text) {
        text.field("role", "master");
        text.field("connected_slaves", 0);
        text.field("replicas_waiting_psync", 0);
        text.field("master_failover_state", "no-failover");
        text.field("master_replid", &self.shared.process.run_id);
        text.field("master_replid2", "0".repeat(40));
        text.field("master_repl_offset", 0);
        text.field("second_repl_offset", -1);
        text.field("repl_backlog_active", 0);
        text.field("repl_backlog_size", self.parameter("repl-backlog-size"));
        text.field("repl_backlog_first_byte_offset", 0);
        text.field("repl_backlog_histlen", 0);
    }

    pub(super) fn cpu(text: &mut Text) {
        let mut times = |whose, suffix: &str| {
            let CpuTimes { system_us, user_us } = usage::cpu_times(whose);
            for (name, us) in [("used_cpu_sys", system_us), ("used_cpu_user", user_us)] {
                let (seconds, rest) = (us / 1_000_000, us % 1_000_000);
                text.field(&format!("{name}{suffix}"), format_args!("{seconds}.{rest:06}"));
            }
        };
        times(Whose::Process, "");
        times(Whose::Children, "_children");
        // The core that serves this client stands for the peers' main thread.
        times(Whose::Thread, "_main_thread");
    }

    pub(super) fn shards(&self, text: &mut Text) {
        for (number, shard) in self.figures.shards.iter().enumerate() {
            let ShardFigures { keys, expires, memory, clients, commands, .. } = shard;
            let (rate, retried) = (shard.commands_per_second, shard.transactions_retried);
            text.field(
                &format!("shard{number}"),
                format_args!(
                    "keys={keys},expires={expires},used_memory={memory},clients={clients},\
                     commands_processed={commands},ops_per_sec={rate},\
                     transactions_retried={retried}"
                ),
            );
        }
    }
}
