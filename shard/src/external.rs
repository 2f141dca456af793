//! What does not fit in an entry: long values and long keys, in a slab whose chunks never move.

use crate::value::Payload;

const CHUNK_LEN: usize = 512;

/// One entry's part outside the arena.
pub(crate) struct External {
    /// The key, where it is too long to lie in the entry.
    pub(crate) key: Option<Box<[u8]>>,
    pub(crate) payload: Payload,
}

impl External {
    /// Heap bytes behind it.
    pub(crate) fn memory(&self) -> usize {
        self.key.as_ref().map_or(0, |key| key.len()) + self.payload.memory()
    }

    /// Bytes of the elements that are entries of their own; O(1).
    pub(crate) fn element_bytes(&self) -> usize {
        match &self.payload {
            Payload::Collection(collection) => collection.element_bytes(),
            _ => 0,
        }
    }
}

/// A place in the slab.
pub(crate) enum Cell {
    /// The next free cell, or `u32::MAX`.
    Free(u32),
    Used(External),
}

/// The slab. All operations are O(1); an entry names its cell with 4 bytes.
pub(crate) struct Externals {
    chunks: Vec<Box<[Cell]>>,
    free_head: u32,
    len: usize,
    bytes: usize,
}

impl Externals {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free_head: u32::MAX, len: 0, bytes: 0 }
    }

    /// Stores `external`; `None` when all 2^32 - 1 names are taken.
    pub(crate) fn insert(&mut self, external: External) -> Option<u32> {
        if self.free_head == u32::MAX {
            self.add_chunk()?;
        }
        let index = self.free_head;
        self.bytes += external.memory();
        self.len += 1;
        let cell = self.cell_mut(index);
        let Cell::Free(next) = *cell else { unreachable!("the free list holds free cells") };
        *cell = Cell::Used(external);
        self.free_head = next;
        Some(index)
    }

    /// Takes a stored value out.
    pub(crate) fn remove(&mut self, index: u32) -> External {
        let next = self.free_head;
        let Cell::Used(external) = std::mem::replace(self.cell_mut(index), Cell::Free(next)) else {
            unreachable!("an entry names a used cell")
        };
        self.free_head = index;
        self.len -= 1;
        self.bytes -= external.memory();
        external
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &External {
        match self.cell(index) {
            Cell::Used(external) => external,
            Cell::Free(_) => unreachable!("an entry names a used cell"),
        }
    }

    /// Where a value lies.
    #[inline]
    pub(crate) fn cell(&self, index: u32) -> &Cell {
        &self.chunks[index as usize / CHUNK_LEN][index as usize % CHUNK_LEN]
    }

    /// A stored value, unless the cell is free.
    pub(crate) fn find(&self, index: u32) -> Option<&External> {
        match self.cell(index) {
            Cell::Used(external) => Some(external),
            Cell::Free(_) => None,
        }
    }

    /// Changes a stored value and accounts for its new size.
    pub(crate) fn update<R>(&mut self, index: u32, change: impl FnOnce(&mut External) -> R) -> R {
        let Cell::Used(external) = self.cell_mut(index) else {
            unreachable!("an entry names a used cell")
        };
        let before = external.memory();
        let result = change(external);
        let after = external.memory();
        self.bytes = self.bytes - before + after;
        result
    }

    /// The stored value, for changes that keep its size.
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut External {
        match self.cell_mut(index) {
            Cell::Used(external) => external,
            Cell::Free(_) => unreachable!("an entry names a used cell"),
        }
    }

    /// Bytes of the values and keys held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the values and keys held, and of the slab.
    pub(crate) fn memory(&self) -> usize {
        self.bytes + self.chunks.len() * CHUNK_LEN * size_of::<Cell>()
    }

    fn add_chunk(&mut self) -> Option<()> {
        let first = u32::try_from(self.chunks.len() * CHUNK_LEN).ok()?;
        let last = first.checked_add(CHUNK_LEN as u32)?;
        let cells =
            (first + 1..=last).map(|next| Cell::Free(if next == last { u32::MAX } else { next }));
        self.chunks.push(cells.collect());
        self.free_head = first;
        Some(())
    }

    fn cell_mut(&mut self, index: u32) -> &mut Cell {
        &mut self.chunks[index as usize / CHUNK_LEN][index as usize % CHUNK_LEN]
    }

    /// Every value that is stored.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &External> {
        self.chunks.iter().flatten().filter_map(|cell| match cell {
            Cell::Used(external) => Some(external),
            Cell::Free(_) => None,
        })
    }

    /// Checks the free list and the accounting; O(cells).
    pub(crate) fn verify(&self) {
        let cells = || self.chunks.iter().flat_map(|chunk| chunk.iter());
        let used: Vec<_> = cells()
            .filter_map(|cell| match cell {
                Cell::Used(external) => Some(external.memory()),
                Cell::Free(_) => None,
            })
            .collect();
        assert_eq!(used.len(), self.len);
        assert_eq!(used.iter().sum::<usize>(), self.bytes);
        let mut free = 0;
        let mut head = self.free_head;
        while head != u32::MAX {
            free += 1;
            assert!(free <= cells().count(), "the free list has no cycle");
            let Cell::Free(next) =
                &self.chunks[head as usize / CHUNK_LEN][head as usize % CHUNK_LEN]
            else {
                unreachable!("the free list holds free cells")
            };
            head = *next;
        }
        assert_eq!(free + self.len, cells().count());
    }
}
