//! All of a server on one thread, and its clients: everything that happens is drawn from one seed.
//!
//! A run alternates between load, in which requests, splits of their bytes, delays of messages,
//! broken connections and the clock are random, and rest, in which nothing new is asked for and a
//! core runs only when it has an event or wants to. At rest everything must have been answered and
//! nothing may be left behind; what the clients have seen until then must be linearizable.

use std::collections::VecDeque;
use std::sync::Arc;

use kvasir_proto::Value;
use kvasir_server::config::Config;
use kvasir_server::route::core::{Core, Residue};
use kvasir_server::route::engine::ShardId;
use kvasir_server::route::message::Batch;
use kvasir_server::route::shard_map::ShardMap;
use kvasir_server::route::shared::{Process, Shared};
use kvasir_server::server::clock::Stopwatch;
use kvasir_shard::{KeyHasher, Shard, ShardConfig};
use kvasir_testing::Rng;
use kvasir_testing::linear::keyspace::{self, Op, Reply};
use kvasir_testing::linear::{self, Event, Verdict};

use crate::fault::Fault;
use crate::load::{self, Flavour, Generator, KEYS, LISTS, Request, Scenario};
use crate::log::{self, Disk};
use crate::model::{Action, Lists, Map, State, Step, Tag};
use crate::node::{Node, Reached};

/// Steps a request after which the load stops although some are left: nobody is answered any more,
/// which the rest will show.
const LOAD_STEPS: usize = 100;
/// Requests of sixty clients that may be answered before one that was sent before them. What is
/// refused again and again exceeds it.
const OVERTAKEN_MAX: usize = 600;
/// Rounds in which all that is under way must come to rest once the load has stopped.
const REST_ROUNDS: usize = 200_000;
/// Virtual time that coming to rest may take, microseconds: pauses end, and nothing else waits.
const REST_US: u64 = 10_000_000;

/// A request under way.
struct Waiting {
    request: Request,
    /// Its place in the history, if it has one.
    index: Option<usize>,
    /// Requests of all clients that had been answered before it was sent.
    answered_before: usize,
}

/// A client: at most one connection at a time.
#[derive(Default)]
struct Client {
    /// The core of its connection, if it has one.
    core: Option<usize>,
    /// Counts its connections.
    incarnation: u64,
    inbox: Vec<u8>,
    waiting: VecDeque<Waiting>,
    /// It sends nothing more on this connection.
    silent: bool,
    /// It has done so while it waited for a key, and so gets no answer.
    given_up: bool,
}

/// See the module's head.
pub(crate) struct World {
    flavour: Flavour,
    fault: Fault,
    tracing: bool,
    rng: Rng,
    generator: Generator,
    now_us: u64,
    nodes: Vec<Node>,
    /// Messages under way, by sender and then target.
    links: Vec<VecDeque<Box<Batch>>>,
    clients: Vec<Client>,
    /// The log, if there is one.
    disk: Option<Disk>,
    drops_left: usize,
    /// Requests that have been answered.
    answered: usize,
    /// The state at the last moment of rest, and what has happened since.
    before: keyspace::State,
    lists_before: Lists,
    history: Vec<Event<Step, Option<Reply>>>,
    /// Histories that were too hard to check.
    undecided: u64,
}

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario, fault: Fault, tracing: bool) -> Self {
        let mut rng = Rng::new(seed);
        let flavour = Flavour::draw(&mut rng, scenario);
        let generator = Generator::new(rng.fork(), flavour);
        let shards = flavour.shards;
        let config = if flavour.logs { log::config(&mut rng) } else { Config::default() };
        let cores: Vec<Core> = cores(shards, &mut rng, config).collect();
        let disk = flavour.logs.then(|| Disk::begin(&cores[0].state.shared));
        let world = Self {
            flavour,
            fault,
            tracing,
            nodes: cores.into_iter().map(Node::new).collect(),
            disk,
            rng,
            generator,
            now_us: 1_000_000,
            links: (0..usize::from(shards).pow(2)).map(|_| VecDeque::new()).collect(),
            clients: (0..flavour.clients).map(|_| Client::default()).collect(),
            drops_left: 0,
            answered: 0,
            before: keyspace::State::new(),
            lists_before: Lists::new(),
            history: Vec::new(),
            undecided: 0,
        };
        world.trace(|| format!("{flavour:?} {fault:?}"));
        world
    }

    /// Everything that this run consists of. Panics when something is wrong.
    pub(crate) fn run(&mut self) -> Reached {
        for _ in 0..self.flavour.segments {
            self.load();
            self.rest();
            self.read_everything();
            self.judge();
        }
        self.close_all();
        let mut reached = Reached { undecided: self.undecided, ..Reached::default() };
        self.nodes.iter().for_each(|node| reached.add(node.reached()));
        reached
    }

    /// The history since the last moment of rest, one operation a line.
    pub(crate) fn describe_history(&self) -> String {
        let mut order: Vec<usize> = (0..self.history.len()).collect();
        order.sort_by_key(|&index| self.history[index].invoked);
        let mut lines = vec![format!("from {:?}", self.before)];
        for index in order {
            let Event { client, op, invoked, returned } = &self.history[index];
            let action = load::show_action(&op.action);
            let returned = returned.as_ref().and_then(|(us, reply)| Some((us, reply.as_ref()?)));
            let outcome = returned.map_or_else(
                || ".. no reply".to_owned(),
                |(us, reply)| format!("..{us} {}", format_args!("{reply:?}")),
            );
            let after = &op.after;
            lines.push(format!(
                "[{index}] client {client}: {action} | {invoked}{outcome} {after:?}"
            ));
        }
        lines.join("\n")
    }

    fn trace(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            eprintln!("{:>9} {}", self.now_us, text());
        }
    }

    /// Random requests and events until the segment's requests are spent.
    fn load(&mut self) {
        self.drops_left = self.flavour.drops;
        let mut requests_left = self.flavour.requests;
        for _ in 0..LOAD_STEPS * self.flavour.requests {
            if requests_left == 0 {
                break;
            }
            self.now_us += 1 + self.rng.below(60) as u64;
            match self.rng.below(64) {
                0..24 => {
                    let client = self.rng.below(self.clients.len());
                    requests_left -= self.act(client).min(requests_left);
                }
                24..60 => {
                    let quick = self.flavour.hot && !self.rng.one_in(8);
                    let node = if quick { 0 } else { self.rng.below(self.nodes.len()) };
                    self.round(node);
                }
                60 => self.now_us += self.rng.below(2_000) as u64,
                61 => self.disturb(),
                62 => {
                    let node = self.rng.below(self.nodes.len());
                    self.nodes[node].sockets().for_each(|socket| socket.stalled = !socket.stalled);
                }
                _ => self.nodes.iter().for_each(Node::verify),
            }
        }
    }

    /// Lets a client do what clients do; returns how many requests it has sent.
    fn act(&mut self, number: usize) -> usize {
        let Some(core) = self.clients[number].core else {
            let any = self.rng.below(self.nodes.len());
            let core = if self.flavour.hot { usize::from(number == 0) } else { any };
            self.connect(number, core);
            return 0;
        };
        let client = &self.clients[number];
        let room = self.flavour.pipeline.saturating_sub(client.waiting.len());
        if client.silent || room == 0 {
            return 0;
        }
        let count = 1 + self.rng.below(room);
        for _ in 0..count {
            let request = self.generator.request(number);
            self.send(number, core, request);
        }
        count
    }

    fn connect(&mut self, number: usize, core: usize) {
        let client = &mut self.clients[number];
        client.core = Some(core);
        client.incarnation += 1;
        client.silent = false;
        client.given_up = false;
        assert!(client.inbox.is_empty() && client.waiting.is_empty());
        let incarnation = client.incarnation;
        self.nodes[core].tick(self.now_us);
        self.nodes[core].open(number, incarnation);
        self.trace(|| format!("client {number} connects to core {core}"));
        self.end_round(core);
        if let Some(socket) = self.nodes[core].socket(number, incarnation) {
            socket.stalled = self.flavour.stalled;
        }
        if self.rng.one_in(3) {
            self.send(number, core, Request::Hello);
        }
    }

    fn send(&mut self, number: usize, core: usize, request: Request) {
        for earlier in request.before() {
            self.send(number, core, earlier);
        }
        self.now_us += 1;
        let args = request.args();
        // A line may not be as long as an array.
        let short = args.iter().map(String::len).sum::<usize>() < 1_000;
        let bytes = load::encode(&args, self.rng.one_in(8) && short);
        self.trace(|| format!("client {number} -> core {core}: {:.200}", args.join(" ")));
        let client = &mut self.clients[number];
        let index = if let Request::Keyspace(action) = &request {
            let earlier = client.waiting.iter().filter_map(|waiting| waiting.index);
            let met = |at: &usize| {
                let earlier = &self.history[*at].op.action;
                earlier.meets(action) || earlier.waits()
            };
            let after = earlier.filter(met).collect();
            let index = self.history.len();
            let op = Step { index, after, action: action.clone() };
            self.history.push(Event { client: number, op, invoked: self.now_us, returned: None });
            Some(index)
        } else {
            None
        };
        client.silent |= matches!(request, Request::Quit);
        let answered_before = self.answered;
        client.waiting.push_back(Waiting { request, index, answered_before });
        let incarnation = client.incarnation;
        // A connection that the server has closed by now swallows the bytes.
        if let Some(socket) = self.nodes[core].socket(number, incarnation) {
            socket.inbound.extend_from_slice(&bytes);
        }
    }

    /// Breaks, half closes or quits a random connection.
    fn disturb(&mut self) {
        let number = self.rng.below(self.clients.len());
        let client = &mut self.clients[number];
        let Some(core) = client.core else { return };
        if client.silent {
            return;
        }
        // A change that may have happened or not makes a history much harder to check.
        let is_change = |at: &usize| !self.history[*at].op.action.only_reads();
        let lost =
            client.waiting.iter().filter_map(|waiting| waiting.index).filter(is_change).count();
        match self.rng.below(3) {
            0 if lost <= self.drops_left => {
                self.drops_left -= lost;
                self.break_off(number, core);
            }
            1 => {
                let incarnation = client.incarnation;
                let is_wait = |waiting: &Waiting| match &waiting.request {
                    Request::Keyspace(action) => action.waits(),
                    _ => false,
                };
                if client.waiting.iter().any(is_wait) {
                    if lost > self.drops_left {
                        return;
                    }
                    self.drops_left -= lost;
                }
                let client = &mut self.clients[number];
                client.given_up = client.waiting.iter().any(is_wait);
                client.silent = true;
                if let Some(socket) = self.nodes[core].socket(number, incarnation) {
                    socket.finished = true;
                }
                self.trace(|| format!("client {number} half closes"));
            }
            _ => self.send(number, core, Request::Quit),
        }
    }

    fn break_off(&mut self, number: usize, core: usize) {
        let client = &mut self.clients[number];
        client.core = None;
        client.waiting.clear();
        client.inbox.clear();
        let incarnation = client.incarnation;
        if let Some(socket) = self.nodes[core].socket(number, incarnation) {
            socket.broken = true;
        }
        self.trace(|| format!("client {number} breaks off"));
    }

    /// One round of a core: a random part of its events happens.
    fn round(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.tick(self.now_us);
        let (mut received, mut closed) = (Vec::new(), Vec::new());
        node.sockets_report(&mut self.rng, &mut received, &mut closed);
        node.disk_reports(&mut self.rng);
        let takes_mail = self.rng.one_in(self.flavour.mail_odds);
        for from in (0..self.nodes.len()).filter(|_| takes_mail) {
            let link = &mut self.links[from * self.nodes.len() + number];
            let count =
                if self.rng.one_in(2) { link.len() } else { self.rng.below(link.len() + 1) };
            for batch in link.drain(..count).collect::<Vec<_>>() {
                self.trace(|| format!("core {number} <- core {from}: {}", summary(&batch)));
                self.nodes[number].deliver(batch);
            }
        }
        self.end_round(number);
        for part in received {
            let client = &mut self.clients[part.client];
            if client.incarnation == part.incarnation && client.core.is_some() {
                client.inbox.extend_from_slice(&part.bytes);
                self.take_replies(part.client);
            }
        }
        for end in closed {
            let client = &mut self.clients[end.client];
            if client.incarnation == end.incarnation && client.core.take().is_some() {
                self.trace(|| format!("client {} is disconnected", end.client));
                let client = &mut self.clients[end.client];
                assert!(client.silent, "client {} was thrown out", end.client);
                assert!(client.inbox.is_empty(), "client {} got half a reply", end.client);
                if client.given_up {
                    client.waiting.clear();
                }
                assert!(client.waiting.is_empty(), "client {} was left unanswered", end.client);
            }
        }
    }

    fn end_round(&mut self, number: usize) {
        for (target, batch) in self.nodes[number].finish_round() {
            let link = &mut self.links[number * self.nodes.len() + target.index()];
            self.fault.post(&mut self.rng, link, batch);
        }
    }

    /// The client reads every reply that has come.
    fn take_replies(&mut self, number: usize) {
        self.now_us += 1;
        let inbox = std::mem::take(&mut self.clients[number].inbox);
        let mut at = 0;
        while let Some((value, len)) = Value::parse(&inbox[at..]).expect("what comes is a reply") {
            at += len;
            let client = &mut self.clients[number];
            let waiting = client.waiting.pop_front().expect("a reply answers a request");
            self.trace(|| format!("client {number} <- {:.200}", kvasir_testing::show(&value)));
            self.answered += 1;
            let overtaken = self.answered - waiting.answered_before;
            let fair = !self.flavour.hot || overtaken <= OVERTAKEN_MAX;
            assert!(fair, "{overtaken} requests were answered before one of client {number}");
            let request = &waiting.request;
            match (request, waiting.index) {
                (Request::Keyspace(action), Some(index)) => {
                    let reply = load::understand(action, &value);
                    assert!(reply.is_some(), "client {number}: {action:?} answered {value:?}");
                    self.history[index].returned = Some((self.now_us, reply));
                }
                (Request::Exact(args, expected), _) => {
                    assert!(value == *expected, "client {number}: reply to {:.80}", args.join(" "));
                }
                (Request::Counting(args), _) => {
                    let counts = matches!(value, Value::Integer(0 | 1));
                    assert!(counts, "client {number}: {args:?} answered {value:?}");
                }
                (Request::Malformed(args), _) => {
                    let is_error = matches!(value, Value::Error(_));
                    assert!(is_error, "client {number}: {args:?} answered {value:?}");
                }
                (Request::Hello, _) => assert!(matches!(value, Value::Map(_)), "{value:?}"),
                (Request::Quit, _) => assert_eq!(value, Value::Simple(b"OK".to_vec())),
                (Request::Keyspace(_), None) => unreachable!("it has a place in the history"),
            }
        }
        self.clients[number].inbox = inbox[at..].to_vec();
    }

    /// Runs cores that have a reason to until none has, and everybody has been answered.
    fn rest(&mut self) {
        self.trace(|| "rest".to_owned());
        let began_us = self.now_us;
        for _ in 0..REST_ROUNDS {
            self.now_us += 1;
            let due: Vec<usize> = (0..self.nodes.len()).filter(|&at| self.is_due(at)).collect();
            if !due.is_empty() {
                let node = *self.rng.pick(&due);
                self.round(node);
                continue;
            }
            if self.clients.iter().all(|client| client.waiting.is_empty()) {
                return self.check_rest();
            }
            let stalled = self.nodes.iter_mut().flat_map(Node::sockets);
            let resumed =
                stalled.filter_map(|socket| socket.stalled.then(|| socket.stalled = false));
            if resumed.count() > 0 {
                continue;
            }
            // Somebody waits: for a moment of the clock, or for ever.
            let next_us = self.nodes.iter().filter_map(Node::next_wake_us).min();
            self.now_us = next_us.unwrap_or(u64::MAX).max(self.now_us);
            assert!(self.now_us - began_us <= REST_US, "requests are never answered");
        }
        panic!("no rest after {REST_ROUNDS} rounds");
    }

    fn is_due(&self, number: usize) -> bool {
        let mail = (0..self.nodes.len()).any(|from| {
            let link = &self.links[from * self.nodes.len() + number];
            !link.is_empty()
        });
        mail || self.nodes[number].is_due(self.now_us)
    }

    /// At rest no core keeps anything of what it has done.
    fn check_rest(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            node.verify();
            assert_eq!(node.residue(), Residue::default(), "left behind on core {number}");
        }
    }

    /// Lets every time to live end, and reads all keys: the last operation of a segment.
    fn read_everything(&mut self) {
        if self.flavour.expiry {
            self.now_us += 10_000;
        }
        self.break_off_silent();
        let core = self.clients[0].core.unwrap_or(0);
        if self.clients[0].core.is_none() {
            self.connect(0, core);
        }
        for list in 0..if self.flavour.lists { LISTS } else { 0 } {
            self.send(0, core, Request::Keyspace(Action::Range(list)));
        }
        let all = Action::Plain(Op::MGet((0..KEYS).collect()));
        self.send(0, core, Request::Keyspace(all));
        self.rest();
    }

    /// A silent client at rest is about to be closed by the server, which must not need a hint.
    fn break_off_silent(&self) {
        for (number, client) in self.clients.iter().enumerate() {
            assert!(!(client.silent && client.core.is_some()), "client {number} is not let go");
        }
    }

    /// Checks what has been seen since the last moment of rest.
    fn judge(&mut self) {
        let last = self.history.last().expect("a segment ends with a read of everything");
        let Some((_, Some(Reply::Values(values)))) = &last.returned else {
            panic!("the read of everything answered {:?}", last.returned);
        };
        let found = (0..KEYS).zip(values).filter_map(|(key, value)| Some((key, value.clone()?)));
        let after = found.collect();
        let lists_after = self.lists_read();
        self.add_expiries();
        self.forget_lost_reads();
        let before = State::of(self.before.clone(), self.lists_before.clone());
        match linear::check::<Map>(&before, &self.history) {
            Verdict::Linearizable => {}
            Verdict::Undecided => self.undecided += 1,
            Verdict::Violation { explained } => {
                panic!("not linearizable; explained: {explained:?}")
            }
        }
        self.before = after;
        self.lists_before = lists_after;
        self.history.clear();
        self.repeat_log();
    }

    /// Whoever repeats the log must have what there is.
    fn repeat_log(&mut self) {
        let Some(disk) = &self.disk else { return };
        let all = Action::Plain(Op::MGet((0..KEYS).collect()));
        let lists = (0..if self.flavour.lists { LISTS } else { 0 }).map(Action::Range);
        let actions: Vec<Action> = std::iter::once(all).chain(lists).collect();
        let requests: Vec<Vec<String>> =
            actions.iter().map(|action| Request::Keyspace(action.clone()).args()).collect();
        let answers = disk.answer(&mut self.rng.fork(), &requests);
        let mut repeated = actions.iter().zip(&answers).map(|(action, answer)| {
            let reply = load::understand(action, answer);
            let Some(Reply::Values(values)) = reply else { panic!("{action:?}: {answer:?}") };
            values
        });
        let values = repeated.next().expect("all keys were asked for");
        let values = (0..KEYS).zip(values).filter_map(|(key, value)| Some((key, value?)));
        let state: keyspace::State = values.collect();
        assert_eq!(state, self.before, "the log leads to what there is");
        for (list, values) in (0..LISTS).zip(repeated) {
            let values: Vec<String> = values.into_iter().flatten().collect();
            let before = self.lists_before.get(&list).cloned().unwrap_or_default();
            assert_eq!(values, before, "the log leads to list {list} as it is");
        }
    }

    /// The lists as the last operations of the segment have read them.
    fn lists_read(&self) -> Lists {
        let mut lists = Lists::new();
        for event in self.history.iter().rev().skip(1).take(LISTS.into()) {
            let (Action::Range(key), Some((_, Some(Reply::Values(values))))) =
                (&event.op.action, &event.returned)
            else {
                continue;
            };
            let values: Vec<String> = values.iter().flatten().cloned().collect();
            if !values.is_empty() {
                lists.insert(*key, values);
            }
        }
        lists
    }

    /// Removes the reads whose replies were lost: they tell nothing.
    fn forget_lost_reads(&mut self) {
        let is_lost =
            |event: &Event<Step, _>| event.returned.is_none() && event.op.action.only_reads();
        let lost: Vec<usize> = self
            .history
            .iter()
            .filter(|event| is_lost(event))
            .map(|event| event.op.index)
            .collect();
        self.history.retain(|event| !is_lost(event));
        for event in &mut self.history {
            event.op.after.retain(|index| !lost.contains(index));
        }
    }

    /// Adds the ends of the times to live to the history, each within the window that the
    /// milliseconds of the clock and the time of its command leave.
    fn add_expiries(&mut self) {
        let mut ends: Vec<(Tag, usize)> = Vec::new();
        for (index, event) in self.history.iter().enumerate() {
            let wrote = !matches!(event.returned, Some((_, Some(Reply::Int(0)))));
            match &event.op.action {
                Action::SetPx(.., tag) => ends.push((*tag, index)),
                Action::MSetEx(pairs, _) if wrote => {
                    ends.extend(pairs.iter().map(|(.., tag)| (*tag, index)));
                }
                _ => {}
            }
        }
        for (tag, set) in ends {
            let end_us = |us: u64| (us / 1000 + Generator::ttl_ms(tag)) * 1000;
            let Event { client, invoked, returned, .. } = &self.history[set];
            let returned = returned.as_ref().map(|(us, _)| (end_us(*us), Some(Reply::Ok)));
            let (client, invoked) = (*client, end_us(*invoked));
            let index = self.history.len();
            let op = Step { index, after: vec![set], action: Action::Expire(tag) };
            self.history.push(Event { client, op, invoked, returned });
        }
    }

    /// Every client goes; then no core keeps a connection.
    fn close_all(&mut self) {
        for number in 0..self.clients.len() {
            if let Some(core) = self.clients[number].core {
                self.break_off(number, core);
            }
        }
        self.rest();
        let left = self.nodes.iter_mut().flat_map(Node::sockets).count();
        assert_eq!(left, 0, "connections of clients that are gone");
    }
}

/// The cores of one process, as the server makes them, but for the clock.
pub(crate) fn cores(
    shards: u16,
    rng: &mut Rng,
    config: Config,
) -> impl Iterator<Item = Core> + use<> {
    let seeds: [u64; 4] = std::array::from_fn(|_| rng.bits());
    let map = ShardMap::new(shards, KeyHasher::new(seeds));
    let process = Process {
        run_id: "0".repeat(40),
        started_unix_us: crate::node::EPOCH_US,
        pid: 1,
        executable: String::new(),
        config_file: String::new(),
    };
    let stopwatch = Stopwatch::from_nanoseconds(|| 0);
    let shared = Arc::new(Shared::new(map, config, process, stopwatch));
    (0..shards).map(move |id| {
        let config = ShardConfig {
            databases: 16,
            hash_seeds: seeds,
            slot_mode: false,
            rng_seed: seeds[0] ^ u64::from(id),
        };
        Core::new(ShardId(id), Arc::clone(&shared), Shard::new(config))
    })
}

fn summary(batch: &Batch) -> String {
    let names: Vec<&str> = batch.requests.iter().map(|r| r.entry.command.name).collect();
    format!("{:?} {names:?} {:?}", batch.kind, batch.controls)
}
