//! The common case of the common case: commands of one connection, one after the other, that run
//! on this core's shard with nothing in their way.
//!
//! What could be in the way is looked at once for all of them: none of these commands can change
//! it. What is left for each is its handler and its figures.

use kvasir_proto::{ArgRanges, Encoder};

use super::connection::{Blocked, Connection, OUTPUT_PAUSE_BYTES, ReplyMode};
use super::core::Core;
use super::dispatch::Ahead;
use super::engine::{Close, ConnectionKey};
use super::long::Long;
use super::message::{Done, ReplyTo};
use super::transaction::shard_context;
use crate::commands::context::ShardHandler;
use crate::commands::definition::Handler;
use crate::commands::table::Entry;

impl Core {
    /// Executes requests from the first on, as long as they run here without further ado. Returns
    /// how many; the rest has to be dispatched one by one.
    pub(super) fn run_stretch(
        &mut self,
        key: ConnectionKey,
        input: &[u8],
        space: &[ArgRanges],
        ahead: &[Ahead],
    ) -> usize {
        if self.handler_here(&ahead[0]).is_none() || !self.is_unhindered(key) {
            return 0;
        }
        let connection = &mut self.state.connections[key.0 as usize];
        let (client, view) = (connection.client.id, connection.client.view);
        let mut output = std::mem::take(&mut connection.output);
        let mut count = 0;
        let mut last = None;
        for (request, ranges) in ahead.iter().zip(space) {
            let Some((entry, handler)) = self.handler_here(request) else { break };
            let args = ranges.view(&input[request.start..request.end]);
            let start = output.len();
            let changes = self.state.keyspace_figures.changes;
            let mut context = shard_context(&mut self.state, view);
            context.may_postpone = true;
            let result = handler(&mut context, args, &mut Encoder::new(&mut output, view.resp));
            let failed = result.is_err();
            if let Err(error) = result {
                output.truncate(start);
                Encoder::new(&mut output, view.resp).error_bytes(&error.to_wire());
            }
            self.state.end_effect(entry, view.db, args, changes);
            let nanoseconds = self.state.metrics.lap();
            let done = Done { reply_end: output.len(), nanoseconds, failed, ..Done::default() };
            last = Some(entry);
            count += 1;
            if let Some(work) = self.state.postponed.take() {
                let reply = output.split_off(start);
                let connection = &mut self.state.connections[key.0 as usize];
                let reply_to = ReplyTo { connection: key, client, sequence: connection.reserve() };
                let long = Self::long_of((self.state.id, entry, reply_to), view, args, done, work);
                self.begin_long(Long { reply, ..long });
                break;
            }
            self.state.effects.end_unit();
            let reply_to = ReplyTo { connection: key, client, sequence: 0 };
            self.record(entry, done, args, &output[start..], reply_to);
            if output.len() > OUTPUT_PAUSE_BYTES {
                break;
            }
            if !self.state.shard.journal.is_empty() {
                self.state.follow_journal();
                if self.state.has_followers_due() {
                    break;
                }
            }
        }
        let connection = &mut self.state.connections[key.0 as usize];
        connection.output = output;
        connection.client.commands += count as u64;
        connection.client.last_command = last;
        self.after_command();
        count
    }

    /// The handler of a request that concerns only this core's shard.
    fn handler_here(&self, request: &Ahead) -> Option<(&'static Entry, ShardHandler)> {
        let entry = request.entry?;
        match entry.command.handler {
            Handler::Shard(handler) if request.owner == self.state.id => Some((entry, handler)),
            Handler::Multi { whole, .. } if self.state.shared.map.shards() == 1 => {
                Some((entry, whole))
            }
            _ => None,
        }
    }

    /// Whether nothing stands between a connection's requests and the shard.
    fn is_unhindered(&self, key: ConnectionKey) -> bool {
        self.locks.is_idle()
            && !self.state.loading
            && !self.state.refuses_writes
            && !self.state.shared.persistence.log.has_failed()
            && !self.state.choked
            && self.state.pause.is_none()
            && !self.state.room.exceeded
            && !self.state.shared.monitored()
            && self.state.connections[key.0 as usize].is_unhindered()
    }
}

impl Connection {
    fn is_unhindered(&self) -> bool {
        self.client.authenticated
            && !self.client.is_confined()
            && self.client.reply_mode == ReplyMode::On
            && self.client.tracking.is_none()
            && self.queue.is_none()
            && self.in_order()
            && self.blocked == Blocked::No
            && self.close == Close::No
    }
}
