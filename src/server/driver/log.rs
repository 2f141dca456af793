//! What a core writes to the append-only log.

use std::io;

use super::Driver;
use crate::route::engine::Engine;

/// So many writes a core does itself in a round: others may go on adding to the log.
const WRITES_MAX: usize = 4;

impl<E: Engine> Driver<E> {
    /// Writes what there is to be written, before the outputs of the round, and begins to flush
    /// what is to be flushed. Whether there may be more at once.
    pub(super) fn write_log(&mut self) -> io::Result<bool> {
        for _ in 0..WRITES_MAX {
            if self.ring.is_appending() {
                return Ok(false);
            }
            let Some(mut append) = self.engine.next_append() else { return Ok(false) };
            let outcome = if append.at_once {
                let began_us = self.clock.monotonic_us();
                let outcome = append.write();
                append.took_us = self.clock.monotonic_us() - began_us;
                outcome
            } else {
                Ok(())
            };
            let is_whole = append.written == append.bytes.len();
            if append.at_once && (outcome.is_err() || !append.flushes || !is_whole) {
                self.engine.appended(append, outcome);
                continue;
            }
            if append.at_once {
                self.engine.written(&mut append);
            }
            self.ring.append(append)?;
        }
        Ok(true)
    }
}
