//! The entries of a shard, wherever their parts lie: the arena, and the slab for what is outside.

use std::sync::Arc;

use crate::arena::{Arena, BLOCK_BYTES_MAX, Handle};
use crate::entry::{self, Entry, EntrySpec, KEY_INLINE_MAX, Kind, PackKind};
use crate::external::{External, Externals};
use crate::hash::KeyHasher;
use crate::keyspace::open::ContentRef;
use crate::table::KeySource;
use crate::value::{LargeString, NewValue, Payload, ValueRef};
use crate::value::{encoding_name, is_too_long_for_embstr, parse_canonical_int};

/// A copy of a shorter string costs less than to share it.
const SHARED_BYTES_MIN: usize = 16 << 10;

/// The memory of the shard is exhausted: the arena's reach, or the names of outside values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("the shard's memory is exhausted")
    }
}

impl std::error::Error for OutOfMemory {}

/// A value on its way into an entry.
pub(crate) enum Incoming<'a> {
    Int(i64),
    Bytes {
        bytes: &'a [u8],
        raw: bool,
    },
    /// A small collection, of at most [`BLOCK_BYTES_MAX`] bytes.
    Pack {
        kind: PackKind,
        bytes: &'a [u8],
    },
    /// What is to lie outside, but for a string that is short enough not to.
    Owned {
        payload: Payload,
        raw: bool,
    },
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(value: NewValue<'a>) -> Self {
        match value {
            NewValue::Int(value) => Self::Int(value),
            NewValue::Text(bytes) => Self::Bytes { bytes, raw: false },
            NewValue::Bytes(bytes) => match parse_canonical_int(bytes) {
                Some(value) => Self::Int(value),
                None => Self::Bytes { bytes, raw: false },
            },
        }
    }
}

/// The bytes of a string that could lie in an entry.
fn short_string(payload: &Payload) -> Option<&[u8]> {
    match payload {
        Payload::String(text) if text.bytes.len() < BLOCK_BYTES_MAX => Some(&text.bytes),
        _ => None,
    }
}

/// What every entry has besides its value.
#[derive(Clone, Copy)]
pub(crate) struct EntryHead<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) deadline: Option<u64>,
    pub(crate) stamp: u16,
}

/// The store. Entries are made, read and released here; the table only names them.
pub(crate) struct Store {
    pub(crate) arena: Arena,
    pub(crate) externals: Externals,
    pub(crate) hasher: KeyHasher,
    /// The phase of entries that the last snapshot has, or that came after its cut.
    pub(crate) phase: bool,
}

impl KeySource for Store {
    #[inline]
    fn hash(&self, handle: Handle) -> u64 {
        self.hasher.hash(self.key(handle))
    }

    #[inline]
    fn deadline(&self, handle: Handle) -> Option<u64> {
        self.entry(handle).deadline()
    }

    #[inline]
    fn address(&self, handle: Handle) -> *const u8 {
        self.arena.address(handle)
    }
}

impl Store {
    #[inline]
    pub(crate) fn entry(&self, handle: Handle) -> Entry<'_> {
        Entry::new(self.arena.block(handle))
    }

    /// The key of an entry.
    #[inline]
    pub(crate) fn key(&self, handle: Handle) -> &[u8] {
        let entry = self.entry(handle);
        entry.key().unwrap_or_else(|| {
            let key = self.externals.get(entry.external()).key.as_deref();
            key.expect("invariant: a key outside lies in the external part")
        })
    }

    /// Whether an entry's key is this one.
    #[inline]
    pub(crate) fn is_key(&self, handle: Handle, key: &[u8]) -> bool {
        match self.entry(handle).key() {
            Some(inline) => inline == key,
            None => self.key(handle) == key,
        }
    }

    /// The value of an entry.
    #[inline]
    pub(crate) fn value(&self, handle: Handle) -> ValueRef<'_> {
        let entry = self.entry(handle);
        match entry.kind() {
            Kind::String => ValueRef::Bytes(entry.value()),
            Kind::Int => ValueRef::Int(entry.int()),
            Kind::External => self.externals.get(entry.external()).payload.value(),
            Kind::Pack(kind) => ValueRef::Collection(kind.value_type()),
        }
    }

    /// The name of an entry's encoding.
    pub(crate) fn encoding_name(&self, handle: Handle) -> &'static str {
        match self.content(handle) {
            ContentRef::String => encoding_name(self.value(handle), self.entry(handle).is_raw()),
            ContentRef::Pack(kind, _) => kind.encoding_name(),
            ContentRef::Collection(collection) => collection.encoding_name(),
        }
    }

    /// Bytes that an entry takes, in the arena and outside.
    pub(crate) fn entry_bytes(&self, handle: Handle) -> usize {
        let entry = self.entry(handle);
        let outside = match entry.kind() {
            Kind::External => {
                let external = self.externals.get(entry.external());
                size_of::<External>() + external.memory() + external.element_bytes()
            }
            Kind::String | Kind::Int | Kind::Pack(_) => 0,
        };
        self.arena.block_bytes(handle) + outside
    }

    /// Bytes of an entry's key and value that lie outside it; for a collection, without those of
    /// its elements.
    #[inline]
    pub(crate) fn outside_bytes(&self, handle: Handle) -> usize {
        self.external_of(handle).map_or(0, |cell| self.externals.get(cell).memory())
    }

    /// The bytes of a string that lies outside its entry and is long, for whoever wants to have
    /// them without a copy: the store copies them before it changes them. O(1).
    pub(crate) fn share_text(&mut self, handle: Handle) -> Option<Arc<Vec<u8>>> {
        let cell = self.external_of(handle)?;
        match &mut self.externals.get_mut(cell).payload {
            Payload::String(text) if text.bytes.len() >= SHARED_BYTES_MIN => {
                Some(Arc::clone(text.bytes.share()))
            }
            _ => None,
        }
    }

    /// Makes an entry. With `reuse`, that entry's block is used when it is of the right size, and
    /// is freed otherwise; its part outside is left to the caller. Nothing changes on failure.
    pub(crate) fn write(
        &mut self,
        head: EntryHead<'_>,
        incoming: Incoming<'_>,
        reuse: Option<Handle>,
    ) -> Result<Handle, OutOfMemory> {
        if let Incoming::Owned { payload, raw } = &incoming
            && let Some(bytes) = short_string(payload)
        {
            return self.write(head, Incoming::Bytes { bytes, raw: *raw }, reuse);
        }
        let is_key_inline = head.key.len() <= KEY_INLINE_MAX;
        let mut int = ([0; 8], 0);
        let mut spec = EntrySpec {
            kind: Kind::Int,
            raw: false,
            phase: self.phase,
            stamp: head.stamp,
            deadline: head.deadline,
            key: is_key_inline.then_some(head.key),
            value: &[],
        };
        let outside = match incoming {
            Incoming::Int(value) if is_key_inline => {
                int = entry::int_bytes(value);
                None
            }
            Incoming::Int(value) => Some(Payload::Int(value)),
            Incoming::Bytes { bytes, raw } => {
                let too_long = is_too_long_for_embstr(head.key, bytes, head.deadline.is_some());
                (spec.kind, spec.raw, spec.value) = (Kind::String, raw || too_long, bytes);
                let fits = is_key_inline && spec.size() <= BLOCK_BYTES_MAX;
                (!fits).then(|| Payload::String(LargeString::new(bytes.to_vec())))
            }
            Incoming::Pack { kind, bytes } => {
                (spec.kind, spec.value) = (Kind::Pack(kind), bytes);
                let fits = is_key_inline && spec.size() <= BLOCK_BYTES_MAX;
                (!fits).then(|| Payload::Pack(kind, bytes.to_vec()))
            }
            Incoming::Owned { payload, raw } => {
                // A string that is not short is always reported so.
                spec.raw = raw || matches!(payload, Payload::String(_));
                Some(payload)
            }
        };
        if let Some(payload) = outside {
            let key = (!is_key_inline).then(|| head.key.into());
            let cell = self.externals.insert(External { key, payload }).ok_or(OutOfMemory)?;
            spec.kind = Kind::External;
            let name = cell.to_le_bytes();
            spec.value = &name;
            let written = self.write_block(&spec, reuse);
            if written.is_err() {
                self.externals.remove(cell);
            }
            return written;
        }
        if spec.kind == Kind::Int {
            spec.value = &int.0[..int.1];
        }
        self.write_block(&spec, reuse)
    }

    fn write_block(
        &mut self,
        spec: &EntrySpec<'_>,
        reuse: Option<Handle>,
    ) -> Result<Handle, OutOfMemory> {
        let size = spec.size();
        if let Some(handle) = reuse
            && self.arena.block_bytes(handle) == Arena::rounded(size)
        {
            spec.write(self.arena.block_mut(handle));
            return Ok(handle);
        }
        let handle = self.arena.alloc(size).ok_or(OutOfMemory)?;
        spec.write(self.arena.block_mut(handle));
        if let Some(old) = reuse {
            self.arena.free(old);
        }
        Ok(handle)
    }

    /// The cell of an entry that has a part outside.
    pub(crate) fn external_of(&self, handle: Handle) -> Option<u32> {
        let entry = self.entry(handle);
        (entry.kind() == Kind::External).then(|| entry.external())
    }

    /// Frees an entry; its part outside is returned for the caller to drop in its own time.
    pub(crate) fn release(&mut self, handle: Handle) -> Option<External> {
        let external = self.external_of(handle).map(|cell| self.externals.remove(cell));
        self.arena.free(handle);
        external
    }

    /// Gives an entry another deadline or none; the entry's handle afterwards. Nothing changes on
    /// failure.
    pub(crate) fn set_deadline(
        &mut self,
        handle: Handle,
        deadline: Option<u64>,
    ) -> Result<Handle, OutOfMemory> {
        let block = self.arena.block(handle);
        let entry = Entry::new(block);
        if let (Some(_), Some(deadline)) = (entry.deadline(), deadline) {
            entry::set_deadline(self.arena.block_mut(handle), deadline);
            return Ok(handle);
        }
        let (kind, raw, stamp) = (entry.kind(), entry.is_raw(), entry.stamp());
        let mut copy = [0; BLOCK_BYTES_MAX];
        let copy = &mut copy[..block.len()];
        copy.copy_from_slice(block);
        let entry = Entry::new(copy);
        let (key, value) = (entry.key(), entry.value());
        let raw = raw
            || kind == Kind::String
                && is_too_long_for_embstr(key.unwrap_or_default(), value, deadline.is_some());
        let spec = EntrySpec { kind, raw, phase: self.phase, stamp, deadline, key, value };
        if spec.size() <= BLOCK_BYTES_MAX {
            return self.write_block(&spec, Some(handle));
        }
        // The deadline pushes the value out of the entry.
        let key = entry.key().expect("invariant: a long entry has its key inside");
        let head = EntryHead { key, deadline, stamp };
        let incoming = match kind {
            Kind::Pack(kind) => Incoming::Pack { kind, bytes: value },
            _ => Incoming::Bytes { bytes: value, raw },
        };
        self.write(head, incoming, Some(handle))
    }

    /// Makes a string outside its entry ready to be written to, with at least `len` bytes; false
    /// when the value is no string but an integer under a long key.
    pub(crate) fn resize_external(&mut self, handle: Handle, len: usize) -> bool {
        let Some(cell) = self.external_of(handle) else {
            return false;
        };
        self.externals.update(cell, |external| match &mut external.payload {
            Payload::String(text) => {
                text.grow(len);
                true
            }
            _ => false,
        })
    }

    /// The bytes of a string for writing; it is reported as changed in place from now on. The entry
    /// must hold a string and not an integer.
    pub(crate) fn string_mut(&mut self, handle: Handle) -> &mut [u8] {
        let block = self.arena.block_mut(handle);
        entry::set_raw(block);
        let Some(cell) = self.external_of(handle) else {
            let block = self.arena.block_mut(handle);
            let range = entry::value_range(block);
            return &mut block[range];
        };
        match &mut self.externals.get_mut(cell).payload {
            Payload::String(text) => text.bytes.to_mut(),
            _ => unreachable!("an integer was turned into text before"),
        }
    }

    /// Whether the last snapshot has this entry, or it came after its cut.
    #[inline]
    pub(crate) fn is_saved(&self, handle: Handle) -> bool {
        self.entry(handle).phase() == self.phase
    }

    /// Notes that the snapshot has this entry.
    pub(crate) fn mark_saved(&mut self, handle: Handle) {
        entry::set_phase(self.arena.block_mut(handle), self.phase);
    }

    pub(crate) fn set_stamp(&mut self, handle: Handle, stamp: u16) {
        entry::set_stamp(self.arena.block_mut(handle), stamp);
    }
}
