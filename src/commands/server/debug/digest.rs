//! `DEBUG DIGEST` and `DIGEST-VALUE`: hashes of the data set that equal the peers' for equal data,
//! wherever it lies and in whatever order it is visited.

use kvasir_proto::number::DoubleText;
use kvasir_shard::stream::Id;
use kvasir_shard::{AccessError, Key, Shard, ValueRef, ValueType};

use crate::commands::context::Coordination;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};
use crate::sha1::{HASH_BYTES, sha1, to_hex};

/// Keys of a shard that are hashed before others have their turn.
const STEP_KEYS: usize = 1000;
/// What the peers hash in place of a deadline.
const EXPIRES: &[u8] = b"!!expire!!";

/// The same for a field of a hash.
const FIELD_EXPIRES: &[u8] = b"!!hexpire!!";

/// The peers' number of a type.
fn type_number(value_type: ValueType) -> u32 {
    match value_type {
        ValueType::String => 0,
        ValueType::List => 1,
        ValueType::Set => 2,
        ValueType::SortedSet => 3,
        ValueType::Hash => 4,
        ValueType::Stream => 6,
    }
}

/// A digest that is being put together.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Digest([u8; HASH_BYTES]);

impl Digest {
    /// Adds something whose order does not matter.
    fn add(&mut self, bytes: &[u8]) {
        self.combine(Self(sha1(bytes)));
    }

    /// Adds something that comes after what has been added so far.
    fn append(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = sha1(&self.0);
    }

    /// Adds another digest, in whatever order.
    fn combine(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds a string that comes after what has been added so far.
    fn append_value(&mut self, value: ValueRef<'_>) {
        value.with_bytes(|bytes| self.append(bytes));
    }

    /// Adds what a key holds and whether it expires, if it exists. O(elements).
    fn append_key(&mut self, shard: &mut Shard, db: u32, key: &Key<'_>) {
        let Some(value) = shard.peek(db, key) else { return };
        let value_type = value.value_type();
        self.append(&type_number(value_type).to_be_bytes());
        self.append_value(value);
        let _: Result<(), AccessError> = match value_type {
            ValueType::Hash => self.add_hash(shard, db, key),
            ValueType::Set => self.add_set(shard, db, key),
            ValueType::List => self.append_list(shard, db, key),
            ValueType::SortedSet => self.add_sorted_set(shard, db, key),
            ValueType::Stream => self.append_stream(shard, db, key),
            ValueType::String => Ok(()),
        };
        if shard.deadline(db, key).flatten().is_some() {
            self.add(EXPIRES);
        }
    }

    fn add_hash(&mut self, shard: &mut Shard, db: u32, key: &Key<'_>) -> Result<(), AccessError> {
        let Some(hash) = shard.hash_at(db, key, false)? else { return Ok(()) };
        hash.for_each(|field, value, deadline| {
            let mut of_field = Self::default();
            of_field.append_value(field);
            of_field.append_value(value);
            if deadline.is_some() {
                of_field.add(FIELD_EXPIRES);
            }
            self.add(&of_field.0);
        });
        Ok(())
    }

    fn add_set(&mut self, shard: &mut Shard, db: u32, key: &Key<'_>) -> Result<(), AccessError> {
        let Some(set) = shard.set_at(db, key, false)? else { return Ok(()) };
        set.for_each(|member| {
            member.with_bytes(|bytes| self.add(bytes));
            true
        });
        Ok(())
    }

    fn add_sorted_set(
        &mut self,
        shard: &mut Shard,
        db: u32,
        key: &Key<'_>,
    ) -> Result<(), AccessError> {
        let Some(zset) = shard.zset_at(db, key, false)? else { return Ok(()) };
        zset.for_each(|member, score| {
            let mut of_member = Self::default();
            of_member.append_value(member);
            of_member.append(DoubleText::of_digits(score).as_bytes());
            self.add(&of_member.0);
        });
        Ok(())
    }

    /// Adds a stream's entries; as with the peers, not its groups.
    fn append_stream(
        &mut self,
        shard: &mut Shard,
        db: u32,
        key: &Key<'_>,
    ) -> Result<(), AccessError> {
        let Some(stream) = shard.stream_at(db, key, false)? else { return Ok(()) };
        for entry in stream.log().range(Id::MIN, Id::MAX) {
            self.append(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
            for (field, value) in entry.pairs {
                self.append(field);
                self.append(value);
            }
        }
        Ok(())
    }

    fn append_list(
        &mut self,
        shard: &mut Shard,
        db: u32,
        key: &Key<'_>,
    ) -> Result<(), AccessError> {
        let Some(list) = shard.list_at(db, key, false)? else { return Ok(()) };
        list.range(0, list.len(), |element| self.append(element));
        Ok(())
    }

    fn hex(self) -> String {
        to_hex(&self.0)
    }
}

/// Answers with the hash of all databases. The shards are visited in steps, under one lock.
pub(super) fn of_everything(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let databases = transaction.on(request.home, |state| state.shard.databases()).await;
        let mut whole = Digest::default();
        for db in 0..databases as u32 {
            let keys: usize = transaction.on_all(move |s| s.shard.len(db)).await.into_iter().sum();
            if keys == 0 {
                continue;
            }
            whole.append(&db.to_be_bytes());
            for shard in transaction.shards() {
                let mut cursor = 0;
                loop {
                    let step = move |state: &mut CoreState| step(state, db, cursor);
                    let (digest, next) = transaction.on(shard, step).await;
                    whole.combine(digest);
                    cursor = next;
                    if cursor == 0 {
                        break;
                    }
                }
            }
        }
        Ok(request.encode(|reply| reply.simple(&whole.hex())))
    })
}

/// Hashes some keys of a database from a cursor on; returns where to go on, 0 at the end.
fn step(state: &mut CoreState, db: u32, cursor: u64) -> (Digest, u64) {
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    let visit = &mut |key: &[u8], _: ValueRef<'_>| keys.push(key.into());
    let next = state.shard.scan(db, cursor, STEP_KEYS, visit);
    let mut digest = Digest::default();
    for bytes in keys {
        let key = state.shared.map.key(&bytes);
        if state.shard.exists(db, &key) {
            let mut of_key = Digest::default();
            of_key.append(&bytes);
            of_key.append_key(&mut state.shard, db, &key);
            digest.add(&of_key.0);
        }
    }
    (digest, next)
}

/// Answers with a hash for each key; that of a missing one is all zero.
pub(super) fn of_values(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let db = request.view.db;
        let hops = request.by_shard(2..args.len(), 1).into_iter().map(|(shard, portion)| {
            let task = move |state: &mut CoreState| {
                let groups = portion.groups();
                groups
                    .map(|group| (group.position, of_value(state, db, group.key())))
                    .collect::<Vec<_>>()
            };
            (shard, task)
        });
        let mut digests: Vec<_> = transaction.hop(hops).await.into_iter().flatten().collect();
        digests.sort_unstable_by_key(|(position, _)| *position);
        Ok(request.encode(|reply| {
            reply.array(digests.len());
            for (_, digest) in &digests {
                reply.simple(&digest.hex());
            }
        }))
    })
}

fn of_value(state: &mut CoreState, db: u32, bytes: &[u8]) -> Digest {
    let key = state.shared.map.key(bytes);
    let mut digest = Digest::default();
    digest.append_key(&mut state.shard, db, &key);
    digest
}
