//! Sets: distinct members, and a deadline for each member that has one.

use super::Collection;
use super::members::Members;
use crate::arena::Handle;
use crate::entry::PackKind;
use crate::hash::Key;
use crate::intset;
use crate::keyspace::Shard;
use crate::keyspace::open::{AccessError, Content, ContentRef, Open};
use crate::pack;
use crate::random::Randoms;
use crate::store::{Incoming, OutOfMemory, Store};
use crate::table::KeySource;
use crate::value::{ValueRef, parse_canonical_int};

/// The longest text of a 64-bit integer.
const INT_TEXT_MAX: usize = 20;

/// A look at a set. Members that are due are not seen.
#[derive(Clone, Copy)]
pub struct SetRef<'a> {
    form: Form<'a>,
    store: &'a Store,
    now_ms: u64,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Ints(&'a [u8]),
    Pack(&'a [u8]),
    Large(&'a Members),
}

impl<'a> Form<'a> {
    fn of_pack(kind: PackKind, block: &'a [u8]) -> Option<Self> {
        match kind {
            PackKind::IntSet => Some(Self::Ints(block)),
            PackKind::Set => Some(Self::Pack(block)),
            PackKind::Hash | PackKind::SortedSet | PackKind::List => None,
        }
    }
}

impl<'a> SetRef<'a> {
    /// Members that are visited or looked for together.
    pub const CHUNK: usize = 32;

    fn of(found: (ContentRef<'a>, &'a Store), now_ms: u64) -> Result<Self, AccessError> {
        let (content, store) = found;
        let form = match content {
            ContentRef::Pack(kind, block) => Form::of_pack(kind, block),
            ContentRef::Collection(Collection::Set(members)) => Some(Form::Large(members)),
            ContentRef::String | ContentRef::Collection(_) => None,
        };
        Ok(Self { form: form.ok_or(AccessError::WrongType)?, store, now_ms })
    }

    /// Number of members, with those that are due and not removed yet. O(1) but for small sets of
    /// strings.
    pub fn len(&self) -> usize {
        match self.form {
            Form::Ints(block) => intset::len(block),
            Form::Pack(block) => pack::count(block),
            Form::Large(members) => members.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of members that have a deadline.
    pub fn expiring(&self) -> usize {
        match self.form {
            Form::Ints(_) | Form::Pack(_) => 0,
            Form::Large(members) => members.expiring(),
        }
    }

    /// Whether `member` is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.form {
            Form::Ints(block) => parse_canonical_int(member)
                .is_some_and(|value| intset::search(block, value).is_ok()),
            Form::Pack(block) => pack::find(block, member, 1).is_some(),
            Form::Large(members) => members.look(self.store, self.now_ms, member).is_some(),
        }
    }

    /// A member's deadline: `None` for a missing member, `Some(None)` for one without.
    pub fn deadline(&self, member: &[u8]) -> Option<Option<u64>> {
        match self.form {
            Form::Ints(_) | Form::Pack(_) => self.contains(member).then_some(None),
            Form::Large(members) => {
                let found = members.look(self.store, self.now_ms, member)?;
                Some(self.store.deadline(found.handle))
            }
        }
    }

    /// Calls `visit` with each member until it returns false; O(members).
    pub fn for_each(&self, mut visit: impl FnMut(ValueRef<'a>) -> bool) {
        match self.form {
            Form::Ints(block) => {
                intset::iter(block).map(ValueRef::Int).all(visit);
            }
            Form::Pack(block) => {
                pack::Items::new(block).all(|member| visit(member.value()));
            }
            Form::Large(members) => {
                let mut goes_on = true;
                members.for_each(self.store, self.now_ms, |handle| {
                    goes_on = goes_on && visit(self.member(handle));
                });
            }
        }
    }

    /// Calls `visit` with members, up to [`SetRef::CHUNK`] at a time, until it returns false;
    /// O(members).
    pub fn for_each_chunk(&self, mut visit: impl FnMut(&[ValueRef<'a>]) -> bool) {
        let mut chunk = Vec::with_capacity(Self::CHUNK);
        let mut goes_on = true;
        self.for_each(|member| {
            chunk.push(member);
            if chunk.len() == Self::CHUNK {
                goes_on = visit(&chunk);
                chunk.clear();
            }
            goes_on
        });
        if goes_on && !chunk.is_empty() {
            visit(&chunk);
        }
    }

    /// Which of a chunk of `members` are in the set, as bits; only those are looked for whose bits
    /// are in `asked`. Their cache misses overlap, so that it takes a fraction of the time of as
    /// many calls of [`SetRef::contains`] in a large set.
    pub fn contains_each(&self, members: &[ValueRef<'_>], asked: u32) -> u32 {
        assert!(members.len() <= Self::CHUNK, "a chunk has a bit for each member");
        let asked = (0..members.len()).filter(|at| asked >> at & 1 == 1);
        let mut found = 0;
        let mut note = |at: usize, is_there: Option<bool>| {
            found |= u32::from(is_there.unwrap_or(false)) << at;
        };
        let Form::Large(table) = self.form else {
            for at in asked {
                note(at, members[at].with_bytes(|name| self.contains(name)));
            }
            return found;
        };
        let mut hashes = [0; Self::CHUNK];
        for at in asked.clone() {
            let hash = members[at].with_bytes(|name| self.store.hasher.hash(name));
            hashes[at] = hash.unwrap_or(0);
            table.prefetch_slot(hashes[at]);
        }
        for at in asked.clone() {
            table.prefetch_entry(self.store, hashes[at]);
        }
        for at in asked {
            note(
                at,
                members[at].with_bytes(|name| {
                    table.look_hashed(self.store, self.now_ms, hashes[at], name).is_some()
                }),
            );
        }
        found
    }

    /// Calls `visit` with members from `cursor` (0: the start) on, about `count` of them or all of
    /// a small set; the cursor to go on from, 0 at the end. The guarantee is SCAN's.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(ValueRef<'a>)) -> u64 {
        match self.form {
            Form::Ints(_) | Form::Pack(_) => {
                self.for_each(|member| {
                    visit(member);
                    true
                });
                0
            }
            Form::Large(members) => {
                members.scan(self.store, self.now_ms, cursor, count, |handle| {
                    visit(self.member(handle));
                })
            }
        }
    }

    /// A member chosen at random; `None` when there is none that is not due. O(members) for small
    /// sets of strings.
    pub fn random(&self, randoms: &mut Randoms) -> Option<ValueRef<'a>> {
        match self.form {
            Form::Ints(block) => {
                let count = intset::len(block);
                (count > 0).then(|| ValueRef::Int(intset::at(block, randoms.below(count))))
            }
            Form::Pack(block) => {
                let count = pack::count(block);
                let index = (count > 0).then(|| randoms.below(count))?;
                pack::Items::new(block).nth(index).map(pack::Item::value)
            }
            Form::Large(members) => {
                members.draw(self.store, self.now_ms, randoms).map(|handle| self.member(handle))
            }
        }
    }

    /// Calls `visit` with `count` different members chosen at random, in no particular order; with
    /// all when there are no more. O(members) for small sets and for large counts, O(count)
    /// otherwise.
    pub fn sample(&self, count: usize, randoms: &mut Randoms, mut visit: impl FnMut(ValueRef<'a>)) {
        match self.form {
            Form::Ints(_) | Form::Pack(_) => {
                // Each member is taken with the chance of what is wanted of what is left.
                let (mut left, mut wanted) = (self.len(), count);
                self.for_each(|member| {
                    if randoms.below(left) < wanted {
                        visit(member);
                        wanted -= 1;
                    }
                    left -= 1;
                    wanted > 0
                });
            }
            Form::Large(members) => {
                members.sample(self.store, self.now_ms, count, randoms, |handle| {
                    visit(self.member(handle));
                });
            }
        }
    }

    fn member(&self, handle: Handle) -> ValueRef<'a> {
        ValueRef::Bytes(self.store.key(handle))
    }
}

/// A set that is being changed.
pub struct SetMut<'o, 'a> {
    open: &'o mut Open<'a>,
}

impl SetMut<'_, '_> {
    /// A look at it.
    pub fn view(&self) -> SetRef<'_> {
        let form = match &self.open.content {
            Content::Pack(kind, block) => {
                Form::of_pack(*kind, block).expect("invariant: a set was opened")
            }
            Content::Large(collection) => Form::Large(members_of(collection)),
        };
        SetRef { form, store: self.open.store, now_ms: self.open.now_ms }
    }

    /// Records an event of this name once the change is done, before the key goes with its last
    /// member.
    pub fn event(&mut self, name: &'static str) {
        self.open.event(name);
    }

    /// Makes the set large at once when `members` more are too many for a small one, as the peers
    /// do before they add several.
    pub fn expect_members(&mut self, members: usize) -> Result<(), OutOfMemory> {
        let limits = self.open.limits;
        let most = match &self.open.content {
            Content::Pack(_, block) if block.is_empty() => return Ok(()),
            Content::Pack(PackKind::IntSet, _) => limits.set_max_intset_entries,
            Content::Pack(..) => limits.set_max_listpack_entries,
            Content::Large(_) => return Ok(()),
        };
        if members > most { self.enlarge() } else { Ok(()) }
    }

    /// Adds a member; whether it is new. `expected` is how many are about to be added with this
    /// one, which the form of a new set depends on, as in the peers.
    pub fn add(&mut self, member: &[u8], expected: usize) -> Result<bool, OutOfMemory> {
        let value = parse_canonical_int(member);
        let limits = self.open.limits;
        if let Content::Pack(kind, block) = &mut self.open.content
            && block.is_empty()
        {
            let fits = |most: usize| expected <= most;
            if value.is_some() && fits(limits.set_max_intset_entries) {
                *kind = PackKind::IntSet;
            } else if fits(limits.set_max_listpack_entries) {
                *kind = PackKind::Set;
            } else {
                self.enlarge()?;
            }
        }
        let added = match (&mut self.open.content, value) {
            (Content::Pack(PackKind::IntSet, block), Some(value)) => {
                let added = intset::insert(block, value);
                if intset::len(block) > limits.set_max_intset_entries {
                    self.enlarge()?;
                }
                added
            }
            (Content::Pack(PackKind::IntSet, block), None) => {
                let ints = intset::len(block);
                if ints < limits.set_max_listpack_entries
                    && member.len().max(longest(block)) <= limits.set_max_listpack_value
                {
                    self.open.content = Content::Pack(PackKind::Set, packed(block));
                } else {
                    self.enlarge()?;
                }
                self.add_string(member)?
            }
            _ => self.add_string(member)?,
        };
        self.open.changed |= added;
        Ok(added)
    }

    /// Adds a member to a set that is not one of integers.
    fn add_string(&mut self, member: &[u8]) -> Result<bool, OutOfMemory> {
        let limits = self.open.limits;
        if let Content::Pack(_, block) = &mut self.open.content {
            if pack::find(block, member, 1).is_some() {
                return Ok(false);
            }
            if member.len() <= limits.set_max_listpack_value
                && pack::count(block) < limits.set_max_listpack_entries
            {
                pack::push(block, member);
                return Ok(true);
            }
            self.enlarge()?;
        }
        let Open { content, store, now_ms, freed, .. } = &mut *self.open;
        let Content::Large(collection) = content else { unreachable!("it was made large") };
        let members = members_of_mut(collection);
        let hash = store.hasher.hash(member);
        let found = members.find_hashed(store, hash, member);
        if let Some(found) = found {
            let is_due = store.deadline(found.handle).is_some_and(|deadline| deadline <= *now_ms);
            if !is_due {
                return Ok(false);
            }
            members.remove(store, found, freed);
        }
        members.insert_hashed(store, *now_ms, (hash, member), NOTHING, None)?;
        if found.is_some() {
            self.open.note_due(member);
        }
        Ok(true)
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        let Open { content, store, now_ms, freed, .. } = &mut *self.open;
        let removed = match content {
            Content::Pack(PackKind::IntSet, block) => {
                parse_canonical_int(member).is_some_and(|value| intset::remove(block, value))
            }
            Content::Pack(_, block) => {
                let found = pack::find(block, member, 1);
                found.map(|range| block.drain(range)).is_some()
            }
            Content::Large(collection) => {
                let members = members_of_mut(collection);
                let found = members.look(store, *now_ms, member);
                found.map(|found| members.remove(store, found, freed)).is_some()
            }
        };
        self.open.changed |= removed;
        removed
    }

    /// Removes a member because its moment has passed; whether it existed.
    pub fn expire(&mut self, member: &[u8]) -> bool {
        let removed = self.remove(member);
        self.open.expired += usize::from(removed);
        removed
    }

    /// Takes a member out that is chosen at random; `None` when there is none that is not due.
    pub fn pop(&mut self, randoms: &mut Randoms) -> Option<Vec<u8>> {
        let member = self.view().random(randoms)?.to_vec()?;
        self.remove(&member);
        Some(member)
    }

    /// Gives a member another deadline or none; whether the member exists.
    pub fn set_deadline(
        &mut self,
        member: &[u8],
        deadline_ms: Option<u64>,
    ) -> Result<bool, OutOfMemory> {
        let Some(old) = self.view().deadline(member) else {
            return Ok(false);
        };
        if old == deadline_ms {
            return Ok(true);
        }
        self.enlarge()?;
        let Open { content, store, now_ms, .. } = &mut *self.open;
        let Content::Large(collection) = content else { unreachable!("it was made large") };
        let members = members_of_mut(collection);
        let found = members.find(store, member).expect("invariant: it was seen just now");
        members.set_deadline(store, *now_ms, found, deadline_ms)?;
        self.open.changed = true;
        Ok(true)
    }

    /// Makes it a large set, if it is not.
    fn enlarge(&mut self) -> Result<(), OutOfMemory> {
        let Open { content, store, now_ms, .. } = &mut *self.open;
        let Content::Pack(kind, block) = content else { return Ok(()) };
        let mut members = Members::new();
        let form = Form::of_pack(*kind, block).expect("invariant: a set was opened");
        let mut names: Vec<Vec<u8>> = Vec::new();
        SetRef { form, store, now_ms: *now_ms }.for_each(|member| {
            names.extend(member.to_vec());
            true
        });
        for name in names {
            members.insert(store, *now_ms, &name, NOTHING, None)?;
        }
        *content = Content::Large(Box::new(Collection::Set(members)));
        Ok(())
    }
}

/// What a member's entry has for a value.
const NOTHING: Incoming<'static> = Incoming::Bytes { bytes: b"", raw: false };

/// The length of the longest member of a set of integers, as text.
fn longest(ints: &[u8]) -> usize {
    let len = |value: Option<i64>| value.map_or(0, |value| itoa::Buffer::new().format(value).len());
    let mut values = intset::iter(ints);
    let (least, greatest) = (values.next(), values.next_back());
    len(least).max(len(greatest)).min(INT_TEXT_MAX)
}

/// A set of integers as one of strings.
fn packed(ints: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    intset::iter(ints).for_each(|value| pack::push_int(&mut block, value));
    block
}

fn members_of(collection: &Collection) -> &Members {
    match collection {
        Collection::Set(members) => members,
        _ => unreachable!("a set was opened"),
    }
}

fn members_of_mut(collection: &mut Collection) -> &mut Members {
    match collection {
        Collection::Set(members) => members,
        _ => unreachable!("a set was opened"),
    }
}

impl Shard {
    /// A look at the set at a key, `None` for a missing key. `touch` notes the access and removes
    /// the key when it is due.
    pub fn set_at(
        &mut self,
        db: u32,
        key: &Key<'_>,
        touch: bool,
    ) -> Result<Option<SetRef<'_>>, AccessError> {
        let now_ms = self.due_ms();
        self.content(db, key, touch).map(|found| SetRef::of(found, now_ms)).transpose()
    }

    /// As [`Shard::set_at`], without noting the access: several sets can be looked at together.
    pub fn peek_set(&self, db: u32, key: &Key<'_>) -> Result<Option<SetRef<'_>>, AccessError> {
        let now_ms = self.due_ms();
        self.peek_content(db, key).map(|found| SetRef::of(found, now_ms)).transpose()
    }

    /// Changes the set at a key, which is made with its first member and removed with its last.
    /// Records `New`, the events that `change` names, `Modified` and `Deleted`.
    pub fn update_set<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        change: impl FnOnce(&mut SetMut<'_, '_>) -> R,
    ) -> Result<R, AccessError> {
        self.update(db, key, PackKind::Set, |open| change(&mut SetMut { open }))
    }
}
