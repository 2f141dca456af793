//! Replies that are held back for a moment, because those behind them are about to come.
//!
//! A client that sends several requests at once gets the replies that this core has, and shortly
//! after them those from other cores and of transactions. Sent as they come they would cost a
//! system call each, at both ends: more than most commands. So output in front of a reply that is
//! outstanding waits for it, but no longer than [`CORK_US`]; what it waits for may itself wait for
//! a lock. Nothing waits in front of the reply of a command that waits for a key.
//!
//! Messages to many subscribers cost the kernel some microseconds for each of them: far more than
//! the rest of a publication. The first goes at once; those that follow it wait for each other
//! about twice as long as sending them will take, so that a core has most of its time for other
//! things. Whatever has few receivers may be half of a dialogue, and does not wait.

use std::collections::VecDeque;

use super::connection::{Blocked, Connection};
use super::core::CoreState;
use super::engine::{Close, ConnectionKey};

/// How long output waits at most, microseconds.
const CORK_US: u64 = 500;
/// More output than this does not wait: sending it costs more than the call.
const CORK_BYTES: usize = 16 << 10;
/// Messages to so many clients of a core, and more, wait for others.
const CROWD: usize = 16;
/// How long they wait for each client that waits for some, microseconds.
const GATHER_US: u64 = 10;
/// How long they wait at most, microseconds.
const GATHER_US_MAX: u64 = 1000;

/// Whether a connection's output waits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Cork {
    /// It does not.
    #[default]
    Out,
    /// Until this moment of the monotonic clock, microseconds.
    In(u64),
    /// It has waited long enough.
    Over,
    /// It consists of messages that go out together with those to others.
    Gathered,
}

/// What of a core's output waits.
#[derive(Default, Debug)]
pub(super) struct Corks {
    /// The connections whose replies wait, or have waited, by the end of that.
    replies: VecDeque<(u64, ConnectionKey)>,
    /// The connections whose messages wait, or have waited.
    gathered: Vec<ConnectionKey>,
    /// When messages to many went out, monotonic microseconds.
    told_us: u64,
}

/// How long messages to so many clients wait.
fn gather_us(clients: usize) -> u64 {
    GATHER_US_MAX.min(GATHER_US * clients as u64)
}

impl CoreState {
    /// Whether a connection's output is to wait.
    pub(super) fn is_corked(&mut self, key: ConnectionKey) -> bool {
        let now_us = self.now.monotonic_us;
        let connection = &mut self.connections[key.0 as usize];
        if !connection.expects_more() {
            connection.cork = Cork::Out;
            return false;
        }
        match connection.cork {
            Cork::In(_) => true,
            Cork::Over => {
                connection.cork = Cork::Out;
                false
            }
            Cork::Out | Cork::Gathered => {
                let until_us = now_us + CORK_US;
                connection.cork = Cork::In(until_us);
                self.corks.replies.push_back((until_us, key));
                true
            }
        }
    }

    /// Whether a message to so many clients is to wait for those that follow it.
    pub(crate) fn gathers_messages(&mut self, clients: usize) -> bool {
        let (now_us, told_us) = (self.now.monotonic_us, self.corks.told_us);
        if clients < CROWD {
            return false;
        }
        // What goes out in the same round goes out together as it is.
        let waits = told_us < now_us && now_us < told_us + gather_us(clients);
        if !waits {
            self.corks.told_us = now_us;
        }
        waits
    }

    /// Sends a message together with those that follow it, unless the client has other output.
    pub(crate) fn gather_message(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let connection = &mut self.connections[key.0 as usize];
        let is_free = connection.cork == Cork::Gathered || connection.output.is_empty();
        if !is_free || !connection.in_order() {
            return self.push_behind_replies(key, bytes);
        }
        connection.output.extend_from_slice(bytes);
        if connection.output.len() >= CORK_BYTES {
            self.mark_dirty(key);
        } else if connection.cork != Cork::Gathered {
            connection.cork = Cork::Gathered;
            self.corks.gathered.push(key);
        }
    }

    /// Has output sent that has waited long enough. Returns when to look again.
    pub(super) fn end_corks(&mut self) -> Option<u64> {
        [self.end_gathering(), self.end_reply_corks()].into_iter().flatten().min()
    }

    fn end_gathering(&mut self) -> Option<u64> {
        if self.corks.gathered.is_empty() {
            return None;
        }
        let until_us = self.corks.told_us + gather_us(self.corks.gathered.len());
        if self.now.monotonic_us < until_us {
            return Some(until_us);
        }
        self.corks.told_us = self.now.monotonic_us;
        let mut gathered = std::mem::take(&mut self.corks.gathered);
        for key in gathered.drain(..) {
            // Some have been sent with a reply.
            if self.connection(key).is_some_and(|connection| connection.cork == Cork::Gathered) {
                self.mark_dirty(key);
            }
        }
        self.corks.gathered = gathered;
        None
    }

    fn end_reply_corks(&mut self) -> Option<u64> {
        let now_us = self.now.monotonic_us;
        while let Some(&(until_us, key)) = self.corks.replies.front() {
            // Most have been sent long since.
            let waiting = self.connection(key).filter(|c| c.cork == Cork::In(until_us));
            if let Some(connection) = waiting {
                if until_us > now_us {
                    return Some(until_us);
                }
                connection.cork = Cork::Over;
                self.mark_dirty(key);
            }
            self.corks.replies.pop_front();
        }
        None
    }
}

impl Connection {
    /// Whether it has a little output, and a reply behind that is about to come.
    fn expects_more(&self) -> bool {
        !self.output.is_empty()
            && self.output.len() < CORK_BYTES
            && !self.in_order()
            && self.blocked != Blocked::Waiting
            && self.close == Close::No
    }
}
