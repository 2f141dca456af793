//! When those who wait for a key are tried although nothing has changed it: an entry of a stream
//! has then been idle for as long as `XREADGROUP CLAIM` asks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The moments of one shard, at most one for each key: the earliest that was asked for. Whoever is
/// tried then in vain asks for the next. Where nobody waits any more, it comes to nothing.
#[derive(Debug, Default)]
pub struct Alarms {
    by_key: HashMap<(u32, Arc<[u8]>), u64, ahash::RandomState>,
    queue: BTreeSet<(u64, u32, Arc<[u8]>)>,
}

impl Alarms {
    /// Has those who wait for a key tried at a moment, in milliseconds of the Unix epoch.
    /// O(log keys).
    pub fn set(&mut self, db: u32, key: &[u8], at_ms: u64) {
        let key: Arc<[u8]> = key.into();
        let known = self.by_key.entry((db, Arc::clone(&key))).or_insert(u64::MAX);
        if *known <= at_ms {
            return;
        }
        self.queue.remove(&(*known, db, Arc::clone(&key)));
        *known = at_ms;
        self.queue.insert((at_ms, db, key));
    }

    /// When the next one is due.
    pub(in crate::route) fn next_ms(&self) -> Option<u64> {
        self.queue.first().map(|(at_ms, ..)| *at_ms)
    }

    /// A key whose moment has come.
    pub(in crate::route) fn take_due(&mut self, now_ms: u64) -> Option<(u32, Arc<[u8]>)> {
        self.next_ms().filter(|at_ms| *at_ms <= now_ms)?;
        let (_, db, key) = self.queue.pop_first()?;
        self.by_key.remove(&(db, Arc::clone(&key)));
        Some((db, key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::World;
    use super::*;

    #[test]
    fn a_key_has_its_earliest_moment() {
        let mut alarms = Alarms::default();
        for (key, at_ms) in [("a", 5), ("a", 3), ("a", 4), ("b", 4)] {
            alarms.set(0, key.as_bytes(), at_ms);
        }
        assert_eq!(alarms.take_due(2), None);
        assert_eq!(alarms.take_due(9), Some((0, b"a".as_slice().into())));
        assert_eq!(alarms.take_due(9), Some((0, b"b".as_slice().into())));
        assert_eq!((alarms.take_due(9), alarms.next_ms()), (None, None));
    }

    /// An entry that another consumer does not acknowledge goes to the one that waits for that, at
    /// the millisecond, wherever it is; and later again to the next.
    #[test]
    fn idle_entries_are_claimed_by_those_who_wait() {
        for keys in ["b", "a", "b a"] {
            let mut world = World::new(2);
            let [writer, one, two] = [0, 0, 1].map(|core| world.connect(core));
            let ids = vec![">"; keys.split(' ').count()].join(" ");
            for key in keys.split(' ') {
                world.request(writer, &format!("XGROUP CREATE {key} g $ MKSTREAM"));
            }
            let key = &keys[..1];
            world.request(writer, &format!("XADD {key} 1-1 f v"));
            world.request(writer, &format!("XREADGROUP GROUP g dead STREAMS {key} >"));
            let wait = |name: &str, idle: u32| {
                format!("XREADGROUP GROUP g {name} BLOCK 0 CLAIM {idle} STREAMS {keys} {ids}")
            };
            assert_eq!(world.request(one, &wait("one", 50)), "");
            assert_eq!(world.request(two, &wait("two", 70)), "");
            world.now_us += 49_000;
            world.settle();
            assert_eq!(world.output(one), "", "{keys}");
            world.now_us += 1_000;
            world.settle();
            let claimed = format!("*1 *2 $1 {key} *1 *4 $3 1-1 *2 $1 f $1 v :50 :1");
            assert_eq!(world.output(one), claimed, "{keys}");
            world.now_us += 69_000;
            world.settle();
            assert_eq!(world.output(two), "", "{keys}");
            world.now_us += 1_000;
            world.settle();
            assert_eq!(world.output(two), claimed.replace(":50 :1", ":70 :2"), "{keys}");
            assert!(world.is_at_rest());
        }
    }
}
