//! Cores on one thread, and a command that waits for a string: `TAKE key [key ...] seconds`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use kvasir_proto::{ArgRanges, Encoder, Limits, Parsed, RequestParser, append_request};
use kvasir_shard::{KeyHasher, Shard, ShardConfig, ValueType};
use kvasir_testing::Rng;

use super::waiters::{Means, Pending, Waiters};
use super::*;
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arity, Command, Flags, KeySpec, SpreadAttempt};
use crate::commands::table::entry_of_test;
use crate::config::Config;
use crate::route::core::Residue;
use crate::route::engine::{Close, Engine, Now, SocketInfo};
use crate::route::message::Batch;
use crate::route::shard_map::ShardMap;
use crate::route::shared::{Process, Shared};
use crate::server::clock::Stopwatch;

const TAKE: Command = Command {
    name: "take",
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::BLOCKING),
    keys: &[KeySpec::at(1)
        .range(-2, 1, 0)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    handler: Handler::Blocking(&Blocking {
        patience: |args| Patience::of_seconds(args.at(args.len() - 1)),
        awaits: ValueType::String,
        shares: false,
        notices_loss: false,
        whole: take,
        spread: SpreadAttempt::FirstKey,
        nothing: |reply| reply.null(),
        not_waiting: |reply| reply.null(),
    }),
    ..Command::BASE
};

/// Takes the first of the strings that exist.
fn take(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    for name in args.iter().take(args.len() - 1).skip(1) {
        let key = context.key(name);
        let Some(value) = context.read(&key) else { continue };
        reply.bulk(&value.to_vec().ok_or(CommandError::WrongType)?);
        context.shard.remove(context.db, &key);
        return Ok(Attempt::Done);
    }
    Ok(Attempt::Wait)
}

fn take_entry() -> &'static Entry {
    static ENTRY: OnceLock<&'static Entry> = OnceLock::new();
    ENTRY.get_or_init(|| {
        static COMMAND: Command = TAKE;
        entry_of_test(&COMMAND)
    })
}

/// A connection: its core and key.
pub(in crate::route) type Client = (usize, ConnectionKey);

pub(in crate::route) struct World {
    pub(in crate::route) cores: Vec<Core>,
    /// By sender and then target.
    links: Vec<VecDeque<Box<Batch>>>,
    outputs: BTreeMap<Client, Vec<u8>>,
    pub(in crate::route) now_us: u64,
}

impl World {
    pub(in crate::route) fn new(shards: u16) -> Self {
        let seeds = [1, 2, 3, 4];
        let process = Process {
            run_id: "0".repeat(40),
            started_unix_us: 0,
            pid: 1,
            executable: String::new(),
            config_file: String::new(),
        };
        let map = ShardMap::new(shards, KeyHasher::new(seeds));
        let stopwatch = Stopwatch::from_nanoseconds(|| 0);
        let shared = Arc::new(Shared::new(map, Config::default(), process, stopwatch));
        let config =
            |rng_seed| ShardConfig { databases: 16, hash_seeds: seeds, slot_mode: false, rng_seed };
        let core =
            |id| Core::new(ShardId(id), Arc::clone(&shared), Shard::new(config(u64::from(id))));
        Self {
            cores: (0..shards).map(core).collect(),
            links: (0..usize::from(shards).pow(2)).map(|_| VecDeque::new()).collect(),
            outputs: BTreeMap::new(),
            now_us: 1_000_000,
        }
    }

    pub(in crate::route) fn connect(&mut self, core: usize) -> Client {
        (core, self.cores[core].opened(SocketInfo::none()))
    }

    fn tick(&mut self, core: usize) {
        let now = Now { unix_us: 1_700_000_000_000_000 + self.now_us, monotonic_us: self.now_us };
        self.cores[core].tick(now);
    }

    /// Sends a request; only its own core is run.
    pub(in crate::route) fn send(&mut self, (core, key): Client, line: &str) {
        let mut request = Vec::new();
        append_request(&mut request, line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        self.tick(core);
        if !line.starts_with("TAKE") {
            self.cores[core].received(key, &request);
            return self.end_round(core);
        }
        let mut ranges = ArgRanges::default();
        let parsed = RequestParser::new().parse(&request, &Limits::default(), &mut ranges);
        assert!(matches!(parsed, Ok(Parsed::Complete { .. })));
        let Handler::Blocking(blocking) = take_entry().command.handler else { unreachable!() };
        let ahead =
            Ahead { start: 0, end: 0, entry: Some(take_entry()), hash: 0, owner: ShardId(0) };
        let args = ranges.view(&request);
        self.cores[core].block(key, take_entry(), blocking, ahead, args).unwrap();
        self.cores[core].state.mark_dirty(key);
        self.end_round(core);
    }

    pub(in crate::route) fn end_round(&mut self, core: usize) {
        self.cores[core].work();
        while let Some(key) = self.cores[core].next_dirty() {
            let output = self.cores[core].take_output(key, Vec::new());
            let len = output.len();
            self.outputs.entry((core, key)).or_default().extend(output);
            self.cores[core].sent(key, len, 0);
        }
        while let Some((target, batch)) = self.cores[core].next_outgoing() {
            self.links[core * self.cores.len() + target.index()].push_back(batch);
        }
    }

    /// Delivers one message, if there is one, and ends the round of its core.
    pub(in crate::route) fn deliver(&mut self, from: usize, to: usize) {
        self.tick(to);
        if let Some(batch) = self.links[from * self.cores.len() + to].pop_front() {
            self.cores[to].deliver(batch);
        }
        self.end_round(to);
    }

    /// Goes on until nothing is under way.
    pub(in crate::route) fn settle(&mut self) {
        loop {
            for to in 0..self.cores.len() {
                for from in 0..self.cores.len() {
                    self.deliver(from, to);
                }
            }
            let idle = |core: &Core| {
                let Residue { ready, batches, .. } = core.residue();
                ready == 0 && batches == 0 && core.long.is_empty()
            };
            if self.links.iter().all(VecDeque::is_empty) && self.cores.iter().all(idle) {
                break;
            }
        }
        self.cores.iter().for_each(Core::verify);
    }

    pub(in crate::route) fn request(&mut self, client: Client, line: &str) -> String {
        self.send(client, line);
        self.settle();
        self.output(client)
    }

    pub(in crate::route) fn output(&mut self, client: Client) -> String {
        let output = self.outputs.remove(&client).unwrap_or_default();
        String::from_utf8(output).unwrap().replace("\r\n", " ").trim_end().to_owned()
    }

    fn hang_up(&mut self, (core, key): Client) {
        self.tick(core);
        self.cores[core].hangup(key, true);
        self.end_round(core);
    }

    fn close(&mut self, (core, key): Client) {
        self.tick(core);
        self.cores[core].closed(key);
        self.end_round(core);
        self.outputs.remove(&(core, key));
    }

    pub(in crate::route) fn is_at_rest(&self) -> bool {
        self.cores.iter().all(|core| {
            let residue = core.residue();
            Residue { ready: 0, dirty: 0, ..residue } == Residue::default()
        })
    }
}

/// Keys of the two halves of the slots: of shards 0 and 1 of two.
const ON_0: [&str; 2] = ["b", "f"];
const ON_1: [&str; 2] = ["a", "d"];

#[test]
fn the_keys_lie_where_the_tests_expect_them() {
    let map = ShardMap::new(2, KeyHasher::new([1, 2, 3, 4]));
    assert!(ON_0.iter().all(|key| map.owner(key.as_bytes()) == ShardId(0)));
    assert!(ON_1.iter().all(|key| map.owner(key.as_bytes()) == ShardId(1)));
}

/// Whoever comes first is served first, wherever clients, writer and key are.
#[test]
fn first_come_first_served() {
    for key in [ON_0[0], ON_1[0]] {
        let mut world = World::new(2);
        let clients = [0, 1, 0, 1].map(|core| world.connect(core));
        for client in clients {
            assert_eq!(world.request(client, &format!("TAKE {key} 0")), "");
        }
        for (number, client) in clients.into_iter().enumerate() {
            let writer = world.connect(number % 2);
            assert_eq!(world.request(writer, &format!("SET {key} v{number}")), "+OK");
            assert_eq!(world.output(client), format!("$2 v{number}"));
            assert_eq!(world.request(writer, &format!("EXISTS {key}")), ":0");
        }
        assert!(world.is_at_rest());
    }
}

#[test]
fn what_is_there_is_taken_at_once() {
    let mut world = World::new(2);
    let client = world.connect(0);
    for key in [ON_0[0], ON_1[0]] {
        world.request(client, &format!("SET {key} v"));
        assert_eq!(world.request(client, &format!("TAKE {} {key} 0", ON_0[1])), "$1 v");
    }
    assert!(world.is_at_rest());
}

#[test]
fn requests_behind_one_that_waits_wait_too() {
    let mut world = World::new(2);
    let (client, writer) = (world.connect(0), world.connect(1));
    assert_eq!(world.request(client, "TAKE a 0"), "");
    assert_eq!(world.request(client, "ECHO later"), "");
    assert_eq!(world.request(writer, "SET a now"), "+OK");
    assert_eq!(world.output(client), "$3 now $5 later");
}

/// Keys of both shards: the one that gets ready is taken, whichever it is, and only one.
#[test]
fn keys_of_several_shards() {
    for (key, other) in [(ON_0[0], ON_1[0]), (ON_1[0], ON_0[0])] {
        let mut world = World::new(2);
        let (client, writer) = (world.connect(0), world.connect(1));
        assert_eq!(world.request(client, "TAKE b a 0"), "");
        assert_eq!(world.request(writer, &format!("SET {key} v")), "+OK");
        assert_eq!(world.output(client), "$1 v");
        assert_eq!(world.request(writer, &format!("SET {other} w")), "+OK");
        assert_eq!(world.request(writer, "EXISTS a b"), ":1");
        assert!(world.is_at_rest());
    }
}

/// Both keys come to be in one transaction: the first that the client named is taken.
#[test]
fn of_two_ready_keys_the_first_named_is_taken() {
    for names in ["a b", "b a"] {
        let mut world = World::new(2);
        let (client, writer) = (world.connect(1), world.connect(0));
        assert_eq!(world.request(client, &format!("TAKE {names} 0")), "");
        assert_eq!(world.request(writer, "MSET a a b b"), "+OK");
        assert_eq!(world.output(client), format!("$1 {}", &names[..1]));
        assert_eq!(world.request(writer, "EXISTS a b"), ":1");
        assert!(world.is_at_rest());
    }
}

/// Between the change and the attempt of a client of another core, nobody sees the key.
#[test]
fn nobody_comes_between() {
    let mut world = World::new(2);
    let (client, writer, thief) = (world.connect(1), world.connect(0), world.connect(0));
    assert_eq!(world.request(client, "TAKE b a 0"), "");
    world.send(writer, "SET b v");
    world.send(thief, "GETDEL b");
    assert_eq!(world.output(thief), "", "it waits for the attempt");
    world.settle();
    assert_eq!(world.output(client), "$1 v");
    assert_eq!(world.output(thief), "$-1");
    assert!(world.is_at_rest());
}

#[test]
fn whatever_brings_a_value_serves() {
    let ways: [&[&str]; 6] = [
        &["SET f v", "RENAME f b"],
        &["SET d v", "RENAME d b"],
        &["SET d v", "COPY d b"],
        &["SELECT 1", "SET b v", "MOVE b 0"],
        &["SELECT 1", "SET b v", "SWAPDB 0 1"],
        &["MSETNX b v a v"],
    ];
    for way in ways {
        let mut world = World::new(2);
        let (client, writer) = (world.connect(1), world.connect(0));
        assert_eq!(world.request(client, "TAKE b 0"), "");
        for request in way {
            assert_eq!(world.output(client), "", "{way:?}");
            world.request(writer, request);
        }
        assert_eq!(world.output(client), "$1 v", "{way:?}");
        assert!(world.is_at_rest());
    }
}

#[test]
fn time_is_up() {
    for keys in ["b", "a", "a b"] {
        let mut world = World::new(2);
        let client = world.connect(0);
        assert_eq!(world.request(client, &format!("TAKE {keys} 0.005")), "");
        world.now_us += 4_999;
        world.settle();
        assert_eq!(world.output(client), "");
        world.now_us += 1;
        world.settle();
        assert_eq!(world.output(client), "$-1");
        assert_eq!(world.request(client, &format!("MSET {} v", keys.replace(' ', " v "))), "+OK");
        assert_eq!(world.output(client), "", "it waits no more");
        assert!(world.is_at_rest());
    }
}

/// Time that passes on the way to the shards is no reason to miss what is there.
#[test]
fn who_has_not_been_tried_is_not_told_that_there_is_nothing() {
    for keys in ["a", "a b"] {
        let mut world = World::new(2);
        let client = world.connect(0);
        world.request(client, "SET a v");
        world.send(client, &format!("TAKE {keys} 0.001"));
        world.now_us += 10_000;
        world.tick(0);
        world.end_round(0);
        assert_eq!(world.output(client), "");
        world.settle();
        assert_eq!(world.output(client), "$1 v");
        assert!(world.is_at_rest());
    }
}

#[test]
fn client_unblock_from_any_core() {
    for keys in ["b", "a", "a b"] {
        for core in [0, 1] {
            let mut world = World::new(2);
            let (client, other) = (world.connect(0), world.connect(core));
            let id = world.request(client, "CLIENT ID")[1..].to_owned();
            assert_eq!(world.request(other, &format!("CLIENT UNBLOCK {id}")), ":0");
            world.request(client, &format!("TAKE {keys} 0"));
            assert_eq!(world.request(other, &format!("CLIENT UNBLOCK {id} TIMEOUT")), ":1");
            assert_eq!(world.output(client), "$-1");
            world.request(client, &format!("TAKE {keys} 0"));
            assert_eq!(world.request(other, &format!("CLIENT UNBLOCK {id} ERROR")), ":1");
            let text = "-UNBLOCKED client unblocked via CLIENT UNBLOCK";
            assert_eq!(world.output(client), text);
            assert_eq!(world.request(other, &format!("CLIENT UNBLOCK {id}")), ":0");
            assert!(world.is_at_rest());
        }
    }
}

/// Once a client is known to be gone nothing is taken for it, although the shards where it waits
/// have not been told yet.
#[test]
fn nothing_is_taken_for_a_client_that_is_gone() {
    for keys in ["b", "a", "a b"] {
        let mut world = World::new(2);
        let (client, writer) = (world.connect(0), world.connect(1));
        world.request(client, &format!("TAKE {keys} 0"));
        world.hang_up(client);
        world.send(writer, &format!("SET {} v", &keys[..1]));
        world.close(client);
        world.settle();
        assert_eq!(world.output(writer), "+OK");
        assert_eq!(world.request(writer, &format!("EXISTS {}", &keys[..1])), ":1");
        assert!(world.is_at_rest());
    }
}

/// A waiter that is behind the locks of a transaction is tried when that is over.
#[test]
fn a_waiter_waits_for_locks_in_line() {
    let mut world = World::new(2);
    let (client, writer, other) = (world.connect(0), world.connect(0), world.connect(0));
    world.request(client, "TAKE b 0");
    world.request(writer, "SET d v");
    // The rename holds its locks on both shards until the last message has come.
    world.send(writer, "RENAME d b");
    world.deliver(0, 1);
    world.send(other, "EXISTS b");
    world.settle();
    assert_eq!(world.output(client), "$1 v");
    assert_eq!(world.output(writer), "+OK");
    assert!(world.is_at_rest());
}

/// Every value that is stored is taken by one client, or is still there, whatever the delays and
/// whoever goes when.
#[test]
fn nothing_is_lost_and_nothing_taken_twice() {
    for seed in 0..150 {
        let mut run = Run::new(seed);
        (0..400).for_each(|_| run.step());
        run.finish();
    }
}

/// A random run.
struct Run {
    world: World,
    rng: Rng,
    takers: Vec<Client>,
    writer: Client,
    values: u64,
    /// What each of the writer's requests that have not been answered would store.
    asked: VecDeque<Vec<u64>>,
    /// What has been stored.
    stored: Vec<u64>,
    taken: Vec<u64>,
    /// Clients that went while they waited: each may have been sent one value.
    gone: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut world = World::new(1 + rng.below(3) as u16);
        let cores = world.cores.len();
        let takers = (0..4).map(|_| world.connect(rng.below(cores))).collect();
        let writer = world.connect(rng.below(cores));
        Self {
            world,
            rng,
            takers,
            writer,
            values: 0,
            asked: VecDeque::new(),
            stored: Vec::new(),
            taken: Vec::new(),
            gone: 0,
        }
    }

    fn step(&mut self) {
        let cores = self.world.cores.len();
        self.world.now_us += self.rng.below(500) as u64;
        match self.rng.below(16) {
            0..3 => self.take(),
            3..5 => self.write(),
            5 if self.rng.one_in(4) => self.replace(),
            _ => {
                let (from, to) = (self.rng.below(cores), self.rng.below(cores));
                self.world.deliver(from, to);
                self.read_all();
            }
        }
    }

    fn take(&mut self) {
        let taker = *self.rng.pick(&self.takers);
        let connection = &self.world.cores[taker.0].state.connections[taker.1.0 as usize];
        if connection.blocked() != Blocked::No {
            return;
        }
        let keys: Vec<&str> =
            (0..=self.rng.below(3)).map(|_| *self.rng.pick(&["a", "b", "d", "f"])).collect();
        let timeout = self.rng.below(3) as f64 / 1000.0;
        self.world.send(taker, &format!("TAKE {} {timeout}", keys.join(" ")));
        self.read_all();
    }

    fn write(&mut self) {
        self.values += 2;
        let (one, other) = (self.values - 2, self.values - 1);
        let request = match self.rng.below(5) {
            0 => "RENAMENX a b".to_owned(),
            1 => "RENAMENX b f".to_owned(),
            2 => format!("MSETNX a {one} b {other}"),
            3 => format!("MSETNX d {one} f {other}"),
            _ => {
                let key = *self.rng.pick(&["a", "b", "d", "f"]);
                format!("MSETNX {key} {one} {key}:{other} {other}")
            }
        };
        self.world.send(self.writer, &request);
        let values = request.split(' ').skip(1).filter_map(|word| word.parse().ok());
        let values = values.filter(|value| !request.contains(&format!(":{value} ")));
        self.asked.push_back(values.collect());
    }

    /// A client goes, another comes.
    fn replace(&mut self) {
        let cores = self.world.cores.len();
        let at = self.rng.below(self.takers.len());
        let taker = self.takers[at];
        let connection = &self.world.cores[taker.0].state.connections[taker.1.0 as usize];
        self.gone += usize::from(connection.blocked() == Blocked::Waiting);
        self.world.hang_up(taker);
        self.world.close(taker);
        self.takers[at] = self.world.connect(self.rng.below(cores));
    }

    fn read_all(&mut self) {
        let answers = self.world.output(self.writer);
        for answer in answers.split(' ').filter(|answer| answer.starts_with([':', '-'])) {
            let values = self.asked.pop_front().expect("an answer answers a request");
            if answer == ":1" {
                self.stored.extend(values);
            }
        }
        for taker in self.takers.clone() {
            let output = self.world.output(taker);
            let values =
                output.split(' ').filter(|word| !word.is_empty() && !word.starts_with('$'));
            self.taken.extend(values.map(|value| value.parse::<u64>().expect("a number")));
        }
    }

    fn finish(&mut self) {
        self.world.settle();
        self.world.now_us += 1_000_000;
        self.world.settle();
        self.read_all();
        for taker in self.takers.clone() {
            self.world.hang_up(taker);
            self.world.close(taker);
        }
        self.world.settle();
        assert!(self.world.is_at_rest(), "{:?}", self.world.cores[0].residue());
        let mut left = self.world.request(self.writer, "MGET a b d f");
        left.insert(0, ' ');
        let taken = self.taken.len();
        self.taken.sort_unstable();
        self.taken.dedup();
        assert_eq!(self.taken.len(), taken, "nothing is taken twice");
        let mut lost = 0;
        for value in std::mem::take(&mut self.stored) {
            let is_taken = self.taken.binary_search(&value).is_ok();
            let is_left =
                left.contains(&format!(" {value} ")) || left.ends_with(&format!(" {value}"));
            assert!(!(is_taken && is_left), "{value} is taken and still there");
            lost += usize::from(!is_taken && !is_left);
        }
        assert!(lost <= self.gone, "{lost} values are lost, {} clients were gone", self.gone);
    }
}

/// The queues against a plain list.
#[test]
fn queues_are_like_a_list() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut waiters = Waiters::default();
        let mut model: Vec<(u64, Vec<&str>)> = Vec::new();
        for client in 0..200 {
            if rng.one_in(2) {
                let keys: Vec<&str> =
                    (0..=rng.below(3)).map(|_| *rng.pick(&["a", "b", "c"])).collect();
                insert(&mut waiters, client, &keys);
                model.push((client, keys));
            } else if !model.is_empty() {
                let (client, _) = model.remove(rng.below(model.len()));
                waiters.forget(client);
            }
            waiters.verify();
            for key in ["a", "b", "c"] {
                let mut seen = Vec::new();
                let mut after = None;
                while let Some(ticket) =
                    waiters.next_after(0, key.as_bytes(), ValueType::String, after)
                {
                    seen.push(waiters.get(ticket).unwrap().pending.to.client);
                    after = Some(ticket);
                }
                let of_key = model.iter().filter(|(_, keys)| keys.contains(&key));
                assert_eq!(seen, of_key.map(|(client, _)| *client).collect::<Vec<_>>());
            }
        }
    }
}

fn insert(waiters: &mut Waiters, client: u64, keys: &[&str]) {
    let Handler::Blocking(blocking) = take_entry().command.handler else { unreachable!() };
    let pending = Pending {
        entry: take_entry(),
        blocking,
        to: ReplyTo { connection: ConnectionKey(0), client, sequence: 0 },
        home: ShardId(0),
        view: ClientView {
            db: 0,
            resp: kvasir_proto::Resp::V2,
            no_touch: false,
            import_source: false,
            tracks: false,
            client,
            scripted: false,
        },
        claim: Arc::default(),
    };
    let args = OwnedArgs::of_parts([].into_iter());
    waiters.insert(pending, Means::Here(args), keys.iter().map(|key| key.as_bytes().to_vec()));
}

#[test]
fn a_closed_connection_is_closed() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.request(client, "TAKE a 0");
    world.tick(0);
    world.cores[0].hangup(client.1, false);
    world.end_round(0);
    world.settle();
    assert_ne!(world.cores[0].disposition(client.1).close, Close::No);
    assert_eq!(world.cores[0].residue().waits, 0);
}
