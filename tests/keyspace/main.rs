//! Commands about keys and databases, those that treat strings as bits, and those of collections,
//! at one shard and at two.

mod bitmap;
mod databases;
mod deadlines;
mod hash;
mod iterate;
mod lists;
mod migrate;
mod names;
mod sets;
mod sorted_sets;

use kvasir_testing::{Client, Program, Server};

/// Runs a test on a server of one shard, and on one of two.
fn at_one_and_two_shards(test: impl Fn(&Server)) {
    for shards in [1, 2] {
        test(&Server::builder(Program::Kvasir).shards(shards).start());
    }
}

/// Changes since the last save, over all shards.
fn changes(client: &mut Client) -> u64 {
    let info = client.run("INFO persistence");
    let info = String::from_utf8_lossy(info.as_bytes().expect("a text")).into_owned();
    let line = info.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
    line.and_then(|count| count.parse().ok()).expect("a count of changes")
}

/// Runs commands, each with the number of changes that it counts as.
fn check_changes(server: &Server, table: &[(&str, u64)]) {
    let mut client = server.client();
    for (line, expected) in table {
        let before = changes(&mut client);
        client.run(line);
        assert_eq!(changes(&mut client) - before, *expected, "{line}");
    }
}
