//! `DEBUG DIGEST` and `DIGEST-VALUE`: hashes of the data set that equal the peers' for equal data,
//! wherever it lies and in whatever order it is visited.

use kvasir_shard::{Shard, ValueRef};

use crate::commands::context::Coordination;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};
use crate::sha1::{HASH_BYTES, sha1, to_hex};

/// Keys of a shard that are hashed before others have their turn.
const STEP_KEYS: usize = 1000;
/// What the peers hash in place of a deadline.
const EXPIRES: &[u8] = b"!!expire!!";

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

    /// Adds a value and whether it expires.
    fn append_value(&mut self, value: &ValueRef<'_>, expires: bool) {
        // The peers number their types; strings come first.
        self.append(&0_u32.to_be_bytes());
        value.with_bytes(|bytes| self.append(bytes));
        if expires {
            self.add(EXPIRES);
        }
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
        let expires = expires(&mut state.shard, db, &key);
        if let Some(value) = state.shard.peek(db, &key) {
            let mut of_key = Digest::default();
            of_key.append(&bytes);
            of_key.append_value(&value, expires);
            digest.add(&of_key.0);
        }
    }
    (digest, next)
}

fn expires(shard: &mut Shard, db: u32, key: &kvasir_shard::Key<'_>) -> bool {
    shard.deadline(db, key).flatten().is_some()
}

/// Answers with a hash for each key; that of a missing one is all zero.
pub(super) fn of_values(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let db = request.view.db;
        let hops = request.by_shard(2..args.len(), 1).into_iter().map(|(shard, portions)| {
            let task = move |state: &mut CoreState| {
                let keys = portions.iter().map(|portion| (portion.position, &*portion.args[0]));
                keys.map(|(position, key)| (position, of_value(state, db, key))).collect::<Vec<_>>()
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
    let expires = expires(&mut state.shard, db, &key);
    let mut digest = Digest::default();
    if let Some(value) = state.shard.peek(db, &key) {
        digest.append_value(&value, expires);
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peers' answers to `DEBUG DIGEST-VALUE`.
    #[test]
    fn values_have_the_peers_digests() {
        let check = |value: &str, expected: &str| {
            let mut digest = Digest::default();
            digest.append_value(&ValueRef::Bytes(value.as_bytes()), false);
            assert_eq!(digest.hex(), expected, "{value}");
        };
        check("v", "d79ee9fe5d5ad902d7f6620efc3b07b75ddd742f");
        check("1", "b4fc66738120fba0b5aa500ab5c2bf89cea1c5da");
    }
}
