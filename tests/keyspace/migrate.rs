//! MIGRATE, to another of our servers and to a real Valkey.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Server, check};

use crate::at_one_and_two_shards;

/// Keys of all types, on both of two shards.
const KEYS: [&str; 7] = ["text", "number", "list", "set", "hash", "zset", "stream"];

fn fill(client: &mut Client) {
    for line in [
        "SET text value PX 1000000",
        "SET number 17",
        "RPUSH list a b c",
        "SADD set x y z",
        "HSET hash field value",
        "ZADD zset 1 one 2 two",
        "XADD stream 1-1 a b",
    ] {
        client.run(line);
    }
}

/// The words that move keys to a server.
fn migrate(to: &Server, options: &str, keys: &[&str]) -> Vec<String> {
    let port = to.port().to_string();
    let head = ["MIGRATE", "127.0.0.1", &port, "", "3", "20000"].map(str::to_owned);
    let options = options.split_whitespace().map(str::to_owned);
    let keys = keys.iter().map(|key| (*key).to_owned());
    head.into_iter().chain(options).chain(["KEYS".to_owned()]).chain(keys).collect()
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

#[test]
fn keys_of_all_types_move_to_either_server() {
    for program in [Program::Kvasir, Program::Valkey] {
        at_one_and_two_shards(|server| {
            let other = Server::builder(program).shards(2).start();
            let (mut here, mut there) = (server.client(), other.client());
            fill(&mut here);
            assert_eq!(here.call(&migrate(&other, "", &KEYS)), ok());
            assert_eq!(here.run("DBSIZE"), Value::Integer(0));
            there.run("SELECT 3");
            assert_eq!(there.run("DBSIZE"), Value::Integer(KEYS.len() as i64));
            assert_eq!(there.run("GET text"), Value::Bulk(b"value".to_vec()));
            assert!(matches!(there.run("PTTL text"), Value::Integer(900_000..=1_000_000)));
            assert_eq!(there.run("PTTL number"), Value::Integer(-1));
            assert_eq!(there.run("ZSCORE zset two"), Value::Bulk(b"2".to_vec()));
            assert_eq!(there.run("XLEN stream"), Value::Integer(1));
        });
    }
}

#[test]
fn a_copy_leaves_the_keys_and_their_changes_count() {
    at_one_and_two_shards(|server| {
        let other = Server::kvasir(2);
        let (mut here, mut there) = (server.client(), other.client());
        fill(&mut here);
        there.run("SELECT 3");
        assert_eq!(here.call(&migrate(&other, "COPY", &KEYS)), ok());
        assert_eq!(here.run("DBSIZE"), there.run("DBSIZE"));
        assert_eq!(here.run("DEBUG DIGEST-VALUE hash"), there.run("DEBUG DIGEST-VALUE hash"));
        let before = crate::changes(&mut here);
        assert_eq!(here.call(&migrate(&other, "REPLACE", &["list", "nothing", "set"])), ok());
        assert_eq!(crate::changes(&mut here), before + 2);
        assert_eq!(here.run("EXISTS list set hash"), Value::Integer(1));
    });
}

#[test]
fn what_the_other_server_refuses_stays() {
    at_one_and_two_shards(|server| {
        let other = Server::kvasir(2);
        let (mut here, mut there) = (server.client(), other.client());
        fill(&mut here);
        there.run("SELECT 3");
        there.run("SET zset occupied");
        let refused = here.call(&migrate(&other, "", &KEYS));
        let text =
            b"ERR Target instance replied with error: BUSYKEY Target key name already exists.";
        assert_eq!(refused, Value::Error(text.to_vec()));
        assert_eq!(here.run("KEYS *"), Value::Array(vec![Value::Bulk(b"zset".to_vec())]));
        there.run("CONFIG SET requirepass secret");
        let wrong = here.call(&migrate(&other, "REPLACE AUTH guess", &["zset"]));
        let Value::Error(text) = wrong else { panic!("{wrong:?}") };
        assert!(text.starts_with(b"ERR Target instance replied with error: WRONGPASS"));
        assert_eq!(here.run("EXISTS zset"), Value::Integer(1));
        assert_eq!(here.call(&migrate(&other, "REPLACE AUTH secret", &["zset"])), ok());
        assert_eq!(here.run("EXISTS zset"), Value::Integer(0));
    });
}

/// Takes one connection, reads something of it, gives a reply and goes.
fn stranger(reply: &'static [u8]) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let takes = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(reply);
    });
    (port, takes)
}

#[test]
fn nothing_is_given_away_to_a_stranger() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run("SET key value");
        for reply in [&b""[..], b"garbage\r\n", b"+OK\r\n", b"+OK\r\n:1\r\n", b"-ERR no"] {
            let (port, takes) = stranger(reply);
            let refused = client.run(&format!("MIGRATE 127.0.0.1 {port} key 3 20000"));
            let text = b"IOERR error or timeout reading to target instance".to_vec();
            assert_eq!(refused, Value::Error(text), "{}", reply.escape_ascii());
            takes.join().expect("the stranger has gone");
            assert_eq!(client.run("GET key"), Value::Bulk(b"value".to_vec()));
        }
    });
}

#[test]
fn a_key_on_its_way_waits_for_the_timeout_and_others_are_served() {
    at_one_and_two_shards(|server| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (mut mover, mut reader) = (server.client(), server.client());
        mover.run("SET key value");
        mover.run("SET {key}other value");
        mover.send(&["MIGRATE", "127.0.0.1", &port.to_string(), "key", "3", "300"]);
        // The values have come, so the key is on its way.
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = [0; 16];
        stream.read_exact(&mut buffer).expect("the beginning of a request");
        assert_eq!(reader.run("GET {key}other"), Value::Bulk(b"value".to_vec()));
        reader.send(&["GET", "key"]);
        let text = b"IOERR error or timeout reading to target instance".to_vec();
        assert_eq!(mover.read(), Value::Error(text));
        assert_eq!(reader.read(), Value::Bulk(b"value".to_vec()));
    });
}

#[test]
fn within_a_transaction_and_a_script() {
    at_one_and_two_shards(|server| {
        let other = Server::kvasir(1);
        let (mut here, mut there) = (server.client(), other.client());
        fill(&mut here);
        here.run("MULTI");
        here.call(&migrate(&other, "", &["text", "list"]));
        here.run("EXISTS text list");
        assert_eq!(here.run("EXEC"), Value::Array(vec![ok(), Value::Integer(0)]));
        let script = "return redis.call('MIGRATE', '127.0.0.1', ARGV[1], KEYS[1], 3, 20000)";
        let port = other.port().to_string();
        assert_eq!(here.call(&["EVAL", script, "1", "hash", &port]), ok());
        there.run("SELECT 3");
        assert_eq!(there.run("EXISTS text list hash"), Value::Integer(3));
    });
}

#[test]
fn arguments_are_checked_before_anything_is_done() {
    let server = Server::kvasir(2);
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    // Nobody listens there any more.
    let port = port.expect("a free port").port();
    let unsent = "-IOERR error or timeout writing to target instance";
    let table = [
        ("SET k v".to_owned(), "OK"),
        (format!("MIGRATE 127.0.0.1 {port} k 0 200"), unsent),
        ("MIGRATE 127.0.0.1 nonsense k 0 200".to_owned(), unsent),
        (
            "MIGRATE nosuch.host.invalid 99 k 0 200".to_owned(),
            "-IOERR error or timeout connecting to the client",
        ),
        (
            format!("MIGRATE 127.0.0.1 {port} k x 200"),
            "-ERR value is not an integer or out of range",
        ),
        (format!("MIGRATE 127.0.0.1 {port} k 0 200 AUTH"), "-ERR syntax error"),
        (format!("MIGRATE 127.0.0.1 {port} k 0 200 AUTH2 name"), "-ERR syntax error"),
        (format!("MIGRATE 127.0.0.1 {port} k 0 200 NONSENSE"), "-ERR syntax error"),
        (
            format!("MIGRATE 127.0.0.1 {port} k 0 200 KEYS a"),
            "-ERR When using MIGRATE KEYS option, the key argument must be set to the empty \
             string",
        ),
        (format!("MIGRATE 127.0.0.1 {port} \"\" 0 200 KEYS"), "NOKEY"),
        (format!("MIGRATE 127.0.0.1 {port} nothing -3 -5 COPY REPLACE"), "NOKEY"),
        ("GET k".to_owned(), "\"v\""),
    ];
    let table: Vec<(&str, &str)> = table.iter().map(|(line, reply)| (&**line, *reply)).collect();
    check(&server, &table);
}
