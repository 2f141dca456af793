//! The lists of field names that a connection has prepared for `HIMPORT SET`.

use std::sync::Arc;

/// What one of them, and one of its names, costs beside their bytes.
const OVERHEAD_BYTES: usize = size_of::<Fieldset>();
const NAME_BYTES: usize = size_of::<Box<[u8]>>();

/// A named list of distinct field names.
#[derive(Clone, Debug)]
struct Fieldset {
    name: Box<[u8]>,
    fields: Arc<[Box<[u8]>]>,
    /// What it occupies.
    bytes: usize,
}

/// The lists of a connection, few: they are found by walking them.
#[derive(Clone, Debug, Default)]
pub struct Fieldsets {
    sets: Vec<Fieldset>,
    bytes: usize,
}

impl Fieldsets {
    /// Adds a list, in the place of one of the same name.
    pub fn insert(&mut self, name: &[u8], fields: Arc<[Box<[u8]>]>) {
        self.remove(name);
        let names: usize = fields.iter().map(|field| field.len() + NAME_BYTES).sum();
        let bytes = OVERHEAD_BYTES + name.len() + names;
        self.bytes += bytes;
        self.sets.push(Fieldset { name: name.into(), fields, bytes });
    }

    /// The field names of a list, in the order in which they were given.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<[Box<[u8]>]>> {
        self.sets.iter().find(|set| *set.name == *name).map(|set| &set.fields)
    }

    /// Forgets a list; whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(at) = self.sets.iter().position(|set| *set.name == *name) else { return false };
        self.bytes -= self.sets.swap_remove(at).bytes;
        true
    }

    /// Forgets all lists; how many there were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(self).sets.len()
    }

    /// What they occupy, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_replace_each_other_by_name_and_are_accounted() {
        let fields = |names: &[&str]| names.iter().map(|name| name.as_bytes().into()).collect();
        let mut sets = Fieldsets::default();
        sets.insert(b"a", fields(&["x", "y"]));
        sets.insert(b"b", fields(&["z"]));
        let before = sets.bytes();
        sets.insert(b"a", fields(&["longer", "y"]));
        assert_eq!(sets.bytes(), before + 5);
        assert_eq!(sets.get(b"a").map(|fields| &*fields[0]), Some(b"longer".as_slice()));
        assert!(sets.remove(b"a") && !sets.remove(b"a"));
        assert_eq!((sets.clear(), sets.clear(), sets.bytes()), (1, 0, 0));
    }
}
