//! Reading several streams, which may lie on several shards, and waiting for them.

use kvasir_testing::{Client, Server, check, show};

use crate::{at_one_and_two_shards, wait_for_blocked};

/// Keys that lie on both of two shards.
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn prepare(server: &Server) -> Client {
    let mut client = server.client();
    for (index, key) in KEYS.iter().enumerate() {
        for id in 1..=3 {
            client.run(&format!("XADD {key} {id}-{index} f {key}"));
        }
    }
    client
}

#[test]
fn streams_are_read_in_the_order_of_their_keys() {
    at_one_and_two_shards(|server| {
        prepare(server);
        check(
            server,
            &[
                (
                    "XREAD COUNT 1 STREAMS d a nokey c 1-9 2-0 0 3-9",
                    "[[\"d\" [[\"2-3\" [\"f\" \"d\"]]]] [\"a\" [[\"3-0\" [\"f\" \"a\"]]]]]",
                ),
                (
                    "XREAD STREAMS a b c + $ +",
                    "[[\"a\" [[\"3-0\" [\"f\" \"a\"]]]] [\"c\" [[\"3-2\" [\"f\" \"c\"]]]]]",
                ),
                ("XREAD STREAMS a b c d $ $ $ $", "nil-array"),
                ("SET b x", "OK"),
                (
                    "XREAD STREAMS a b c 0 0 nope",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "XREAD STREAMS a c b 0 nope 0",
                    "-ERR Invalid stream ID specified as stream command argument",
                ),
            ],
        );
    });
}

#[test]
fn a_reply_is_limited_as_a_whole() {
    at_one_and_two_shards(|server| {
        prepare(server);
        check(
            server,
            &[
                (
                    "XREAD COUNT 2 MAXCOUNT 3 STREAMS a b c 0 0 0",
                    "[[\"a\" [[\"1-0\" [\"f\" \"a\"]] [\"2-0\" [\"f\" \"a\"]]]] \
                    [\"b\" [[\"1-1\" [\"f\" \"b\"]]]]]",
                ),
                ("XREAD MAXSIZE 1 STREAMS a b 0 0", "[[\"a\" [[\"1-0\" [\"f\" \"a\"]]]]]"),
                ("XREAD MAXCOUNT 0 STREAMS a 0", "-ERR MAXCOUNT must be > 0"),
                ("XGROUP CREATE a g 0", "OK"),
                ("XGROUP CREATE b g 0", "OK"),
                (
                    "XREADGROUP GROUP g c MAXCOUNT 4 STREAMS a b > >",
                    "[[\"a\" [[\"1-0\" [\"f\" \"a\"]] [\"2-0\" [\"f\" \"a\"]] \
                    [\"3-0\" [\"f\" \"a\"]]]] [\"b\" [[\"1-1\" [\"f\" \"b\"]]]]]",
                ),
                (
                    "XREADGROUP GROUP g c STREAMS a b > >",
                    "[[\"b\" [[\"2-1\" [\"f\" \"b\"]] [\"3-1\" [\"f\" \"b\"]]]]]",
                ),
            ],
        );
    });
}

#[test]
fn a_group_that_is_missing_anywhere_changes_nothing() {
    at_one_and_two_shards(|server| {
        let mut client = prepare(server);
        for key in ["a", "b", "c"] {
            client.run(&format!("XGROUP CREATE {key} g 0"));
        }
        assert_eq!(
            show(&client.run("XREADGROUP GROUP g c STREAMS a b c d > > > >")),
            "-NOGROUP No such key 'd' or consumer group 'g' in XREADGROUP with GROUP option"
        );
        for key in ["a", "b", "c"] {
            assert_eq!(show(&client.run(&format!("XINFO CONSUMERS {key} g"))), "[]");
        }
    });
}

#[test]
fn readers_wait_for_whichever_stream_comes_first() {
    at_one_and_two_shards(|server| {
        let mut client = prepare(server);
        let mut readers = [server.client(), server.client()];
        for reader in &mut readers {
            reader
                .send(&["XREAD", "BLOCK", "0", "STREAMS", "a", "b", "c", "d", "$", "$", "$", "$"]);
        }
        wait_for_blocked(server, 2);
        client.run("XADD c 9-9 f new");
        for reader in &mut readers {
            assert_eq!(show(&reader.read()), "[[\"c\" [[\"9-9\" [\"f\" \"new\"]]]]]");
        }
    });
}

#[test]
fn each_group_that_waits_is_served_and_a_lost_group_is_told() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run("XGROUP CREATE a g $ MKSTREAM");
        client.run("XGROUP CREATE a h $");
        let mut readers = [server.client(), server.client(), server.client()];
        for (index, (reader, group)) in readers.iter_mut().zip(["g", "g", "h"]).enumerate() {
            reader.send(&["XREADGROUP", "GROUP", group, "c", "BLOCK", "0", "STREAMS", "a", ">"]);
            wait_for_blocked(server, index + 1);
        }
        client.run("XADD a 1-0 f v");
        for reader in [0, 2] {
            assert_eq!(show(&readers[reader].read()), "[[\"a\" [[\"1-0\" [\"f\" \"v\"]]]]]");
        }
        client.run("XGROUP DESTROY a g");
        assert_eq!(
            show(&readers[1].read()),
            "-NOGROUP No such key 'a' or consumer group 'g' in XREADGROUP with GROUP option"
        );
    });
}
