//! A shard's part of a base that consists of commands.
//!
//! The core only copies what it saves, or shares it where it is large; the thread that writes the
//! file puts it into words ([`super::write`]). The elements of a large collection need not lie
//! together in the file, so its parts go into it as they come, and its deadline behind the last.

use std::io;
use std::mem;
use std::sync::Arc;

use kvasir_shard::{
    Element, ElementSaver, Elements, OwnedData, OwnedValue, SavedEntry, ValueRef, ValueType,
};

use super::write::{
    PassOn, relieve, write_deadline, write_elements, write_entry, write_select, write_text,
};
use crate::persist::part::{FULL_BYTES, Outbox, PIECE_BYTES, is_empty};
use crate::persist::rdb::write::file::Needs;
use crate::persist::save::Piece;

/// Whole entries that are on their way to the thread.
#[derive(Default, Debug)]
pub(in crate::persist) struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    db: u32,
    key: Vec<u8>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// A long string, which the shard has as well, and its deadline.
    Text(Arc<Vec<u8>>, Option<u64>),
    /// A value by itself.
    Owned(OwnedValue),
}

impl Entry {
    fn write(&self, out: &mut Vec<u8>, pass_on: &mut PassOn<'_>) -> io::Result<()> {
        match &self.value {
            Value::Text(text, deadline_ms) => {
                write_text(out, &self.key, ValueRef::Bytes(text), *deadline_ms);
                Ok(())
            }
            Value::Owned(value) => write_entry(out, &self.key, value, pass_on),
        }
    }
}

impl Batch {
    /// Adds an entry; whether there is enough for a piece.
    pub(in crate::persist) fn push(&mut self, db: u32, entry: &SavedEntry<'_>) -> bool {
        let (value, bytes) = if let Some(text) = entry.shared_text() {
            (Value::Text(text, entry.deadline_ms()), FULL_BYTES)
        } else {
            let value = entry.to_value();
            // A collection may consist of elements that have expired.
            if is_empty(&value.data) {
                return false;
            }
            let bytes = bytes_of(&value.data);
            (Value::Owned(value), bytes)
        };
        let key = entry.key().to_vec();
        self.bytes += key.len() + bytes;
        self.entries.push(Entry { db, key, value });
        self.bytes >= PIECE_BYTES
    }

    /// Takes them as a piece of so many bytes, if there are any.
    pub(in crate::persist) fn take(&mut self) -> Option<(Piece, usize)> {
        if self.entries.is_empty() {
            return None;
        }
        let Self { entries, bytes } = mem::take(self);
        let encode = move |pass_on: &mut PassOn<'_>| {
            let (mut out, mut selected) = (Vec::new(), None);
            for entry in entries {
                if selected.replace(entry.db) != Some(entry.db) {
                    write_select(&mut out, entry.db);
                }
                entry.write(&mut out, pass_on)?;
                relieve(&mut out, pass_on)?;
            }
            pass_on(&out)?;
            Ok(Needs::Nothing)
        };
        Some((Piece::Unencoded(Box::new(encode)), bytes))
    }
}

/// What a value takes in memory, about. Of what the shard has as well no more than what the thread
/// had better be done with before the walk comes to more.
fn bytes_of(data: &OwnedData) -> usize {
    match data {
        OwnedData::Int(_) => size_of::<i64>(),
        OwnedData::String(text) => text.len().min(FULL_BYTES),
        OwnedData::Hash(elements) | OwnedData::Set(elements) | OwnedData::SortedSet(elements) => {
            elements.bytes()
        }
        OwnedData::List(list) => list.memory().min(FULL_BYTES),
        OwnedData::Stream(stream) => stream.memory().min(FULL_BYTES),
    }
}

/// A collection that is saved element by element.
pub(in crate::persist) struct Portion {
    db: u32,
    key: Arc<[u8]>,
    value_type: ValueType,
    deadline_ms: Option<u64>,
    elements: Elements,
    outbox: Arc<Outbox>,
}

impl Portion {
    /// For the collection in this entry.
    pub(in crate::persist) fn new(db: u32, entry: &SavedEntry<'_>, outbox: Arc<Outbox>) -> Self {
        let ValueRef::Collection(value_type) = entry.value() else {
            unreachable!("only a collection has elements");
        };
        let (key, deadline_ms) = (entry.key().into(), entry.deadline_ms());
        Self { db, key, value_type, deadline_ms, elements: Elements::default(), outbox }
    }

    /// Leaves a field to the thread whose value the shard has as well.
    fn hand_over_field(&mut self, element: &Element<'_>, text: Arc<Vec<u8>>) {
        let name = element.name.to_vec().expect("invariant: names are strings");
        let (db, key, deadline_ms) = (self.db, Arc::clone(&self.key), element.deadline_ms);
        let bytes = name.len() + text.len();
        let encode = move |pass_on: &mut PassOn<'_>| {
            let mut field = Elements::with_capacity(bytes);
            field.push_field(ValueRef::Bytes(&name), ValueRef::Bytes(&text), deadline_ms);
            let mut out = Vec::new();
            write_select(&mut out, db);
            write_elements(&mut out, &key, ValueType::Hash, &field);
            pass_on(&out)?;
            Ok(Needs::Nothing)
        };
        self.outbox.push(Piece::Unencoded(Box::new(encode)), bytes.min(FULL_BYTES));
    }

    fn hand_over(&mut self, deadline_ms: Option<u64>) {
        let elements = mem::take(&mut self.elements);
        let (db, key, value_type) = (self.db, Arc::clone(&self.key), self.value_type);
        let bytes = elements.bytes();
        let encode = move |pass_on: &mut PassOn<'_>| {
            let mut out = Vec::new();
            write_select(&mut out, db);
            write_elements(&mut out, &key, value_type, &elements);
            if let Some(deadline_ms) = deadline_ms {
                write_deadline(&mut out, &key, deadline_ms);
            }
            pass_on(&out)?;
            Ok(Needs::Nothing)
        };
        self.outbox.push(Piece::Unencoded(Box::new(encode)), bytes);
    }
}

impl ElementSaver for Portion {
    fn save(&mut self, element: Element<'_>, text: Option<Arc<Vec<u8>>>) {
        if let Some(text) = text {
            return self.hand_over_field(&element, text);
        }
        let Element { name, value, score, deadline_ms } = element;
        match self.value_type {
            ValueType::Hash => self.elements.push_field(name, value, deadline_ms),
            ValueType::SortedSet => self.elements.push_scored(name, score, deadline_ms),
            _ => self.elements.push_member(name, deadline_ms),
        }
        if self.elements.bytes() >= PIECE_BYTES {
            self.hand_over(None);
        }
    }

    fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    fn end(mut self: Box<Self>) {
        let deadline_ms = self.deadline_ms;
        self.hand_over(deadline_ms);
    }
}
