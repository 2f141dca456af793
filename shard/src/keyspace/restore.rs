//! Keys out of a file into the shard, for which nobody waits and which nobody follows.

use super::Shard;
use crate::hash::Key;
use crate::owned::OwnedValue;
use crate::store::{Incoming, OutOfMemory};
use crate::value::NewValue;

/// What becomes of a key that exists already when it comes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// It stays, and whoever restores is told: the file is wrong.
    Refused,
    /// It is replaced (`DEBUG RELOAD MERGE`).
    Replaced,
}

/// What came of restoring a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restored {
    /// The key has the value.
    Done,
    /// The key exists, and is as it was.
    Exists,
}

impl Shard {
    /// Prepares for about so many keys that a database is to get, until
    /// [`Shard::expect_no_keys`]: its table then grows with less work. O(1). If fewer come, each
    /// may cost the table 250 bytes, but together not more than so many as were expected.
    pub fn expect_keys(&mut self, db: u32, keys: u64) {
        let db = &mut self.dbs[db as usize];
        db.expect(keys.saturating_add(db.len() as u64));
    }

    /// As many keys have come as were expected. O(databases).
    pub fn expect_no_keys(&mut self) {
        self.dbs.iter_mut().for_each(|db| db.expect(0));
    }

    /// Gives a key a string and a deadline or none. Records `New` for a new key and nothing else.
    /// Nothing is copied but into the entry; about two cache misses, less with
    /// [`Shard::prefetch_change`] some time before.
    pub fn restore_string(
        &mut self,
        (db, key): (u32, &Key<'_>),
        value: NewValue<'_>,
        deadline_ms: Option<u64>,
        existing: Existing,
    ) -> Result<Restored, OutOfMemory> {
        let found = self.locate(db, key);
        if found.is_some() && existing == Existing::Refused {
            return Ok(Restored::Exists);
        }
        self.place(db, key, found, Incoming::new(value), deadline_ms)?;
        Ok(Restored::Done)
    }

    /// Gives a key any value with its deadline. Records `New` for a new key and nothing else.
    /// O(elements).
    pub fn restore(
        &mut self,
        (db, key): (u32, &Key<'_>),
        value: OwnedValue,
        existing: Existing,
    ) -> Result<Restored, OutOfMemory> {
        let found = self.locate(db, key);
        if found.is_some() && existing == Existing::Refused {
            return Ok(Restored::Exists);
        }
        self.place_owned_at(db, key, found, value)?;
        Ok(Restored::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeyHasher;
    use crate::keyspace::ShardConfig;
    use crate::keyspace::write::Ttl;
    use crate::owned::OwnedData;
    use crate::value::ValueRef;

    const SEEDS: [u64; 4] = [1, 2, 3, 4];

    #[test]
    fn what_exists_is_kept_or_replaced() {
        let config = ShardConfig { databases: 1, hash_seeds: SEEDS, slot_mode: false, rng_seed: 7 };
        let mut shard = Shard::new(config);
        let key = Key { bytes: b"key", hash: KeyHasher::new(SEEDS).hash(b"key"), slot: 0 };
        let text = |text: &'static [u8]| NewValue::Bytes(text);
        shard.set(0, &key, text(b"old"), Ttl::Clear).unwrap();
        let at = (0, &key);
        let kept = shard.restore_string(at, text(b"new"), None, Existing::Refused);
        assert_eq!(kept, Ok(Restored::Exists));
        let value = OwnedValue::new(OwnedData::Int(5), None);
        assert_eq!(shard.restore(at, value.clone(), Existing::Refused), Ok(Restored::Exists));
        assert_eq!(shard.peek(0, &key), Some(ValueRef::Bytes(b"old")));
        let replaced = shard.restore_string(at, text(b"17"), Some(1 << 40), Existing::Replaced);
        assert_eq!(replaced, Ok(Restored::Done));
        assert_eq!(shard.peek(0, &key), Some(ValueRef::Int(17)));
        assert_eq!(shard.deadline(0, &key), Some(Some(1 << 40)));
        assert_eq!(shard.restore(at, value, Existing::Replaced), Ok(Restored::Done));
        assert_eq!(shard.peek(0, &key), Some(ValueRef::Int(5)));
        assert_eq!((shard.len(0), shard.expires(0)), (1, 0));
        shard.verify();
    }

    /// The number is out of a file, which may say anything.
    #[test]
    fn any_number_of_keys_may_be_expected() {
        let config = ShardConfig { databases: 1, hash_seeds: SEEDS, slot_mode: false, rng_seed: 7 };
        for keys in [0, 1, 1 << 40, u64::MAX] {
            let mut shard = Shard::new(config);
            for number in 0..100_u64 {
                shard.expect_keys(0, keys);
                let name = number.to_string();
                let hash = KeyHasher::new(SEEDS).hash(name.as_bytes());
                let key = Key { bytes: name.as_bytes(), hash, slot: 0 };
                shard.set(0, &key, NewValue::Bytes(b"value"), Ttl::Clear).unwrap();
            }
            shard.expect_no_keys();
            shard.verify();
            assert_eq!(shard.len(0), 100);
        }
    }
}
