//! What the server does when something runs short: memory, descriptors, buffers, patience.

use std::io::Write;
use std::process::Command;

use kvasir_testing::{Client, Program, Server, show, wait_until, words};

/// A number of INFO.
fn figure(client: &mut Client, name: &str) -> u64 {
    let info = client.run("INFO everything");
    let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.unwrap_or_else(|| panic!("INFO has no {name}"));
    number.trim().parse().unwrap_or_else(|_| panic!("{name} is {number}"))
}

fn server(shards: usize, arguments: &[&str]) -> Server {
    Server::builder(Program::Kvasir).shards(shards).args(arguments).start()
}

#[test]
fn clients_that_say_nothing_are_closed() {
    let server = server(2, &["--timeout", "1"]);
    let mut silent = server.client();
    let mut monitor = server.client();
    assert_eq!(show(&monitor.run("MONITOR")), "OK");
    wait_until("the silent client is closed", || silent.is_closed());
    // One that is talked to is not idle, whatever it says itself.
    assert_eq!(show(&server.client().run("PING")), "PONG");
    assert!(show(&monitor.read()).contains("PING"), "a monitor stays");
}

#[test]
fn output_above_the_soft_limit_for_too_long_closes_its_client() {
    let limit = "normal 0 65536 1";
    let server = server(1, &["--client-output-buffer-limit", limit]);
    let mut client = server.client();
    client.call(&[&b"SET"[..], b"big", &vec![b'x'; 1 << 20]]);
    let mut reader = server.client();
    // More than the sockets hold, and never read.
    (0..64).for_each(|_| reader.send(&words("GET big")));
    wait_until("the reader is closed", || {
        figure(&mut client, "client_output_buffer_limit_disconnections") == 1
    });
    assert_eq!(show(&client.run("PING")), "PONG");
}

#[test]
fn the_largest_clients_go_when_clients_have_too_much_memory() {
    for shards in [1, 2] {
        let server = server(shards, &["--maxmemory-clients", "4mb"]);
        let mut client = server.client();
        let mut spared = server.client();
        assert_eq!(show(&spared.run("CLIENT NO-EVICT ON")), "OK");
        let unfinished = |client: &mut Client, bytes: usize| {
            let mut request = format!("*2\r\n$4\r\nECHO\r\n${bytes}\r\n").into_bytes();
            request.resize(request.len() + bytes / 2, b'x');
            // Who is evicted meanwhile cannot send all of it.
            let _ = client.stream().write_all(&request);
        };
        // What is not to be evicted does not count.
        unfinished(&mut spared, 8 << 20);
        let mut small = server.client();
        unfinished(&mut small, 100_000);
        let mut large = server.client();
        unfinished(&mut large, 6 << 20);
        wait_until("a client is evicted", || figure(&mut client, "evicted_clients") > 0);
        assert!(large.is_closed(), "the largest goes");
        assert_eq!(figure(&mut client, "evicted_clients"), 1);
        for (mut kept, bytes) in [(small, 100_000), (spared, 8 << 20)] {
            kept.send_raw(&vec![b'x'; bytes - bytes / 2]);
            kept.send_raw(b"\r\n");
            assert_eq!(kept.read().as_bytes().map(<[u8]>::len), Some(bytes), "the others stay");
        }
    }
}

/// Keys that are written beyond what fits.
const WRITTEN: usize = 60_000;
/// The room that a server is given beyond what it needs when it is empty.
const ROOM: u64 = 4 << 20;

/// Writes more keys than fit, every second with a deadline; how many writes were refused.
fn write_too_much(client: &mut Client) -> usize {
    let value = "v".repeat(200);
    let requests: Vec<_> = (0..WRITTEN)
        .map(|number| {
            let deadline = if number % 2 == 0 { " EX 10000" } else { "" };
            words(&format!("SET key:{number} {value}{deadline}"))
        })
        .collect();
    let replies = requests.chunks(500).flat_map(|chunk| client.pipeline(chunk));
    replies.filter(|reply| show(reply).starts_with("-OOM")).count()
}

#[test]
fn keys_are_evicted_by_every_policy_to_keep_the_limit() {
    let policies = [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    for shards in [1, 2] {
        let server = server(shards, &[]);
        let mut client = server.client();
        wait_until("memory is measured", || figure(&mut client, "used_memory") > 0);
        let limit = figure(&mut client, "used_memory") + ROOM;
        for policy in policies {
            assert_eq!(show(&client.run("CONFIG SET maxmemory 0")), "OK");
            assert_eq!(show(&client.run("FLUSHALL SYNC")), "OK");
            assert_eq!(show(&client.run("CONFIG RESETSTAT")), "OK");
            client.run(&format!("CONFIG SET maxmemory-policy {policy} maxmemory {limit}"));
            let refused = write_too_much(&mut client);
            let evicted_before = figure(&mut client, "evicted_keys") as usize;
            let left = match client.run("DBSIZE") {
                kvasir_proto::Value::Integer(left) => left as usize,
                other => panic!("DBSIZE answered {other:?}"),
            };
            let evicted = figure(&mut client, "evicted_keys") as usize;
            assert!(evicted_before > 0, "{policy}: nothing was evicted");
            // Eviction may still be under way.
            let gone = WRITTEN - left - refused;
            assert!((evicted_before..=evicted).contains(&gone), "{policy}: each key is somewhere");
            let volatile = policy.starts_with("volatile");
            assert_eq!(refused > 0, volatile, "{policy}: {refused} writes were refused");
            wait_until("the limit is kept", || {
                figure(&mut client, "used_memory") <= limit + limit / 5
            });
        }
    }
}

#[test]
fn without_eviction_writes_are_refused_and_reads_go_on() {
    let server = server(2, &[]);
    let mut client = server.client();
    wait_until("memory is measured", || figure(&mut client, "used_memory") > 0);
    let limit = figure(&mut client, "used_memory") + ROOM;
    client.run(&format!("CONFIG SET maxmemory {limit}"));
    assert!(write_too_much(&mut client) > 0, "writes are refused");
    assert_eq!(figure(&mut client, "evicted_keys"), 0);
    assert_eq!(show(&client.run("EXISTS key:0")), "1");
    assert_eq!(show(&client.run("DEL key:0")), "1");
}

#[test]
fn use_is_counted_where_the_policy_needs_it() {
    let server = server(2, &["--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0"]);
    let mut client = server.client();
    client.run("SET often 1");
    client.run("SET once 1");
    (0..50).for_each(|_| drop(client.run("GET often")));
    let count = |client: &mut Client, key: &str| match client.run(&format!("OBJECT FREQ {key}")) {
        kvasir_proto::Value::Integer(count) => count,
        other => panic!("OBJECT FREQ answered {other:?}"),
    };
    assert_eq!(count(&mut client, "often"), 55);
    assert_eq!(count(&mut client, "once"), 5);
    assert!(show(&client.run("OBJECT IDLETIME once")).starts_with("-ERR An LFU maxmemory policy"));
    client.run("CONFIG SET maxmemory-policy allkeys-lru");
    assert!(
        show(&client.run("OBJECT FREQ once")).starts_with("-ERR An LFU maxmemory policy is not")
    );
}

/// The descriptors that a server has.
fn descriptors(server: &Server) -> usize {
    let listed = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    listed.expect("list the server's descriptors").count()
}

/// Sets how many descriptors a running process may have.
fn limit_descriptors(server: &Server, most: usize) {
    let arguments = [format!("--pid={}", server.pid()), format!("--nofile={most}:")];
    let status = Command::new("prlimit").args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit --nofile={most}");
}

#[test]
fn without_descriptors_clients_wait_and_the_others_are_served() {
    for shards in [1, 2] {
        let server = server(shards, &[]);
        let mut client = server.client();
        assert_eq!(show(&client.run("PING")), "PONG");
        // The first core serves before the last has opened all that it needs.
        wait_until("all cores are ready", || server.log().contains("Ready to accept connections"));
        let before = descriptors(&server);
        limit_descriptors(&server, before + 20);
        // An accept has the limit of the moment at which it began: listeners that are opened anew
        // begin new ones.
        assert_eq!(show(&client.run("CONFIG SET bind \"127.0.0.1 127.0.0.2\"")), "OK");
        wait_until("the old listeners are closed", || descriptors(&server) <= before + shards);
        let mut waiting: Vec<_> = (0..60).map(|_| server.client()).collect();
        wait_until("the lack of descriptors is noticed", || {
            server.log().contains("Accepting client connection: Too many open files")
        });
        assert_eq!(show(&client.run("SET a 1")), "OK");
        assert_eq!(show(&client.run("GET a")), "\"1\"");
        limit_descriptors(&server, before + 200);
        for client in &mut waiting {
            assert_eq!(show(&client.run("GET a")), "\"1\"", "who has waited is served");
        }
    }
}

#[test]
fn more_bytes_than_there_are_receive_buffers_all_arrive() {
    for shards in [1, 2] {
        let server = server(shards, &["--loglevel", "debug"]);
        let value = vec![b'v'; 50_000];
        let mut clients: Vec<_> = (0..200).map(|_| server.client()).collect();
        // They come while nobody receives, so that all of them are there at once.
        server.signal("STOP");
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&[&b"SET"[..], format!("key:{number}").as_bytes(), &value]);
        }
        server.signal("CONT");
        for client in &mut clients {
            assert_eq!(show(&client.read()), "OK");
        }
        assert!(
            server.log().contains("All receive buffers are in use"),
            "the test is there for a lack of buffers"
        );
        assert_eq!(show(&server.client().run("STRLEN key:199")), "50000");
        assert_eq!(show(&server.client().run("DBSIZE")), "200");
    }
}

/// A stopping server waits half a second for a client that does not read; a second SIGINT within
/// that time ends it at once, and tells so by its status. On a machine that is too slow for the
/// second to come in time the attempt is made again.
#[test]
fn the_second_interrupt_ends_the_server_at_once() {
    let attempt = || {
        let mut server = server(1, &[]);
        let mut client = server.client();
        client.call(&[&b"SET"[..], b"big", &vec![b'x'; 1 << 20]]);
        (0..32).for_each(|_| client.send(&words("GET big")));
        let mut other = server.client();
        wait_until("output waits", || figure(&mut other, "client_recent_max_output_buffer") > 0);
        server.signal("INT");
        wait_until("the first one is taken", || server.log().contains("Received SIGINT"));
        // It may be gone already.
        let _ = Command::new("kill").args(["-s", "INT", &server.pid().to_string()]).status();
        let status = server.wait_for_exit();
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        status.code() == Some(1)
    };
    assert!((0..10).any(|_| attempt()), "no second interrupt was taken in ten attempts");
}
