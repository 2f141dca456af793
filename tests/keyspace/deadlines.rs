//! Deadlines: how they are given, told and taken away.

use kvasir_testing::{check, show};

use crate::at_one_and_two_shards;

#[test]
fn deadlines_are_given_under_conditions() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SET k v", "OK"),
                ("TTL k", "-1"),
                ("EXPIRE k 100 XX", "0"),
                ("EXPIRE k 100 GT", "0"),
                ("EXPIRE k 100 LT", "1"),
                ("EXPIRE k 100 NX", "0"),
                ("EXPIRE k 200 LT", "0"),
                ("EXPIRE k 50 GT", "0"),
                ("EXPIRE k 200 xx gt", "1"),
                ("TTL k", "200"),
                ("PERSIST k", "1"),
                ("PERSIST k", "0"),
                ("PERSIST nokey", "0"),
                ("EXPIRE k 10 NX", "1"),
                (
                    "EXPIRE k 1 NX GT",
                    "-ERR NX and XX, GT or LT options at the same time are not compatible",
                ),
                ("EXPIRE k 1 GT LT", "-ERR GT and LT options at the same time are not compatible"),
                ("EXPIRE k 1 nope", "-ERR Unsupported option nope"),
                ("EXPIRE k abc", "-ERR value is not an integer or out of range"),
                ("EXPIRE nokey 1", "0"),
            ],
        );
    });
}

#[test]
fn deadlines_are_told_in_seconds_and_milliseconds() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SET k v", "OK"),
                ("PEXPIREAT k 99999999999499", "1"),
                ("EXPIRETIME k", "99999999999"),
                ("PEXPIRETIME k", "99999999999499"),
                ("PEXPIREAT k 99999999999500", "1"),
                ("EXPIRETIME k", "100000000000"),
                ("EXPIREAT k 88888888888", "1"),
                ("PEXPIRETIME k", "88888888888000"),
                ("TTL nokey", "-2"),
                ("PTTL nokey", "-2"),
                ("EXPIRETIME nokey", "-2"),
                ("PEXPIRETIME nokey", "-2"),
                ("PERSIST k", "1"),
                ("PTTL k", "-1"),
                ("EXPIRETIME k", "-1"),
                ("PEXPIRETIME k", "-1"),
            ],
        );
    });
}

#[test]
fn a_deadline_that_has_passed_removes_the_key_at_once() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        for line in ["EXPIRE k -1", "PEXPIRE k 0", "EXPIREAT k 1", "PEXPIREAT k -5"] {
            client.run("SET k v");
            assert_eq!(show(&client.run(line)), "1", "{line}");
            assert_eq!(show(&client.run("DBSIZE")), "0", "{line}");
        }
        let stats = client.run("INFO stats");
        let stats = String::from_utf8_lossy(stats.as_bytes().expect("a text")).into_owned();
        assert!(stats.contains("\r\nexpired_keys:4\r\n"), "{stats}");
    });
}

#[test]
fn deadlines_that_cannot_be_told_are_refused() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("SET k v", "OK"),
                ("EXPIRE k 9223372036854776", "-ERR invalid expire time in 'expire' command"),
                ("EXPIRE k -9223372036854776", "-ERR invalid expire time in 'expire' command"),
                ("PEXPIRE k 9223372036854770000", "-ERR invalid expire time in 'pexpire' command"),
                ("EXPIREAT k 9223372036854776", "-ERR invalid expire time in 'expireat' command"),
                ("PEXPIREAT k 9223372036854775807", "1"),
                ("EXISTS k", "1"),
            ],
        );
    });
}
