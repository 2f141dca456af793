//! Client-side caching: what Valkey tells which client in which order, and that nobody keeps a
//! value that has changed.

use std::collections::{BTreeMap, HashMap, VecDeque};

use kvasir_proto::Value;
use kvasir_testing::{Client, Rng, Server, show, words};

/// Connections of one conversation by their names, with their ids.
struct Conversation<'s> {
    server: &'s Server,
    /// Asks every core for something, so that each has done what it did before.
    asking: Client,
    clients: BTreeMap<String, (Client, i64)>,
    tags: usize,
}

impl<'s> Conversation<'s> {
    fn new(server: &'s Server) -> Self {
        Self { server, asking: server.client(), clients: BTreeMap::new(), tags: 0 }
    }

    /// Has one client send requests, after which everybody tells what it has received.
    fn step(&mut self, step: &str) -> Vec<String> {
        let (name, line) = step.trim().split_once(' ').expect("a name and a request");
        if !self.clients.contains_key(name) {
            let mut client = self.server.client();
            let Value::Integer(id) = client.run("CLIENT ID") else { panic!("an id is a number") };
            self.clients.insert(name.to_owned(), (client, id));
        }
        if line == "leaves" {
            // The others are told only after the server has noticed.
            let (mut client, id) = self.clients.remove(name).expect("it was there");
            client.send(&["QUIT"]);
            assert!(client.is_closed());
            self.clients.insert(format!("gone-{name}"), (self.server.client(), id));
            return Vec::new();
        }
        let line = self.clients.iter().fold(line.to_owned(), |line, (name, (_, id))| {
            line.replace(&format!("<{name}>"), &id.to_string())
        });
        let (client, _) = self.clients.get_mut(name).expect("it is there");
        line.split('|').for_each(|line| client.send(&words(line)));
        let tells_ids = line.contains("REDIR") || line.contains("TRACKINGINFO");
        let ids = if tells_ids { self.ids() } else { Vec::new() };
        let (client, _) = self.clients.get_mut(name).expect("it is there");
        let mut replies = Vec::new();
        // What is told at the end of a round comes before the reply to a PING that is sent later.
        let mut outstanding = line.split('|').count();
        while outstanding > 0 {
            let value = client.read();
            outstanding -= usize::from(!matches!(value, Value::Push(_)));
            replies.push(format!("{name}: {}", show(&named(value, &ids))));
        }
        let mut heard = in_any_order(replies);
        heard.extend(self.heard_by(name));
        if line.starts_with("HELLO") {
            // It tells which server it is.
            heard.clear();
        }
        self.asking.run("DBSIZE");
        let others: Vec<String> = self.clients.keys().filter(|n| *n != name).cloned().collect();
        for other in &others {
            heard.extend(self.heard_by(other));
        }
        heard
    }

    /// The ids of those who are here, or were.
    fn ids(&self) -> Vec<(String, i64)> {
        self.clients.iter().map(|(name, (_, id))| (name.clone(), *id)).collect()
    }

    /// What a client receives before the reply to a PING.
    fn heard_by(&mut self, name: &str) -> Vec<String> {
        self.tags += 1;
        let tag = format!("tag{}", self.tags);
        let ids = self.ids();
        let (client, _) = self.clients.get_mut(name).expect("it is there");
        client.send(&["PING", &tag]);
        let mut heard = Vec::new();
        loop {
            let value = named(client.read(), &ids);
            let shown = show(&value);
            if shown.contains(&format!("\"{tag}\"")) {
                return in_any_order(heard);
            }
            heard.push(format!("{name}: {shown}"));
        }
    }
}

/// What is told of several keys at once comes in no particular order.
fn in_any_order(mut heard: Vec<String>) -> Vec<String> {
    let is_told = |text: &String| text.contains("invalidate\"");
    heard.chunk_by_mut(|one, other| is_told(one) && is_told(other)).for_each(<[String]>::sort);
    heard
}

/// A reply with names in place of the clients' ids.
fn named(value: Value, ids: &[(String, i64)]) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(|value| named(value, ids)).collect();
    match value {
        Value::Integer(number) => match ids.iter().find(|(_, id)| *id == number) {
            Some((name, _)) => Value::Simple(name.trim_start_matches("gone-").as_bytes().into()),
            None => Value::Integer(number),
        },
        Value::Array(values) => Value::Array(all(values)),
        Value::Push(values) => Value::Push(all(values)),
        Value::Map(pairs) => {
            let pairs = pairs.into_iter();
            Value::Map(pairs.map(|(key, value)| (key, named(value, ids))).collect())
        }
        other => other,
    }
}

/// The same conversation with a real Valkey and with ours on one, two and three shards: everybody
/// hears the same, step by step.
fn as_valkey(conversation: &str) {
    let steps: Vec<&str> = conversation.split(';').map(str::trim).collect();
    let valkey = Server::valkey();
    let mut theirs = Conversation::new(&valkey);
    let expected: Vec<Vec<String>> = steps.iter().map(|step| theirs.step(step)).collect();
    for shards in [1, 2, 3] {
        let server = Server::kvasir(shards);
        // Connections are spread over the cores.
        for _ in 0..shards {
            let mut ours = Conversation::new(&server);
            for (step, expected) in steps.iter().zip(&expected) {
                assert_eq!(ours.step(step), *expected, "{shards} shards: {step}");
            }
            let mut client = server.client();
            client.run("FLUSHALL");
            client.run("CONFIG SET tracking-table-max-keys 1000000");
        }
    }
}

#[test]
fn readers_are_told_of_every_kind_of_change() {
    as_valkey(
        "T HELLO 3; T CLIENT TRACKING ON; W SET a 1; T GET a; W SET a 2; W SET a 3; T GET a; T \
         SET a 4; T MGET a b c; W MSET a{x} 1 b{x} 2; W MSET a 1 b 2; W DEL c; T EXISTS a; W \
         EXPIRE a 100; T TTL a; W PERSIST a; W RENAME a b; T TYPE b; W RENAME b a; T HGETALL h; \
         W HSET h f v; T HGET h f; T HDEL h f; T LRANGE l 0 -1; W RPUSH l 1 2 3; T LLEN l; W \
         LPOP l; W SADD s 1; T SMEMBERS s; W SADD s 1; W SREM s 2; W SREM s 1; T GET nothing; W \
         DEL nothing; W SET nothing 1; T GET l; W DEL l; T SINTER s sx; W SADD s x; T GETEX a; W \
         SET a 1; T SELECT 3; T GET other; T SELECT 0; W SET other 1; W APPEND a x; T STRLEN a; \
         T APPEND a x; T GET a; T DEL a; T GET b; T SET b 1; T GET b; T RENAME b a",
    );
}

#[test]
fn transactions_and_scripts_are_told_after_their_replies() {
    as_valkey(
        "T HELLO 3; T CLIENT TRACKING ON; T MULTI | GET a | SET a 1 | GET b | EXEC; W SET b 1; W \
         MULTI | SET b 2 | SET a 5 | EXEC; T MULTI | GET a{x} | SET a{x} 1 | GET b{x} | EXEC; W \
         SET b{x} 1; T EVAL \"redis.call('set', KEYS[1], 1) return redis.call('get', KEYS[1])\" \
         1 k; W SET k 2; T EVAL \"return redis.call('get', KEYS[1])\" 1 k; T EVAL \
         \"redis.call('get', KEYS[1]) return redis.call('incr', KEYS[1])\" 1 k; T EVAL_RO \
         \"return redis.call('get', 'far')\" 2 near k; W SET near 1; W SET far 1; T GET k; W \
         EVAL \"redis.call('set', 'k', 1) return redis.call('set', 'b', 1)\" 0; T WATCH a; T GET \
         a; W SET a 9; T MULTI | GET a | EXEC; T GET a; W FLUSHALL; T MULTI | SET a 1 | GET a | \
         FLUSHDB | EXEC; W SET a 1; T MULTI | MGET a b c | EXEC; W MULTI | SET a 1 | SET b 1 | \
         EXEC; T EVAL \"return redis.call('mget', 'a', 'b', 'c', 'd')\" 0; W SET d 1; W SWAPDB 0 \
         1; W SET a 5",
    );
}

#[test]
fn who_waits_is_told_meanwhile() {
    as_valkey(
        "T HELLO 3; T CLIENT TRACKING ON; T GET a; W SET z 1; T LRANGE l2{t} 0 -1; W RPUSH l2{t} \
         a; T LRANGE l2{t} 0 -1; W RPUSH l1{t} x; T LLEN l1{t}; T BLMOVE l1{t} l2{t} LEFT LEFT \
         0; T LLEN l2{t}; T BLPOP l2{t} 1; T XREAD COUNT 1 STREAMS s 0; W XADD s 1-1 f v; T \
         XREAD COUNT 1 STREAMS s q{s} 0 0; W XADD s 1-2 f v; W XADD q{s} 1-2 f v; T XREAD COUNT \
         1 STREAMS s q 0 0; W XADD q 1-2 f v",
    );
    let both = [Server::valkey(), Server::kvasir(1), Server::kvasir(2), Server::kvasir(3)];
    for server in both {
        let (mut waiter, mut writer) = (server.client(), server.client());
        waiter.run("HELLO 3");
        waiter.run("CLIENT TRACKING ON");
        waiter.run("GET key");
        waiter.run("LLEN to{t}");
        waiter.send(&["BLMOVE", "from{t}", "to{t}", "LEFT", "LEFT", "0"]);
        writer.run("SET key 1");
        assert_eq!(show(&waiter.read()), "push[\"invalidate\" [\"key\"]]");
        writer.run("RPUSH from{t} x");
        assert_eq!(show(&waiter.read()), "\"x\"");
        assert_eq!(show(&waiter.read()), "push[\"invalidate\" [\"to{t}\"]]");
    }
}

#[test]
fn options_choose_what_is_told() {
    as_valkey(
        "T HELLO 3; T CLIENT TRACKING ON OPTIN; T GET a; W SET a 1; T CLIENT CACHING NO; T \
         CLIENT CACHING YES | CLIENT TRACKINGINFO | GET a | GET b; W SET a 2; W SET b 1; T \
         CLIENT CACHING YES | MULTI | GET a | GET b | EXEC; W SET a 1; W SET b 1; T CLIENT \
         CACHING YES | PING | GET a; W SET a 1; T MULTI | CLIENT CACHING YES | GET a | EXEC; W \
         SET a 3; T CLIENT TRACKING ON OPTOUT; T CLIENT TRACKING OFF; T CLIENT TRACKING ON \
         OPTOUT NOLOOP; T CLIENT CACHING YES; T CLIENT CACHING NO | CLIENT TRACKINGINFO | GET a \
         | GET b; W SET a 1; W SET b 1; T GET a; T SET a 5; W SET a 1; T CLIENT CACHING maybe; T \
         CLIENT TRACKING ON BCAST; T CLIENT TRACKING OFF; W CLIENT CACHING YES; T CLIENT \
         TRACKING ON; T CLIENT CACHING YES; T GET a; T CLIENT TRACKING OFF; W SET a 2; T MULTI | \
         CLIENT TRACKING ON | GET a | EXEC; W SET a 1; T CLIENT TRACKING maybe; T CLIENT \
         TRACKING ON REDIRECT; T CLIENT TRACKING ON REDIRECT x; T CLIENT TRACKING ON REDIRECT \
         99999; T CLIENT TRACKING ON REDIRECT -1; T CLIENT TRACKING ON REDIRECT <W> REDIRECT \
         <W>; T CLIENT TRACKING ON nonsense; T CLIENT TRACKING ON PREFIX a; T CLIENT TRACKING ON \
         OPTIN OPTOUT; T GET a; T RESET; W SET a 1; T CLIENT TRACKINGINFO; T CLIENT GETREDIR",
    );
}

#[test]
fn prefixes_are_heard_of_once_a_round() {
    as_valkey(
        "T HELLO 3; B HELLO 3; T CLIENT TRACKING ON BCAST PREFIX a PREFIX b NOLOOP; B CLIENT \
         TRACKING ON BCAST; W SET a1 1; T SET a2 1; T SET c 1; W MSET b{x} 1 a{x} 2 c{x} 3; T \
         CLIENT TRACKINGINFO; T CLIENT TRACKING ON BCAST PREFIX c; T CLIENT TRACKING ON BCAST \
         PREFIX ab; T CLIENT TRACKING ON BCAST PREFIX d PREFIX do; T CLIENT TRACKING ON BCAST \
         OPTIN; T CLIENT TRACKING ON; T SET a 1; W DEL a; W DEL a; W FLUSHDB; B CLIENT TRACKING \
         OFF; W MULTI | SET c{x} 1 | SET a{x} 1 | SET a{x} 2 | EXEC; T GET zzz; W SET zzz 1; T \
         HELLO 2; W SET a 1; T HELLO 3; W SET a 1",
    );
}

#[test]
fn another_client_is_told_in_ones_place() {
    as_valkey(
        "R SUBSCRIBE __redis__:invalidate; T CLIENT TRACKING ON REDIRECT <R>; T CLIENT GETREDIR; \
         T CLIENT TRACKINGINFO; T GET a; W SET a 1; T GET a; T SET a 2; T HELLO 3; T GET a; W \
         SET a 3; Q CLIENT TRACKING ON REDIRECT <R>; Q GET a; T GET a; W SET a 1; W GET a; R \
         UNSUBSCRIBE; T GET a; W SET a 2; R HELLO 3; T GET a; W SET a 3; W FLUSHALL; T GET a; R \
         leaves; W SET a 4; T CLIENT TRACKINGINFO; T CLIENT GETREDIR; T GET a; W SET a 4; T \
         CLIENT TRACKING ON REDIRECT <W>; T CLIENT TRACKINGINFO; W HELLO 3; T GET a; W SET a 5; \
         T CLIENT TRACKING ON REDIRECT <T>; T GET a; W SET a 6; T CLIENT TRACKING OFF; T CLIENT \
         TRACKING ON BCAST REDIRECT <W> NOLOOP; T SET a 1; Q SET a 1; W SET a 1",
    );
}

#[test]
fn whoever_wants_no_replies_is_told() {
    for server in [Server::valkey(), Server::kvasir(1), Server::kvasir(2)] {
        let (mut client, mut writer) = (server.client(), server.client());
        client.run("HELLO 3");
        client.run("CLIENT TRACKING ON");
        client.run("GET a");
        client.send(&["CLIENT", "REPLY", "OFF"]);
        writer.run("SET a 1");
        assert_eq!(show(&client.read()), "push[\"invalidate\" [\"a\"]]");
        client.send(&["GET", "a"]);
        assert_eq!(show(&client.run("CLIENT REPLY ON")), "OK");
        writer.run("SET a 1");
        assert_eq!(show(&client.read()), "push[\"invalidate\" [\"a\"]]");
    }
}

/// The flags and the redirection in a client's line.
fn described(client: &mut Client) -> (String, String) {
    let line = client.run("CLIENT INFO").as_bytes().map(<[u8]>::to_vec).unwrap_or_default();
    let line = String::from_utf8(line).expect("a line of text");
    let field = |name: &str| {
        let found = line.split(' ').find_map(|field| field.strip_prefix(name));
        found.unwrap_or_default().to_owned()
    };
    (field("flags="), field("redir="))
}

#[test]
fn clients_and_figures_tell_who_tracks() {
    let info = |client: &mut Client| {
        let text = client.run("INFO clients stats").as_bytes().map(<[u8]>::to_vec).unwrap();
        let text = String::from_utf8(text).unwrap();
        ["clients", "total_keys", "total_items", "total_prefixes"].map(|name| {
            let name = format!("tracking_{name}:");
            text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
        })
    };
    for shards in [1, 2, 3] {
        let server = Server::kvasir(shards);
        let (mut one, mut other, mut third) = (server.client(), server.client(), server.client());
        let Value::Integer(id) = other.run("CLIENT ID") else { panic!("an id is a number") };
        assert_eq!(described(&mut one), ("N".to_owned(), "-1".to_owned()));
        one.run(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        other.run("CLIENT TRACKING ON BCAST PREFIX a PREFIX b");
        third.run("CLIENT TRACKING ON");
        assert_eq!(described(&mut one), ("t".to_owned(), id.to_string()));
        assert_eq!(described(&mut other), ("tB".to_owned(), "0".to_owned()));
        one.run("MGET a b c d e f");
        third.run("MGET a b");
        assert_eq!(info(&mut other), [3, 6, 8, 2]);
        other.run("SET a 1");
        assert_eq!(info(&mut other), [3, 5, 6, 2]);
        other.run("CONFIG SET tracking-table-max-keys 3");
        let remembered = kvasir_testing::poll_every(
            std::time::Duration::from_millis(1),
            std::time::Duration::from_secs(60),
            || (info(&mut other)[1] == 3).then_some(()),
        );
        assert!(remembered.is_some(), "the table shrinks to what it may hold, and no further");
        one.run("MGET u v w x y z");
        assert_eq!(info(&mut other)[1], 3);
        third.run("FLUSHDB");
        assert_eq!(info(&mut other), [3, 0, 0, 2]);
        one.run("CLIENT TRACKING OFF");
        other.run("RESET");
        third.run("CLIENT TRACKING OFF");
        assert_eq!(info(&mut third), [0, 0, 0, 0]);
    }
}

#[test]
fn what_is_forgotten_for_want_of_room_is_told() {
    for shards in [1, 2, 4] {
        let server = Server::kvasir(shards);
        let mut admin = server.client();
        admin.run("CONFIG SET tracking-table-max-keys 10");
        let mut client = server.client();
        client.run("HELLO 3");
        client.run("CLIENT TRACKING ON");
        for number in 0..200 {
            client.send(&["GET".to_owned(), format!("key{number}")]);
        }
        client.send(&["PING", "end"]);
        let (mut replies, mut told) = (0, Vec::new());
        loop {
            match client.read() {
                Value::Null => replies += 1,
                Value::Push(parts) => told.push(show(&parts[1])),
                other => break assert_eq!(show(&other), "\"end\""),
            }
        }
        told.sort();
        told.dedup();
        // Those of another core may come a little later, but never before the key's reply.
        assert!(replies == 200 && told.len() <= 190, "{replies} replies, {} keys", told.len());
        let told_late = kvasir_testing::poll_every(
            std::time::Duration::from_millis(1),
            std::time::Duration::from_secs(60),
            || {
                client.send(&["PING", "end"]);
                while let Value::Push(parts) = client.read() {
                    told.push(show(&parts[1]));
                }
                (told.len() == 190).then_some(())
            },
        );
        assert!(told_late.is_some(), "{} of 190 keys", told.len());
    }
}

/// A value of a key, as far as a client knows it.
#[derive(Debug)]
enum Cached {
    /// Asked for; nothing has been told of it since.
    Asked,
    Known(Value),
}

/// What a client with a cache waits for.
enum Awaited {
    /// The values of these keys.
    Values(Vec<String>),
    /// The values in the reply to the last command of a transaction.
    Transaction(Vec<String>),
    /// The end of a change of its own to these keys.
    Changed(Vec<String>),
    Ignored,
    Tag,
}

/// A client that keeps what it has read, as the protocol allows.
struct Caching {
    client: Client,
    /// Where it is told, if not among its replies.
    told: Option<Client>,
    no_loop: bool,
    awaited: VecDeque<Awaited>,
    cache: HashMap<String, Cached>,
}

impl Caching {
    fn new(server: &Server, kind: usize) -> Self {
        let mut client = server.client();
        let mut told = None;
        let options = match kind % 5 {
            0 => "",
            1 => "BCAST",
            2 => "NOLOOP",
            3 => "BCAST PREFIX k NOLOOP",
            _ => {
                let mut subscriber = server.client();
                let Value::Integer(id) = subscriber.run("CLIENT ID") else { panic!("no id") };
                subscriber.run("SUBSCRIBE __redis__:invalidate");
                client.run(&format!("CLIENT TRACKING ON REDIRECT {id}"));
                told = Some(subscriber);
                ""
            }
        };
        if told.is_none() {
            client.run("HELLO 3");
            assert_eq!(show(&client.run(&format!("CLIENT TRACKING ON {options}"))), "OK");
        }
        let no_loop = options.contains("NOLOOP");
        Self { client, told, no_loop, awaited: VecDeque::new(), cache: HashMap::new() }
    }

    fn send(&mut self, line: &str, awaited: Awaited) {
        if let Awaited::Values(keys) | Awaited::Transaction(keys) = &awaited {
            for key in keys {
                // A value that is known stays so; one that is asked for again may be the newer.
                self.cache.entry(key.clone()).or_insert(Cached::Asked);
            }
        }
        self.client.send(&words(line));
        self.awaited.push_back(awaited);
    }

    fn forget(&mut self, what: &Value) {
        match what {
            Value::Array(keys) => {
                for key in keys {
                    let key = key.as_bytes().expect("a key is a string").to_vec();
                    let key = String::from_utf8(key).expect("keys are text here");
                    self.cache.remove(&key);
                }
            }
            Value::Null | Value::NullArray => self.cache.clear(),
            other => panic!("no keys: {}", show(other)),
        }
    }

    fn learn(&mut self, keys: &[String], values: Vec<Value>) {
        assert_eq!(keys.len(), values.len());
        for (key, value) in keys.iter().zip(values) {
            // Where it is told elsewhere, it may have been told of a change before this reply.
            if self.told.is_none() || self.cache.contains_key(key) {
                self.cache.insert(key.clone(), Cached::Known(value));
            }
        }
    }

    /// Takes everything that comes before the reply to a PING.
    fn catch_up(&mut self) {
        self.send("PING barrier", Awaited::Tag);
        loop {
            let value = self.client.read();
            if let Value::Push(parts) = &value {
                assert_eq!(show(&parts[0]), "\"invalidate\"");
                self.forget(&parts[1]);
                continue;
            }
            match (self.awaited.pop_front().expect("a reply is awaited"), value) {
                (Awaited::Tag, _) => break,
                (Awaited::Ignored, _) => {}
                (Awaited::Changed(keys), _) => {
                    if self.no_loop {
                        self.cache.retain(|key, _| !keys.contains(key));
                    }
                }
                (Awaited::Values(keys) | Awaited::Transaction(keys), Value::Array(values)) => {
                    self.learn(&keys, values);
                }
                (Awaited::Values(keys), value) => self.learn(&keys, vec![value]),
                (Awaited::Transaction(_), other) => panic!("{}", show(&other)),
            }
        }
        let Some(mut told) = self.told.take() else { return };
        told.send(&["PING", "barrier"]);
        while let Value::Array(parts) = told.read()
            && show(&parts[0]) == "\"message\""
        {
            self.forget(&parts[2]);
        }
        self.told = Some(told);
    }

    fn read_something(&mut self, random: &mut Rng, keys: &[String]) {
        let two: Vec<String> = (0..2).map(|_| random.pick(keys).clone()).collect();
        let one = two[..1].to_vec();
        match random.below(5) {
            0 | 1 => self.send(&format!("GET {}", one[0]), Awaited::Values(one)),
            2 => self.send(&format!("MGET {} {}", two[0], two[1]), Awaited::Values(two)),
            3 => {
                let line = format!("EVAL_RO \"return redis.call('get', KEYS[1])\" 1 {}", one[0]);
                self.send(&line, Awaited::Values(one));
            }
            _ => {
                self.send("MULTI", Awaited::Ignored);
                self.send(&format!("GET {}", two[0]), Awaited::Ignored);
                self.send(&format!("GET {}", two[1]), Awaited::Ignored);
                self.send("EXEC", Awaited::Transaction(two));
            }
        }
        if random.one_in(6) {
            let key = random.pick(keys).clone();
            let value = random.bits();
            self.send(&format!("SET {key} {value}"), Awaited::Changed(vec![key]));
        }
    }
}

/// One change of what the cached keys are; the number of replies that it has.
fn change_something(random: &mut Rng, keys: &[String], writer: &mut Client) -> usize {
    let (one, other) = (random.pick(keys), random.pick(keys));
    let value = random.bits();
    let lines = match random.below(40) {
        0..12 => vec![format!("SET {one} {value}")],
        12..16 => vec![format!("DEL {one} {other}")],
        16..20 => vec![format!("APPEND {one} x")],
        20..24 => vec![format!("MSET {one} {value} {other} {value}")],
        24..28 => vec![format!("SET {one} {value} PX {}", 1 + random.below(3))],
        28..31 => vec![format!("PEXPIRE {one} 1")],
        31..34 => vec![format!("EVAL \"return redis.call('set', KEYS[1], ARGV[1])\" 1 {one} x")],
        34..36 => vec![format!("RENAME {one} {other}")],
        36..39 => {
            let set = |key| format!("SET {key} {value}");
            vec!["MULTI".to_owned(), set(one), set(other), "EXEC".to_owned()]
        }
        _ if random.one_in(4) => vec!["FLUSHALL ASYNC".to_owned()],
        _ => vec![format!("GETDEL {one}")],
    };
    for line in &lines {
        writer.send(&words(line));
    }
    lines.len()
}

/// Caching clients and writers at work at the same time: when both have come to rest, what is
/// cached is what is there.
fn nobody_keeps_a_stale_value(shards: usize, seed: u64) {
    let server = Server::kvasir(shards);
    let mut random = Rng::new(seed);
    let keys: Vec<String> = (0..16).map(|number| format!("k{number}")).collect();
    let mut caching: Vec<Caching> = (0..10).map(|kind| Caching::new(&server, kind)).collect();
    let mut writers: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut oracle = server.client();
    let mut cached = 0;
    for round in 0..60 {
        let mut replies = vec![0; writers.len()];
        for _ in 0..20 {
            let busy = random.below(caching.len());
            caching[busy].read_something(&mut random, &keys);
            if random.one_in(2) {
                let writer = random.below(writers.len());
                replies[writer] += change_something(&mut random, &keys, &mut writers[writer]);
            }
        }
        for (writer, replies) in writers.iter_mut().zip(replies) {
            (0..replies).for_each(|_| drop(writer.read()));
        }
        // Their own changes are done when they have caught up.
        caching.iter_mut().for_each(Caching::catch_up);
        let request: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(|k| &**k)).collect();
        let Value::Array(truth) = oracle.call(&request) else { panic!("MGET gives an array") };
        for (number, client) in caching.iter_mut().enumerate() {
            client.catch_up();
            for (key, value) in &client.cache {
                let Cached::Known(value) = value else { continue };
                // A deadline may pass between the oracle's look and this one, not the other way.
                let at = keys.iter().position(|other| other == key).expect("a key of the test");
                cached += 1;
                let value = if *value == Value::NullArray { &Value::Null } else { value };
                assert_eq!(
                    show(value),
                    show(&truth[at]),
                    "seed {seed}, {shards} shards, round {round}, client {number}: {key}"
                );
            }
        }
    }
    assert!(cached > 500, "little was cached: {cached}");
}

#[test]
fn nobody_keeps_a_stale_value_on_one_shard() {
    nobody_keeps_a_stale_value(1, 11);
}

#[test]
fn nobody_keeps_a_stale_value_on_two_shards() {
    for seed in [1, 2] {
        nobody_keeps_a_stale_value(2, seed);
    }
}

#[test]
fn nobody_keeps_a_stale_value_on_four_shards() {
    for seed in [3, 4] {
        nobody_keeps_a_stale_value(4, seed);
    }
}
