//! Hashes: fields with values, and a deadline for each field that has one.

use super::Collection;
use super::members::Members;
use crate::arena::Handle;
use crate::entry::PackKind;
use crate::hash::Key;
use crate::keyspace::Shard;
use crate::keyspace::open::{AccessError, Content, ContentRef, Open};
use crate::pack::{self, Encoded, Item};
use crate::random::Randoms;
use crate::store::{Incoming, OutOfMemory, Store};
use crate::table::KeySource;
use crate::value::{NewValue, ValueRef};

/// Items for a field in a small hash.
const STRIDE: usize = 2;

/// What becomes of a field's deadline when its value is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldTtl {
    /// It is taken away.
    Clear,
    /// It stays.
    Keep,
    /// It becomes this moment, in milliseconds of the Unix epoch.
    At(u64),
}

/// A look at a hash. Fields that are due are not seen.
#[derive(Clone, Copy)]
pub struct HashRef<'a> {
    form: Form<'a>,
    store: &'a Store,
    now_ms: u64,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Pack(&'a [u8]),
    Large(&'a Members),
}

impl<'a> HashRef<'a> {
    /// Number of fields, with those that are due and not removed yet. O(1) for large hashes.
    pub fn len(&self) -> usize {
        match self.form {
            Form::Pack(block) => pack::count(block) / STRIDE,
            Form::Large(members) => members.len(),
        }
    }

    /// Number of fields that are not due; `None` when it takes O(fields) to tell.
    pub fn exact_len(&self) -> Option<usize> {
        match self.form {
            Form::Large(members) if members.next_ms().is_none_or(|at| at > self.now_ms) => {
                Some(members.len())
            }
            Form::Pack(_) | Form::Large(_) => None,
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of fields that have a deadline.
    pub fn expiring(&self) -> usize {
        match self.form {
            Form::Pack(_) => 0,
            Form::Large(members) => members.expiring(),
        }
    }

    /// Whether there is a field.
    pub fn exists(&self, field: &[u8]) -> bool {
        match self.form {
            Form::Pack(block) => pack::find(block, field, STRIDE).is_some(),
            Form::Large(members) => members.look(self.store, self.now_ms, field).is_some(),
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<ValueRef<'a>> {
        match self.form {
            Form::Pack(block) => {
                let range = pack::find(block, field, STRIDE)?;
                Some(pack::item(block, range.end).0.value())
            }
            Form::Large(members) => {
                let found = members.look(self.store, self.now_ms, field)?;
                Some(self.store.value(found.handle))
            }
        }
    }

    /// A field's deadline: `None` for a missing field, `Some(None)` for one without.
    pub fn deadline(&self, field: &[u8]) -> Option<Option<u64>> {
        match self.form {
            Form::Pack(block) => pack::find(block, field, STRIDE).map(|_| None),
            Form::Large(members) => {
                let found = members.look(self.store, self.now_ms, field)?;
                Some(self.store.deadline(found.handle))
            }
        }
    }

    /// Calls `visit` with each field, its value and its deadline; O(fields).
    pub fn for_each(&self, mut visit: impl FnMut(ValueRef<'a>, ValueRef<'a>, Option<u64>)) {
        match self.form {
            Form::Pack(block) => for_each_pair(block, |field, value| visit(field, value, None)),
            Form::Large(members) => members.for_each(self.store, self.now_ms, |handle| {
                let (field, value) = self.field(handle);
                visit(field, value, self.store.deadline(handle));
            }),
        }
    }

    /// Calls `visit` with fields and values from `cursor` (0: the start) on, about `count` of them
    /// or all of a small hash; the cursor to go on from, 0 at the end. The guarantee is SCAN's.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(ValueRef<'a>, ValueRef<'a>),
    ) -> u64 {
        match self.form {
            Form::Pack(block) => {
                for_each_pair(block, visit);
                0
            }
            Form::Large(members) => {
                members.scan(self.store, self.now_ms, cursor, count, |handle| {
                    let (field, value) = self.field(handle);
                    visit(field, value);
                })
            }
        }
    }

    /// A field and its value, chosen at random; `None` when there is none that is not due.
    /// O(fields) for small hashes.
    pub fn random(&self, randoms: &mut Randoms) -> Option<(ValueRef<'a>, ValueRef<'a>)> {
        match self.form {
            Form::Pack(block) => {
                let index = randoms.below(self.len());
                let mut items = pack::Items::new(block).skip(index * STRIDE);
                Some((items.next()?.value(), items.next()?.value()))
            }
            Form::Large(members) => {
                let handle = members.draw(self.store, self.now_ms, randoms)?;
                Some(self.field(handle))
            }
        }
    }

    /// Calls `visit` with `count` different fields and their values chosen at random, in no
    /// particular order; with all when there are no more. O(fields) for small hashes and for large
    /// counts, O(count) otherwise.
    pub fn sample(
        &self,
        count: usize,
        randoms: &mut Randoms,
        mut visit: impl FnMut(ValueRef<'a>, ValueRef<'a>),
    ) {
        match self.form {
            Form::Pack(block) => {
                // Each field is taken with the chance of what is wanted of what is left.
                let (mut left, mut wanted) = (self.len(), count);
                for_each_pair(block, |field, value| {
                    if randoms.below(left) < wanted {
                        visit(field, value);
                        wanted -= 1;
                    }
                    left -= 1;
                });
            }
            Form::Large(members) => {
                members.sample(self.store, self.now_ms, count, randoms, |handle| {
                    let (field, value) = self.field(handle);
                    visit(field, value);
                });
            }
        }
    }

    fn field(&self, handle: Handle) -> (ValueRef<'a>, ValueRef<'a>) {
        (ValueRef::Bytes(self.store.key(handle)), self.store.value(handle))
    }
}

fn for_each_pair<'a>(block: &'a [u8], mut visit: impl FnMut(ValueRef<'a>, ValueRef<'a>)) {
    let mut items = pack::Items::new(block);
    while let Some(field) = items.next() {
        let value = items.next().expect("invariant: a field has a value");
        visit(field.value(), value.value());
    }
}

/// A hash that is being changed.
pub struct HashMut<'o, 'a> {
    open: &'o mut Open<'a>,
}

impl HashMut<'_, '_> {
    /// A look at it.
    pub fn view(&self) -> HashRef<'_> {
        let form = match &self.open.content {
            Content::Pack(_, block) => Form::Pack(block),
            Content::Large(collection) => Form::Large(fields_of(collection)),
        };
        HashRef { form, store: self.open.store, now_ms: self.open.now_ms }
    }

    /// Records an event of this name once the change is done, before the key goes with its last
    /// field.
    pub fn event(&mut self, name: &'static str) {
        self.open.event(name);
    }

    /// Sets a field; whether it is new. A deadline that has passed makes the field due.
    pub fn set(
        &mut self,
        field: &[u8],
        value: NewValue<'_>,
        ttl: FieldTtl,
    ) -> Result<bool, OutOfMemory> {
        self.open.changed = true;
        let len = match value {
            NewValue::Bytes(bytes) | NewValue::Text(bytes) => bytes.len(),
            NewValue::Int(_) => 0,
        };
        let limits = self.open.limits;
        if field.len().max(len) > limits.hash_max_listpack_value || matches!(ttl, FieldTtl::At(_)) {
            self.enlarge()?;
        }
        if let Content::Pack(_, block) = &mut self.open.content {
            let name = Encoded::new(field);
            match pack::search(block, name.bytes(), STRIDE) {
                Ok(range) => {
                    let old = range.end..pack::end_of(block, range.end);
                    pack::replace(block, old, encoded(value).bytes());
                    return Ok(false);
                }
                Err(fields) if fields < limits.hash_max_listpack_entries => {
                    block.extend_from_slice(name.bytes());
                    block.extend_from_slice(encoded(value).bytes());
                    return Ok(true);
                }
                Err(_) => {}
            }
        }
        self.enlarge()?;
        self.set_large(field, value, ttl)
    }

    fn set_large(
        &mut self,
        field: &[u8],
        value: NewValue<'_>,
        ttl: FieldTtl,
    ) -> Result<bool, OutOfMemory> {
        let Open { content, store, now_ms, freed, .. } = &mut *self.open;
        let Content::Large(collection) = content else { unreachable!("it was made large") };
        let members = fields_of_mut(collection);
        let incoming = Incoming::new(value);
        let hash = store.hasher.hash(field);
        let Some(found) = members.find_hashed(store, hash, field) else {
            let deadline = match ttl {
                FieldTtl::At(deadline) => Some(deadline),
                FieldTtl::Clear | FieldTtl::Keep => None,
            };
            members.insert_hashed(store, *now_ms, (hash, field), incoming, deadline)?;
            return Ok(true);
        };
        let old = store.deadline(found.handle);
        let is_due = old.is_some_and(|deadline| deadline <= *now_ms);
        let deadline = match ttl {
            FieldTtl::At(deadline) => Some(deadline),
            FieldTtl::Keep if !is_due => old,
            FieldTtl::Keep | FieldTtl::Clear => None,
        };
        members.replace_named(store, *now_ms, (hash, field), found, incoming, deadline, freed)?;
        if is_due {
            self.open.note_due(field);
        }
        Ok(is_due)
    }

    /// Removes a field; whether it existed.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Open { content, store, now_ms, freed, .. } = &mut *self.open;
        let removed = match content {
            Content::Pack(_, block) => match pack::find(block, field, STRIDE) {
                None => false,
                Some(range) => {
                    block.drain(range.start..pack::end_of(block, range.end));
                    true
                }
            },
            Content::Large(collection) => {
                let members = fields_of_mut(collection);
                match members.look(store, *now_ms, field) {
                    None => false,
                    Some(found) => {
                        members.remove(store, found, freed);
                        true
                    }
                }
            }
        };
        self.open.changed |= removed;
        removed
    }

    /// Removes a field because its moment has passed; whether it existed.
    pub fn expire(&mut self, field: &[u8]) -> bool {
        let removed = self.remove(field);
        self.open.expired += usize::from(removed);
        removed
    }

    /// Gives a field another deadline or none; whether the field exists.
    pub fn set_deadline(
        &mut self,
        field: &[u8],
        deadline_ms: Option<u64>,
    ) -> Result<bool, OutOfMemory> {
        let Some(old) = self.view().deadline(field) else {
            return Ok(false);
        };
        if old == deadline_ms {
            return Ok(true);
        }
        self.enlarge()?;
        let Open { content, store, now_ms, .. } = &mut *self.open;
        let Content::Large(collection) = content else { unreachable!("it was made large") };
        let members = fields_of_mut(collection);
        let found = members.find(store, field).expect("invariant: it was seen just now");
        members.set_deadline(store, *now_ms, found, deadline_ms)?;
        self.open.changed = true;
        Ok(true)
    }

    /// Makes it a large hash, if it is not.
    fn enlarge(&mut self) -> Result<(), OutOfMemory> {
        let Open { content, store, now_ms, .. } = &mut *self.open;
        let Content::Pack(_, block) = content else { return Ok(()) };
        let mut members = Members::new();
        let mut items = pack::Items::new(block);
        while let Some(field) = items.next() {
            let value = items.next().expect("invariant: a field has a value");
            let name = field.value().to_vec().expect("invariant: a field is a string");
            members.insert(store, *now_ms, &name, incoming_of(value), None)?;
        }
        *content = Content::Large(Box::new(Collection::Hash(members)));
        Ok(())
    }
}

fn incoming_of(item: Item<'_>) -> Incoming<'_> {
    match item {
        Item::Int(value) => Incoming::Int(value),
        Item::Bytes(bytes) => Incoming::Bytes { bytes, raw: false },
        Item::Float(_) => unreachable!("a string was written here"),
    }
}

fn encoded(value: NewValue<'_>) -> Encoded {
    match value {
        NewValue::Int(value) => Encoded::of_int(value),
        NewValue::Bytes(bytes) | NewValue::Text(bytes) => Encoded::new(bytes),
    }
}

fn fields_of(collection: &Collection) -> &Members {
    match collection {
        Collection::Hash(members) => members,
        _ => unreachable!("a hash was opened"),
    }
}

fn fields_of_mut(collection: &mut Collection) -> &mut Members {
    match collection {
        Collection::Hash(members) => members,
        _ => unreachable!("a hash was opened"),
    }
}

impl Shard {
    /// A look at the hash at a key, `None` for a missing key. `touch` notes the access and removes
    /// the key when it is due.
    pub fn hash_at(
        &mut self,
        db: u32,
        key: &Key<'_>,
        touch: bool,
    ) -> Result<Option<HashRef<'_>>, AccessError> {
        let now_ms = self.due_ms();
        let Some((content, store)) = self.content(db, key, touch) else { return Ok(None) };
        let form = match content {
            ContentRef::Pack(PackKind::Hash, block) => Form::Pack(block),
            ContentRef::Collection(Collection::Hash(members)) => Form::Large(members),
            _ => return Err(AccessError::WrongType),
        };
        Ok(Some(HashRef { form, store, now_ms }))
    }

    /// Changes the hash at a key, which is made with its first field and removed with its last.
    /// Records `New`, the events that `change` names, `Modified` and `Deleted`.
    pub fn update_hash<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        change: impl FnOnce(&mut HashMut<'_, '_>) -> R,
    ) -> Result<R, AccessError> {
        self.update(db, key, PackKind::Hash, |open| change(&mut HashMut { open }))
    }
}
