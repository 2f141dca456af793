//! Values out of the shard and into it: by themselves, without anything in the arena.

use super::Shard;
use super::open::ContentRef;
use super::relocate::Form;
use crate::arena::{BLOCK_BYTES_MAX, Handle};
use crate::collections::Collection;
use crate::collections::members::Members;
use crate::collections::zset::scores::{Scores, score_of};
use crate::entry::PackKind;
use crate::external::External;
use crate::intset;
use crate::list::List;
use crate::owned::{Element, Elements, OwnedData, OwnedValue};
use crate::pack;
use crate::store::{Incoming, OutOfMemory, Store};
use crate::table::KeySource;
use crate::value::{LargeString, Payload, ValueRef};

/// Copies of elements, each with its deadline.
impl Store {
    pub(super) fn push_field(&self, elements: &mut Elements, handle: Handle) {
        let name = ValueRef::Bytes(self.key(handle));
        elements.push_field(name, self.value(handle), self.deadline(handle));
    }

    pub(super) fn push_member(&self, elements: &mut Elements, handle: Handle) {
        elements.push_member(ValueRef::Bytes(self.key(handle)), self.deadline(handle));
    }

    pub(super) fn push_scored(&self, elements: &mut Elements, handle: Handle) {
        let name = ValueRef::Bytes(self.key(handle));
        elements.push_scored(name, score_of(self, handle), self.deadline(handle));
    }
}

impl Shard {
    /// A copy of an entry's value and deadline; O(elements).
    pub(super) fn export(&self, handle: Handle) -> OwnedValue {
        let entry = self.store.entry(handle);
        let data = match self.store.content(handle) {
            ContentRef::String => match self.store.value(handle) {
                ValueRef::Int(value) => OwnedData::Int(value),
                value => OwnedData::String(value.to_vec().expect("invariant: it is a string")),
            },
            ContentRef::Pack(PackKind::List, text) => {
                OwnedData::List(List::from_text(text, self.limits.list))
            }
            ContentRef::Pack(kind, block) => export_pack(kind, block),
            ContentRef::Collection(collection) => self.export_collection(collection),
        };
        OwnedValue { data, raw: entry.is_raw(), deadline_ms: entry.deadline() }
    }

    fn export_collection(&self, collection: &Collection) -> OwnedData {
        match collection {
            Collection::Hash(members) => {
                let mut elements = Elements::with_capacity(members.bytes());
                members.for_each(&self.store, self.due_ms, |handle| {
                    self.store.push_field(&mut elements, handle);
                });
                OwnedData::Hash(elements)
            }
            Collection::Set(members) => {
                let mut elements = Elements::with_capacity(members.bytes());
                members.for_each(&self.store, self.due_ms, |handle| {
                    self.store.push_member(&mut elements, handle);
                });
                OwnedData::Set(elements)
            }
            Collection::Stream(stream) => OwnedData::Stream(stream.clone()),
            Collection::List(list) => OwnedData::List(list.clone()),
            Collection::SortedSet(scores) => {
                let mut elements = Elements::with_capacity(scores.members.bytes());
                scores.for_each(&self.store, |handle| {
                    self.store.push_scored(&mut elements, handle);
                });
                OwnedData::SortedSet(elements)
            }
        }
    }

    /// The form that a value has in this shard, by its size; O(elements). What has no elements
    /// must not come here.
    pub(super) fn import(&mut self, data: OwnedData) -> Result<Form, OutOfMemory> {
        Ok(match data {
            OwnedData::Int(value) => Form::Int(value),
            OwnedData::String(mut bytes) if bytes.len() >= BLOCK_BYTES_MAX => {
                // It lies outside as it is, without a copy.
                bytes.shrink_to_fit();
                Form::Outside(Payload::String(LargeString::new(bytes)))
            }
            OwnedData::String(bytes) => Form::Bytes(bytes),
            OwnedData::Hash(elements) => self.import_hash(&elements)?,
            OwnedData::Set(elements) => self.import_set(&elements)?,
            OwnedData::Stream(stream) => {
                Form::Outside(Payload::Collection(Box::new(Collection::Stream(stream))))
            }
            OwnedData::List(list) => match list.small_text() {
                Some(text) => Form::Pack(PackKind::List, text.to_vec()),
                None => Form::Outside(Payload::Collection(Box::new(Collection::List(list)))),
            },
            OwnedData::SortedSet(elements) => self.import_sorted_set(&elements)?,
        })
    }

    fn import_hash(&mut self, elements: &Elements) -> Result<Form, OutOfMemory> {
        let limits = self.limits;
        if elements.len() <= limits.hash_max_listpack_entries
            && elements.longest() <= limits.hash_max_listpack_value
            && elements.expiring() == 0
        {
            let mut block = Vec::new();
            for Element { name, value, .. } in elements.iter() {
                pack::push_value(&mut block, name);
                pack::push_value(&mut block, value);
            }
            return Ok(Form::Pack(PackKind::Hash, block));
        }
        let members = self.import_members(elements)?;
        Ok(Form::Outside(Payload::Collection(Box::new(Collection::Hash(members)))))
    }

    fn import_set(&mut self, elements: &Elements) -> Result<Form, OutOfMemory> {
        let limits = self.limits;
        let is_plain = elements.expiring() == 0;
        let all_ints = || elements.iter().all(|element| matches!(element.name, ValueRef::Int(_)));
        if is_plain && elements.len() <= limits.set_max_intset_entries && all_ints() {
            let mut block = Vec::new();
            for element in elements.iter() {
                if let ValueRef::Int(value) = element.name {
                    intset::insert(&mut block, value);
                }
            }
            return Ok(Form::Pack(PackKind::IntSet, block));
        }
        if is_plain
            && elements.len() <= limits.set_max_listpack_entries
            && elements.longest() <= limits.set_max_listpack_value
        {
            let mut block = Vec::new();
            elements.iter().for_each(|element| pack::push_value(&mut block, element.name));
            return Ok(Form::Pack(PackKind::Set, block));
        }
        let members = self.import_members(elements)?;
        Ok(Form::Outside(Payload::Collection(Box::new(Collection::Set(members)))))
    }

    fn import_sorted_set(&mut self, elements: &Elements) -> Result<Form, OutOfMemory> {
        let limits = self.limits;
        let mut members: Vec<_> = elements
            .iter()
            .map(|Element { name, score, deadline_ms, .. }| {
                (score, name.to_vec().expect("invariant: names are strings"), deadline_ms)
            })
            .collect();
        let before = |a: &f64, b: &f64| a.partial_cmp(b).expect("invariant: no score is NaN");
        members.sort_unstable_by(|a, b| before(&a.0, &b.0).then_with(|| a.1.cmp(&b.1)));
        if members.len() <= limits.zset_max_listpack_entries
            && elements.longest() <= limits.zset_max_listpack_value
            && elements.expiring() == 0
        {
            let mut block = Vec::new();
            for (score, name, _) in &members {
                pack::push(&mut block, name);
                pack::push_number(&mut block, score + 0.0);
            }
            return Ok(Form::Pack(PackKind::SortedSet, block));
        }
        let mut scores = Scores::new();
        let mut outcome = Ok(());
        for (score, name, deadline_ms) in &members {
            outcome = scores.push_back(&mut self.store, self.now_ms, name, *score, *deadline_ms);
            if outcome.is_err() {
                break;
            }
        }
        let payload = Payload::Collection(Box::new(Collection::SortedSet(scores)));
        if let Err(out_of_memory) = outcome {
            self.discard(Some(External { key: None, payload }));
            return Err(out_of_memory);
        }
        Ok(Form::Outside(payload))
    }

    /// Adds a field or a member of a set that is not there. Nothing changes on failure.
    pub(super) fn insert_element(
        &mut self,
        members: &mut Members,
        element: &Element<'_>,
    ) -> Result<(), OutOfMemory> {
        let name = element.name.to_vec().expect("invariant: names are strings");
        let incoming = match element.value {
            ValueRef::Int(value) => Incoming::Int(value),
            ValueRef::Bytes(bytes) => Incoming::Bytes { bytes, raw: false },
            ValueRef::Collection(_) => unreachable!("elements are strings"),
        };
        let now_ms = self.now_ms;
        members.insert(&mut self.store, now_ms, &name, incoming, element.deadline_ms).map(|_| ())
    }

    /// A table of elements. What was made of it is freed on failure.
    fn import_members(&mut self, elements: &Elements) -> Result<Members, OutOfMemory> {
        let mut members = Members::new();
        for element in elements.iter() {
            if let Err(out_of_memory) = self.insert_element(&mut members, &element) {
                let collection = Box::new(Collection::Set(members));
                let payload = Payload::Collection(collection);
                self.discard(Some(External { key: None, payload }));
                return Err(out_of_memory);
            }
        }
        Ok(members)
    }
}

fn export_pack(kind: PackKind, block: &[u8]) -> OwnedData {
    let mut elements = Elements::with_capacity(block.len() * 2);
    match kind {
        PackKind::Hash => {
            let mut items = pack::Items::new(block);
            while let Some(field) = items.next() {
                let value = items.next().expect("invariant: a field has a value");
                elements.push_field(field.value(), value.value(), None);
            }
            OwnedData::Hash(elements)
        }
        PackKind::Set => {
            pack::Items::new(block).for_each(|member| elements.push_member(member.value(), None));
            OwnedData::Set(elements)
        }
        PackKind::IntSet => {
            intset::iter(block)
                .for_each(|member| elements.push_member(ValueRef::Int(member), None));
            OwnedData::Set(elements)
        }
        PackKind::SortedSet => {
            let mut items = pack::Items::new(block);
            while let Some(member) = items.next() {
                let score = items.next().expect("invariant: a member has a score");
                elements.push_scored(member.value(), score.number(), None);
            }
            OwnedData::SortedSet(elements)
        }
        PackKind::List => unreachable!("a list is exported whole"),
    }
}
