//! A large collection on its way into a snapshot, some elements at a time.
//!
//! A pass goes through the table of elements by the cursors of SCAN. Behind its cursor everything
//! has been saved. Ahead of it, an element that is about to change or go is saved first, and its
//! name is kept, as is the name of one that is new: those are passed over later. An element's hash
//! never changes, so neither does its place in that order. The names that are kept are as many as
//! the elements that were written ahead of the cursor, and go with the pass.
//!
//! A long value that lies outside its entry is shared ([`crate::held`]) before it is saved, so that
//! neither a step nor a write has to copy it.
//!
//! The pass belongs to the collection: it goes on wherever that is moved, and while it is freed.

use std::collections::HashSet;
use std::sync::Arc;

use super::zset::scores::score_of;
use crate::arena::Handle;
use crate::owned::Element;
use crate::store::Store;
use crate::table::{KeySource, Table, scan};
use crate::value::{ValueRef, ValueType};

/// What takes the elements of a collection that is saved in parts.
pub trait ElementSaver: Send {
    /// Takes an element as it was at the cut. Each comes once, in any order. `text` has the bytes
    /// of a long value, which are the saver's for as long as it likes: it need not copy them.
    fn save(&mut self, element: Element<'_>, text: Option<Arc<Vec<u8>>>);

    /// Whether it holds so much that there had better come no more for now.
    fn is_full(&self) -> bool;

    /// There are no more.
    fn end(self: Box<Self>);
}

/// The pass. See the module's head.
pub(crate) struct Pass {
    value_type: ValueType,
    saver: Box<dyn ElementSaver>,
    cursor: u64,
    /// Elements ahead of the cursor that are saved already, or came later.
    settled: HashSet<Box<[u8]>>,
    /// Elements that a step has come to, reused.
    met: Vec<Handle>,
}

impl Pass {
    /// At the beginning of a collection of this type.
    pub(crate) fn new(value_type: ValueType, saver: Box<dyn ElementSaver>) -> Self {
        Self { value_type, saver, cursor: 0, settled: HashSet::default(), met: Vec::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.saver.is_full()
    }

    /// Nothing is left to save.
    pub(crate) fn end(self) {
        self.saver.end();
    }

    /// Saves about `count` more elements; false when all have been.
    pub(crate) fn step(&mut self, table: &Table, store: &mut Store, count: usize) -> bool {
        let Self { settled, met, .. } = self;
        let from = self.cursor;
        self.cursor = table.scan(from, count, store, |handle| {
            let is_new = !scan::is_passed(from, store.hash(handle));
            if is_new && (settled.is_empty() || !settled.contains(store.key(handle))) {
                met.push(handle);
            }
        });
        let mut met = std::mem::take(met);
        for handle in met.drain(..) {
            self.save(store, handle);
        }
        self.met = met;
        self.cursor != 0
    }

    /// To be called before an element changes or goes.
    pub(crate) fn save_before_change(&mut self, store: &mut Store, handle: Handle) {
        if scan::is_passed(self.cursor, store.hash(handle)) {
            return;
        }
        let name = store.key(handle);
        if !self.settled.contains(name) {
            self.settled.insert(name.into());
            self.save(store, handle);
        }
    }

    /// To be called before an element comes.
    pub(crate) fn note_new(&mut self, hash: u64, name: &[u8]) {
        if !scan::is_passed(self.cursor, hash) && !self.settled.contains(name) {
            self.settled.insert(name.into());
        }
    }

    fn save(&mut self, store: &mut Store, handle: Handle) {
        let text = store.share_text(handle);
        self.saver.save(element(self.value_type, store, handle), text);
    }
}

fn element(value_type: ValueType, store: &Store, handle: Handle) -> Element<'_> {
    let nothing = ValueRef::Bytes(b"");
    let (value, score) = match value_type {
        ValueType::SortedSet => (nothing, score_of(store, handle)),
        ValueType::Hash => (store.value(handle), 0.0),
        _ => (nothing, 0.0),
    };
    let name = ValueRef::Bytes(store.key(handle));
    Element { name, value, score, deadline_ms: store.deadline(handle) }
}
