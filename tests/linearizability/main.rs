//! Histories of real clients, checked for linearizability, at one, two and four shards.
//!
//! Several clients, each on a connection and a thread of its own, work on a few keys at once with
//! commands on one key and on several, transactions and scripts. Each round ends with a moment at
//! which no command is under way; then one more client reads the whole keyspace. The round's
//! history, those reads included, must be explained by the state that the round before ended with
//! (see `kvasir_testing::linear`). Rounds are short, so the check always ends.
//!
//! `KVASIR_SEED=N` repeats a run's commands (not its timing).

mod queues;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use kvasir_proto::Value;
use kvasir_testing::linear::draws::Draws;
use kvasir_testing::linear::keyspace::{Key, Keyspace, Op, Reply, State};
use kvasir_testing::linear::wire::{self, key_name};
use kvasir_testing::linear::{self, Event, Verdict};
use kvasir_testing::{Client, Program, Rng, Server, seed_from_environment};

type Seen = Event<Op, Reply>;

/// Few enough keys that commands meet, enough that each of four shards owns some.
const KEYS: u8 = 8;

/// How a round's load is spread. The product of the first two bounds how many operations overlap,
/// in which the check is exponential.
#[derive(Clone, Copy, Debug)]
struct Shape {
    clients: usize,
    /// Requests that a client sends at once before it reads their replies.
    pipeline: usize,
    /// Such batches a client sends in a round.
    batches: usize,
    rounds: usize,
}

/// The clients of a round, and the observer.
const MOST_CLIENTS: usize = MANY_CLIENTS.clients + 1;

/// How long a reply may take before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);

const MANY_CLIENTS: Shape = Shape { clients: 8, pipeline: 1, batches: 8, rounds: 250 };
const PIPELINES: Shape = Shape { clients: 4, pipeline: 3, batches: 5, rounds: 250 };

#[test]
fn one_shard() {
    run_shapes(1);
}

#[test]
fn two_shards() {
    run_shapes(2);
}

#[test]
fn four_shards() {
    run_shapes(4);
}

fn run_shapes(shards: usize) {
    let server = Server::builder(Program::Kvasir).shards(shards).start();
    let seed = seed_from_environment();
    for shape in [MANY_CLIENTS, PIPELINES] {
        run(&server, shape, seed);
    }
}

/// Runs all rounds of one shape.
fn run(server: &Server, shape: Shape, seed: u64) {
    let clock = Instant::now();
    let mut observer = Worker::new(server, clock, shape.clients, Rng::new(seed));
    observer.execute(&[Op::FlushAll]);
    let mut state = State::new();
    std::thread::scope(|scope| {
        // A channel each way for every client: when a client or the judge panics, the channel's end
        // is dropped and the other side ends too, where a barrier would wait for ever.
        let crew: Vec<_> = (0..shape.clients)
            .map(|client| {
                let rng = Rng::new(seed.wrapping_add(1 + client as u64));
                let worker = Worker::new(server, clock, client, rng);
                let (start, starts) = channel();
                let (sender, events) = channel();
                scope.spawn(move || work(worker, shape, &starts, &sender));
                (start, events)
            })
            .collect();
        for round in 0..shape.rounds {
            for (start, _) in &crew {
                start.send(()).expect("every client is alive");
            }
            let histories = crew.iter().map(|(_, events)| events.recv());
            let history = histories.flat_map(|one| one.expect("every client hands in its events"));
            let label = format!("{shape:?} round {round} KVASIR_SEED={seed}");
            state = judge(&state, history.collect(), &mut observer, &label);
        }
    });
}

/// Reads the whole keyspace at rest and checks the round's history; yields the state.
fn judge(before: &State, mut history: Vec<Seen>, observer: &mut Worker, label: &str) -> State {
    let all: Vec<Key> = (0..KEYS).collect();
    let reads = observer.execute(&[Op::MGet(all)]);
    let Some((_, Reply::Values(values))) = &reads[0].returned else {
        panic!("{label}: MGET answered {:?}", reads[0].returned);
    };
    let found = (0..KEYS).zip(values).filter_map(|(key, value)| Some((key, value.clone()?)));
    let after: State = found.collect();
    history.extend(reads);
    history.extend(observer.execute(&[Op::DbSize]));
    match linear::check::<Keyspace>(before, &history) {
        Verdict::Linearizable => after,
        Verdict::Undecided => panic!("{label}: the history is too hard to check"),
        Verdict::Violation { explained } => panic!(
            "{label}: not linearizable\nfrom {before:?}\n{}\nexplained: {explained:?}",
            linear::describe(&history)
        ),
    }
}

/// One client's part of all rounds.
fn work(mut worker: Worker, shape: Shape, starts: &Receiver<()>, events: &Sender<Vec<Seen>>) {
    while starts.recv().is_ok() {
        let mut seen = Vec::new();
        for _ in 0..shape.batches {
            if worker.draws.rng.one_in(6) {
                seen.extend(worker.watch_and_execute());
                continue;
            }
            let batch: Vec<Op> = (0..shape.pipeline).map(|_| worker.random_op()).collect();
            seen.extend(worker.execute(&batch));
        }
        // The receiver is gone only when the test has failed.
        let _ = events.send(seen);
    }
}

/// A client that notes what it sees.
struct Worker {
    client: Client,
    id: usize,
    clock: Instant,
    draws: Draws,
}

impl Worker {
    fn new(server: &Server, clock: Instant, id: usize, rng: Rng) -> Self {
        let mut client = server.client();
        client.set_patience(PATIENCE);
        Self { client, id, clock, draws: Draws::new(rng, KEYS, (id, MOST_CLIENTS)) }
    }

    /// Sends operations in one write, reads their replies, and notes when.
    fn execute(&mut self, batch: &[Op]) -> Vec<Seen> {
        let requests: Vec<_> = batch.iter().flat_map(wire::requests).collect();
        let bytes: Vec<u8> = requests.iter().flat_map(|args| Client::encode(args)).collect();
        let invoked = self.now();
        self.client.send_raw(&bytes);
        let seen = batch.iter().map(|op| {
            let mut read = || {
                let answer = self.client.try_read();
                answer.unwrap_or_else(|why| panic!("{why:?}: no reply to {op:?}")).0
            };
            let value = match op {
                // What comes before the reply to EXEC has been checked when the queue is executed.
                Op::Multi(ops) => (0..ops.len() + 2).map(|_| read()).last(),
                _ => Some(read()),
            };
            let value = value.expect("a transaction has replies");
            let returned = Some((self.now(), understand(op, &value)));
            Event { client: self.id, op: op.clone(), invoked, returned }
        });
        seen.collect()
    }

    /// Reads keys while it watches them, and executes a transaction that counts on their values.
    /// One that was not executed tells nothing.
    fn watch_and_execute(&mut self) -> Vec<Seen> {
        let keys = self.draws.keys();
        let mut watch = vec!["WATCH".to_owned()];
        watch.extend(keys.iter().copied().map(key_name));
        assert_eq!(self.client.call(&watch), Value::Simple(b"OK".to_vec()));
        let mut seen = self.execute(&[Op::MGet(keys.clone())]);
        let Some((_, Reply::Values(values))) = &seen[0].returned else {
            panic!("MGET answered {:?}", seen[0].returned);
        };
        let found = keys.iter().copied().zip(values.iter().cloned()).collect();
        let mut ops: Vec<Op> = keys.iter().map(|key| Op::Set(*key, self.draws.value())).collect();
        ops.push(self.random_command());
        let op = Op::Guarded(found, ops);
        let requests = wire::requests(&op);
        let bytes: Vec<u8> = requests.iter().flat_map(|args| Client::encode(args)).collect();
        let invoked = self.now();
        self.client.send_raw(&bytes);
        let value =
            (0..requests.len()).map(|_| self.client.read()).last().expect("EXEC has a reply");
        if !matches!(value, Value::Null | Value::NullArray) {
            let returned = Some((self.now(), understand(&op, &value)));
            seen.push(Event { client: self.id, op, invoked, returned });
        }
        seen
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// One operation, or a transaction or a script of a few.
    fn random_op(&mut self) -> Op {
        match self.draws.rng.below(6) {
            0 => Op::Multi(self.random_commands()),
            1 => {
                let ops = self.random_commands();
                self.draws.script(ops)
            }
            _ => self.random_command(),
        }
    }

    fn random_commands(&mut self) -> Vec<Op> {
        (0..=self.draws.rng.below(3)).map(|_| self.random_command()).collect()
    }

    fn random_command(&mut self) -> Op {
        match self.draws.rng.below(32) {
            choice @ 0..Draws::COMMON => self.draws.common(choice),
            19..23 => Op::MSet(self.draws.pairs()),
            23..25 => Op::MSetNx(self.draws.pairs()),
            25..27 => self.draws.transfer(Op::Rename),
            27 => self.draws.transfer(Op::RenameNx),
            28 => self.draws.transfer(Op::Copy),
            29 => Op::DbSize,
            30 => Op::Keys,
            // Too many of these, and every key is missing most of the time.
            _ if self.draws.rng.one_in(3) => Op::FlushAll,
            _ => Op::MGet((0..KEYS).collect()),
        }
    }
}

fn understand(op: &Op, value: &Value) -> Reply {
    let reply = wire::reply(op, value);
    reply.unwrap_or_else(|| panic!("{op:?} answered {}", kvasir_testing::show(value)))
}

#[test]
fn the_keys_lie_on_all_of_four_shards() {
    let shard = |key| (usize::from(kvasir_proto::key_slot(key_name(key).as_bytes())) * 4) >> 14;
    for wanted in 0..4 {
        assert!((0..KEYS).any(|key| shard(key) == wanted), "no key on shard {wanted}");
    }
}
