//! What a script has changed on its shard and can still be taken back.
//!
//! A script runs on the shard of its declared keys without locks, and may turn out to need a key of
//! another shard after it has written. Nobody has seen what it wrote: its shard has done nothing
//! else meanwhile, or its changes lie behind its claim. So each key is kept as it was before the
//! script first changed it, and put back when the script has to begin again under locks on
//! everything. Only what is cheap to copy is kept; what a script may change beyond that is in
//! [`super::answer`].
//!
//! Costs a lookup and a copy for each key that a script changes, with several shards only.

use kvasir_proto::Args;
use kvasir_shard::{ChangeKind, OwnedValue};

use super::super::coordinate::mode_of;
use super::super::core::CoreState;
use super::super::locks::Mode;
use crate::commands::definition::Handler;
use crate::commands::table::Entry;

/// Bytes of a value that is copied.
const VALUE_BYTES_MAX: usize = 2048;
/// Bytes of everything that is kept for one script.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// As both, for a script that would be trusted not to stray, while another one is: a copy is better
/// than to hold every shard.
const GENEROUS_BYTES_MAX: usize = 1 << 20;
/// What a kept key costs beyond its value.
const KEY_BYTES: usize = 64;

/// A key as it was before.
struct Before {
    db: u32,
    key: Box<[u8]>,
    /// Nothing if the key was not there.
    value: Option<OwnedValue>,
}

/// The keys that a script has changed, as they were.
#[derive(Default)]
pub(super) struct Undo {
    kept: Vec<Before>,
    bytes: usize,
    /// What of its changes has been counted.
    pub(super) changes: u64,
    /// Large values are kept as well.
    pub(super) is_generous: bool,
}

impl Undo {
    /// Whether there is nothing to be taken back.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn has(&self, db: u32, key: &[u8]) -> bool {
        self.kept.iter().any(|before| before.db == db && *before.key == *key)
    }
}

impl CoreState {
    /// Keeps what a call is about to change, whose keys all lie here. False when it does more than
    /// can be taken back; what has been kept until then stays.
    pub(super) fn keep_before(
        &mut self,
        undo: &mut Undo,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
    ) -> bool {
        let on_keys = matches!(
            entry.command.handler,
            Handler::Shard(_) | Handler::Multi { .. } | Handler::Blocking(_)
        );
        if !on_keys || entry.command.other_db.is_some() || entry.command.beyond(args).is_some() {
            return false;
        }
        let mut changed = Vec::new();
        let found = entry.keys(args, |index, flags| {
            if mode_of(entry, flags) == Mode::Write {
                changed.push(args.at(index));
            }
        });
        // A malformed request changes nothing.
        found.is_err() || changed.into_iter().all(|key| self.keep_key(undo, db, key))
    }

    /// Keeps a key of this shard; false when it is too large.
    pub(super) fn keep_key(&mut self, undo: &mut Undo, db: u32, name: &[u8]) -> bool {
        if undo.has(db, name) {
            return true;
        }
        if undo.is_empty() {
            // What has happened before is no part of what may be taken back.
            self.follow_journal();
        }
        let key = self.shared.map.key(name);
        let size = self.shard.entry_size(db, &key);
        let bytes = KEY_BYTES + name.len() + size.unwrap_or(0);
        let (value_max, kept_max) = if undo.is_generous {
            (GENEROUS_BYTES_MAX, GENEROUS_BYTES_MAX)
        } else {
            (VALUE_BYTES_MAX, KEPT_BYTES_MAX)
        };
        if size.is_some_and(|size| size > value_max) || undo.bytes + bytes > kept_max {
            return false;
        }
        let value = size.and_then(|_| self.shard.copy(db, &key));
        undo.kept.push(Before { db, key: name.into(), value });
        undo.bytes += bytes;
        true
    }

    /// Puts back what was kept. Nobody is told of the changes, nor that they are no more.
    pub(super) fn take_back(&mut self, undo: &mut Undo) {
        if undo.is_empty() {
            return;
        }
        let Undo { kept, changes, .. } = std::mem::take(undo);
        // A snapshot that ends meanwhile takes those off that it has.
        let counted = &mut self.keyspace_figures.changes;
        *counted = counted.saturating_sub(changes);
        for Before { db, key, value } in kept {
            let key = self.shared.map.key(&key);
            match value {
                None => {
                    self.shard.remove(db, &key);
                }
                Some(value) => {
                    let put = self.shard.put(db, &key, value, ChangeKind::Set);
                    put.expect("invariant: there is room for what was there a moment ago");
                }
            }
        }
        self.forget_journal();
    }
}
