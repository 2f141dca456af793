//! Which clients have read which keys of one shard, as far as it is remembered.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, IntoIter};
use std::sync::Arc;

use super::ClientId;

/// Clients of one key beyond which those that are gone are looked for before one is added.
const PRUNED_FROM: usize = 8;

/// Who has read a key.
#[derive(Debug)]
struct Readers {
    /// Where the key stands in [`Table::order`].
    place: usize,
    /// Ascending.
    clients: Vec<ClientId>,
    /// So many clients have those that are gone looked for.
    prune_at: usize,
}

type Keys = HashMap<Arc<[u8]>, Readers, ahash::RandomState>;

/// See the module's head.
///
/// A read costs O(1 + log readers of the key); to forget a key, O(its readers).
#[derive(Debug, Default)]
pub(crate) struct Table {
    keys: Keys,
    /// The same keys in no particular order, so that any of them can be drawn.
    order: Vec<Arc<[u8]>>,
    items: usize,
    draws: u64,
}

impl Table {
    /// How many keys are remembered.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many readers of them.
    pub(crate) fn items(&self) -> usize {
        self.items
    }

    /// Remembers that a client has read a key. Whether the key is new here.
    pub(super) fn remember(
        &mut self,
        key: &[u8],
        client: ClientId,
        is_alive: impl Fn(ClientId) -> bool,
    ) -> bool {
        if let Some(readers) = self.keys.get_mut(key) {
            let Err(mut at) = readers.clients.binary_search(&client) else { return false };
            if readers.clients.len() >= readers.prune_at {
                self.items -= readers.clients.len();
                readers.clients.retain(|reader| is_alive(*reader));
                readers.prune_at = PRUNED_FROM.max(readers.clients.len() * 2);
                self.items += readers.clients.len();
                at = readers.clients.partition_point(|reader| *reader < client);
            }
            readers.clients.insert(at, client);
            self.items += 1;
            return false;
        }
        let name: Arc<[u8]> = key.into();
        let place = self.order.len();
        self.order.push(Arc::clone(&name));
        let readers = Readers { place, clients: vec![client], prune_at: PRUNED_FROM };
        self.keys.insert(name, readers);
        self.items += 1;
        true
    }

    /// Forgets a key; who had read it, if it was remembered.
    pub(super) fn forget(&mut self, key: &[u8]) -> Option<Vec<ClientId>> {
        let Readers { place, clients, .. } = self.keys.remove(key)?;
        self.order.swap_remove(place);
        if let Some(moved) = self.order.get(place)
            && let Entry::Occupied(mut moved) = self.keys.entry(Arc::clone(moved))
        {
            moved.get_mut().place = place;
        }
        self.items -= clients.len();
        Some(clients)
    }

    /// Forgets a key drawn at random, but not the latest unless there is no other. Returns it with
    /// those who had read it.
    pub(super) fn forget_any(&mut self) -> Option<(Arc<[u8]>, Vec<ClientId>)> {
        let others = self.order.len().checked_sub(1)?.max(1);
        // A linear congruential generator: who is drawn matters to nobody.
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let place = (self.draws >> 33) as usize % others;
        let key = Arc::clone(&self.order[place]);
        let clients = self.forget(&key)?;
        Some((key, clients))
    }

    /// Forgets everything; what was there is to be freed in steps.
    pub(super) fn take(&mut self) -> Discarded {
        self.items = 0;
        let keys = std::mem::take(&mut self.keys).into_iter();
        Discarded { keys, order: std::mem::take(&mut self.order) }
    }

    /// Every key stands in its place, and readers are in order and counted. O(all).
    pub(crate) fn verify(&self) {
        assert_eq!(self.keys.len(), self.order.len(), "each key stands in one place");
        let mut items = 0;
        for (key, readers) in &self.keys {
            assert_eq!(self.order[readers.place], *key, "a key stands in its place");
            assert!(!readers.clients.is_empty(), "a key that nobody has read is forgotten");
            assert!(readers.clients.is_sorted_by(|one, other| one < other), "readers in order");
            items += readers.clients.len();
        }
        assert_eq!(items, self.items, "every reader is counted");
    }
}

/// What a table held, to be freed in steps.
#[derive(Debug)]
pub(super) struct Discarded {
    keys: IntoIter<Arc<[u8]>, Readers>,
    order: Vec<Arc<[u8]>>,
}

impl Discarded {
    /// Frees some of it; whether there is more.
    pub(super) fn free(&mut self, budget: usize) -> bool {
        self.keys.by_ref().take(budget).for_each(drop);
        self.order.truncate(self.order.len().saturating_sub(budget));
        self.keys.len() > 0 || !self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_table_is_a_map_of_keys_to_sets_of_clients() {
        let mut table = Table::default();
        let mut model: BTreeMap<Vec<u8>, BTreeSet<ClientId>> = BTreeMap::new();
        let mut state = 7_u64;
        let mut draw = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % most
        };
        for step in 0..20_000 {
            let key = format!("key{}", draw(40)).into_bytes();
            match draw(10) {
                0..7 => {
                    let client = draw(30);
                    let is_new = table.remember(&key, client, |_| true);
                    assert_eq!(is_new, !model.contains_key(&key));
                    model.entry(key).or_default().insert(client);
                }
                7 => {
                    let clients = table.forget(&key).map(BTreeSet::from_iter);
                    assert_eq!(clients, model.remove(&key));
                }
                8 => {
                    let forgotten = table.forget_any();
                    assert_eq!(forgotten.is_none(), model.is_empty());
                    if let Some((key, clients)) = forgotten {
                        assert_eq!(model.remove(&*key), Some(clients.into_iter().collect()));
                    }
                }
                _ if step % 500 == 0 => {
                    let mut discarded = table.take();
                    while discarded.free(3) {}
                    model.clear();
                }
                _ => {}
            }
            table.verify();
            assert_eq!(table.len(), model.len());
            assert_eq!(table.items(), model.values().map(BTreeSet::len).sum::<usize>());
        }
    }

    #[test]
    fn the_latest_key_is_drawn_only_when_it_is_alone() {
        let mut table = Table::default();
        for client in 0..50_u64 {
            assert!(table.remember(&client.to_le_bytes(), client, |_| true));
            if client > 0 {
                let (_, clients) = table.forget_any().unwrap();
                assert_eq!(clients, [client - 1]);
            }
        }
        assert_eq!(table.forget_any().unwrap().1, [49]);
        assert!(table.forget_any().is_none());
    }

    #[test]
    fn clients_that_are_gone_do_not_pile_up_at_a_key() {
        let mut table = Table::default();
        for client in 0..10_000 {
            table.remember(b"key", client, |reader| reader + 20 > client);
            assert!(table.items() <= 48, "{}", table.items());
        }
        table.verify();
    }
}
