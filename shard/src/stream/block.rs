//! A block: entries that follow one another, packed.
//!
//! ```text
//! block = field count | field ...          the master fields: those of the first entry ever put in
//!         entry ...
//! entry = tag | [ms delta] [seq] | [pair count] | [field] value ...
//! tag   = bit 0: the fields are the master fields, and only values follow
//!         bits 1-2: how the identifier follows from the entry before:
//!           0 its sequence number plus one      1 ms plus 1 + bits 3-7, sequence 0
//!           2 ms plus delta, sequence given     3 ms plus delta, sequence 0
//! ```
//!
//! So an entry of a known form costs one byte beside its values' lengths (one byte each below 128)
//! when it follows in the same millisecond or within 32. The identifier of a block's first entry
//! lies beside the bytes, so that entries can be cut off at the front and what follows stays as it
//! is.

use super::Id;
use super::bytes::{number_len, put_number, put_text, take_byte, take_number, take_text, text_len};

const MASTER_FIELDS: u8 = 1;
const NEXT_SEQ: u8 = 0;
const SMALL_MS: u8 = 1 << 1;
const MS_AND_SEQ: u8 = 2 << 1;
const MS_DELTA: u8 = 3 << 1;
const FORM: u8 = 3 << 1;
const SMALL_SHIFT: u32 = 3;
const SMALL_MAX: u64 = 32;
/// The greatest header: tag, two numbers.
const HEADER_MAX: usize = 21;
/// What a new block reserves.
const RESERVE_MIN: usize = 64;

/// Field and value pairs of an entry that is to be stored.
pub trait Pairs<'a>: ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone {}

impl<'a, T: ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone> Pairs<'a> for T {}

/// The block. Looking something up walks it; everything is O(its bytes).
#[derive(Debug)]
pub(super) struct Block {
    data: Vec<u8>,
    first: Id,
    last: Id,
    /// Where the first entry begins.
    start: u32,
    len: u32,
    /// Entries that were in it and are gone.
    removed: u32,
    master_len: u32,
}

impl Clone for Block {
    /// With the room to grow: a copy takes the same memory.
    fn clone(&self) -> Self {
        let mut data = Vec::with_capacity(self.data.capacity());
        data.extend_from_slice(&self.data);
        Self { data, ..*self }
    }
}

/// An entry, as it lies in a stream.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its identifier.
    pub id: Id,
    /// Its fields and values.
    pub pairs: EntryPairs<'a>,
}

/// The fields and values of an entry, in their order.
#[derive(Clone, Debug)]
pub struct EntryPairs<'a> {
    left: usize,
    master: Option<&'a [u8]>,
    rest: &'a [u8],
}

impl<'a> Iterator for EntryPairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let field = take_text(self.master.as_mut().unwrap_or(&mut self.rest));
        Some((field, take_text(&mut self.rest)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for EntryPairs<'_> {}

/// Walks a block from an entry on.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    master: &'a [u8],
    master_count: usize,
    /// The identifier before; for the entry where the walk begins, its own.
    previous: Id,
    is_first: bool,
}

impl Cursor<'_> {
    /// A walk of nothing.
    pub(super) fn empty() -> Self {
        Self { rest: &[], master: &[], master_count: 0, previous: Id::MIN, is_first: false }
    }

    /// Where the next entry begins, counted from the end of the block.
    fn left(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let header = take_header(&mut self.rest, self.previous);
        let id = if self.is_first { self.previous } else { header.id };
        self.is_first = false;
        self.previous = id;
        let (left, master) = if header.has_master_fields {
            (self.master_count, Some(self.master))
        } else {
            (take_number(&mut self.rest) as usize, None)
        };
        let pairs = EntryPairs { left, master, rest: self.rest };
        for _ in 0..if header.has_master_fields { left } else { left * 2 } {
            take_text(&mut self.rest);
        }
        Some(Entry { id, pairs })
    }
}

struct Header {
    id: Id,
    has_master_fields: bool,
}

#[inline]
fn take_header(rest: &mut &[u8], previous: Id) -> Header {
    let tag = take_byte(rest);
    let id = match tag & FORM {
        NEXT_SEQ => Id::new(previous.ms, previous.seq.wrapping_add(1)),
        SMALL_MS => Id::new(previous.ms.wrapping_add(u64::from(tag >> SMALL_SHIFT) + 1), 0),
        MS_DELTA => Id::new(previous.ms.wrapping_add(take_number(rest)), 0),
        _ => {
            let ms = previous.ms.wrapping_add(take_number(rest));
            Id::new(ms, take_number(rest))
        }
    };
    Header { id, has_master_fields: tag & MASTER_FIELDS != 0 }
}

fn put_header(out: &mut Vec<u8>, previous: Id, id: Id, has_master_fields: bool) {
    debug_assert!(previous < id, "entries are in order");
    let fields = u8::from(has_master_fields) * MASTER_FIELDS;
    let ms_delta = id.ms - previous.ms;
    if ms_delta == 0 && id.seq == previous.seq + 1 {
        out.push(fields | NEXT_SEQ);
    } else if ms_delta == 0 || id.seq > 0 {
        out.push(fields | MS_AND_SEQ);
        put_number(out, ms_delta);
        put_number(out, id.seq);
    } else if ms_delta <= SMALL_MAX {
        out.push(fields | SMALL_MS | ((ms_delta - 1) as u8) << SMALL_SHIFT);
    } else {
        out.push(fields | MS_DELTA);
        put_number(out, ms_delta);
    }
}

/// Where an entry lies in a block.
struct Place {
    at: usize,
    end: usize,
    /// The entry before, unless it is the first.
    previous: Option<Id>,
}

impl Block {
    /// A block of one entry, whose fields become the master fields.
    pub(super) fn new<'a>(id: Id, pairs: impl Pairs<'a>) -> Self {
        let fields = pairs.clone().map(|(field, _)| field);
        let count = pairs.len() as u64;
        let master_len = number_len(count) + fields.clone().map(text_len).sum::<usize>();
        let values_len = pairs.clone().map(|(_, value)| text_len(value)).sum::<usize>();
        let mut data = Vec::with_capacity((master_len + 1 + values_len).max(RESERVE_MIN));
        put_number(&mut data, count);
        fields.for_each(|field| put_text(&mut data, field));
        data.push(NEXT_SEQ | MASTER_FIELDS);
        pairs.for_each(|(_, value)| put_text(&mut data, value));
        let master_len = master_len as u32;
        Self { data, first: id, last: id, start: master_len, len: 1, removed: 0, master_len }
    }

    /// The identifier of its first entry.
    #[inline]
    pub(super) fn first(&self) -> Id {
        self.first
    }

    /// The identifier of its last entry.
    #[inline]
    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// How many entries it has.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// How many entries it has and had.
    pub(super) fn entries_ever(&self) -> usize {
        self.len as usize + self.removed as usize
    }

    /// The bytes that it takes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.data.capacity()
    }

    /// The bytes that it would have with another entry, at most.
    pub(super) fn size_with<'a>(&self, pairs: impl Pairs<'a>) -> usize {
        let texts = pairs.map(|(field, value)| text_len(field) + text_len(value)).sum::<usize>();
        self.data.len() + HEADER_MAX + texts
    }

    /// Adds an entry at the end. The room grows by doubling, but not beyond `bytes_max` unless
    /// the entry needs it.
    pub(super) fn append<'a>(&mut self, id: Id, pairs: impl Pairs<'a>, bytes_max: usize) {
        let needed = self.size_with(pairs.clone());
        if needed > self.data.capacity() {
            let room = (self.data.capacity() * 2).min(bytes_max).max(needed);
            self.data.reserve_exact(room - self.data.len());
        }
        let has_master_fields = self.has_master_fields(pairs.clone());
        put_header(&mut self.data, self.last, id, has_master_fields);
        if has_master_fields {
            pairs.for_each(|(_, value)| put_text(&mut self.data, value));
        } else {
            put_number(&mut self.data, pairs.len() as u64);
            pairs.for_each(|(field, value)| {
                put_text(&mut self.data, field);
                put_text(&mut self.data, value);
            });
        }
        self.last = id;
        self.len += 1;
    }

    fn has_master_fields<'a>(&self, mut pairs: impl Pairs<'a>) -> bool {
        let mut master = &self.data[..self.master_len as usize];
        take_number(&mut master) as usize == pairs.len()
            && pairs.all(|(field, _)| take_text(&mut master) == field)
    }

    /// Gives back the room for more entries.
    pub(super) fn close(&mut self) {
        self.data.shrink_to_fit();
    }

    /// Walks all entries.
    #[inline]
    pub(super) fn entries(&self) -> Cursor<'_> {
        self.entries_from(self.start as usize, self.first)
    }

    /// Walks the entries from one on, whose place [`Block::places`] told.
    pub(super) fn entries_from(&self, at: usize, id: Id) -> Cursor<'_> {
        let mut master = &self.data[..self.master_len as usize];
        let master_count = take_number(&mut master) as usize;
        let rest = &self.data[at..];
        Cursor { rest, master, master_count, previous: id, is_first: true }
    }

    /// Appends where each entry begins, with its identifier.
    pub(super) fn places(&self, out: &mut Vec<(u32, Id)>) {
        let mut cursor = self.entries();
        loop {
            let at = self.data.len() - cursor.left();
            let Some(entry) = cursor.next() else { break };
            out.push((at as u32, entry.id));
        }
    }

    fn find(&self, id: Id) -> Option<Place> {
        let mut cursor = self.entries();
        let mut previous = None;
        loop {
            let at = self.data.len() - cursor.left();
            let entry = cursor.next()?;
            if entry.id == id {
                return Some(Place { at, end: self.data.len() - cursor.left(), previous });
            }
            if entry.id > id {
                return None;
            }
            previous = Some(entry.id);
        }
    }

    /// Removes an entry; whether there was one. A block must not stay without entries.
    pub(super) fn remove(&mut self, id: Id) -> bool {
        let Some(place) = self.find(id) else { return false };
        self.len -= 1;
        self.removed += 1;
        let is_last = place.end == self.data.len();
        match place.previous {
            None if is_last => {}
            None => {
                self.start = place.end as u32;
                self.first = take_header(&mut &self.data[place.end..], id).id;
            }
            Some(previous) if is_last => {
                self.data.truncate(place.at);
                self.last = previous;
            }
            Some(previous) => {
                // The entry that follows now counts from the one before.
                let mut rest = &self.data[place.end..];
                let header = take_header(&mut rest, id);
                let end = self.data.len() - rest.len();
                let mut bytes = Vec::with_capacity(HEADER_MAX);
                put_header(&mut bytes, previous, header.id, header.has_master_fields);
                self.data.splice(place.at..end, bytes);
            }
        }
        true
    }

    /// Checks that the bytes are whole, in order, and what the block says of them.
    pub(super) fn verify(&self) {
        assert!(self.master_len <= self.start, "entries follow the master fields");
        let ids: Vec<_> = self.entries().map(|entry| entry.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "entries are in order");
        assert_eq!(ids.first(), Some(&self.first));
        assert_eq!(ids.last(), Some(&self.last));
        assert_eq!(ids.len(), self.len());
    }
}
