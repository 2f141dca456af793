//! The keyspace notifications of random commands: ours and the real Valkey's, event by event.
//!
//! Commands go one at a time. After each, the two subscribers read on until they hear of a message
//! that is published then: what they heard before it are the command's events, which must be the
//! same in the same order.

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Rng, Server, seed_from_environment, show, words};

use crate::compare::Difference;
use crate::generate::Request;
use crate::minimise;
use crate::{LIMITS, MOST_FINDINGS, commands_to_compare, stream};

/// How many streams a test runs, and how many of a stream's requests.
const STREAMS: usize = 40;
const REQUESTS: usize = 250;
const MARKER: &str = "marker";

/// A server, a client that changes it, and one that hears of that.
struct Witness {
    client: Client,
    publisher: Client,
    listener: Client,
    markers: u64,
}

impl Witness {
    fn new(server: &Server) -> Self {
        let [mut client, publisher, mut listener] = [(); 3].map(|()| server.client());
        assert_eq!(show(&client.run("FLUSHALL")), "OK");
        // Every kind, those of new and of missing keys too.
        assert_eq!(show(&client.run("CONFIG SET notify-keyspace-events KEAmn")), "OK");
        listener.run("PSUBSCRIBE __key*@*__:*");
        listener.run(&format!("SUBSCRIBE {MARKER}"));
        Self { client, publisher, listener, markers: 0 }
    }

    /// Runs a request; what was heard of it, and whether it failed.
    fn run(&mut self, request: &Request) -> (Vec<String>, bool) {
        let failed = matches!(self.client.call(request), Value::Error(_));
        self.markers += 1;
        let marker = format!("{MARKER} {}", self.markers);
        assert_eq!(show(&self.publisher.run(&format!("PUBLISH {marker}"))), "1");
        let mut events = Vec::new();
        loop {
            let message = heard(&self.listener.read());
            if message == marker {
                return (events, failed);
            }
            events.push(message);
        }
    }
}

/// The channel of a message and its text.
fn heard(message: &Value) -> String {
    let Value::Array(parts) = message else { panic!("{} is no message", show(message)) };
    let parts = parts[parts.len() - 2..].iter();
    let texts = parts.map(|part| part.as_bytes().unwrap_or_default().escape_ascii().to_string());
    texts.collect::<Vec<_>>().join(" ")
}

/// Commands whose events of several keys have one order, wherever the keys are.
const ORDERED: &[&str] =
    &["rename", "renamenx", "copy", "move", "smove", "lmove", "blmove", "rpoplpush", "brpoplpush"];

/// Whether what was heard of a request is the same: in the same order on one shard. On several,
/// where the keys of most commands are independent of each other, that holds for each key.
///
/// A command that fails for the type of one key has missed others before that, or not, as they are
/// on several shards.
fn agree(
    request: &Request,
    (ours, failed): &(Vec<String>, bool),
    (peer, _): &(Vec<String>, bool),
    shards: usize,
) -> bool {
    let name = String::from_utf8_lossy(&request[0]).to_lowercase();
    if ours == peer || shards == 1 || ORDERED.contains(&name.as_str()) {
        return ours == peer;
    }
    if *failed {
        let is_miss = |event: &String| event.contains("keymiss");
        return ours.iter().chain(peer).all(is_miss);
    }
    let by_key = |events: &[String]| {
        let key = |event: &String| {
            let (channel, text) = event.split_once(' ').unwrap_or_default();
            let of_key = channel.strip_prefix("__keyspace@").and_then(|name| name.split_once(':'));
            of_key.map_or(text, |(_, key)| key).to_owned()
        };
        let mut events = events.to_vec();
        events.sort_by_key(key);
        events
    };
    by_key(ours) == by_key(peer)
}

/// Runs a stream on both; the first request after which they heard different things.
fn first_difference(
    (ours, shards): (&Server, usize),
    peer: &Server,
    stream: &[Request],
) -> Option<Difference> {
    let (mut ours, mut peer) = (Witness::new(ours), Witness::new(peer));
    stream.iter().enumerate().find_map(|(at, request)| {
        let (ours, peer) = (ours.run(request), peer.run(request));
        let differs = !agree(request, &ours, &peer, shards);
        differs.then(|| Difference { at, ours: ours.0.join(", "), peer: peer.0.join(", ") })
    })
}

#[test]
fn at_one_shard() {
    run(1);
}

#[test]
fn at_two_shards() {
    run(2);
}

fn run(shards: usize) {
    let ours = Server::builder(Program::Kvasir).shards(shards).args(LIMITS).start();
    let peer = Server::builder(Program::Valkey).args(LIMITS).start();
    let commands = commands_to_compare(&ours, &peer);
    let seed = seed_from_environment();
    let mut seeds = Rng::new(seed);
    let mut findings = Vec::new();
    for _ in 0..STREAMS {
        let (_, mut requests) = stream(&commands, seeds.bits());
        requests.truncate(REQUESTS);
        let Some(first) = first_difference((&ours, shards), &peer, &requests) else { continue };
        let run = |stream: &[Request]| first_difference((&ours, shards), &peer, stream);
        let (shortest, difference) = minimise::minimise(&requests[..=first.at], run)
            .unwrap_or_else(|| (requests[..=first.at].to_vec(), first));
        let shown = minimise::as_lines(&shortest);
        findings.push(format!("{shown}\n  ours: {}\n  peer: {}", difference.ours, difference.peer));
        if findings.len() >= MOST_FINDINGS {
            break;
        }
    }
    let all = findings.join("\n\n");
    assert!(all.is_empty(), "KVASIR_SEED={seed} {shards} shards\n{all}");
}

/// See the test.
const LINES: &[&str] = &[
    "SET a 1",
    "SET d 2",
    "RENAME a d",
    "RENAME d b",
    "RENAMENX b a",
    "COPY a c",
    "COPY a c REPLACE",
    "MSET a 1 b 2 c 3 d 4",
    "DEL a b c d",
    "MSETNX a 1 b 2",
    "UNLINK a b",
    "GET a",
    "SADD a one",
    "SPOP a",
    "SADD a one two",
    "SPOP a 5",
    "SADD a one two",
    "SMOVE a b one",
    "SMOVE a b two",
    "SMOVE b b one",
    "SINTERSTORE c b d",
    "SUNIONSTORE c b d",
    "SDIFFSTORE c d b",
    "RPUSH a 3 1 2",
    "SORT a STORE b",
    "SORT d STORE b",
    "LMOVE a d LEFT RIGHT",
    "LMPOP 2 b a LEFT COUNT 10",
    "BLPOP a d 1",
    "BLMOVE a c LEFT LEFT 1",
    "LTRIM c 5 6",
    "RPUSH a x y x",
    "LREM a 0 x",
    "LREM a 0 y",
    "ZADD a 1 one 2 two",
    "ZPOPMIN a",
    "BZPOPMAX a 1",
    "ZADD a 1 one",
    "ZMPOP 2 d a MIN",
    "ZADD a 1 one 2 two 3 three",
    "ZRANGESTORE d a 0 1",
    "ZRANGESTORE d b 0 1",
    "ZREMRANGEBYSCORE a 1 2",
    "ZREMRANGEBYRANK a 0 -1",
    "ZUNIONSTORE d 2 a b",
    "GEOADD a 13 38 here 15 37 there",
    "GEOSEARCHSTORE d a FROMLONLAT 15 37 BYRADIUS 200 km ASC",
    "GEORADIUS a 15 37 1 m STORE d",
    "HSET b f v",
    "HINCRBY b n 1",
    "HDEL b f n none",
    "XADD c 1-1 f v",
    "XGROUP CREATE c g 0",
    "XREADGROUP GROUP g one STREAMS c >",
    "XREADGROUP GROUP g two STREAMS c >",
    "XCLAIM c g three 0 1-1",
    "XAUTOCLAIM c g four 0 0",
    "XGROUP DELCONSUMER c g one",
    "XGROUP SETID c g 0",
    "XADD c MAXLEN 1 2-1 f v",
    "XTRIM c MAXLEN 0",
    "XSETID c 9-9",
    "XDEL c 2-1",
    "XGROUP DESTROY c g",
    "PFADD e{t} 1 2",
    "PFMERGE f{t} e{t}",
    "SETEX a 100 v",
    "PERSIST a",
    "EXPIRE a 0",
    "SET a v",
    "GETEX a EX 100",
    "GETDEL a",
    "SETRANGE a 3 v",
    "SETRANGE g{u}h 0 ''",
    "APPEND a v",
    "INCRBYFLOAT d 1",
    "SETBIT a 1 1",
    "BITOP NOT b a",
    "BITOP AND b none none",
    "MOVE a 1",
    "SWAPDB 0 1",
    "FLUSHDB",
    "RESTORE a 0 '' REPLACE",
];

/// What random streams leave out or seldom do: commands that could wait, choices at random where
/// there is only one, and stores of nothing over something.
#[test]
fn of_chosen_commands() {
    let peer = Server::builder(Program::Valkey).args(LIMITS).start();
    for shards in [1, 2] {
        let ours = Server::builder(Program::Kvasir).shards(shards).args(LIMITS).start();
        let (mut ours, mut theirs) = (Witness::new(&ours), Witness::new(&peer));
        let mut findings = Vec::new();
        for line in LINES {
            let request = words(line);
            let (mine, others) = (ours.run(&request), theirs.run(&request));
            if !agree(&request, &mine, &others, shards) {
                findings.push(format!("{line}\n  ours: {:?}\n  peer: {:?}", mine.0, others.0));
            }
        }
        assert!(findings.is_empty(), "{shards} shards\n{}", findings.join("\n"));
    }
}
