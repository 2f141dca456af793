//! `DEBUG`, and the small commands about the server.

use std::time::Duration;

use kvasir_testing::{Program, Server, check, show, wait_until};

use crate::at_one_and_two_shards;

/// The digest does not depend on where keys lie: it is the real Valkey's.
#[test]
fn digests_are_those_of_valkey() {
    let long = "x".repeat(100);
    let more = format!("HSET large field {long} other 2");
    let sets = format!("SADD names a b {long}");
    let ranked = format!("ZADD ranked 3 {long} 0.1 7");
    let data = [
        "HSET small a 1 b two",
        &more,
        "SADD numbers 1 2 3",
        &sets,
        "RPUSH list a b 3",
        "ZADD scores 1 one 2.5 half -inf least inf most 1e300 huge -0 zero 3.0000000000000004 odd",
        &ranked,
        "XADD events 5-1 field value 17 18",
        "XADD events 5-2 other value",
        "XGROUP CREATE events readers $",
        "XADD gone 1-1 a b",
        "XDEL gone 1-1",
        "PEXPIRE small 100000000",
        "SET k v",
        "SET number 12345",
        "SET expires soon EX 100000",
        "DEBUG POPULATE 2500",
        "DEBUG POPULATE 3 sized 100",
        "SELECT 9",
        "DEBUG POPULATE 10 other",
        "SELECT 0",
    ];
    let digest = |server: &Server| {
        let mut client = server.client();
        for line in data {
            assert!(!show(&client.run(line)).starts_with('-'), "{line}");
        }
        let values = "DEBUG DIGEST-VALUE k number expires key:7 none small large numbers names \
                      list scores ranked events gone";
        ["DEBUG DIGEST", values].map(|line| show(&client.run(line)))
    };
    let theirs = Server::builder(Program::Valkey).args(&["--enable-debug-command", "yes"]).start();
    let expected = digest(&theirs);
    at_one_and_two_shards(|server| assert_eq!(digest(server), expected));
}

/// What DEBUG OBJECT says that is not compared.
const UNEQUAL: [&str; 6] = [
    "at",
    "lru",
    "lru_seconds_idle",
    "lfu_freq",
    "lfu_access_time_minutes",
    "ql_uncompressed_size",
];

/// The fields are the real Valkey's, and so is what they say of a value and of a list's nodes.
#[test]
fn objects_are_described_as_by_valkey() {
    let elements = "11111 ".repeat(30);
    let data = [
        "SET number 1000".to_owned(),
        "SET text hello".to_owned(),
        "SADD numbers 1 2 3".to_owned(),
        "ZADD scores 1 a 2 b".to_owned(),
        "HSET hash f v".to_owned(),
        "CONFIG SET list-max-listpack-size 10 list-compress-depth 1".to_owned(),
        format!("RPUSH list {elements}"),
    ];
    let describe = |server: &Server| {
        let mut client = server.client();
        for line in &data {
            assert!(!show(&client.run(line)).starts_with('-'), "{line}");
        }
        ["number", "text", "numbers", "scores", "hash", "list", "list FAST"].map(|key| {
            let line = show(&client.run(&format!("DEBUG OBJECT {key}")));
            let fields = line.split(' ').map(|field| match field.split_once(':') {
                // What differs from one moment to the next; and the peers' blocks know integers.
                Some((name, _)) if UNEQUAL.contains(&name) => name,
                Some((name @ "serializedlength", _)) if ["numbers", "list"].contains(&key) => name,
                _ => field,
            });
            fields.collect::<Vec<_>>().join(" ")
        })
    };
    let theirs = Server::builder(Program::Valkey).args(&["--enable-debug-command", "yes"]).start();
    let expected = describe(&theirs);
    at_one_and_two_shards(|server| assert_eq!(describe(server), expected));
}

/// The sleeper would sleep for an hour.
#[test]
fn who_sleeps_keeps_all_keys_and_nothing_else() {
    at_one_and_two_shards(|server| {
        let mut sleeper = server.client();
        sleeper.send(&["DEBUG", "SLEEP", "3600"]);
        for number in 0..8 {
            let mut client = server.client();
            client.set_patience(Duration::from_millis(20));
            wait_until("the key is locked", || {
                client.send(&["SET", &format!("key:{number}"), "1"]);
                client.try_read().is_err()
            });
        }
        assert_eq!(show(&server.client().run("PING")), "PONG");
    });
}

#[test]
fn samples_of_the_protocol() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("DEBUG PROTOCOL map", "[0 0 1 1 2 0]"),
                ("DEBUG PROTOCOL push", "-ERR RESP2 is not supported by this command"),
                ("DEBUG ERROR 'MY own text'", "-MY own text"),
                (
                    "DEBUG NOSUCH",
                    "-ERR unknown subcommand or wrong number of arguments for 'NOSUCH'. Try DEBUG \
                     HELP.",
                ),
                ("DEBUG OBJECT none", "-ERR no such key"),
                ("DEBUG HTSTATS 99", "-ERR Out of range database"),
                ("DEBUG POPULATE -1", "-ERR value is out of range, must be positive"),
            ],
        );
    });
}

#[test]
fn keys_stay_until_they_are_looked_at_without_active_expiry() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        assert_eq!(show(&client.run("DEBUG SET-ACTIVE-EXPIRE 0")), "OK");
        for key in 0..20 {
            assert_eq!(show(&client.run(&format!("SET key:{key} 1 PX 1"))), "OK");
        }
        assert_eq!(show(&client.run("DEBUG SLEEP 0.02")), "OK");
        assert_eq!(show(&client.run("DBSIZE")), "20");
        assert_eq!(show(&client.run("EXISTS key:1 key:2")), "0");
        assert_eq!(show(&client.run("DEBUG SET-ACTIVE-EXPIRE 1")), "OK");
        wait_until("all keys are gone", || show(&client.run("DBSIZE")) == "0");
    });
}

#[test]
fn a_primary_without_replicas_or_files() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("ROLE", r#"["master" 0 []]"#),
                ("WAIT 0 0", "0"),
                ("WAIT 1 10", "0"),
                ("WAIT 1 -1", "-ERR timeout is negative"),
                ("WAITAOF 0 0 0", "[0 0]"),
                (
                    "WAITAOF 1 0 0",
                    "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
                ),
                ("MODULE LIST", "[]"),
                ("SHUTDOWN NOW LATER", "-ERR syntax error"),
                ("SHUTDOWN SAVE NOSAVE", "-ERR syntax error"),
                ("SHUTDOWN ABORT", "-ERR No shutdown in progress."),
            ],
        );
        let drawing = show(&server.client().run("LOLWUT VERSION 5"));
        assert!(drawing.contains("Kvasir ver. "), "{drawing}");
    });
}

#[test]
fn shutdown_ends_every_core() {
    for shards in [1, 2] {
        let mut server = Server::kvasir(shards);
        let mut client = server.client();
        client.send(&["SHUTDOWN", "NOSAVE"]);
        assert!(client.is_closed());
        assert!(server.wait_for_exit().success());
    }
}
