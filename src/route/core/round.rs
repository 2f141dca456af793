//! The core as its driver sees it: what has come is taken in, a round's work is done, and what is
//! to go out is handed over.

use std::io;
use std::sync::atomic::Ordering;

use super::{Core, EXPIRE_BUDGET, TURN_BYTES};
use crate::commands::server::shut_down_on;
use crate::persist::log::Append;
use crate::route::blocking::Ending;
use crate::route::clients::OUTPUT_RESUME_BYTES;
use crate::route::connection::Blocked;
use crate::route::engine::{
    Close, ConnectionKey, Disposition, Engine, Now, ShardId, ShutdownSignal, SocketInfo, Wake,
};
use crate::route::message::{Batch, BatchKind};

/// Values freed in one piece of work.
const GARBAGE_BUDGET: usize = 256;

impl Engine for Core {
    fn tick(&mut self, now: Now) {
        self.state.now = now;
        self.state.loading = self.state.shared.persistence.loading.is_active();
        let failed = self.state.shared.persistence.saving.has_failed();
        self.state.refuses_writes = self.state.stops_writes && failed;
        let log = &self.state.shared.persistence.log;
        self.state.choked = self.state.shared.persistence.saving.is_choked() || log.is_choked();
        self.state.follow_log();
        let replaying = self.state.shared.persistence.loading.is_replaying();
        if replaying != self.state.replaying {
            self.state.replaying = replaying;
            self.state.shard.suspend_expiry(replaying);
        }
        self.state.tell_time(now.unix_us / 1000);
        self.state.shard.set_overdue(self.state.overdue());
        self.state.shard.set_access_stamp(self.state.access_stamp());
        self.state.metrics.start_round(now);
        if self.state.metrics.sample_if_due(now) {
            self.state.measure();
            if self.state.shared.busy_scripts.load(Ordering::Relaxed) > 0 {
                self.turn_away(None);
            }
        }
        self.state.compare_memory();
    }

    fn opened(&mut self, info: SocketInfo) -> ConnectionKey {
        self.accept(info)
    }

    fn received(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let now_us = self.state.now.monotonic_us;
        let metrics = &mut self.state.metrics;
        metrics.note_event();
        metrics.counters.reads += 1;
        metrics.counters.net_in += bytes.len() as u64;
        let connection = &mut self.state.connections[key.0 as usize];
        connection.client.net_in += bytes.len() as u64;
        connection.client.active_us = now_us;
        if connection.close != Close::No {
            return;
        }
        if !connection.input.is_empty() || connection.blocked != Blocked::No {
            connection.input.extend(bytes);
            connection.note_input();
            if self.input_too_large(key) {
                return;
            }
            if !self.state.connections[key.0 as usize].ready {
                self.take_turn(key);
            }
            // Whoever cannot go on now must not be read without end either.
            if !self.state.connections[key.0 as usize].wants_input() {
                self.state.mark_dirty(key);
            }
            return;
        }
        let consumed = self.execute_input(key, bytes, TURN_BYTES);
        let Some(connection) = self.state.connections.get_mut(key.0 as usize) else { return };
        if consumed < bytes.len() && connection.close == Close::No {
            connection.input.extend(&bytes[consumed..]);
            connection.note_input();
        }
        self.after_turn(key, consumed);
    }

    fn closed(&mut self, key: ConnectionKey) {
        self.disconnect(key);
    }

    fn hangup(&mut self, key: ConnectionKey, failed: bool) {
        let connection = &mut self.state.connections[key.0 as usize];
        connection.hung_up = true;
        if failed {
            self.state.close(key, Close::Now);
        } else if connection.is_finished() {
            // Whoever publishes from now on does not count it.
            self.state.unsubscribe_all(key);
            self.state.close(key, Close::AfterOutput);
        } else if connection.blocked == Blocked::Waiting {
            // Who waits for a key and sends nothing more is gone, as far as anyone can tell.
            let client = connection.client.id;
            if self.state.waits.is_waiting(client) {
                self.state.waits.end(client, Ending::Gone);
            }
        }
    }

    fn sent(&mut self, key: ConnectionKey, bytes: usize, in_flight: usize) {
        self.state.metrics.counters.net_out += bytes as u64;
        let connection = &mut self.state.connections[key.0 as usize];
        connection.client.net_out += bytes as u64;
        connection.in_flight = in_flight;
        if connection.blocked == Blocked::Output && connection.output_bytes() < OUTPUT_RESUME_BYTES
        {
            self.unblock(key);
        }
    }

    fn deliver(&mut self, batch: Box<Batch>) {
        self.state.metrics.note_event();
        match batch.kind {
            BatchKind::Requests => self.execute_batch(batch),
            BatchKind::Answers => self.accept_answers(batch),
        }
    }

    fn signal(&mut self, signal: ShutdownSignal) {
        if self.state.shared.persistence.loading.is_active() {
            self.state.shared.stop();
        } else if self.state.id == ShardId(0) {
            let shutdown = shut_down_on(signal, &self.state);
            self.state.background.push_back(shutdown);
        }
    }

    fn work(&mut self) -> Wake {
        self.check_pause();
        let loading = self.state.take_loaded();
        let replaying = self.take_replayed();
        self.begin_background();
        self.wake_sleepers();
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(connection) = self.state.connection(key) {
                connection.ready = false;
                self.take_turn(key);
            }
        }
        self.go_on_with_scripts();
        self.state.waits.end_due(self.state.now.monotonic_us);
        self.finish_ended();
        while let Some((db, key)) = self.state.alarms.take_due(self.state.unix_ms()) {
            self.state.waiters.note(db, &key);
        }
        let expiry = self.expire();
        self.after_command();
        let goes_on = self.step_long();
        let garbage = self.state.shard.collect_garbage(GARBAGE_BUDGET);
        let busy_clients = self.state.metrics.is_busy() || !self.ready.is_empty();
        let snapshot = self.state.step_snapshot(busy_clients);
        // What a transaction has found is there until it ends.
        let evicts = self.locks.is_idle() && self.state.evict_in_round();
        let crowded = evicts | self.state.limit_clients();
        self.after_command();
        let tracks = self.end_tracking_round();
        self.state.hand_over();
        let uncork = self.state.end_corks().map(Wake::At);
        let expires = expiry.expired == EXPIRE_BUDGET;
        let busy = !self.ready.is_empty() || !self.state.background.is_empty();
        let scripts = self.state.scripts.any_jobs();
        if busy || scripts || goes_on || garbage || crowded || expires || tracks {
            return Wake::Now;
        }
        let wake = self.next_wake(expiry.next_deadline_ms);
        let gathering = self.state.gathers_until().map(Wake::At);
        [gathering, loading, replaying, snapshot, uncork]
            .into_iter()
            .flatten()
            .fold(wake, |wake, other| other.or_sooner(wake))
    }

    fn serves_script(&self) -> bool {
        self.state.shared.wide_scripts.load(Ordering::Relaxed) > 0
    }

    fn next_dirty(&mut self) -> Option<ConnectionKey> {
        loop {
            let key = self.state.dirty.pop_front()?;
            if let Some(connection) = self.state.connections.get_mut(key.0 as usize) {
                connection.dirty = false;
                if connection.is_replay() {
                    self.state.take_replay_replies(key);
                    continue;
                }
                self.state.enforce_output_limit(key);
                self.state.count_client(key);
                return Some(key);
            }
        }
    }

    fn take_output(&mut self, key: ConnectionKey, spare: Vec<u8>) -> Vec<u8> {
        debug_assert!(spare.is_empty(), "a spare buffer is empty");
        if self.state.is_held(key) || self.state.is_corked(key) {
            return spare;
        }
        let connection = &mut self.state.connections[key.0 as usize];
        let output = std::mem::replace(&mut connection.output, spare);
        self.state.metrics.counters.writes += u64::from(!output.is_empty());
        connection.in_flight += output.len();
        output
    }

    fn disposition(&self, key: ConnectionKey) -> Disposition {
        let connection = &self.state.connections[key.0 as usize];
        let read = connection.close == Close::No && connection.wants_input();
        // Replies that are still to come belong to the output that is to be sent first.
        let is_whole = connection.in_order() && !self.state.is_held(key);
        let waits = connection.close == Close::AfterOutput && !is_whole;
        Disposition { read, close: if waits { Close::No } else { connection.close } }
    }

    fn next_outgoing(&mut self) -> Option<(ShardId, Box<Batch>)> {
        self.send_ended_watches();
        self.send_ended_trackers();
        let message = self.outboxes.next(self.state.unix_ms());
        if message.is_none() {
            self.state.metrics.end_round();
        }
        message
    }

    fn next_append(&mut self) -> Option<Append> {
        self.begin_append()
    }

    fn written(&mut self, append: &mut Append) {
        self.note_written(append);
    }

    fn appended(&mut self, append: Append, outcome: io::Result<()>) {
        self.state.metrics.note_event();
        self.end_append(append, outcome);
    }

    fn stopping(&self) -> bool {
        self.state.shared.stopping()
    }
}
