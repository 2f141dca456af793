//! Databases as a whole.

use kvasir_testing::{check, show};

use crate::{at_one_and_two_shards, changes};

#[test]
fn databases_are_exchanged_and_emptied() {
    at_one_and_two_shards(|server| {
        check(
            server,
            &[
                ("MSET a 1 b 2 c 3", "OK"),
                ("SWAPDB 0 1", "OK"),
                ("DBSIZE", "0"),
                ("SET a other", "OK"),
                ("SELECT 1", "OK"),
                ("MGET a b c", "[\"1\" \"2\" \"3\"]"),
                ("SWAPDB 1 1", "OK"),
                ("DBSIZE", "3"),
                ("FLUSHDB", "OK"),
                ("DBSIZE", "0"),
                ("SELECT 0", "OK"),
                ("GET a", "\"other\""),
                ("FLUSHALL SYNC", "OK"),
                ("DBSIZE", "0"),
                ("FLUSHALL ASYNC", "OK"),
                ("FLUSHDB nope", "-ERR syntax error"),
                ("FLUSHALL SYNC x", "-ERR syntax error"),
                ("SWAPDB x 1", "-ERR invalid first DB index"),
                ("SWAPDB 1 x", "-ERR invalid second DB index"),
                ("SWAPDB 0 99", "-ERR DB index is out of range"),
                ("SWAPDB -1 0", "-ERR DB index is out of range"),
            ],
        );
    });
}

#[test]
fn a_flush_counts_the_keys_it_removes_unless_the_dataset_is_to_be_saved() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        client.run("CONFIG SET save ''");
        client.run("MSET a 1 b 2 c 3");
        let before = changes(&mut client);
        client.run("FLUSHALL");
        assert_eq!(changes(&mut client) - before, 3);
        client.run("CONFIG SET save '3600 1'");
        client.run("MSET a 1 b 2 c 3");
        client.run("FLUSHALL");
        assert_eq!(changes(&mut client), 0);
    });
}

#[test]
fn a_flush_that_waits_for_its_memory_ends() {
    at_one_and_two_shards(|server| {
        let mut client = server.client();
        let value = "x".repeat(100);
        let requests: Vec<Vec<String>> =
            (0..50_000).map(|i| vec!["SET".into(), format!("key:{i}"), value.clone()]).collect();
        client.pipeline(&requests);
        assert_eq!(show(&client.run("DBSIZE")), "50000");
        assert_eq!(show(&client.run("FLUSHALL SYNC")), "OK");
        assert_eq!(show(&client.run("DBSIZE")), "0");
    });
}
