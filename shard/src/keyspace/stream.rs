//! The stream at a key. It lies on the heap by itself, so that it is looked at and changed where it
//! is, and it stays when its last entry goes.

use super::Shard;
use super::open::{AccessError, ContentRef};
use crate::collections::Collection;
use crate::hash::Key;
use crate::store::{Incoming, OutOfMemory};
use crate::stream::{NodeLimits, Stream};
use crate::value::Payload;

impl Shard {
    /// How large the blocks of streams may get.
    pub fn node_limits(&self) -> NodeLimits {
        let limits = self.encoding_limits();
        NodeLimits { bytes: limits.stream_node_max_bytes, entries: limits.stream_node_max_entries }
    }

    /// A look at the stream at a key, `None` for a missing key. `touch` notes the access and
    /// removes the key when it is due.
    pub fn stream_at(
        &mut self,
        db: u32,
        key: &Key<'_>,
        touch: bool,
    ) -> Result<Option<&Stream>, AccessError> {
        match self.content(db, key, touch) {
            None => Ok(None),
            Some((ContentRef::Collection(Collection::Stream(stream)), _)) => Ok(Some(stream)),
            Some(_) => Err(AccessError::WrongType),
        }
    }

    /// Lets `change` have the stream at a key; `None` for a missing key. What changed is for the
    /// caller to record.
    pub fn update_stream<R>(
        &mut self,
        db: u32,
        key: &Key<'_>,
        change: impl FnOnce(&mut Stream) -> R,
    ) -> Result<Option<R>, AccessError> {
        let Some(found) = self.locate(db, key) else { return Ok(None) };
        let Some(cell) = self.store.external_of(found.handle) else {
            return Err(AccessError::WrongType);
        };
        self.save_before_change(db, found.handle);
        let result = self.store.externals.update(cell, |external| match &mut external.payload {
            Payload::Collection(collection) => match &mut **collection {
                Collection::Stream(stream) => Ok(Some(change(stream))),
                _ => Err(AccessError::WrongType),
            },
            _ => Err(AccessError::WrongType),
        });
        if result.is_ok() {
            self.note_access(found.handle);
        }
        result
    }

    /// Puts a stream at a key that must not exist, recording `New`.
    pub fn insert_stream(
        &mut self,
        db: u32,
        key: &Key<'_>,
        stream: Stream,
    ) -> Result<(), OutOfMemory> {
        debug_assert!(self.look(db, key).is_none(), "the key does not exist");
        let payload = Payload::Collection(Box::new(Collection::Stream(Box::new(stream))));
        self.place(db, key, None, Incoming::Owned { payload, raw: false }, None)
    }
}

#[cfg(test)]
mod tests {
    use crate::hash::{Key, KeyHasher};
    use crate::journal::{ChangeKind, ChangeMask};
    use crate::keyspace::{Shard, ShardConfig};
    use crate::stream::{Id, NodeLimits, References, Stream};
    use crate::value::NewValue;
    use crate::{AccessError, Ttl};

    const SEEDS: [u64; 4] = [1, 2, 3, 4];

    fn shard() -> Shard {
        let config = ShardConfig { databases: 1, hash_seeds: SEEDS, slot_mode: false, rng_seed: 7 };
        Shard::new(config)
    }

    fn key(bytes: &[u8]) -> Key<'_> {
        Key { bytes, hash: KeyHasher::new(SEEDS).hash(bytes), slot: 0 }
    }

    fn add(stream: &mut Stream, ms: u64) {
        let pairs = [(b"field".as_slice(), b"value".as_slice())];
        let limits = NodeLimits { bytes: 0, entries: 2 };
        stream.log_mut().append(Id::new(ms, 0), pairs.into_iter(), limits).unwrap();
    }

    #[test]
    fn a_stream_lives_at_its_key_without_entries_too() {
        let mut shard = shard();
        shard.journal.set_mask(ChangeMask::ALL);
        let name = key(b"s");
        assert_eq!(shard.update_stream(0, &name, |_| ()), Ok(None));
        let mut stream = Stream::new();
        add(&mut stream, 1);
        shard.insert_stream(0, &name, stream).unwrap();
        assert!(shard.journal.changes().any(|change| change.kind == ChangeKind::New));
        for ms in 2..600 {
            assert_eq!(shard.update_stream(0, &name, |stream| add(stream, ms)), Ok(Some(())));
        }
        shard.verify();
        let copy = shard.copy(0, &name).unwrap();
        let removed = shard.update_stream(0, &name, |stream| {
            (1..600).map(|ms| stream.delete(Id::new(ms, 0), References::Keep)).count()
        });
        assert_eq!(removed, Ok(Some(599)));
        assert_eq!(shard.stream_at(0, &name, true).unwrap().unwrap().log().len(), 0);
        let other = key(b"t");
        shard.put(0, &other, copy, ChangeKind::Set).unwrap();
        assert_eq!(shard.stream_at(0, &other, true).unwrap().unwrap().log().len(), 599);
        shard.verify();
        shard.remove(0, &other);
        while shard.collect_garbage(10) {}
        shard.verify();
    }

    #[test]
    fn other_types_are_no_streams() {
        let mut shard = shard();
        let name = key(b"s");
        shard.set(0, &name, NewValue::Bytes(&[b'x'; 5000]), Ttl::Clear).unwrap();
        assert_eq!(shard.update_stream(0, &name, |_| ()), Err(AccessError::WrongType));
        assert!(shard.stream_at(0, &name, true).is_err());
    }
}
