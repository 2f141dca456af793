//! Histories of clients that wait for elements of lists and sorted sets.
//!
//! Whoever gets an element took it at some moment between request and reply, and nobody else did;
//! whoever got none looked at a moment at which there was none. A round's history is checked from
//! the state that the round before ended with, as those of strings are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use kvasir_proto::Value;
use kvasir_testing::linear::{self, Event, Model, Verdict};
use kvasir_testing::{Client, Program, Rng, Server, seed_from_environment, show, words};

/// Lists have even numbers and sorted sets odd ones; of either there are some on each shard.
const KEYS: u8 = 6;
const CLIENTS: usize = 6;
const OPERATIONS: usize = 5;
const ROUNDS: usize = 120;
/// How long a client waits, in seconds: long enough that others come in between.
const PATIENCE: &str = "0.02";

type Key = u8;

/// The elements of each key that exists. Those of a sorted set have one score, and so the order of
/// their names.
type State = BTreeMap<Key, VecDeque<String>>;

#[derive(Clone, Debug)]
enum Op {
    /// `RPUSH` or `ZADD`.
    Put(Key, Vec<String>),
    /// `LPOP` or `ZPOPMIN`.
    Take(Key),
    /// `BLPOP` or `BZPOPMIN` on keys of one type.
    Await(Vec<Key>),
    /// `BLMOVE` from the left to the right.
    AwaitMove(Key, Key),
    /// `LRANGE` or `ZRANGE` of everything.
    Look(Key),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    Count(i64),
    /// An element and the key that it comes from, or none.
    Taken(Option<(Key, String)>),
    All(Vec<String>),
}

struct Queues;

fn take(state: &mut State, key: Key) -> Option<String> {
    let elements = state.get_mut(&key)?;
    let first = elements.pop_front();
    if elements.is_empty() {
        state.remove(&key);
    }
    first
}

fn is_list(key: Key) -> bool {
    key.is_multiple_of(2)
}

impl Model for Queues {
    type State = State;
    type Op = Op;
    type Reply = Reply;

    fn apply(state: &State, op: &Op) -> (State, Reply) {
        let mut state = state.clone();
        let reply = match op {
            Op::Put(key, names) => {
                let elements = state.entry(*key).or_default();
                elements.extend(names.iter().cloned());
                let count = if is_list(*key) { elements.len() } else { names.len() };
                if !is_list(*key) {
                    elements.make_contiguous().sort();
                }
                Reply::Count(count as i64)
            }
            Op::Take(key) => Reply::Taken(take(&mut state, *key).map(|name| (*key, name))),
            Op::Await(keys) => {
                let first = keys.iter().find(|key| state.contains_key(key)).copied();
                Reply::Taken(first.and_then(|key| Some((key, take(&mut state, key)?))))
            }
            Op::AwaitMove(from, to) => {
                let moved = take(&mut state, *from);
                if let Some(name) = &moved {
                    state.entry(*to).or_default().push_back(name.clone());
                }
                Reply::Taken(moved.map(|name| (*from, name)))
            }
            Op::Look(key) => Reply::All(state.get(key).into_iter().flatten().cloned().collect()),
        };
        (state, reply)
    }

    fn only_looks(op: &Op, reply: &Reply) -> bool {
        matches!(op, Op::Look(_)) || *reply == Reply::Taken(None)
    }
}

fn name(key: Key) -> String {
    format!("queue:{key}")
}

fn request(op: &Op) -> String {
    match op {
        Op::Put(key, names) if is_list(*key) => format!("RPUSH {} {}", name(*key), names.join(" ")),
        Op::Put(key, names) => format!("ZADD {} 0 {}", name(*key), names.join(" 0 ")),
        Op::Take(key) if is_list(*key) => format!("LPOP {}", name(*key)),
        Op::Take(key) => format!("ZPOPMIN {}", name(*key)),
        Op::Await(keys) => {
            let command = if is_list(keys[0]) { "BLPOP" } else { "BZPOPMIN" };
            let names: Vec<String> = keys.iter().copied().map(name).collect();
            format!("{command} {} {PATIENCE}", names.join(" "))
        }
        Op::AwaitMove(from, to) => {
            format!("BLMOVE {} {} LEFT RIGHT {PATIENCE}", name(*from), name(*to))
        }
        Op::Look(key) if is_list(*key) => format!("LRANGE {} 0 -1", name(*key)),
        Op::Look(key) => format!("ZRANGE {} 0 -1", name(*key)),
    }
}

fn understand(op: &Op, value: &Value) -> Reply {
    let text =
        |value: &Value| String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned();
    match (op, value) {
        (_, Value::Integer(count)) => Reply::Count(*count),
        (Op::Look(_), Value::Array(names)) => Reply::All(names.iter().map(text).collect()),
        (_, Value::Null | Value::NullArray) => Reply::Taken(None),
        (Op::Take(_), Value::Array(parts)) if parts.is_empty() => Reply::Taken(None),
        (Op::Take(key), Value::Array(parts)) => Reply::Taken(Some((*key, text(&parts[0])))),
        (Op::Take(key) | Op::AwaitMove(key, _), Value::Bulk(_)) => {
            Reply::Taken(Some((*key, text(value))))
        }
        (Op::Await(keys), Value::Array(parts)) => {
            let from = text(&parts[0]);
            let key = keys.iter().find(|key| name(**key) == from);
            Reply::Taken(Some((*key.expect("a key that was named"), text(&parts[1]))))
        }
        _ => panic!("{op:?} answered {}", show(value)),
    }
}

/// Runs an operation and notes what a client sees of it.
fn observe(client: &mut Client, id: usize, clock: Instant, op: Op) -> Event<Op, Reply> {
    let now = || clock.elapsed().as_nanos() as u64;
    let invoked = now();
    let value = client.call(&words(&request(&op)));
    let reply = understand(&op, &value);
    Event { client: id, op, invoked, returned: Some((now(), reply)) }
}

fn random_op(rng: &mut Rng, id: usize, writes: &mut u64) -> Op {
    let key = rng.below(KEYS.into()) as Key;
    let other = |rng: &mut Rng| (key + 2 * rng.below(3) as Key) % KEYS;
    match rng.below(10) {
        0..4 => {
            let names = (0..=rng.below(2)).map(|_| {
                *writes += 1;
                format!("{:05}:{id}", *writes)
            });
            Op::Put(key, names.collect())
        }
        4 => Op::Take(key),
        5..8 => Op::Await((0..=rng.below(3)).map(|_| other(rng)).collect()),
        8 if is_list(key) => Op::AwaitMove(key, other(rng)),
        _ => Op::Look(key),
    }
}

#[test]
fn one_shard() {
    run(1);
}

#[test]
fn two_shards() {
    run(2);
}

#[test]
fn four_shards() {
    run(4);
}

fn run(shards: usize) {
    let server = Server::builder(Program::Kvasir).shards(shards).start();
    let seed = seed_from_environment();
    let clock = Instant::now();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|id| (id, server.client(), Rng::new(seed.wrapping_add(id as u64)), 0))
        .collect();
    let mut observer = server.client();
    let mut state = State::new();
    for round in 0..ROUNDS {
        let mut history: Vec<_> = std::thread::scope(|scope| {
            let work = clients.iter_mut().map(|(id, client, rng, writes)| {
                scope.spawn(move || {
                    let mut observe_one =
                        |_| observe(client, *id, clock, random_op(rng, *id, writes));
                    (0..OPERATIONS).map(&mut observe_one).collect::<Vec<_>>()
                })
            });
            let work: Vec<_> = work.collect();
            work.into_iter().flat_map(|one| one.join().expect("a client ends well")).collect()
        });
        let looks: Vec<_> =
            (0..KEYS).map(|key| observe(&mut observer, CLIENTS, clock, Op::Look(key))).collect();
        let mut after = State::new();
        for look in &looks {
            if let (Op::Look(key), Some((_, Reply::All(names)))) = (&look.op, &look.returned)
                && !names.is_empty()
            {
                after.insert(*key, names.iter().cloned().collect());
            }
        }
        history.extend(looks);
        let verdict = linear::check::<Queues>(&state, &history);
        assert!(
            verdict == Verdict::Linearizable,
            "KVASIR_SEED={seed} round {round}: {verdict:?}\nfrom {state:?}\n{}",
            linear::describe(&history)
        );
        state = after;
    }
}
