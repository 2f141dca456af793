//! Random arguments for the operations of [`super::keyspace`].

use super::keyspace::{Key, Op};
use crate::Rng;

/// What one client draws its operations from; every written value is a new one, so that a read
/// tells which write it saw.
#[derive(Debug)]
pub struct Draws {
    /// For whatever else its owner decides.
    pub rng: Rng,
    keys: u8,
    client: u64,
    clients: u64,
    writes: u64,
    /// The number of a script of its own.
    script: u64,
}

/// A value of more than this is too large for a script to keep it as it was.
const LARGE_BYTES: usize = 2100;

impl Draws {
    /// For one of so many that draw for themselves, on so many keys.
    pub fn new(rng: Rng, keys: u8, (client, clients): (usize, usize)) -> Self {
        assert!(client < clients, "client {client} would write another's values");
        Self { rng, keys, client: client as u64, clients: clients as u64, writes: 0, script: 0 }
    }

    /// One of the keys.
    pub fn key(&mut self) -> Key {
        self.rng.below(self.keys.into()) as Key
    }

    /// Two to four keys; the same one may come twice.
    pub fn keys(&mut self) -> Vec<Key> {
        (0..2 + self.rng.below(3)).map(|_| self.key()).collect()
    }

    /// Two to four keys and new values.
    pub fn pairs(&mut self) -> Vec<(Key, String)> {
        let keys = self.keys();
        keys.into_iter().map(|key| (key, self.value())).collect()
    }

    /// A command from one key to another; COPY refuses a key as its own destination.
    pub fn transfer(&mut self, op: impl Fn(Key, Key) -> Op) -> Op {
        let from = self.key();
        let to = (from + 1 + self.rng.below(usize::from(self.keys) - 1) as Key) % self.keys;
        op(from, to)
    }

    /// So many choices of operations, for [`Draws::common`].
    pub const COMMON: usize = 19;

    /// The operation of a choice below [`Draws::COMMON`]: what every history has most of.
    pub fn common(&mut self, choice: usize) -> Op {
        match choice {
            0..4 => Op::Get(self.key()),
            4..7 => Op::Set(self.key(), self.value()),
            7 => Op::SetNx(self.key(), self.value()),
            8 => Op::GetDel(self.key()),
            9 => Op::Append(self.key(), "7".to_owned()),
            10..12 => Op::Incr(self.key()),
            12 => Op::Del(self.keys()),
            13 => Op::Unlink(self.keys()),
            14 => Op::Exists(self.keys()),
            15..Self::COMMON => Op::MGet(self.keys()),
            _ => panic!("choice {choice} is none of the common ones"),
        }
    }

    /// A script of these commands, which declares all its keys, some or none, and whose text may
    /// have been sent before, by any client or by this one. It may write values that are too large
    /// to be taken back.
    pub fn script(&mut self, mut ops: Vec<Op>) -> Op {
        for op in &mut ops {
            if let Op::Set(_, value) = op
                && self.rng.one_in(2)
            {
                value.push_str(&"0".repeat(LARGE_BYTES));
            }
        }
        let mut declared = Op::Multi(ops.clone()).keys().unwrap_or_default();
        if self.rng.one_in(2) {
            declared.truncate(self.rng.below(declared.len() + 1));
        }
        let number = match self.rng.below(5) {
            0 => 0,
            1 => {
                self.script = self.number();
                self.script
            }
            _ => self.script,
        };
        Op::Script { declared, number, ops }
    }

    /// A new value that is too large for a script to keep it as it was.
    pub fn large_value(&mut self) -> String {
        self.value() + &"0".repeat(LARGE_BYTES)
    }

    /// A number that no other write uses and that INCR does not reach.
    pub fn value(&mut self) -> String {
        (self.number() * 1_000).to_string()
    }

    fn number(&mut self) -> u64 {
        self.writes += 1;
        self.writes * self.clients + self.client
    }
}
