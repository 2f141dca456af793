//! Keys that are removed, looked for, and given another name or database.

use kvasir_testing::{Client, check, show};

use crate::{at_one_and_two_shards, check_changes};

#[test]
fn keys_are_counted_wherever_they_are() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8", "OK"),
                ("EXISTS a b c d nokey a", "5"),
                ("TOUCH a b c d nokey a", "5"),
                ("DBSIZE", "8"),
                ("DEL a b nokey a", "2"),
                ("UNLINK c d e nokey", "3"),
                ("EXISTS a b c d e f g h", "3"),
                ("DBSIZE", "3"),
                ("TYPE f", "string"),
                ("TYPE nokey", "none"),
                ("DEL", "-ERR wrong number of arguments for 'del' command"),
            ],
        );
    });
}

/// With two shards, `a` and `b` lie on different ones, and so do `b` and `c`.
#[test]
fn values_move_to_another_name_with_their_deadline() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SET a 1 PXAT 99999999999999", "OK"),
                ("SET b 2", "OK"),
                ("RENAME a b", "OK"),
                ("MGET a b", "[nil \"1\"]"),
                ("PEXPIRETIME b", "99999999999999"),
                ("RENAME a b", "-ERR no such key"),
                ("RENAMENX a b", "-ERR no such key"),
                ("RENAMENX nokey nokey", "-ERR no such key"),
                ("RENAME b b", "OK"),
                ("RENAMENX b b", "0"),
                ("SET c 3", "OK"),
                ("RENAMENX b c", "0"),
                ("MGET b c", "[\"1\" \"3\"]"),
                ("RENAMENX b d", "1"),
                ("RENAMENX d e", "1"),
                ("RENAMENX e f", "1"),
                ("PEXPIRETIME f", "99999999999999"),
                ("DBSIZE", "2"),
            ],
        );
    });
}

#[test]
fn long_values_move_as_well() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let value = "x".repeat(100_000);
        client.run(&format!("SET a {value}"));
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "d")] {
            client.run(&format!("RENAME {from} {to}"));
            client.run(&format!("COPY {to} {from}"));
        }
        for key in ["a", "b", "c", "d"] {
            let stored = client.run(&format!("GET {key}"));
            assert_eq!(stored.as_bytes(), Some(value.as_bytes()), "{key}");
        }
    });
}

/// Their elements go to another core in portions.
#[test]
fn large_values_move_and_are_copied() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let script = "for i = 1, 5000 do local name = 'element:' .. i \
             redis.call('hset', KEYS[1], name, i) redis.call('sadd', KEYS[2], name) \
             redis.call('zadd', KEYS[3], i % 100, name) end";
        client.call(&["EVAL", script, "3", "hash", "set", "zset"]);
        client.run("HPEXPIREAT hash 99999999999999 FIELDS 2 element:7 element:8");
        for source in ["hash", "set", "zset"] {
            client.run(&format!("PEXPIREAT {source} 99999999999998"));
            let digest =
                |client: &mut Client, key| show(&client.run(&format!("DEBUG DIGEST-VALUE {key}")));
            let expected = digest(&mut client, source);
            // With two shards, `a` and `b` lie on different ones.
            client.run("SET a old");
            for (line, found) in [
                (format!("COPY {source} a"), 0),
                (format!("COPY {source} a REPLACE"), 1),
                (format!("COPY {source} b"), 1),
                (format!("COPY {source} b DB 3 REPLACE"), 1),
                ("RENAMENX a b".to_owned(), 0),
            ] {
                assert_eq!(show(&client.run(&line)), found.to_string(), "{line}");
            }
            for copy in ["a", "b"] {
                assert_eq!(digest(&mut client, copy), expected, "{source} at {copy}");
            }
            for line in ["RENAME a b", "RENAME b c", "RENAME c a", "RENAME a b"] {
                assert_eq!(show(&client.run(line)), "OK");
            }
            assert_eq!(digest(&mut client, "b"), expected, "{source}");
            assert_eq!(show(&client.run("PEXPIRETIME b")), "99999999999998");
            assert_eq!(show(&client.run("EXISTS a c")), "0");
            assert_eq!(show(&client.run("DEL b")), "1");
        }
        let fields = show(&client.run("HPEXPIRETIME hash FIELDS 2 element:7 element:9"));
        assert_eq!(fields, "[99999999999999 -1]");
        assert_eq!(show(&client.run("DBSIZE")), "3");
    });
}

#[test]
fn copies() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SET a 1 PXAT 99999999999999", "OK"),
                ("COPY a b", "1"),
                ("PEXPIRETIME b", "99999999999999"),
                ("SET c 3", "OK"),
                ("COPY a c", "0"),
                ("GET c", "\"3\""),
                ("COPY a c REPLACE", "1"),
                ("COPY nokey c REPLACE", "0"),
                ("MGET a b c", "[\"1\" \"1\" \"1\"]"),
                ("COPY a a", "-ERR source and destination objects are the same"),
                ("COPY a a DB 0", "-ERR source and destination objects are the same"),
                ("COPY a a DB 3", "1"),
                ("COPY a b DB 3", "1"),
                ("COPY a b DB 3", "0"),
                ("COPY a b REPLACE DB 3", "1"),
                ("COPY a b DB 99", "-ERR DB index is out of range"),
                ("COPY a b DB x", "-ERR value is not an integer or out of range"),
                ("COPY a b DB", "-ERR syntax error"),
                ("SELECT 3", "OK"),
                ("DBSIZE", "2"),
                ("MGET a b", "[\"1\" \"1\"]"),
                ("PEXPIRETIME b", "99999999999999"),
            ],
        );
    });
}

#[test]
fn moves_to_another_database() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("MSET a 1 b 2", "OK"),
                ("MOVE a 2", "1"),
                ("MOVE a 2", "0"),
                ("MOVE b 0", "-ERR source and destination objects are the same"),
                ("MOVE b 99", "-ERR DB index is out of range"),
                ("MOVE b -1", "-ERR DB index is out of range"),
                ("MOVE b x", "-ERR value is not an integer or out of range"),
                (
                    "MOVE b 99999999999",
                    "-ERR value is out of range, value must between -2147483648 and 2147483647",
                ),
                ("SET a new", "OK"),
                ("MOVE a 2", "0"),
                ("SELECT 2", "OK"),
                ("GET a", "\"1\""),
                ("DBSIZE", "1"),
            ],
        );
    });
}

#[test]
fn only_what_changes_something_counts_as_a_change() {
    at_one_and_two_shards(|server| {
        check_changes(
            server,
            &[
                ("MSET a 1 b 2 c 3", 3),
                ("EXISTS a b", 0),
                ("TOUCH a b", 0),
                ("RENAME a d", 1),
                ("RENAME d d", 0),
                ("RENAMENX d b", 0),
                ("COPY d e", 1),
                ("COPY d e", 0),
                ("MOVE e 1", 1),
                ("MOVE nokey 1", 0),
                ("EXPIRE d 100", 1),
                ("EXPIRE d 100 NX", 0),
                ("PERSIST d", 1),
                ("PERSIST d", 0),
                ("EXPIRE d -1", 1),
                ("DEL b c d", 2),
                ("SWAPDB 0 1", 1),
            ],
        );
    });
}

#[test]
fn what_is_known_of_a_value() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("MSET int 1234 short abc", "OK"),
                ("OBJECT ENCODING int", "\"int\""),
                ("OBJECT ENCODING short", "\"embstr\""),
                ("APPEND short d", "4"),
                ("OBJECT ENCODING short", "\"raw\""),
                ("OBJECT REFCOUNT short", "1"),
                ("OBJECT IDLETIME nokey", "nil"),
                ("OBJECT ENCODING nokey", "nil"),
                ("OBJECT FREQ nokey", "nil"),
                ("OBJECT nope", "-ERR unknown subcommand 'nope'. Try OBJECT HELP."),
                ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
            ],
        );
    });
}
