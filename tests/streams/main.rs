//! Streams: what Valkey's own suite does not ask of them, above all what newer peers have and what
//! lies on several shards, at one shard and at two.

mod groups;
mod producers;
mod read;
mod references;

use kvasir_testing::{Program, Server, wait_until};

/// Runs a test on a server of one shard, and on one of two.
fn at_one_and_two_shards(test: impl Fn(&Server)) {
    for shards in [1, 2] {
        test(&Server::builder(Program::Kvasir).shards(shards).start());
    }
}

/// Waits until so many clients wait for keys.
fn wait_for_blocked(server: &Server, count: usize) {
    let mut client = server.client();
    let line = format!("blocked_clients:{count}\r\n");
    wait_until(&line, || {
        let info = client.run("INFO clients");
        String::from_utf8_lossy(info.as_bytes().expect("a text")).contains(&line)
    });
}
