//! Transactions that clients compose: `MULTI`, `EXEC`, `WATCH`, on one shard and over two.

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Server, check};

/// Asks servers of one shard and of two, where `a` and `d` lie on one shard and `b` on the other.
fn on_one_and_two(table: &[(&str, &str)]) {
    for shards in [1, 2] {
        check(&Server::kvasir(shards), table);
    }
}

/// The same requests to a real Valkey and to our server on one and two shards: the same replies.
fn as_valkey(requests: &[&str]) {
    let valkey = Server::valkey();
    let mut theirs = valkey.client();
    let expected: Vec<_> = requests.iter().map(|line| theirs.run(line)).collect();
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        // Connections are spread over the cores.
        for _ in 0..3 {
            let mut ours = server.client();
            ours.run("FLUSHALL");
            for (line, expected) in requests.iter().zip(&expected) {
                assert_eq!(ours.run(line), *expected, "{shards} shards: {line}");
            }
        }
    }
}

#[test]
fn the_keys_of_these_tests_lie_on_both_shards() {
    let shard = |key: &str| (usize::from(kvasir_proto::key_slot(key.as_bytes())) * 2) >> 14;
    assert_eq!(shard("a"), shard("d"));
    assert_ne!(shard("a"), shard("b"));
}

#[test]
fn what_is_queued_is_executed_in_order() {
    on_one_and_two(&[
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
        ("SET b 2", "QUEUED"),
        ("INCR a", "QUEUED"),
        ("MGET a b", "QUEUED"),
        ("INCR b", "QUEUED"),
        ("LPUSH b x", "QUEUED"),
        ("DBSIZE", "QUEUED"),
        ("PING", "QUEUED"),
        (
            "EXEC",
            "[OK OK 2 [\"2\" \"2\"] 3 -WRONGTYPE Operation against a key holding the wrong kind of \
             value 2 PONG]",
        ),
        ("MGET a b", r#"["2" "3"]"#),
    ]);
}

/// Requests of one connection each, separated by semicolons.
const SCRIPTS: &[&str] = &[
    "MULTI; MULTI; SET a 1; EXEC; MULTI; WATCH a; EXEC; EXEC; DISCARD; UNWATCH; MULTI; \
     UNWATCH; GET a; EXEC; MULTI; NOSUCH x; SET a 1; EXEC; GET a; MULTI; GET; EXEC; MULTI; \
     SET a 5; DISCARD; GET a; MULTI; RESET; EXEC; MULTI; EXEC; MULTI x; EXEC x; WATCH; \
     DISCARD x",
    "MULTI; SELECT 3; SET a 1; SET b 2; SELECT 99; GET a; GET b; SELECT 0; GET a; GET b; \
     EXEC; SELECT 3; GET a; MULTI; SWAPDB 3 4; GET a; EXEC; MULTI; SELECT 4; EXEC; GET a; \
     GET b",
    "MULTI; BLPOP l 0; BRPOPLPUSH l m 0; BLMOVE a b LEFT LEFT 0; BZPOPMIN a b 0; XREAD \
     BLOCK 0 STREAMS a b $ $; XREAD BLOCK 0 STREAMS a $; BLPOP a b 0; WAIT 1 0; EXEC; \
     MULTI; BLPOP a x; BLPOP a b x; INCR b; LPUSH b 1; EXEC; MULTI; RPUSH a 1 2; BLPOP a b \
     0; BLMOVE a b LEFT LEFT 0; LRANGE b 0 -1; EXEC",
    "MULTI; SAVE; EXEC; MULTI; MONITOR; ECHO x; EXEC; MULTI; PUBLISH c m; SPUBLISH c m; \
     EXEC; MULTI; SUBSCRIBE c; UNSUBSCRIBE c; EXEC; MULTI; RENAME a b; SET a 1; RENAME a b; \
     COPY b a; MSETNX a 1 b 1; DEL a b; KEYS *; EXEC; MULTI; FLUSHALL; SET b 1; RANDOMKEY; \
     FLUSHDB; DBSIZE; EXEC",
    "MULTI; HSET a f v; HSET b f v; HGETALL a; EXEC; WATCH a; SET a 1; MULTI; GET a; EXEC; \
     WATCH b; MULTI; CLIENT SETNAME me; CLIENT GETNAME; EXEC",
];

#[test]
fn replies_are_those_of_valkey() {
    for requests in SCRIPTS {
        as_valkey(&requests.split("; ").collect::<Vec<_>>());
    }
}

#[test]
fn a_changed_key_keeps_the_transaction_from_being_executed() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        for key in ["a", "b"] {
            for other in ["a", "b", "nothing"] {
                one_watch(&server, key, other);
            }
        }
    }
}

/// A client watches a key, somebody does things, and the client executes something about another.
fn one_watch(server: &Server, key: &str, other: &str) {
    let changes = [
        ("SET KEY 2", true),
        ("SET KEY 1", true),
        ("SET elsewhere 1", false),
        ("GET KEY", false),
        ("DEL KEY", true),
        ("PEXPIRE KEY 100000", true),
        ("PERSIST KEY", false),
        ("RENAME KEY x", true),
        ("FLUSHALL", true),
        ("FLUSHDB", true),
        ("SWAPDB 0 1", true),
        ("SWAPDB 1 2", false),
        ("APPEND KEY x", true),
        ("PEXPIRE KEY 0", true),
        ("MSET a 1 b 2", true),
    ];
    let (mut client, mut somebody) = (server.client(), server.client());
    for (change, is_noticed) in changes {
        somebody.run("FLUSHALL");
        somebody.run(&format!("SET {key} 1"));
        client.run(&format!("WATCH {key}"));
        somebody.run(&change.replace("KEY", key));
        client.run("MULTI");
        client.run(&format!("GET {other}"));
        let executed = client.run("EXEC");
        let is_null = matches!(executed, Value::Null | Value::NullArray);
        assert_eq!(is_null, is_noticed, "{key}, {other}: {change}: {executed:?}");
    }
    // What does not exist is not changed by being emptied.
    somebody.run("FLUSHALL");
    client.run(&format!("WATCH {key}"));
    somebody.run("FLUSHALL");
    client.run("MULTI");
    client.run(&format!("SET {other} 1"));
    assert!(matches!(client.run("EXEC"), Value::Array(_)));
}

#[test]
fn a_watched_key_that_expires_has_changed() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let mut client = server.client();
        for (key, other) in [("a", "d"), ("a", "b"), ("b", "a")] {
            client.run("FLUSHALL");
            client.run(&format!("SET {key} 1 PX 20"));
            client.run(&format!("WATCH {key}"));
            kvasir_testing::wait_until("the key is gone", || {
                server.client().run(&format!("EXISTS {key}")) == Value::Integer(0)
            });
            client.run("MULTI");
            client.run(&format!("SET {other} 1"));
            assert!(matches!(client.run("EXEC"), Value::Null | Value::NullArray));
        }
    }
}

#[test]
fn watches_are_counted_and_forgotten() {
    for shards in [1, 2] {
        let server = Server::kvasir(shards);
        let mut observer = server.client();
        let mut field = |name: &str| {
            let info = observer.run("INFO clients");
            let info = String::from_utf8_lossy(info.as_bytes().expect("text")).into_owned();
            let line = info.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            line.and_then(|line| line.strip_prefix(':')?.parse::<u64>().ok()).expect("a number")
        };
        let mut figures = || (field("watching_clients"), field("total_watched_keys"));
        let (mut one, mut other) = (server.client(), server.client());
        one.run("WATCH a b c a");
        other.run("WATCH a");
        assert_eq!(figures(), (2, 3));
        one.run("UNWATCH");
        kvasir_testing::wait_until("the watch has ended everywhere", || figures() == (1, 1));
        drop(other);
        kvasir_testing::wait_until("nobody watches", || figures() == (0, 0));
        let list = String::from_utf8_lossy(one.run("CLIENT INFO").as_bytes().unwrap()).into_owned();
        assert!(list.contains(" multi=-1 watch=0 "), "{list}");
        one.run("WATCH a b");
        one.run("MULTI");
        one.run("GET a");
        let list = observer_line(&server, "multi=1");
        assert!(list.contains(" flags=x ") && list.contains(" watch=2 "), "{list}");
    }
}

/// The line of `CLIENT LIST` that contains a text.
fn observer_line(server: &Server, text: &str) -> String {
    let list = server.client().run("CLIENT LIST");
    let list = String::from_utf8_lossy(list.as_bytes().expect("text")).into_owned();
    list.lines().find(|line| line.contains(text)).expect("there is one").to_owned()
}

/// Clients that read two keys of two shards, and write both back one higher if neither has changed:
/// no increment is lost, and nobody sees one without the other.
#[test]
fn optimistic_increments_lose_nothing() {
    const CLIENTS: usize = 6;
    const INCREMENTS: i64 = 60;
    for shards in [1, 2, 3] {
        let server = Server::kvasir(shards);
        server.client().run("MSET a 0 b 0");
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| increment(&mut server.client(), INCREMENTS));
            }
        });
        let total = (CLIENTS as i64 * INCREMENTS).to_string();
        let expected = Value::Array(vec![
            Value::Bulk(total.clone().into_bytes()),
            Value::Bulk(total.into_bytes()),
        ]);
        assert_eq!(server.client().run("MGET a b"), expected, "{shards} shards");
    }
}

fn increment(client: &mut Client, times: i64) {
    let number = |value: Value| -> i64 {
        let text = std::str::from_utf8(value.as_bytes().expect("a value")).expect("digits");
        text.parse().expect("a number")
    };
    let mut done = 0;
    while done < times {
        client.run("WATCH a b");
        let (a, b) = (number(client.run("GET a")), number(client.run("GET b")));
        client.run("MULTI");
        client.run(&format!("SET a {}", a + 1));
        client.run(&format!("SET b {}", b + 1));
        client.run("MGET a b");
        if matches!(client.run("EXEC"), Value::Array(_)) {
            assert_eq!(a, b, "nobody sees half of a transaction");
            done += 1;
        }
    }
}

#[test]
fn refused_commands_and_limits() {
    let server =
        Server::builder(Program::Kvasir).shards(2).config("client-query-buffer-limit 1mb").start();
    let mut client = server.client();
    client.run("MULTI");
    let value = "x".repeat(400_000);
    assert_eq!(client.call(&["SET", "a", &value]), Value::Simple(b"QUEUED".to_vec()));
    assert_eq!(client.call(&["SET", "b", &value]), Value::Simple(b"QUEUED".to_vec()));
    client.send(&["SET", "c", &value]);
    assert!(client.is_closed(), "a queue counts as input");
    let mut client = server.client();
    client.run("CONFIG SET maxmemory 1");
    client.run("MULTI");
    kvasir_testing::wait_until("commands that need memory are refused", || {
        matches!(client.run("SET a 1"), Value::Error(_))
    });
    let executed = client.run("EXEC");
    assert_eq!(
        executed,
        Value::Error(b"EXECABORT Transaction discarded because of previous errors.".to_vec())
    );
    client.run("CONFIG SET maxmemory 0");
    assert_eq!(client.run("MGET a b"), Value::Array(vec![Value::Null, Value::Null]));
    client.run("MULTI");
    kvasir_testing::wait_until("they are taken again", || {
        client.run("SET a 1") == Value::Simple(b"QUEUED".to_vec())
    });
    server.client().run("CONFIG SET maxmemory 1");
    kvasir_testing::wait_until("memory is refused", || {
        matches!(server.client().run("SET other 1"), Value::Error(_))
    });
    let text = "EXECABORT Transaction discarded because of: OOM command not allowed when used \
                memory > 'maxmemory'.";
    assert_eq!(client.run("EXEC"), Value::Error(text.as_bytes().to_vec()));
    assert_eq!(
        client.run("EXEC"),
        Value::Error(b"ERR EXEC without MULTI".to_vec()),
        "the transaction is over"
    );
}
