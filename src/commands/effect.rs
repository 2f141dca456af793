//! What handlers log in place of requests that must not be repeated as they came.
//!
//! A log is read at another time, by a server that draws other random numbers and where nobody
//! waits. So relative times become moments, what has been chosen at random or approximately is
//! named, and who has waited is served by the command that does not. The forms are those that the
//! peers log, and that they read, wherever they have any.

use itoa::Buffer;
use kvasir_shard::{DEADLINE_MAX, NewValue, Ttl};
use smallvec::SmallVec;

use super::context::ShardContext;

/// The words of what is logged.
pub type LoggedWords<'a> = SmallVec<[&'a [u8]; 16]>;

impl ShardContext<'_> {
    /// Logs a command about a key, and what follows the key.
    pub fn log_on<'w>(
        &mut self,
        command: &'w str,
        key: &'w [u8],
        rest: impl IntoIterator<Item = &'w [u8]>,
    ) {
        if self.logs() {
            let mut words = LoggedWords::from_slice(&[command.as_bytes(), key]);
            words.extend(rest);
            self.log_as(&words);
        }
    }

    /// Logs that a string has been stored.
    pub fn log_set(&mut self, key: &[u8], value: NewValue<'_>, ttl: Ttl) {
        if !self.logs() {
            return;
        }
        let (mut digits, mut moment) = (Buffer::new(), Buffer::new());
        let value = match value {
            NewValue::Bytes(bytes) | NewValue::Text(bytes) => bytes,
            NewValue::Int(number) => digits.format(number).as_bytes(),
        };
        match ttl {
            Ttl::Clear => self.log_as(&[b"SET", key, value]),
            Ttl::Keep => self.log_as(&[b"SET", key, value, b"KEEPTTL"]),
            Ttl::At(deadline_ms) => {
                let moment = moment.format(deadline_ms.min(DEADLINE_MAX)).as_bytes();
                self.log_as(&[b"SET", key, value, b"PXAT", moment]);
            }
        }
    }

    /// Logs that a key has got a deadline, under conditions that may be repeated.
    pub fn log_deadline<'w>(
        &mut self,
        key: &'w [u8],
        deadline_ms: u64,
        conditions: impl IntoIterator<Item = &'w [u8]>,
    ) {
        if self.logs() {
            let mut moment = Buffer::new();
            let mut words = LoggedWords::from_slice(&[b"PEXPIREAT", key]);
            words.push(moment.format(deadline_ms.min(DEADLINE_MAX)).as_bytes());
            words.extend(conditions.into_iter().map(|word| -> &[u8] { word }));
            self.log_as(&words);
        }
    }

    /// Logs that a key has been removed as a whole by a command that is not about that.
    pub fn log_removed(&mut self, key: &[u8]) {
        self.log_as(&[b"UNLINK", key]);
    }

    /// Logs that so many elements have been popped from a key.
    pub fn log_popped(&mut self, command: &str, key: &[u8], count: usize) {
        let mut digits = Buffer::new();
        self.log_as(&[command.as_bytes(), key, digits.format(count).as_bytes()]);
    }
}
