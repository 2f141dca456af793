//! Clients that want to hear of every key with some prefix, and what they will hear at the end of
//! the round.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::ClientId;

/// The keys that have changed, each with the client that changed it last.
pub(super) type Changed = BTreeMap<Box<[u8]>, Option<ClientId>>;

#[derive(Debug, Default)]
struct Prefix {
    clients: BTreeSet<ClientId>,
    /// Since the last round.
    changed: Changed,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    by_name: BTreeMap<Box<[u8]>, Prefix>,
    /// Those under which something has changed since the last round.
    touched: Vec<Box<[u8]>>,
}

/// What is to be told of one prefix.
#[derive(Debug)]
pub(super) struct News {
    pub(super) clients: Vec<ClientId>,
    pub(super) changed: Changed,
}

impl Prefixes {
    /// How many prefixes somebody follows.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Has a client hear of a prefix.
    pub(super) fn follow(&mut self, name: &[u8], client: ClientId) {
        let prefix = match self.by_name.get_mut(name) {
            Some(prefix) => prefix,
            None => self.by_name.entry(name.into()).or_default(),
        };
        prefix.clients.insert(client);
    }

    /// Has a client hear of a prefix no more.
    pub(super) fn leave(&mut self, name: &[u8], client: ClientId) {
        let prefix = self.by_name.get_mut(name).expect("invariant: a client's prefixes are known");
        prefix.clients.remove(&client);
        if prefix.clients.is_empty() {
            self.by_name.remove(name);
        }
    }

    /// Notes that a key has changed. O(log prefixes) for each prefix that it has, and for each
    /// length at which prefixes next to it in order differ from it.
    pub(super) fn note(&mut self, key: &[u8], author: Option<ClientId>) {
        let mut longest = key;
        loop {
            // The prefixes of a key come before it in order, the longer the nearer.
            let below = (Bound::Unbounded, Bound::Included(longest));
            let Some((name, prefix)) = self.by_name.range_mut::<[u8], _>(below).next_back() else {
                return;
            };
            let common = name.iter().zip(longest).take_while(|(one, other)| one == other).count();
            if common == name.len() {
                if prefix.changed.is_empty() {
                    self.touched.push(name.clone());
                }
                prefix.changed.insert(key.into(), author);
                let Some(shorter) = common.checked_sub(1) else { return };
                longest = &key[..shorter];
            } else {
                longest = &key[..common];
            }
        }
    }

    /// What has changed since it was last asked, for each prefix, in the prefixes' order.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        let news = touched.iter().filter_map(|name| {
            let prefix = self.by_name.get_mut(name)?;
            let changed = std::mem::take(&mut prefix.changed);
            Some(News { clients: prefix.clients.iter().copied().collect(), changed })
        });
        news.filter(|news| !news.changed.is_empty()).collect()
    }

    /// Whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Nothing is followed by nobody, and what has changed will be told. O(all).
    pub(crate) fn verify(&self) {
        for (name, prefix) in &self.by_name {
            assert!(!prefix.clients.is_empty(), "a prefix that nobody follows is removed");
            assert!(prefix.changed.is_empty() || self.touched.contains(name));
            assert!(prefix.changed.keys().all(|key| key.starts_with(name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_noted_under_each_of_its_prefixes() {
        let names = ["", "a", "ab", "aba", "abc", "abcd", "abd", "b", "ba", "user:", "user:1"];
        let keys = ["", "a", "ab", "abc", "abcde", "abz", "aa", "b", "user:12", "user", "zz"];
        // Every subset of the prefixes that a number's bits select.
        for subset in 0..1_u32 << names.len() {
            let mut prefixes = Prefixes::default();
            let chosen: Vec<(usize, &str)> =
                names.iter().copied().enumerate().filter(|(i, _)| subset >> i & 1 == 1).collect();
            for (client, name) in &chosen {
                prefixes.follow(name.as_bytes(), *client as u64);
            }
            for key in keys {
                prefixes.note(key.as_bytes(), None);
                prefixes.verify();
                let mut told: Vec<u64> =
                    prefixes.take_news().into_iter().flat_map(|news| news.clients).collect();
                told.sort_unstable();
                let expected = chosen.iter().filter(|(_, name)| key.starts_with(name));
                assert_eq!(told, expected.map(|(i, _)| *i as u64).collect::<Vec<_>>(), "{key}");
                assert!(!prefixes.has_news());
            }
        }
    }

    #[test]
    fn the_last_author_of_a_round_counts() {
        let mut prefixes = Prefixes::default();
        prefixes.follow(b"a", 1);
        prefixes.follow(b"a", 2);
        prefixes.note(b"ab", Some(1));
        prefixes.note(b"ab", None);
        prefixes.note(b"ac", Some(2));
        let news = prefixes.take_news().pop().unwrap();
        assert_eq!(news.clients, [1, 2]);
        let authors: Vec<_> = news.changed.values().copied().collect();
        assert_eq!(authors, [None, Some(2)]);
        prefixes.note(b"ab", None);
        prefixes.leave(b"a", 1);
        prefixes.leave(b"a", 2);
        prefixes.follow(b"a", 3);
        assert!(prefixes.take_news().is_empty(), "what changed before is not told");
        prefixes.verify();
    }
}
