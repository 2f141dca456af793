//! The round-trip matrix: dump files of the real Valkey and Redis in our server, ours in theirs,
//! for every type and encoding, attribute of a key, database and function.
//!
//! What is compared is `DEBUG DIGEST`, which covers keys, values and which keys expire, and beside
//! it what the digest leaves out: encodings, deadlines, consumer groups, functions, times of use.

mod assets;
mod data;
mod extras;

use kvasir_proto::Value as Reply;
use kvasir_testing::{Client, Program, Server, show};

use data::{DATABASES, DETAILS, fill};

const PEERS: [Program; 2] = [Program::Valkey, Program::Redis];

/// Ways in which a peer is configured before it gets its data: each leads to other forms in the
/// file.
const SETTINGS: &[&[&str]] = &[
    &[],
    &["CONFIG SET rdbcompression no", "CONFIG SET maxmemory-policy allkeys-lru"],
    &[
        "CONFIG SET hash-max-listpack-entries 2",
        "CONFIG SET zset-max-listpack-entries 2",
        "CONFIG SET set-max-listpack-entries 2",
        "CONFIG SET set-max-intset-entries 2",
        "CONFIG SET list-max-listpack-size 2",
        "CONFIG SET list-compress-depth 1",
        "CONFIG SET stream-node-max-entries 3",
        "CONFIG SET maxmemory-policy allkeys-lfu",
        "CONFIG SET lfu-decay-time 0",
    ],
];

/// What a server shows of all it holds: questions with their answers.
type View = Vec<(String, String)>;

fn view(client: &mut Client) -> View {
    let mut view = Vec::new();
    for db in DATABASES {
        client.run(&format!("SELECT {db}"));
        for line in ["DBSIZE"].iter().chain(DETAILS) {
            view.push((format!("{db}: {line}"), show(&settled(client.run(line)))));
        }
    }
    client.run("SELECT 0");
    for line in ["FUNCTION LIST WITHCODE", "DEBUG DIGEST"] {
        view.push((line.to_owned(), show(&settled(client.run(line)))));
    }
    view
}

fn assert_same(seen: &View, expected: &View, what: &str) {
    assert_eq!(seen.len(), expected.len());
    for (seen, expected) in seen.iter().zip(expected) {
        assert_eq!(seen, expected, "{what}");
    }
}

/// Fields of replies that tell of the server rather than of the data, or that not all servers have.
const LEFT_OUT: &[&str] = &["radix-tree-keys", "radix-tree-nodes"];

/// A reply in an order that does not depend on the server, without the fields above.
fn settled(reply: Reply) -> Reply {
    let Reply::Array(parts) = reply else { return reply };
    let mut parts: Vec<Reply> = parts.into_iter().map(settled).collect();
    for name in LEFT_OUT {
        if let Some(at) = parts.iter().position(|part| part.as_bytes() == Some(name.as_bytes())) {
            parts.drain(at..(at + 2).min(parts.len()));
        }
    }
    // Functions and libraries are listed in any order.
    if parts.iter().all(|part| matches!(part, Reply::Array(_))) {
        parts.sort_by_key(show);
    }
    Reply::Array(parts)
}

/// A server that starts with the dump file of another, and with its policy, which decides what is
/// kept of the times of use.
fn start_with_file_of(program: Program, shards: usize, other: &Server, policy: &str) -> Server {
    let dir = other.dir().to_str().expect("a temporary directory has a plain name");
    let args = ["--dir", dir, "--maxmemory-policy", policy, "--lfu-decay-time", "0"];
    Server::builder(program).shards(shards).args(&args).start()
}

fn policy(client: &mut Client) -> String {
    let Reply::Array(pair) = client.run("CONFIG GET maxmemory-policy") else {
        panic!("CONFIG GET replies with an array")
    };
    String::from_utf8(pair[1].as_bytes().expect("a value").to_vec()).expect("a policy's name")
}

fn save(client: &mut Client) {
    assert_eq!(client.run("SAVE"), Reply::Simple(b"OK".to_vec()));
}

/// A peer's data goes through its file into ours, through ours into both peers, and from there
/// back into ours, and is the same everywhere.
fn goes_round(origin: Program, settings: &[&str], shards: usize) {
    let peer = Server::builder(origin).start();
    let mut client = peer.client();
    for setting in settings {
        assert_eq!(client.run(setting), ok(), "{setting}");
    }
    fill(&mut client);
    let expected = view(&mut client);
    let policy = policy(&mut client);
    save(&mut client);

    let ours = start_with_file_of(Program::Kvasir, shards, &peer, &policy);
    let seen = view(&mut ours.client());
    assert_same(&seen, &expected, &format!("the file of {origin:?} in ours"));
    save(&mut ours.client());
    for target in PEERS {
        // Ours works in the directory of the first, where its file now is.
        let server = start_with_file_of(target, 1, &peer, &policy);
        let seen = view(&mut server.client());
        assert_same(&seen, &expected, &format!("our file of what {origin:?} had in {target:?}"));
        save(&mut server.client());
        let again = start_with_file_of(Program::Kvasir, 3 - shards, &peer, &policy);
        let seen = view(&mut again.client());
        assert_same(&seen, &expected, &format!("the file of {target:?} of our file in ours"));
    }
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

#[test]
fn files_of_valkey_go_round() {
    for (index, settings) in SETTINGS.iter().enumerate() {
        goes_round(Program::Valkey, settings, 1 + index % 2);
    }
}

#[test]
fn files_of_redis_go_round() {
    for (index, settings) in SETTINGS.iter().enumerate() {
        goes_round(Program::Redis, settings, 2 - index % 2);
    }
}

/// What our own commands make, in our own encodings, is the same on the peers.
#[test]
fn our_files_are_the_same_on_the_peers() {
    for shards in [1, 2] {
        for target in PEERS {
            let ours = Server::kvasir(shards);
            let mut client = ours.client();
            fill(&mut client);
            let expected = view(&mut client);
            save(&mut client);
            let peer = start_with_file_of(target, 1, &ours, "noeviction");
            assert_same(&view(&mut peer.client()), &expected, &format!("in {target:?}"));
            assert_eq!(client.run("DEBUG RELOAD"), ok());
            assert_same(&view(&mut client), &expected, "after a reload");
        }
    }
}

/// The digest of every encoding is compared above only if every encoding is there.
#[test]
fn every_encoding_is_there() {
    let mut missing = data::ENCODINGS.to_vec();
    for settings in SETTINGS {
        let peer = Server::valkey();
        let mut client = peer.client();
        for setting in *settings {
            assert_eq!(client.run(setting), ok());
        }
        fill(&mut client);
        let Reply::Array(keys) = client.run("KEYS *") else { panic!("an array") };
        for key in keys {
            let key = key.as_bytes().expect("a key is a string").to_vec();
            let kind = client.call(&[&b"TYPE"[..], &key]);
            let encoding = client.call(&[&b"OBJECT"[..], b"ENCODING", &key]);
            let (Reply::Simple(kind), Some(encoding)) = (kind, encoding.as_bytes()) else {
                panic!("a type and an encoding")
            };
            missing.retain(|(type_name, name)| {
                type_name.as_bytes() != kind || name.as_bytes() != encoding
            });
        }
    }
    assert_eq!(missing, []);
}

/// Deadlines of the fields of hashes in the form of Redis, the only one of these peers that has
/// them, and then in Valkey's, which ours writes.
#[test]
fn deadlines_of_fields_come_from_redis_and_stay() {
    for limit in ["128", "1"] {
        let redis = Server::builder(Program::Redis).start();
        let mut client = redis.client();
        client.run(&format!("CONFIG SET hash-max-listpack-entries {limit}"));
        client.run("HSET hash a 1 b 2 c 3 d 4");
        client.run("HPEXPIREAT hash 4000000000000 FIELDS 1 b");
        client.run("HPEXPIREAT hash 4000000000777 FIELDS 1 d");
        let look = |client: &mut Client| {
            [client.run("HPEXPIRETIME hash FIELDS 4 a b c d"), client.run("HMGET hash a b c d")]
        };
        let expected = look(&mut client);
        save(&mut client);
        for shards in [1, 2] {
            let ours = start_with_file_of(Program::Kvasir, shards, &redis, "noeviction");
            let mut client = ours.client();
            assert_eq!(look(&mut client), expected);
            assert_eq!(client.run("DEBUG DIGEST"), redis.client().run("DEBUG DIGEST"));
            assert_eq!(client.run("DEBUG RELOAD"), ok());
            assert_eq!(look(&mut client), expected, "after a reload");
            redis.client().run("SAVE");
        }
    }
}

/// What the eviction policies know of the use of keys is in the file, in both directions.
#[test]
fn times_of_use_are_kept() {
    for (policy, question) in [("allkeys-lru", "IDLETIME"), ("allkeys-lfu", "FREQ")] {
        let setting = format!("CONFIG SET maxmemory-policy {policy}");
        let read = |client: &mut Client| match client.run(&format!("OBJECT {question} old")) {
            Reply::Integer(value) => value,
            other => panic!("{other:?}"),
        };
        for (from, to) in [(Program::Valkey, Program::Kvasir), (Program::Kvasir, Program::Redis)] {
            let origin = Server::builder(from).start();
            let mut client = origin.client();
            client.run(&setting);
            client.run("CONFIG SET lfu-decay-time 0");
            client.run("SET some value");
            // Restored, since no test waits for keys to become old.
            let payload = client.run("DUMP some");
            let payload = payload.as_bytes().expect("a payload").to_vec();
            let reply =
                client.call(&[&b"RESTORE"[..], b"old", b"0", &payload, question.as_bytes(), b"77"]);
            assert_eq!(reply, ok());
            save(&mut client);
            let target = start_with_file_of(to, 2, &origin, policy);
            let (before, after) = (read(&mut client), read(&mut target.client()));
            // A second may have passed.
            assert!((77..=before + 5).contains(&after), "{from:?} to {to:?}: {before}, {after}");
        }
    }
}
