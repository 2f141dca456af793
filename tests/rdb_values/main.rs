//! Values between us and the real peers: what they dump is read, what is written they restore.
//!
//! Each value is made on a peer by commands, dumped, read, written, and restored on both peers,
//! where it must look the same to every command that shows it whole.

use kvasir_proto::Value as Reply;
use kvasir_server::persist::rdb::dump::{self, VersionCheck};
use kvasir_server::persist::rdb::{Value, WriteOptions};
use kvasir_testing::{Client, Program, Server, words};

/// Small limits, so that large encodings turn up without large values.
const SMALL_LIMITS: &[&str] = &[
    "CONFIG SET hash-max-listpack-entries 2",
    "CONFIG SET zset-max-listpack-entries 2",
    "CONFIG SET set-max-listpack-entries 2",
    "CONFIG SET set-max-intset-entries 2",
    "CONFIG SET list-max-listpack-size 2",
    "CONFIG SET list-compress-depth 1",
    "CONFIG SET stream-node-max-entries 3",
];

/// Commands that make the key `k`.
const RECIPES: &[&[&str]] = &[
    &["SET k hello"],
    &["SET k \"\""],
    &["SET k 12"],
    &["SET k -32768"],
    &["SET k 2147483648"],
    &["SET k 007"],
    &["SETRANGE k 5000 x"],
    &["RPUSH k a b c 1 2 300 -70000 5000000000 \"\""],
    &[r#"EVAL "for i=1,3000 do redis.call('rpush','k',i..string.rep('x',i%90)) end" 0"#],
    &[r#"EVAL "redis.call('rpush','k','a',string.rep('b',300000),'c')" 0"#],
    &["SADD k 1 2 3 -5"],
    &["SADD k 1 70000 -5000000000"],
    &["SADD k a b 3 4"],
    &[r#"EVAL "for i=1,1000 do redis.call('sadd','k','m'..i) end" 0"#],
    &["ZADD k 1 a 2.5 b inf c -inf d -0 e 1e300 f 3 g"],
    &[r#"EVAL "for i=1,1000 do redis.call('zadd','k',i/7,'m'..i) end" 0"#],
    &["HSET k f v g 12 h \"\""],
    &[r#"EVAL "for i=1,1000 do redis.call('hset','k','f'..i,string.rep('v',i)) end" 0"#],
    &["XADD k 1-1 a 1 b 2", "XADD k 1-2 a 3 b 4", "XADD k 5-0 other x", "XADD k 6-0 a 5 b 6"],
    &[
        r#"EVAL "for i=1,500 do redis.call('xadd','k',i..'-'..(i%3+1),'f',i,'g',string.rep('x',i)) end" 0"#,
        "XDEL k 7-2 8-3 500-3",
        "XTRIM k MAXLEN 450",
    ],
    &["XGROUP CREATE k g 0 MKSTREAM", "XGROUP CREATECONSUMER k g idle"],
    &[
        "XADD k 1-1 a 1",
        "XADD k 2-1 a 1",
        "XADD k 3-1 a 1",
        "XGROUP CREATE k g 0",
        "XGROUP CREATE k h $",
        "XREADGROUP GROUP g alice COUNT 1 STREAMS k >",
        "XREADGROUP GROUP g bob STREAMS k >",
        "XREADGROUP GROUP g bob STREAMS k 0",
        "XDEL k 2-1",
    ],
    &["PFADD k a b c d", "PFCOUNT k"],
];

/// Commands that show all of the key `k`.
const VIEWS: &[&str] = &[
    "TYPE k",
    "GET k",
    "LRANGE k 0 -1",
    "ZRANGE k 0 -1 WITHSCORES",
    "XRANGE k - +",
    "XINFO STREAM k FULL COUNT 0",
    "DEBUG DIGEST-VALUE k",
];

fn payload(client: &mut Client) -> Vec<u8> {
    let reply = client.run("DUMP k");
    reply.as_bytes().expect("the key is there").to_vec()
}

/// What the views show; the number of nodes of a stream may differ, as may their sizes.
fn look(client: &mut Client) -> Vec<Reply> {
    let mut views: Vec<Reply> = VIEWS.iter().map(|view| client.run(view)).collect();
    for view in &mut views {
        if let Reply::Array(parts) = view {
            for name in [&b"radix-tree-keys"[..], b"radix-tree-nodes"] {
                let at = parts.iter().position(|part| part.as_bytes() == Some(name));
                if let Some(at) = at {
                    parts.drain(at..at + 2);
                }
            }
        }
    }
    views
}

fn restore(client: &mut Client, payload: &[u8]) {
    let reply = client.call(&[b"RESTORE", &b"k"[..], b"0", payload, b"REPLACE"]);
    assert_eq!(reply, Reply::Simple(b"OK".to_vec()), "{}", payload.escape_ascii());
}

fn round_trip(origin: Program, settings: &[&str]) {
    let origin = Server::builder(origin).start();
    let targets = [Program::Valkey, Program::Redis].map(|peer| Server::builder(peer).start());
    let mut origin = origin.client();
    let mut targets = targets.each_ref().map(Server::client);
    for setting in settings {
        origin.run(setting);
    }
    for recipe in RECIPES {
        origin.run("FLUSHALL");
        for line in *recipe {
            let reply = origin.run(line);
            assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
        }
        let value = read(&payload(&mut origin), recipe);
        let expected = look(&mut origin);
        for compress in [false, true] {
            let written = dump::seal(&value, WriteOptions { compress });
            for target in &mut targets {
                restore(target, &written);
                assert_eq!(look(target), expected, "{recipe:?}");
            }
        }
    }
}

fn read(payload: &[u8], recipe: &[&str]) -> Value {
    dump::open(payload, VersionCheck::Strict).unwrap_or_else(|error| {
        panic!("{recipe:?}: {error:?}\n{}", payload.escape_ascii());
    })
}

#[test]
fn values_of_valkey() {
    round_trip(Program::Valkey, &[]);
}

#[test]
fn values_of_valkey_in_large_encodings() {
    round_trip(Program::Valkey, SMALL_LIMITS);
}

#[test]
fn values_of_redis() {
    round_trip(Program::Redis, &[]);
}

#[test]
fn values_of_redis_in_large_encodings() {
    round_trip(Program::Redis, SMALL_LIMITS);
}

/// What a peer dumps, our server restores; what that dumps, the peer restores.
fn pass_through_us(shards: usize) {
    let ours = Server::builder(Program::Kvasir).shards(shards).start();
    let peer = Server::builder(Program::Valkey).start();
    let (mut ours, mut peer) = (ours.client(), peer.client());
    for settings in [&[], SMALL_LIMITS] {
        for setting in settings {
            peer.run(setting);
            ours.run(setting);
        }
        for recipe in RECIPES {
            peer.run("FLUSHALL");
            for line in *recipe {
                peer.run(line);
            }
            let expected = look(&mut peer);
            restore(&mut ours, &payload(&mut peer));
            assert_eq!(ours.run("TYPE k"), expected[0], "{recipe:?}");
            restore(&mut peer, &payload(&mut ours));
            assert_eq!(look(&mut peer), expected, "{recipe:?}");
        }
    }
}

#[test]
fn values_pass_through_one_shard() {
    pass_through_us(1);
}

#[test]
fn values_pass_through_two_shards() {
    pass_through_us(2);
}

#[test]
fn field_deadlines_of_redis_are_read() {
    let redis = Server::builder(Program::Redis).start();
    let mut client = redis.client();
    for setting in ["CONFIG SET hash-max-listpack-entries 128", SMALL_LIMITS[0]] {
        client.run(setting);
        client.run("FLUSHALL");
        client.run("HSET k a 1 b 2 c 3 d 4");
        client.run("HPEXPIREAT k 4000000000000 FIELDS 1 b");
        client.run("HPEXPIREAT k 4000000000777 FIELDS 1 d");
        let Value::Hash(hash) = read(&payload(&mut client), &[setting]) else {
            panic!("a hash");
        };
        let mut fields: Vec<_> = hash.iter().collect();
        fields.sort_unstable();
        let expected: [(&[u8], &[u8], _); 4] = [
            (b"a", b"1", None),
            (b"b", b"2", Some(4_000_000_000_000)),
            (b"c", b"3", None),
            (b"d", b"4", Some(4_000_000_000_777)),
        ];
        assert_eq!(fields, expected);
    }
}

/// What we refuse of a payload's value, and what we accept, is what Valkey does when it checks
/// deeply: it never crashes on what we write, and refuses the most obvious damage as we do.
#[test]
fn damage_is_refused_as_valkey_refuses_it() {
    let valkey = Server::builder(Program::Valkey).args(&["--sanitize-dump-payload", "yes"]).start();
    let mut client = valkey.client();
    let damaged: [&[u8]; 8] = [
        b"\x01\x00",
        b"\x02\x02\x01a\x01a",
        b"\x04\x02\x01a\x01b\x01a\x01c",
        b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f",
        b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x01\x00",
        b"\x10\x07\x07\x00\x00\x00\x00\x00\xff",
        b"\x12\x01\x03\x01a",
        b"\x01\x80\xff\xff\xff\xff\x01a",
    ];
    for body in damaged {
        let mut payload = body.to_vec();
        payload.extend_from_slice(&kvasir_server::persist::rdb::VERSION.to_le_bytes());
        let checksum = kvasir_server::persist::rdb::crc64::update(0, &payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        let reply = client.call(&[b"RESTORE", &b"k"[..], b"0", &payload]);
        assert!(matches!(reply, Reply::Error(_)), "{}: {reply:?}", body.escape_ascii());
        dump::open(&payload, VersionCheck::Strict).unwrap_err();
    }
    assert_eq!(client.call(&words("PING")), Reply::Simple(b"PONG".to_vec()));
}
