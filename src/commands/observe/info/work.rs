//! The sections on what the server does: stats, commands, errors, latencies.

use super::View;
use super::text::{Text, safe};
use crate::commands::table::table;
use crate::pubsub::message::Topic;

impl View<'_> {
    pub(super) fn stats(&self, text: &mut Text) {
        self.traffic(text);
        self.keyspace_stats(text);
        self.feature_stats(text);
        self.loop_stats(text);
    }

    fn traffic(&self, text: &mut Text) {
        let (counters, rates) = (&self.figures.counters, &self.figures.rates);
        let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
        text.numbers([
            ("total_connections_received", counters.connections_received),
            ("total_commands_processed", counters.commands_processed),
            ("instantaneous_ops_per_sec", rates.commands),
            ("total_net_input_bytes", counters.net_in),
            ("total_net_output_bytes", counters.net_out),
            ("total_net_repl_input_bytes", 0),
            ("total_net_repl_output_bytes", 0),
        ]);
        text.field("instantaneous_input_kbps", kilobytes(rates.net_in));
        text.field("instantaneous_output_kbps", kilobytes(rates.net_out));
        text.field("instantaneous_input_repl_kbps", kilobytes(0));
        text.field("instantaneous_output_repl_kbps", kilobytes(0));
        text.numbers([
            ("rejected_connections", counters.connections_rejected),
            ("sync_full", 0),
            ("sync_partial_ok", 0),
            ("sync_partial_err", 0),
        ]);
    }

    fn keyspace_stats(&self, text: &mut Text) {
        text.field("expired_keys", self.figures.expired_keys);
        text.field("expired_fields", self.figures.expired_fields);
        // Nothing that has expired stays: no share of the keys is stale.
        text.field("expired_stale_perc", "0.00");
        text.numbers([
            ("expired_time_cap_reached_count", 0),
            ("expire_cycle_cpu_milliseconds", 0),
            ("evicted_keys", self.figures.counters.evicted_keys),
            ("evicted_clients", self.figures.counters.evicted_clients),
            ("evicted_scripts", self.shared.scripts.evicted()),
            ("total_eviction_exceeded_time", 0),
            ("current_eviction_exceeded_time", 0),
            ("keyspace_hits", self.figures.keyspace.hits),
            ("keyspace_misses", self.figures.keyspace.misses),
        ]);
    }

    /// What belongs to features that are not there yet, or never will be (forks, modules): clients
    /// expect the fields.
    fn feature_stats(&self, text: &mut Text) {
        let outgoing = self.shared.carrier.get().map_or(0, |carrier| carrier.connections() as u64);
        text.numbers([
            ("pubsub_channels", self.figures.pubsub.count(Topic::Channel)),
            ("pubsub_patterns", self.figures.pubsub.count(Topic::Pattern)),
            ("pubsubshard_channels", self.figures.pubsub.count(Topic::ShardChannel)),
            ("latest_fork_usec", 0),
            ("total_forks", 0),
            ("migrate_cached_sockets", outgoing),
            ("slave_expires_tracked_keys", 0),
            ("active_defrag_hits", 0),
            ("active_defrag_misses", 0),
            ("active_defrag_key_hits", 0),
            ("active_defrag_key_misses", 0),
            ("total_active_defrag_time", 0),
            ("current_active_defrag_time", 0),
            ("tracking_total_keys", self.figures.tracking.keys),
            ("tracking_total_items", self.figures.tracking.items),
            ("tracking_total_prefixes", self.figures.tracking.prefixes),
            ("unexpected_error_replies", 0),
            ("total_error_replies", self.figures.counters.errors),
            ("dump_payload_sanitizations", 0),
            ("total_reads_processed", self.figures.counters.reads),
            ("total_writes_processed", self.figures.counters.writes),
            ("io_threaded_reads_processed", 0),
            ("io_threaded_writes_processed", 0),
            ("io_threaded_freed_objects", 0),
            ("io_threaded_accept_processed", 0),
            ("io_threaded_poll_processed", 0),
            ("io_threaded_total_prefetch_batches", 0),
            ("io_threaded_total_prefetch_entries", 0),
        ]);
    }

    fn loop_stats(&self, text: &mut Text) {
        let (counters, rates) = (&self.figures.counters, &self.figures.rates);
        text.numbers([
            (
                "client_query_buffer_limit_disconnections",
                counters.query_buffer_limit_disconnections,
            ),
            (
                "client_output_buffer_limit_disconnections",
                counters.output_buffer_limit_disconnections,
            ),
            ("reply_buffer_shrinks", 0),
            ("reply_buffer_expands", 0),
            ("eventloop_cycles", counters.cycles),
            ("eventloop_duration_sum", counters.cycle_ns / 1000),
            ("eventloop_duration_cmd_sum", self.command_ns() / 1000),
            ("instantaneous_eventloop_cycles_per_sec", rates.cycles),
            ("instantaneous_eventloop_duration_usec", rates.cycle_ns.div_ceil(1000)),
            ("acl_access_denied_auth", counters.failed_authentications),
            ("acl_access_denied_cmd", 0),
            ("acl_access_denied_key", 0),
            ("acl_access_denied_channel", 0),
        ]);
    }

    fn command_ns(&self) -> u64 {
        self.figures.commands.iter().map(|command| command.nanoseconds).sum()
    }

    pub(super) fn command_stats(&self, text: &mut Text) {
        for (entry, figures) in table().iter().zip(&self.figures.commands) {
            if !figures.is_any() {
                continue;
            }
            let us = figures.nanoseconds / 1000;
            let per_call = us as f64 / figures.calls.max(1) as f64;
            let value = format_args!(
                "calls={},usec={us},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
                figures.calls, figures.rejected, figures.failed
            );
            text.field(&format!("cmdstat_{}", safe(entry.full_name)), value);
        }
    }

    pub(super) fn error_stats(&self, text: &mut Text) {
        for (code, count) in self.figures.errors.iter() {
            text.field(&format!("errorstat_{}", safe(code)), format_args!("count={count}"));
        }
    }

    pub(super) fn latency_stats(&self, text: &mut Text) {
        let config = &self.config.monitoring;
        if !config.latency_tracking {
            return;
        }
        for (entry, histogram) in table().iter().zip(self.latencies) {
            let Some(histogram) = histogram else { continue };
            let shares = config.latency_percentiles.iter().map(|percent| {
                let us = histogram.percentile(*percent) as f64 / 1000.0;
                format!("p{percent}={us:.3}")
            });
            let shares: Vec<String> = shares.collect();
            let name = format!("latency_percentiles_usec_{}", safe(entry.full_name));
            text.field(&name, shares.join(","));
        }
    }

    pub(super) fn debug(&self, text: &mut Text) {
        text.numbers([
            ("eventloop_duration_aof_sum", 0),
            ("eventloop_duration_cron_sum", self.figures.counters.periodic_ns.div_ceil(1000)),
            ("eventloop_duration_max", self.figures.cycle_ns_max.div_ceil(1000)),
            ("eventloop_cmd_per_cycle_max", self.figures.cycle_commands_max),
        ]);
    }
}
