//! The sections on what the server holds: memory, persistence, keyspace.

use super::View;
use super::text::Text;
use crate::metrics::memory::{human, ratio};
use crate::persist::saving::SaveKind;
use crate::persist::state::Persistence;
use crate::persist::state::Progress;

impl View<'_> {
    pub(super) fn memory(&self, text: &mut Text) {
        let memory = &self.memory;
        let sized = |text: &mut Text, name: &str, bytes: u64| {
            text.field(name, bytes);
            text.field(&format!("{name}_human"), human(bytes));
        };
        let percent = |value: f64| format!("{value:.2}%");
        sized(text, "used_memory", memory.used);
        sized(text, "used_memory_rss", memory.rss);
        sized(text, "used_memory_peak", memory.peak);
        text.field("used_memory_peak_perc", percent(memory.peak_percent()));
        text.field("used_memory_overhead", memory.overhead());
        text.field("used_memory_startup", memory.startup);
        text.field("used_memory_dataset", memory.dataset());
        text.field("used_memory_dataset_perc", percent(memory.dataset_percent()));
        text.field("allocator_allocated", memory.allocated);
        text.field("allocator_active", memory.active);
        text.field("allocator_resident", memory.resident);
        text.field("allocator_muzzy", 0);
        sized(text, "total_system_memory", memory.system);
        self.script_memory(text);
        sized(text, "maxmemory", self.config.memory.bytes_max);
        text.field("maxmemory_policy", self.parameter("maxmemory-policy"));
        self.fragmentation(text);
        self.memory_by_use(text);
    }

    fn script_memory(&self, text: &mut Text) {
        let (interpreters, scripts) = (self.figures.interpreters, &self.shared.scripts);
        let for_functions = self.figures.function_interpreters;
        let catalog = self.shared.functions.catalog();
        let (of_scripts, of_functions) = (scripts.bytes() as u64, catalog.bytes() as u64);
        text.numbers([("used_memory_lua", interpreters), ("used_memory_vm_eval", interpreters)]);
        text.field("used_memory_lua_human", human(interpreters));
        text.numbers([
            ("used_memory_scripts_eval", of_scripts),
            ("number_of_cached_scripts", scripts.len() as u64),
            ("number_of_functions", catalog.functions() as u64),
            ("number_of_libraries", catalog.libraries().len() as u64),
            ("used_memory_vm_functions", for_functions),
            ("used_memory_vm_total", interpreters + for_functions),
        ]);
        text.field("used_memory_vm_total_human", human(interpreters + for_functions));
        text.numbers([
            ("used_memory_functions", of_functions),
            ("used_memory_scripts", of_scripts + of_functions),
        ]);
        text.field("used_memory_scripts_human", human(of_scripts + of_functions));
    }

    fn fragmentation(&self, text: &mut Text) {
        let memory = &self.memory;
        let mut pair = |ratio_name: &str, bytes_name: &str, whole: u64, part: u64| {
            text.field(ratio_name, format_args!("{:.2}", ratio(whole, part)));
            text.field(bytes_name, whole as i64 - part as i64);
        };
        pair("allocator_frag_ratio", "allocator_frag_bytes", memory.active, memory.allocated);
        pair("allocator_rss_ratio", "allocator_rss_bytes", memory.resident, memory.active);
        pair("rss_overhead_ratio", "rss_overhead_bytes", memory.rss, memory.resident);
        pair("mem_fragmentation_ratio", "mem_fragmentation_bytes", memory.rss, memory.used);
    }

    fn memory_by_use(&self, text: &mut Text) {
        text.numbers([
            ("mem_not_counted_for_evict", 0),
            ("mem_replication_backlog", 0),
            ("mem_total_replication_buffers", 0),
            ("mem_clients_slaves", 0),
            ("mem_clients_normal", self.memory.clients),
            ("mem_cluster_links", 0),
            ("mem_aof_buffer", self.shared.persistence.log.pending_bytes()),
        ]);
        text.field("mem_allocator", ALLOCATOR);
        text.numbers([
            ("mem_overhead_db_hashtable_rehashing", 0),
            ("active_defrag_running", 0),
            ("lazyfree_pending_objects", 0),
            ("lazyfreed_objects", 0),
        ]);
    }

    pub(super) fn persistence(&self, text: &mut Text) {
        let loading = self.shared.persistence.loading.progress();
        let saving = self.shared.persistence.saving.figures();
        let in_background = saving.kind == Some(SaveKind::Background);
        let under_way = if in_background { (saving.keys_done, saving.keys_total) } else { (0, 0) };
        let (keys_done, keys_total) = under_way;
        text.numbers([
            ("loading", loading.active.into()),
            ("async_loading", 0),
            ("current_cow_peak", 0),
            ("current_cow_size", 0),
            ("current_cow_size_age", 0),
        ]);
        text.field("current_fork_perc", "0.00");
        text.numbers([
            ("current_save_keys_processed", keys_done),
            ("current_save_keys_total", keys_total),
            ("rdb_changes_since_last_save", self.figures.keyspace.changes),
            ("rdb_bgsave_in_progress", in_background.into()),
            ("rdb_last_save_time", saving.last_unix_s),
        ]);
        text.field("rdb_last_bgsave_status", if saving.background_failed { "err" } else { "ok" });
        text.field("rdb_last_bgsave_time_sec", saving.background_s);
        let now_s = self.now.unix_us / 1_000_000;
        let elapsed_s = now_s.saturating_sub(saving.started_unix_s) as i64;
        text.field("rdb_current_bgsave_time_sec", if in_background { elapsed_s } else { -1 });
        text.numbers([
            ("rdb_saves", saving.saves),
            ("rdb_last_cow_size", 0),
            ("rdb_last_load_keys_expired", loading.keys_expired),
            ("rdb_last_load_keys_loaded", loading.keys_loaded),
        ]);
        self.log(text);
        text.numbers([
            ("aof_last_cow_size", 0),
            ("module_fork_in_progress", 0),
            ("module_fork_last_cow_size", 0),
        ]);
        if self.shared.persistence.rewriting.is_wanted() {
            self.log_files(text);
        }
        if loading.active {
            self.loading(&loading, text);
        }
    }

    /// How the append-only log is, and its rewrites.
    fn log(&self, text: &mut Text) {
        let Persistence { log, rewriting, .. } = &self.shared.persistence;
        let rewrite = rewriting.figures();
        let status = |failed| if failed { "err" } else { "ok" };
        text.numbers([
            ("aof_enabled", rewriting.is_wanted().into()),
            ("aof_rewrite_in_progress", rewrite.running.into()),
            ("aof_rewrite_scheduled", rewrite.scheduled.into()),
        ]);
        text.field("aof_last_rewrite_time_sec", rewrite.last_s);
        let elapsed_s = (self.now.unix_us / 1_000_000).saturating_sub(rewrite.started_unix_s);
        let elapsed_s = if rewrite.running { elapsed_s as i64 } else { -1 };
        text.field("aof_current_rewrite_time_sec", elapsed_s);
        text.field("aof_last_bgrewrite_status", status(rewrite.failed));
        text.numbers([
            ("aof_rewrites", rewrite.rewrites),
            ("aof_rewrites_consecutive_failures", rewrite.failures.into()),
        ]);
        text.field("aof_last_write_status", status(log.has_failed()));
    }

    /// What the log takes on the disk, and what is on its way there.
    fn log_files(&self, text: &mut Text) {
        let Persistence { log, upkeep, rewriting, .. } = &self.shared.persistence;
        text.numbers([
            ("aof_current_size", upkeep.bytes(log)),
            ("aof_base_size", upkeep.rewritten_bytes()),
            ("aof_pending_rewrite", (!log.is_on() && rewriting.is_wanted()).into()),
            ("aof_buffer_length", log.pending_bytes()),
            ("aof_pending_bio_fsync", 0),
            ("aof_delayed_fsync", log.delayed_flushes()),
        ]);
    }

    /// How far loading is; the rest is taken to go as fast as what is done.
    fn loading(&self, loading: &Progress, text: &mut Text) {
        let Progress { started_unix_s, total_bytes, loaded_bytes, .. } = *loading;
        let elapsed_s = (self.now.unix_us / 1_000_000).saturating_sub(started_unix_s);
        let left = total_bytes.saturating_sub(loaded_bytes);
        let eta_s = match u128::from(left) * u128::from(elapsed_s) {
            _ if elapsed_s == 0 || loaded_bytes == 0 => 1,
            product => (product / u128::from(loaded_bytes)) as u64,
        };
        let percent = 100.0 * loaded_bytes as f64 / total_bytes.max(1) as f64;
        text.numbers([
            ("loading_start_time", started_unix_s),
            ("loading_total_bytes", total_bytes),
            ("loading_rdb_used_mem", loading.used_memory),
            ("loading_loaded_bytes", loaded_bytes),
        ]);
        text.field("loading_loaded_perc", format_args!("{percent:.2}"));
        text.field("loading_eta_seconds", eta_s);
    }

    pub(super) fn keyspace(&self, text: &mut Text) {
        for (number, db) in self.figures.databases.iter().enumerate() {
            if db.keys + db.expires > 0 {
                let value = format_args!(
                    "keys={},expires={},avg_ttl={}",
                    db.keys, db.expires, db.avg_ttl_ms
                );
                text.field(&format!("db{number}"), value);
            }
        }
    }
}

/// As the peers name theirs: clients and tests ask whether it is a jemalloc.
const ALLOCATOR: &str = "jemalloc-5.3.0";
