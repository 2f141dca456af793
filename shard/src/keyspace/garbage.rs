//! What was thrown away and takes long to free: long values and whole databases.

use std::collections::VecDeque;

use super::Shard;
use crate::db::Db;
use crate::external::External;

/// Values of at least this size are freed later; smaller ones cost less than queueing them.
const LARGE_BYTES: usize = 64 << 10;

struct DetachedDb {
    db: Db,
    /// Entries of the last segment that are freed already.
    skip: usize,
}

/// The queue.
#[derive(Default)]
pub(super) struct Garbage {
    values: VecDeque<External>,
    dbs: VecDeque<DetachedDb>,
}

impl Garbage {
    /// Frees a value now or later.
    pub(super) fn add(&mut self, external: Option<External>) {
        if let Some(external) = external.filter(|external| external.memory() >= LARGE_BYTES) {
            self.values.push_back(external);
        }
    }

    pub(super) fn add_db(&mut self, db: Db) {
        self.dbs.push_back(DetachedDb { db, skip: 0 });
    }

    /// Bytes of values that wait here; a detached database's are counted by the store.
    pub(super) fn memory(&self) -> usize {
        self.values.iter().map(External::memory).sum()
    }
}

impl Shard {
    /// Frees what was thrown away, about `budget` entries or long values of it, and gives up to as
    /// many empty pages back to the system; whether there is more to do.
    pub fn collect_garbage(&mut self, budget: usize) -> bool {
        let mut left = budget;
        while left > 0 && self.garbage.values.pop_front().is_some() {
            left -= 1;
        }
        while left > 0 {
            let Some(detached) = self.garbage.dbs.front_mut() else {
                break;
            };
            let store = &mut self.store;
            let values = &mut self.garbage.values;
            let mut freed = 0;
            let has_more = detached.db.drain(&mut detached.skip, left, |handle| {
                freed += 1;
                let external = store.release(handle);
                values.extend(external.filter(|external| external.memory() >= LARGE_BYTES));
            });
            if !has_more {
                self.garbage.dbs.pop_front();
            }
            left = left.saturating_sub(freed + 1);
        }
        let trimmed = self.store.arena.trim(left);
        let trim_goes_on = trimmed == left && budget > 0;
        trim_goes_on || !self.garbage.values.is_empty() || !self.garbage.dbs.is_empty()
    }
}
